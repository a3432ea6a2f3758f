"""The API's producer where Kafka is away, slow, or fails: bounded, in time, and back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import errors as kafka_errors

from api.ingest import producer as module
from api.ingest.producer import ACK_S, HELD_BYTES_MAX, IngestProducer
from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port
from schemas.errors import LogUnavailable
from streams.kafka.topics import ensure_topics
from tests.api.conftest import Clock
from tests.api.ingest.taking import client_of
from tests.api.ingest.test_endpoints import one
from tests.real.harness.topics import read_log

pytestmark = pytest.mark.servers

SLACK_S = 3.0
"""For a busy machine."""


@pytest.fixture
async def made(kafka: Server, topic: str) -> str:
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=3)
    return topic


def records(count: int, size_bytes: int = 100) -> list[tuple[bytes, bytes]]:
    return [(f"key-{n}".encode(), b"x" * size_bytes) for n in range(count)]


async def until_taken(producer: IngestProducer) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await producer.send(records(1), "acme")
            except LogUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def test_what_waits_flies_together_and_arrives_whole(kafka: Server, made: str) -> None:
    producer = IngestProducer(made)
    async with producer.connected(kafka.address):
        await asyncio.gather(*[producer.send(records(7), "acme") for _ in range(50)])
        await producer.send(records(3, size_bytes=60_000), "acme")
        await producer.send(
            records(40, size_bytes=60_000), "acme"
        )  # more than a batch each partition
        await producer.send([], "acme")
    assert len(await read_log(kafka.address, made)) == 50 * 7 + 43


async def test_without_a_broker_it_says_so_at_once_and_the_rest_answers(
    redis_url: str, clock: Clock
) -> None:
    key = await create_key(redis_url, name="a", tenant="acme", role="member")
    nowhere = f"127.0.0.1:{free_port()}"
    async with client_of(nowhere, redis_url, "events", clock, key) as client:
        for path, body in (
            ("/v1/events", one()),
            ("/v1/events", [one(id="b")]),
        ):
            started_s = time.monotonic()
            answer = await client.post(path, json=body)
            assert time.monotonic() - started_s < ACK_S + SLACK_S
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "same ids" in answer.json()["detail"]
            assert nowhere not in answer.text
        assert (await client.get("/v1/measures")).status_code == 200
        answer = await client.post("/v1/traces", json={"resourceSpans": []})
        assert answer.status_code == 200  # nothing had to be sent


async def test_a_frozen_broker_is_a_refusal_in_time_and_then_at_once(own_kafka: Server) -> None:
    await ensure_topics(own_kafka.address, events="e", dead_letter="d", partitions=2)
    producer = IngestProducer("e")
    async with producer.connected(own_kafka.address):
        await until_taken(producer)
        own_kafka.pause()
        started_s = time.monotonic()
        with pytest.raises(LogUnavailable, match=f"within {ACK_S:g} s"):
            await producer.send(records(2), "acme")
        assert ACK_S - 0.1 < time.monotonic() - started_s < ACK_S + SLACK_S
        with pytest.raises(LogUnavailable, match="acknowledged nothing"):  # said at once
            await producer.send(records(2), "acme")
        own_kafka.resume()
        await until_taken(producer)


async def test_it_closes_in_time_while_the_broker_is_frozen(own_kafka: Server) -> None:
    await ensure_topics(own_kafka.address, events="e", dead_letter="d", partitions=2)
    producer = IngestProducer("e")
    async with producer.connected(own_kafka.address):
        await until_taken(producer)
        own_kafka.pause()
        waiting = asyncio.ensure_future(producer.send(records(2), "acme"))
        await asyncio.sleep(0)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 2 * module.CLOSE_S + SLACK_S
    own_kafka.resume()
    with pytest.raises(LogUnavailable):
        await waiting


async def test_what_is_under_way_is_capped(own_kafka: Server) -> None:
    await ensure_topics(own_kafka.address, events="e", dead_letter="d", partitions=2)
    producer = IngestProducer("e")
    async with producer.connected(own_kafka.address):
        await until_taken(producer)
        own_kafka.pause()
        size_bytes = 60_000
        half = records(HELD_BYTES_MAX // size_bytes // 2 + 5, size_bytes)
        first = asyncio.ensure_future(producer.send(half, "acme"))
        await asyncio.sleep(0)
        with pytest.raises(LogUnavailable, match=f"the limit is {HELD_BYTES_MAX}"):
            await producer.send(half, "acme")
        own_kafka.resume()
        await asyncio.wait([first])
        await until_taken(producer)  # what landed is let go


class Failing:
    """Stands before a client: its next batch fails as told."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.failed = asyncio.Event()

    async def appended(self, *given: Any) -> Any:
        error, self.error = self.error, None
        if error is None:
            return await APPENDED(*given)
        self.failed.set()
        raise error


APPENDED = module._appended


@pytest.mark.parametrize(
    "error", [kafka_errors.OutOfOrderSequenceNumber(), ZeroDivisionError("of the client")]
)
async def test_a_client_that_fails_is_replaced(
    kafka: Server, made: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    producer = IngestProducer(made)
    async with producer.connected(kafka.address):
        await until_taken(producer)
        failing = Failing(error)
        monkeypatch.setattr(module, "_appended", failing.appended)
        with pytest.raises(LogUnavailable):
            await producer.send(records(1), "acme")
        assert failing.failed.is_set()
        await until_taken(producer)
    assert len(await read_log(kafka.address, made)) == 2


async def test_a_topic_that_is_missing_is_waited_for(kafka: Server, topic: str) -> None:
    producer = IngestProducer(topic)
    async with producer.connected(kafka.address):
        with pytest.raises(LogUnavailable):
            await producer.send(records(1), "acme")
        await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.d", partitions=1)
        await until_taken(producer)


@pytest.fixture(autouse=True)
async def settled() -> AsyncIterator[None]:
    """What a test leaves to the loop ends in it."""
    yield
    await asyncio.sleep(0)
