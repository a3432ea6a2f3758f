"""A token reads within its filters only: every route of the application, whatever is asked of it.

The same application answers twice: from the counters of all users, and from those of one user alone. With a
token of that user both answers are the same to the last byte and header, or the path is closed to tokens. So
no name and no sum of another user can be in an answer: not by filters of the question, by groups, by a
comparison, in a list of values or among the latest calls.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pyarrow as pa
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.auth.authenticate import CLOSED, digest_of
from api.auth.key_cache import KEYS_KEY
from api.auth.keys import opened
from api.auth.tokens import TOKEN_SECRET_KEY
from api.store import directory
from api.usage.groups.person_dimensions import person_dimensions
from schemas.catalog.views import DEFAULT
from schemas.limits import HOUR_MS
from schemas.store.keys import Key, Role
from schemas.store.layout import FIRST_GENERATION
from schemas.store.recent_calls import recent_key, records_of
from tests.api.agentlens.test_events import call
from tests.api.app.test_isolation import ask, keep_directory
from tests.api.app.test_taking_isolation import TAKING
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack
from tests.api.routes import CHANGING, ROUTES, Row, Sent

pytestmark = pytest.mark.servers

USERS: Final = ("ann", "bob")
BOUND: Final = {"user": "ann"}
OPEN: Final = {
    ("GET", "/v1/usage"),
    ("POST", "/v1/usage"),
    ("GET", "/v1/dimensions/{name}"),
    ("GET", "/v1/measures"),
    ("GET", "/v1/views"),
    ("GET", "/v1/export"),
    ("GET", "/v1/calls"),
    ("GET", "/v1/stream"),
    ("GET", "/api/analytics/llm"),
    ("GET", "/api/events"),
    ("GET", "/api/events/{id:path}"),
}
"""Routes that apply the filters of a token, or that show nothing of anybody. All others are closed."""
ROLES: Final[tuple[Role, ...]] = ("viewer", "super-admin")
SECRETS: Final = {f"sk-{role}-0123456789-of-acme": role for role in ROLES}


def events_of(users: tuple[str, ...]) -> Iterator[Event]:
    for n in range(60):
        user = USERS[n % 2]
        if user in users:
            yield Event(
                at_ms=NOW_MS - 1 - n * HOUR_MS // 2,
                tenant="acme",
                user=user,
                provider=f"p-of-{user}",
                model=f"m{n % 4}-of-acme",
                agent=f"a{n % 3}-of-{user}",
                input_tokens=n * n,
                cost_nano_usd=n * 333,
                latency_ms=n,
            )


@dataclass(frozen=True)
class Tokens:
    """The application over all users and over ann alone, and tokens of ann."""

    everybody: httpx.AsyncClient
    alone: httpx.AsyncClient
    tokens: list[str]


@pytest.fixture
async def tokens(redis_url: str, clock: Clock) -> AsyncIterator[Tokens]:
    assert redis_url.endswith("/0")
    async with AsyncExitStack() as stack:

        async def client(number: int, users: tuple[str, ...]) -> httpx.AsyncClient:
            url = f"{redis_url[:-1]}{number}"
            pack(list(events_of(users))).write(url)
            await keep_directory(url, ("acme",) if len(users) > 1 else ())
            async with opened(url) as store:
                for user in users:
                    named = {"email": f"e@of-{user}.test", "name": f"n-of-{user}"}
                    await directory.name_user(store, "acme", user, NOW_MS, **named)
            calls = [
                call(id=f"e-of-{user}", user=user, agent=f"a1-of-{user}", model=f"m1-of-{user}")
                for user in users
            ]
            (record_of_calls,) = records_of(calls)
            latest = {record_of_calls.member(1): calls[-1].at_ms, b"": -len(calls)}
            with redis.Redis.from_url(url) as store:
                store.delete(recent_key(FIRST_GENERATION, "acme"))
                store.zadd(recent_key(FIRST_GENERATION, "acme"), latest)
                store.set(TOKEN_SECRET_KEY, b"of both applications")
                for place, (secret, role) in enumerate(SECRETS.items()):
                    record = Key(
                        id=f"key-{place:010d}",
                        name="page",
                        tenants=("acme",),
                        role=role,
                        created_ms=NOW_MS,
                    )
                    store.hset(KEYS_KEY, digest_of(secret), record.model_dump_json())
            return await stack.enter_async_context(client_of(url, clock))

        everybody, alone = await client(0, USERS), await client(1, USERS[:1])
        made = []
        for secret in SECRETS:
            headers = {"x-api-key": secret}
            answer = await everybody.post("/v1/tokens", json={"only": BOUND}, headers=headers)
            assert answer.status_code == 201, answer.text
            made.append(answer.json()["token"])
        yield Tokens(everybody, alone, made)


DIMENSIONS: Final = (*DEFAULT.kept_dimensions, *person_dimensions(DEFAULT))
VALUES: Final = st.sampled_from(
    [
        *USERS,
        "a1-of-bob",
        "a1-of-ann",
        "*",
        "p-of-bob",
        "m1-of-acme",
        "",
        "n-of-bob",
        "e@of-bob.test",
    ]
)
MORE: Final = st.dictionaries(
    st.sampled_from([name + end for name in DIMENSIONS for end in ("", "!")]),
    VALUES,
    max_size=2,
)
GROUPS: Final = st.sampled_from(
    [
        "user",
        "user,model",
        "agent",
        "provider",
        "model",
        "user,agent",
        "user_name",
        "user_email,user_group",
    ]
)


def asked_of(what: Row, path: str) -> st.SearchStrategy[Sent]:
    """What the isolation of tenants asks, and here also filters and groups that would widen the token's."""
    if not path.startswith(("/v1/usage", "/v1/dimensions", "/v1/stream")):
        return what.sent
    more = st.builds(
        lambda sent, filters, group, before: {
            **{name: text for name, text in sent.items() if name != "tenant"},
            **filters,
            **({"group_by": group} if path in {"/v1/usage", "/v1/stream"} else {}),
            **({"compare": "previous"} if before and path == "/v1/usage" else {}),
        },
        what.sent,
        MORE,
        GROUPS,
        st.booleans(),
    )
    return what.sent | more


@pytest.mark.parametrize("method_and_path", sorted({*ROUTES}), ids=" ".join)
async def test_no_byte_of_another_user(tokens: Tokens, method_and_path: tuple[str, str]) -> None:
    _method, route = method_and_path
    what = ROUTES[method_and_path]
    loop = asyncio.get_running_loop()
    statuses: list[int] = []

    @given(st.sampled_from(tokens.tokens), asked_of(what, route), what.path)
    @settings(
        max_examples=120 if method_and_path in OPEN else 5,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def asked(token: str, sent: Sent, path: str) -> None:
        check = compare(tokens, what, method_and_path, path, dict(sent), token)
        statuses.append(asyncio.run_coroutine_threadsafe(check, loop).result(timeout=60))

    await asyncio.to_thread(asked)
    if method_and_path in OPEN and "{id" not in route:
        assert 200 in statuses


async def compare(
    tokens: Tokens, what: Row, route: tuple[str, str], path: str, sent: Sent, token: str
) -> int:
    method, _ = route
    headers = {"authorization": f"Bearer {token}"}
    found = await ask(tokens.everybody, method, path, sent, headers)
    status, _headers, content = found
    assert status < 500
    if what.is_open:
        return status
    if route not in OPEN:
        assert status == 403, content
        return status
    assert found == await ask(tokens.alone, method, path, sent, headers)
    assert b"of-bob" not in content or "of-bob" in json.dumps(sent)
    return status


async def test_a_token_changes_nothing_and_makes_no_tokens(tokens: Tokens) -> None:
    for token in tokens.tokens:
        headers = {"authorization": f"Bearer {token}"}
        for (method, _route), (path, body) in CHANGING.items():
            if path == "/v1/session":
                continue  # of a browser: it takes a key, which no token is
            status, _headers, content = await ask(tokens.everybody, method, path, body, headers)
            reason = "make tokens" if path == "/v1/tokens" else CLOSED
            assert (status, reason in content.decode()) == (403, True), (path, content)


async def test_several_questions_of_one_request_are_within_the_filters(tokens: Tokens) -> None:
    sent = {"questions": [{"group_by": "user"}, {"group_by": "agent", "user": "bob"}]}
    for token in tokens.tokens:
        headers = {"authorization": f"Bearer {token}"}
        found = await ask(tokens.everybody, "POST", "/v1/usage", sent, headers)
        assert found[0] == 200, found
        assert found == await ask(tokens.alone, "POST", "/v1/usage", sent, headers)
        first, second = json.loads(found[2])["answers"]
        assert [row["user"] for row in first["rows"]] == ["ann"]
        assert second["rows"] == []


def test_routes_that_tokens_open_are_few_and_take_nothing() -> None:
    assert ROUTES.keys() >= OPEN
    assert not OPEN & ({*CHANGING} | {*TAKING})


async def test_a_bound_key_reads_what_its_token_reads(tokens: Tokens, redis_url: str) -> None:
    """The same filters, and one level deeper: what it makes is within both."""
    record: Any = Key(
        id="key-00000000aa",
        name="ann's page",
        tenants=("acme",),
        role="viewer",
        created_ms=NOW_MS,
        only=(("user", ("ann",)),),
    )
    secret = "sk-bound-0123456789"  # noqa: S105
    with redis.Redis.from_url(redis_url) as store:
        store.hset(KEYS_KEY, digest_of(secret), record.model_dump_json())
    own, of_token = {"x-api-key": secret}, {"x-api-key": tokens.tokens[0]}
    sent = {"group_by": "user,model", "measures": "events"}
    client = tokens.everybody
    found = await ask(client, "GET", "/v1/usage", sent, own)
    assert found == await ask(client, "GET", "/v1/usage", sent, of_token)
    assert {row["user"] for row in json.loads(found[2])["rows"]} == {"ann"}
    for only, users in (({"user": "bob"}, set()), ({"model": "m0-of-acme"}, {"ann"})):
        answer = await client.post("/v1/tokens", json={"only": only}, headers=own)
        assert answer.status_code == 201
        narrow = {"x-api-key": answer.json()["token"]}
        _status, _headers, content = await ask(client, "GET", "/v1/usage", sent, narrow)
        assert {row["user"] for row in json.loads(content)["rows"]} == users
    status, _headers, _content = await ask(client, "GET", "/api/agents", {}, own)
    assert status == 403


async def test_the_latest_calls_are_those_of_the_token(tokens: Tokens) -> None:
    for token in tokens.tokens:
        headers = {"authorization": f"Bearer {token}"}
        for path, name in (("/v1/calls", "calls"), ("/api/events", "events")):
            _status, _headers, content = await ask(tokens.everybody, "GET", path, {}, headers)
            assert [one["id"] for one in json.loads(content)[name]] == ["e-of-ann"]
        for user, expected in (("ann", 200), ("bob", 404)):
            path = f"/api/events/e-of-{user}"
            status, _headers, _content = await ask(tokens.everybody, "GET", path, {}, headers)
            assert status == expected


async def test_an_export_is_of_the_token_and_says_so(tokens: Tokens) -> None:
    headers = {"authorization": f"Bearer {tokens.tokens[0]}"}
    sent = {"view": "user", "from": "now-3d", "format": "arrow"}
    status, _headers, content = await ask(tokens.everybody, "GET", "/v1/export", sent, headers)
    assert status == 200
    table = pa.ipc.open_stream(content).read_all()
    assert set(table.column("user").to_pylist()) == {"ann"}
    assert json.loads(table.schema.metadata[b"odometer"])["only"] == {"user": ["ann"]}
    status, _headers, content = await ask(
        tokens.everybody, "GET", "/v1/export", sent | {"view": "agent"}, headers
    )
    assert status == 403
    assert b"view agent does not have user" in content


async def test_a_token_of_an_agent_reads_that_agent(tokens: Tokens) -> None:
    """A view by agent has all that this list shows. No view has it by agent and user."""
    client, (secret, *_) = tokens.everybody, SECRETS
    own = {"x-api-key": secret}
    answer = await client.post("/v1/tokens", json={"only": {"agent": "a1-of-ann"}}, headers=own)
    bound = {"x-api-key": answer.json()["token"]}
    one = (await client.get("/api/agents/a1-of-ann", headers=own)).json()
    assert (await client.get("/api/agents", headers=bound)).json()["agents"] == [one]
    assert (await client.get("/api/agents/a1-of-ann", headers=bound)).json() == one
    assert (await client.get("/api/agents/a2-of-ann", headers=bound)).status_code == 404


async def test_streams_of_other_filters_share_nothing(tokens: Tokens) -> None:
    """Equal questions are read once for all their streams, but only of equal filters."""
    sent = {"group_by": "user", "measures": "events"}
    own = {"x-api-key": next(iter(SECRETS))}
    seen = []
    for headers in (own, {"authorization": f"Bearer {tokens.tokens[0]}"}, own):
        _status, _headers, content = await ask(tokens.everybody, "GET", "/v1/stream", sent, headers)
        (answer,) = json.loads(content)["answers"]
        seen.append({row["user"] for row in answer["rows"]})
    assert seen == [{"ann", "bob"}, {"ann"}, {"ann", "bob"}]
