"""What goes wrong under /admin/analytics, body by body as schemas/contracts/livekit.md has it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.routing import Route

from api.app.main import build
from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from api.errors import UnanswerableQuestion
from api.livekit.errors import error_response
from api.livekit.questions import ENDPOINTS
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.limits import DAY_MS, HOUR_MS
from schemas.responses.livekit import PlatformProblem
from tests.api.conftest import Clock, client_of, revoke
from tests.api.counters import NOW_MS, Event, pack
from tests.api.livekit.test_pages import MONTH, ROOT
from tests.oracles.livekit_oracle import PATHS, packed

PATH = f"{ROOT}tokens/by-assistant"
LVK = "lvk_9c1d5c8e1d0a4b7d9e3f"
DATES = "Input should be a valid datetime or date, "


def envelope(message: str, data: str = "{}") -> str:
    return f'{{"success":false,"message":{json.dumps(message, ensure_ascii=False)},"data":{data}}}'


NOT_AUTHENTICATED = envelope("Not authenticated")
INVALID_KEY = envelope("Invalid or inactive API key")
NOT_SUPER_ADMIN = envelope("Super admin access required")
UNREADABLE = envelope("The counters cannot be read right now. Try again in a moment.")


async def made(redis_url: str, **changes: Any) -> str:
    """A key of acme's super-admin, but for the changes."""
    wanted = KeySpec(**({"name": "k", "tenants": ("acme",), "role": "super-admin"} | changes))
    async with opened(redis_url) as store:
        (key,) = await create_keys(store, [wanted], operator(), NOW_MS - DAY_MS)
    return key.secret


# -- who asks --------------------------------------------------------------------------------------


async def credentials(redis_url: str, which: str) -> dict[str, str]:
    good = await made(redis_url)
    past = await made(redis_url, expires_ms=NOW_MS)
    gone = await made(redis_url)
    await revoke(redis_url, gone)
    imported = await made(redis_url, secret=LVK)
    return {
        "none": {},
        "empty": {"authorization": ""},
        "basic": {"authorization": "Basic YTpi"},
        "bearer alone": {"authorization": "Bearer "},
        "no scheme": {"authorization": good},
        "unknown": {"authorization": "Bearer lvk_unknown"},
        "revoked": {"authorization": f"Bearer {gone}"},
        "expired": {"authorization": f"Bearer {past}"},
        "not ASCII": {"authorization": "Bearer lvk_\xe9"},
        "viewer": {"authorization": f"Bearer {await made(redis_url, role='viewer')}"},
        "admin": {"authorization": f"Bearer {await made(redis_url, role='admin')}"},
        "write-only": {"authorization": f"Bearer {await made(redis_url, role='write-only')}"},
        "imported": {"authorization": f"Bearer {imported}"},
        "good": {"authorization": f"Bearer {good}"},
        "good in x-api-key": {"x-api-key": good},
    }[which]


@pytest.mark.parametrize(
    ("which", "status", "text"),
    [
        ("none", 401, NOT_AUTHENTICATED),
        ("empty", 401, NOT_AUTHENTICATED),
        ("basic", 401, NOT_AUTHENTICATED),
        ("bearer alone", 401, NOT_AUTHENTICATED),
        ("no scheme", 401, NOT_AUTHENTICATED),
        ("unknown", 401, INVALID_KEY),
        ("revoked", 401, INVALID_KEY),
        ("expired", 401, INVALID_KEY),
        ("not ASCII", 401, INVALID_KEY),
        ("viewer", 403, NOT_SUPER_ADMIN),
        ("admin", 403, NOT_SUPER_ADMIN),
        ("write-only", 403, NOT_SUPER_ADMIN),
        ("imported", 200, ""),
        ("good", 200, ""),
        ("good in x-api-key", 200, ""),
    ],
)
async def test_who_asks(redis_url: str, clock: Clock, which: str, status: int, text: str) -> None:
    pack([]).write(redis_url)
    headers = await credentials(redis_url, which)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with client_of(redis_url, clock) as client:
        for path in PATHS:
            found = await client.get(ROOT + path, headers=raw)
            assert found.status_code == status
            assert text in {"", found.text}
            assert ("www-authenticate" in found.headers) == (status == 401)
        # Who may not ask learns nothing of parameters.
        bad = await client.get(f"{PATH}?start_date=x", headers=raw)
        assert bad.status_code == (422 if status == 200 else status)


async def test_a_key_of_several_tenants_names_one(redis_url: str, clock: Clock) -> None:
    pack(packed(MONTH)).write(redis_url)
    async with client_of(redis_url, clock, await made(redis_url, tenants="all")) as client:
        unnamed = await client.get(PATH)
        assert (unnamed.status_code, unnamed.text) == (
            400,
            envelope(
                "This key has several tenants: name one, in the header x-odometer-tenant or, under"
                " /v1, as the parameter tenant."
            ),
        )
        named = await client.get(PATH, headers={"x-odometer-tenant": "other"})
        assert named.status_code == 200
        assert named.json()["data"]["assistants"]
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        for name in ("other", "nobody"):
            forbidden = await client.get(PATH, headers={"x-odometer-tenant": name})
            assert (forbidden.status_code, forbidden.text) == (
                403,
                envelope("This key has no tenant of that name."),
            )


async def test_a_key_that_asks_too_often(redis_url: str, clock: Clock) -> None:
    pack([]).write(redis_url)
    key = await made(redis_url, requests_per_s=0.25, burst=2)
    async with client_of(redis_url, clock, key) as client:
        for _allowed in range(2):
            assert (await client.get(PATH)).status_code == 200
        refused = await client.get(PATH)
    assert refused.status_code == 429
    wait_s = refused.headers["retry-after"]
    assert refused.text == envelope(f"Too many requests with this key: try again in {wait_s} s.")


# -- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["start_date", "end_date"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "input is too short"),
        ("garbage", "input is too short"),
        ("yesterday evening", "invalid character in year"),
        ("now", "input is too short"),
        ("2026-13-01", "month value is outside expected range of 1-12"),
        ("2026-02-30", "day value is outside expected range"),
        ("2026-02-08T10:00:00 05:30", "unexpected extra characters at the end of the input"),
        ("2026-02-08T25:00:00", "unexpected extra characters at the end of the input"),
        ("99999999999999999", "dates after 9999 are not supported as unix timestamps"),
        ("é", "input is too short"),
        ("٢٠٢٦-02-08", "invalid character in year"),
    ],
)
async def test_what_is_no_date(
    redis_url: str, clock: Clock, name: str, text: str, why: str
) -> None:
    pack([]).write(redis_url)
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        response = await client.get(PATH, params={name: text})
    assert response.status_code == 422
    written = json.dumps(text, ensure_ascii=False)
    assert response.text == envelope(
        f"Validation Error: query.{name}: {DATES}{why}",
        f'{{"errors":[{{"type":"datetime_from_date_parsing","loc":["query","{name}"],'
        f'"msg":"{DATES}{why}","input":{written},"ctx":{{"error":"{why}"}}}}]}}',
    )


async def test_an_unescaped_plus_is_a_space_and_both_dates_are_told(
    redis_url: str, clock: Clock
) -> None:
    pack([]).write(redis_url)
    query = "start_date=2026-02-08T10:00:00+05:30&end_date=&user_email=&nonsense=1"
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        for path in PATHS:
            response = await client.get(f"{ROOT}{path}?{query}")
            assert response.status_code == 422
            found = PlatformProblem.model_validate_json(response.content)
            assert found.message == (
                f"Validation Error: query.start_date: {DATES}unexpected extra characters at the end"
                f" of the input; query.end_date: {DATES}input is too short"
            )
            errors = found.data["errors"]
            assert [error["loc"] for error in errors] == [
                ["query", "start_date"],
                ["query", "end_date"],
            ]
            assert errors[0]["input"] == "2026-02-08T10:00:00 05:30"


def test_a_question_that_cannot_be_answered() -> None:
    """No view holds it, or it would be too many pages: as a catalog or a store may have it."""
    why = "No view keeps calls by weather."
    response = error_response(Request({"type": "http"}), UnanswerableQuestion(why))
    assert (response.status_code, bytes(response.body).decode()) == (400, envelope(why))


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", ROOT, 404, "Not Found"),
        ("GET", "/admin/analytics", 404, "Not Found"),
        ("GET", "/admin/", 404, "Not Found"),
        ("GET", f"{ROOT}tokens", 404, "Not Found"),
        ("GET", f"{ROOT}tokens/BY-assistant", 404, "Not Found"),
        ("POST", PATH, 405, "Method Not Allowed"),
        ("DELETE", f"{ROOT}dashboard", 405, "Method Not Allowed"),
    ],
)
async def test_where_nothing_is(
    redis_url: str, clock: Clock, method: str, path: str, status: int, message: str
) -> None:
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        response = await client.request(method, path)
    assert (response.status_code, response.text) == (status, envelope(message))
    assert response.headers["content-type"] == "application/json"
    assert ("allow" in response.headers) == (status == 405)


# -- what is ours to mend --------------------------------------------------------------------------


async def test_what_nobody_thought_of(redis_url: str) -> None:
    async def broken(_request: Request) -> None:
        raise RuntimeError("a secret of ours")

    app = build(redis_url)
    dict(app.dialects)["/admin/"].router.routes.insert(0, Route(f"{ROOT}broken", broken))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://odometer.test") as client,
    ):
        response = await client.get(f"{ROOT}broken")
    assert (response.status_code, response.text) == (500, envelope("Internal Server Error"))


async def test_no_counters_are_a_503_and_never_zeros(redis_url: str, clock: Clock) -> None:
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        for path in PATHS:
            response = await client.get(ROOT + path)
            assert (response.status_code, response.text) == (
                503,
                envelope(
                    "No counters to answer from: Redis holds no counters yet: no worker has"
                    " started on it."
                ),
            )
            assert response.headers["retry-after"] == "1"


async def test_a_damaged_counter_is_a_503(redis_url: str, clock: Clock) -> None:
    counters = pack([Event(NOW_MS - HOUR_MS)])
    for key in counters.texts:
        if ":p" in key:
            counters.texts[key] += b"x"
    counters.write(redis_url)
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        response = await client.get(PATH)
    assert (response.status_code, response.text) == (503, UNREADABLE)


async def test_redis_dies_and_comes_back(own_valkey: Server, clock: Clock) -> None:
    redis_url = url_of(own_valkey)
    pack(packed(MONTH)).write(redis_url)
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        before = (await client.get(PATH)).json()
        assert before["data"]["assistants"]
        own_valkey.stop()
        for path in PATHS:
            away = await client.get(ROOT + path, params={"user_email": "a@example.com"})
            assert (away.status_code, away.text) == (503, UNREADABLE)
            assert away.headers["retry-after"] == "1"
        own_valkey.restart()
        assert (await client.get(PATH)).json() == before


# -- anything at all -------------------------------------------------------------------------------


async def test_garbage_is_answered_or_refused_and_never_a_500(redis_url: str, clock: Clock) -> None:
    pack(packed(MONTH)).write(redis_url)
    names = st.sampled_from(["start_date", "end_date", "user_email", "assistant_id", "x"])
    values = st.one_of(
        st.binary(max_size=30),
        st.datetimes().map(lambda at: at.isoformat().encode()),
        st.dates().map(lambda at: at.isoformat().encode()),
        st.integers(-(10**18), 10**18).map(lambda number: str(number).encode()),
        st.floats().map(lambda number: str(number).encode()),
        st.sampled_from([b"", b"null", b"9999-12-31", b"0001-01-01", b"alice@example.com"]),
    )
    queries = st.lists(
        st.tuples(
            st.sampled_from(ENDPOINTS),
            st.lists(st.tuples(names, values), max_size=6),
            st.binary(max_size=20),
        ),
        min_size=1,
        max_size=5,
    )
    found: list[Any] = []

    @settings(max_examples=100, deadline=None, database=None)
    @given(queries)
    def draw(some: Any) -> None:
        found.extend(some)

    draw()
    async with client_of(redis_url, clock, await made(redis_url)) as client:
        for endpoint, params, tail in found:
            query = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in params)
            url = f"{ROOT}{endpoint.path[1:]}?{query}&{quote_from_bytes(tail)}"
            response = await client.get(url)
            assert response.status_code in {200, 400, 422}, url
            if response.status_code == 200:
                endpoint.body.model_validate_json(response.content)
            else:
                PlatformProblem.model_validate_json(response.content)
            assert "other" not in response.text  # the tenant beside
