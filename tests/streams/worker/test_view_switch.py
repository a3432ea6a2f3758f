"""A catalog that only adds views takes effect without a rebuild, once, for all workers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest
import redis

from schemas.catalog.views import DEFAULT, SLICE_MS, Catalog
from schemas.limits import AHEAD_MS_MAX, HOUR_MS, MINUTE_MS
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import FIRST_GENERATION, Meta, prefix
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from streams.worker.view_switch import add_views, has_other_views
from tests.oracles.event_logs import SECRET, Mix, countable, mixed
from tests.oracles.redis_counters import read_counters, sums_since
from tests.schemas.store.test_added_views import SOURCE, TEAM, catalog
from tests.simulation.log import PolledRecord
from tests.streams.redis.test_store_contract import NOW_MS

pytestmark = pytest.mark.servers

TOPIC: Final = "switch"
MORE: Final = catalog(SOURCE + 'measures = ["usage", "booked"]\nhistograms = ["latency"]\n')
ONE: Final = Mix(partitions=1, resent_percent=0, invalid_percent=0)
ADDED: Final = MORE.views[-1]


def digest(under: Catalog) -> bytes:
    return generation_digest(TOPIC, catalog=under)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(redis_url, about=describe(TOPIC)) as store:
        await store.open(digest(DEFAULT), 1, NOW_MS, SECRET)
        yield store


async def meta_of(store: RedisStore) -> Meta:
    meta = await store.meta()
    assert meta is not None
    return meta


async def add(store: RedisStore, under: Catalog) -> str | None:
    return await add_views(store, await meta_of(store), TOPIC, under)


async def count(
    store: RedisStore, under: Catalog, log: Sequence[PolledRecord], start: int = -1
) -> Outcome:
    """These records, as a worker with this catalog commits them."""
    rows = columns(countable(log), catalog=under, secret=SECRET)
    end = max(start, 0) + len(log)
    commit = Commit(
        id=(end + 1000 * len(under.views)).to_bytes(16, "big"),
        generation_digest=digest(under),
        secret=SECRET.name,
        now_ms=NOW_MS,
        count=1,
        absent_ms={},
        partitions=[Progress(0, start, end, end - 1, log[-1].timestamp, 0)],
        digests=rows.digests,
        slices=rows.append_ms // SLICE_MS,
        delta=fold(rows, await store.bookings(rows.secret, rows.booked_calls)),
    )
    return (await store.commit(commit)).outcome


def logs(seed: int) -> list[PolledRecord]:
    """Events of several hours, some late, some ahead of their append, some of calls."""
    records = mixed(random.Random(seed), 300, mix=ONE, start_ms=NOW_MS - 3 * HOUR_MS)
    return [PolledRecord(r.offset, r.append_ms, r.value, r.headers) for r in records]


@pytest.mark.parametrize("seed", range(3))
async def test_since_it_counts_an_added_view_lacks_no_event(
    store: RedisStore, redis_url: str, seed: int
) -> None:
    log = logs(seed)
    half = len(log) // 2
    assert await count(store, DEFAULT, log[:half]) is Outcome.COMMITTED
    assert has_other_views(await meta_of(store), digest(MORE))
    assert await add(store, MORE) is None
    assert (await meta_of(store)).digest == digest(MORE)
    assert await store.about() == describe(TOPIC, MORE)
    starts = await store.view_starts()
    assert [*starts] == [ADDED.id]
    assert await count(store, MORE, log[half:], half) is Outcome.COMMITTED
    counters = read_counters(redis_url, catalog=MORE)
    found, whole = sums_since(counters, ADDED, starts[ADDED.id])
    assert found == whole
    before, whole_before = sums_since(counters, ADDED, 0)
    assert before != whole_before
    # No minute earlier would do: the newest minute has an event that is not in the view.
    earlier, whole_earlier = sums_since(counters, ADDED, starts[ADDED.id] - MINUTE_MS)
    assert earlier != whole_earlier


async def test_a_worker_without_the_view_counts_nothing_more_and_says_why(
    store: RedisStore,
) -> None:
    """In a rolling deploy both run for a while."""
    log = logs(1)
    await count(store, DEFAULT, log[:50])
    await add(store, MORE)
    before = await meta_of(store)
    assert await count(store, DEFAULT, log[50:], 50) is Outcome.DIGEST
    said = await add(store, DEFAULT)
    assert said is not None
    assert "a view by kind, source, which this worker's catalog lacks" in said
    assert "odometer rebuild" in said
    assert await meta_of(store) == before


async def test_a_catalog_that_changes_a_view_is_refused(store: RedisStore) -> None:
    await count(store, DEFAULT, logs(1)[:50])
    await add(store, MORE)
    said = await add(store, catalog(TEAM + SOURCE))
    assert said is not None
    assert "a new view goes to the end of the catalog file" in said
    assert (await meta_of(store)).digest == digest(MORE)


async def test_of_two_additions_at_once_one_takes_effect(store: RedisStore, redis_url: str) -> None:
    await count(store, DEFAULT, logs(1)[:50])
    other = catalog(TEAM)
    async with RedisStore(redis_url) as second:
        meta = await meta_of(store)
        await asyncio.gather(
            add_views(store, meta, TOPIC, MORE), add_views(second, meta, TOPIC, other)
        )
        loser = other if (await meta_of(store)).digest == digest(MORE) else MORE
        assert await add(store, loser) is not None
        assert len(await store.view_starts()) == 1


async def test_views_that_are_added_later_count_since_later(store: RedisStore) -> None:
    log = logs(2)
    await count(store, DEFAULT, log[:50])
    await add(store, catalog(SOURCE))
    (first,) = (await store.view_starts()).values()
    await count(store, catalog(SOURCE), log[50:], 50)
    assert await add(store, catalog(SOURCE + TEAM)) is None
    starts = await store.view_starts()
    assert starts[64] == first < starts[65]


async def test_before_anything_is_counted_an_added_view_has_all_events(store: RedisStore) -> None:
    assert await add(store, MORE) is None
    assert await store.view_starts() == {}
    assert await count(store, MORE, logs(1)[:50]) is Outcome.COMMITTED


async def test_counters_that_did_not_note_their_newest_minute_assume_the_largest_lead(
    store: RedisStore, redis_url: str
) -> None:
    log = logs(1)[:50]
    await count(store, DEFAULT, log)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(prefix(FIRST_GENERATION) + "newest")
    assert await add(store, MORE) is None
    (from_ms,) = (await store.view_starts()).values()
    last_ms = log[-1].timestamp
    assert from_ms % MINUTE_MS == 0
    assert last_ms + AHEAD_MS_MAX < from_ms <= last_ms + AHEAD_MS_MAX + 3 * MINUTE_MS
