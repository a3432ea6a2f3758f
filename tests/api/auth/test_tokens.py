"""Tokens: who makes them, what is in them, and when they end."""

from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api.auth.audit import operator
from api.auth.authenticate import digest_of
from api.auth.key_cache import KEYS_KEY
from api.auth.keys import NewKey, opened, revoke_key, rotate_key
from api.auth.tokens import TOKEN_CHARS_MAX, TOKEN_PREFIX, TOKEN_SECRET_KEY
from api.errors import FilterNotApplied
from api.http.caller import CALLER, Caller
from api.query.plan import Question, Term, plan
from api.query.series_index import Filter
from schemas.catalog.measures import EVENTS
from schemas.catalog.views import OTHER
from schemas.limits import HOUR_MS, SECOND_MS
from schemas.store.keys import ONLY_VALUES_MAX
from tests.api.auth.test_endpoints import USAGE, made, sends
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack

PATH = "/v1/tokens"
ANN = {"user": "ann"}
BY_USER = {"group_by": "user", "measures": "events", "from": "now-3h"}


@asynccontextmanager
async def client_for(redis_url: str, clock: Clock, key: NewKey) -> AsyncIterator[httpx.AsyncClient]:
    pack(
        [
            Event(NOW_MS - HOUR_MS, user=user, tenant=tenant)
            for tenant in ("acme", "beta")
            for user in ("ann", "ann", "bob")
        ]
    ).write(redis_url)
    async with client_of(redis_url, clock, key.secret) as client:
        yield client


async def token_of(client: httpx.AsyncClient, **changes: Any) -> str:
    answer = await client.post(PATH, json={"only": ANN, **changes})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token: str = answer.json()["token"]
    return token


async def rows(client: httpx.AsyncClient, secret: str, **params: str) -> dict[str, int]:
    answer = await client.get(USAGE, params=BY_USER | params, headers=sends(secret))
    assert answer.status_code == 200, answer.text
    return {row["user"]: row["events"] for row in answer.json()["rows"]}


async def status_of(client: httpx.AsyncClient, secret: str, **headers: str) -> int:
    answer = await client.get(USAGE, headers={**sends(secret), **headers})
    return answer.status_code


async def test_a_token_reads_its_user_until_it_ends(redis_url: str, clock: Clock) -> None:
    key = await made(redis_url, "viewer")
    async with client_for(redis_url, clock, key) as client:
        assert await rows(client, key.secret) == {"ann": 2, "bob": 1}
        answer = await client.post(PATH, json={"only": {"user": ["ann", "ann"]}, "ttl_s": 60})
        told = answer.json()
        assert told["only"] == {"user": ["ann"]}
        assert told["tenant"] == "acme"
        assert await rows(client, told["token"]) == {"ann": 2}
        assert await rows(client, told["token"], user="ann") == {"ann": 2}
        for more in ({"user": "bob"}, {"user!": "ann"}, {"user": "*", "user!": "a*"}):
            assert await rows(client, told["token"], **more) == {}
        clock.now_ms += 59 * SECOND_MS
        assert await status_of(client, told["token"]) == 200
        clock.now_ms += SECOND_MS
        assert await status_of(client, told["token"]) == 401


async def test_a_token_says_nothing_of_its_key_and_cannot_be_changed(
    redis_url: str, clock: Clock
) -> None:
    key = await made(redis_url, "viewer")
    async with client_for(redis_url, clock, key) as client:
        token = await token_of(client)
        payload, signature = token.removeprefix(TOKEN_PREFIX).split(".")[-2:]
        content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        if token.removeprefix(TOKEN_PREFIX).startswith("."):
            content = zlib.decompress(content)
        assert b"ann" in content
        for text in (key.secret, digest_of(key.secret), key.record.id):
            assert text.encode() not in content
        other = await token_of(client, only={"user": "bob"})
        forged = other[: other.rindex(".")] + "." + signature
        for wrong in (forged, token[:-1], token + "x", TOKEN_PREFIX, TOKEN_PREFIX + "." * 99):
            assert await status_of(client, wrong) == 401
        assert await status_of(client, TOKEN_PREFIX + "x" * TOKEN_CHARS_MAX) == 401
        assert await token_of(client) != token, "each has a mask of its own"
    async with opened(redis_url) as store:
        assert await store.ask("HLEN", KEYS_KEY) == 1, "tokens have no records"
        await store.ask("SET", TOKEN_SECRET_KEY, "another")
    async with client_of(redis_url, clock, key.secret) as client:
        assert await status_of(client, token) == 401


async def test_all_processes_have_one_secret_and_learn_of_another(
    redis_url: str, clock: Clock
) -> None:
    key = await made(redis_url, "viewer")
    async with (
        client_for(redis_url, clock, key) as one,
        client_of(redis_url, clock, key.secret) as other,
    ):
        token = await token_of(one)
        assert await rows(other, token) == {"ann": 2}
        assert await rows(one, await token_of(other)) == {"ann": 2}


@pytest.mark.parametrize("how", ["revoked", "rotated"])
async def test_a_token_ends_with_its_key(redis_url: str, clock: Clock, how: str) -> None:
    key = await made(redis_url, "viewer")
    async with client_for(redis_url, clock, key) as client:
        token = await token_of(client)
        assert await status_of(client, token) == 200
    async with opened(redis_url) as store:
        if how == "revoked":
            await revoke_key(store, key.record.id, operator(), NOW_MS)
        else:
            await rotate_key(store, key.record.id, 60 * SECOND_MS, operator(), NOW_MS)
    async with client_of(redis_url, clock, key.secret) as client:
        assert await status_of(client, token) == (401 if how == "revoked" else 200)
        clock.now_ms += 60 * SECOND_MS
        assert await status_of(client, token) == 401


async def test_a_token_does_not_outlive_its_key(redis_url: str, clock: Clock) -> None:
    key = await made(redis_url, "viewer", expires_ms=NOW_MS + 30 * SECOND_MS)
    async with client_for(redis_url, clock, key) as client:
        answer = await client.post(PATH, json={"only": ANN})
        token = answer.json()["token"]
        assert await status_of(client, token) == 200
        clock.now_ms += 30 * SECOND_MS
        assert await status_of(client, token) == 401


async def test_a_token_shares_the_rate_limit_of_its_key(redis_url: str, clock: Clock) -> None:
    key = await made(redis_url, "viewer", requests_per_s=0.001, burst=4)
    async with client_for(redis_url, clock, key) as client:
        token, other = await token_of(client), await token_of(client)
        assert [await status_of(client, one) for one in (token, other, token)] == [200, 200, 429]
        assert await status_of(client, key.secret) == 429


async def test_a_token_is_of_one_tenant(redis_url: str, clock: Clock) -> None:
    key = await made(redis_url, "viewer", ("acme", "beta"))
    async with client_for(redis_url, clock, key) as client:
        assert (await client.post(PATH, json={"only": ANN})).status_code == 400
        client.headers["x-odometer-tenant"] = "beta"
        token = await token_of(client)
        del client.headers["x-odometer-tenant"]
        assert await rows(client, token) == {"ann": 2}
        assert await status_of(client, token, **{"x-odometer-tenant": "acme"}) == 403
        answer = await client.get(USAGE, params={"tenant": "acme"}, headers=sends(token))
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "only"),
        ({"only": {}}, "only"),
        ({"only": {"user": []}}, "only"),
        ({"only": {"user": ""}}, "only"),
        ({"only": {"user": "x" * 257}}, "only"),
        ({"only": {"user": [str(n) for n in range(ONLY_VALUES_MAX + 1)]}}, "only"),
        ({"only": {"colour": "red"}}, "only.colour"),
        ({"only": {"voice": "nova"}}, "only.voice"),
        ({"only": {"error_class": "timeout", "phone": "1"}}, "only"),
        ({"only": {"user": 7}}, "only.user"),
        ({"only": {"user": ["ann", OTHER]}}, "only.user"),
        ({"only": ANN, "ttl_s": 86_401}, "ttl_s"),
        ({"only": ANN, "ttl_s": 0}, "ttl_s"),
        ({"only": ANN, "more": 1}, "more"),
    ],
)
async def test_what_a_token_cannot_have(
    redis_url: str, clock: Clock, sent: dict[str, Any], field: str
) -> None:
    key = await made(redis_url, "viewer")
    async with client_for(redis_url, clock, key) as client:
        answer = await client.post(PATH, json=sent)
        assert answer.status_code == 400, answer.text
        assert answer.json()["parameter"].startswith(field)
        assert "nova" not in answer.text


async def test_who_makes_tokens_and_bound_keys(redis_url: str, clock: Clock) -> None:
    key = await made(redis_url, "write-only")
    async with client_for(redis_url, clock, key) as client:
        assert (await client.post(PATH, json={"only": ANN})).status_code == 403
        assert (await client.post(PATH, json={"only": ANN}, headers=sends("?"))).status_code == 401
    admin = await made(redis_url, "admin")
    async with client_of(redis_url, clock, admin.secret) as client:
        answer = await client.post("/v1/keys", json={"name": "ann", "only": ANN})
        assert (answer.status_code, answer.json()["only"]) == (201, {"user": ["ann"]})
        bound = answer.json()["key"]
        assert await rows(client, bound) == {"ann": 2}
        listed = (await client.get("/v1/keys")).json()["keys"]
        assert [one.get("only") for one in listed if one["name"] == "ann"] == [{"user": ["ann"]}]
        for wrong in (
            {"name": "x", "only": ANN, "role": "member"},
            {"name": "x", "only": {"colour": "red"}},
            {"name": "x", "only": {"agent": OTHER}},
        ):
            answer = await client.post("/v1/keys", json=wrong)
            assert answer.status_code == 400, answer.text


async def test_a_question_without_the_filters_of_its_key_is_not_read(
    redis_url: str, clock: Clock
) -> None:
    """If an endpoint forgets them, nothing is shown."""
    key = await made(redis_url, "viewer")
    ann = Filter("user", frozenset(("ann",)))
    async with client_for(redis_url, clock, key), opened(redis_url) as store:
        caller = Caller(only=(ann,))
        question = Question((Term(EVENTS),), NOW_MS - HOUR_MS, NOW_MS, NOW_MS)
        token = CALLER.set(caller)
        try:
            with pytest.raises(FilterNotApplied):
                await store.read("acme", (plan(question),))
        finally:
            CALLER.reset(token)
