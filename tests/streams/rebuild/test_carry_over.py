"""What is older than the log is the old generation's, the rest is counted from the log: a week of it.

The log is a list here, as a real one cannot be given append times of last week; Redis is real.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from schemas.catalog.measures import FACTS, MEASURES
from schemas.catalog.views import ASKED, DEFAULT, DIMENSIONS, REMEMBERED_MS, SLICE_MS, Catalog
from schemas.errors import OtherGeneration, RebuildRefused
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.prices.price_list import BUNDLED, Prices
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import LIVE, Meta, PartitionMeta, page_kept_ms
from schemas.tiers import ALL_CLOSED, TIERS
from streams.core.ports import (
    LastRecord,
    OffsetBounds,
    PairState,
    PartitionBatch,
    Polled,
    RejectedRecord,
)
from streams.rebuild.carry_over import (
    CarryOver,
    carry_over_before,
    closed_at_first,
    first_carried_slice,
)
from streams.rebuild.rebuild_worker import AT_ONCE, BoundedLog, RebuildWorker
from streams.rebuild.shared_history import shared_with
from streams.redis.generations import GenerationEntry, RedisGenerations, RedisPair
from streams.redis.store import RedisStore
from streams.worker.clock import ProcessClock
from streams.worker.health import Timing
from streams.worker.loop import Worker
from tests.oracles.event_logs import Mix, Record, mixed
from tests.oracles.fold_oracle import Cell, expected
from tests.oracles.price_list import OWN
from tests.oracles.redis_counters import page_kinds_of, read_counters, read_id_counts
from tests.oracles.redis_users import assert_told, read_people, read_recent
from tests.simulation.log import PolledRecord

TOPIC: Final = "older"
TIMING: Final = Timing(poll_ends_ms=5, clock_skew_ms=0, recheck_ms=50, stalled_ms=10**9)
WEEK: Final = Mix(partitions=2, resent_percent=0, cloudevent_percent=0, step_ms=110 * MINUTE_MS)
ALL_WEEK: Final = b'"c|0"'
"""A call that rests for longer than it is remembered, which the oracle does not know of."""
EXPIRING_MS: Final = HOUR_MS
"""Pages that go while the test runs are not compared."""


@dataclass
class ListLog:
    """All partitions of a log from `starts` on; what is in `records` by then is there."""

    records: Sequence[Record]
    starts: Mapping[int, int]
    positions: dict[int, int] = field(default_factory=dict)

    async def poll(self, records_max: int, wait_ms: int) -> Polled:
        batches = []
        for partition, position in self.positions.items():
            found = [r for r in self._of(partition) if r.offset >= position][: records_max // 2 + 1]
            if found:
                self.positions[partition] = found[-1].offset + 1
                taken = [PolledRecord(r.offset, r.append_ms, r.value, r.headers) for r in found]
                batches.append(PartitionBatch(partition, found[-1].offset + 1, taken))
        await asyncio.sleep(0 if batches else wait_ms / 1000)
        return Polled(1, frozenset(self.starts), batches)

    def _of(self, partition: int) -> list[Record]:
        return [r for r in self.records if r.partition == partition]

    def seek(self, positions: Mapping[int, int]) -> None:
        self.positions |= positions

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        ends = {p: max((r.offset + 1 for r in self._of(p)), default=0) for p in self.starts}
        return {p: OffsetBounds(start, ends[p]) for p, start in self.starts.items()}

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:
        found = [r for r in self._of(partition) if r.offset >= offset]
        return LastRecord(found[0].offset, found[0].append_ms) if found else None

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        pass


async def counts(worker: Worker, until: int) -> None:
    """Until it is switched off by a rebuild, or has counted up to where the log ends."""
    while sum(max(position, 0) for position in worker._positions.values()) < until:
        await worker._turn()


async def counts_until_replaced(worker: Worker) -> None:
    with suppress(OtherGeneration):
        while True:
            await worker._turn()


def worker_of(
    log: ListLog, store: RedisStore, prices: Prices, catalog: Catalog = DEFAULT
) -> Worker:
    digest = generation_digest(TOPIC, prices.version, catalog)
    return Worker(log, store, ProcessClock(), digest, AT_ONCE, TIMING, prices, catalog)


ADDED: Final = {
    view.name: sum(dimension in ASKED for dimension in view.dimensions) for view in DEFAULT.views
}
ADDED_SKETCHES: Final = {("agent", "chats")}
OLDER: Final = Catalog(
    dimensions={name: fields for name, fields in DIMENSIONS.items() if name not in ASKED},
    measures=tuple(measure for measure in MEASURES if measure not in FACTS),
    views=tuple(
        replace(
            view,
            dimensions=view.dimensions[: len(view.dimensions) - ADDED[view.name]],
            measures=tuple(measure for measure in view.measures if measure not in FACTS),
        )
        for view in DEFAULT.views
    ),
)
"""The catalog of layouts 3 and 4, before views by model had operation, tier and class of errors."""


def as_older(counters: Mapping[Cell, tuple[int, ...]]) -> dict[Cell, tuple[int, ...]]:
    """What OLDER keeps of counters: sums over the added dimensions, without the added measures. A
    digest of a set is there, or not."""
    views = {view.name: view for view in DEFAULT.views}
    found: dict[Cell, tuple[int, ...]] = {}
    for (view, tier, tenant, series, start_ms, *more), values in counters.items():
        if more and (view, more[0]) in ADDED_SKETCHES:
            continue
        cell = (view, tier, tenant, series[: len(series) - ADDED[view]], start_ms, *more)
        measures = views[view].tables[series[0]].measures
        kept_values = values
        if not more:
            kept_values = tuple(
                value for value, one in zip(values, measures, strict=False) if one not in FACTS
            )
        known = found.get(cell, (0,) * len(kept_values))
        total = tuple(a + b for a, b in zip(known, kept_values, strict=True))
        found[cell] = (1,) if more and more[0] == "chats" else total
    return {cell: values for cell, values in found.items() if any(values) or not values}


def kept(
    counters: Mapping[Cell, tuple[int, ...]], now_ms: int, end_ms: int = 0
) -> dict[Cell, tuple[int, ...]]:
    """Without what expires about now, or may not be read any more when the log ends: an event that is
    older when it is appended is kept where its bucket is not closed yet."""
    tiers = {tier.name: tier for tier in TIERS}

    def stays(cell: Cell) -> bool:
        tier = tiers[cell[1]]
        chunk_end_ms = (cell[4] // tier.chunk_ms + 1) * tier.chunk_ms
        is_there = chunk_end_ms + page_kept_ms(tier) > now_ms + EXPIRING_MS
        return bool(is_there and cell[4] >= end_ms - tier.kept_ms)

    return {cell: values for cell, values in counters.items() if stays(cell)}


@pytest.mark.servers
@pytest.mark.parametrize(("seed", "older"), [(1, DEFAULT), (2, DEFAULT), (3, OLDER)])
async def test_before_b_the_old_generation_from_b_on_the_log(
    redis_url: str, seed: int, older: Catalog
) -> None:
    now_ms = time.time_ns() // 1_000_000
    log = mixed(random.Random(seed), 450, start_ms=now_ms - 7 * DAY_MS, mix=WEEK)
    records = [record for record in log if ALL_WEEK not in (record.value or b"")]
    log_ms = records[0].append_ms + 2 * DAY_MS
    begin = {
        p: min(r.offset for r in records if r.partition == p and r.append_ms >= log_ms)
        for p in range(WEEK.partitions)
    }
    first_ms = max(
        next(r.append_ms for r in records if (r.partition, r.offset) == at) for at in begin.items()
    )
    before_ms = carry_over_before(first_ms)
    assert before_ms < records[-1].append_ms  # else nothing is counted again
    whole = ListLog(records[:300], dict.fromkeys(begin, 0))
    entry = GenerationEntry(origin=1, begun_ms=now_ms, older_ms=before_ms)
    about = describe(TOPIC)
    async with (
        RedisStore(redis_url, about=describe(TOPIC, older)) as store,
        RedisGenerations(redis_url) as generations,
        RedisPair(redis_url, 1, 2) as pair,
        RedisStore(redis_url) as next_store,
    ):
        old = worker_of(whole, store, BUNDLED, older)
        ends = {p: max(r.offset + 1 for r in records[:300] if r.partition == p) for p in begin}
        await counts(old, sum(ends.values()))
        digest = generation_digest(TOPIC, OWN.version)
        counted = await generations.meta()
        assert counted is not None
        closed = closed_at_first(counted, now_ms)
        begin_at = list(begin.values())
        assert await generations.begin(2, entry, digest, begin_at, 0, about, None, closed)
        whole.records = records[:400]  # which it goes on counting meanwhile
        carry_over = CarryOver(pair, shared_with(await generations.about(1)), entry, now_ms)
        left = [r for r in records if r.offset >= begin[r.partition]]
        worker = RebuildWorker(
            ListLog(left, begin),
            pair,
            ProcessClock(),
            digest,
            pair,
            carry_over,
            timing=TIMING,
            prices=OWN,
        )
        counting = asyncio.create_task(counts_until_replaced(old))
        await worker.fill_and_switch(0)
        whole.records = records  # of which it counts nothing any more
        await counting
        assert (await generations.entries())[2].is_whole
        rest = worker_of(ListLog(left, begin), next_store, OWN)
        ends = {p: max(r.offset + 1 for r in records if r.partition == p) for p in begin}
        await counts(rest, sum(ends.values()))
        tallies = await next_store.tallies()
        retired = await generations.meta_of(1)
    assert read_id_counts(redis_url, 2)[records[-1].append_ms // SLICE_MS]
    was, now = expected(records, BUNDLED), expected(records, OWN)
    want = {cell: values for cell, values in was.counters.items() if cell[4] < before_ms}
    want |= {cell: values for cell, values in now.counters.items() if cell[4] >= before_ms}
    # What came to an old bucket after the switch, was priced by the new one.
    assert retired
    by_old = [r for r in records if r.offset < retired.partitions[r.partition].position]
    at_switch = expected(by_old, BUNDLED).counters
    late = {cell for cell, values in want.items() if at_switch.get(cell) != values}
    end_ms = records[-1].append_ms
    got = kept(read_counters(redis_url, 2), now_ms, end_ms)
    wanted = kept(want, now_ms, end_ms)
    if older is OLDER:
        got, wanted = as_older(got), as_older(wanted)
        late = set(as_older(dict.fromkeys(late, ())))
    wrong = {c: (got.get(c), wanted.get(c)) for c in got.keys() | wanted.keys()}
    wrong = {
        cell: pair
        for cell, pair in wrong.items()
        if pair[0] != pair[1] and not (cell in late and cell[4] < before_ms)
    }
    assert not wrong, f"{len(wrong)} of {len(wanted)}: {dict([*wrong.items()][:5])}"
    assert sum(1 for cell in wanted if cell[4] < before_ms and cell not in late) > 100
    assert sum(1 for cell in wanted if cell[4] >= before_ms) > 100
    assert_told(read_people(redis_url), read_recent(redis_url, 2), was)
    dead = {f"dead:{reason}": n for reason, n in was.letters_by_reason.items()}
    assert {name: n for name, n in tallies.items() if name.startswith("dead:")} == dead


def test_b_lies_behind_everything_that_a_lost_record_may_touch() -> None:
    first_ms = 1_770_544_800_123
    assert carry_over_before(first_ms) % DAY_MS == 0
    assert carry_over_before(first_ms) > first_ms + REMEMBERED_MS + HOUR_MS
    assert carry_over_before(first_ms) < first_ms + 3 * DAY_MS


def meta_at(complete_ms: int, slice_low: int, slice_high: int) -> Meta:
    """The state of a generation with one partition that is complete to `complete_ms`."""
    part = PartitionMeta(1, bytes(16), 0, 0, complete_ms, 0, 0)
    digest = bytes(16)
    slices = (slice_low, slice_high)
    return Meta(LIVE, digest, 0, 0, *slices, 0, 0, 0, (part,), ALL_CLOSED, ALL_CLOSED)


@pytest.mark.parametrize("complete_ms", [0, 5, 40 * DAY_MS, 40 * DAY_MS + SLICE_MS - 1])
def test_ids_that_a_record_to_come_looks_for_are_carried_over(complete_ms: int) -> None:
    """Also of an old generation that counted a month at once, and has all of its slices still."""
    old = meta_at(41 * DAY_MS, slice_low=1, slice_high=82)
    first = first_carried_slice(PairState(old, meta_at(complete_ms, 0, 0)))
    remembered = max(1, (complete_ms - REMEMBERED_MS) // SLICE_MS)
    assert first == remembered
    assert first_carried_slice(PairState(meta_at(0, 79, 82), meta_at(0, 0, 0))) == 79


def test_what_the_old_generation_lacks_is_named() -> None:
    assert shared_with(describe(TOPIC)).missing == ()
    heads = {page_kind.head for table in DEFAULT.tables for page_kind in page_kinds_of(table)}
    assert set(shared_with(describe(TOPIC)).page_kinds) == heads
    other = describe(TOPIC).replace('"agent_id"', '"service"', 1)
    missing = shared_with(other).missing
    assert "agent" in missing
    assert "total" not in missing


@pytest.mark.parametrize("about", ["", "{}", describe(TOPIC).replace('"layout":', '"layout":9')])
def test_older_counters_of_another_layout_are_refused(about: str) -> None:
    with pytest.raises(RebuildRefused, match="the topic no longer holds all"):
        shared_with(about)


# -- the fence -------------------------------------------------------------------------------------


def polled(offset: int) -> PolledRecord:
    return PolledRecord(offset, 0, b"", ())


class Once:
    """A log that hands over one batch, and then nothing."""

    def __init__(self, batch: PartitionBatch) -> None:
        self.batches = [batch]

    async def poll(self, records_max: int, wait_ms: int) -> Polled:  # noqa: ARG002
        batches, self.batches = self.batches, []
        return Polled(1, frozenset({0}), batches)

    def seek(self, positions: Mapping[int, int]) -> None:
        pass


async def through(
    fence: BoundedLog, at: int, records_max: int = 100
) -> list[tuple[int, list[int]]]:
    fence.at = {0: at}
    found = (await fence.poll(records_max, 0)).batches
    return [(batch.end, [record.offset for record in batch.records]) for batch in found]


async def test_a_fence_hands_over_no_more_than_it_may_and_loses_nothing() -> None:
    fence = BoundedLog(Once(PartitionBatch(0, 12, [polled(3), polled(5), polled(9)])))  # type: ignore[arg-type]
    fence.seek({0: 3})
    assert await through(fence, 3) == []
    assert await through(fence, 4) == [(4, [3])]
    assert await through(fence, 8) == [(8, [5])]  # what lies between is a gap
    assert await through(fence, 8) == []
    assert await through(fence, 11) == [(11, [9])]
    assert await through(fence, 20) == [(12, [])]
    assert await through(fence, 20) == []


async def test_a_bounded_log_keeps_to_the_limit_and_drops_records_after_a_seek() -> None:
    fence = BoundedLog(Once(PartitionBatch(0, 12, [polled(3), polled(5), polled(9)])))  # type: ignore[arg-type]
    fence.seek({0: 3})
    assert await through(fence, 20, 2) == [(9, [3, 5])]
    fence.seek({0: 5})
    assert await through(fence, 20) == []
