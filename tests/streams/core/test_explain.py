"""What `explain` says of events, added up, is what the oracle counts."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

import pytest

from schemas.catalog.measures import MEASURES
from schemas.catalog.views import VIEWS
from schemas.prices.price_list import parse_prices
from schemas.units import instant_to_ms
from streams.core.explain import CountedEvent, Explainer, RejectedEvent
from tests.oracles.event_logs import NOW_MS, Mix, Record, encode, event, mixed
from tests.oracles.fold_oracle import expected
from tests.oracles.redis_counters import CELL_OF_SUMS, Cell

MIX = Mix(partitions=1, resent_percent=5, invalid_percent=10, step_ms=0)
VIEW_OF = {view.name: view for view in VIEWS}


def test_explanations_add_up_to_what_is_counted() -> None:
    explainer = Explainer(NOW_MS)
    records = [
        Record(0, offset, NOW_MS, one.value, one.headers)
        for offset, one in enumerate(
            one for one in mixed(random.Random(11), 600, mix=MIX) if one.readable
        )
    ]
    sums: defaultdict[Cell, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    duplicates = 0
    for record in records:
        found = explainer.explain(record.value, record.headers)
        if isinstance(found, RejectedEvent):
            reasons[found.reason] += 1
            continue
        duplicates += found.duplicate
        for row in found.rows:
            start_ms = instant_to_ms(datetime.fromisoformat(row.bucket))
            cell = (row.view, row.tier, found.tenant, tuple(row.series.values()), start_ms)
            sums[cell].update(row.measures)
    want = expected(records)
    assert duplicates == want.duplicates > 10
    assert reasons == Counter(str(reason) for reason in want.letters.values())
    assert len(reasons) > 5
    assert {
        cell: values for cell, values in want.counters.items() if len(cell) == CELL_OF_SUMS
    } == {
        cell: tuple(measures[m.name] for m in VIEW_OF[cell[0]].tables[cell[3][0]].measures)
        for cell, measures in sums.items()
        if any(measures.values())
    }


def test_one_event_says_who_it_is_and_where_its_call_is_booked() -> None:
    explainer = Explainer(NOW_MS)
    first = explainer.explain(encode(event(call_id="c", tenant="acme", agent_id="a", typo=1)))
    assert isinstance(first, CountedEvent)
    assert (first.tenant, first.partition_key) == ("acme", "acme|c")
    assert first.tiers == ["1m", "15m", "1h", "1d"]
    assert first.unknown_fields == ["typo"]
    assert first.measures["cost_nano_usd"] == 4_500_000
    assert set(first.measures) < {measure.name for measure in MEASURES}
    assert first.call is not None
    assert first.call.is_new
    assert first.call.duration_ms is None
    assert first.call.dimensions["agent"] == "a"
    end = encode(event(id="2", kind="call", call_id="c", tenant="acme", duration_ms=7))
    second = explainer.explain(end)
    assert isinstance(second, CountedEvent)
    assert second.call is not None
    assert not second.call.is_new
    assert second.call.duration_ms == 7
    again = explainer.explain(end)
    assert isinstance(again, CountedEvent)
    assert again.duplicate
    assert again.digest == second.digest
    assert again.rows == []


@pytest.mark.parametrize(
    ("changes", "nano_usd", "by"),
    [
        ({}, 4_500_000, "as its producer sent it"),
        ({"cost_usd": 0}, 0, "as its producer sent it"),
        ({"cost_usd": None}, 6_000_000, r"gpt-4o\)$"),
        ({"cost_usd": None, "model": "of nobody"}, None, "of nobody"),
        ({"cost_usd": None, "input_tokens": None}, None, "input_tokens"),
        ({"kind": "chat"}, None, "an event of kind chat has none"),
    ],
)
def test_its_cost_and_by_which_price(
    changes: dict[str, Any], nano_usd: int | None, by: str
) -> None:
    fields = event(**{"input_tokens": 1200, "output_tokens": 300, **changes})
    found = Explainer(NOW_MS).explain(encode(fields))
    assert isinstance(found, CountedEvent)
    assert found.cost.nano_usd == nano_usd
    assert re.search(by, found.cost.by)


def test_the_rate_and_the_facts_behind_a_cost_are_named() -> None:
    facts = {"input_tokens": 640_000, "output_tokens": 90_000, "service_tier": "flex"}
    time = "2026-11-30T10:00:00Z"
    fields = event(**facts, cost_usd=None, provider="openai", model="gpt-5-nano", time=time)
    found = Explainer(instant_to_ms(datetime.fromisoformat(time))).explain(encode(fields))
    assert isinstance(found, CountedEvent)
    assert found.cost.nano_usd == 34_000_000
    assert "$0.025/input MTok" in found.cost.by
    assert "gpt-5-nano, service_tier flex" in found.cost.by
    assert found.cost.facts == facts
    rows = [row for row in found.rows if row.view == "model"]
    assert {row.series["service_tier"] for row in rows} == {"flex"}
    unknown = event(**facts | {"service_tier": "scale"}, cost_usd=None, time=time,
                    provider="openai", model="gpt-5-nano")  # fmt: skip
    found = Explainer(instant_to_ms(datetime.fromisoformat(time))).explain(encode(unknown))
    assert isinstance(found, CountedEvent)
    assert found.cost.nano_usd is None
    assert "no price of gpt-5-nano for service_tier scale" in found.cost.by


def test_the_class_of_an_error_is_read_from_it() -> None:
    found = Explainer(NOW_MS).explain(encode(event(error="APITimeoutError", operation="chat")))
    assert isinstance(found, CountedEvent)
    (row, *_) = [row for row in found.rows if row.view == "agent_model"]
    assert (row.series["error_class"], row.series["operation"]) == ("timeout", "chat")


def test_own_prices_come_first() -> None:
    prices = parse_prices(
        b"[[price]]\nmodel = 'gpt-4o'\nusd_per_million_input_tokens = 1\n"
        b"usd_per_million_output_tokens = 10\n",
        "own.toml",
    )
    found = Explainer(NOW_MS, prices).explain(encode(event(cost_usd=None)))
    assert isinstance(found, CountedEvent)
    assert found.cost.nano_usd == 1200 * 1000 + 300 * 10_000
    assert found.cost.by == "$1/input MTok, $10/output MTok (own prices: any/gpt-4o)"


def test_an_old_event_counts_in_the_tiers_of_its_age() -> None:
    explainer = Explainer(NOW_MS)
    for time, tiers in (
        ("2026-02-05T10:00:00Z", ["15m", "1h", "1d"]),
        ("2025-02-05T10:00:00Z", ["1h", "1d"]),
        ("2024-12-05T10:00:00Z", ["1d"]),
    ):
        found = explainer.explain(encode(event(id=time, time=time)))
        assert isinstance(found, CountedEvent)
        assert found.tiers == tiers
        assert {row.tier for row in found.rows} == set(tiers)
    assert explainer.explain(encode(event(time="2019-01-01T00:00:00Z"))) == RejectedEvent(
        "too_old",
        "time",
        "lies 2595 days before the record's append, the limit is 1830 days",
    )
