"""Pages of other origins (CORS), and what each answer says to caches: on every path, errors and 304 too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from api.app.origins import EXPOSED, parse_origins
from api.app.server_limits import ServerLimits
from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from deploy.settings import read_settings
from schemas.errors import InvalidConfig
from tests.api.app.test_server import ask, attacked
from tests.api.conftest import Clock, client_of
from tests.api.counters import Event, pack
from tests.test_layout import MODULES, ROOT

ORIGIN = "https://dash.example.com"
OTHER = "http://localhost:3000"
EVIL = "https://evil.example.com"
ASKED = {
    "access-control-request-method": "GET",
    "access-control-request-headers": "authorization,if-none-match,x-odometer-tenant",
}
ALLOWED = "access-control-allow-origin"
PATHS = (
    ("/v1/usage", 200),
    ("/v1/usage?measures=nothing", 400),
    ("/v1/dimensions/model", 200),
    ("/v1/keys", 403),
    ("/v1/nothing", 404),
    ("/api/analytics/llm", 200),
    ("/api/analytics/llm?granularity=year", 400),
    ("/api/events", 200),
    ("/api/nothing", 404),
    ("/api/health", 200),
    ("/admin/analytics/dashboard", 403),
    ("/openai/v1/organization/costs", 400),
    ("/openai/v1/organization/costs?start_time=1770500000", 200),
    ("/api/v1/analytics/models", 401),
    ("/api/v1/nothing", 404),
    ("/healthz", 200),
    ("/readyz", 200),
    ("/openapi.json", 200),
    ("/docs", 200),
    ("/nothing", 404),
)


@pytest.fixture
async def page(redis_url: str, clock: Clock, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Asks as a page of ORIGIN does."""
    pack([Event(clock.now_ms - 60_000)]).write(redis_url)
    async with client_of(redis_url, clock, key, cors_origins=(ORIGIN, OTHER)) as client:
        client.headers["origin"] = ORIGIN
        yield client


async def test_a_preflight_needs_no_key(page: httpx.AsyncClient) -> None:
    del page.headers["authorization"]
    for path, _ in PATHS:
        for method in ("GET", "POST", "DELETE", "PATCH"):
            answer = await page.options(
                path, headers={**ASKED, "access-control-request-method": method}
            )
            assert answer.status_code == 200
            assert answer.headers[ALLOWED] == ORIGIN
            assert method in answer.headers["access-control-allow-methods"]
            assert "x-odometer-tenant" in answer.headers["access-control-allow-headers"]
        stranger = await page.options(path, headers={**ASKED, "origin": EVIL})
        assert stranger.status_code == 400
        assert ALLOWED not in stranger.headers


async def test_every_answer_has_the_headers_of_cors_and_of_caches(page: httpx.AsyncClient) -> None:
    for path, status in PATHS:
        await check_headers(page, path, status)


async def check_headers(page: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await page.get(path)
    assert answer.status_code == status
    assert answer.headers[ALLOWED] == ORIGIN
    assert "access-control-allow-credentials" not in answer.headers
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {name for name in answer.headers if name.startswith("odometer-")} <= set(exposed)
    varies = {one.strip().lower() for one in answer.headers["vary"].split(",")}
    assert "origin" in varies
    if path in {"/openapi.json", "/docs"}:
        assert answer.headers["cache-control"].startswith("public")
    else:
        assert re.search("no-store|private", answer.headers["cache-control"])
        assert {"authorization", "x-api-key", "x-odometer-tenant"} <= varies
    stranger = await page.get(path, headers={"origin": EVIL})
    assert ALLOWED not in stranger.headers


async def test_a_304_has_them_too(page: httpx.AsyncClient) -> None:
    tag = (await page.get("/v1/usage")).headers["etag"]
    answer = await page.get("/v1/usage", headers={"if-none-match": tag})
    assert answer.status_code == 304
    assert answer.headers[ALLOWED] == ORIGIN
    assert "etag" in answer.headers["access-control-expose-headers"]
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_a_wrong_key_is_told_to_the_page(page: httpx.AsyncClient) -> None:
    for path in ("/v1/usage", "/api/analytics/llm", "/admin/analytics/dashboard", "/api/v1/users/"):
        answer = await page.get(path, headers={"authorization": "Bearer als_never"})
        assert answer.status_code == 401
        assert answer.headers[ALLOWED] == ORIGIN


async def test_a_rate_limit_is_told_to_the_page(redis_url: str, clock: Clock) -> None:
    spec = KeySpec("page", ("acme",), "viewer", requests_per_s=0.001, burst=1)
    async with opened(redis_url) as store:
        (made,) = await create_keys(store, [spec], operator(), clock.now_ms)
    async with client_of(redis_url, clock, made.secret, cors_origins=(ORIGIN,)) as client:
        client.headers["origin"] = ORIGIN
        await client.get("/v1/measures")
        limited = await client.get("/v1/measures")
    assert limited.status_code == 429
    assert limited.headers[ALLOWED] == ORIGIN
    assert "retry-after" in limited.headers["access-control-expose-headers"]


async def test_without_counters_the_503_is_told_to_the_page(
    redis_url: str, clock: Clock, key: str
) -> None:
    async with client_of(redis_url, clock, key, cors_origins=("*",)) as client:
        answer = await client.get("/v1/usage", headers={"origin": ORIGIN})
        assert answer.status_code == 503
        assert answer.headers[ALLOWED] == "*"
        assert "retry-after" in answer.headers["access-control-expose-headers"]


async def test_by_default_no_origin_is_allowed(client: httpx.AsyncClient) -> None:
    headers = {"origin": ORIGIN, "access-control-request-method": "GET"}
    assert (await client.options("/v1/usage", headers=headers)).status_code == 405
    assert ALLOWED not in (await client.get("/v1/usage", headers=headers)).headers


LONG = b"GET / HTTP/1.1\r\norigin: %s\r\nx: " + b"x" * 70_000


@pytest.mark.parametrize(
    ("origins", "head", "named"),
    [
        ((ORIGIN, OTHER), LONG % OTHER.encode(), OTHER),
        ((ORIGIN, OTHER), LONG % EVIL.encode(), ""),
        ((ORIGIN, OTHER), LONG.replace(b"origin", b"x"), ""),
        ((ORIGIN,), LONG.replace(b"origin", b"x"), ORIGIN),
        (("*",), LONG % OTHER.encode(), "*"),
        ((), LONG % OTHER.encode(), ""),
    ],
)
async def test_an_answer_before_the_application_has_them(
    origins: tuple[str, ...], head: bytes, named: str
) -> None:
    async with attacked(ServerLimits(linger_s=0.1), origins=origins) as server:
        answer = (await server.send(head)).decode()
    assert answer.startswith("HTTP/1.1 431")
    found = re.findall(f"{ALLOWED}: (.*)\r\n", answer)
    assert found == [named][: bool(named)]
    assert ("retry-after" in answer) == bool(named)


async def test_a_connection_beyond_the_limit_is_told_to_the_only_origin() -> None:
    async with attacked(connections_max=1, origins=(ORIGIN,)) as server:
        await ask(server, b"/tenant/wait")
        answer = await server.send()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert f"{ALLOWED}: {ORIGIN}".encode() in answer


def test_every_header_of_ours_is_exposed() -> None:
    sent = {
        name
        for path in MODULES
        if path.parts[0] == "api"
        for name in re.findall(r'"(odometer-[a-z-]+)"', (ROOT / path).read_text())
    }
    assert sent - {"odometer-api", "odometer-large"} <= set(EXPOSED)


@pytest.mark.parametrize(
    "text",
    [
        "https://dash.example.com/",
        "https://dash.example.com/page",
        "dash.example.com",
        "https://Dash.example.com",
        "https://dash.example.com:443",
        "http://dash.example.com:80",
        "https://*.example.com",
        "null",
        "https://a.example.com https://b.example.com",
    ],
)
def test_what_no_browser_sends_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin as browsers send it"):
        parse_origins(text)
    with pytest.raises(InvalidConfig, match="ODOMETER_CORS_ORIGINS"):
        read_settings(cors_origins=text)


def test_origins_of_the_setting() -> None:
    assert parse_origins("") == ()
    assert parse_origins(f" {ORIGIN},{OTHER}, {ORIGIN}") == (ORIGIN, OTHER)
    assert parse_origins("*,http://[::1]:3000,app://local") == (
        "*",
        "http://[::1]:3000",
        "app://local",
    )
