"""`/v1/keys` over HTTP: what an admin may, what is never shown, how soon an end is an end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from api.auth.audit import operator
from api.auth.failures import PERIOD_MS
from api.auth.keys import KeySpec, NewKey, create_keys, opened, rotate_key
from schemas.limits import HOUR_MS
from schemas.store.keys import ROLES, Role
from schemas.units import iso
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack

PATH = "/v1/keys"
USAGE = "/v1/usage"
AGENTLENS = "/api/analytics/llm"
OPENAI = f"/openai/v1/organization/costs?start_time={NOW_MS // 1000 - 3600}"


async def made(
    redis_url: str,
    role: Role = "admin",
    tenants: tuple[str, ...] | str = ("acme",),
    **changes: Any,
) -> NewKey:
    async with opened(redis_url) as store:
        wanted = KeySpec("boss", "all" if role == "monitor" else tenants, role, **changes)
        (one,) = await create_keys(store, [wanted], operator(), NOW_MS)
    return one


@asynccontextmanager
async def asking(redis_url: str, clock: Clock, key: NewKey) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(redis_url, clock, key.secret) as client:
        yield client


@pytest.fixture
async def admin(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(redis_url, clock, await made(redis_url)) as client:
        yield client


def sends(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def test_a_key_is_made_used_rotated_and_revoked(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    created = await admin.post(
        PATH,
        json={"name": "dash", "expires": "9999-03-01", "requests_per_s": 50, "burst": 90},
    )
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    first = created.json()
    assert first == {
        "id": first["id"],
        "serial": 1,
        "name": "dash",
        "tenants": ["acme"],
        "role": "viewer",
        "state": "active",
        "created": iso(NOW_MS),
        "last_used": None,
        "expires": "9999-03-01T00:00:00Z",
        "revoked": None,
        "requests_per_s": 50.0,
        "burst": 90,
        "shares_limit_of": None,
        "key": first["key"],
    }
    path = f"{PATH}/{first['id']}"
    assert (await admin.get(USAGE, headers=sends(first["key"]))).status_code == 200
    rotated = await admin.post(f"{path}/rotate", json={"grace_s": 60})
    assert rotated.status_code == 200
    assert rotated.headers["cache-control"] == "no-store"
    second = rotated.json()
    assert (second["id"], second["serial"]) == (first["id"], 2)
    for secret in (first["key"], second["key"]):
        assert (await admin.get(USAGE, headers=sends(secret))).status_code == 200

    listed = await admin.get(PATH)
    assert first["key"] not in listed.text
    assert second["key"] not in listed.text
    about = [(each["name"], each["serial"], each["state"]) for each in listed.json()["keys"]]
    assert about == [("boss", 1, "active"), ("dash", 2, "active"), ("dash", 1, "active")]
    assert listed.json()["keys"][1]["last_used"]

    revoked = await admin.delete(path)
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    assert (await admin.delete(path)).json()["revoked"] == revoked.json()["revoked"]
    again = await admin.post(f"{path}/rotate", json={})
    assert (again.status_code, again.json()["parameter"]) == (400, "id")

    audit = await admin.get(f"{PATH}/audit")
    assert [line["action"] for line in audit.json()["lines"]] == [
        "revoke",
        "rotate",
        "create",
        "create",
    ]
    assert {line["by_name"] for line in audit.json()["lines"][:3]} == {"boss"}
    assert first["key"] not in audit.text


async def test_an_end_is_an_end_on_every_process_within_a_second(
    redis_url: str, clock: Clock
) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    boss, victim = await made(redis_url), await made(redis_url, "viewer")
    loop = asyncio.get_running_loop()
    async with (
        asking(redis_url, clock, boss) as admin,
        asking(redis_url, clock, victim) as one,
        asking(redis_url, clock, victim) as other,
    ):
        assert (await one.get(USAGE)).status_code == 200
        assert (await other.get(AGENTLENS)).status_code == 200
        await admin.delete(f"{PATH}/{victim.record.id}")
        ended = loop.time()
        for client, path in ((one, USAGE), (other, AGENTLENS)):
            while (await client.get(path)).status_code == 200:
                assert loop.time() - ended < 1
            assert (await client.get(path)).status_code == 401


async def test_keys_that_clients_hold(redis_url: str, admin: httpx.AsyncClient) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    held = ["lvk_0123456789abcdef", "sk-0123456789abcdef"]
    body = {"keys": [{"name": secret[:2], "key": secret, "role": "member"} for secret in held]}
    answer = await admin.post(f"{PATH}/import", json=body)
    assert answer.status_code == 201
    assert [each["name"] for each in answer.json()["keys"]] == ["lv", "sk"]
    assert not any(secret in answer.text for secret in held)
    for secret in held:
        assert (await admin.get(USAGE, headers=sends(secret))).status_code == 200
        headers = {"x-api-key": secret}
        assert (await admin.get(AGENTLENS, headers=headers | {"authorization": ""})).is_success
    twice = await admin.post(f"{PATH}/import", json=body)
    assert twice.status_code == 400
    assert "a key that cannot be imported" in twice.json()["detail"]


async def test_an_import_does_not_tell_which_keys_of_others_exist(
    redis_url: str, admin: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO, "odometer.audit")
    others = await made(redis_url, tenants=("other",))
    own = await made(redis_url, "viewer")
    guesses = [f"guess-{n:020}" for n in range(9)]
    answers = []
    for place, known in ((0, others), (7, others), (7, own)):
        keys = [*guesses[:place], known.secret, *guesses[place:]]
        body = {"keys": [{"name": "g", "key": one} for one in keys]}
        answers.append(await admin.post(f"{PATH}/import", json=body))
    one = {"keys": [{"name": "g", "key": others.secret}]}
    answers.append(await admin.post(f"{PATH}/import", json=one))
    assert {answer.status_code for answer in answers} == {400}
    assert len({answer.content for answer in answers}) == 1
    assert "entry" not in answers[0].text
    twice = {"keys": [{"name": "g", "key": guesses[n]} for n in (0, 1, 0)]}
    detail = (await admin.post(f"{PATH}/import", json=twice)).json()["detail"]
    assert "(entry 3): it is in the request twice" in detail
    listed = (await admin.get(PATH)).json()["keys"]
    (boss,) = [each for each in listed if each["role"] == "admin"]
    said = [json.loads(record.getMessage()) for record in caplog.records]
    failed = [line for line in said if line["action"] == "import_failed"]
    assert failed == [
        {
            "at_ms": clock(),
            "action": "import_failed",
            "reason": "key_exists",
            "source": "127.0.0.1",
            "entries": 10,
            "by_id": boss["id"],
            "by_name": "boss",
        }
    ]
    clock.now_ms += PERIOD_MS
    await admin.post(f"{PATH}/import", json={"keys": [{"name": "", "key": guesses[0]}]})
    said = [json.loads(record.getMessage()) for record in caplog.records]
    more, last = [line for line in said if line["action"] == "import_failed"][1:]
    assert (more["more_failures"], more["entries"]) == (4, 10 + 10 + 1 + 3)
    assert (last["reason"], last["entries"]) == ("invalid_key", 1)
    assert not any(secret in caplog.text for secret in (*guesses, own.secret, others.secret))


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "", None),
        ("POST", "", {"name": "x"}),
        ("POST", "/import", {"keys": [{"name": "x", "key": "k" * 20}]}),
        ("GET", "/audit", None),
        ("DELETE", "/key-0000000000", None),
        ("POST", "/key-0000000000/rotate", {}),
    ],
)
@pytest.mark.parametrize("role", ROLES)
async def test_only_admins_manage_keys(
    redis_url: str, clock: Clock, role: Role, method: str, path: str, content: Any
) -> None:
    async with asking(redis_url, clock, await made(redis_url, role)) as client:
        answer = await client.request(method, PATH + path, json=content)
        if role in {"admin", "super-admin"}:
            assert answer.status_code in {200, 201, 404}
            assert answer.headers.get("cache-control") == "no-store" or not answer.is_success
        else:
            assert answer.status_code == 403
            assert answer.json() == {
                "type": "/docs#forbidden",
                "title": "Permission denied",
                "status": 403,
                "detail": f"this needs the role admin, but the key has the role {role}.",
            }


async def test_what_an_admin_does_not_manage_is_not_there(redis_url: str, clock: Clock) -> None:
    theirs = await made(redis_url, "viewer", ("other",))
    above = await made(redis_url, "super-admin")
    wide = await made(redis_url, "viewer", ("acme", "other"))
    async with asking(redis_url, clock, await made(redis_url)) as admin:
        names = {each["id"] for each in (await admin.get(PATH)).json()["keys"]}
        assert not names & {theirs.record.id, above.record.id, wide.record.id}
        assert "other" not in (await admin.get(f"{PATH}/audit")).text
        answers = set()
        for key_id in (theirs.record.id, above.record.id, wide.record.id, "key-ffffffffff", "x"):
            for request in (
                admin.delete(f"{PATH}/{key_id}"),
                admin.post(f"{PATH}/{key_id}/rotate", json={}),
            ):
                answer = await request
                answers.add((answer.status_code, answer.text))
        ((status, _text),) = answers
        assert status == 404
        for wanted in (
            {"tenants": ["other"]},
            {"tenants": ["acme", "other"]},
            {"tenants": ["nobody's"]},
            {"role": "super-admin"},
        ):
            answer = await admin.post(PATH, json={"name": "x"} | wanted)
            assert answer.status_code == 400
            assert "your own" in answer.json()["detail"]
    async with asking(redis_url, clock, await made(redis_url, "super-admin", "all")) as top:
        found = {each["id"] for each in (await top.get(PATH)).json()["keys"]}
        assert found >= {theirs.record.id, above.record.id, wide.record.id}
        every = await top.post(PATH, json={"name": "x", "tenants": "all", "role": "super-admin"})
        assert every.status_code == 201
        monitor = await top.post(PATH, json={"name": "x", "role": "monitor"})
        assert (monitor.status_code, monitor.json()["tenants"]) == (201, "all")
        unnamed = await top.post(PATH, json={"name": "x"})
        assert (unnamed.status_code, unnamed.json()["parameter"]) == (400, "tenant")
        headers = {"x-odometer-tenant": "new"}
        named = await top.post(PATH, json={"name": "x"}, headers=headers)
        assert named.json()["tenants"] == ["new"]


@pytest.mark.parametrize(
    ("path", "content", "status", "said"),
    [
        ("", b"{", 400, "Field `body`: Invalid JSON"),
        ("", b"[]", 400, "Field `body`: "),
        ("", b'{"name":"x","key":"als_secret-that-is-sent"}', 400, "Field `key`: Extra"),
        ("", b"{}", 400, "Field `name`: Field required"),
        ("", b'{"name":5}', 400, "Field `name`"),
        ("", b'{"name":""}', 400, "Field `name`"),
        ("", b'{"name":"x","tenants":[]}', 400, "Field `tenants`"),
        ("", b'{"name":"x","tenants":"acme"}', 400, "Field `tenants`: a list of 1 to 100"),
        ("", b'{"name":"x","role":"root"}', 400, "Field `role`"),
        ("", b'{"name":"x","expires":"soon"}', 400, "Field `expires`: must be an ISO 8601 time"),
        ("", b'{"name":"x","expires":"2026-02-08"}', 400, "in the future"),
        ("", b'{"name":"x","requests_per_s":0}', 400, "Field `requests_per_s`"),
        ("", b'{"name":"x","requests_per_s":1e400}', 400, "Field `requests_per_s`"),
        ("", b'{"name":"x","requests_per_s":5e-324}', 400, "must be at least 1e-05"),
        ("", b'{"name":"x","burst":3}', 400, "a burst needs requests_per_s"),
        ("", b'{"name":"' + b"x" * 20_000 + b'"}', 413, "larger than"),
        ("/import", b'{"keys":[]}', 400, "Field `keys`"),
        ("/import", b'{"keys":[{"name":"x","key":"als_secret"}]}', 400, "this has 10"),
        ("/import", b'{"keys":[{"name":"x","key":7}]}', 400, "Field `keys.0.key`"),
        ("/key-0000000000/rotate", b'{"grace_s":-1}', 400, "GRACE_MS_MAX"),
        ("/key-0000000000/rotate", b'{"grace_s":1e9}', 400, "Field `grace_s`"),
    ],
)
async def test_bodies_that_are_refused(
    admin: httpx.AsyncClient, path: str, content: bytes, status: int, said: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await admin.post(PATH + path, content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    assert said in answer.json()["detail"]
    assert "als_secret" not in answer.text
    assert len((await admin.get(PATH)).json()["keys"]) == 1
    unsaid = await admin.post(PATH + path, content=content, headers={"content-type": "text/plain"})
    assert unsaid.status_code == 415


async def test_other_ways_that_are_refused(admin: httpx.AsyncClient) -> None:
    for method, path in (("GET", PATH), ("DELETE", f"{PATH}/x"), ("GET", f"{PATH}/audit")):
        answer = await admin.request(method, path, params={"limit": "5"})
        assert (answer.status_code, answer.json()["parameter"]) == (400, "limit")
    wrong = await admin.put(PATH)
    assert wrong.status_code == 405
    assert {*wrong.headers["allow"].split(", ")} == {"GET", "HEAD", "POST"}
    assert (await admin.get(f"{PATH}/key-0000000000")).status_code == 405
    assert (await admin.get(f"{PATH}/a/b")).status_code == 404


async def test_too_many_keys(admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.auth.key_shares.TENANT_KEYS_MAX", 2)
    assert (await admin.post(PATH, json={"name": "x"})).status_code == 201
    answer = await admin.post(PATH, json={"name": "x"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/docs#too-many-keys")


async def test_an_admin_passes_on_at_most_its_own_limits(redis_url: str, clock: Clock) -> None:
    end_ms = NOW_MS + HOUR_MS
    boss = await made(redis_url, expires_ms=end_ms, requests_per_s=50, burst=60)
    free = await made(redis_url, "viewer")
    async with asking(redis_url, clock, boss) as admin:
        plain = await admin.post(PATH, json={"name": "x"})
        assert plain.status_code == 201, plain.text
        about = plain.json()
        limits = (about["expires"], about["requests_per_s"], about["burst"])
        assert limits == (iso(end_ms), 50, 60)
        assert about["shares_limit_of"] == boss.record.id
        for field, wanted in (
            ("expires", {"expires": iso(end_ms + 1000)}),
            ("expires", {"expires": "9999-01-01"}),
            ("requests_per_s", {"requests_per_s": 50.5}),
            ("burst", {"requests_per_s": 5, "burst": 61}),
        ):
            body = {"name": "x"} | wanted
            held = {"keys": [body | {"key": "k" * 20}]}
            for answer in (
                await admin.post(PATH, json=body),
                await admin.post(f"{PATH}/import", json=held),
            ):
                assert (answer.status_code, answer.json()["parameter"]) == (400, field)
        rotated = await admin.post(f"{PATH}/{free.record.id}/rotate", json={})
        assert (rotated.status_code, rotated.json()["parameter"]) == (400, "id")
        assert "must not outlive yours" in rotated.json()["detail"]
        own = await admin.post(f"{PATH}/{boss.record.id}/rotate", json={"grace_s": 60})
        assert (own.status_code, own.json()["expires"]) == (200, iso(end_ms))


async def test_an_old_secret_cannot_rotate_itself_back(redis_url: str, clock: Clock) -> None:
    """Who stole an admin's secret has it until the end of the grace, and no longer."""
    leaked = await made(redis_url)
    async with opened(redis_url) as store:
        await rotate_key(store, leaked.record.id, 60_000, operator(), NOW_MS)
    async with asking(redis_url, clock, leaked) as thief:
        rotated = await thief.post(f"{PATH}/{leaked.record.id}/rotate", json={})
        assert (rotated.status_code, rotated.json()["parameter"]) == (400, "id")
        made_by_thief = await thief.post(PATH, json={"name": "x", "role": "admin"})
        assert made_by_thief.json()["expires"] == iso(NOW_MS + 60_000)


# -- limits and roles, in the shape of each dialect ------------------------------------------------


async def test_who_asks_too_often_is_told_when_to_come_back(redis_url: str, clock: Clock) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    key = await made(redis_url, "viewer", requests_per_s=0.25, burst=3)
    async with asking(redis_url, clock, key) as client:
        for path in (USAGE, AGENTLENS, "/v1/views"):
            assert (await client.get(path)).status_code == 200
        native = await client.get(USAGE)
        assert (native.status_code, native.headers["retry-after"]) == (429, "4")
        assert native.json() == {
            "type": "/docs#rate-limited",
            "title": "Rate limit exceeded",
            "status": 429,
            "detail": "too many requests with this key: try again in 4 s.",
        }
        agentlens = await client.get(AGENTLENS)
        assert (agentlens.status_code, agentlens.headers["retry-after"]) == (429, "4")
        assert agentlens.text == (
            '{"error":"too many requests with this key: try again in 4 s.","status":429}'
        )
        other = await made(redis_url, "viewer")
        assert (await client.get(USAGE, headers=sends(other.secret))).status_code == 200


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        (USAGE, lambda body: body["status"] == 429 and body["type"] == "/docs#rate-limited"),
        (AGENTLENS, lambda body: body["status"] == 429 and "again in" in body["error"]),
        ("/admin/analytics/dashboard", lambda body: body["success"] is False),
        (OPENAI, lambda body: body["error"]["code"] == "rate_limit_exceeded"),
        ("/api/v1/analytics/users", lambda body: "again in" in body["detail"]),
        ("/api/v1/users/", lambda body: "again in" in body["detail"]),
    ],
)
async def test_a_limit_in_the_shape_of_each_dialect(
    redis_url: str, clock: Clock, path: str, is_ours: Callable[[Any], bool]
) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    key = await made(redis_url, "super-admin", requests_per_s=0.5, burst=1)
    async with asking(redis_url, clock, key) as client:
        assert (await client.get(path)).status_code == 200
        over = await client.get(path)
        assert (over.status_code, over.headers["retry-after"]) == (429, "2")
        assert is_ours(over.json())


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (USAGE, lambda body: (body["detail"], body["parameter"])),
        (PATH, lambda body: (body["detail"], body["parameter"])),
        ("/v1/views", lambda body: (body["detail"], body["parameter"])),
        (AGENTLENS, lambda body: (body["error"],)),
        ("/admin/analytics/dashboard", lambda body: (body["message"],)),
        (OPENAI, lambda body: (body["error"]["message"],)),
        ("/api/v1/analytics/users", lambda body: (body["detail"],)),
        ("/api/v1/users/", lambda body: (body["detail"],)),
    ],
)
async def test_a_header_with_two_values_is_rejected_in_each_dialect(
    redis_url: str, clock: Clock, path: str, says: Callable[[Any], tuple[str, ...]]
) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    key = await made(redis_url, "super-admin")
    bearer = f"Bearer {key.secret}"
    async with asking(redis_url, clock, key) as client:
        for name, one, other in (
            ("authorization", bearer, "Bearer als_another"),
            ("authorization", "Bearer als_another", bearer),
            ("x-api-key", key.secret, "another"),
            ("x-odometer-tenant", "acme", "other"),
            ("X-Odometer-Tenant", "other", "acme"),
        ):
            answer = await client.get(path, headers=[(name, one), ("accept", "*/*"), (name, other)])
            assert answer.status_code == 400, (name, answer.text)
            detail, *parameter = says(answer.json())
            assert f"he header {name.lower()} is in the request with different values" in detail
            assert parameter in ([], [name.lower()])
            assert not any(secret in answer.text for secret in (key.secret, "another"))
        for one, other in ((key.secret, "another"), ("another", key.secret)):
            both = [("authorization", f"Bearer {one}"), ("x-api-key", other)]
            for headers in (both, both[::-1]):
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 400, answer.text
                detail, *parameter = says(answer.json())
                assert "he headers authorization and x-api-key have different keys" in detail
                assert parameter in ([], ["x-api-key"])
                assert not any(secret in answer.text for secret in (key.secret, "another"))
        same = [("authorization", bearer), ("authorization", bearer), ("x-api-key", key.secret)]
        same += [("x-odometer-tenant", "acme"), ("x-odometer-tenant", "acme")]
        assert (await client.get(path, headers=same)).status_code == 200


async def test_write_only_reads_nothing(redis_url: str, clock: Clock) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    async with asking(redis_url, clock, await made(redis_url, "write-only")) as client:
        for path in (USAGE, "/v1/views", "/v1/measures", "/v1/dimensions/model"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (403, "/docs#forbidden")
        answer = await client.get(AGENTLENS)
        assert answer.status_code == 403
        assert answer.json()["required"] == "viewer"


async def test_several_tenants(redis_url: str, clock: Clock) -> None:
    log = [Event(NOW_MS - HOUR_MS, tenant=tenant) for tenant in ("acme", "beta", "beta", "other")]
    pack(log).write(redis_url)
    key = await made(redis_url, "viewer", ("acme", "beta", "new"))
    async with asking(redis_url, clock, key) as client:

        async def counted(tenant: str) -> list[int]:
            header = {"x-odometer-tenant": tenant}
            params = {"measures": "events", "tenant": tenant}
            found = [
                (await client.get(USAGE, params=params)).json()["totals"]["events"],
                (await client.post(USAGE, json=params)).json()["totals"]["events"],
                (await client.get(USAGE, params={"measures": "events"}, headers=header)).json()[
                    "totals"
                ]["events"],
                (await client.get(AGENTLENS, headers=header)).json()["summary"]["totalCalls"],
            ]
            values = await client.get("/v1/dimensions/model", params={"tenant": tenant})
            return [*found, sum(each["events"] for each in values.json()["values"])]

        assert await counted("acme") == [1] * 5
        assert await counted("beta") == [2] * 5
        assert await counted("new") == [0] * 5
        unnamed = await client.get(USAGE)
        assert (unnamed.status_code, unnamed.json()["parameter"]) == (400, "tenant")
        assert (await client.get(AGENTLENS)).json()["status"] == 400
        two = "?measures=events&tenant=acme&tenant=beta"
        assert (await client.get(f"{USAGE}{two}")).json()["totals"]["events"] == 3
        several = await client.get("/v1/dimensions/model?tenant=acme&tenant=beta")
        assert (several.status_code, several.json()["parameter"]) == (400, "tenant")
        for path in (USAGE, AGENTLENS, "/v1/dimensions/model"):
            answers = {
                (answer.status_code, answer.text)
                for tenant in ("other", "never")
                for answer in [await client.get(path, headers={"x-odometer-tenant": tenant})]
            }
            ((status, text),) = answers
            assert status == 403
            assert "no tenant of that name" in text
