"""`integers=text`: what a reader of doubles would change is sent as a text, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from api.app.big_integers import EXACT_MAX, PARAMETER, TextIntegers, as_texts
from api.app.openapi import document
from api.http.json_encoding import to_json

INTEGERS = st.integers(-(2**70), 2**70) | st.sampled_from([EXACT_MAX, EXACT_MAX + 1, -EXACT_MAX])
TEXTS = st.text() | st.sampled_from(['"', "\\", ':1234567890123456789,"', "[1234567890123456789]"])
VALUES = st.recursive(
    INTEGERS | TEXTS | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def expected(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: expected(one) for name, one in value.items()}
    if isinstance(value, list):
        return [expected(one) for one in value]
    is_large = isinstance(value, int) and abs(value) > EXACT_MAX
    return str(value) if is_large else value


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_large_integers_are_texts_and_all_else_is_as_it_was(body: dict[str, Any]) -> None:
    encoded = to_json(body)
    assert json.loads(as_texts(encoded)) == expected(json.loads(encoded))
    lines = encoded + b"\n" + encoded + b"\n"
    assert as_texts(lines) == (as_texts(encoded) + b"\n") * 2


async def events(_request: Request) -> Response:
    """A stream, whose second event comes after the first was read."""
    is_read.clear()

    async def pieces() -> AsyncIterator[str]:
        yield f'data: {{"sum":{2**60}}}\n\n'
        await is_read.wait()
        yield f'data: {{"few":[1,{2**60}]}}\n\n'

    return StreamingResponse(pieces(), media_type="text/event-stream")


is_read = asyncio.Event()


async def test_each_piece_of_a_stream_is_changed_and_sent_at_once() -> None:
    app = TextIntegers(Starlette(routes=[Route("/", events)]))
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        if body := message.get("body"):
            sent.append(body)
            is_read.set()

    async def receive() -> Message:
        return await asyncio.Future[Message]()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "query_string": b"integers=text",
    }
    await app(scope, receive, send)
    assert sent == [
        f'data: {{"sum":"{2**60}"}}\n\n'.encode(),
        f'data: {{"few":[1,"{2**60}"]}}\n\n'.encode(),
    ]


async def answer(request: Request) -> Response:
    """What was asked, and a sum, in this content type."""
    content = {"query": str(request.query_params), "sum": 2**60, "few": [1] * 20_000}
    return Response(msgspec.json.encode(content), media_type=request.headers["accept"])


@pytest.mark.parametrize(
    ("query", "kind", "rest", "is_text"),
    [
        ("integers=text", "application/json", "", True),
        ("a=1&integers=text&b=2", "application/problem+json", "a=1&b=2", True),
        ("integers=text&a=1", "application/x-ndjson", "a=1", True),
        ("integers=text", "text/csv", "", False),
        ("integers=texts", "application/json", "integers=texts", False),
        ("xintegers=text", "application/json", "xintegers=text", False),
        ("a=1", "application/json", "a=1", False),
    ],
)
async def test_a_request_asks_for_it_in_its_query(
    query: str, kind: str, rest: str, *, is_text: bool
) -> None:
    app = TextIntegers(Starlette(routes=[Route("/", answer)]))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api.test", headers={"accept": kind}
    ) as client:
        found = await client.get(f"/?{query}")
    body = found.json()
    assert (body["query"], body["sum"]) == (rest, str(2**60) if is_text else 2**60)
    assert int(found.headers["content-length"]) == len(found.content)


def test_each_path_that_reads_counters_has_the_parameter() -> None:
    found = document()
    for path in (
        "/v1/usage",
        "/api/analytics/llm",
        "/api/v1/analytics/daily",
        "/admin/analytics/dashboard",
    ):
        assert PARAMETER in found["paths"][path]["get"]["parameters"]
    assert "parameters" not in found["paths"]["/healthz"]["get"]
