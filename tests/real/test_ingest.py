"""Events that the API answered with 202 count, to the last unit, whatever is killed afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.ingest.producer import ACK_S
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.catalog.measures import MEASURES
from tests.api.ingest.taking import client_of
from tests.oracles.fold_oracle import ANSWER_ID
from tests.real.harness.apis import Producers, api_of
from tests.real.harness.system import SMALL, System
from tests.real.harness.topics import read_log
from tests.schemas.formats.expected import EXPECTED
from tests.schemas.formats.fixtures import FOLDER, NAMES, RECEIVED_MS
from tests.schemas.formats.test_fixtures import REFUSED

pytestmark = pytest.mark.servers


def request_of(name: str) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers with which the library's body is sent, as it is."""
    body = json.loads((FOLDER / f"{name}.json").read_text())["body"]
    if name == "otel/protobuf":
        return "/v1/traces", base64.b64decode(body), {"content-type": "application/x-protobuf"}
    if name == "cloudevents/binary":
        return "/v1/events", body["data"].encode(), dict(body["headers"])
    library = name.partition("/")[0]
    path = {"otel": "/v1/traces", "agentlens": "/api/events"}.get(library, "/v1/events")
    kind = "application/json"
    if library == "cloudevents":
        kind = "application/cloudevents+json; charset=utf-8"
    if name == "cloudevents/batch":
        kind = "application/cloudevents-batch+json"
    return path, json.dumps(body).encode(), {"content-type": kind}


def seed_of(name: str) -> str:
    return name.replace("/", "-")


def expected_events() -> list[dict[str, Any]]:
    """All fixtures' events as they must stand on the topic, in the order they are sent."""
    events = []
    for name in NAMES:
        for fields in EXPECTED[name]:
            event_id = fields["id"]
            if event_id.startswith("seed-"):
                event_id = event_id.replace("seed", seed_of(name), 1)
            events.append({**fields, "id": event_id, "tenant": "acme"})
    return events


async def test_each_fixture_of_each_library_goes_through_http_into_the_counters(
    system: System,
) -> None:
    settings = system.settings
    key = await create_key(settings.redis, name="all", tenant="acme", role="write-only")
    async with client_of(
        settings.kafka, settings.redis, settings.topic, lambda: RECEIVED_MS, key
    ) as client:
        for name in NAMES:
            path, body, headers = request_of(name)
            sent = {**headers, "idempotency-key": seed_of(name)}
            answer = await client.post(path, content=body, headers=sent)
            if name in REFUSED:
                assert answer.status_code == 400, (name, answer.text)
                continue
            assert answer.status_code in {200, 201, 202}, (name, answer.text)
            if path == "/v1/events":
                assert answer.json()["accepted"] == len(EXPECTED[name]), (name, answer.text)
                assert answer.json()["refused"] == 0
    log = await read_log(settings.kafka, settings.topic)
    held = [json.loads(record.value or b"") for record in log]
    order = [json.dumps(one, sort_keys=True) for one in held]
    want = [json.dumps(one, sort_keys=True) for one in expected_events()]
    assert sorted(order) == sorted(want)
    system.worker()
    await system.caught_up()
    judged = await system.judge()
    # An answer that two libraries report under the provider's own id counts once. Some fixtures have the
    # id of the provider's documentation and numbers of their own: then either may be the first.
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in expected_events():
        is_answer = one["kind"] == "llm" and ANSWER_ID.fullmatch(one["id"])
        reports.setdefault(("" if is_answer else one["source"], one["id"]), []).append(one)
    assert judged.accepted == len(reports)
    for measure in MEASURES:
        if measure.name in {"input_tokens", "output_tokens", "tts_characters", "cache_read_tokens"}:
            held = [[one.get(measure.name) or 0 for one in found] for found in reports.values()]
            low, high = sum(map(min, held)), sum(map(max, held))
            assert 0 < low <= judged.total(measure.name) <= high, measure.name


async def test_kafka_paused_and_killed_under_load_loses_nothing_that_was_acknowledged(
    own_system: System, own_kafka: Server, tmp_path: Path
) -> None:
    system = own_system
    key = await create_key(system.settings.redis, name="load", tenant="acme", role="write-only")
    system.worker(policy=SMALL)
    with api_of(system.settings, tmp_path) as api:
        producers = Producers(api, key)
        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(producers.send(done))
            await producers.go_on(system)
            await system.counted(100)
            own_kafka.pause()
            await system.until("the API says so", lambda: 503 in producers.statuses)
            own_kafka.resume()
            await producers.go_on(system)
            own_kafka.kill()
            refused = producers.statuses.count(503)
            await system.until(
                "the API says so again", lambda: producers.statuses.count(503) > refused + 4
            )
            async with httpx.AsyncClient(base_url=f"http://{api.address}") as client:
                answer = await client.get("/readyz")  # what is counted is answered all the same
                assert answer.status_code == 200, answer.text
            await asyncio.to_thread(own_kafka.restart)
            await producers.go_on(system)
            done.set()
        await judge(system, producers)
    assert producers.slowest_s < ACK_S + 3
    assert 0 not in producers.statuses  # each request had an answer


async def test_an_api_killed_under_load_loses_nothing_that_was_acknowledged(
    system: System, tmp_path: Path
) -> None:
    key = await create_key(system.settings.redis, name="load", tenant="acme", role="write-only")
    system.worker(policy=SMALL)
    with api_of(system.settings, tmp_path) as api:
        producers = Producers(api, key)
        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(producers.send(done))
            for _kill in range(2):
                await producers.go_on(system)
                api.kill()
                await asyncio.to_thread(api.restart)
            await producers.go_on(system)
            done.set()
        await judge(system, producers)


async def judge(system: System, producers: Producers) -> None:
    """Acknowledged is counted, nothing is counted that was not sent; and sent again under the same
    ids, all that was sent is counted once."""
    await system.caught_up()
    held = await ids_of(system)
    assert producers.acknowledged.keys() <= held <= producers.sent
    assert (await system.judge()).accepted == len(held)
    assert producers.unanswered
    await producers.send_again()
    await system.caught_up()
    assert producers.acknowledged.keys() == producers.sent
    assert (await system.judge()).accepted == len(producers.sent)


async def ids_of(system: System) -> set[str]:
    log = await read_log(system.settings.kafka, system.topic)
    return {json.loads(record.value or b"")["id"] for record in log}
