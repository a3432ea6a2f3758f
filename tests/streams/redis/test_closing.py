"""Closing: coarser tiers get every row of the finer ones once, whichever worker closes, and whenever.

The truth is a store that writes every tier at once (`ALL_CLOSED`). The fake store and the real one
pass the same tests.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import redis

from schemas.catalog.views import TOTAL
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store import layout
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION, Meta, counters_of
from schemas.tiers import ALL_CLOSED, DAY, MINUTE, QUARTER, TIERS, Closed, first_closed, floor_to
from schemas.units import iso
from streams.core.columns import Columns, columns
from streams.core.fold import fold
from streams.core.ports import Commit, CounterStore, Outcome, Progress, Reply
from streams.redis.closing import LATE_MS, LONGEST_OPEN_MS, may_be_closed
from streams.redis.store import RedisStore
from tests.oracles.event_logs import DEFAULT_MIX, SECRET, countable, fresh, mixed, record
from tests.oracles.redis_counters import read_counters
from tests.simulation.log import PolledRecord
from tests.simulation.state import Bugs
from tests.simulation.store import FakeStore

NOW_MS: Final = time.time_ns() // 1_000_000
"""Of this day: the real store lets pages of long ago expire."""
START_MS: Final = floor_to(NOW_MS, HOUR_MS) - 4 * HOUR_MS
DIGEST: Final = generation_digest("closing")
LLM: Final = TOTAL.tables["llm"]


@dataclass
class Subject:
    """A store under test, how to make another client of it, and how to look into it."""

    store: CounterStore
    other: Callable[[], CounterStore]
    counters: Callable[[], Mapping[Any, tuple[int, ...]]]
    truth: FakeStore = field(default_factory=FakeStore)
    at: int = NO_POSITION

    async def open(self) -> None:
        await self.store.open(DIGEST, 1, START_MS, SECRET, first_closed(START_MS))
        await self.truth.open(DIGEST, 1, START_MS, SECRET, ALL_CLOSED)

    def check(self) -> None:
        """Everything that may be read is as in the truth. What is older may have expired in the one, and
        was never written to the other."""
        assert readable(self.counters()) == readable(self.truth.counters())

    async def meta(self) -> Meta:
        meta = await self.store.meta()
        assert meta is not None
        return meta

    async def count(self, rows: Columns, complete_ms: int, closed: Closed | None = None) -> Reply:
        """Commits these rows to the truth too, if the store takes them."""
        end = max(self.at, 0) + 1
        reply = Reply(Outcome.COMMITTED)
        for store in (self.store, self.truth):
            held = await store.bookings(rows.secret, rows.booked_calls)
            meta = await store.meta()
            assert meta is not None
            made_for = closed if closed is not None and store is self.store else meta.closed
            commit = Commit(
                id=end.to_bytes(16, "big"),
                generation_digest=DIGEST,
                secret=SECRET.name,
                now_ms=NOW_MS,
                count=1,
                absent_ms={},
                partitions=[Progress(0, self.at, end, end - 1, START_MS, complete_ms)],
                closed=made_for,
                delta=fold(rows, held, made_for),
            )
            reply = await store.commit(commit)
            if reply.outcome is not Outcome.COMMITTED:
                return reply
        self.at = end
        return reply

    async def close(self, now_ms: int, store: CounterStore | None = None) -> None:
        store = store or self.store
        if isinstance(store, RedisStore):
            store._closes_ms = 0  # as if its pause were over
        await store.close_pages(DIGEST, now_ms, bytes(16))

    async def close_all(self, now_ms: int) -> None:
        await self.close(now_ms)  # a client asks for the server's epoch first
        for _ in range(200):
            before = await self.meta()
            await self.close(now_ms)
            meta = await self.meta()
            if meta == before and meta.closed == meta.closing:
                return
        raise AssertionError("closing comes to no end")


def readable(counters: Mapping[Any, tuple[int, ...]]) -> dict[Any, tuple[int, ...]]:
    kept_ms = {tier.name: tier.kept_ms for tier in TIERS}
    return {cell: v for cell, v in counters.items() if cell[4] >= NOW_MS - kept_ms[cell[1]]}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.servers)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "fake":
        fake = FakeStore()
        yield Subject(fake, fake.client, fake.counters)
        return
    url = request.getfixturevalue("redis_url")
    async with RedisStore(url) as store, RedisStore(url) as other:
        yield Subject(store, lambda: other, lambda: read_counters(url))


def some_rows(rng: random.Random, start_ms: int, count: int = 20) -> Columns:
    records = mixed(rng, count, start_ms=start_ms, mix=DEFAULT_MIX)
    raw = [PolledRecord(r.offset, r.append_ms, r.value, r.headers) for r in records]
    return columns(countable(raw), secret=SECRET)


def one_event(at_ms: int, append_ms: int, number: int = 1) -> Columns:
    """A call to a model at this time."""
    rng = random.Random(number)
    fields = fresh(rng.choice, number, append_ms) | {
        "kind": "llm",
        "time": iso(at_ms),
        "tenant": "default",
    }
    made = record(fields, offset=number, append_ms=append_ms)
    raw = [PolledRecord(number, append_ms, made.value, made.headers)]
    return columns(countable(raw), secret=SECRET)


@pytest.mark.parametrize("seed", range(6))
async def test_every_tier_has_every_event_once_at_every_moment(subject: Subject, seed: int) -> None:
    rng = random.Random(seed)
    await subject.open()
    now_ms = START_MS
    for _ in range(14):
        now_ms = min(NOW_MS, now_ms + rng.choice((1000, 5 * MINUTE_MS, 40 * MINUTE_MS)))
        stale = rng.choice((None, None, first_closed(START_MS)))
        before = await subject.meta()
        reply = await subject.count(some_rows(rng, now_ms), now_ms, stale)
        if stale is not None and stale != before.closed:
            assert (reply.outcome, tuple(reply.subjects)) == (Outcome.CLOSED, before.closed)
        for _ in range(rng.randrange(4)):
            clients = [subject.store, subject.other()][: rng.randint(1, 2)]
            await asyncio.gather(*(subject.close(now_ms, client) for client in clients))
            if rng.random() < 0.3:
                await subject.store.compact_pages()
            subject.check()
    await subject.close_all(NOW_MS)
    subject.check()
    closed = (await subject.meta()).closed
    assert closed.minutes_ms >= floor_to(now_ms - LATE_MS - HOUR_MS, MINUTE.chunk_ms)
    assert closed.quarters_ms == floor_to(closed.minutes_ms, QUARTER.chunk_ms)


async def test_a_late_event_is_in_every_tier_that_is_closed_for_its_time(subject: Subject) -> None:
    await subject.open()
    at_ms = START_MS + MINUTE_MS
    await subject.count(one_event(at_ms, at_ms), START_MS + 3 * HOUR_MS)
    await subject.close_all(START_MS + 3 * HOUR_MS)
    closed = (await subject.meta()).closed
    assert closed.minutes_ms > at_ms
    late = one_event(at_ms, START_MS + 3 * HOUR_MS, 2)
    assert (await subject.count(late, NOW_MS, first_closed(START_MS))).outcome is Outcome.CLOSED
    assert (await subject.count(late, NOW_MS)).outcome is Outcome.COMMITTED
    tiers = {
        cell[1]: values[0]
        for cell, values in subject.counters().items()
        if cell[0] == "total" and cell[3] == ("llm",)
    }
    assert tiers == {"1m": 2, "15m": 2, "1h": 2, "1d": 2}
    subject.check()


async def test_a_row_that_comes_while_its_chunk_is_closed_is_not_lost(subject: Subject) -> None:
    """Two pages of one chunk: one is closed and gets another row before the other one is."""
    await subject.open()
    rng = random.Random(7)
    for number in range(4):
        await subject.count(some_rows(rng, START_MS + number * MINUTE_MS, 60), START_MS)
    over_ms = START_MS + 2 * HOUR_MS
    await subject.count(some_rows(rng, over_ms, 1), over_ms)
    if isinstance(subject.store, RedisStore):
        subject.store._pages_max = 3
    await subject.close(over_ms)
    await subject.close(over_ms)
    meta = await subject.meta()
    assert meta.closed.minutes_ms < meta.closing.minutes_ms
    for number in range(6):
        await subject.count(some_rows(rng, START_MS + number * MINUTE_MS, 30), over_ms)
        await subject.close(over_ms)
        await subject.store.compact_pages()
        subject.check()
    await subject.close_all(over_ms)
    subject.check()


async def test_rows_that_closing_forgets_are_missed() -> None:
    """The test before this one would find the fault."""
    fake = FakeStore(bugs=Bugs(forgets_late_rows=True))
    with pytest.raises(AssertionError):
        await test_a_row_that_comes_while_its_chunk_is_closed_is_not_lost(
            Subject(fake, fake.client, fake.counters)
        )


def test_a_partition_that_is_behind_holds_closing_up_for_a_day() -> None:
    first = first_closed(NOW_MS)
    fresh_part = layout.PartitionMeta(1, bytes(16), 0, 0, NOW_MS, 0, 0)

    def meta(complete_ms: int) -> Meta:
        behind = layout.PartitionMeta(1, bytes(16), 0, 0, complete_ms, 0, 0)
        parts = (fresh_part, behind)
        return Meta(layout.LIVE, DIGEST, 0, 0, 0, 0, 0, 0, 0, parts, first, first)

    for complete_ms, over_ms in (
        (NOW_MS, NOW_MS),
        (NOW_MS + HOUR_MS, NOW_MS),
        (NOW_MS - 5 * HOUR_MS, NOW_MS - 5 * HOUR_MS),
        (0, NOW_MS - LONGEST_OPEN_MS),
    ):
        closing = may_be_closed(meta(complete_ms), NOW_MS)
        assert closing.minutes_ms == floor_to(over_ms - LATE_MS, MINUTE.chunk_ms)
        assert closing.quarters_ms == floor_to(first.minutes_ms, QUARTER.chunk_ms)


@pytest.mark.servers
async def test_a_page_expires_only_after_it_was_closed(redis_url: str) -> None:
    """Nobody closes for longer than minutes are kept: then a worker comes back, and reads no event less."""
    page_kind = counters_of(LLM)
    opened_ms = NOW_MS - 6 * DAY_MS
    at_ms = opened_ms + MINUTE_MS
    assert at_ms < NOW_MS - MINUTE.kept_ms - 2 * DAY_MS
    async with RedisStore(redis_url) as store:
        subject = Subject(store, lambda: store, lambda: read_counters(redis_url))
        await store.open(DIGEST, 1, opened_ms, SECRET, first_closed(opened_ms))
        await subject.truth.open(DIGEST, 1, opened_ms, SECRET, ALL_CLOSED)
        await subject.count(one_event(at_ms, at_ms), at_ms)
        with redis.Redis.from_url(redis_url) as client:
            head = f"{layout.prefix(1)}{page_kind.head}.{MINUTE.id}."
            (key,) = client.scan_iter(match=f"{head}*")
            assert client.pttl(key) == -1
            # A backlog: its event is older than minutes are kept, and they are not closed for its time.
            await subject.count(one_event(at_ms, NOW_MS, 2), NOW_MS)
            await subject.close_all(NOW_MS)
            assert 0 < client.pttl(key) <= DAY_MS
            assert (await subject.meta()).closed.minutes_ms > NOW_MS - 2 * HOUR_MS
            (coarse,) = client.scan_iter(match=f"{layout.prefix(1)}{page_kind.head}.{QUARTER.id}.*")
            assert client.pttl(coarse) > 0
    counts = {
        cell[1]: values[0]
        for cell, values in read_counters(redis_url).items()
        if cell[0] == "total" and cell[3] == ("llm",)  # not the booking of its call
    }
    assert counts == {"1m": 2, "15m": 2, "1h": 2, "1d": 2}


@pytest.mark.servers
async def test_a_live_event_is_written_to_one_tier(redis_url: str) -> None:
    async with RedisStore(redis_url) as store:
        subject = Subject(store, lambda: store, lambda: read_counters(redis_url))
        await subject.open()
        await subject.count(one_event(START_MS, START_MS), START_MS)
    with redis.Redis.from_url(redis_url) as client:
        keys = [key.decode() for key in client.scan_iter(match=f"{layout.prefix(1)}[ps][0-9]*")]
    tiers = {key.rsplit(".", 4)[1] for key in keys}
    assert tiers == {str(MINUTE.id), str(QUARTER.id)}  # quarters: of views that have no minutes
    assert str(DAY.id) not in tiers
    places = [key.rsplit(".", 4)[0] for key in keys]
    assert len(places) == len(set(places))
