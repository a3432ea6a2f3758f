"""Streams of several tenants, and of what the directory says, over a real Valkey: the rows of /v1/usage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from api.app.dispatch import Application
from api.app.main import build
from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from api.usage.groups import people
from api.usage.groups.people import People
from schemas.limits import HOUR_MS
from schemas.store.keys import ALL
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS, Event, pack
from tests.api.stream.streaming import Shown, streaming
from tests.api.stream.test_endpoints import usage
from tests.api.usage.groups.test_people import keep

pytestmark = pytest.mark.servers

LOG = [
    Event(NOW_MS - HOUR_MS * n, tenant=tenant, user=user, model=f"m{n}")
    for tenant in ("acme", "beta", "gamma")
    for user in ("u1", "u2", "")
    for n in range(1, 3)
]
LATER = Event(NOW_MS - 1, tenant="delta", user="u1")
NAMES = People({"u1": "Ann", "u2": "Ben"}, {"u1": "ann@x", "u2": "ben@x"}, {"u1": (("g", "Ops"),)})


@pytest.fixture
async def app(
    redis_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Application]:
    monkeypatch.setattr(people, "FRESH_S", 0.0)
    monkeypatch.setattr(people, "PAUSE_SHARE", 0)
    pack(LOG).write(redis_url)
    for tenant in ("acme", "beta"):
        await keep(redis_url, NAMES, tenant)
    app = build(redis_url, clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def keys(redis_url: str) -> dict[str, dict[str, str]]:
    """The header of a key of two tenants, and of one of all."""
    specs = [KeySpec("two", ("acme", "beta"), "viewer"), KeySpec("all", ALL, "super-admin")]
    async with opened(redis_url) as store:
        made = await create_keys(store, specs, operator(), NOW_MS)
    return {one.record.name: {"x-api-key": one.secret} for one in made}


QUESTIONS: list[dict[str, Any]] = [
    {"group_by": "tenant", "measures": "requests,users", "compare": "previous"},
    {"tenant": "*", "granularity": "1h", "measures": "requests"},
    {"tenant": ["beta", "acme"], "group_by": "tenant,user_name", "user_group!": "Nobody"},
    {"tenant": "acme", "group_by": "user,user_email,user_group"},
    {"tenant": "beta", "user_email": "ANN@X", "group_by": "model"},
]


async def test_a_stream_has_the_tenants_and_names_of_usage(
    app: Application, keys: dict[str, dict[str, str]]
) -> None:
    asked = {"question": [urlencode(one, doseq=True) for one in QUESTIONS]}
    async with streaming(app, asked, keys["two"]) as stream:
        assert stream.status == 200, await stream.body()
        shown = Shown()
        shown.apply(await stream.of("snapshot"))
    for number, question in enumerate(QUESTIONS):
        whole = await usage(app, question, keys["two"])
        assert shown.rows(number) == sorted(whole["rows"], key=str), question
        assert shown.answers[number]["totals"] == whole["totals"]
        assert shown.answers[number].get("comparison") == whole.get("comparison")
    assert {row["tenant"] for row in shown.rows(0)} == {"acme", "beta"}


async def test_tenants_beside_the_questions_are_those_of_each(
    app: Application, keys: dict[str, dict[str, str]]
) -> None:
    asked = {"question": ["group_by=tenant", "measures=requests"], "tenant": ["gamma", "beta"]}
    async with streaming(app, asked, keys["all"]) as stream:
        by_tenant, total = (await stream.of("snapshot")).data["answers"]
    assert [row["tenant"] for row in by_tenant["rows"]] == ["beta", "gamma"]
    assert total["totals"] == {"requests": 12}


async def test_a_changed_name_is_pushed(
    app: Application, keys: dict[str, dict[str, str]], redis_url: str
) -> None:
    asked = {"tenant": "acme", "group_by": "user_name", "measures": "requests"}
    async with streaming(app, asked, keys["two"]) as stream:
        shown = Shown()
        shown.apply(await stream.of("snapshot"))
        assert [row["user_name"] for row in shown.rows()] == ["Ann", "Ben", None]
        await keep(redis_url, People({"u2": "Benno"}, {"u2": "ben@x"}, {}))
        changed = await stream.of("rows")
        shown.apply(changed)
    assert changed.data["answers"][0]["removed"] == [{"user_name": "Ben"}]
    assert shown.rows() == [
        {"user_name": "Ann", "requests": 2},
        {"user_name": "Benno", "requests": 2},
        {"user_name": None, "requests": 2},
    ]


async def test_a_new_tenant_appears_in_a_stream_of_all(
    app: Application, keys: dict[str, dict[str, str]], redis_url: str
) -> None:
    asked = {"group_by": "tenant", "measures": "requests"}
    async with (
        streaming(app, asked, keys["all"]) as every,
        streaming(app, asked, keys["two"]) as two,
    ):
        shown, of_two = Shown(), Shown()
        shown.apply(await every.of("snapshot"))
        of_two.apply(await two.of("snapshot"))
        pack([*LOG, LATER], commits=2).write(redis_url)
        shown.apply(await every.of("rows"))
        assert [row["tenant"] for row in shown.rows()] == ["acme", "beta", "delta", "gamma"]
        await two.of("state")
        assert [row["tenant"] for row in of_two.rows()] == ["acme", "beta"]


async def test_what_a_stream_says_instead(
    app: Application, keys: dict[str, dict[str, str]]
) -> None:
    board = {"tenant": "acme", "group_by": "user_name", "limit": 1}
    cursor = (await usage(app, board, keys["two"]))["next_cursor"]
    for params, status, named, said in (
        ({**board, "cursor": cursor}, 400, "cursor", "use a larger `limit`, or ask /v1/usage"),
        ({**board, "granularity": "1h", "layout": "wide"}, 400, "layout", "use `long`"),
        ({"measures": "requests"}, 400, "tenant", "several tenants"),
        ({"tenant": ["acme", "gamma"]}, 403, None, "no tenant of that name"),
        ({"question": ["tenant=acme"], "tenant": "beta"}, 400, "tenant", "or in each of them"),
    ):
        async with streaming(app, params, keys["two"]) as stream:
            body = await stream.body()
            assert (stream.status, body.get("parameter")) == (status, named)
            assert said in body["detail"]


async def test_a_token_of_one_user_sees_that_name_only(
    app: Application, keys: dict[str, dict[str, str]]
) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://odometer.test"
    ) as client:
        headers = {**keys["two"], "x-odometer-tenant": "acme"}
        made = await client.post("/v1/tokens", json={"only": {"user": "u1"}}, headers=headers)
        assert made.status_code == 201, made.text
    sent = {"authorization": f"Bearer {made.json()['token']}"}
    asked = {"question": ["group_by=user_name", "group_by=tenant&user_name!=Ben"]}
    async with streaming(app, asked, sent) as stream:
        people_of, tenants = (await stream.of("snapshot")).data["answers"]
    assert [row["user_name"] for row in people_of["rows"]] == ["Ann"]
    assert [row["tenant"] for row in tenants["rows"]] == ["acme"]
