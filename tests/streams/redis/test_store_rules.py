"""What the commit keeps besides the counters: slices, last records, refusals, an operator's word."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import pytest
import redis

from schemas.catalog.views import ID_BUCKETS, REMEMBERED_MS, SLICE_MS
from schemas.errors import StoreCorrupt
from schemas.store.layout import (
    NO_POSITION,
    RETIRED,
    Meta,
    meta_key,
    page_kept_ms,
    prefix,
    tallies_key,
)
from schemas.store.quota_counts import id_counts_key
from schemas.tiers import DAY
from streams.core.calls import StoredCall
from streams.core.ports import Outcome, Progress, RefusalReason
from streams.redis.store import RedisStore
from tests.oracles.event_logs import SECRET
from tests.simulation.store import FakeStore
from tests.streams.redis.test_store_contract import (
    DIGEST,
    NOW_MS,
    SLICE,
    call,
    commit,
    ids,
    one_row,
    progress,
)

Either = FakeStore | RedisStore
DROPPING_COMMITS: Final = 60
"""More than the 48 that it takes the real store to drop one slice, a piece a call."""


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.servers)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Either]:
    if request.param == "fake":
        fake = FakeStore()
        await fake.open(DIGEST, 2, NOW_MS, SECRET)
        yield fake
        return
    async with RedisStore(request.getfixturevalue("redis_url")) as real:
        await real.open(DIGEST, 2, NOW_MS, SECRET)
        yield real


async def meta_of(store: Either) -> Meta:
    meta = await store.meta()
    assert meta is not None
    return meta


# -- slices ----------------------------------------------------------------------------------------


async def advanced(store: Either, complete_ms: tuple[int, int], commits: int) -> None:
    """Commits that say only how far the two partitions are complete."""
    for _ in range(commits):
        meta = await meta_of(store)
        steps = [
            progress(p, part.position, part.position, complete_ms[p])
            for p, part in enumerate(meta.partitions)
        ]
        reply = await store.commit(commit(meta.commits + 1000, *steps))
        assert reply.outcome is Outcome.COMMITTED


async def both_begun(store: Either, **changes: Any) -> None:
    await store.commit(commit(1, progress(0), progress(1), **changes))


async def test_a_slice_is_held_until_no_record_to_come_can_look_into_it(store: Either) -> None:
    await both_begun(store, **ids(7))
    just_not_ms = (SLICE + 3) * SLICE_MS - 1
    await advanced(store, (just_not_ms, just_not_ms), DROPPING_COMMITS)
    assert (await meta_of(store)).slice_low == SLICE
    late = commit(2, progress(0, 1, 2), **ids(7, slice_=SLICE + 2))
    assert (await store.commit(late)).outcome is Outcome.DUPLICATE_IDS
    await advanced(store, (just_not_ms + 1, just_not_ms + 1), DROPPING_COMMITS)
    assert (await meta_of(store)).slice_low == SLICE + 1


async def test_a_partition_that_is_behind_keeps_every_slice(store: Either) -> None:
    await both_begun(store, **ids(7))
    await advanced(store, (NOW_MS + 9 * SLICE_MS, NOW_MS), DROPPING_COMMITS)
    assert (await meta_of(store)).slice_low == SLICE
    behind = commit(2, progress(1, 1, 2), **ids(7))
    assert (await store.commit(behind)).outcome is Outcome.DUPLICATE_IDS


@pytest.mark.servers
async def test_a_commit_that_breaks_off_leaves_no_id_that_would_pass_for_a_duplicate(
    redis_url: str,
) -> None:
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        with redis.Redis.from_url(redis_url) as client:
            client.set(tallies_key(1), "damaged")
            broken = commit(1, tallies={"duplicate": 1}, **ids(7, 8, 7 + ID_BUCKETS))
            for _ in range(2):
                with pytest.raises(StoreCorrupt, match="WRONGTYPE"):
                    await store.commit(broken)
            client.delete(tallies_key(1))
        assert (await store.commit(broken)).outcome is Outcome.COMMITTED
        again = commit(2, progress(0, 1, 2), **ids(7, 9, 7 + ID_BUCKETS))
        reply = await store.commit(again)
        assert (reply.outcome, set(reply.subjects)) == (Outcome.DUPLICATE_IDS, {7, 7 + ID_BUCKETS})


@pytest.mark.servers
async def test_of_a_dropped_slice_nothing_is_left(redis_url: str) -> None:
    booking = call(3, None, StoredCall(SLICE, b"[1]"))
    later_ms = (SLICE + 3) * SLICE_MS
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        await both_begun(store, delta=booking, **ids(7, ID_BUCKETS - 1))
        # An older slice comes when some of this one is dropped already: dropping begins with it.
        await advanced(store, (later_ms, later_ms), 2)
        meta = await meta_of(store)
        older = progress(0, meta.partitions[0].position, 5)
        await store.commit(commit(2, older, **ids(0, 1, slice_=SLICE - 1)))
        assert (await meta_of(store)).slice_low == SLICE - 1
        await advanced(store, (later_ms, later_ms), 2 * DROPPING_COMMITS)
        assert (await meta_of(store)).slice_low == SLICE + 1
    with redis.Redis.from_url(redis_url) as client:
        for kind in "ic":
            assert not list(client.scan_iter(match=f"{prefix(1)}{kind}*", count=1000))


@pytest.mark.servers
async def test_a_booking_that_moves_on_leaves_its_old_slice(redis_url: str) -> None:
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        first, second = StoredCall(SLICE, b"[1]"), StoredCall(SLICE + 1, b"[1]")
        await store.commit(commit(1, delta=call(3, None, first)))
        await store.commit(commit(2, progress(0, 1, 2), delta=call(3, first, second)))
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter(match=f"{prefix(1)}c*")) == [
            f"{prefix(1)}c{SLICE + 1}.3".encode()
        ]


# -- what stands beside a position -----------------------------------------------------------------


async def test_a_batch_without_records_keeps_the_last_record_and_tells_no_commit_time_without_progress(
    store: Either,
) -> None:
    await store.commit(commit(1, Progress(0, NO_POSITION, 9, 8, NOW_MS - 5, 0)))
    await store.commit(commit(2, Progress(0, 9, 11, -1, 0, 0), now_ms=NOW_MS + 1))
    part = (await meta_of(store)).partitions[0]
    assert (part.position, part.last_offset, part.last_append_ms) == (11, 8, NOW_MS - 5)
    await store.commit(commit(3, Progress(0, 11, 11, -1, 0, NOW_MS), now_ms=NOW_MS + 7))
    part = (await meta_of(store)).partitions[0]
    assert (part.complete_ms, part.committed_ms) == (NOW_MS, NOW_MS + 1)


async def test_the_start_of_an_absent_partition_never_changes_a_known_one(
    store: Either,
) -> None:
    await both_begun(store)
    await store.commit(commit(2, progress(0, 1, 2), count=3, absent_ms={1: NOW_MS, 2: NOW_MS - 7}))
    assert [p.complete_ms for p in (await meta_of(store)).partitions] == [0, 0, NOW_MS - 7]


async def test_a_retired_generation_takes_no_commit(store: Either) -> None:
    await both_begun(store)
    await retire(store)
    reply = await store.commit(commit(2, progress(0, 1, 2), delta=one_row(5)))
    assert reply.outcome is Outcome.RETIRED
    assert (await meta_of(store)).partitions[0].position == 1


async def retire(store: Either) -> None:
    """As a rebuild will, when its own generation has caught up."""
    if isinstance(store, FakeStore):
        assert store.state.meta is not None
        store.state.meta = replace(store.state.meta, state=RETIRED)
        return
    state_at = 4  # bytes, behind the magic
    await store._redis.setrange(meta_key(1), state_at, RETIRED.to_bytes(4, "little"))


# -- refusals and the operator's word --------------------------------------------------------------


async def test_a_refusal_is_removed_with_its_details(store: Either) -> None:
    await store.refuse(0, NO_POSITION, RefusalReason.LOG_STARTS_LATER, "why")
    await store.refuse(1, NO_POSITION, RefusalReason.LOG_STARTS_LATER, "why too")
    await store.commit(commit(1))
    assert set(await words(store)) == {"1"}
    assert await store.accept(1, NO_POSITION, 5, NOW_MS)
    assert set(await words(store)) == set()


async def words(store: Either) -> list[str]:
    if isinstance(store, FakeStore):
        return [str(partition) for partition in store.state.refusals]
    return list(await store.refusals())


async def test_an_accepted_partition_continues_elsewhere_with_nothing_of_before(
    store: Either,
) -> None:
    counted = commit(1, Progress(0, NO_POSITION, 9, 8, NOW_MS - 5, NOW_MS), delta=one_row(5))
    await store.commit(counted)
    await store.refuse(0, 9, RefusalReason.OTHER_LOG, "why")
    assert await store.accept(0, 9, 4, NOW_MS - 1)
    meta = await meta_of(store)
    part = meta.partitions[0]
    assert (part.position, part.last_offset, part.refused) == (4, -1, 0)
    assert (part.complete_ms, meta.history_from_ms) == (NOW_MS, NOW_MS - 1)
    # The commit of before is nobody's any more: its sender has to read the position again.
    assert (await store.commit(counted)).outcome is Outcome.STALE
    assert (await store.commit(commit(2, progress(0, 4, 5)))).outcome is Outcome.COMMITTED


async def test_accepting_a_position_that_has_moved_changes_nothing(
    store: Either,
) -> None:
    await both_begun(store)
    before = await store.meta()
    assert not await store.accept(0, NO_POSITION, 4, NOW_MS)
    assert not await store.accept(7, NO_POSITION, 4, NOW_MS)
    assert await store.meta() == before


async def test_history_is_whole_from_the_latest_loss_on(store: Either) -> None:
    assert await store.accept(0, NO_POSITION, 4, NOW_MS)
    assert await store.accept(1, NO_POSITION, 4, NOW_MS - 50)
    assert (await meta_of(store)).history_from_ms == NOW_MS


# -- pages -----------------------------------------------------------------------------------------


@pytest.mark.servers
async def test_a_page_expires_when_no_question_may_read_it_any_more(redis_url: str) -> None:
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        await store.commit(commit(1, delta=one_row(5)))
        await store.commit(commit(2, progress(0, 1, 2), delta=one_row(5, bucket=1)))
    chunk_end_ms = (NOW_MS // DAY.chunk_ms + 1) * DAY.chunk_ms
    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.scan_iter(match=f"{prefix(1)}p*")
        left_ms = int(client.pttl(key))
    expires_ms = time.time_ns() // 1_000_000 + left_ms
    assert abs(expires_ms - (chunk_end_ms + page_kept_ms(DAY))) < 60_000


@pytest.mark.servers
async def test_ids_are_counted_by_tenant_as_long_as_they_are_stored(redis_url: str) -> None:
    key = id_counts_key(1, SLICE)
    counts = [(SLICE, "acme", 2), (SLICE, "beta", 1)]
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        await store.commit(commit(1, progress(0), progress(1), **ids(7, 8, 9), id_counts=counts))
        again = commit(2, progress(0, 1, 2), **ids(7), id_counts=[(SLICE, "acme", 1)])
        assert (await store.commit(again)).outcome is Outcome.DUPLICATE_IDS
        with redis.Redis.from_url(redis_url) as client:
            assert client.hgetall(key) == {b"acme": b"2", b"beta": b"1"}
        late_ms = NOW_MS + REMEMBERED_MS + 2 * SLICE_MS
        for position in range(1, DROPPING_COMMITS):
            step = [progress(p, position, position + 1, late_ms) for p in (0, 1)]
            await store.commit(commit(position + 2, *step))
        with redis.Redis.from_url(redis_url) as client:
            assert not client.exists(key)
