"""An API that takes events, over a topic of its own on the session's Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from starlette.types import Receive

from api.app.main import build
from streams.kafka.topics import ensure_topics
from tests.oracles.event_logs import Record
from tests.real.harness.topics import read_log

PARTITIONS = 3


@dataclass
class Taking:
    """`client` sends with a key of the tenant acme that may write."""

    kafka: str
    topic: str
    client: httpx.AsyncClient

    async def post(self, content: Any, path: str = "/v1/events", **options: Any) -> httpx.Response:
        """Bytes as they are, anything else as JSON."""
        if not isinstance(content, bytes):
            content = msgspec.json.encode(content)
            options["headers"] = {
                "content-type": "application/json",
                **options.get("headers", {}),
            }
        return await self.client.post(path, content=content, **options)

    async def log(self) -> list[Record]:
        """What Kafka holds, by partition and offset."""
        return await read_log(self.kafka, self.topic)

    async def held(self) -> list[dict[str, Any]]:
        """The events on the topic, by id."""
        events = [msgspec.json.decode(record.value or b"") for record in await self.log()]
        return sorted(events, key=lambda one: str(one["id"]))


@asynccontextmanager
async def taking(
    kafka: str,
    redis_url: str,
    topic: str,
    clock: Callable[[], int],
    key: str,
    **options: Any,
) -> AsyncIterator[Taking]:
    """`options`: of `build`."""
    await ensure_topics(kafka, events=topic, dead_letter=f"{topic}.dead", partitions=PARTITIONS)
    async with client_of(kafka, redis_url, topic, clock, key, **options) as client:
        yield Taking(kafka, topic, client)


@asynccontextmanager
async def client_of(
    kafka: str,
    redis_url: str,
    topic: str,
    clock: Callable[[], int],
    key: str,
    **options: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    app = build(redis_url, topic, clock, kafka=kafka, **options)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport,
            base_url="http://odometer.test",
            headers={"authorization": f"Bearer {key}"} if key else {},
        ) as client,
    ):
        yield client


def receiving(body: bytes) -> Receive:
    """A request's body as the server hands it over."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def stalling(body: bytes) -> Receive:
    """A client that sends this and then nothing."""
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": True}

    return receive
