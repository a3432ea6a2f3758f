"""A worker that fills the next generation, and makes it answer when it has caught up.

It is `streams.worker.loop.Worker` on all partitions of the log and on a generation of its own. So
the same guarantees hold: after any loss or kill, a record counts once. Meanwhile the workers go on
counting into the generation that answers. A rebuild has three steps:

1. Count up to the positions of the old generation and never beyond them (`BoundedLog`). So a
   worker has judged every record before, and its dead letter exists.
2. Where the log no longer holds all records: carry over from the old generation the buckets that
   are older than the log (streams/rebuild/carry_over.py). That is exact while both generations have
   the same positions. Under load they meet because the rebuild pauses commits to the old one for
   HOLD_MS at a time.
3. Switch in one atomic step, when both have the same positions. From then on, every commit to the
   old generation gets the reply RETIRED. Its workers then look up which generation answers. Workers
   with the configuration of the new one continue from its positions; the others exit and report
   the reason (streams/worker/process.py).

A rebuild that is killed leaves a generation that nobody reads. The next rebuild resumes it.
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
"""The longest pause of commits to the old generation. The delay stays within the 250 ms that an
event may wait anyway."""
REST_MS: Final = 800
"""The time between two pauses, in which workers catch up: they have four fifths of the time."""
KEPT_WAIT_MS: Final = 20
"""The longest wait of a poll while records are kept already."""
TRIES: Final = 20
"""Tries to meet or to switch before commits are paused. Under light load, one or two are enough."""
AT_ONCE: Final = Policy(age_ms_min=0, visible_ms_max=0)
"""Every poll is committed at once: a rebuild has no reason to wait for more records."""

S = TypeVar("S")


class BoundedLog:
    """A log that ends at the positions in `at`.

    Records that were polled beyond them are kept until the positions move. A partition that is
    not in `at` is not read at all.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.at: Mapping[int, int] = {}
        self._assignment = -1
        self._kept: dict[int, PartitionBatch] = {}
        self._reached: dict[int, int] = {}  # the position up to which each was handed over

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
            # There is no record before the next one: the position moves to it, within the limit.
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
    """Carries over from the old generation the buckets that are older than the log."""

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
        """Returns when the new generation answers. The old one is kept for `kept_ms`. Raises the
        errors of `run`, and RebuildRefused where the switch is not possible."""
        await self._count_until_level()
        if self._carry_over is not None:
            self.doing = "copying the buckets that are older than the topic"
            await self._carry_over.carry_over(self)
            self._carry_over = None
        self.doing = "switching"
        tries = 0
        while not await self.retry(lambda: self._pair.switch(self._clock.now_ms(), kept_ms)):
            tries += 1
            if tries > TRIES:
                await self._hold()
            await self._follow()

    async def level(self, read: Callable[[], Awaitable[tuple[PairState, S]]]) -> tuple[Meta, S]:
        """Reads until both generations have the same positions. Returns the state of the new one, and
        the result of `read`."""
        tries = 0
        while True:
            look, seen = await self.retry(read)
            if counted_to(look.old) == counted_to(look.new):
                return look.new, seen
            tries += 1
            if tries > TRIES:
                await self._hold()
            await self._follow()

    async def correct(self, commit: Commit) -> Reply:
        """Returns COMMITTED; or STALE, CALLS_CHANGED or DUPLICATE_IDS, where nothing was written: read
        again. After a lost reply it also looks as if nothing was written."""
        reply = await self._send_commit(commit)
        if reply.outcome is Outcome.STALE:
            self._secret = await self._retry(self._store.secret)
        if reply.outcome in {
            Outcome.COMMITTED,
            Outcome.STALE,
            Outcome.CALLS_CHANGED,
            Outcome.DUPLICATE_IDS,
        }:
            return reply
        raise RebuildRefused(f"the older buckets cannot be copied, Redis answered: {reply.outcome}")

    def correction(self, state: Meta) -> Commit:
        """An empty commit that applies only while the new generation is in this state."""
        return Commit(
            id=self._clock.commit_id(),
            generation_digest=self._digest,
            secret=self._secret.name,
            now_ms=self._clock.now_ms(),
            count=len(state.partitions),
            absent_ms={},
            partitions=(),
            delta=NO_DELTA,
            closed=state.closed,
            at_commits=state.commits,
        )

    async def _tend_pages(self) -> None:
        """Nothing is closed while older buckets are still to be copied (streams/rebuild/carry_over.py)."""
        if self._carry_over is None:
            await super()._tend_pages()
        else:
            await self._store.compact_pages()

    def extent(self, begin: Mapping[int, int]) -> int:
        """Records from these positions to the end offsets of the last poll."""
        bounds = self._ends.bounds if self._ends else {}
        return sum(one.end - begin.get(p, 0) for p, one in bounds.items())

    async def retry(self, ask: Callable[[], Awaitable[S]]) -> S:
        return await self._retry(ask)

    async def _count_until_level(self) -> None:
        while True:
            wanted = counted_to((await self.retry(self._pair.look)).old)
            self._bounded.at = wanted
            until_ms = self._clock.now_ms() + self._timing.poll_ends_ms
            while not self._has_reached(wanted) and self._clock.now_ms() < until_ms:
                await self._count()
            if self._has_reached(wanted):
                return

    async def _follow(self) -> None:
        """Counts up to the current positions of the old generation."""
        wanted = counted_to((await self.retry(self._pair.look)).old)
        self._bounded.at = wanted
        while not self._has_reached(wanted):
            await self._count()

    def _has_reached(self, wanted: Mapping[int, int]) -> bool:
        return all(self._positions.get(p, 0) >= at for p, at in wanted.items())

    async def _hold(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms >= self._held_ms + HOLD_MS + REST_MS:
            self._held_ms = now_ms
            await self.retry(lambda: self._pair.hold(HOLD_MS))

    async def _count(self) -> None:
        """One turn of the worker. Raises RebuildRefused where it is not safe to continue."""
        try:
            await self._turn()
        except OtherGeneration as error:
            raise RebuildRefused(
                "the generation that this rebuild filled was abandoned: run odometer rebuild again"
            ) from error
        except (LogUnavailable, StoreUnavailable, StoreFull) as away:
            self._note_error(away)
            await self._clock.sleep(FIRST_BACKOFF_MS)
        if self.health.refused:
            raise RebuildRefused(next(iter(self.health.refused.values())))

    async def _opened(self) -> Meta:
        meta = await self._store.meta()
        if meta is None or meta.state != LIVE:
            raise RebuildRefused(
                "the generation that this rebuild filled is gone: run odometer rebuild again"
            )
        return meta


def counted_to(meta: Meta) -> dict[int, int]:
    """The position of each partition that has counted records."""
    return {p: part.position for p, part in enumerate(meta.partitions) if part.position > 0}
