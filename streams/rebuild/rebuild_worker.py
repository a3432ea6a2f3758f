"""A worker that fills the next generation, and lets it answer when it has counted as much. No I/O.

It is `streams.worker.loop.Worker` on every partition of the log and on a generation of its own, so that
all that holds there holds here: whatever is lost or killed, a record counts once. Beside it the
workers go on counting on the generation that answers. Three steps:

1. Count, up to where the old generation stands and never beyond: `BoundedLog`. So every record that is
   read here was judged before, and its dead letter is buried.
2. Where the log no longer holds all: take over from the old generation the buckets that are older
   than it (streams/rebuild/carry_over.py). That is exact while both stand at the same positions. Under load they
   meet because the old one is held for HOLD_MS at a time, and never for more than a part of it.
3. Switch, in one atomic step, when both stand at the same positions. From then on every commit to
   the old one is refused as RETIRED, and its workers look up which generation answers. Those whose
   configuration the new one is go on with it from its positions; the others stop and say so
   (streams/worker/process.py).

Killed at any point it leaves a generation that nobody reads, which the next rebuild goes on with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import (
    LogUnavailable,
    OtherGeneration,
    RebuildRefused,
    StoreFull,
    StoreUnavailable,
)
from schemas.prices.price_list import BUNDLED, Prices
from schemas.store.layout import LIVE, Meta
from streams.core.batch import Policy
from streams.core.ports import (
    NO_DELTA,
    Clock,
    Commit,
    CounterStore,
    LastRecord,
    Log,
    OffsetBounds,
    Outcome,
    Pair,
    PairState,
    PartitionBatch,
    Polled,
    RejectedRecord,
    Reply,
)
from streams.worker.health import Timing
from streams.worker.loop import FIRST_BACKOFF_MS, Worker

HOLD_MS: Final = 200
"""The old generation is held for at most so long: what is counted late by this is within the
quarter of a second that an event may wait anyway."""
REST_MS: Final = 800
"""Between two holds, for the workers to catch up: four fifths of the time are theirs."""
KEPT_WAIT_MS: Final = 20
"""A poll waits so long at most where something is kept already."""
TRIES: Final = 20
"""To meet, or to switch, before the old generation is held: under light load one or two do."""
AT_ONCE: Final = Policy(age_ms_max=0)
"""What is polled is committed: a rebuild has no reason to wait for more."""

S = TypeVar("S")


class BoundedLog:
    """A log of which nothing is handed over from the positions in `at` on.

    What was polled beyond them is kept for when they move. A partition that is not in `at` is not
    read at all.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.at: Mapping[int, int] = {}
        self._assignment = -1
        self._kept: dict[int, PartitionBatch] = {}
        self._reached: dict[int, int] = {}  # to where each was handed over

    async def poll(self, records_max: int, wait_ms: int) -> Polled:
        polled = await self._log.poll(
            records_max, min(wait_ms, KEPT_WAIT_MS) if self._kept else wait_ms
        )
        if polled.assignment != self._assignment:
            self._kept.clear()
            self._assignment = polled.assignment
        for batch in polled.batches:
            before = self._kept.get(batch.partition)
            records = [*before.records, *batch.records] if before else batch.records
            self._kept[batch.partition] = batch._replace(records=records)
        return polled._replace(batches=self._let_through(records_max))

    def _let_through(self, records_max: int) -> list[PartitionBatch]:
        through: list[PartitionBatch] = []
        room = records_max
        for partition, batch in list(self._kept.items()):
            limit = self.at.get(partition, 0)
            taken = [record for record in batch.records if record.offset < limit][:room]
            room -= len(taken)
            rest = batch.records[len(taken) :]
            # Up to the next record there is nothing: that much is read, where the limit allows.
            end = min(limit, rest[0].offset if rest else batch.end)
            if end > self._reached.get(partition, 0):
                through.append(PartitionBatch(partition, end, taken))
                self._reached[partition] = end
            if end >= batch.end:
                del self._kept[partition]
            else:
                self._kept[partition] = batch._replace(records=rest)
        return through

    def seek(self, positions: Mapping[int, int]) -> None:
        for partition in positions:
            self._kept.pop(partition, None)
        self._reached |= positions
        self._log.seek(positions)

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        return await self._log.bounds()

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:
        return await self._log.record_at(partition, offset)

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        await self._log.send_to_dlq(rejected)


class OlderHistory(Protocol):
    """Takes over what is older than the log."""

    async def carry_over(self, worker: RebuildWorker) -> None: ...


class RebuildWorker(Worker):
    """The invariant: no position of the new generation is beyond that of the old one."""

    def __init__(
        self,
        log: Log,
        store: CounterStore,
        clock: Clock,
        generation_digest: bytes,
        pair: Pair,
        carry_over: OlderHistory | None = None,
        policy: Policy = AT_ONCE,
        timing: Timing = Timing(),  # noqa: B008  frozen
        prices: Prices = BUNDLED,
        catalog: Catalog = DEFAULT,
    ) -> None:
        self._bounded = BoundedLog(log)
        super().__init__(
            self._bounded, store, clock, generation_digest, policy, timing, prices, catalog
        )
        self.doing = "counting"
        self._pair = pair
        self._carry_over = carry_over
        self._held_ms = 0

    async def fill_and_switch(self, kept_ms: int) -> None:
        """Returns when the new generation answers; the old one is kept for `kept_ms`. Raises what
        `run` does, and RebuildRefused where it cannot come to that."""
        await self._count_until_level()
        if self._carry_over is not None:
            self.doing = "taking over what is older than the log"
            await self._carry_over.carry_over(self)
        self.doing = "switching"
        tries = 0
        while not await self.patiently(lambda: self._pair.switch(self._clock.now_ms(), kept_ms)):
            tries += 1
            if tries > TRIES:
                await self._hold()
            await self._follow()

    async def level(self, read: Callable[[], Awaitable[tuple[PairState, S]]]) -> tuple[Meta, S]:
        """What `read` sees where both generations stand at the same positions, and the state of the
        new one."""
        tries = 0
        while True:
            look, seen = await self.patiently(read)
            if counted_to(look.old) == counted_to(look.new):
                return look.new, seen
            tries += 1
            if tries > TRIES:
                await self._hold()
            await self._follow()

    async def correct(self, commit: Commit) -> Reply:
        """COMMITTED; or STALE, CALLS_CHANGED or DUPLICATE_IDS: nothing was done, look again. A lost reply looks
        as if nothing was done."""
        reply = await self._carried_out(commit)
        if reply.outcome in {
            Outcome.COMMITTED,
            Outcome.STALE,
            Outcome.CALLS_CHANGED,
            Outcome.DUPLICATE_IDS,
        }:
            return reply
        raise RebuildRefused(f"what is older cannot be taken over: {reply.outcome}")

    def correction(self, state: Meta) -> Commit:
        """An empty one, for when the new generation is still in this state."""
        return Commit(
            id=self._clock.commit_id(),
            generation_digest=self._digest,
            now_ms=self._clock.now_ms(),
            count=len(state.partitions),
            absent_ms={},
            partitions=(),
            delta=NO_DELTA,
            at_commits=state.commits,
        )

    def extent(self, begin: Mapping[int, int]) -> int:
        """Records from these positions to the ends that the last pass saw."""
        bounds = self._ends.bounds if self._ends else {}
        return sum(one.end - begin.get(p, 0) for p, one in bounds.items())

    async def patiently(self, ask: Callable[[], Awaitable[S]]) -> S:
        return await self._patiently(ask)

    async def _count_until_level(self) -> None:
        while True:
            wanted = counted_to((await self.patiently(self._pair.look)).old)
            self._bounded.at = wanted
            until_ms = self._clock.now_ms() + self._timing.poll_ends_ms
            while not self._has_reached(wanted) and self._clock.now_ms() < until_ms:
                await self._count()
            if self._has_reached(wanted):
                return

    async def _follow(self) -> None:
        """Counts up to where the old generation stands now."""
        wanted = counted_to((await self.patiently(self._pair.look)).old)
        self._bounded.at = wanted
        while not self._has_reached(wanted):
            await self._count()

    def _has_reached(self, wanted: Mapping[int, int]) -> bool:
        return all(self._positions.get(p, 0) >= at for p, at in wanted.items())

    async def _hold(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms >= self._held_ms + HOLD_MS + REST_MS:
            self._held_ms = now_ms
            await self.patiently(lambda: self._pair.hold(HOLD_MS))

    async def _count(self) -> None:
        """One turn of the worker; RebuildRefused where it refuses to go on."""
        try:
            await self._turn()
        except OtherGeneration as error:
            raise RebuildRefused("the generation that was filled has been given up") from error
        except (LogUnavailable, StoreUnavailable, StoreFull) as away:
            self._note_away(away)
            await self._clock.sleep(FIRST_BACKOFF_MS)
        if self.health.refused:
            raise RebuildRefused(next(iter(self.health.refused.values())))

    async def _opened(self) -> Meta:
        meta = await self._store.meta()
        if meta is None or meta.state != LIVE:
            raise RebuildRefused("the generation that was filled is gone")
        return meta


def counted_to(meta: Meta) -> dict[int, int]:
    """Where each partition stands of which something is counted."""
    return {p: part.position for p, part in enumerate(meta.partitions) if part.position > 0}
