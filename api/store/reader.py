"""Reads the counters: all questions of an answer at one instant.

A snapshot is one MGET of the pointer to the generation, its meta record, the versions of the chunks
that the questions read, and the pages that are not cached. So counters, positions and freshness are of
one instant. The keys follow from the names of series, which this process caches and extends.
`Meta.names` tells when the names are behind. The store reads again if a new name belongs to the
question.

Pages and sums are cached with the versions of their chunks. An answer whose chunks have not changed
costs one snapshot and no addition. If chunks have changed, a second snapshot reads what is new of them
(`generation_state`, `page_cache`, `sums_cache`, `snapshot`). An answer that needs many bytes is read in
pieces, on a connection of its own (`large_answers`).

All caches are dropped when they might belong to another history: another generation, a new meta
record, fewer commits than before, or another Redis process at the address. Such a process may have
restarted from an older copy, and may have given the same ids to other series since.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from api.errors import FilterNotApplied, LargeAnswersBusy
from api.http.caller import CALLER
from api.http.durations import Durations
from api.query.bounds import CELLS_FEW, CELLS_MANY, cells_of
from api.query.counted_views import CountedViews, counted_views, keys_of
from api.query.plan import Owned, Plan
from api.query.sums import Row, Sums
from api.store.connection import ReadConnection, pool_of, translated
from api.store.evictions import EvictionCheck
from api.store.generation_state import GenerationState, generation_of
from api.store.large_answers import AnswerIsLarge, LargeRead
from api.store.slots import (
    LARGE_TIMEOUT_S,
    Priority,
    Shaped,
    Turn,
    body_turns,
    large_turns,
    question_turns,
    step_turns,
)
from api.store.snapshot import Snapshot
from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import StoreError, StoreUnavailable
from schemas.store.layout import CURRENT_KEY, Meta
from schemas.store.redis_errors import FunctionMissing, LibraryExists, store_error

READ_S: Final = 30.0
"""For reading one answer, when it has its turn. The largest take 1 to 2 s, and 16 times as long on a machine
with 16 busy processes for each core. A Redis that does not reply ends it after REPLY_TIMEOUT_S."""
READS_MAX: Final = 8
"""Tries of one answer, and snapshots of one try. One is the rule, two if rows were appended since, and
three if a series is new. Each further one needs another commit to the pages of this question, or
another new series of it, within that millisecond."""


@dataclass(frozen=True, eq=False)
class Reading:
    """The result of one atomic read: the sums of each plan, and the state."""

    sums: tuple[Sums, ...]
    meta: Meta
    generation: int

    @property
    def rows(self) -> tuple[list[Row], ...]:
        """The rows of each plan."""
        return tuple(one.rows for one in self.sums)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plan of each section: what was read. Where counters have no hours it is not the one that
        was asked for (`without_hours`)."""
        return tuple(one.selection.plan for one in self.sums)

    @property
    def cells(self) -> int:
        """What a body of all rows costs: rows x (columns + 1)."""
        return sum(map(cells_of, self.sums))


class Store:
    """The counters in Redis: one connection for reads, a pool for other commands, and the caches.

    Every method raises StoreError while Redis is unavailable, and works again afterwards.
    """

    def __init__(
        self,
        redis_url: str,
        topic: str,
        catalog: Catalog = DEFAULT,
        durations: Durations | None = None,
    ) -> None:
        self.catalog = catalog
        """Views that lack events of before some time come last, once that is known."""
        self._topic, self._own_catalog = topic, catalog
        self.durations = durations or Durations(lambda: 0.0)
        self._state: GenerationState | None = None
        self._run_id: bytes | None = None
        pool = pool_of(redis_url, self._meet)
        self._redis = Redis.from_pool(pool)
        self._connection = ReadConnection(pool.make_connection)
        self._evictions = EvictionCheck(self._connection)
        self._bulk = ReadConnection(pool.make_connection)
        self._questions = question_turns()
        self._steps = step_turns()
        self._large = large_turns()
        self._bodies = body_turns()
        self._priority = Priority()
        self._step_thread = ThreadPoolExecutor(1, "odometer_steps")
        self._large_thread = ThreadPoolExecutor(1, "odometer-large")
        self._body_thread = ThreadPoolExecutor(1, "odometer_bodies")

    async def read(self, tenant: str, plans: Sequence[Plan]) -> Reading:
        """The sums of all plans, at one instant.

        Raises UnanswerableQuestion if they would read too much, and TooManyQuestions.
        """
        return await self.read_of(tenant, [(tenant, plan) for plan in plans])

    async def read_of(self, tenant: str, plans: Sequence[Owned]) -> Reading:
        """The same of plans that belong to different tenants. `tenant`: whose turn it is."""
        began_s = self.durations.now_s()
        _check_bound([plan for _, plan in plans])
        until_s = asyncio.get_running_loop().time() + LARGE_TIMEOUT_S
        try:
            known = await self._unchanged(plans)
            if isinstance(known, Reading):
                self.durations.note_since(began_s)
                return known
            async with self._questions.turn(tenant) if plans else nullcontext():
                reading = await self._read_small(tenant, plans, known)
        except AnswerIsLarge:
            reading = await self._read_in_pieces(tenant, plans, until_s)
        except LargeAnswersBusy:
            raise
        except StoreError:
            self._state = None  # Redis may come back with another history
            raise
        if reading is None:
            raise StoreUnavailable(f"the counters changed under each of {READS_MAX} reads")
        self.durations.note_since(began_s)
        return reading

    async def tenants(self) -> tuple[str, ...]:
        """The tenants that have counters, in the order in which they came."""
        reading = await self.state()
        async with translated():
            if self._state is None:
                return ()
            return await self._state.tenants(reading.meta.names)

    async def _unchanged(self, plans: Sequence[Owned]) -> Reading | Snapshot | None:
        """The cached sums of all plans, if they are those of now. This needs no turn: it costs one
        snapshot and no addition. Else the snapshot, if one was needed to know."""
        state = self._state
        if state is None:
            return None
        cached = state.cached(plans)
        if cached is None:
            return None
        with self._priority.small():
            async with _reading():
                found = await state.unchanged(cached, [tenant for tenant, _ in plans])
                if found is None or self._state is not state:
                    return None
                if isinstance(found, Snapshot):
                    return found
                sums, meta = found
                await self._evictions.check(state.generation, self._run_id, meta)
        return Reading(sums, meta, state.generation)

    async def _read_small(
        self, tenant: str, plans: Sequence[Owned], first: Snapshot | None
    ) -> Reading | None:
        with self._priority.small():
            async with _reading():
                return await self._read(tenant, plans, first=first)

    async def _read_in_pieces(
        self, tenant: str, plans: Sequence[Owned], until_s: float
    ) -> Reading | None:
        try:
            async with self._large.turn(tenant, until_s), _reading():
                return await self._read(tenant, plans, in_pieces=True)
        except LargeAnswersBusy:  # Redis is well, and the caches are good
            raise
        except StoreError:
            self._state = None
            raise

    async def _read(
        self,
        tenant: str,
        plans: Sequence[Owned],
        *,
        in_pieces: bool = False,
        first: Snapshot | None = None,
    ) -> Reading | None:
        """None: each try found new names, or another history."""
        large: LargeRead | None = None
        known: GenerationState | None = None
        for _attempt in range(READS_MAX):
            state = self._state or await self._begin()
            if in_pieces and state is not known:
                known, large = state, state.large_read()
            reading = await self._read_once(state, tenant, plans, large, first)
            first = None
            if state.is_over and self._state is state:
                self._state = None
            if reading is not None and self._state is state:
                await self._evictions.check(state.generation, self._run_id, reading.meta)
                return reading
        return None

    @asynccontextmanager
    async def turn(self, tenant: str, cells: int) -> AsyncIterator[Turn]:
        """A turn to make a body of so many cells. All but short ones are made in a thread, one at a time,
        so that others are answered meanwhile. Raises TooManyQuestions, or LargeAnswersBusy."""
        if cells <= CELLS_FEW:
            yield Turn(None)
        elif cells <= CELLS_MANY:
            async with self._steps.turn(tenant):
                yield Turn(self._step_thread)
        else:
            async with self._bodies.turn(tenant):
                yield Turn(self._body_thread)

    async def shape(self, tenant: str, cells: int, make: Callable[[], Shaped]) -> Shaped:
        """The result of `make`, which turns sums into a body, in a `turn`. `cells`: what it writes or
        goes through, rows x (columns + 1). Rows that only fill gaps count too."""
        async with self.turn(tenant, cells) as turn:
            return await turn.run(make)

    async def _step(self, tenant: str, make: Callable[[], Shaped]) -> Shaped:
        """The result of `make`, which takes some ms, from a thread."""
        async with self._steps.turn(tenant):
            return await Turn(self._step_thread).run(make)

    async def state(self) -> Reading:
        """The state, without sums."""
        return await self.read("", ())

    async def meta(self) -> Meta:
        """The meta record of the current generation."""
        return (await self.read("", ())).meta

    async def ping(self) -> None:
        async with translated():
            await self._ask("PING")

    async def ask(self, *command: str | int | bytes) -> Any:  # noqa: ANN401  any type of RESP
        """One command, with the timeout of an answer."""
        async with translated():
            return await self._ask(*command)

    async def ask_all(self, commands: Sequence[Sequence[str | int | bytes]]) -> list[Any]:
        """Several commands in one round trip, not atomic."""
        async with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def call(
        self, function: str, library: str, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any:  # noqa: ANN401
        """Call a function of a Redis library. Loads the library if Redis does not have it."""
        command = ("FCALL", function, len(keys), *keys, *arguments)
        async with translated():
            try:
                return await self._ask(*command)
            except ResponseError as error:
                if not isinstance(store_error(error), FunctionMissing):
                    raise
            try:
                await self._ask("FUNCTION", "LOAD", library)
            except ResponseError as error:
                if not isinstance(
                    store_error(error), LibraryExists
                ):  # another process has loaded it
                    raise
            return await self._ask(*command)

    async def close(self) -> None:
        async with translated():
            await self._connection.close()
            await self._bulk.close()
            await self._redis.aclose(close_connection_pool=True)
        for threads in (self._step_thread, self._large_thread, self._body_thread):
            threads.shutdown(wait=False)

    async def _ask(self, *command: str | int | bytes) -> Any:  # noqa: ANN401  any type of RESP
        return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _meet(self, connection: AbstractConnection) -> None:
        """Ask each new connection for its Redis process. Another process drops the caches."""
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        try:
            report: bytes = await connection.read_response()
        except ResponseError:
            report = b""  # INFO is forbidden: every connection may be another Redis
        run_id = report.partition(b"\r\nrun_id:")[2].partition(b"\r\n")[0]
        if not run_id or run_id != self._run_id:
            self._run_id, self._state = run_id, None

    async def _begin(self) -> GenerationState:
        (current,) = await self._connection.read(("GET", CURRENT_KEY))
        generation = generation_of(current)
        (read,) = await self._connection.read(("MGET", *keys_of(generation)))
        views = counted_views(read, self._topic, self._own_catalog)
        if self._state is None:  # no other task was quicker
            self._state = GenerationState(
                self._connection, self._bulk, generation, views, self._large_thread, self._priority
            )
            self.catalog = views.catalog
        return self._state

    async def counted_views(self) -> CountedViews | None:
        """Which views of the catalog the counters have, and since when. None if they change just now."""
        await self.meta()
        return None if self._state is None else self._state.views

    async def _read_once(
        self,
        state: GenerationState,
        tenant: str,
        plans: Sequence[Owned],
        large: LargeRead | None = None,
        first: Snapshot | None = None,
    ) -> Reading | None:
        """Read with the names known so far. None if names were missing, or the history changed."""
        owners = [owner for owner, _ in plans]
        if not all(state.views.has(plan.view) for _, plan in plans):
            await state.unchanged((), ())  # a worker may have added them since
            if state.is_over:
                return None
        if large is None:
            step = partial(self._step, tenant)
            cached = [
                await state.cached_sums(plan, owner, step) async for owner, plan in _each(plans)
            ]
            renew = partial(state.renewed, plans, step=step)
            found = await state.refresh(cached, READS_MAX, renew, step, first)
        else:
            cached = [await state.cached_large(plan, owner) for owner, plan in plans]
            if not await state.has_all_names(owners, cached, state.names_at, is_large=True):
                return None  # many names are read before any page
            renew = partial(state.renewed, plans, step=None)
            found = await state.refresh_large(cached, renew, large)
        if found is None:
            return None
        all_cached, meta = found
        sums = tuple(one.sums for one in all_cached if one.sums is not None)
        state.weigh(plans, all_cached)
        return Reading(sums, meta, state.generation)


async def _each(plans: Sequence[Owned]) -> AsyncIterator[Owned]:
    """Others are answered between two plans: a selection of 2 ms needs no thread, but 32 take 64 ms."""
    for number, plan in enumerate(plans):
        if number:
            await asyncio.sleep(0)
        yield plan


def _check_bound(plans: Sequence[Plan]) -> None:
    """The endpoints add the filters that a key is bound to. This notices if one of them forgets it."""
    caller = CALLER.get()
    if caller is not None and caller.only:
        for plan in plans:
            if not set(caller.only).issubset(plan.question.filters):
                raise FilterNotApplied("this question does not have the filters of the key")


@asynccontextmanager
async def _reading() -> AsyncIterator[None]:
    """The block reads one answer. It is not cut off while Redis replies, only after READ_S: a busy machine
    needs longer to sum, and asking again would need as long."""
    try:
        async with asyncio.timeout(READ_S), translated(None):
            yield
    except TimeoutError as error:
        raise LargeAnswersBusy(f"it was not read within {READ_S:g} s") from error
