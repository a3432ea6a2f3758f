"""A cost that nobody knows is null, and comes after all that are known."""

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
