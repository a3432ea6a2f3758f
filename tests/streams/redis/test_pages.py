"""Pages that many commits append to: their sums, and when they are compacted (real store)."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

import numpy as np
import pytest
import redis

from schemas.catalog.measures import CHATS, COST_NANO_USD, LATENCY
from schemas.catalog.sketches import SAMPLE_MAX, distinct_of
from schemas.catalog.views import MODEL, OTHER, USER, View
from schemas.quotas import Quota
from schemas.store import layout
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION, RUN_DTYPE, PageKind, counters_of, sketch_of
from schemas.store.quota_counts import series_counts_key
from schemas.store.series_names import series_name
from schemas.tiers import DAY, MINUTE, Tier
from streams.core.fold import Delta, DeltaPart
from streams.core.ports import Commit, Outcome, Progress
from streams.redis import store as store_module
from streams.redis.store import COMPACT_BYTES_MAX, RedisStore
from tests.oracles.event_logs import SECRET
from tests.oracles.redis_counters import read_counters

pytestmark = pytest.mark.servers

NOW_MS: Final = time.time_ns() // 1_000_000
DIGEST: Final = generation_digest("pages")
NAMES: Final = ("openai", "gpt-4o")


class Writer:
    """Commits to one store, one after the other, as a worker does."""

    def __init__(self, store: RedisStore, at: int = NO_POSITION) -> None:
        self._store = store
        self.at = at

    async def __call__(self, delta: Delta, *, compacts: bool = True) -> None:
        end = max(self.at, 0) + 1
        commit = Commit(
            id=end.to_bytes(16, "big"),
            generation_digest=DIGEST,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=1,
            absent_ms={},
            partitions=[Progress(0, self.at, end, -1, 0, 0)],
            delta=delta,
        )
        assert (await self._store.commit(commit)).outcome is Outcome.COMMITTED
        if compacts:
            await self._store.compact_pages()
        self.at = end


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 1, NOW_MS, SECRET)
        yield store


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def one_part(page_kind: PageKind, rows: np.ndarray, tier: Tier = DAY, chunk_off: int = 0) -> Delta:
    runs = np.array([(0, NOW_MS // tier.chunk_ms + chunk_off, len(rows))], RUN_DTYPE)
    names = series_name(NAMES[: len(page_kind.table.dimensions)])
    part = DeltaPart(page_kind, tier, runs, rows)
    return Delta(("default",), ((page_kind.table, 0, names),), (part,), ())


def costs(*amounts: int, bucket: int = 0) -> np.ndarray:
    page_kind = counters_of(MODEL.tables["llm"])
    rows = np.zeros(len(amounts), page_kind.dtype)
    rows["slot"] = bucket
    rows["values"][:, page_kind.table.measures.index(COST_NANO_USD)] = amounts
    return rows


def page_of(client: redis.Redis, page_kind: PageKind) -> bytes:
    (key,) = client.scan_iter(match=f"{layout.prefix(1)}{page_kind.head}.*", count=10_000)
    page = client.get(key)
    assert isinstance(page, bytes)
    return page


def total(redis_url: str) -> int:
    at = MODEL.tables["llm"].measures.index(COST_NANO_USD)
    return sum(values[at] for cell, values in read_counters(redis_url).items() if len(cell) == 5)


async def test_a_busy_bucket_stays_small_and_exact(
    redis_url: str, store: RedisStore, client: redis.Redis
) -> None:
    write, page_kind = Writer(store), counters_of(MODEL.tables["llm"])
    longest = 0
    for number in range(200):
        await write(one_part(page_kind, costs(*[number] * 20), MINUTE))
        longest = max(longest, len(page_of(client, page_kind)))
    assert total(redis_url) == 20 * sum(range(200))
    assert longest < 200 * len(page_kind.packed(costs(*[199] * 20))) / 3
    assert longest <= 2 * page_kind.dtype.itemsize + 2 * page_kind.room_bytes


@pytest.mark.parametrize("bytes_max", [COMPACT_BYTES_MAX, 1])
async def test_compact_pages_keep_every_bucket_and_their_time_to_live(
    redis_url: str,
    store: RedisStore,
    client: redis.Redis,
    bytes_max: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_module, "COMPACT_BYTES_MAX", bytes_max)  # 1: each page is too large
    write, page_kind = Writer(store), counters_of(MODEL.tables["llm"])
    for number in range(300):
        amounts = [10**6 + number] * 10
        await write(one_part(page_kind, costs(*amounts, bucket=number % 7), MINUTE))
    found = sorted(values for cell, values in read_counters(redis_url).items())
    assert len(found) == 7
    assert total(redis_url) == 10 * sum(10**6 + number for number in range(300))
    (key,) = client.scan_iter(match=f"{layout.prefix(1)}{page_kind.head}.*", count=10_000)
    assert client.pttl(key) > 0
    assert not client.llen(layout.compaction_queue_key(1))


LARGE: Final = 2**61


@pytest.mark.parametrize("amounts", [[LARGE] * 90, [2**62, -(2**62), 5] * 30, [-LARGE] * 90])
async def test_what_leaves_64_bits_is_kept_in_more_rows(
    redis_url: str, store: RedisStore, amounts: Sequence[int]
) -> None:
    write, page_kind = Writer(store), counters_of(MODEL.tables["llm"])
    for amount in amounts:
        await write(one_part(page_kind, costs(amount), MINUTE))
    assert total(redis_url) == sum(amounts)


async def test_a_histogram_is_compacted(
    redis_url: str, store: RedisStore, client: redis.Redis
) -> None:
    write, page_kind = Writer(store), sketch_of(MODEL.tables["llm"], LATENCY)
    rng = np.random.default_rng(1)
    wanted = np.zeros(40, np.int64)
    for _ in range(250):
        rows = np.zeros(40, page_kind.dtype)
        rows["bin"], rows["count"] = np.arange(40), rng.integers(1, 9, 40)
        wanted += rows["count"]
        await write(one_part(page_kind, rows))
    found = {cell[-1]: values[0] for cell, values in read_counters(redis_url).items()}
    assert [found[bin_] for bin_ in range(40)] == wanted.tolist()
    assert len(page_of(client, page_kind)) < 250 * 40 * page_kind.dtype.itemsize / 1.5


@pytest.mark.parametrize("different", [500, SAMPLE_MAX, 20_000])
async def test_a_set_is_exact_while_it_is_small_and_a_sample_beyond(
    store: RedisStore, client: redis.Redis, different: int
) -> None:
    write, page_kind = Writer(store), sketch_of(MODEL.tables["llm"], CHATS)
    digests = np.random.default_rng(2).integers(0, 2**63, different, np.uint64) * np.uint64(2)
    for part in np.array_split(np.concatenate([digests, digests]), 40):
        rows = np.zeros(len(part), page_kind.dtype)
        rows["digest"] = part
        await write(one_part(page_kind, rows))
    page = page_of(client, page_kind)
    found = distinct_of(page_kind.rows_of(page)["digest"].astype(np.uint64))
    if different <= SAMPLE_MAX:
        assert found.is_exact
        assert len(found) == different
    else:
        assert not found.is_exact
        assert abs(len(found) - different) < 0.15 * different  # five standard errors
        assert len(page) < 2 * SAMPLE_MAX * page_kind.dtype.itemsize + page_kind.room_bytes


async def test_pages_of_an_ended_chunk_are_compacted(
    redis_url: str, store: RedisStore, client: redis.Redis
) -> None:
    write, page_kind = Writer(store), counters_of(MODEL.tables["llm"])
    for _ in range(3):
        await write(one_part(page_kind, costs(1, 2, 3), MINUTE, chunk_off=-1))
    await write(one_part(page_kind, costs(4), MINUTE))
    keys = client.scan_iter(match=f"{layout.prefix(1)}{page_kind.head}.*", count=10_000)
    ended = min(keys, key=lambda key: int(key.split(b".")[2]))
    page = client.get(ended)
    assert isinstance(page, bytes)
    assert page == page_kind.packed(costs(3 * 6))  # nine rows of one cell, and nothing else
    assert total(redis_url) == 3 * 6 + 4


async def test_a_page_that_is_queued_twice_is_written_once_a_call(
    redis_url: str, store: RedisStore, client: redis.Redis
) -> None:
    """As too long and as over, and appended to between the reading and the writing."""
    write, page_kind = Writer(store), counters_of(MODEL.tables["llm"])
    rows = np.concatenate([costs(*range(9)), costs(1, bucket=1)])
    await write(one_part(page_kind, rows, MINUTE), compacts=False)
    (key,) = client.scan_iter(match=f"{layout.prefix(1)}{page_kind.head}.*", count=10_000)
    entry = key.decode().removeprefix(layout.prefix(1)) + " " + " ".join(map(str, page_kind.form))
    client.rpush(layout.compaction_queue_key(1), f"{entry} 0", f"{entry} 1")
    read = await store._read_queued()
    assert [one.queued.is_over for one in read[-2:]] == [False, True]
    for cost in range(1000, 1012):
        await write(one_part(page_kind, costs(cost, bucket=2), MINUTE), compacts=False)
    await store._replace(read)
    assert total(redis_url) == sum(range(9)) + 1 + sum(range(1000, 1012))


def of_series(view: View, names: Sequence[str], tenants: Sequence[str] = ("default",)) -> Delta:
    """One event of each of these series, for each tenant."""
    table = view.tables["llm"]
    page_kind = counters_of(table)
    rows = np.zeros(len(names) * len(tenants), page_kind.dtype)
    rows["values"][:, 0] = 1
    runs = np.zeros(len(rows), RUN_DTYPE)
    runs["series"], runs["rows"] = np.arange(len(rows)), 1
    runs["chunk"] = NOW_MS // DAY.chunk_ms
    series = [
        (table, tenant, series_name([name] * len(table.dimensions)))
        for tenant in range(len(tenants))
        for name in names
    ]
    return Delta(tenants, series, (DeltaPart(page_kind, DAY, runs, rows),), ())


async def test_a_page_of_many_series_tells_them_apart(redis_url: str, store: RedisStore) -> None:
    write = Writer(store)
    names = [f"user-{number}" for number in range(100)]
    for _ in range(3):
        await write(of_series(USER, names))
    found = {cell[3][1]: values[0] for cell, values in read_counters(redis_url).items()}
    assert found == dict.fromkeys(names, 3)


async def test_what_goes_over_the_limit_is_counted_as_other(
    redis_url: str, store: RedisStore
) -> None:
    write, most = Writer(store), MODEL.series_max
    names = [f"model-{number}" for number in range(most + 30)]
    await write(of_series(MODEL, names[: most - 10]))
    await write(of_series(MODEL, names))
    await write(of_series(MODEL, names[-20:]))
    found = {cell[3][1]: values[0] for cell, values in read_counters(redis_url).items()}
    assert found.pop(OTHER) == 30 + 20
    assert len(found) == most
    assert sum(found.values()) == 2 * most - 10
    assert (await store.tallies())["over:model"] == 50


async def test_a_tenant_that_invents_names_has_a_quota_of_series(redis_url: str) -> None:
    """In all views together: each view alone may have 10,000 of them. 100 of each are always there."""
    async with RedisStore(redis_url, tenant_series=Quota(250)) as store:
        await store.open(DIGEST, 1, NOW_MS, SECRET)
        write = Writer(store)
        users, models = [f"u{n}" for n in range(300)], [f"m{n}" for n in range(120)]
        await write(of_series(USER, users, tenants=("acme",)))
        await write(of_series(MODEL, models, tenants=("acme", "beta")))
        await write(of_series(MODEL, models[::-1], tenants=("acme", "beta")))
        tallies = await store.tallies()
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for cell, values in read_counters(redis_url).items():
        found[cell[2], cell[0]][cell[3][-1]] += values[0]
    of_models = Counter(dict.fromkeys(models, 2))
    assert found["beta", MODEL.name] == of_models
    assert found["acme", USER.name].pop(OTHER) == 50
    assert found["acme", USER.name] == Counter(dict.fromkeys(users[:250], 1))
    assert found["acme", MODEL.name].pop(OTHER) == 2 * 20
    assert found["acme", MODEL.name] == Counter(dict.fromkeys(models[:100], 2))
    assert (tallies["over:user"], tallies["over:model"]) == (50, 2 * 20)
    # A worker with a larger quota for this tenant goes on: 352 series are used, with (other).
    async with RedisStore(redis_url, tenant_series=Quota(250, {"acme": 354})) as store:
        await Writer(store, 3)(of_series(MODEL, ["x", "y", "z"], tenants=("acme", "beta")))
        assert (await store.tallies())["over:model"] == 2 * 20 + 1


async def test_workers_share_the_quotas_and_totals_stay_exact(redis_url: str) -> None:
    """Two workers that count by turns, each with ids cached. Names that both invent count once."""
    quota = Quota(230, {"beta": 260})
    async with (
        RedisStore(redis_url, tenant_series=quota) as one,
        RedisStore(redis_url, tenant_series=quota) as two,
    ):
        await one.open(DIGEST, 1, NOW_MS, SECRET)
        writers, rng = [Writer(one), Writer(two)], random.Random(7)
        sent: Counter[tuple[str, str]] = Counter()
        for turn in range(80):
            writer, view = writers[turn % 2], (USER, MODEL)[rng.randrange(2)]
            names = rng.sample([f"n{n}" for n in range(150)], 9)
            await writer(of_series(view, names, tenants=("acme", "beta")))
            writers[1 - turn % 2].at = writer.at
            for tenant in ("acme", "beta"):
                sent[view.name, tenant] += len(names)
    found: Counter[tuple[str, str]] = Counter()
    for cell, values in read_counters(redis_url).items():
        found[cell[0], cell[2]] += values[0]
    assert found == sent
    with redis.Redis.from_url(redis_url) as client:
        used = {int(tenant): int(n) for tenant, n in client.hgetall(series_counts_key(1)).items()}
        stored = Counter[int]()
        for key in client.scan_iter(f"{layout.prefix(1)}n*.*"):
            stored[int(key.rpartition(b".")[2])] += client.hlen(key)
    assert used == stored
    assert {0: 230, 1: 260}.items() <= {tenant: n - n % 10 for tenant, n in used.items()}.items()
    assert all(n <= quota.of(("acme", "beta")[tenant]) + 2 for tenant, n in used.items())


async def test_tenants_beyond_the_limit_share_one(
    redis_url: str, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.redis.commit.TENANTS_MAX", 2)
    write = Writer(store)
    await write(of_series(USER, ["ann", "bob"], tenants=("a", "b", "c", "d")))
    await write(of_series(USER, ["ann"], tenants=("d", "a")))
    found = {(cell[2], cell[3][1]): values[0] for cell, values in read_counters(redis_url).items()}
    assert found == {
        ("a", "ann"): 2, ("a", "bob"): 1, ("b", "ann"): 1, ("b", "bob"): 1,
        (OTHER, "ann"): 3, (OTHER, "bob"): 2,
    }  # fmt: skip
    assert (await store.tallies())["over:tenant"] == 3
