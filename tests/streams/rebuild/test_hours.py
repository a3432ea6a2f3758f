"""A rebuild from a generation that has no hours, as those of layouts 3 to 6.

The old generation is counted by the code of today. Then its hours are deleted and its description is
that of layout 6: nothing else has changed since.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from typing import Final

import pytest
import redis

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import Meta, about_key, prefix
from schemas.tiers import ALL_CLOSED, HOUR, QUARTER, TIERS, Closed, first_closed, floor_to
from streams.rebuild.carry_over import CarryOver, carry_over_before, closed_at_first, hours_from
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.shared_history import shared_with
from streams.redis.generations import GenerationEntry, RedisGenerations, RedisPair
from streams.redis.store import RedisStore
from streams.worker.clock import ProcessClock
from tests.oracles.event_logs import Record, mixed
from tests.oracles.fold_oracle import Cell, expected
from tests.oracles.redis_counters import read_counters
from tests.streams.rebuild.test_carry_over import (
    TIMING,
    TOPIC,
    WEEK,
    ListLog,
    counts,
    kept,
    worker_of,
)

OLD_MS: Final = 300 * DAY_MS
"""The first half of the log has events that are so much older than their records (a backfill): hours
are kept of that time, quarter-hours are not."""
HALF_A_DAY: Final = replace(WEEK, step_ms=12 * MINUTE_MS)


def about_layout_6() -> str:
    said = json.loads(describe(TOPIC))
    said["layout"] = 6
    said["tiers"] = [tier for tier in said["tiers"] if tier[0] != HOUR.id]
    said["closing"] = [pair for pair in said["closing"] if pair[0] != HOUR.id]
    for view in said["views"]:
        view[3] = [tier for tier in view[3] if tier != HOUR.id]
    return json.dumps(said)


def old_and_new(now_ms: int) -> list[Record]:
    """Half a day of records with events of OLD_MS ago, then some days of others."""
    weeks = []
    for seed, ago_ms, mix in ((1, OLD_MS, HALF_A_DAY), (2, 0, WEEK)):
        start_ms = now_ms - ago_ms - 5 * DAY_MS
        log = mixed(random.Random(seed), 60, start_ms=start_ms, mix=mix)
        weeks.append(
            [
                replace(record, append_ms=record.append_ms + max(0, ago_ms - DAY_MS))
                for record in log
                if b"call_id" not in (record.value or b"")
            ]
        )
    old, new = weeks
    ends = {p: max(r.offset + 1 for r in old if r.partition == p) for p in range(WEEK.partitions)}
    return [*old, *(replace(r, offset=r.offset + ends[r.partition]) for r in new)]


@pytest.mark.servers
async def test_hours_are_made_from_quarter_hours_and_the_generation_says_from_when(
    redis_url: str,
) -> None:
    now_ms = time.time_ns() // 1_000_000
    records = old_and_new(now_ms)
    new_ms = now_ms - 5 * DAY_MS
    begin = {
        p: min(r.offset for r in records if r.partition == p and r.append_ms >= new_ms)
        for p in range(WEEK.partitions)
    }
    first_ms = max(
        next(r.append_ms for r in records if (r.partition, r.offset) == at) for at in begin.items()
    )
    older_ms = carry_over_before(first_ms)
    digest = generation_digest(TOPIC)
    async with (
        RedisStore(redis_url, about=describe(TOPIC)) as store,
        RedisGenerations(redis_url) as generations,
        RedisPair(redis_url, 1, 2) as pair,
    ):
        old = worker_of(ListLog(records, dict.fromkeys(begin, 0)), store, BUNDLED)
        ends = {p: max(r.offset + 1 for r in records if r.partition == p) for p in begin}
        await counts(old, sum(ends.values()))
        with redis.Redis.from_url(redis_url) as client:
            pages = [*client.scan_iter(match=f"{prefix(1)}[ps][0-9]*")]
            hours = [key for key in pages if key.rsplit(b".", 4)[1] == str(HOUR.id).encode()]
            assert 0 < len(hours) < len(pages)
            client.delete(*hours)
            client.set(about_key(1), about_layout_6())
        counted = await generations.meta()
        assert counted is not None
        shared = shared_with(await generations.about(1))
        assert shared.lacks_hours
        assert not shared.missing
        closed = closed_at_first(counted, now_ms)
        from_ms = hours_from(counted, shared, older_ms, closed)
        assert from_ms == closed.quarters_ms > now_ms - OLD_MS + 100 * DAY_MS
        entry = GenerationEntry(origin=1, begun_ms=now_ms, older_ms=older_ms)
        about = describe(TOPIC)
        begin_at = [*begin.values()]
        assert await generations.begin(2, entry, digest, begin_at, 0, about, None, closed, from_ms)
        left = [r for r in records if r.offset >= begin[r.partition]]
        worker = RebuildWorker(
            ListLog(left, begin),
            pair,
            ProcessClock(),
            digest,
            pair,
            CarryOver(pair, shared, entry, now_ms),
            timing=TIMING,
            prices=BUNDLED,
        )
        await worker.fill_and_switch(0)
        async with RedisStore(redis_url) as closing:
            await close_all(closing, digest, now_ms + 2 * DAY_MS)
        meta = await generations.meta()
    assert meta is not None
    assert generations.generation == 2
    assert meta.hours_from_ms == from_ms
    assert meta.closed.quarters_ms > floor_to(now_ms, DAY_MS)  # all hours are rows of their own
    got = kept(read_counters(redis_url, 2), now_ms)
    wanted = kept(expected(records, BUNDLED).counters, now_ms)
    got, wanted = ({c: v for c, v in all_.items() if in_time(c, from_ms)} for all_ in (got, wanted))
    wrong = {c: (got.get(c), wanted.get(c)) for c in got.keys() | wanted.keys()}
    wrong = {cell: pair for cell, pair in wrong.items() if pair[0] != pair[1]}
    assert not wrong, f"{len(wrong)} of {len(wanted)}: {dict([*wrong.items()][:5])}"
    of_hours_before_b = [c for c in wanted if c[1] == HOUR.name and c[4] < older_ms]
    assert len(of_hours_before_b) > 20  # made from quarter-hours that were copied
    assert [c for c in wanted if c[1] == "1d" and c[4] < from_ms]


def in_time(cell: Cell, from_ms: int) -> bool:
    return bool(cell[1] != HOUR.name or cell[4] >= from_ms)


async def close_all(store: RedisStore, digest: bytes, now_ms: int) -> None:
    assert await store.meta() is not None
    while True:
        store._closes_ms = 0
        await store.close_pages(digest, now_ms, bytes(16))
        meta = await store.meta()
        assert meta is not None
        if meta.closed == meta.closing and meta.closed.quarters_ms > now_ms - 2 * DAY_MS:
            return


def meta_with(closed: Closed, hours_from_ms: int) -> Meta:
    return Meta(1, b"", 0, 0, 0, 0, 0, 0, 0, (), closed, closed, hours_from_ms)


@pytest.mark.parametrize(
    ("has_hours", "old_from", "older_ms", "closed_ms", "from_ms"),
    [
        (False, 0, 9, 5, 5),  # from the quarter-hours that were copied
        (False, 0, 3, 5, 3),  # from the log, which holds more
        (True, 0, 9, 5, 0),  # all were copied
        (True, 4, 9, 5, 4),  # those that the old one had
        (True, 7, 9, 5, 5),
    ],
)
def test_from_when_a_generation_has_hours(
    *, has_hours: bool, old_from: int, older_ms: int, closed_ms: int, from_ms: int
) -> None:
    shared = shared_with(describe(TOPIC) if has_hours else about_layout_6())
    old = meta_with(ALL_CLOSED, old_from * DAY_MS)
    closed = Closed(older_ms * DAY_MS, closed_ms * DAY_MS)
    assert hours_from(old, shared, older_ms * DAY_MS, closed) == from_ms * DAY_MS


def test_what_is_copied_of_a_generation_without_hours() -> None:
    shared = shared_with(about_layout_6())
    assert {tier.name for tier in shared.tiers.values()} == {t.name for t in TIERS} - {HOUR.name}
    assert all(HOUR not in common.old.tiers for common in shared.page_kinds.values())
    now_ms = 1_770_544_800_000
    assert now_ms - first_closed(now_ms).quarters_ms <= QUARTER.kept_ms + HOUR_MS
