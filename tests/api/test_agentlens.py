"""`GET /api/analytics/llm` as contracts/agentlens.md has it, over a real Valkey."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from api.keys import create_key, revoke_key
from api.main import build
from deploy.servers import Server
from deploy.valkey import url_of
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

NO_CREDENTIALS = (
    '{"error":"Authentication required","hint":"Provide an API key via \'Authorization: Bearer'
    ' als_...\' header, or log in via /auth/login","docs":"/docs/authentication","status":401}'
)
UNKNOWN_KEY = (
    '{"error":"Invalid or revoked API key","hint":"This API key is no longer valid. Generate a new'
    ' key at /api/keys.","status":401}'
)
EXPIRED_KEY = (
    '{"error":"API key expired","hint":"This API key has been rotated and is no longer valid.'
    ' Please use the new key.","status":401}'
)
BAD_GRANULARITY = '{"error":"Invalid granularity. Use: hour, day, week","status":400}'
NOT_FOUND = '{"error":"Not found","status":404}'
POST_AS_VIEWER = (
    '{"error":"Insufficient permissions","hint":"POST requires \'member\' role. Your role is'
    ' \'viewer\'.","required":"member","current":"viewer","status":403}'
)
UNREADABLE = (
    '{"error":"The counters cannot be read right now. Try again in a moment.","status":503}'
)


async def body(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


# -- 200 -------------------------------------------------------------------------------------------


async def test_the_response_is_frozen(redis_url: str, client: httpx.AsyncClient) -> None:
    """A change of this file is a new version of the endpoint."""
    pack(MONTH, history_from_ms=NOW_MS - 30 * DAY_MS).write(redis_url)
    response = await client.get(
        PATH, params={"from": "2026-02-01", "to": DAY_OF_NOW, "granularity": "day"}
    )
    assert response.status_code == 200
    assert response.content + b"\n" == GOLDEN.read_bytes()
    assert response.json() == answer(MONTH, Asked(1_769_904_000_000, 1_770_508_800_000, "day"))
    assert dict(response.headers) == {
        "content-type": "application/json",
        "content-length": str(len(response.content)),
        "x-api-version": "v1",
        "cache-control": "no-store",
        "odometer-complete-through": "2026-02-08T12:02:02.456Z",
        "odometer-range-from": "2026-02-01T00:00:00Z",
        "odometer-range-to": "2026-02-08T00:00:00Z",
        "odometer-history-from": "2026-01-09T12:02:03.456Z",
    }


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
    old_ms = NOW_MS - 200 * DAY_MS
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
        # Older than 48 h: a quarter of an hour; older than 90 days: a day.
        ("2026-02-05T10:01:00Z", "2026-02-05T10:15:00Z"),
        ("2025-10-05T10:01:00Z", "2025-10-06T00:00:00Z"),
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


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["", "Hour", "minute", "hour ", "month", "0", "\x00", "é"])
async def test_a_bad_granularity(
    redis_url: str, client: httpx.AsyncClient, granularity: str
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.get(PATH, params={"granularity": granularity})
    assert (response.status_code, response.text) == (400, BAD_GRANULARITY)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "now",
        "1770552123",
        "1770552123456",
        "1712051212345",  # Python alone would read the year 1712 in it
        "20260208",
        "2026-02",
        "2026-2-8",
        "2026-13-01",
        "2026-02-30",
        "2026-02-08T25:00:00Z",
        "2026-02-08T10:00:60Z",
        "2026-02-08T10:00:00 02:00",  # a + that was not written as %2B
        "2026-02-08T10:00:00Zjunk",
        "2026-W06-7",
        "٢٠٢٦-02-08",
        "0000-01-01",
        "-2026-02-08",
        "null",
        "2026-02-08\n",
    ],
)
async def test_what_is_no_time(
    redis_url: str, client: httpx.AsyncClient, name: str, text: str
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.get(PATH, params={name: text})
    assert response.status_code == 400
    assert response.text == (
        f'{{"error":"Invalid {name}. Use an ISO 8601 time such as 2026-02-08T10:00:00Z or'
        ' 2026-02-08 (in a URL, write + as %2B)","status":400}'
    )


async def credentials(redis_url: str, which: str) -> dict[str, str]:
    made = await create_key(redis_url, name="k", tenant="acme", role="viewer")
    past = await create_key(redis_url, name="k", tenant="acme", role="viewer", expires_ms=NOW_MS)
    gone = await create_key(redis_url, name="k", tenant="acme", role="viewer", expires_ms=NOW_MS)
    assert await revoke_key(redis_url, gone)
    return {
        "none": {},
        "empty": {"authorization": ""},
        "basic": {"authorization": "Basic YTpi"},
        "lower case": {"authorization": f"bearer {made}"},
        "bearer alone": {"authorization": "Bearer "},
        "revoked": {"authorization": f"Bearer {gone}"},
        "unknown": {"authorization": "Bearer als_unknown"},
        "cut": {"authorization": f"Bearer {made[:-1]}"},
        "no key of ours": {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"},
        "not ASCII": {"authorization": "Bearer als_\xe9"},
        "unknown in x-api-key": {"x-api-key": "als_unknown"},
        "expired": {"authorization": f"Bearer {past}"},
        "expired in x-api-key": {"x-api-key": past},
        "good": {"authorization": f"Bearer {made}"},
        "good in x-api-key": {"x-api-key": made},
        "good beside basic": {"authorization": "Basic YTpi", "x-api-key": made},
    }[which]


@pytest.mark.parametrize(
    ("which", "status", "text"),
    [
        ("none", 401, NO_CREDENTIALS),
        ("empty", 401, NO_CREDENTIALS),
        ("basic", 401, NO_CREDENTIALS),
        ("lower case", 401, NO_CREDENTIALS),
        ("bearer alone", 401, NO_CREDENTIALS),
        ("unknown", 401, UNKNOWN_KEY),
        ("revoked", 401, UNKNOWN_KEY),
        ("cut", 401, UNKNOWN_KEY),
        ("no key of ours", 401, UNKNOWN_KEY),
        ("not ASCII", 401, UNKNOWN_KEY),
        ("unknown in x-api-key", 401, UNKNOWN_KEY),
        ("expired", 401, EXPIRED_KEY),
        ("expired in x-api-key", 401, EXPIRED_KEY),
        ("good", 200, ""),
        ("good in x-api-key", 200, ""),
        ("good beside basic", 200, ""),
    ],
)
async def test_who_asks(redis_url: str, clock: Clock, which: str, status: int, text: str) -> None:
    pack(MONTH).write(redis_url)
    headers = await credentials(redis_url, which)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with client_of(redis_url, clock) as client:
        found = await client.get(PATH, headers=raw)
        assert found.status_code == status
        assert text in {"", found.text}
        # Who is not known learns nothing of parameters and paths.
        assert (await client.get(f"{PATH}?granularity=x", headers=raw)).status_code == (
            400 if status == 200 else status
        )
        missing = await client.get("/api/unknown", headers=raw)
        assert missing.text == (NOT_FOUND if status == 200 else text)


@pytest.mark.parametrize(
    ("method", "path", "role", "status", "text"),
    [
        ("GET", "/api/unknown", "viewer", 404, NOT_FOUND),
        ("GET", "/api", "viewer", 404, NOT_FOUND),
        ("GET", "/api/", "viewer", 404, NOT_FOUND),
        ("GET", f"{PATH}/", "viewer", 404, NOT_FOUND),
        ("GET", "/api/analytics/LLM", "viewer", 404, NOT_FOUND),
        ("OPTIONS", PATH, "viewer", 404, NOT_FOUND),
        ("POST", PATH, "viewer", 403, POST_AS_VIEWER),
        ("POST", PATH, "member", 404, NOT_FOUND),
        ("DELETE", PATH, "admin", 404, NOT_FOUND),
        ("BREW", PATH, "super-admin", 404, NOT_FOUND),
        ("POST", "/api/health", "", 401, NO_CREDENTIALS),
        ("POST", "/api/health", "member", 404, NOT_FOUND),
        ("GET", "/api/unknown", "", 401, NO_CREDENTIALS),
        ("GET", "/api", "", 401, NO_CREDENTIALS),
        ("POST", PATH, "", 401, NO_CREDENTIALS),
        ("GET", "/", "", 404, NOT_FOUND),
        ("GET", "/unknown", "", 404, NOT_FOUND),
        ("GET", "/apis", "", 404, NOT_FOUND),
        ("POST", "/healthz", "", 404, NOT_FOUND),
        ("GET", "/healthz/", "", 404, NOT_FOUND),
    ],
)
async def test_where_nothing_is(
    redis_url: str, clock: Clock, method: str, path: str, role: str, status: int, text: str
) -> None:
    key = await create_key(redis_url, name="k", tenant="acme", role=role) if role else ""
    async with client_of(redis_url, clock, key) as client:
        response = await client.request(method, path)
        assert (response.status_code, response.text) == (status, text)
        assert response.headers["content-type"] == "application/json"


async def test_what_nobody_thought_of(redis_url: str) -> None:
    async def broken(_request: Request) -> None:
        raise RuntimeError("a secret of ours")

    app: Starlette = build(redis_url)
    app.router.routes.insert(0, Route("/broken", broken))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://odometer.test") as client,
    ):
        response = await client.get("/broken")
    assert response.status_code == 500
    assert response.text == '{"error":"Internal server error","status":500}'


async def test_no_counters_are_a_503_and_never_zeros(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    response = await client.get(PATH)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == {
        "error": "No counters to answer from: Redis holds no counters yet: no worker has started"
        " on it.",
        "status": 503,
    }
    pack(MONTH).write(redis_url)
    assert (await body(client))["summary"]["totalCalls"] > 0


async def test_a_damaged_counter_is_a_503(redis_url: str, client: httpx.AsyncClient) -> None:
    counters = pack([Event(NOW_MS - HOUR_MS)])
    for key in counters.texts:
        if ":p" in key:
            counters.texts[key] += b"x"
    counters.write(redis_url)
    response = await client.get(PATH)
    assert (response.status_code, response.text) == (503, UNREADABLE)


async def test_redis_dies_and_comes_back(own_valkey: Server, clock: Clock) -> None:
    redis_url = url_of(own_valkey)
    pack(MONTH).write(redis_url)
    key = await create_key(redis_url, name="k", tenant="acme", role="viewer")
    before = answer(MONTH, Asked(NOW_MS - DAY_MS, NOW_MS))
    async with client_of(redis_url, clock, key) as client:
        for _again in range(2):
            assert await body(client) == before
            assert (await client.get("/readyz")).status_code == 200
            own_valkey.stop()  # cleanly: what it held is on its disk
            for _asked in range(3):
                away = await client.get(PATH)
                assert (away.status_code, away.text) == (503, UNREADABLE)
                assert away.headers["retry-after"] == "1"
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200
            health = (await client.get("/api/health")).json()
            assert health["status"] == "ok"
            assert health["db"]["ok"] is False
            own_valkey.restart()
            assert await body(client) == before
            own_valkey.kill()
            assert (await client.get(PATH)).status_code == 503
            own_valkey.restart()
            assert await body(client) == before


# -- health ----------------------------------------------------------------------------------------


async def test_health_needs_no_key(redis_url: str, clock: Clock) -> None:
    async with client_of(redis_url, clock) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        health = await client.get("/api/health")
        assert health.text == ('{"status":"ok","version":"0.1.0","db":{"ok":true,"latencyMs":0}}')
        not_ready = await client.get("/readyz")
        assert not_ready.status_code == 503
        assert not_ready.json() == {
            "status": "not ready",
            "reason": "Redis holds no counters yet: no worker has started on it.",
        }
        pack([]).write(redis_url)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
