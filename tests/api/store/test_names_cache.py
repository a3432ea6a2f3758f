"""The cache of names: its bound, and what a store answers after an eviction."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from api.query.plan import Question, Term, plan
from api.query.series_index import SeriesIndex, empty_index, extended
from api.store import generation_state
from api.store.names_cache import NamesCache
from api.store.reader import Store
from schemas.catalog.measures import COST_NANO_USD
from schemas.catalog.views import MODEL, Table
from schemas.limits import DAY_MS
from tests.api.counters import NOW_MS, Event, name_of, pack

TABLE, OTHER_TABLE = list(MODEL.tables.values())[:2]
COSTS = plan(Question((Term(COST_NANO_USD),), NOW_MS - DAY_MS, NOW_MS, NOW_MS, group_by=("model",)))


def index_of(count: int, table: Table = TABLE) -> SeriesIndex:
    names = [name_of(table, "openai", f"m{n}").encode() for n in range(count)]
    return extended(empty_index(table), names)


def test_the_least_recently_used_tenant_is_evicted_as_a_whole() -> None:
    one = index_of(10)
    evicted: list[str] = []
    cache = NamesCache(evicted.append, 3 * one.size_bytes)
    for tenant in ("a", "b", "c"):
        cache.put(index_of(10), tenant, 7)
    assert cache.index(TABLE, "a").count == 10  # so "b" is the least recently used
    cache.put(one, "d", 7)
    assert evicted == ["b"]
    assert cache.index(TABLE, "b") is empty_index(TABLE)
    assert cache.complete_at(TABLE, "b") == -1
    assert cache.index(TABLE, "d") is one
    assert cache.complete_at(TABLE, "d") == 7


def test_one_tenant_is_cached_even_if_it_is_larger_than_the_bound() -> None:
    evicted: list[str] = []
    cache = NamesCache(evicted.append, 100)
    cache.put(index_of(10), "a", 1)
    cache.put(index_of(20, OTHER_TABLE), "a", 1)
    assert not evicted
    assert cache.index(TABLE, "a").count == 10
    assert cache.index(OTHER_TABLE, "a").count == 20
    cache.put(index_of(10), "b", 1)
    assert evicted == ["a"]


def log_of(models: int) -> list[Event]:
    return [
        Event(NOW_MS - DAY_MS // 2, tenant=tenant, model=f"m{n}", cost_nano_usd=n + 1)
        for tenant in ("acme", "other", "third")
        for n in range(models)
    ]


async def costs(store: Store, tenant: str) -> dict[str, int]:
    reading = await store.read(tenant, (COSTS,))
    return {row.group[0]: row.values[0] for row in reading.rows[0]}


async def test_answers_do_not_change_when_each_tenant_evicts_the_others(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while they are read at the same time, and after new names."""
    monkeypatch.setattr(generation_state, "NamesCache", partial(NamesCache, bytes_max=1))
    for commits, models in ((1, 3), (2, 5), (3, 5)):
        pack(log_of(models), commits=commits, compactions=0).write(redis_url)
        expected = {f"m{n}": n + 1 for n in range(models)}
        for _again in range(3):
            assert await costs(store, "acme") == expected
            assert await costs(store, "other") == expected
        found = await asyncio.gather(
            *[costs(store, tenant) for tenant in ("acme", "other", "third") for _again in range(3)]
        )
        assert found == [expected] * 9
