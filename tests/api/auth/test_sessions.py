"""`/v1/session`: a key becomes a cookie, which ends with the key and which no other page can use."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
import redis

from api.auth.audit import operator
from api.auth.authenticate import digest_of
from api.auth.keys import KeySpec, create_keys, opened
from api.auth.sessions import (
    COOKIE,
    CSRF_HEADER,
    LIFETIME_MS,
    _cookie,
    create_link,
)
from api.http.caller import Caller
from api.store.shared_secret import SECRET_AGE_MS
from deploy.local.api_keys import create_key
from schemas.limits import HOUR_MS
from schemas.responses.session import SessionAnswer
from tests.api.conftest import Clock, client_of, revoke
from tests.api.counters import NOW_MS, Event, pack
from tests.api.http.call_counts import calls_of

PATH = "/v1/session"


@pytest.fixture
async def browser(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, which keeps cookies."""
    pack([Event(at_ms=NOW_MS - 1)]).write(redis_url)
    async with client_of(redis_url, clock) as client:
        yield client


async def sign_in(browser: httpx.AsyncClient, **body: str) -> httpx.Response:
    response = await browser.post(PATH, json=body)
    assert response.status_code == 200, response.text
    SessionAnswer.model_validate_json(response.content)
    return response


async def status(browser: httpx.AsyncClient, **options: Any) -> int:
    return (await browser.get("/v1/usage", **options)).status_code


async def test_a_key_becomes_a_cookie_that_scripts_cannot_read(
    browser: httpx.AsyncClient, key: str
) -> None:
    assert await status(browser) == 401
    begun = await sign_in(browser, key=key)
    cookie = SimpleCookie(begun.headers["set-cookie"])[COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "strict"
    assert not cookie["secure"]
    assert cookie["path"] == "/"
    assert int(cookie["max-age"]) * 1000 == LIFETIME_MS
    assert key not in begun.text + begun.headers["set-cookie"]
    assert (begun.json()["role"], begun.json()["tenants"]) == ("viewer", ["acme"])
    assert await status(browser) == 200
    assert (await browser.get(PATH)).json() == begun.json()
    by_key = await browser.get(PATH, headers={"x-api-key": key})
    assert by_key.json()["csrf"] == begun.json()["csrf"]
    browser.cookies.clear()
    assert (await browser.get(PATH, headers={"x-api-key": key})).json()["csrf"] is None


async def test_behind_https_the_cookie_is_secure(browser: httpx.AsyncClient, key: str) -> None:
    sent = await browser.post(PATH, json={"key": key}, headers={"origin": "https://odometer.test"})
    assert SimpleCookie(sent.headers["set-cookie"])[COOKIE]["secure"]


async def test_a_session_ends_with_its_key(
    browser: httpx.AsyncClient, key: str, redis_url: str, clock: Clock
) -> None:
    await sign_in(browser, key=key)
    assert await status(browser) == 200
    await revoke(redis_url, key)
    while await status(browser) != 401:  # the process asks Redis twice a second
        pass
    short = await create_key(
        redis_url, name="short", tenant="acme", role="viewer", expires_ms=NOW_MS + HOUR_MS
    )
    await sign_in(browser, key=short)
    clock.now_ms += HOUR_MS
    assert await status(browser) == 401


async def test_a_session_ends_after_a_week(
    browser: httpx.AsyncClient, key: str, clock: Clock
) -> None:
    await sign_in(browser, key=key)
    clock.now_ms += LIFETIME_MS - 1
    assert (await browser.get(PATH)).status_code == 200
    clock.now_ms += 1
    assert (await browser.get(PATH)).status_code == 401


async def test_signing_out_removes_the_cookie(browser: httpx.AsyncClient, key: str) -> None:
    csrf = (await sign_in(browser, key=key)).json()["csrf"]
    out = await browser.delete(PATH, headers={CSRF_HEADER: csrf})
    assert out.status_code == 204
    assert not browser.cookies
    assert (await browser.get(PATH)).status_code == 401


async def test_the_session_of_a_bound_key_says_who_it_is_and_ends(
    browser: httpx.AsyncClient, redis_url: str
) -> None:
    spec = KeySpec("ann's page", ("acme",), "viewer", only=(("user", ("ann",)),))
    async with opened(redis_url) as store:
        (made,) = await create_keys(store, [spec], operator(), NOW_MS)
    csrf = (await sign_in(browser, key=made.secret)).json()["csrf"]
    assert (await browser.get(PATH)).json()["name"] == "ann's page"
    assert (await browser.delete(PATH, headers={CSRF_HEADER: csrf})).status_code == 204
    assert not browser.cookies


@pytest.mark.parametrize("form", ["none", "other", "of another session"])
async def test_a_change_needs_the_token_of_the_session(
    browser: httpx.AsyncClient, redis_url: str, form: str
) -> None:
    key = await create_key(redis_url, name="admin", tenant="acme", role="admin")
    other = (await sign_in(browser, key=key)).json()["csrf"]
    csrf = (await sign_in(browser, key=key)).json()["csrf"]
    wanted = {"name": "x", "tenants": ["acme"], "role": "viewer"}
    headers = {"none": {}, "other": {CSRF_HEADER: "x"}, "of another session": {CSRF_HEADER: other}}
    refused = await browser.post("/v1/keys", json=wanted, headers=headers[form])
    assert refused.status_code == 403
    assert CSRF_HEADER in refused.json()["detail"]
    made = await browser.post("/v1/keys", json=wanted, headers={CSRF_HEADER: csrf})
    assert made.status_code == 201


async def test_another_site_has_no_session_and_begins_none(
    browser: httpx.AsyncClient, key: str
) -> None:
    await sign_in(browser, key=key)
    for site, found in {
        "same-origin": 200,
        "none": 200,
        "same-site": 401,
        "cross-site": 401,
    }.items():
        assert await status(browser, headers={"sec-fetch-site": site}) == found
        begun = await browser.post(PATH, json={"key": key}, headers={"sec-fetch-site": site})
        assert begun.status_code == (200 if found == 200 else 403)
        assert ("set-cookie" in begun.headers) is (found == 200)


async def test_a_session_is_for_the_native_paths_only(
    browser: httpx.AsyncClient, redis_url: str
) -> None:
    key = await create_key(redis_url, name="all", tenant="acme", role="super-admin")
    await sign_in(browser, key=key)
    for path in ("/api/analytics/llm", "/admin/analytics/dashboard", "/api/v1/users/"):
        assert (await browser.get(path)).status_code == 401


async def test_a_forged_cookie_is_none(browser: httpx.AsyncClient, key: str) -> None:
    begun = await sign_in(browser, key=key)
    cookie = SimpleCookie(begun.headers["set-cookie"])[COOKIE].value
    browser.cookies.clear()
    for forged in (cookie[:-1] + "-", cookie.upper(), "x", cookie + "x" * 512, f'"{cookie}'):
        sent = {"cookie": f"{COOKIE}={forged}"}
        assert await status(browser, headers=sent) == 401, forged
    two = {"cookie": f"{COOKIE}={cookie}"}
    assert await status(browser, headers=two) == 200
    assert await status(browser, headers=[("cookie", two["cookie"])] * 2) == 401
    for both in (f"{COOKIE}={cookie}; {COOKIE}={cookie}", f"{COOKIE}=; a=b;{COOKIE}={cookie}"):
        assert await status(browser, headers={"cookie": both}) == 401
    among = {"cookie": f"a=1; x{COOKIE}=2; {COOKIE}={cookie}; b="}
    assert await status(browser, headers=among) == 200


@pytest.mark.parametrize("text", ['"' + "\\" * 60_000 + '"', "; a=b" * 12_000, ";" * 60_000])
def test_a_long_cookie_is_read_in_few_steps(text: str) -> None:
    """`http.cookies` looks at the whole text again for each backslash: 18 s, before a key is known."""
    sent = Caller(headers=[(b"cookie", f"{COOKIE}={text}".encode())])
    assert calls_of(lambda: _cookie(sent)) < 100


async def test_without_the_signing_key_all_sessions_end(
    browser: httpx.AsyncClient, key: str, redis_url: str, clock: Clock
) -> None:
    cookie = (await sign_in(browser, key=key)).headers["set-cookie"].partition(";")[0]
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.keys("*session-secret"))
    async with client_of(redis_url, clock) as other:
        assert await status(other, headers={"cookie": cookie}) == 401
    assert SECRET_AGE_MS <= 5000


async def test_a_link_signs_in_once_and_on_this_machine_only(
    browser: httpx.AsyncClient, key: str, redis_url: str
) -> None:
    async with opened(redis_url) as store:
        links = [await create_link(store, digest_of(key)) for _ in range(2)]
    with redis.Redis.from_url(redis_url) as client:
        names = [name.decode() for name in client.keys("*sign-in.*")]
        assert {name.rpartition(".")[2] for name in names} == {
            hashlib.sha256(one.encode()).hexdigest() for one in links
        }
        assert all(0 < client.ttl(name) <= 600 for name in names)
    assert (await sign_in(browser, link=links[0])).json()["role"] == "viewer"
    assert await status(browser) == 200
    browser.cookies.clear()
    assert (await browser.post(PATH, json={"link": links[0]})).status_code == 401
    transport = httpx.ASGITransport(
        app=browser._transport.app,  # type: ignore[attr-defined]
        client=("192.0.2.1", 1),
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://odometer.test") as remote:
        assert (await remote.post(PATH, json={"link": links[1]})).status_code == 401
    assert (await sign_in(browser, link=links[1])).status_code == 200


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, 400),
        ({"key": "x", "link": "x"}, 400),
        ({"key": 1}, 400),
        ({"keys": "x"}, 400),
        ({"key": "als_unknown"}, 401),
        ({"key": "x" * 600}, 401),
        ({"link": "x"}, 401),
    ],
)
async def test_what_is_no_sign_in_is_rejected(
    browser: httpx.AsyncClient, body: dict[str, Any], found: int
) -> None:
    assert (await browser.post(PATH, json=body)).status_code == found
    assert not browser.cookies
