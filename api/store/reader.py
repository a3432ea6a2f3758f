"""The store reader: every question of an answer out of one atomic look. With `connection`, which it reads
through, the only module that knows Redis.

A look is one MGET of the pointer to the generation, its meta record, the versions of the chunks that
the questions read, and such pages as are not held; so counters, positions and freshness are of one
instant. Which keys those are comes from dictionaries of names that this process keeps and only ever
extends; `Meta.names` tells when they are behind, and then it looks again if what is new belongs to
the question.

Pages, and the sums that a question made of them, are kept with the versions of their chunks, and stand
while those do: an answer to which nothing was added costs one look and no sum. Where something was,
a second look takes what is new of just those chunks (`generation_state`, `page_cache`, `snapshot`).

What is known is dropped whole when it might belong to another history: another generation, a meta
record made anew, fewer commits than seen before, or another Redis process behind the address (it
may have come back from an older copy, and named other series with the same ids since).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from api.query.plan import Plan
from api.query.sums import Row, Sums
from api.store.connection import REPLY_TIMEOUT_S, ReadConnection
from api.store.generation_state import GenerationState, generation_of
from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import InvalidConfig, StoreError, StoreUnavailable
from schemas.store.layout import CURRENT_KEY, Meta
from schemas.store.redis_errors import FunctionMissing, LibraryExists, store_error

CONNECTIONS_MAX: Final = 16
"""Redis serves one command at a time; more than this only moves the queue to where it can't be seen."""
CONNECT_TIMEOUT_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 3.0
"""All reads of one answer. The published clients give up after 5 s and should see a 503 before."""
READS_MAX: Final = 8
"""Reads of one answer, and looks of one read. One is the rule, two when something was added since,
three when a series is new; each further one needs another commit to this very question's pages, or
another new series of it, within that millisecond."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one atomic read saw: the sums of each plan, and the state."""

    sums: tuple[Sums, ...]
    meta: Meta
    generation: int

    @property
    def rows(self) -> tuple[list[Row], ...]:
        """Of each plan."""
        return tuple(one.rows for one in self.sums)


class Store:
    """A connection for reads, a pool for the rest, and what is known of the names. It survives any
    absence of Redis."""

    def __init__(
        self,
        redis_url: str,
        digest: bytes,
        catalog: Catalog = DEFAULT,
    ) -> None:
        self.catalog = catalog
        self._digest = digest
        self._state: GenerationState | None = None
        self._run_id: bytes | None = None
        pool = _pool(redis_url, self._meet)
        self._redis = Redis.from_pool(pool)
        self._connection = ReadConnection(pool.make_connection)

    async def read(self, tenant: str, plans: Sequence[Plan]) -> Reading:
        """All that the plans need, of one instant."""
        try:
            async with _translated():
                for _attempt in range(READS_MAX):
                    state = self._state or await self._begin()
                    reading = await self._read_once(state, tenant, plans)
                    if state.is_over and self._state is state:
                        self._state = None
                    if reading is not None and self._state is state:
                        return reading
        except StoreError:
            self._state = None  # what comes back after this may be another history
            raise
        raise StoreUnavailable(f"the counters changed under each of {READS_MAX} reads")

    async def state(self) -> Reading:
        """The state alone."""
        return await self.read("", ())

    async def meta(self) -> Meta:
        """The state of the generation that answers."""
        return (await self.read("", ())).meta

    async def ping(self) -> None:
        async with _translated():
            await self._ask("PING")

    async def ask(self, *command: str | int | bytes) -> Any:  # noqa: ANN401  as RESP has it
        """One command beside the counters, under the deadline of an answer."""
        async with _translated():
            return await self._ask(*command)

    async def ask_all(self, commands: Sequence[Sequence[str | int | bytes]]) -> list[Any]:
        """Several commands in one go; others may come between them."""
        async with _translated():
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def call(
        self, function: str, library: str, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any:  # noqa: ANN401
        """One function of a library, which is loaded where Redis does not know it yet."""
        command = ("FCALL", function, len(keys), *keys, *arguments)
        async with _translated():
            try:
                return await self._ask(*command)
            except ResponseError as error:
                if not isinstance(store_error(error), FunctionMissing):
                    raise
            try:
                await self._ask("FUNCTION", "LOAD", library)
            except ResponseError as error:
                if not isinstance(store_error(error), LibraryExists):  # somebody else was first
                    raise
            return await self._ask(*command)

    async def close(self) -> None:
        async with _translated():
            await self._connection.close()
            await self._redis.aclose(close_connection_pool=True)

    async def _ask(self, *command: str | int | bytes) -> Any:  # noqa: ANN401  as RESP has it
        return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _meet(self, connection: AbstractConnection) -> None:
        """On each new connection: which Redis process is this?"""
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        try:
            report: bytes = await connection.read_response()
        except ResponseError:
            report = b""  # not allowed to ask: each connection may lead to another Redis
        run_id = report.partition(b"\r\nrun_id:")[2].partition(b"\r\n")[0]
        if not run_id or run_id != self._run_id:
            self._run_id, self._state = run_id, None

    async def _begin(self) -> GenerationState:
        (current,) = await self._connection.read(("GET", CURRENT_KEY))
        if self._state is None:  # nobody else was quicker
            self._state = GenerationState(self._connection, generation_of(current), self._digest)
        return self._state

    async def _read_once(
        self, state: GenerationState, tenant: str, plans: Sequence[Plan]
    ) -> Reading | None:
        """With the names known so far; None where they were not all, or it is another history."""
        cached = [state.cached_sums(plan, tenant) for plan in plans]
        meta = await state.refresh(cached, READS_MAX)
        if meta is None:
            return None
        sums = tuple(one.sums for one in cached if one.sums is not None)
        if not await state.has_all_names(tenant, cached, meta.names):
            return None
        return Reading(sums, meta, state.generation)


def _pool(
    redis_url: str, meet: Callable[[AbstractConnection], Awaitable[None]]
) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=CONNECTIONS_MAX,
            timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=REPLY_TIMEOUT_S,
            socket_keepalive=True,
            # A pooled connection may have died since: once more at once, on a new one. A timeout
            # is not repeated: the second would take as long.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            health_check_interval=0,
            decode_responses=False,
            protocol=2,
            redis_connect_func=meet,
        )
    except ValueError as error:
        raise InvalidConfig(f"the Redis URL cannot be used: {error}") from error
    of_url = pool.connection_class
    pool.connection_class = type(f"Telling{of_url.__name__}", (_Telling, of_url), {})
    return pool


class _Telling(AbstractConnection):
    """Says that it was reset as every lost connection says it, so that it is tried again: uvloop
    refuses to write to one with a RuntimeError, which the client hands on as it is."""

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            if "handler is closed" not in str(error):
                raise
            raise RedisConnectionError(f"the connection was reset: {error}") from error


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """One deadline around the block; the client's errors become ours."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise store_error(error) from error
