"""Another price list that only adds prices takes effect without a rebuild, once, for all workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis

from schemas.event.usage_event import parse_usage
from schemas.limits import DAY_MS
from schemas.prices.cost import Priced, price
from schemas.prices.price_list import Prices
from schemas.store.generation import generation_digest
from schemas.store.layout import FIRST_GENERATION, Meta
from schemas.units import iso
from streams.core.ports import Outcome, Progress
from streams.redis.price_lists import LISTS_MAX, prices_key
from streams.redis.store import RedisStore
from streams.worker.price_lists import counted_prices
from streams.worker.price_switch import PriceSwitch
from tests.oracles.event_logs import SECRET
from tests.schemas.prices.test_price_list import INPUT, one, prices
from tests.streams.redis.test_store_contract import NOW_MS, commit

pytestmark = pytest.mark.servers

LAST_MS = NOW_MS - 60_000
FIRST = one(provider="own", model="m", **{INPUT: 1})
ADDS = prices(FIRST + one(provider="own", model="new", **{INPUT: 3}))
CHANGES = prices(one(provider="own", model="m", **{INPUT: 2}))
OWN = prices(FIRST)


def digest(listed: Prices) -> bytes:
    return generation_digest("switch", listed.version)


async def meta_of(store: RedisStore) -> Meta:
    meta = await store.meta()
    assert meta is not None
    return meta


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(redis_url) as store:
        await store.open(digest(OWN), 2, NOW_MS, SECRET)
        await counted_prices(store, OWN)
        yield store


async def count(store: RedisStore, listed: Prices = OWN, start: int = -1) -> Outcome:
    """One record, appended at LAST_MS."""
    moved = Progress(0, start, start + 2, start + 1, LAST_MS, 0)
    made = commit(start + 10, moved)
    return (await store.commit(replace(made, generation_digest=digest(listed)))).outcome


async def take_effect(store: RedisStore, listed: Prices) -> str | None:
    return await PriceSwitch(listed, digest(listed)).take_effect(store, await meta_of(store))


def cost(listed: Prices, model: str, at_ms: int) -> int | None:
    made = {"id": "e", "source": "s", "time": iso(at_ms), "kind": "llm", "provider": "own"}
    answer = price(parse_usage({**made, "model": model, "input_tokens": 1_000_000}), listed)
    return answer.nano_usd // 10**9 if isinstance(answer, Priced) else None


async def test_a_list_that_adds_a_model_counts_from_the_last_counted_append_on(
    store: RedisStore,
) -> None:
    assert await count(store) is Outcome.COMMITTED
    assert await take_effect(store, ADDS) is None
    assert (await meta_of(store)).digest == digest(ADDS)
    assert await store.list_starts() == [(0, OWN.version), (LAST_MS + 1, ADDS.version)]
    counted = await counted_prices(store, ADDS)
    # A model that had no price: what was counted without a cost stays so, also what arrives late.
    assert [cost(counted, "new", LAST_MS + n) for n in (0, 1)] == [None, 3]
    assert [cost(counted, "m", LAST_MS + n) for n in (0, 1)] == [1, 1]
    assert cost(ADDS, "new", LAST_MS) == 3  # after a rebuild


async def test_a_worker_of_the_earlier_list_counts_nothing_more_and_says_why(
    store: RedisStore,
) -> None:
    """In a rolling deploy both run for a while."""
    await count(store)
    await take_effect(store, ADDS)
    before = await meta_of(store)
    assert await count(store, OWN, start=1) is Outcome.DIGEST
    said = await take_effect(store, OWN)
    assert said is not None
    assert "own/new at" in said
    assert "odometer rebuild" in said
    assert await meta_of(store) == before
    assert await count(store, ADDS, start=1) is Outcome.COMMITTED


async def test_a_list_that_changes_a_counted_price_is_refused_by_model_and_day(
    store: RedisStore,
) -> None:
    await count(store)
    said = await take_effect(store, CHANGES)
    assert said is not None
    assert "own/m at" in said
    assert "$1/input MTok" in said
    assert "$2/input MTok" in said
    assert "odometer rebuild" in said
    assert (await meta_of(store)).digest == digest(OWN)
    assert await store.list_starts() == [(0, OWN.version)]


async def test_of_two_lists_at_once_one_takes_effect(store: RedisStore, redis_url: str) -> None:
    await count(store)
    others = prices(FIRST + one(provider="own", model="another", **{INPUT: 3}))
    async with RedisStore(redis_url) as second:
        meta = await meta_of(store)
        await asyncio.gather(
            PriceSwitch(ADDS, digest(ADDS)).take_effect(store, meta),
            PriceSwitch(others, digest(others)).take_effect(second, meta),
        )
        lists = await store.list_starts()
        assert len(lists) == 2
        loser = others if lists[1][1] == ADDS.version else ADDS
        assert await take_effect(second, loser) is not None


async def test_before_anything_is_counted_any_list_takes_effect_from_the_beginning(
    store: RedisStore,
) -> None:
    assert await take_effect(store, CHANGES) is None
    counted = await counted_prices(store, CHANGES)
    assert cost(counted, "m", LAST_MS) == 2
    assert await count(store, CHANGES) is Outcome.COMMITTED


async def test_the_step_that_comes_after_a_midnight_is_compared_again(store: RedisStore) -> None:
    """Other workers go on counting while two lists are compared, and a price may start at midnight."""
    await count(store)
    before_ms = LAST_MS // DAY_MS * DAY_MS
    assert await store.adopt(digest(OWN), digest(CHANGES), CHANGES, before_ms) == -1
    assert (await meta_of(store)).digest == digest(OWN)


async def test_counters_without_a_stored_list_take_no_other(redis_url: str) -> None:
    """Those of a version that did not store it, until a worker with its list starts."""
    async with RedisStore(redis_url) as store:
        await store.open(digest(OWN), 2, NOW_MS, SECRET)
        await count(store)
        said = await take_effect(store, ADDS)
        assert said is not None
        assert "do not hold their list" in said
        await counted_prices(store, OWN)
        assert await take_effect(store, ADDS) is None


async def test_a_generation_has_a_limited_number_of_lists(
    store: RedisStore, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        full = json.dumps([(0, OWN.version)] * LISTS_MAX)
        client.set(prices_key(FIRST_GENERATION), full)
    said = await take_effect(store, ADDS)
    assert said is not None
    assert str(LISTS_MAX) in said
    assert await store.adopt(digest(OWN), digest(ADDS), ADDS, DAY_MS) == -1
