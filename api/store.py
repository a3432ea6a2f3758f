"""The store reader: every question of an answer in one atomic MGET. The only module that knows Redis.

One MGET holds the pointer to the generation, its meta record and all pages, so counters, positions
and freshness are of one instant. Which pages those are comes from dictionaries of names that this
process keeps and only ever extends; `Meta.names` tells when they are behind, and then the MGET is
repeated if what is new belongs to the question.

Pages change with a commit only, and each commit counts one up in the meta record, so pages read at
a commit are kept while it is the last: an answer between two commits costs one MGET of the state.
One MGET is under way at a time, as Redis serves one at a time anyway; what is asked meanwhile goes
with the next, so thirty pages that are polled at once cost two reads and not thirty.

What is known is dropped whole when it might belong to another history: another generation, a meta
record made anew, fewer commits than seen before, or another Redis process behind the address (it
may have come back from an older copy, and named other series with the same ids since).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from api.errors import CountersMissing
from api.flights import Flights
from api.keyring import Keyring
from api.line import REPLY_TIMEOUT_S, Line
from api.names import Names, grown, no_names
from api.query import PAGES_MAX, Plan, Selection, page_keys, select
from schemas.errors import InvalidConfig, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from schemas.layout import (
    CURRENT_KEY,
    Meta,
    meta_key,
    names_list_key,
    tenants_list_key,
    unpack_meta,
)
from schemas.views import DEFAULT, Catalog, Table

CONNECTIONS_MAX: Final = 16
"""Redis serves one command at a time; more than this only moves the queue to where it can't be seen."""
CONNECT_TIMEOUT_S: Final = 1.0
ANSWER_TIMEOUT_S: Final = 3.0
"""All reads of one answer. The published clients give up after 5 s and should see a 503 before."""
READS_MAX: Final = 8
"""MGETs of one answer. One is the rule, two when a series is new, three when the generation moved;
each further one needs another new series of this very question within that millisecond."""
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Pages kept while no commit comes: a page of a dashboard over 30 days and 30 models is 1 MB."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one atomic read saw: as many selections as plans, the pages of all, and the state. A
    page that is None, or not there, was never written."""

    selections: tuple[Selection, ...]
    pages: Mapping[str, bytes | None]
    meta: Meta
    generation: int

    @property
    def state(self) -> tuple[int, int, int]:
        """Equal where nothing was committed in between."""
        return self.generation, self.meta.created_ms, self.meta.commits


@dataclass
class _Held:
    """Pages as they are while `commits` stands in the meta record."""

    commits: int
    pages: dict[str, bytes | None] = field(default_factory=dict)
    size_bytes: int = 0

    def keep(self, keys: Sequence[str], pages: Sequence[bytes | None]) -> None:
        self.size_bytes += sum(len(page) for page in pages if page is not None)
        if self.size_bytes <= HELD_BYTES_MAX:
            self.pages.update(zip(keys, pages, strict=True))


_Fetched = tuple[Meta | None, Mapping[str, bytes | None]]
"""The state and pages by key; no state where it is of another history."""


@dataclass(eq=False)
class _Batch:
    """Keys that are read by one MGET, and the task that does it."""

    keys: dict[str, None] = field(default_factory=dict)
    task: asyncio.Task[_Fetched] | None = None


@dataclass
class _Known:
    """What was learnt of one history. `whole_at` is the `Meta.names` at which a list was complete."""

    generation: int
    created_ms: int | None = None
    commits: int = 0
    tenants: dict[str, int] = field(default_factory=dict)
    tenants_whole_at: int = -1
    names: dict[tuple[int, str], Names] = field(default_factory=dict)
    names_whole_at: dict[tuple[int, str], int] = field(default_factory=dict)
    held: _Held = field(default_factory=lambda: _Held(-1))
    waiting: _Batch | None = None
    latest: asyncio.Task[_Fetched] | None = None

    def names_of(self, table: Table, tenant: str) -> Names:
        return self.names.get((table.id, tenant)) or no_names(table)

    def names_for(self, plan: Plan, tenant: str) -> tuple[Names, ...]:
        return tuple(self.names_of(table, tenant) for table in plan.tables)


def steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Store:
    """A connection for reads, a pool for the rest, and what is known of the names. It survives any
    absence of Redis."""

    def __init__(
        self,
        redis_url: str,
        digest: bytes,
        catalog: Catalog = DEFAULT,
        ticks: Callable[[], int] = steady_ms,
    ) -> None:
        self.catalog = catalog
        self.keyring = Keyring(self.ask, ticks)
        self._digest = digest
        self._known: _Known | None = None
        self._run_id: bytes | None = None
        pool = _pool(redis_url, self._meet)
        self._redis = Redis.from_pool(pool)
        self._line = Line(pool.make_connection)
        self._looks: Flights[Reading] = Flights()

    async def read(self, tenant: str, plans: Sequence[Plan]) -> Reading:
        """All that the plans need, of one instant."""
        try:
            async with _translated():
                for _attempt in range(READS_MAX):
                    known = self._known or await self._begin()
                    reading = await self._read_once(known, tenant, plans)
                    if reading is None or self._known is not known:
                        continue
                    if await self._is_whole(known, tenant, reading):
                        return reading
        except StoreError:
            self._known = None  # what comes back after this may be another history
            raise
        raise StoreUnavailable(f"the counters changed under each of {READS_MAX} reads")

    def let_go(self) -> None:
        """Drop the pages that are held, as the next commit would."""
        if self._known is not None:
            self._known.held = _Held(-1)

    async def look(self) -> Reading:
        """The state alone: whether what is known still holds. Looks at the same time are one."""
        return await self._looks.once("state", partial(self.read, "", ()))

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
                if "unction not found" not in str(error):
                    raise
            try:
                await self._ask("FUNCTION", "LOAD", library)
            except ResponseError as error:
                if "already exists" not in str(error):  # somebody else was first
                    raise
            return await self._ask(*command)

    async def close(self) -> None:
        async with _translated():
            await self._line.close()
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
            self._run_id, self._known = run_id, None

    async def _begin(self) -> _Known:
        (current,) = await self._line.read(("GET", CURRENT_KEY))
        if self._known is None:  # nobody else was quicker
            self._known = _Known(_generation(current))
        return self._known

    async def _read_once(self, known: _Known, tenant: str, plans: Sequence[Plan]) -> Reading | None:
        """One MGET with the names known so far; None where it belongs to another history."""
        tenant_id = known.tenants.get(tenant, 0)
        selections = tuple(
            select(plan, known.names_for(plan, tenant), known.generation, tenant_id)
            for plan in plans
        )
        keys = page_keys(selections)
        meta, fetched = await self._fetch(known, keys)
        if meta is None:
            return None
        pages = {key: fetched[key] for key in keys}  # not those of others that flew along
        return Reading(selections, pages, meta, known.generation)

    async def _fetch(self, known: _Known, keys: Sequence[str]) -> _Fetched:
        """These pages and the state, of one instant, together with all that are asked meanwhile."""
        batch = known.waiting
        if batch is None or len(batch.keys) + len(keys) > PAGES_MAX:
            batch = known.waiting = _Batch()
            batch.task = known.latest = asyncio.ensure_future(self._fly(known, batch, known.latest))
            batch.task.add_done_callback(_seen)
        batch.keys.update(dict.fromkeys(keys))
        assert batch.task is not None
        return await asyncio.shield(batch.task)

    async def _fly(
        self, known: _Known, batch: _Batch, before: asyncio.Task[_Fetched] | None
    ) -> _Fetched:
        if before is not None and not before.done():
            await asyncio.wait([before])
        if known.waiting is batch:
            known.waiting = None
        return await self._pages(known, list(batch.keys))

    async def _pages(self, known: _Known, keys: Sequence[str]) -> _Fetched:
        """What is held is asked for again only where it is older than the state that was found."""
        held = known.held
        missing = [key for key in keys if key not in held.pages]
        meta, found = await self._mget(known, missing)
        if meta is not None and meta.commits != held.commits and len(missing) < len(keys):
            missing = list(keys)
            meta, found = await self._mget(known, missing)
        if meta is None:
            return None, {}
        pages = dict(zip(missing, found, strict=True))
        if meta.commits == held.commits:
            pages |= {key: held.pages.get(key) for key in keys if key not in pages}
        if meta.commits > known.held.commits:
            known.held = _Held(meta.commits)
        if meta.commits == known.held.commits:
            known.held.keep(missing, found)
        return meta, pages

    async def _mget(
        self, known: _Known, keys: Sequence[str]
    ) -> tuple[Meta | None, list[bytes | None]]:
        """The state and these pages, of one instant; no state where it is of another history."""
        commits_before = known.commits
        command = ("MGET", CURRENT_KEY, meta_key(known.generation), *keys)
        ((current, record, *found),) = await self._line.read(command)
        if _generation(current) != known.generation:
            self._forget(known)
            return None, []
        meta = self._checked(record)
        if known.created_ms is None:
            known.created_ms = meta.created_ms
        if meta.created_ms != known.created_ms or meta.commits < commits_before:
            self._forget(known)
            return None, []
        known.commits = max(known.commits, meta.commits)
        return meta, found

    async def _is_whole(self, known: _Known, tenant: str, reading: Reading) -> bool:
        """Whether no series of this question was new to us; what is new is learnt."""
        at = reading.meta.names
        tenant_id = await self._tenant_id(known, tenant, at)
        if tenant_id is not None:
            for table in {t: None for one in reading.selections for t in one.plan.tables}:
                await self._learn_names(known, table, tenant, tenant_id, at)
        return self._known is known and all(
            names.count == known.names_of(names.table, tenant).count
            for selection in reading.selections
            for names in selection.names
        )

    async def _tenant_id(self, known: _Known, tenant: str, at: int) -> int | None:
        if tenant not in known.tenants and known.tenants_whole_at < at:
            have = len(known.tenants)
            more = await self._list_from(tenants_list_key(known.generation), have)
            for place, name in enumerate(more, have):
                known.tenants.setdefault(_text(name), place)
            known.tenants_whole_at = max(known.tenants_whole_at, at)
        return known.tenants.get(tenant)

    async def _learn_names(
        self, known: _Known, table: Table, tenant: str, tenant_id: int, at: int
    ) -> None:
        which = (table.id, tenant)
        if known.names_whole_at.get(which, -1) >= at:
            return
        names = known.names_of(table, tenant)
        more = await self._list_from(
            names_list_key(known.generation, table, tenant_id), names.count
        )
        if known.names_of(table, tenant).count == names.count:  # nobody else was quicker
            known.names[which] = grown(names, more)
            known.names_whole_at[which] = at

    async def _list_from(self, key: str, start: int) -> list[bytes]:
        found: list[bytes]
        (found,) = await self._line.read(("LRANGE", key, start, -1))
        return found

    def _checked(self, record: bytes | None) -> Meta:
        if record is None:
            raise CountersMissing("the generation that should answer has no meta record")
        meta = unpack_meta(record)
        if not meta.digest.startswith(self._digest):
            raise CountersMissing(
                "the counters in Redis were made with other limits, views or topic than this API's:"
                " run the API and the workers of one version on one topic with one catalog file, or"
                " make the counters anew under this one: odometer rebuild"
            )
        return meta

    def _forget(self, known: _Known) -> None:
        if self._known is known:
            self._known = None


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
    """One deadline around what is done, and our own errors out of it."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except OutOfMemoryError as error:
        raise StoreFull("Redis is at its maxmemory") from error
    except ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            raise StoreCorrupt(f"a key of ours is of another type: {error}") from error
        raise StoreUnavailable(f"Redis refuses: {error}") from error
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise StoreUnavailable(
            f"Redis does not answer: {str(error) or type(error).__name__}"
        ) from error


def _seen(task: asyncio.Task[_Fetched]) -> None:
    if not task.cancelled():
        task.exception()  # every caller may have gone away


def _generation(current: bytes | None) -> int:
    if current is None:
        raise CountersMissing("Redis holds no counters yet: no worker has started on it")
    if not current.isdigit():
        raise StoreCorrupt(f"{CURRENT_KEY} is no number")
    return int(current)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("a tenant's name is not UTF-8") from error
