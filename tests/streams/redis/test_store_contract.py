"""What every store promises: one suite for the fake of the simulation and for the real one."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pytest

from schemas.catalog.measures import COST_NANO_USD
from schemas.catalog.views import REMEMBERED_MS, SLICE_MS, TOTAL
from schemas.event.identity import CallKey
from schemas.store.chunk_version import ChunkVersion
from schemas.store.generation import generation_digest
from schemas.store.layout import (
    FIRST_GENERATION,
    NO_POSITION,
    RUN_DTYPE,
    chunk_version_key,
    counters_of,
)
from schemas.store.series_names import series_name
from schemas.tiers import DAY
from streams.core.calls import CallUpdate, StoredCall
from streams.core.columns import Columns, columns
from streams.core.fold import Delta, DeltaPart, fold
from streams.core.ports import (
    NO_DELTA,
    Commit,
    CounterStore,
    Outcome,
    Progress,
    RefusalReason,
    Reply,
)
from streams.redis.store import RedisStore
from tests.oracles.event_logs import DEFAULT_MIX, SECRET, countable, mixed
from tests.oracles.redis_counters import read_chunk_versions, read_counters, read_id_counts
from tests.oracles.redis_users import read_people, read_recent
from tests.simulation.log import PolledRecord
from tests.simulation.store import FakeStore

NOW_MS: Final = time.time_ns() // 1_000_000
"""Of this day: the real store lets pages of long ago expire."""
DIGEST: Final = generation_digest("contract")
SLICE: Final = NOW_MS // SLICE_MS
LLM: Final = TOTAL.tables["llm"]


@dataclass
class Subject:
    """A store under test, and how to look into it."""

    store: CounterStore
    counters: Callable[[], Mapping[Any, tuple[int, ...]]]
    chunk_versions: Callable[[], Mapping[tuple[str, str], ChunkVersion]]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.servers)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "fake":
        fake = FakeStore()
        yield Subject(fake, fake.counters, fake.chunk_versions)
        return
    url = request.getfixturevalue("redis_url")
    async with RedisStore(url) as store:
        yield Subject(store, lambda: read_counters(url), lambda: read_chunk_versions(url))


def commit(number: int = 1, *partitions: Progress, **changes: Any) -> Commit:
    """A commit of partition 0 from the beginning to offset 1, unless told otherwise."""
    return Commit(
        **{
            "id": number.to_bytes(16, "big"),
            "generation_digest": DIGEST,
            "secret": SECRET.name,
            "now_ms": NOW_MS,
            "count": 2,
            "absent_ms": {},
            "partitions": partitions or (progress(),),
            **changes,
        }
    )


def progress(partition: int = 0, start: int = NO_POSITION, end: int = 1, ms: int = 0) -> Progress:
    return Progress(partition, start, end, -1, 0, ms)


def ids(*digests: int, slice_: int = SLICE) -> dict[str, Any]:
    return {
        "digests": np.array(digests, np.uint64),
        "slices": np.full(len(digests), slice_, np.int64),
    }


def one_row(cost: int, bucket: int = 0, chunk_off: int = 0) -> Delta:
    """A delta of one bucket of the total, with this cost."""
    return some_rows([cost], bucket, chunk_off)


def some_rows(costs: Sequence[int], bucket: int = 0, chunk_off: int = 0) -> Delta:
    """A delta of as many rows of one bucket of the total."""
    page_kind = counters_of(LLM)
    runs = np.array([(0, NOW_MS // DAY.chunk_ms + chunk_off, len(costs))], RUN_DTYPE)
    rows = np.zeros(len(costs), page_kind.dtype)
    rows["slot"] = bucket
    rows["values"][:, LLM.measures.index(COST_NANO_USD)] = costs
    part = DeltaPart(page_kind, DAY, runs, rows)
    return Delta(("default",), ((LLM, 0, series_name([])),), (part,), ())


def call(number: int, old: StoredCall | None, new: StoredCall) -> Delta:
    return Delta((), (), (), (CallUpdate(CallKey(number, "t"), old, new),))


async def bookings(store: CounterStore, *calls: tuple[int, int]) -> dict[int, StoredCall | None]:
    """By digest."""
    asked = [(CallKey(number, "t"), slice_) for number, slice_ in calls]
    found = await store.bookings(SECRET.name, asked)
    return {one.digest: stored for one, stored in found.items()}


async def opened(subject: Subject) -> CounterStore:
    await subject.store.open(DIGEST, 2, NOW_MS, SECRET)
    return subject.store


async def tallies_of(store: CounterStore) -> Mapping[str, int]:
    if isinstance(store, RedisStore):
        return await store.tallies()
    assert isinstance(store, FakeStore)
    return store.own.tallies


def costs(subject: Subject) -> list[int]:
    at = LLM.measures.index(COST_NANO_USD)
    return [values[at] for _, values in sorted(subject.counters().items())]


# -- opening ---------------------------------------------------------------------------------------


async def test_a_store_without_a_generation_has_no_meta_and_takes_no_commit(
    subject: Subject,
) -> None:
    assert await subject.store.meta() is None
    assert (await subject.store.commit(commit())).outcome is Outcome.MISSING


async def test_a_generation_is_made_once(subject: Subject) -> None:
    store = await opened(subject)
    await store.commit(commit())
    await store.open(bytes(16), 7, NOW_MS + 1, SECRET)
    meta = await store.meta()
    assert meta is not None
    assert (meta.digest, len(meta.partitions), meta.created_ms) == (DIGEST, 2, NOW_MS)
    assert meta.partitions[0].position == 1


async def test_a_worker_of_another_digest_writes_nothing(subject: Subject) -> None:
    store = await opened(subject)
    reply = await store.commit(commit(generation_digest=bytes(16), delta=one_row(5)))
    assert reply.outcome is Outcome.DIGEST
    assert not subject.counters()


# -- positions -------------------------------------------------------------------------------------


async def test_a_commit_moves_positions_counters_last_record_and_freshness_together(
    subject: Subject,
) -> None:
    store = await opened(subject)
    moved = Progress(0, NO_POSITION, 9, 8, NOW_MS - 5, NOW_MS - 3)
    assert (await store.commit(commit(1, moved, delta=one_row(5)))).outcome == "committed"
    meta = await store.meta()
    assert meta is not None
    part = meta.partitions[0]
    assert (part.position, part.last_offset, part.last_append_ms) == (9, 8, NOW_MS - 5)
    assert (part.complete_ms, part.committed_ms) == (NOW_MS - 3, NOW_MS)
    assert meta.partitions[1].position == NO_POSITION
    assert meta.complete_through_ms == 0
    assert costs(subject) == [5]


async def test_a_stale_position_in_any_partition_writes_nothing(subject: Subject) -> None:
    store = await opened(subject)
    await store.commit(commit(1, progress(0)))
    reply = await store.commit(commit(2, progress(0, 0, 2), progress(1), delta=one_row(5)))
    assert reply == Reply(Outcome.STALE, [0])
    meta = await store.meta()
    assert meta is not None
    assert [p.position for p in meta.partitions] == [1, NO_POSITION]
    assert not subject.counters()


async def test_a_commit_sent_again_after_a_lost_reply_is_known_by_its_id(
    subject: Subject,
) -> None:
    store = await opened(subject)
    sent = commit(1, delta=one_row(5), **ids(1, 2))
    await store.commit(sent)
    assert (await store.commit(sent)).outcome is Outcome.ALREADY_APPLIED
    assert costs(subject) == [5]


async def test_equal_positions_do_not_make_a_commit_already_applied(subject: Subject) -> None:
    store = await opened(subject)
    await store.commit(commit(1))
    assert (await store.commit(commit(2))).outcome is Outcome.STALE


async def test_freshness_never_goes_back_by_a_commit(subject: Subject) -> None:
    store = await opened(subject)
    await store.commit(commit(1, progress(0, NO_POSITION, 1, NOW_MS), progress(1)))
    await store.commit(commit(2, progress(0, 1, 2, NOW_MS - 50), progress(1, 1, 1, NOW_MS - 9)))
    meta = await store.meta()
    assert meta is not None
    assert [p.complete_ms for p in meta.partitions] == [NOW_MS, NOW_MS - 9]
    assert meta.complete_through_ms == NOW_MS - 9


async def test_a_new_partition_is_complete_through_the_last_look_that_did_not_see_it(
    subject: Subject,
) -> None:
    store = await opened(subject)
    both = (progress(0, NO_POSITION, 1, NOW_MS), progress(1, NO_POSITION, 1, NOW_MS))
    await store.commit(commit(1, *both))
    await store.commit(
        commit(2, progress(0, 1, 2, NOW_MS + 9), count=4, absent_ms={0: 5, 2: NOW_MS - 7})
    )
    meta = await store.meta()
    assert meta is not None
    assert [p.complete_ms for p in meta.partitions] == [NOW_MS + 9, NOW_MS, NOW_MS - 7, 0]
    assert [p.position for p in meta.partitions] == [2, 1, NO_POSITION, NO_POSITION]


# -- ids -------------------------------------------------------------------------------------------


async def test_remembered_ids_stop_a_commit_whole_and_are_named(subject: Subject) -> None:
    store = await opened(subject)
    high = 2**64 - 1
    await store.commit(commit(1, **ids(7, high)))
    again = commit(2, progress(0, 1, 2), delta=one_row(5), **ids(high, 8, 7))
    reply = await store.commit(again)
    assert reply.outcome is Outcome.DUPLICATE_IDS
    assert set(reply.subjects) == {7, high}
    assert not subject.counters()
    assert (await store.commit(commit(3, progress(0, 1, 2), **ids(8)))).outcome == "committed"


@pytest.mark.parametrize("apart", [-2, -1, 0, 1, 2])
async def test_an_id_is_found_within_the_window_on_both_sides(subject: Subject, apart: int) -> None:
    store = await opened(subject)
    await store.commit(commit(1, **ids(7)))
    # A third slice in use, so that the window is not cut by what exists.
    far = SLICE + (4 if apart > 0 else -4)
    await store.commit(commit(2, progress(0, 1, 2), **ids(1, slice_=far)))
    reply = await store.commit(commit(3, progress(0, 2, 3), **ids(7, slice_=SLICE + apart)))
    assert reply.outcome is Outcome.DUPLICATE_IDS


async def test_ids_are_forgotten_when_the_log_has_moved_on_and_not_before(
    subject: Subject,
) -> None:
    store = await opened(subject)
    await store.commit(commit(1, progress(0), progress(1), **ids(7)))
    still_ms = NOW_MS + REMEMBERED_MS
    slice_ = still_ms // SLICE_MS
    reply = await store.commit(
        commit(2, progress(0, 1, 2, still_ms), progress(1, 1, 2, still_ms), **ids(7, slice_=slice_))
    )
    assert reply.outcome is Outcome.DUPLICATE_IDS
    late_ms = NOW_MS + REMEMBERED_MS + 2 * SLICE_MS
    position = 1
    for number in range(3, 400):  # a slice is dropped a piece at a time
        step = [progress(p, position, position + 1, late_ms) for p in (0, 1)]
        assert (await store.commit(commit(number, *step))).outcome is Outcome.COMMITTED
        position += 1
    slice_ = late_ms // SLICE_MS
    step = [progress(p, position, position + 1, late_ms) for p in (0, 1)]
    assert (await store.commit(commit(999, *step, **ids(7, slice_=slice_)))).outcome == "committed"
    meta = await store.meta()
    assert meta is not None
    assert meta.slice_low > SLICE


# -- calls -----------------------------------------------------------------------------------------


async def test_a_booking_is_remembered_and_moves_with_its_call(subject: Subject) -> None:
    store = await opened(subject)
    first, second = (
        StoredCall(SLICE, b'[1,-1,false,[""]]'),
        StoredCall(SLICE + 1, b'[1,5,true,["a"]]'),
    )
    assert await bookings(store, (3, SLICE)) == {3: None}
    await store.commit(commit(1, delta=call(3, None, first)))
    assert await bookings(store, (3, SLICE + 1), (4, SLICE)) == {3: first, 4: None}
    await store.commit(commit(2, progress(0, 1, 2), delta=call(3, first, second)))
    assert await bookings(store, (3, SLICE)) == {3: second}


@pytest.mark.parametrize("old", [None, StoredCall(SLICE, b"[0]"), StoredCall(SLICE - 1, b"[1]")])
async def test_a_call_that_changed_meanwhile_stops_the_commit(
    subject: Subject, old: StoredCall | None
) -> None:
    store = await opened(subject)
    await store.commit(commit(1, delta=call(3, None, StoredCall(SLICE, b"[1]"))))
    reply = await store.commit(
        commit(2, progress(0, 1, 2), delta=call(3, old, StoredCall(SLICE, b"[2]")))
    )
    assert reply == Reply(Outcome.CALLS_CHANGED, [3])
    assert await bookings(store, (3, SLICE)) == {3: StoredCall(SLICE, b"[1]")}


# -- sums ------------------------------------------------------------------------------------------

BIG: Final = 2**53


@pytest.mark.parametrize(
    "amounts",
    [
        [5, 7],
        [5, -7],
        [BIG - 1, 1],
        [BIG + 1, 1],
        [BIG + 1, -1],
        [-BIG - 1, 1],
        [-BIG + 1, BIG + 1],
        [2**63 - 2, 1],
        [-(2**63), 2**63 - 1],
        [2**62 + 3, 2**62 - 5, -(2**62)],
        [2**32 - 1, 1, -1],
        [-1, 1],
        [2**63 - 1, 1],
        [-(2**63), -1],
        [2**62, 2**62, 2**62],
        [2**63 - 1, 2**63 - 1, 5, -7],
    ],
)
async def test_sums_are_exact_however_large(subject: Subject, amounts: Sequence[int]) -> None:
    store = await opened(subject)
    for number, amount in enumerate(amounts):
        step = progress(0, number or NO_POSITION, number + 1)
        await store.commit(commit(number + 1, step, delta=one_row(amount)))
    assert costs(subject) == [sum(amounts)] * bool(sum(amounts))


async def test_buckets_of_one_page_are_kept_apart(subject: Subject) -> None:
    store = await opened(subject)
    for number, bucket in enumerate((3, 1, 3, 0, 1)):
        step = progress(0, number or NO_POSITION, number + 1)
        await store.commit(commit(number + 1, step, delta=one_row(10 + number, bucket)))
    assert costs(subject) == [13, 11 + 14, 10 + 12]


# -- compaction and versions -------------------------------------------------------------------------

MANY: Final = 150
"""Commits of two rows: more than the room of a page."""


async def test_a_long_page_is_compacted_and_keeps_its_sums(subject: Subject) -> None:
    store = await opened(subject)
    for number in range(MANY):
        step = progress(0, number or NO_POSITION, number + 1)
        await store.commit(commit(number + 1, step, delta=some_rows([number] * 2)))
        before = next(iter(subject.chunk_versions().values()))
        assert before.commits == number + 1
        await store.compact_pages()
        assert costs(subject) == [2 * sum(range(number + 1))] * bool(number)
    (chunk_version,) = subject.chunk_versions().values()
    assert chunk_version.commits == MANY
    assert 1 <= chunk_version.compactions <= MANY / 2


async def test_chunk_versions_say_which_pages_a_commit_has_appended_to(subject: Subject) -> None:
    store = await opened(subject)
    assert not subject.chunk_versions()
    today, day_before = NOW_MS // DAY.chunk_ms, NOW_MS // DAY.chunk_ms - 1
    await store.commit(commit(1, delta=one_row(5)))
    await store.commit(commit(2, progress(0, 1, 2)))  # nothing
    await store.commit(commit(3, progress(0, 2, 3), delta=one_row(5, chunk_off=-1)))
    key, before = (
        (
            chunk_version_key(FIRST_GENERATION, counters_of(LLM), DAY, chunk, 0).rpartition(".")[0],
            "default",
        )
        for chunk in (today, day_before)
    )
    assert subject.chunk_versions() == {key: ChunkVersion(1, 0), before: ChunkVersion(3, 0)}
    assert (await store.commit(commit(9, delta=one_row(5)))).outcome is Outcome.STALE
    assert subject.chunk_versions() == {key: ChunkVersion(1, 0), before: ChunkVersion(3, 0)}


# -- refusals and tallies --------------------------------------------------------------------------


async def test_a_refusal_stays_until_the_partition_moves(subject: Subject) -> None:
    store = await opened(subject)
    await store.refuse(0, NO_POSITION, RefusalReason.LOG_STARTS_LATER, "why")
    await store.refuse(1, 5, RefusalReason.OTHER_LOG, "about a position that is no longer there")
    await store.refuse(-1, NO_POSITION, RefusalReason.OTHER_GENERATION, "another worker's digest")
    meta = await store.meta()
    assert meta is not None
    assert ([p.refused for p in meta.partitions], meta.refused) == ([1, 0], 5)
    await store.commit(commit(1))
    meta = await store.meta()
    assert meta is not None
    assert (meta.partitions[0].refused, meta.refused) == (0, 0)


async def test_tallies_add_up_and_stay_bounded(subject: Subject) -> None:
    store = await opened(subject)
    names = {f"unknown:{number}": 1 for number in range(1100)}
    await store.commit(commit(1, tallies={"dead:empty": 2, **names}))
    more = {"dead:empty": 3, "dead:too_large": 1, "unknown:x": 1, "duplicate": 4}
    await store.commit(commit(2, progress(0, 1, 2), tallies=more))
    tallies = await tallies_of(store)
    assert tallies["dead:empty"] == 5
    assert sum(n for name, n in tallies.items() if name.startswith("unknown:")) == 1101
    assert tallies["unknown:other"] == 101
    assert (tallies["dead:too_large"], tallies["duplicate"]) == (1, 4)  # full kinds fill no other
    assert len(tallies) == 1004


async def test_invented_names_of_one_tenant_leave_room_for_those_of_another(
    subject: Subject,
) -> None:
    store = await opened(subject)
    for number in range(3):
        names = [f"unknown:{number}.{n}" for n in range(500)]
        position = progress(0, number, number + 1) if number else progress()
        named = dict.fromkeys((("acme", name) for name in names), 2)
        await store.commit(commit(number + 1, position, named=named))
    typo = {"unknown:inptu_tokens": 7, "unknown:0.0": 1, "unknown:2.499": 1}
    of_beta = {("beta", name): count for name, count in typo.items()}
    await store.commit(commit(9, progress(0, 3, 4), named=of_beta))
    tallies = await tallies_of(store)
    assert tallies["unknown:inptu_tokens"] == 7
    assert tallies["unknown:0.0"] == 3
    assert tallies["unknown:2.499"] == 1  # acme's is among the others
    assert len(tallies) == 100 + 1 + 2
    assert tallies["unknown:other"] == 2 * 1400


@pytest.mark.servers
async def test_counters_without_their_meta_record_are_never_opened(redis_url: str) -> None:
    import redis as client_of

    from schemas.errors import StoreCorrupt
    from schemas.store.layout import (
        meta_key,
    )

    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 1, NOW_MS, SECRET)
        await store.commit(commit(1, delta=one_row(5)))
        with client_of.Redis.from_url(redis_url) as client:
            client.delete(meta_key(1))
        with pytest.raises(StoreCorrupt, match="counters stand under"):
            await store.open(DIGEST, 1, NOW_MS, SECRET)


# -- both alike ------------------------------------------------------------------------------------


def some_columns(rng: random.Random, number: int) -> Columns:
    records = mixed(rng, 30, start_ms=NOW_MS + 1000 * number, mix=DEFAULT_MIX)
    raw = [PolledRecord(r.offset, r.append_ms, r.value, r.headers) for r in records]
    return columns(countable(raw), secret=SECRET)


@pytest.mark.servers
@pytest.mark.parametrize("seed", range(8))
async def test_the_fake_and_the_real_store_answer_alike(seed: int, redis_url: str) -> None:
    rng = random.Random(seed)
    fake = FakeStore()
    async with RedisStore(redis_url) as real:
        for store in (fake, real):
            await store.open(DIGEST, 3, NOW_MS, SECRET)
        seen: list[Commit] = []
        for number in range(1, 25):
            rows = some_columns(rng, number // 2)
            held = await fake.bookings(rows.secret, rows.booked_calls)
            assert await real.bookings(rows.secret, rows.booked_calls) == held
            chosen = _random_commit(rng, number, rows, held, fake)
            if seen and rng.random() < 0.2:
                chosen = rng.choice(seen)
            seen.append(chosen)
            replies = [await store.commit(chosen) for store in (fake, real)]
            assert replies[0].outcome == replies[1].outcome
            assert set(replies[0].subjects) == set(replies[1].subjects)
            if replies[0].outcome is Outcome.DUPLICATE_IDS and rng.random() < 0.7:
                rest = rows.without(np.array(replies[0].subjects, np.uint64))
                retry = _random_commit(rng, number + 500, rest, held, fake)
                again = [await store.commit(retry) for store in (fake, real)]
                assert again[0].outcome == again[1].outcome
        found, want = await real.meta(), await fake.meta()
        assert found is not None
        assert want is not None
        assert found.names >= want.names  # a commit that was refused has named its series
        assert replace(found, names=want.names) == want
        assert await real.tallies() == fake.state.tallies
    assert read_id_counts(redis_url) == fake.state.id_counts
    assert read_counters(redis_url) == fake.counters()
    assert read_chunk_versions(redis_url) == fake.chunk_versions()
    assert read_people(redis_url) == fake.state.users
    assert read_recent(redis_url) == fake.state.latest_calls()


def _random_commit(
    rng: random.Random,
    number: int,
    rows: Columns,
    held: Mapping[CallKey, StoredCall | None],
    fake: FakeStore,
) -> Commit:
    meta = fake.state.meta
    assert meta is not None
    moved = []
    for partition in rng.sample(range(3), rng.randint(1, 3)):
        start = meta.partitions[partition].position - (rng.random() < 0.1)
        moved.append(Progress(partition, start, start + 5, start + 4, NOW_MS, NOW_MS + number))
    if rng.random() < 0.1:
        held = dict.fromkeys(held)
    delta = fold(rows, held) if len(rows) else NO_DELTA
    return commit(
        number,
        *moved,
        count=3,
        delta=delta,
        digests=rows.digests,
        slices=rows.append_ms // SLICE_MS,
        id_counts=rows.id_counts if len(rows) else (),
        tallies={"duplicate": 1},
    )
