"""Usage as metrics: the store's sums, in counters that never fall, the same in every process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.store.reader import Store
from deploy.monitor.usage import (
    TURN_KEY,
    UsageMetrics,
    UsageState,
    load,
    read_and_write,
    take_turn,
    usage_families,
)
from deploy.monitor.usage_counters import MEASURES, UsageRow, UsageSeries, advanced
from deploy.settings import read_settings
from schemas.catalog.views import OTHER
from schemas.limits import DAY_MS, HOUR_MS
from schemas.tiers import DAY, floor_to
from tests.api.counters import NOW_MS, TOPIC, Event, pack

OLDEST_MS = floor_to(NOW_MS - DAY.kept_ms, DAY_MS) + DAY_MS


class Usage(Collector):
    def __init__(self, state: UsageState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        return usage_families(self.state)


def value(
    state: UsageState, name: str, model: str, tenant: str = "acme", **more: str
) -> float | None:
    registry = CollectorRegistry()
    registry.register(Usage(state))
    provider = OTHER if model == OTHER else "openai"
    labels = {"tenant": tenant, "kind": "llm", "provider": provider, "model": model, **more}
    return registry.get_sample_value(f"odometer_usage_{name}_total", labels)


# -- over a real store -----------------------------------------------------------------------------


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = Store(redis_url, TOPIC)
    yield store
    await store.close()


async def refreshed(store: Store, now_ms: int = NOW_MS, series_max: int = 100) -> UsageState:
    """The counters after one more turn."""
    await store.ask("DEL", TURN_KEY)
    assert await take_turn(store, "mine")
    assert await read_and_write(store, "mine", now_ms, series_max)
    return await load(store)


def calls(count: int, *, cost: int | None = 10**9, **about: object) -> list[Event]:
    return [
        Event(NOW_MS - HOUR_MS, input_tokens=7, output_tokens=3, cost_nano_usd=cost, **about)  # type: ignore[arg-type]
    ] * count


@pytest.mark.servers
async def test_the_sums_of_the_store(store: Store, redis_url: str) -> None:
    pack([*calls(3), *calls(2, model="new", cost=None), *calls(1, tenant="beta")]).write(redis_url)
    found = await refreshed(store)
    assert value(found, "requests", "gpt-4o") == 3
    assert value(found, "tokens", "gpt-4o", type="input") == 21
    assert value(found, "tokens", "gpt-4o", type="output") == 9
    assert value(found, "cost_usd", "gpt-4o") == 3
    assert value(found, "requests", "gpt-4o", "beta") == 1
    assert value(found, "requests", "new") == 2
    assert value(found, "requests_with_cost", "new") == 0
    assert value(found, "cost_usd", "new") is None  # unknown is not 0
    pack([*calls(5), *calls(1, tenant="beta")], commits=2).write(redis_url)
    assert value(await refreshed(store), "requests", "gpt-4o") == 5


@pytest.mark.servers
async def test_a_rebuild_that_lowers_a_number(store: Store, redis_url: str) -> None:
    """The new generation counts less, at a lower price. The counters stay, then grow as it grows."""
    pack(calls(5)).write(redis_url)
    await refreshed(store)
    pack(calls(3, cost=10**8), generation=2, created_ms=NOW_MS).write(redis_url)
    found = await refreshed(store)
    assert value(found, "requests", "gpt-4o") == 5
    assert value(found, "cost_usd", "gpt-4o") == 5
    pack(calls(4, cost=10**8), generation=2, created_ms=NOW_MS, commits=2).write(redis_url)
    again = await refreshed(store)
    assert value(again, "requests", "gpt-4o") == 6
    assert value(again, "cost_usd", "gpt-4o") == pytest.approx(5.1)
    another = Store(redis_url, TOPIC)  # of a process that was started again
    assert await refreshed(another) == again._replace(read_ms=NOW_MS)
    await another.close()


@pytest.mark.servers
async def test_the_oldest_day_expires(store: Store, redis_url: str) -> None:
    """The store's sum falls by that day. What came since is added in full."""
    oldest = [Event(OLDEST_MS + HOUR_MS, input_tokens=1, appended_ms=OLDEST_MS + HOUR_MS)] * 4
    pack([*oldest, *calls(2)]).write(redis_url)
    assert value(await refreshed(store), "requests", "gpt-4o") == 6
    later_ms = NOW_MS + DAY_MS
    pack([*oldest, *calls(5)], now_ms=later_ms, commits=2).write(redis_url)
    assert value(await refreshed(store, later_ms), "requests", "gpt-4o") == 9
    # The same, where the keys of the day are gone by then: only the fall itself is covered.
    pack(calls(5), now_ms=later_ms, commits=3).write(redis_url)
    assert value(await refreshed(store, later_ms), "requests", "gpt-4o") == 9
    assert value(await refreshed(store, later_ms + 400 * DAY_MS), "requests", "gpt-4o") == 9


@pytest.mark.servers
async def test_beyond_the_limit_series_count_as_other(store: Store, redis_url: str) -> None:
    many = [*calls(9), *calls(8, model="b"), *calls(7, model="c"), *calls(6, tenant="beta")]
    many += calls(1, tenant="gamma")
    pack(many).write(redis_url)
    found = await refreshed(store, series_max=3)
    named = {(one.tenant, one.model): row.shown[0] for one, row in found.rows.items()}
    assert named == {
        ("acme", "gpt-4o"): 9,
        ("acme", OTHER): 15,
        ("beta", "gpt-4o"): 6,
        ("gamma", "gpt-4o"): 1,
    }
    pack([*many, *calls(50, model="c"), *calls(2, tenant="delta")], commits=2).write(redis_url)
    found = await refreshed(store, series_max=3)
    assert value(found, "requests", OTHER) == 65  # c stays there
    assert value(found, "requests", OTHER, OTHER) == 2
    raised = await refreshed(store, series_max=100)  # c has a name now: its past stays in (other)
    assert value(raised, "requests", OTHER) == 65
    assert value(raised, "requests", "c") == 0


@pytest.mark.servers
async def test_who_has_lost_its_turn_writes_nothing(store: Store, redis_url: str) -> None:
    pack(calls(5)).write(redis_url)
    before = await refreshed(store)
    pack(calls(9), commits=2).write(redis_url)
    assert not await take_turn(store, "another")  # the last turn was just now
    await store.ask("SET", TURN_KEY, "another")
    assert not await read_and_write(store, "mine", NOW_MS, 100)
    assert await load(store) == before


@pytest.mark.servers
def test_every_process_shows_the_same(redis_url: str) -> None:
    pack(calls(3)).write(redis_url)
    settings = read_settings(redis=redis_url, topic=TOPIC, usage_metrics=10)
    texts = []
    for _process in range(2):
        metrics = UsageMetrics(settings)
        texts.append([(s.name, s.labels, s.value) for m in metrics.collect() for s in m.samples])
        metrics.close()
    assert texts[0] == texts[1]
    assert ("odometer_usage_requests_total", 3) in {(name, number) for name, _, number in texts[0]}


# -- the arithmetic --------------------------------------------------------------------------------

MODELS = [UsageSeries(tenant, "llm", "p", model) for tenant in "ab" for model in "xyz"]
AMOUNTS = st.tuples(*[st.integers(0, 9)] * len(MEASURES))


@given(
    st.lists(st.dictionaries(st.sampled_from(MODELS), AMOUNTS), min_size=1, max_size=6),
    st.integers(1, 8),
)
def test_no_counter_falls_and_none_grows_by_more_than_the_sums(
    reads: Sequence[dict[UsageSeries, tuple[int, ...]]], series_max: int
) -> None:
    known: dict[UsageSeries, UsageRow] = {}
    total, grown = 0, 0
    for sums in reads:
        for series in MODELS:
            sums.setdefault(series, (0,) * len(MEASURES))
        changed = advanced(known, sums, {}, series_max)
        for series, row in changed.items():
            before = known.get(series, UsageRow(row.shown, row.shown)).shown
            assert all(new >= old for new, old in zip(row.shown, before, strict=True))
        known |= changed
        now = sum(amounts[0] for amounts in sums.values())
        assert sum(row.seen[0] for row in known.values()) == now
        grown = sum(row.shown[0] for row in known.values())
        assert grown >= max(total, now)
        total = grown
    assert len([one for one in known if OTHER not in one]) <= series_max
