"""A large body is parsed in its tenant's turn, for as long as its client waits."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from api.errors import InvalidBody
from api.ingest.body_reader import INLINE_BYTES_MAX, MEDIUM_BYTES_MAX, BodyReader
from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import load, load_lines
from schemas.formats.objects import parse_with
from schemas.formats.structure import Poll
from tests.api.ingest.taking import receiving
from tests.schemas.formats.fixtures import CONTEXT

MEDIUM = INLINE_BYTES_MAX + 1
LARGE = MEDIUM_BYTES_MAX + 1


class Client:
    """A client that waits for its answer until it leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}


class Endless:
    """Parses without end. It ends only by its poll."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = False

    def __call__(self, poll: Poll) -> None:
        self.started.set()
        try:
            while True:
                poll()
        finally:
            self.ended = True

    async def has_started(self) -> None:
        await asyncio.to_thread(self.started.wait, 30)


async def test_the_result_of_a_thread_and_its_error_come_back() -> None:
    client = Client()
    read = BodyReader().read
    here = threading.get_ident()
    assert (
        await read(INLINE_BYTES_MAX, "acme", client.receive, lambda _: threading.get_ident())
        == here
    )
    assert await read(LARGE, "acme", client.receive, lambda _: threading.get_ident()) != here
    with pytest.raises(ZeroDivisionError):
        await read(LARGE, "acme", client.receive, lambda _: 1 // 0)
    assert await read(LARGE, "acme", receiving(b""), lambda _: 5) == 5


async def test_work_stops_when_the_client_disconnects() -> None:
    client, endless = Client(), Endless()
    reading = asyncio.ensure_future(BodyReader().read(LARGE, "acme", client.receive, endless))
    await endless.has_started()
    client.left.set()
    with pytest.raises(InvalidBody, match="disconnected"):
        await reading
    assert endless.ended


async def test_a_client_that_leaves_the_queue_is_never_parsed() -> None:
    reader, client, endless = BodyReader(), Client(), Endless()
    reading = asyncio.ensure_future(reader.read(LARGE, "acme", client.receive, endless))
    await endless.has_started()
    waiting, late = Client(), Endless()
    waiting.left.set()
    with pytest.raises(InvalidBody, match="disconnected"):
        await reader.read(LARGE, "acme", waiting.receive, late)
    assert not late.started.is_set()
    client.left.set()
    with pytest.raises(InvalidBody):
        await reading
    assert await reader.read(LARGE, "acme", Client().receive, lambda _: 7) == 7


async def test_bodies_do_not_wait_for_much_larger_ones() -> None:
    reader, client, endless = BodyReader(), Client(), Endless()
    reading = asyncio.ensure_future(reader.read(LARGE, "acme", client.receive, endless))
    await endless.has_started()
    for tenant in ("acme", "beta"):
        for size_bytes in (INLINE_BYTES_MAX, MEDIUM, MEDIUM_BYTES_MAX):
            assert await reader.read(size_bytes, tenant, Client().receive, lambda _: 7) == 7
    assert not reading.done()
    client.left.set()
    with pytest.raises(InvalidBody):
        await reading


@pytest.mark.parametrize("size_bytes", [MEDIUM, LARGE])
async def test_each_tenant_gets_its_turn(size_bytes: int) -> None:
    reader = BodyReader()
    order: list[str] = []

    async def send(tenant: str) -> None:
        await reader.read(size_bytes, tenant, Client().receive, lambda _: order.append(tenant))

    await asyncio.gather(*(send(tenant) for tenant in ["acme"] * 20 + ["other"] * 20 + ["beta"]))
    assert len(order) == 41
    assert order.index("beta") <= 3


async def test_a_request_that_is_cancelled_stops_its_thread() -> None:
    reader, endless = BodyReader(), Endless()
    reading = asyncio.ensure_future(reader.read(LARGE, "acme", Client().receive, endless))
    await endless.has_started()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await reader.read(LARGE, "acme", Client().receive, lambda _: 7) == 7


async def test_nothing_of_a_refused_body_stays_until_a_collection() -> None:
    class Body:
        pass

    def reading(body: Body, _poll: Poll) -> None:
        raise InvalidEvent(Reason.NOT_JSON, f"{body} is no JSON")

    gc.collect()
    gc.disable()
    try:
        body = Body()
        kept = weakref.ref(body)
        with pytest.raises(InvalidEvent):
            await BodyReader().read(LARGE, "acme", Client().receive, partial(reading, body))
        del body
        await asyncio.sleep(0)
        assert kept() is None
    finally:
        gc.enable()


def test_objects_are_parsed_only_until_the_poll_ends_the_work() -> None:
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        if polls == 5:
            raise ConnectionError

    def validate(_fields: dict[str, Any]) -> None:
        raise AssertionError

    spans: dict[str, Any] = {"resourceSpans": [{"scopeSpans": [{"spans": [{}] * 100}]}]}
    bodies: list[Any] = [[{}] * 100, {"events": [{"eventType": "x"}] * 100}, spans]
    for body in bodies:
        polls = 0
        with pytest.raises(ConnectionError):
            parse_with(validate, body, None, CONTEXT, poll)
        assert polls == 5
    with pytest.raises(InvalidEvent):
        parse_with(validate, {"events": [0] * 10_001}, None, CONTEXT)


@pytest.mark.parametrize("reading", [load, load_lines])
def test_json_is_decoded_only_until_the_poll_ends_the_work(
    reading: Callable[[bytes, Poll], object],
) -> None:
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        if polls == 500:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        reading(b"[" + b"{}," * 5000 + b"{}]", poll)
    assert polls == 500
