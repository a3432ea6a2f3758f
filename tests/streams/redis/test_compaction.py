"""Compaction: the same sums whatever the pages hold, and whichever workers write to them meanwhile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.sketches import MARK, SAMPLE_MAX, distinct_of
from schemas.catalog.views import MODEL
from schemas.store import counter_reader, counter_rows, layout
from schemas.store.chunk_version import ChunkVersion, unpack_chunk_version
from schemas.store.counter_rows import Rows
from schemas.store.layout import (
    COMPACT_SLOT,
    DISTINCT_FORM,
    HISTOGRAM_FORM,
    Form,
    counters_of,
    dtype_of,
)
from schemas.tiers import MINUTE
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.compaction import rows_in
from streams.redis.store import RedisStore
from tests.oracles.event_logs import SECRET
from tests.oracles.redis_counters import read_counters
from tests.streams.redis.test_pages import DIGEST, NOW_MS, costs, of_series, one_part, total

SUMS: Final = Form(2, 3, 8)
INT64: Final = st.integers(-(2**63), 2**63 - 1)
SLOTS: Final = st.sampled_from([0, 1, 95, 256, 31 * 256 + 95, 65534])
CELLS: Final = st.sampled_from([0, 1, 255, 256, 65534, COMPACT_SLOT])


def rows_of(form: Form, rows: list[tuple[Any, ...]]) -> bytes:
    return np.array(rows, dtype_of(form)).tobytes()


@given(
    st.lists(st.lists(st.tuples(SLOTS, st.tuples(INT64, INT64, INT64)), max_size=40), max_size=4),
    st.booleans(),
)
def test_sums_of_each_cell_stay_however_large(
    pages: list[list[tuple[int, Any]]],
    is_over: bool,  # noqa: FBT001  drawn
) -> None:
    rows = [np.array(page, dtype_of(SUMS)) for page in pages]
    packed = [counter_rows.encoded(Rows(one["slot"], one["values"]))[0] for one in rows]
    made = rows_in(SUMS, packed).compact([is_over] * len(pages))
    grown = [a + b for a, b in zip(made, packed, strict=True)]
    again = rows_in(SUMS, grown).compact([True] * len(pages))
    assert [summed(unpacked(page)) for page in made] == [summed(one) for one in rows]
    assert [summed(unpacked(page)) for page in again] == [
        summed(np.concatenate([one, one])) for one in rows
    ]


def unpacked(page: bytes) -> np.ndarray:
    found = counter_reader.read([page], SUMS.numbers, range(SUMS.numbers))
    rows = np.empty(len(found.slots), dtype_of(SUMS))
    rows["slot"], rows["values"] = found.slots, found.stored.T
    return rows


def summed(rows: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """By key, in integers that have no end."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row in rows.tolist():
        *key, values = row
        numbers = list(values) if isinstance(values, (list, tuple, np.ndarray)) else [values]
        if key[0] != COMPACT_SLOT:
            before = found.setdefault(tuple(key), [0] * len(numbers))
            before[:] = [a + int(b) for a, b in zip(before, numbers, strict=True)]
    return found


def test_what_fits_is_one_row_a_cell_in_their_order() -> None:
    rows = np.array([(7, (1, 2, 3)), (1, (0, 0, 5)), (7, (1, 1, -1))], dtype_of(SUMS))
    page, _ = counter_rows.encoded(Rows(rows["slot"], rows["values"]))
    (made,) = rows_in(SUMS, [page]).compact([True])
    assert (unpacked(made) == np.array([(1, (0, 0, 5)), (7, (2, 3, 2))], dtype_of(SUMS))).all()


@given(st.lists(st.tuples(CELLS, st.integers(0, 5), st.integers(-(2**31), 2**31 - 1)), max_size=20))
def test_counts_of_bins_stay(rows: list[tuple[int, int, int]]) -> None:
    (made,) = rows_in(HISTOGRAM_FORM, [rows_of(HISTOGRAM_FORM, rows)]).merged()
    wanted = np.array(rows, dtype_of(HISTOGRAM_FORM))
    assert summed(np.frombuffer(made, wanted.dtype)) == summed(wanted)


@given(st.lists(st.integers(0, 20), max_size=40), st.lists(st.integers(0, 20), max_size=40))
def test_small_sets_stay_whole(first: list[int], second: list[int]) -> None:
    pages = [rows_of(DISTINCT_FORM, [(3, one) for one in digests]) for digests in (first, second)]
    made = rows_in(DISTINCT_FORM, pages).merged()
    wanted = [rows_of(DISTINCT_FORM, [(3, one) for one in sorted({*d})]) for d in (first, second)]
    assert made == wanted


def test_a_full_set_goes_up_a_level_that_its_mark_says_and_stays_there() -> None:
    digests = np.random.default_rng(1).integers(0, 2**63, 4 * SAMPLE_MAX, np.uint64) * np.uint64(2)
    page = rows_of(DISTINCT_FORM, [(3, int(one)) for one in digests])
    (made,) = rows_in(DISTINCT_FORM, [page]).merged()
    rows = np.frombuffer(made, dtype_of(DISTINCT_FORM))
    found = distinct_of(rows["digest"].astype(np.uint64))
    assert found.level in {2, 3}
    assert len(rows) <= SAMPLE_MAX + 1
    assert set(rows["slot"].tolist()) == {3}
    assert int(rows["digest"].max()) == MARK + found.level
    assert rows_in(DISTINCT_FORM, [made + page]).merged() == [made]


# -- on the real store -----------------------------------------------------------------------------


@pytest.fixture
async def pair(redis_url: str) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Two workers' clients of one store."""
    async with RedisStore(redis_url) as one, RedisStore(redis_url) as other:
        await one.open(DIGEST, 2, NOW_MS, SECRET)
        yield one, other


class Adder:
    """Commits of one partition, which count what they add."""

    def __init__(self, store: RedisStore, partition: int) -> None:
        self.store = store
        self.added = 0
        self._partition = partition
        self._at = layout.NO_POSITION

    async def __call__(self, *amounts: int, chunk_off: int = 0) -> None:
        page_kind = counters_of(MODEL.tables["llm"])
        end = max(self._at, 0) + 1
        commit = Commit(
            id=bytes([self._partition]) * 8 + end.to_bytes(8, "big"),
            generation_digest=DIGEST,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=2,
            absent_ms={},
            partitions=[Progress(self._partition, self._at, end, -1, 0, 0)],
            delta=one_part(page_kind, costs(*amounts), MINUTE, chunk_off),
        )
        assert (await self.store.commit(commit)).outcome is Outcome.COMMITTED
        self._at, self.added = end, self.added + sum(amounts)


@pytest.mark.servers
@pytest.mark.parametrize("seed", range(6))
async def test_two_workers_that_compact_at_any_instant_change_no_sum(
    redis_url: str, pair: tuple[RedisStore, RedisStore], seed: int
) -> None:
    """What one reads, the other appends to, makes compact, or both, before it is written."""
    rng = random.Random(seed)
    adders = [Adder(store, partition) for partition, store in enumerate(pair)]
    read: list[list[Any]] = [[], []]
    replaced = 0
    for _ in range(300):
        who = rng.randrange(2)
        match rng.randrange(4):
            case 0 | 1:
                await adders[who](*rng.choices(range(100), k=20), chunk_off=-rng.randrange(2))
            case 2:
                read[who].append(await pair[who]._read_queued())
            case 3 if read[who]:
                await pair[who]._replace(read[who].pop(rng.randrange(len(read[who]))))
                replaced += 1
        if rng.random() < 0.05:
            assert total(redis_url) == sum(adder.added for adder in adders)
    assert total(redis_url) == sum(adder.added for adder in adders)
    assert replaced > 20


@pytest.mark.servers
async def test_a_page_that_another_worker_compacted_first_is_left_as_it_is(
    redis_url: str, pair: tuple[RedisStore, RedisStore]
) -> None:
    one, other = pair
    adder, second = Adder(one, 0), Adder(other, 1)
    await second(1)
    for _ in range(60):
        await adder(1, 2, 3)
    stale = await one._read_queued()
    assert stale
    await adder(5)  # appended to what was read: it stays behind what is written
    await other._replace(await other._read_queued())
    compact = total(redis_url)
    for _ in range(60):
        await second(7)
    await one._replace(stale)  # as long as then, or longer; and not what was read
    assert total(redis_url) == compact + 60 * 7 == adder.added + second.added


@pytest.mark.servers
async def test_pages_read_before_the_server_restarted_are_not_written(
    redis_url: str, pair: tuple[RedisStore, RedisStore]
) -> None:
    one, _ = pair
    adder = Adder(one, 0)
    for _ in range(60):
        await adder(1, 2, 3)
    read = await one._read_queued()
    assert read
    with redis.Redis.from_url(redis_url) as client:
        client.function_flush()  # with it goes what a library remembers of this life of the server
    again = Adder(one, 1)
    await again(4)
    epoch = one._ids.epoch
    one._ids.epoch = "another" + epoch
    assert await one._replace(read) == 0
    assert total(redis_url) == adder.added + again.added


@pytest.mark.servers
async def test_a_chunk_version_says_when_pages_changed_and_whether_they_only_grew(
    redis_url: str, pair: tuple[RedisStore, RedisStore]
) -> None:
    one, _ = pair
    adder, table = Adder(one, 0), MODEL.tables["llm"]
    key = layout.chunk_version_key(1, counters_of(table), MINUTE, NOW_MS // MINUTE.chunk_ms, 0)
    seen = []
    with redis.Redis.from_url(redis_url) as client:

        def chunk_version() -> ChunkVersion:
            found = client.get(key)
            assert isinstance(found, bytes)
            return unpack_chunk_version(found)

        await adder(1)
        assert chunk_version() == (1, 0)
        assert (
            0
            < client.pttl(key)
            == pytest.approx(
                client.pttl(
                    layout.page_key(1, counters_of(table), MINUTE, NOW_MS // MINUTE.chunk_ms, 0, 0)
                ),
                abs=1000,
            )
        )
        await one.commit(other_chunk(2))
        assert chunk_version() == (1, 0)
        adder._at = 2
        for _ in range(80):
            await adder(*range(20))
            seen.append(chunk_version())
            await one.compact_pages()
    assert [commits for commits, _ in seen] == [*range(3, 83)]
    assert seen[-1].compactions > 0
    assert [*seen] == sorted(seen)
    assert read_counters(redis_url)


def other_chunk(end: int) -> Commit:
    """One of days."""
    return Commit(
        id=bytes(16),
        generation_digest=DIGEST,
        secret=SECRET.name,
        now_ms=NOW_MS,
        count=2,
        absent_ms={},
        partitions=[Progress(0, 1, end, -1, 0, 0)],
        delta=of_series(MODEL, ["a"]),
    )
