"""Measures of `/v1/usage` over a real Valkey: unknown costs, percentiles, and requests that fail."""

from __future__ import annotations

import httpx
import pytest

from schemas.limits import HOUR_MS
from tests.api.counters import NOW_MS, Event, pack
from tests.api.usage.asking import ask

pytestmark = pytest.mark.servers


async def test_a_cost_that_is_unknown_is_null_and_comes_last(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    at_ms = NOW_MS - HOUR_MS
    pack(
        [
            Event(at_ms, model="a", cost_nano_usd=None, input_tokens=7),
            Event(at_ms, model="b", cost_nano_usd=0),
            Event(at_ms, model="c", cost_nano_usd=5_000_000),
            Event(at_ms, model="c", cost_nano_usd=None),
            Event(at_ms, model="d", cost_nano_usd=None),
        ]
    ).write(redis_url)
    costs = "cost_usd,cost_nano_usd,cost_per_request_usd,cost_per_1m_tokens_usd,requests"
    found = await ask(client, measures=costs, group_by="model", order_by="model")
    rows = {row.pop("model"): [*row.values()] for row in found["rows"]}
    assert rows == {
        "a": [None, None, None, None, 1],
        "b": [0, 0, 0, None, 1],
        "c": [0.005, 5_000_000, 0.0025, None, 2],
        "d": [None, None, None, None, 1],
    }
    assert found["totals"]["cost_usd"] == 0.005
    for limit, order in (("1", ["c"]), ("2", ["c", "b"]), ("3", ["c", "b", "a"])):
        top = {"measures": "cost_usd", "group_by": "model", "limit": limit}
        found = await ask(client, **top, order_by="-cost_usd")
        assert [row["model"] for row in found["rows"] if not row["other"]] == order
    hours = await ask(client, measures="cost_usd", model="a", granularity="1h", fill="zero")
    assert {row["cost_usd"] for row in hours["rows"]} == {0, None}


async def test_a_percentile_of_equal_values_is_that_value(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    """By their mean, which the counters have beside the histogram: its bin alone says 990 to 1,030."""
    log = [Event(NOW_MS - HOUR_MS, model=m, latency_ms=ms) for m, ms in [("a", 1000), ("b", 1001)]]
    pack([log[0], log[0], *log]).write(redis_url)
    answer = await ask(client, measures="p50_latency_ms,p99_latency_ms", group_by="model")
    found = {row["model"]: [row["p50_latency_ms"], row["p99_latency_ms"]] for row in answer["rows"]}
    assert found == {"a": [1000, 1000], "b": [1001, 1001]}
    assert answer["totals"] == {"p50_latency_ms": 1000.25, "p99_latency_ms": 1000.25}
    assert answer["estimates"] == dict.fromkeys(answer["totals"], 0.02)


async def test_requests_are_those_that_succeed_and_those_that_fail(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    failed = {"events": 1, "errors": 1}
    log = [
        Event(NOW_MS - HOUR_MS, model="a"),
        Event(NOW_MS - HOUR_MS, model="a"),
        Event(NOW_MS - HOUR_MS, model="a", others=failed, error_class="timeout"),
        Event(NOW_MS - HOUR_MS, model="b", others=failed, error_class="rate_limit"),
    ]
    pack(log).write(redis_url)
    asked = {"measures": "successful_requests,failed_requests,requests", "limit": 1}
    by_model = await ask(client, **asked, group_by="model")
    assert [[*row.values()] for row in by_model["rows"]] == [
        ["a", False, 2, 1, 3],
        [None, True, 0, 1, 1],
    ]
    by_class = await ask(client, **asked, group_by="error_class", order_by="-failed_requests")
    assert [[*row.values()][0:4:2] for row in by_class["rows"]] == [["rate_limit", 0], [None, 2]]
