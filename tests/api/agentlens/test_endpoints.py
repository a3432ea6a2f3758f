"""`GET /api/analytics/llm` as schemas/contracts/agentlens.md has it, over a real Valkey."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.api_keys import create_key
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.units import iso
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Asked, Event, answer, pack

PATH = "/api/analytics/llm"
GOLDEN = Path(__file__).parent / "golden_llm.json"
DAY_OF_NOW = "2026-02-08"

MONTH = [
    Event(
        at_ms=NOW_MS - 1 - n * 7_777_777,
        provider=["anthropic", "openai", ""][n % 3],
        model=["claude-sonnet-4", "gpt-4o", "gpt-4o-mini", "o3"][n % 4],
        agent=["support", "sales"][n % 2],
        kind="stt" if n % 11 == 0 else "llm",
        tenant="other" if n % 13 == 0 else "acme",
        input_tokens=n * 17,
        output_tokens=n,
        cost_nano_usd=None if n % 5 == 0 else n * 1_234_567,
        latency_ms=None if n % 4 == 0 else 100 + n,
    )
    for n in range(330)
]


async def body(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


# -- 200 -------------------------------------------------------------------------------------------


async def test_the_response_is_frozen(redis_url: str, client: httpx.AsyncClient) -> None:
    """A change of this file is a new version of the endpoint."""
    pack(MONTH, history_from_ms=NOW_MS - 30 * DAY_MS).write(redis_url)
    params = {"from": "2026-02-01", "to": DAY_OF_NOW, "granularity": "day"}
    response = await client.get(PATH, params=params, headers={"accept-encoding": "identity"})
    assert response.status_code == 200
    assert response.content + b"\n" == GOLDEN.read_bytes()
    assert response.json() == answer(MONTH, Asked(1_769_904_000_000, 1_770_508_800_000, "day"))
    unknown = sum(
        event.cost_nano_usd is None and event.kind == "llm" and event.tenant == "acme"
        for event in MONTH
        if 1_769_904_000_000 <= event.at_ms < 1_770_508_800_000
    )
    assert unknown > 5
    assert dict(response.headers) == {
        "content-type": "application/json",
        "content-length": str(len(response.content)),
        "x-api-version": "v1",
        "cache-control": "no-store",
        "vary": "Accept-Encoding, authorization, x-api-key, x-odometer-tenant",
        "odometer-complete-through": "2026-02-08T12:02:02.456Z",
        "odometer-range-from": "2026-02-01T00:00:00Z",
        "odometer-range-to": "2026-02-08T00:00:00Z",
        "odometer-history-from": "2026-01-09T12:02:03.456Z",
        "odometer-calls-without-cost": str(unknown),
    }
    again = await client.get(PATH, params=params)
    assert again.headers["odometer-calls-without-cost"] == str(unknown)


async def test_nothing_is_zero_and_never_null(redis_url: str, client: httpx.AsyncClient) -> None:
    pack([]).write(redis_url)
    response = await client.get(PATH)
    assert response.text == (
        '{"summary":{"totalCalls":0,"totalCostUsd":0,"totalInputTokens":0,"totalOutputTokens":0,'
        '"avgLatencyMs":0,"avgCostPerCall":0},"byModel":[],"byTime":[]}'
    )


async def test_events_without_cost_or_latency_give_zeros(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - MINUTE_MS)]).write(redis_url)
    response = await client.get(PATH)
    assert response.text == (
        '{"summary":{"totalCalls":1,"totalCostUsd":0,"totalInputTokens":0,"totalOutputTokens":0,'
        '"avgLatencyMs":0,"avgCostPerCall":0},"byModel":[{"provider":"openai","model":"gpt-4o",'
        '"calls":1,"costUsd":0,"inputTokens":0,"outputTokens":0,"avgLatencyMs":0}],"byTime":'
        '[{"bucket":"2026-02-08T12:00:00Z","calls":1,"costUsd":0,"inputTokens":0,"outputTokens":0,'
        '"avgLatencyMs":0}]}'
    )


async def test_whole_amounts_have_no_fraction_and_others_are_unrounded(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    log = [
        Event(NOW_MS - HOUR_MS, model="whole", cost_nano_usd=4 * 10**9, latency_ms=10),
        Event(NOW_MS - HOUR_MS, model="whole", cost_nano_usd=8 * 10**9, latency_ms=0),
        Event(NOW_MS - HOUR_MS, model="tenths", cost_nano_usd=10**8, latency_ms=1),
        Event(NOW_MS - HOUR_MS, model="tenths", cost_nano_usd=2 * 10**8, latency_ms=1),
        Event(NOW_MS - HOUR_MS, model="tenths", cost_nano_usd=1, latency_ms=2),
    ]
    pack(log).write(redis_url)
    response = await client.get(PATH)
    assert (
        '"calls":2,"costUsd":12,"inputTokens":0,"outputTokens":0,"avgLatencyMs":5}' in response.text
    )
    tenths = response.json()["byModel"][1]
    assert tenths["costUsd"] == 0.300000001
    assert tenths["avgLatencyMs"] == 4 / 3
    assert response.json()["summary"]["avgCostPerCall"] == 12.300000001 / 5


async def test_costs_do_not_drift(redis_url: str, client: httpx.AsyncClient) -> None:
    log = [Event(NOW_MS - n * 1000, cost_nano_usd=100_000_000) for n in range(1, 1001)]
    pack(log).write(redis_url)
    assert (await body(client))["summary"]["totalCostUsd"] == 100
    assert math.fsum([0.1] * 1000) == 100 != sum([0.1] * 1000)


async def test_models_by_cost_then_by_bytes(redis_url: str, client: httpx.AsyncClient) -> None:
    names = [("b", "x"), ("a", "z"), ("a", "é"), ("a", "~"), ("B", "x"), ("", "")]
    log = [Event(NOW_MS - HOUR_MS, p, m, cost_nano_usd=5) for p, m in names]
    log += [Event(NOW_MS - HOUR_MS, "cheap", "x", cost_nano_usd=4)]
    log += [Event(NOW_MS - HOUR_MS, "dear", "x", cost_nano_usd=6)]
    pack(log).write(redis_url)
    found = [(row["provider"], row["model"]) for row in (await body(client))["byModel"]]
    ties = [("", ""), ("B", "x"), ("a", "z"), ("a", "~"), ("a", "é"), ("b", "x")]
    assert found == [("dear", "x"), *ties, ("cheap", "x")]


async def test_gaps_are_not_filled(redis_url: str, client: httpx.AsyncClient) -> None:
    pack([Event(NOW_MS - HOUR_MS), Event(NOW_MS - 20 * HOUR_MS)]).write(redis_url)
    buckets = [row["bucket"] for row in (await body(client))["byTime"]]
    assert buckets == ["2026-02-07T16:00:00Z", "2026-02-08T11:00:00Z"]


@pytest.mark.parametrize(
    "asked",
    [
        Asked(NOW_MS - DAY_MS, NOW_MS),
        Asked(NOW_MS - 30 * DAY_MS, NOW_MS, "day"),
        Asked(NOW_MS - 30 * DAY_MS, NOW_MS, "week"),
        Asked(0, NOW_MS + 1000 * DAY_MS, "week"),
        Asked(NOW_MS - 3 * DAY_MS, NOW_MS - DAY_MS, agent="sales"),
        Asked(0, NOW_MS, model="gpt-4o"),
        Asked(0, NOW_MS, provider="openai", model="gpt-4o", agent="support"),
        Asked(0, NOW_MS, provider="OpenAI"),
        Asked(0, NOW_MS, agent="nobody"),
        Asked(NOW_MS, NOW_MS - DAY_MS),
        Asked(NOW_MS, NOW_MS),
    ],
)
async def test_the_answer_is_the_oracles(
    redis_url: str, client: httpx.AsyncClient, asked: Asked
) -> None:
    pack(MONTH).write(redis_url)
    assert await body(client, **asked.params) == answer(MONTH, asked)


async def test_defaults_are_the_last_24_hours_by_hour(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    assert await body(client) == answer(MONTH, Asked(NOW_MS - DAY_MS, NOW_MS))


async def test_to_now_includes_the_newest_event(
    redis_url: str, client: httpx.AsyncClient, clock: Clock
) -> None:
    pack([Event(NOW_MS)]).write(redis_url)
    assert (await body(client))["summary"]["totalCalls"] == 1
    clock.now_ms = NOW_MS + DAY_MS + MINUTE_MS
    assert (await body(client))["summary"]["totalCalls"] == 0


@pytest.mark.parametrize("granularity", ["hour", "day", "week"])
@pytest.mark.parametrize(
    ("at", "hour", "day", "week"),
    [
        # A Sunday's last second, a Monday's first, and the year's turn (a Thursday).
        ("2026-02-01T23:59:59.999Z", "2026-02-01T23", "2026-02-01", "2026-01-26"),
        ("2026-02-02T00:00:00.000Z", "2026-02-02T00", "2026-02-02", "2026-02-02"),
        ("2026-01-01T05:00:00.000Z", "2026-01-01T05", "2026-01-01", "2025-12-29"),
    ],
)
async def test_labels_are_starts_of_utc_buckets(  # a row of the table is three tests
    redis_url: str,
    client: httpx.AsyncClient,
    at: str,
    hour: str,
    day: str,
    week: str,
    granularity: str,
) -> None:
    at_ms = int(datetime.fromisoformat(at).timestamp() * 1000)
    pack([Event(at_ms)]).write(redis_url)
    found = (await body(client, granularity=granularity, **{"from": "2025-12-01"}))["byTime"]
    label = {"hour": f"{hour}:00:00Z", "day": f"{day}T00:00:00Z", "week": f"{week}T00:00:00Z"}
    assert [row["bucket"] for row in found] == [label[granularity]]


async def test_old_hours_are_their_days(redis_url: str, client: httpx.AsyncClient) -> None:
    old_ms = NOW_MS - 500 * DAY_MS
    pack([Event(old_ms), Event(old_ms + HOUR_MS), Event(NOW_MS - DAY_MS)]).write(redis_url)
    found = await body(client, **{"from": iso(old_ms - DAY_MS)})
    assert [(row["bucket"][10:], row["calls"]) for row in found["byTime"]] == [
        ("T00:00:00Z", 2),
        ("T12:00:00Z", 1),
    ]
    assert found["summary"]["totalCalls"] == 3


@pytest.mark.parametrize(
    ("sent", "covered"),
    [
        ("2026-02-07", "2026-02-07T00:00:00Z"),
        ("2026-02-07T10:00:00Z", "2026-02-07T10:00:00Z"),
        ("2026-02-07t10:00:00z", "2026-02-07T10:00:00Z"),
        ("2026-02-07 10:00", "2026-02-07T10:00:00Z"),
        ("2026-02-07T10:00:00", "2026-02-07T10:00:00Z"),
        ("2026-02-07T10:00:00.000Z", "2026-02-07T10:00:00Z"),
        ("2026-02-07T10:00:00.001Z", "2026-02-07T10:01:00Z"),
        ("2026-02-07T10:00:00.000001Z", "2026-02-07T10:01:00Z"),
        ("2026-02-07T23:59:59.999Z", "2026-02-08T00:00:00Z"),
        ("2026-02-07T12:00:00+02:00", "2026-02-07T10:00:00Z"),
        ("2026-02-07T04:30:00-0530", "2026-02-07T10:00:00Z"),
        ("2026-02-07T12:00+02", "2026-02-07T10:00:00Z"),
        # Older than 48 h: a quarter of an hour; older than 90 days: an hour; older than 400 days: a day.
        ("2026-02-05T10:01:00Z", "2026-02-05T10:15:00Z"),
        ("2025-10-05T10:01:00Z", "2025-10-05T11:00:00Z"),
        ("2024-10-05T10:01:00Z", "2024-10-06T00:00:00Z"),
        # Before and after anything that can have been counted.
        ("0001-01-01", "2021-02-05T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", "2021-02-05T00:00:00Z"),
        ("9999-12-31T23:59:59.999999-14:00", "2026-02-08T14:03:00Z"),
    ],
)
async def test_times_are_instants(
    redis_url: str, client: httpx.AsyncClient, sent: str, covered: str
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.get(PATH, params={"from": sent, "to": sent})
    assert response.status_code == 200
    assert response.headers["odometer-range-from"] == covered
    assert response.headers["odometer-range-to"] == covered
    assert response.json()["summary"]["totalCalls"] == 0


async def test_the_first_of_repeated_parameters_wins(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.get(
        f"{PATH}?model=gpt-4o&model=o3&granularity=day&granularity=nonsense&from=2026-01-20&from=x"
    )
    assert response.status_code == 200
    from_ms = 1_768_867_200_000
    assert iso(from_ms) == "2026-01-20T00:00:00Z"
    assert response.json() == answer(MONTH, Asked(from_ms, NOW_MS, "day", model="gpt-4o"))


async def test_empty_filters_and_unknown_parameters_are_none(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    found = await body(client, agentId="", model="", provider="", range="7d", limit="1")
    assert found == answer(MONTH, Asked(NOW_MS - DAY_MS, NOW_MS))


async def test_a_key_sees_its_own_tenant_only(redis_url: str, clock: Clock) -> None:
    pack(MONTH).write(redis_url)
    for tenant in ("acme", "other", "nobody"):
        key = await create_key(redis_url, name="k", tenant=tenant, role="admin")
        async with client_of(redis_url, clock, key) as client:
            asked = Asked(0, NOW_MS, "week", tenant=tenant)
            found = await body(client, tenant="acme", **asked.params)
            assert found == answer(MONTH, asked)
            assert found["summary"]["totalCalls"] > 0 or tenant == "nobody"


async def test_head_is_get_without_its_body(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    response = await client.head(PATH)
    assert response.status_code == 200
    assert response.headers["x-api-version"] == "v1"


async def test_answers_say_what_they_do_not_know(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(MONTH, complete_ms=(0, NOW_MS, NOW_MS), refused=(0, 3, 1)).write(redis_url)
    response = await client.get(PATH)
    assert response.headers["odometer-complete-through"] == "unknown"
    assert response.headers["odometer-refused"] == "1, 2"
    assert "odometer-history-from" not in response.headers
