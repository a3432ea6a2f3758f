"""What goes wrong at `/api`, body by body as schemas/contracts/agentlens.md has it, and the health pages."""

from __future__ import annotations

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from api.app.health import UNREADABLE as NOT_READY
from api.app.main import build
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.limits import DAY_MS, HOUR_MS
from schemas.store.layout import CURRENT_KEY
from tests.api.agentlens.test_endpoints import MONTH, PATH, body
from tests.api.conftest import Clock, client_of, revoke
from tests.api.counters import NOW_MS, Asked, Event, answer, pack

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
    gone = await create_key(redis_url, name="k", tenant="acme", role="viewer", expires_ms=NOW_MS)
    await revoke(redis_url, gone)
    # The last: whatever expired months ago by the real clock goes with the next change.
    past = await create_key(redis_url, name="k", tenant="acme", role="viewer", expires_ms=NOW_MS)
    return {
        "none": {},
        "empty": {"authorization": ""},
        "basic": {"authorization": "Basic YTpi"},
        "lower case": {"authorization": f"bearer {made}"},
        "upper case": {"authorization": f"BEARER  {made}"},
        "bearer with nothing, in lower case": {"authorization": "bearer"},
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
        ("bearer with nothing, in lower case", 401, NO_CREDENTIALS),
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
        ("lower case", 200, ""),
        ("upper case", 200, ""),
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


async def test_only_the_log_says_what_redis_holds(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    with redis.Redis.from_url(redis_url) as direct:
        direct.set(CURRENT_KEY, "another program's")
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, NOT_READY)


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
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            # Without a key, nobody learns where Redis is.
            assert ready.json() == {"status": "not ready", "reason": NOT_READY}
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
