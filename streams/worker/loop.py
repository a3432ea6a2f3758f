"""The fold worker: polls the log, folds, commits. The shell around the core.

It keeps nothing that Redis does not know. On every doubt (a new assignment, a stale position, a
store that went back) it drops its batch, reads the positions again and seeks to them. Two
coroutines run beside each other: `run` does the work, `poll_end_offsets` polls the end offsets,
which `complete_through` rests on.

Where it is not safe to continue (streams/core/resume_checks.py), the worker pauses the partition,
reports why and checks again every 2 s. The other partitions go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import LogUnavailable, OtherGeneration, StoreFull, StoreUnavailable
from schemas.event.identity import NO_SECRET, CallKey
from schemas.prices.price_list import BUNDLED, Prices
from schemas.store.layout import NO_POSITION, RETIRED, Meta
from schemas.tiers import ALL_CLOSED, Closed, first_closed
from streams.core.batch import Batch, PartitionShare, Policy, first_pace
from streams.core.calls import StoredCall
from streams.core.columns import Columns
from streams.core.decode import Unreadable
from streams.core.ports import (
    Clock,
    Commit,
    CounterStore,
    Log,
    Outcome,
    Progress,
    RefusalReason,
    Reply,
)
from streams.core.resume_checks import generation_detail, refusal_of, stored_of
from streams.worker.commits import commit_without_events, with_events
from streams.worker.counted_numbers import CountedNumbers
from streams.worker.end_offsets import EndOffsets, next_end_offsets
from streams.worker.health import Timing, WorkerHealth
from streams.worker.judge import JudgedBatch, judge, without_duplicates
from streams.worker.metrics import PartitionState, WorkerMetrics
from streams.worker.price_lists import counted_prices

T = TypeVar("T")

FIRST_BACKOFF_MS, LAST_BACKOFF_MS = 50, 1000
"""The pause between retries while a server is away. The worker recovers within a second."""
PAUSED_RETRY_MS: Final = 10
"""The pause between retries while a rebuild pauses commits, for a fraction of a second."""


class _Stopping(Exception):
    """The worker was told to stop while it was retrying."""


class Worker:
    """One member of the consumer group.

    The invariant: `_positions` holds the stored positions that the worker last sought to, moved
    by its own commits since. A partition that is not in it is paused and not counted.
    """

    def __init__(
        self,
        log: Log,
        store: CounterStore,
        clock: Clock,
        generation_digest: bytes,
        policy: Policy = Policy(),  # noqa: B008  frozen
        timing: Timing = Timing(),  # noqa: B008  frozen
        prices: Prices = BUNDLED,
        catalog: Catalog = DEFAULT,
        *,
        keeps_previews: bool = False,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._log, self._store, self._clock = log, store, clock
        self._digest, self._catalog = generation_digest, catalog
        self._pace, self._timing = first_pace(policy), timing
        self._prices, self._keeps_previews = prices, keeps_previews
        self.health = WorkerHealth(metrics=metrics)
        self._was_ours = False
        self._secret = NO_SECRET
        self._closed = ALL_CLOSED
        self._assignment = -1
        self._assigned: frozenset[int] = frozenset()
        self._positions: dict[int, int] = {}
        self._reached: dict[int, int] = {}  # the position after the last poll
        self._batch = Batch()
        self._counted = CountedNumbers()
        self._polled_ms = clock.now_ms()
        self._ends: EndOffsets | None = None
        self._fresh_ms = self._rechecked_ms = 0
        self._stopping: Callable[[], bool] = lambda: False

    # -- the loop ----------------------------------------------------------------------------------

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Runs until `stopping`, and retries while a server is away.

        Raises ConsumerBroken, StoreCorrupt, and OtherGeneration where the counters that answer
        belong to another configuration. Records that were polled and not committed are read again
        by the next owner of the partition.
        """
        self._stopping = stopping
        while not stopping():
            try:
                await self._turn()
            except _Stopping:
                return
            except (LogUnavailable, StoreUnavailable, StoreFull) as away:
                self._note_error(away)
                await self._clock.sleep(FIRST_BACKOFF_MS)

    async def poll_end_offsets(self, stopping: Callable[[], bool]) -> None:
        """Polls the end offsets of the topic. An end before an offset that was read already belongs
        to another log: the worker then ignores it and checks all positions again."""
        while not stopping():
            started_ms = self._clock.now_ms()
            reached = dict(self._reached)
            try:
                bounds = await self._log.bounds()
            except LogUnavailable as away:
                self._note_error(away)
            else:
                self.health.log_away = ""
                if any(p in bounds and bounds[p].end < at for p, at in reached.items()):
                    self._assignment = -1
                else:
                    self._ends = next_end_offsets(self._ends, started_ms, bounds)
            await self._clock.sleep(self._timing.poll_ends_ms)

    def lag(self) -> int:
        """Records between the committed positions and the end offsets of the last poll. It may be called
        in any thread, so it reads a copy of the positions."""
        return self._ends.lag(dict(self._positions)) if self._ends else 0

    def partitions(self) -> Mapping[int, PartitionState]:
        """The partitions that this worker counts. It may be called in any thread."""
        return self.health.partitions(
            dict(self._positions), self._ends.bounds if self._ends else {}
        )

    def is_stalled(self) -> bool:
        """Whether there are records to read, no commit succeeded for `stalled_ms`, and both servers
        answer. The consumer will not recover by itself."""
        quiet_ms = self._clock.now_ms() - self.health.progress_ms
        away = self.health.log_away or self.health.store_away
        return not away and self.lag() > 0 and quiet_ms > self._timing.stalled_ms

    def _note_error(self, away: LogUnavailable | StoreUnavailable | StoreFull) -> None:
        if isinstance(away, LogUnavailable):
            self.health.log_away = str(away)
        else:
            self.health.store_away = str(away)

    async def _turn(self) -> None:
        now_ms = self._clock.now_ms()
        room = max(1, self._pace.records - self._batch.count)
        wait_ms = self._batch.wait_ms(self._pace, now_ms, self._timing.poll_ends_ms)
        polled = await self._log.poll(room, wait_ms)
        before_ms, now_ms = self._polled_ms, self._clock.now_ms()
        self._polled_ms = now_ms
        if polled.assignment != self._assignment:
            self._drop_all()
            self.health.keep(polled.partitions)
            await self._take_over(polled.partitions)
            self._assignment = polled.assignment
            self._assigned = polled.partitions
            return
        self._batch.add(polled.batches, self._positions, before_ms, now_ms)
        self._reached |= {
            b.partition: b.end for b in polled.batches if b.partition in self._positions
        }
        if self._batch.is_due(self._pace, now_ms):
            batch, self._batch = self._batch, Batch()
            await self._commit_batch(batch)
        elif not self._batch.parts:
            await self._commit_freshness()
            await self._tend_pages()
        refused = self._assigned - set(self._positions)
        if refused and now_ms - self._rechecked_ms >= self._timing.recheck_ms:
            await self._take_over(refused)

    def _drop_all(self) -> None:
        self._assignment = -1
        self._batch = Batch()
        self._positions = {}
        self._reached = {}

    # -- assignment --------------------------------------------------------------------------------

    async def _take_over(self, partitions: frozenset[int]) -> None:
        """Reads the stored position of each partition, checks that the log is the one that was
        counted, and seeks. A partition that fails the check stays paused; Redis stores the reason."""
        self._rechecked_ms = self._clock.now_ms()
        # The positions first. Read after the ends, a position that another worker moved meanwhile
        # would seem to lie beyond the end.
        meta = await self._opened()
        bounds = await self._log.bounds()
        if meta.digest != self._digest or meta.state == RETIRED:
            detail = generation_detail(meta, self._digest)
            await self._store.refuse(-1, NO_POSITION, RefusalReason.OTHER_GENERATION, detail)
            raise OtherGeneration(detail, was_ours=self._was_ours)
        self._was_ours = True
        self._secret, self._closed = await self._store.secret(), meta.closed
        self._prices = await counted_prices(self._store, self._prices)
        found: dict[int, int] = {}
        for partition in sorted(partitions):
            stored = stored_of(meta, partition)
            if partition not in bounds:
                continue  # the topic was recreated with fewer partitions: a new assignment follows
            last_record = None
            if stored.last_offset >= bounds[partition].start:
                last_record = await self._log.record_at(partition, stored.last_offset)
            refusal = refusal_of(stored, bounds[partition], last_record)
            if refusal is None:
                found[partition] = stored.position
                self.health.go_on(partition)
                continue
            why, detail = refusal
            self.health.refuse(partition, why, detail)
            await self._store.refuse(partition, stored.position, why, detail)
        self._positions |= found
        self._reached |= {p: max(position, 0) for p, position in found.items()}
        self._log.seek({p: max(position, 0) for p, position in found.items()})
        self.health.store_away = ""
        self.health.progress_ms = self._clock.now_ms()

    async def _opened(self) -> Meta:
        meta = await self._store.meta()
        while meta is None:
            bounds = await self._log.bounds()
            secret = self._clock.secret()  # stays unused if another worker opens it first
            now_ms = self._clock.now_ms()
            await self._store.open(self._digest, len(bounds), now_ms, secret, first_closed(now_ms))
            meta = await self._store.meta()
        return meta

    # -- the commit --------------------------------------------------------------------------------

    async def _commit_batch(self, batch: Batch) -> None:
        began_ms = self._clock.now_ms()
        judged = await self._judge(batch)
        if judged.rejected:
            await self._retry(lambda: self._log.send_to_dlq(judged.rejected))
        while True:
            rows = judged.columns
            commit = await self._folded(batch, judged)
            reply = await self._send_commit(commit)
            if reply.outcome is Outcome.DUPLICATE_IDS:
                judged = without_duplicates(judged, reply.subjects, self._counted)
            elif reply.outcome is Outcome.CLOSED:
                self._closed = Closed(*reply.subjects)
            elif reply.outcome is not Outcome.CALLS_CHANGED:
                await self._finish(commit, reply, rows, began_ms)
                await self._tend_pages()
                vectors = sum(len(part.rows) for part in commit.delta.parts)
                took_ms = self._clock.now_ms() - began_ms
                self._pace = self._pace.next(len(rows), vectors, took_ms)
                return

    async def _tend_pages(self) -> None:
        await self._store.compact_pages()
        await self._store.close_pages(self._digest, self._clock.now_ms(), self._clock.commit_id())

    async def _judge(self, batch: Batch) -> JudgedBatch:
        return await judge(batch, self._prices, self._catalog, self._secret, self._clock)

    async def _folded(self, batch: Batch, judged: JudgedBatch) -> Commit:
        rows = judged.columns
        stored_calls: Mapping[CallKey, StoredCall | None] = {}
        if calls := rows.booked_calls:
            stored_calls = await self._retry(lambda: self._store.bookings(rows.secret, calls))
        partitions = [self._progress(p, part) for p, part in sorted(batch.parts.items())]
        return self._commit(partitions, judged, stored_calls)

    def _commit(
        self,
        partitions: Sequence[Progress],
        judged: JudgedBatch | None = None,
        stored_calls: Mapping[CallKey, StoredCall | None] | None = None,
    ) -> Commit:
        empty = commit_without_events(
            self._clock.commit_id(),
            self._digest,
            self._secret.name,
            self._clock.now_ms(),
            partitions,
            self._ends,
            self._timing.clock_skew_ms,
        )
        if judged is None:
            return empty
        return with_events(
            empty,
            judged,
            stored_calls or {},
            self._closed,
            self._prices,
            keeps_previews=self._keeps_previews,
        )

    def _progress(self, partition: int, part: PartitionShare) -> Progress:
        readable = (r for r in reversed(part.records) if not isinstance(r, Unreadable))
        last = next(readable, None)
        complete_ms = self._complete_ms(partition, part.end)
        if last is None:
            return Progress(partition, part.start, part.end, -1, 0, complete_ms)
        return Progress(
            partition,
            part.start,
            part.end,
            last.offset,
            last.timestamp,
            max(complete_ms, min(last.timestamp, self._known_until_ms())),
        )

    def _complete_ms(self, partition: int, position: int) -> int:
        """The start of the last poll of the end offsets, less the clock skew, where the position has
        reached the end; else 0 (no new value). A consumer of committed records never passes the
        last stable offset, so an open transaction holds this value back."""
        seen = self._ends
        if seen is None or partition not in seen.bounds:
            return 0
        return 0 if position < seen.bounds[partition].end else self._known_until_ms()

    def _known_until_ms(self) -> int:
        return self._ends.known_until_ms(self._timing.clock_skew_ms) if self._ends else 0

    async def _send_commit(self, commit: Commit) -> Reply:
        """Sends a commit until there is a reply. After a lost reply, it sends the same commit id again."""
        while True:
            reply = await self._retry(lambda: self._store.commit(commit))
            if reply.outcome is not Outcome.PAUSED:
                return reply
            if self._stopping():
                raise _Stopping
            await self._clock.sleep(PAUSED_RETRY_MS)

    async def _retry(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Retries until there is an answer. Raises _Stopping where the worker is told to stop."""
        backoff_ms = FIRST_BACKOFF_MS
        while True:
            try:
                answer = await ask()
            except (StoreUnavailable, StoreFull, LogUnavailable) as away:
                self._note_error(away)
                if self._stopping():
                    raise _Stopping from away
                await self._clock.sleep(backoff_ms)
                backoff_ms = min(2 * backoff_ms, LAST_BACKOFF_MS)
            else:
                self.health.store_away = ""
                return answer

    async def _finish(self, commit: Commit, reply: Reply, rows: Columns, began_ms: int) -> None:
        if reply.outcome in {Outcome.COMMITTED, Outcome.ALREADY_APPLIED}:
            for progress in commit.partitions:
                self._positions[progress.partition] = progress.end
            self.health.note_commit(commit, rows, began_ms, self._clock.now_ms())
            self._counted.note(rows)
            return
        # The batch is worthless now. Drop it before the next await, which may fail.
        self._drop_all()

    async def _commit_freshness(self) -> None:
        """On an idle system: commits that the positions have reached the ends of a new poll."""
        seen = self._ends
        if seen is None or seen.started_ms <= self._fresh_ms:
            return
        caught_up = [
            Progress(p, position, position, -1, 0, complete_ms)
            for p, position in sorted(self._positions.items())
            if (complete_ms := self._complete_ms(p, max(position, 0)))
        ]
        self._fresh_ms = seen.started_ms
        if not self.lag():
            self.health.progress_ms = self._clock.now_ms()
        if caught_up:
            reply = await self._store.commit(self._commit(caught_up))
            self.health.store_away = ""
            self.health.note_complete(caught_up if reply.outcome is Outcome.COMMITTED else ())
            if reply.outcome not in {Outcome.COMMITTED, Outcome.PAUSED}:
                self._drop_all()
