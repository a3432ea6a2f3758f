"""`group_by=tenant` and totals over the tenants of a key, over a real Valkey: what a key does not see is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.auth.authenticate import digest_of
from api.auth.key_cache import KEYS_KEY
from api.usage import parameters, several
from api.usage.groups.people import People
from schemas.limits import HOUR_MS
from schemas.store.keys import ALL, Key
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack
from tests.api.usage.asking import PATH
from tests.api.usage.groups.test_people import keep

pytestmark = pytest.mark.servers

TENANTS = ("acme", "beta", "ütil", "gamma")
OWN = ("acme", "ütil")
"""The tenants of the key that is asked with; nothing of the others may be in an answer."""
HUGE = 2**62
SECRETS: dict[str, Any] = {
    "sk-own-0123456789": OWN,
    "sk-one-0123456789": ("acme",),
    "sk-all-0123456789": ALL,
}


def events_of(tenants: tuple[str, ...]) -> list[Event]:
    """Two tenants have the same user, and together a sum of more than 64 bits."""
    return [
        Event(
            NOW_MS - HOUR_MS * (1 + n % 5),
            tenant=tenant,
            model=f"m{n % 3}",
            user=f"u{n % 2}",
            chat=f"c{n % 4}",
            provider=f"p-of-{tenant}",
            latency_ms=100 * n,
            others={"events": 1, "input_tokens": HUGE if n == 0 else n, "cost_nano_usd": n},
        )
        for tenant in tenants
        for n in range(3 + 2 * TENANTS.index(tenant))
    ]


@pytest.fixture
async def clients(redis_url: str, clock: Clock) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """The application over all tenants, over those of the key, and over each alone."""
    keys = {
        secret: Key(
            id=f"key-{place:010d}", name="k", tenants=tenants, role="super-admin", created_ms=NOW_MS
        )
        for place, (secret, tenants) in enumerate(SECRETS.items())
    }
    async with AsyncExitStack() as stack:
        found = {}
        sets = {"all": TENANTS, "own": OWN, **{name: (name,) for name in TENANTS}}
        for number, (name, tenants) in enumerate(sets.items()):
            url = f"{redis_url[:-1]}{number}"
            pack(events_of(tenants)).write(url)
            for tenant in tenants:
                people = People({"u0": f"n-of-{tenant}"}, {"u0": "u0@x"}, {})
                await keep(url, people, tenant)
            with redis.Redis.from_url(url) as store:
                for secret, record in keys.items():
                    store.hset(KEYS_KEY, digest_of(secret), record.model_dump_json())
            found[name] = await stack.enter_async_context(client_of(url, clock))
        yield found


async def asked(
    client: httpx.AsyncClient, secret: str, params: dict[str, Any], status: int = 200
) -> dict[str, Any]:
    answer = await client.get(PATH, params=params, headers={"x-api-key": secret})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


OWN_KEY, ONE_KEY, ALL_KEY = SECRETS
MEASURES = {"measures": "input_tokens,requests,users,chats"}


async def test_totals_are_over_all_tenants_of_the_key(
    clients: dict[str, httpx.AsyncClient],
) -> None:
    every = clients["all"]
    alone = [await asked(clients[name], ALL_KEY, {"tenant": name, **MEASURES}) for name in OWN]
    both = await asked(every, OWN_KEY, {"tenant": "*", **MEASURES})
    sums = {name: sum(one["totals"][name] for one in alone) for name in alone[0]["totals"]}
    assert both["totals"] == sums  # users and chats of two tenants are never the same
    assert sums["input_tokens"] > 2**63
    by_tenant = await asked(
        every, OWN_KEY, {"group_by": "tenant", "order_by": "tenant", **MEASURES}
    )
    assert by_tenant["totals"] == sums
    assert by_tenant["rows"] == [
        {"tenant": name, **one["totals"]} for name, one in zip(OWN, alone, strict=True)
    ]
    named = await asked(every, ALL_KEY, {"tenant": ["beta", "acme"], "group_by": "tenant"})
    assert sorted(row["tenant"] for row in named["rows"]) == ["acme", "beta"]
    found = await asked(every, ALL_KEY, {"group_by": "tenant", "limit": 1, "measures": "requests"})
    assert [row["tenant"] for row in found["rows"]] == ["gamma", None]
    assert (found["groups"], found["rows"][1]["requests"]) == (4, 15)


async def test_each_tenant_has_its_own_directory(clients: dict[str, httpx.AsyncClient]) -> None:
    by = {"group_by": "tenant,user_name", "measures": "requests"}
    found = await asked(clients["all"], OWN_KEY, {"user_email": "U0@X", "order_by": "tenant", **by})
    assert [[*row.values()] for row in found["rows"]] == [
        ["acme", "n-of-acme", 2],
        ["ütil", "n-of-ütil", 4],
    ]


async def test_who_has_one_tenant_sees_that_one(clients: dict[str, httpx.AsyncClient]) -> None:
    for secret, named in ((ONE_KEY, {}), (OWN_KEY, {"tenant": "acme"}), (ONE_KEY, {"tenant": "*"})):
        found = await asked(clients["all"], secret, {"group_by": "tenant", **named})
        assert [row["tenant"] for row in found["rows"]] == ["acme"]
    token = await clients["all"].post(
        "/v1/tokens",
        json={"only": {"model": "m1"}},
        headers={"x-api-key": OWN_KEY, "x-odometer-tenant": "acme"},
    )
    assert token.status_code == 201, token.text
    for named in ({}, {"tenant": "*"}):
        found = await asked(
            clients["all"], token.json()["token"], {"group_by": "tenant,model", **named}
        )
        assert [[row["tenant"], row["model"]] for row in found["rows"]] == [["acme", "m1"]]
    await asked(
        clients["all"], token.json()["token"], {"group_by": "tenant", "tenant": "ütil"}, 403
    )


async def test_what_is_refused(
    clients: dict[str, httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = clients["all"]
    await asked(every, OWN_KEY, {}, 400)  # as ever: name one
    await asked(every, OWN_KEY, {"tenant": ["acme", "beta"]}, 403)
    await asked(every, OWN_KEY, {"tenant": ["acme", "nobody"]}, 403)
    found = await asked(every, OWN_KEY, {"tenant": ["acme", "*"]}, 400)
    assert found["parameter"] == "tenant"
    headers = {"x-api-key": OWN_KEY, "x-odometer-tenant": "acme"}
    answer = await every.get(PATH, params={"tenant": ["acme", "ütil"]}, headers=headers)
    assert answer.status_code == 400
    narrowed = await every.get(PATH, params={"group_by": "tenant"}, headers=headers)
    assert [row["tenant"] for row in narrowed.json()["rows"]] == ["acme"]
    monkeypatch.setattr(parameters, "TENANTS_MAX", 3)
    found = await asked(every, ALL_KEY, {"tenant": [*TENANTS]}, 400)
    assert "TENANTS_MAX" in found["detail"]
    monkeypatch.setattr(several, "TENANTS_MAX", 5)
    questions = {"questions": [{"tenant": "*"}] * 3, "tenant": None}
    answer = await every.post(PATH, json=questions, headers={"x-api-key": OWN_KEY})
    assert answer.status_code == 400
    assert "6 tenants together, more than the limit of 5 (TENANTS_MAX)" in answer.json()["detail"]


async def test_questions_of_one_body_may_have_different_tenants(
    clients: dict[str, httpx.AsyncClient],
) -> None:
    questions: list[dict[str, Any]] = [
        {"group_by": ["tenant"], "order_by": ["tenant"], "compare": "previous"},
        {"tenant": "*", "measures": ["users", "chats"]},
        {"tenant": ["ütil"], "group_by": ["user_name"]},
        {"tenant": "acme", "granularity": "1h", "measures": ["p95_latency_ms"]},
    ]
    headers = {"x-api-key": OWN_KEY}
    answer = await clients["all"].post(PATH, json={"questions": questions}, headers=headers)
    assert answer.status_code == 200, answer.text
    for question, found in zip(questions, answer.json()["answers"], strict=True):
        alone = await clients["all"].post(PATH, json=question, headers=headers)
        assert found == {name: alone.json()[name] for name in found}
    named = {"questions": [{"group_by": ["tenant"]}, {}], "tenant": ["ütil", "acme"]}
    answer = await clients["all"].post(PATH, json=named, headers=headers)
    by_tenant, total = answer.json()["answers"]
    assert {row["tenant"] for row in by_tenant["rows"]} == {*OWN}
    assert by_tenant["totals"] == total["totals"]
    for hidden in ([{"tenant": "acme"}, {"tenant": "beta"}], [{"tenant": "*"}, {}]):
        answer = await clients["all"].post(PATH, json={"questions": hidden}, headers=headers)
        assert answer.status_code == (403 if "beta" in str(hidden) else 400)


async def test_no_byte_of_a_tenant_that_the_key_does_not_see(
    clients: dict[str, httpx.AsyncClient],
) -> None:
    """The same question over all tenants and over those of the key alone: one answer, byte for byte."""
    params = st.fixed_dictionaries(
        {"group_by": st.sampled_from(["tenant", "tenant,model", "model,tenant", "tenant,user_name", ""])},
        optional={
            "tenant": st.sampled_from(["*", ["acme", "ütil"], "ütil", "beta", ["acme", "beta"]]),
            "measures": st.sampled_from(["users,chats", "p50_latency_ms", "requests,avg_latency_ms"]),
            "granularity": st.sampled_from(["1h", "1d"]),
            "compare": st.just("previous"),
            "having": st.just("requests>1"),
            "limit": st.just(2),
            "provider": st.sampled_from(["*beta", "p*", "!p"]),
            "user_name": st.sampled_from(["n-of-beta", "n*"]),
            "format": st.just("csv"),
        },
    )  # fmt: skip

    loop = asyncio.get_running_loop()

    async def compare(sent: dict[str, Any]) -> None:
        headers = {"x-api-key": OWN_KEY}
        everybody = await clients["all"].get(PATH, params=sent, headers=headers)
        alone = await clients["own"].get(PATH, params=sent, headers=headers)
        assert everybody.status_code < 500, everybody.text
        assert everybody.content == alone.content
        assert {**everybody.headers} == {**alone.headers}
        assert "beta" not in everybody.text or "beta" in str(sent)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(params)
    def law(sent: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(compare(sent), loop).result(timeout=60)

    await asyncio.to_thread(law)
