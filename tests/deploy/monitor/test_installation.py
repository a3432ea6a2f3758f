"""`GET /v1/status` and `odometer status --json` say the same; a tenant's key reads its own part of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from api.app.main import build
from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from deploy.cli.main import app as command
from deploy.local.servers import Server
from deploy.monitor.installation import SharedRead, installation_of
from deploy.settings import read_settings
from schemas.limits import HOUR_MS
from schemas.responses.status import OwnStatus, WholeStatus
from streams.core.dead_letters import (
    DeadLetter,
    EventIdentity,
    ReplayState,
    dead_letter_record,
    marked,
)
from streams.kafka.producer import open_producer
from streams.kafka.topics import ensure_topics
from streams.operations.letter_counts import LetterCounts, TenantLetters
from tests.api.counters import Event, pack
from tests.real.harness.topics import cut

pytestmark = pytest.mark.servers
Ask = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]


@pytest.fixture
async def asked(
    redis_url: str, kafka: Server, topic: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ask]:
    """A client of the API, and keys by name. There are counters and dead letters of two tenants."""
    now_ms = time.time_ns() // 1_000_000
    events = [
        Event(now_ms - HOUR_MS, tenant="acme", model="priced", cost_nano_usd=5),
        Event(now_ms - HOUR_MS, tenant="acme", model="new", cost_nano_usd=None),
        Event(now_ms - HOUR_MS, tenant="beta", model="secret", cost_nano_usd=None),
    ]
    pack(events, now_ms=now_ms, topic=topic, complete_ms=(now_ms,), refused=(0,)).write(redis_url)
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    letters = [
        DeadLetter(f"{topic}:0:{n}", now_ms, "invalid_field", "model", "must be a text", json.dumps({"tenant": tenant}).encode(), ())
        for n, tenant in enumerate(("acme", "beta", "beta"))
    ]  # fmt: skip
    async with open_producer(kafka.address) as producer:
        await producer.send_records(f"{topic}.dead", [dead_letter_record(one) for one in letters])
    settings = read_settings(
        kafka=kafka.address, redis=redis_url, topic=topic, dead_letter_topic=f"{topic}.dead"
    )
    wanted = {
        "monitor": KeySpec("monitor", "all", "monitor"),
        "top": KeySpec("top", "all", "super-admin"),
        "acme": KeySpec("acme", ("acme",), "super-admin"),
        "viewer": KeySpec("viewer", ("beta",), "viewer"),
        "producer": KeySpec("producer", ("beta",), "write-only"),
    }
    async with opened(redis_url) as store:
        made = await create_keys(store, [*wanted.values()], operator(), now_ms)
    keys = {name: one.secret for name, one in zip(wanted, made, strict=True)}
    monkeypatch.setenv("ODOMETER_KAFKA", settings.kafka)
    monkeypatch.setenv("ODOMETER_REDIS", settings.redis)
    monkeypatch.setenv("ODOMETER_TOPIC", settings.topic)
    monkeypatch.setenv("ODOMETER_DEAD_LETTER_TOPIC", settings.dead_letter_topic)
    app = build(redis_url, topic, installation=installation_of(settings))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://odometer.test") as client,
    ):

        async def ask(name: str, tenant: str = "") -> tuple[int, dict[str, Any]]:
            headers = {"x-api-key": keys[name]}
            answer = await client.get(
                "/v1/status", params={"tenant": tenant} if tenant else {}, headers=headers
            )
            found: dict[str, Any] = answer.json()
            return answer.status_code, found

        yield ask


async def test_who_watches_reads_what_the_command_prints(asked: Ask) -> None:
    status, found = await asked("monitor")
    assert status == 200
    WholeStatus.model_validate_json(json.dumps(found), strict=True)
    assert (await asked("top")) == (200, found)
    printed = await asyncio.to_thread(CliRunner().invoke, command, ["status", "--json"])
    said = json.loads(printed.output)
    assert [*said] == [*found] == ["verdict", *list(found)[1:]]
    assert said["dead_letters_last_hour"] == found["dead_letters_last_hour"] == 3
    assert said["verdict"]["state"] == found["verdict"]["state"] == printed.exit_code
    same = found.keys() - {"verdict"}
    assert {name: said[name] for name in same} == {name: found[name] for name in same}


async def test_a_tenant_reads_its_own_part(asked: Ask) -> None:
    status, found = await asked("acme")
    assert status == 200
    assert OwnStatus.model_validate(found).tenant == "acme"
    assert found["dead_letters_last_hour"] == found["dead_letters"] == {"invalid_field": 1}
    assert found["dead_letters_from"] is None
    assert [(one["model"], one["without_cost"]) for one in found["unpriced"]] == [("new", 1)]
    assert found["complete_through"]
    assert (await asked("top", "acme")) == (200, found)
    status, theirs = await asked("viewer")
    assert theirs["dead_letters_last_hour"] == theirs["dead_letters"] == {"invalid_field": 2}
    assert [one["model"] for one in theirs["unpriced"]] == ["secret"]
    for name, tenant in (("viewer", "acme"), ("monitor", "acme"), ("producer", "")):
        assert (await asked(name, tenant))[0] == 403


async def test_dead_letters_are_counted_as_their_topic_grows_and_shrinks(
    kafka: Server, topic: str
) -> None:
    name = f"{topic}.dead"
    await ensure_topics(kafka.address, events=topic, dead_letter=name, partitions=1)
    counts = LetterCounts(kafka.address, name, searched_max=3)

    def letter(offset: int, tenant: str) -> DeadLetter:
        value = json.dumps({"tenant": tenant}).encode()
        return DeadLetter(f"{topic}:0:{offset}", 0, "too_old", "time", "too old", value, ())

    async def write(*letters: DeadLetter) -> None:
        async with open_producer(kafka.address) as producer:
            await producer.send_records(name, [dead_letter_record(one) for one in letters])

    async def counted(tenant: str, hour_from_ms: int = 0) -> TenantLetters:
        return (await counts.read(hour_from_ms)).of(tenant)

    assert await counted("acme") == ({}, {}, None)
    one = letter(0, "acme")
    mark = marked(one, ReplayState.SENT, EventIdentity("acme", "s", "i"), 5)
    await write(one, one, mark)  # written twice, then replayed: it is one dead letter
    assert await counted("acme") == ({"too_old": 1}, {"too_old": 1}, None)
    assert await counted("acme", 2**62) == ({}, {"too_old": 1}, None)
    assert await counted("beta") == ({}, {}, None)
    await write(letter(1, "beta"), letter(2, "acme"))  # of 5 records, the first 3 are known
    assert (await counted("acme")).held == {"too_old": 2}
    await cut(kafka.address, name, {0: 4})
    assert await counted("acme") == ({"too_old": 1}, {"too_old": 1}, None)
    await write(*(letter(n, "acme") for n in range(3, 8)))  # more than are read at once
    found = await counted("acme")
    assert found.held == {"too_old": 3}
    assert found.last_hour is None
    assert found.from_ms
    assert (await counted("acme", found.from_ms + 1)).last_hour is not None


async def test_one_read_is_for_all_who_ask_meanwhile() -> None:
    count = 0

    async def read() -> int:
        nonlocal count
        count += 1
        return count

    shared = SharedRead(read, 60)
    assert await asyncio.gather(*[shared() for _ in range(5)]) == [1] * 5
