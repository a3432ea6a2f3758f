"""`/v1/dead-letters` over a real Kafka: whose dead letters a key sees, what a replay sends, and its audit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from api.dead_letters.endpoints import LIMIT_MAX
from deploy.dead_letters import KafkaDeadLetters
from deploy.local.servers import Server
from schemas.responses.dead_letters import ORIGINS_MAX
from schemas.store.keys import ALL, Role
from schemas.units import iso
from streams.core.dead_letters import DeadLetter, dead_letter_record
from streams.kafka.producer import open_producer
from tests.api.app.test_hostile_requests import NAMES, QUERIES
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS
from tests.api.ingest.taking import Taking, taking
from tests.oracles.event_logs import encode, event

pytestmark = pytest.mark.servers

PATH: Final = "/v1/dead-letters"
SECRETLY: Final = "of-beta"


@dataclass
class Site:
    """An API over a topic with dead letters of acme, beta, the default tenant, and of nobody."""

    api: Taking
    redis_url: str
    letters: dict[str, DeadLetter]

    async def key(self, role: Role, *tenants: str) -> str:
        """A key of these tenants; without any, of all."""
        name = f"{role} of {', '.join(tenants)}"
        async with opened(self.redis_url) as store:
            spec = KeySpec(name, tenants or ALL, role)
            (made,) = await create_keys(store, [spec], operator(), NOW_MS)
        return made.secret

    async def ask(self, key: str, path: str = PATH, **params: Any) -> httpx.Response:
        return await self.api.client.get(path, params=params, headers={"x-api-key": key})

    async def replay(self, key: str, *names: str, **more: Any) -> httpx.Response:
        body = {"origins": [self.letters[name].origin for name in names], **more}
        return await self.api.client.post(f"{PATH}/replay", json=body, headers={"x-api-key": key})


def letters_of(topic: str) -> dict[str, DeadLetter]:
    values = {
        "acme": encode(event(id="a-1", tenant="acme", model=7, time=iso(NOW_MS))),
        "acme-2": encode(event(id="a-2", tenant="acme", model=7, time=iso(NOW_MS))),
        "beta": encode(event(id="b-1", tenant="beta", model=7, user_id=SECRETLY)),
        "default": encode({**event(id="d-1", model=7)}),
        "nobody": b"{",
        "odd": encode({"id": "o-1", "tenant": 5}),
    }
    return {
        name: DeadLetter(f"{topic}:0:{n}", NOW_MS + n, "invalid_field", "model", name, value, ())
        for n, (name, value) in enumerate(values.items())
    }


@pytest.fixture
async def site(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Site]:
    letters = letters_of(topic)
    source = KafkaDeadLetters(kafka.address, topic, f"{topic}.dead", clock)
    async with taking(kafka.address, redis_url, topic, clock, "", dead_letters=source) as api:
        async with open_producer(kafka.address) as producer:
            records = [dead_letter_record(letter) for letter in letters.values()]
            await producer.send_records(f"{topic}.dead", [*records, records[0]])
        yield Site(api, redis_url, letters)


async def test_a_key_sees_the_dead_letters_of_its_own_tenants_only(site: Site) -> None:
    seen = {
        ("admin", "acme"): ["acme-2", "acme"],
        ("super-admin", "acme"): ["acme-2", "acme"],
        ("admin", "beta"): ["beta"],
        ("admin", "nobody"): [],
        ("super-admin",): ["odd", "nobody", "default", "beta", "acme-2", "acme"],
    }
    for (role, *tenants), names in seen.items():
        key = await site.key(role, *tenants)  # type: ignore[arg-type]
        answer = (await site.ask(key)).json()
        assert [one["detail"] for one in answer["dead_letters"]] == names, role
        assert sum(answer["reasons"].values()) == len(names)
        assert (answer["searched_from"], answer["problem"]) == (None, None)
        for name, letter in site.letters.items():
            shown = await site.ask(key, f"{PATH}/{letter.origin}")
            assert shown.status_code == (200 if name in names else 404)
            if "beta" not in names:
                assert SECRETLY not in shown.text
    viewer = await site.key("viewer", "acme")
    assert (await site.ask(viewer)).status_code == 403
    assert (await site.ask(viewer, f"{PATH}/{site.letters['acme'].origin}")).status_code == 403
    assert (await site.replay(viewer, "acme")).status_code == 403
    admin = await site.key("admin", "acme")
    assert (await site.ask(admin, tenant="beta")).status_code == 403
    others = await site.ask(admin, f"{PATH}/{site.letters['beta'].origin}")
    nothing = await site.ask(admin, f"{PATH}/{site.letters['beta'].origin}9")
    assert others.json()["detail"] == nothing.json()["detail"].replace("29 of", "2 of")


async def test_one_is_shown_in_full_and_the_list_is_filtered(site: Site) -> None:
    key = await site.key("super-admin")
    shown = (await site.ask(key, f"{PATH}/{site.letters['acme'].origin}")).json()
    assert json.loads(shown["value"])["id"] == "a-1"
    assert (shown["tenant"], shown["value_is_whole"], shown["replayed"]) == ("acme", True, None)
    assert shown["replay_would"].startswith("be rejected: model: ")
    for params, names in (
        ({"tenant": "beta"}, ["beta"]),
        ({"reason": "not_json"}, []),
        ({"field": "model", "limit": "1"}, ["odd"]),
        ({"since": str(NOW_MS + 4), "until": str(NOW_MS + 5)}, ["nobody"]),
    ):
        answer = (await site.ask(key, **params)).json()
        assert [one["detail"] for one in answer["dead_letters"]] == names
    for params in ({"reason": "x"}, {"since": "x"}, {"limit": str(LIMIT_MAX + 1)}, {"x": "1"}):
        assert (await site.ask(key, **params)).json()["parameter"] == next(iter(params))


async def test_a_replay_is_corrected_sent_once_and_audited(site: Site) -> None:
    key = await site.key("admin", "acme")
    (line,) = (await site.replay(key, "acme")).json()["results"]
    assert (line["outcome"], line["counts_as"]) == ("refused", None)
    would = (await site.replay(key, "acme", "acme-2", set={"model": "m"}, dry_run=True)).json()
    assert [one["outcome"] for one in would["results"]] == ["sendable", "sendable"]
    assert await site.api.held() == []
    assert (await site.ask(key, f"{PATH}/audit")).json() == {"lines": []}

    (line,) = (await site.replay(key, "acme", set={"model": "m"})).json()["results"]
    assert line["outcome"] == "sent"
    value = encode(event(id="a-2", tenant="acme", model="whole", time=iso(NOW_MS))).decode()
    assert (await site.replay(key, "acme-2", value=value)).json()["results"][0]["outcome"] == "sent"
    assert {(one["id"], one["model"]) for one in await site.api.held()} == {
        ("a-1", "m"),
        ("a-2", "whole"),
    }
    (line,) = (await site.replay(key, "acme", set={"model": "m"})).json()["results"]
    assert line["outcome"] == "kept"
    assert len(await site.api.held()) == 2
    shown = (await site.ask(key, f"{PATH}/{site.letters['acme'].origin}")).json()
    assert shown["replayed"]["state"] == "sent"
    assert shown["replayed"]["as"]["tenant"] == "acme"

    lines = (await site.ask(key, f"{PATH}/audit")).json()["lines"]
    assert [(one["origins"], one["corrected"]) for one in lines] == [
        ([site.letters["acme-2"].origin], ["value"]),
        ([site.letters["acme"].origin], ["model"]),
    ]
    assert {one["by_name"] for one in lines} == {"admin of acme"}
    beta = await site.key("admin", "beta")
    assert (await site.ask(beta, f"{PATH}/audit")).json() == {"lines": []}
    everyone = await site.key("super-admin")
    assert (await site.ask(everyone, f"{PATH}/audit")).json()["lines"] == lines


async def test_a_replay_cannot_count_for_another_tenant(site: Site) -> None:
    key = await site.key("admin", "acme")
    for name in ("beta", "nobody"):
        answer = await site.replay(key, "acme", name, set={"model": "m"})
        assert answer.status_code == 404  # none of them is sent
    whole = encode(event(id="x", tenant="beta", model="m", time=iso(NOW_MS))).decode()
    no_tenant = encode(event(id="x", model="m", time=iso(NOW_MS))).decode()
    for change in (
        {"set": {"tenant": "beta", "model": "m"}},
        {"set": {"tenant": None, "model": "m"}},
        {"value": whole},
        {"value": no_tenant},
    ):
        (line,) = (await site.replay(key, "acme", **change)).json()["results"]
        assert line["outcome"] == "refused"
        assert "`tenant`" in line["detail"]
    assert await site.api.held() == []
    everyone = await site.key("super-admin")
    (line,) = (await site.replay(everyone, "nobody", value=whole)).json()["results"]
    assert line["outcome"] == "sent"
    beta = await site.key("admin", "beta")
    (audited,) = (await site.ask(beta, f"{PATH}/audit")).json()["lines"]
    assert audited["tenants"] == ["beta"]


async def test_what_is_wrong_with_a_replay_is_named(site: Site) -> None:
    key = await site.key("admin", "acme")
    origin = site.letters["acme"].origin
    for body, said in (
        ({"origins": []}, "length >= 1"),
        ({"origins": [origin] * (ORIGINS_MAX + 1)}, f"length <= {ORIGINS_MAX}"),
        ({"origins": ["x"]}, "$.origins[0]"),
        ({"origins": [origin], "sets": {}}, "sets"),
        ({"origins": [origin], "set": {"modell": 1}}, "'modell' is not a field of an event"),
        ({"origins": [origin, origin]}, "twice"),
        ({"origins": [origin], "value": "{}", "set": {"model": "m"}}, "`value`"),
    ):
        answer = await site.api.client.post(f"{PATH}/replay", json=body, headers={"x-api-key": key})
        assert answer.status_code == 400
        assert said in answer.json()["detail"]


async def test_a_read_is_bounded_and_says_so(
    site: Site, kafka: Server, redis_url: str, topic: str, clock: Clock
) -> None:
    newest = KafkaDeadLetters(kafka.address, topic, f"{topic}.dead", clock, searched_max=4)
    absent = KafkaDeadLetters(kafka.address, topic, f"{topic}.none", clock)
    key = await site.key("super-admin")
    async with taking(kafka.address, redis_url, topic, clock, key, dead_letters=newest) as api:
        answer = (await api.client.get(PATH)).json()
        assert [one["detail"] for one in answer["dead_letters"]] == [
            "odd",
            "nobody",
            "default",
            "acme",
        ]
        assert answer["searched_from"] is not None
        gone = await api.client.get(f"{PATH}/{site.letters['beta'].origin}")
        assert "among the newest 4 records" in gone.json()["detail"]
    async with taking(kafka.address, redis_url, topic, clock, key, dead_letters=absent) as api:
        answer = (await api.client.get(PATH)).json()
        assert answer["dead_letters"] == []
        assert f"topic '{topic}.none' does not exist" in answer["problem"]
    away = KafkaDeadLetters("127.0.0.1:1", topic, f"{topic}.dead", clock)
    async with taking(kafka.address, redis_url, topic, clock, key, dead_letters=away) as api:
        answer = await api.client.get(PATH)
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("Kafka is not available")


async def test_any_query_and_name_has_an_answer(site: Site) -> None:
    headers = {"x-api-key": await site.key("super-admin")}
    places = [f"{at}?{query}" for query in QUERIES for at in (PATH, f"{PATH}/audit", f"{PATH}/x")]
    for place in [*places, *(f"{PATH}/{name}" for name in NAMES)]:
        answer = await site.api.client.get(place, headers=headers)
        assert answer.status_code < 500, place[:80]
