"""A key sees its tenants only: every route of the application, whatever is asked of it.

The same application answers twice: from counters of all tenants, and from those of one tenant
alone. Where the key sees that tenant, both answers are the same to the last byte and header; where
it does not, the answer says the same as for a tenant that nobody has. So nothing of another tenant,
neither a name nor a sum nor its existence, can be in an answer. Each route has a row in
`tests.api.routes` that says what may be asked of it: a route without one fails here.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Mount, Route

from api.app.dispatch import Application
from api.app.main import build
from api.auth.authenticate import EXPORTER_HEADERS, digest_of
from api.auth.key_cache import KEYS_KEY
from api.auth.keys import opened, read_records
from api.store import directory
from api.usage.parameters import PARAMETERS
from schemas.store.chats import Chat, model_key, pack_chat, records_key, updates_key
from schemas.store.directory import ON_PURPOSE, GroupUpdate, group_text
from schemas.store.keys import ALL, ROLES, Key, Role
from schemas.store.layout import FIRST_GENERATION
from schemas.store.recent_calls import recent_key, records_of
from tests.api.agentlens.test_events import call
from tests.api.app.test_taking_isolation import TAKING
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, pack
from tests.api.routes import (
    BY_NAME,
    CHANGING,
    NOBODY,
    REPLAYING,
    ROUTES,
    TENANTS,
    Row,
    Sent,
    events_of,
)
from tests.api.stream.streaming import streaming


def routes_of(app: Application) -> Iterator[tuple[str, str]]:
    for part in (app, app.otlp, *(dialect for _, dialect in app.dialects)):
        for route in part.routes:
            assert isinstance(route, Route | Mount)
            methods = (isinstance(route, Route) and route.methods) or {"GET"}
            yield from ((method, route.path) for method in methods - {"HEAD"})


def test_every_route_is_asked_here(redis_url: str) -> None:
    found = set(routes_of(build(redis_url, kafka="127.0.0.1:1")))
    assert found == ROUTES.keys() | CHANGING.keys() | TAKING | REPLAYING
    assert {parameter.name for parameter in PARAMETERS} == {*BY_NAME, "tenant"}


@dataclass(frozen=True)
class Both:
    """The application over the counters of everybody, and one over those of each tenant alone."""

    everybody: httpx.AsyncClient
    alone: dict[str, httpx.AsyncClient]
    keys: dict[str, Key]


def keys_of_all() -> dict[str, Key]:
    """Every set of tenants with every role: secret -> record."""
    sets: list[Any] = [("acme",), ("beta",), ("acme", "ütil"), TENANTS, (NOBODY,), ALL]
    return {
        f"sk-{place}-{role}-0123456789": Key(
            id=f"key-{place:05d}{number:05d}",
            name=f"of {tenants}",
            tenants=tenants,
            role=role,
            created_ms=NOW_MS,
        )
        for place, tenants in enumerate(sets)
        for number, role in enumerate(ROLES)
        if (tenants == ALL and role == "super-admin") or (tenants == ALL) == (role == "monitor")
    }


async def keep_directory(redis_url: str, tenants: tuple[str, ...]) -> None:
    """A user, a group and a latest call of each tenant."""
    async with opened(redis_url) as store:
        for name in tenants:
            user, email = f"u-of-{name}", f"{name}@of-{name}.test"
            await directory.name_user(store, name, user, NOW_MS, email=email, name=f"n-of-{name}")
            text = group_text(f"name-of-{name}", f"text-of-{name}")
            said = GroupUpdate(
                f"g-of-{name}",
                ON_PURPOSE + NOW_MS,
                NOW_MS,
                is_last=True,
                is_new=True,
                is_first=True,
                text=text,
                members=[user],
            )
            await directory.say_group(store, name, said)
            latest = call(id=f"e-of-{name}", agent=f"a1-of-{name}", model=f"m1-of-{name}")
            key = recent_key(FIRST_GENERATION, name)
            (latest_calls,) = records_of([latest])
            await store.ask("ZADD", key, latest.at_ms, latest_calls.member(1), -1, "")
            chat = f"c-of-{name}"
            await store.ask("ZADD", updates_key(name), NOW_MS, chat)
            await store.ask("SADD", model_key(name, f"m1-of-{name}"), chat)
            record = pack_chat(Chat(chat, NOW_MS, NOW_MS, title_ms=1, title=f"t-of-{name}"))
            await store.ask("HSET", records_key(name), chat, record)


@pytest.fixture
async def both(redis_url: str, clock: Clock) -> AsyncIterator[Both]:
    keys = keys_of_all()
    assert redis_url.endswith("/0")
    async with AsyncExitStack() as stack:

        async def client(number: int, tenants: tuple[str, ...]) -> httpx.AsyncClient:
            url = f"{redis_url[:-1]}{number}"
            pack(list(events_of(tenants))).write(url)
            await keep_directory(url, tenants)
            with redis.Redis.from_url(url) as store:
                for secret, record in keys.items():
                    store.hset(KEYS_KEY, digest_of(secret), record.model_dump_json())
            return await stack.enter_async_context(client_of(url, clock))

        everybody = await client(0, TENANTS)
        alone = {name: await client(n, (name,)) for n, name in enumerate(TENANTS, 1)}
        alone[NOBODY] = await client(len(TENANTS) + 1, ())
        yield Both(everybody, alone, keys)


async def ask(
    client: httpx.AsyncClient, method: str, path: str, sent: Sent, headers: dict[str, Any]
) -> tuple[int, dict[str, str], bytes]:
    if path == "/v1/stream":
        return await first_event(client, sent, headers)
    if method == "GET":
        response = await client.get(path, params=sent, headers=headers)
    else:
        response = await client.request(method, path, json=sent, headers=headers)
    return response.status_code, dict(response.headers), response.content


async def first_event(
    client: httpx.AsyncClient, sent: Sent, headers: dict[str, Any]
) -> tuple[int, dict[str, str], bytes]:
    """The snapshot of a stream, without its id, which is of its process; or the error."""
    app = cast("httpx.ASGITransport", client._transport).app
    async with streaming(cast("Application", app), sent, headers) as stream:
        if stream.status != 200:
            return stream.status, stream.headers, json.dumps(await stream.body()).encode()
        event = await stream.of("snapshot")
        return stream.status, stream.headers, json.dumps(event.data).encode()


@pytest.mark.parametrize("method_and_path", [*ROUTES], ids=" ".join)
async def test_no_byte_of_another_tenant(both: Both, method_and_path: tuple[str, str]) -> None:
    method, _path = method_and_path
    what = ROUTES[method_and_path]
    loop = asyncio.get_running_loop()

    @given(
        st.sampled_from([*both.keys]),
        st.sampled_from([*TENANTS, NOBODY]),
        st.sampled_from(["header", "header", "parameter", "unsaid"]),
        what.sent,
        what.path,
    )
    @settings(
        max_examples=10 if what.is_open else 80,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def asked(secret: str, tenant: str, said: str, sent: Sent, path: str) -> None:
        check = compare(both, what, method, path, dict(sent), secret, tenant, said)
        asyncio.run_coroutine_threadsafe(check, loop).result(timeout=60)

    await asyncio.to_thread(asked)


async def compare(
    both: Both, what: Row, method: str, path: str, sent: Sent, secret: str, tenant: str, said: str
) -> None:
    key = both.keys[secret]
    headers: dict[str, Any] = {} if what.is_open else {"x-api-key": secret}
    nobodys = headers
    unnamed = dict(sent)
    if said == "header":
        nobodys = headers | {"x-odometer-tenant": NOBODY}
        headers = headers | {"x-odometer-tenant": tenant.encode()}
    elif said == "parameter" and path.startswith(
        ("/v1/usage", "/v1/stream", "/v1/calls", "/v1/dimensions", "/v1/status")
    ):
        unnamed |= {"tenant": NOBODY}
        sent = sent | {"tenant": tenant}
    elif key.tenants == ALL or len(key.tenants) > 1:
        tenant = NOBODY  # one that is not said is an error, and says nothing
    else:
        tenant = key.tenants[0]
    found = await ask(both.everybody, method, path, sent, headers)
    assert found[0] != 500
    if path.startswith("/v1/keys"):
        check_keys(key, found)
        return
    if path == "/metrics":  # its numbers differ between any two processes
        check_metrics(key, found)
        return
    assert found == await ask(both.alone[tenant], method, path, sent, headers)
    if not key.sees(tenant) and not key.sees(NOBODY):
        assert found == await ask(both.everybody, method, path, unnamed, nobodys)
        assert not any(f"of-{name}".encode() in found[2] for name in {*TENANTS} - echoed(sent))


def echoed(sent: Sent) -> set[str]:
    """Tenants whose names stand in what was sent: an error may repeat that."""
    text = json.dumps(sent, ensure_ascii=False)
    return {name for name in TENANTS if f"of-{name}" in text}


def check_keys(key: Key, found: tuple[int, dict[str, str], bytes]) -> None:
    """Keys of the caller's tenants only."""
    status, _headers, content = found
    assert status == (200 if key.role in {"admin", "super-admin"} else 403)
    for listed in json.loads(content).get("keys", []):
        theirs = listed["tenants"]
        assert key.tenants == ALL or (theirs != ALL and {*theirs} <= {*key.tenants})


def check_metrics(key: Key, found: tuple[int, dict[str, str], bytes]) -> None:
    """They are of all tenants, so only keys of all tenants read them."""
    status, _headers, content = found
    assert status == (200 if key.tenants == ALL else 403)
    assert (b"odometer_http_requests_total" in content) == (status == 200)


async def test_a_monitor_reads_nothing_of_any_tenant(both: Both) -> None:
    secret = next(s for s, key in both.keys.items() if key.role == "monitor")
    headers = {"x-api-key": secret, "x-odometer-tenant": "acme"}
    asked: list[tuple[str, str, Any]] = [
        (method, path.replace("{name}", "model").replace("{id:path}", "u-of-acme"), {})
        for (method, path), row in ROUTES.items()
        if path and not row.is_open and path not in {"/metrics", "/v1/session"}
    ]
    asked += [
        (method, path, body)
        for (method, _), (path, body) in CHANGING.items()
        if path != "/v1/session"
    ]
    for method, path, body in asked:
        status, _headers, content = await ask(both.everybody, method, path, body, headers)
        assert status in {401, 403}, (method, path)
        assert b"of-acme" not in content, (method, path)


async def test_keys_as_exporters_send_them_open_only_paths_that_take_events(both: Both) -> None:
    """A browser repeats Basic authentication by itself, so no page may be opened with it."""
    secret = next(s for s, key in both.keys.items() if key.role == "super-admin")
    forms = {
        "authorization": f"Basic {b64encode(f'x:{secret}'.encode()).decode()}",
        **dict.fromkeys(EXPORTER_HEADERS, secret),
    }
    asked: list[tuple[str, str, Any]] = [
        (*one, {}) for one in ROUTES if not ROUTES[one].is_open and one[1]
    ]
    asked += [
        (method, path, body)
        for (method, _), (path, body) in CHANGING.items()
        if (method, path) != ("POST", "/v1/session")  # its key is in the body
    ]
    for method, path, body in asked:
        for form in forms.items():
            found = await ask(both.everybody, method, path, body, dict([form]))
            assert found[0] == 401, (method, path, form[0])


@pytest.mark.parametrize("role", ["admin", "super-admin"])
async def test_a_change_reaches_no_other_tenant(both: Both, redis_url: str, role: Role) -> None:
    """Whatever an admin of acme sends about what is beta's, beta reads what it read before."""
    theirs = next(s for s, k in both.keys.items() if (k.tenants, k.role) == (("acme",), role))
    before = await all_of_beta(both, redis_url)
    for (method, _path), (path, body) in CHANGING.items():
        for named in ({}, {"x-odometer-tenant": "beta"}):
            headers = {"x-api-key": theirs, **named}
            assert (await ask(both.everybody, method, path, body, headers))[0] != 500
    assert await all_of_beta(both, redis_url) == before
    # The same requests do change it, where beta's own admin sends them.
    own = next(s for s, k in both.keys.items() if (k.tenants, k.role) == (("beta",), role))
    for (method, _path), (path, body) in CHANGING.items():
        if not path.endswith("/create"):
            status, _headers, _body = await ask(
                both.everybody, method, path, body, {"x-api-key": own}
            )
            assert status < 300, path
    assert await all_of_beta(both, redis_url) != before


async def all_of_beta(both: Both, redis_url: str) -> list[Any]:
    """Every answer that beta gets, and the records of its keys."""
    theirs = next(
        s for s, k in both.keys.items() if (k.tenants, k.role) == (("beta",), "super-admin")
    )
    paths = [
        path.replace("{name}", "model").replace(
            "{id:path}", "g-of-beta" if "groups" in path else "u-of-beta"
        )
        for method, path in ROUTES
        if method == "GET" and not path.startswith("/v1/keys")
    ]
    answers = [await ask(both.everybody, "GET", path, {}, {"x-api-key": theirs}) for path in paths]
    async with opened(redis_url) as store:
        records = await read_records(store)
    return [
        *answers,
        sorted(d for d, k in records.items() if k.tenants == ("beta",)),
        [k for k in records.values() if "beta" in k.tenants],
    ]
