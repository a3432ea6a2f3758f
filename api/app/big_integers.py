"""`integers=text` in a query: integers that a double cannot hold exactly are sent as texts.

JavaScript and many other readers of JSON have doubles only. A sum of nano-USD passes 2^53 at 9.0 million
USD, and such a reader would change its last digits without a word. The parameter works for every path and
dialect: it is taken out of the query here, and the body is changed where the dialect has made it.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXACT_MAX: Final = 2**53 - 1
"""The largest integer up to which every integer is exact as a double (9,007,199,254,740,991)."""
ASKED: Final = b"integers=text"
PARAMETER: Final[dict[str, Any]] = {
    "name": "integers",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["text"]},
    "description": "`text`: integers beyond 2^53 - 1 (9007199254740991, the largest that JavaScript reads"
    " exactly) are sent as texts. Default: as numbers of any size.",
}
AT_ONCE_BYTES: Final = 64 * 1024
"""A larger body is changed in a thread: 1 MB takes some 20 ms."""

EVENTS: Final = "text/event-stream"
"""A stream, each piece of which has whole events."""

_PARAMETER: Final = re.compile(rb"(^|&)integers=text(?=&|$)")
_JSON: Final = re.compile(r"application/(?:[a-z.+-]*\+)?(?:json|x-ndjson)\b", re.ASCII)
_LONG: Final = re.compile(rb"[:\[,]-?\d{16}")
"""What a body has if it has a large integer: otherwise it is sent as it is."""
_TOKEN: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|(?<=[:\[,])(-?\d{16,})(?=[,}\]\s]|$)')
"""A text, which is skipped whole, or an integer of 16 digits or more. JSON is sent without spaces."""


class TextIntegers:
    """Changes the answers of an application where the request asks for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or ASKED not in scope["query_string"]:
            await self._app(scope, receive, send)
            return
        query, count = _PARAMETER.subn(b"", scope["query_string"])
        if count:
            scope = {**scope, "query_string": query.removeprefix(b"&")}
            send = _changing(send)
        await self._app(scope, receive, send)


def as_texts(body: bytes) -> bytes:
    """Compact JSON, or lines of it, with its large integers as texts."""
    return _TOKEN.sub(_token, body) if _LONG.search(body) else body


def _token(found: re.Match[bytes]) -> bytes:
    integer = found[2]
    if integer is None or abs(int(integer)) <= EXACT_MAX:
        return found[0]
    return b'"' + integer + b'"'


def _changing(send: Send) -> Send:
    """`send`, with bodies changed: JSON as a whole, so its start waits for it; each piece of a stream."""
    start: Message = {}
    kind = ""
    parts: list[bytes] = []

    async def send_changed(message: Message) -> None:
        nonlocal start, kind
        if message["type"] == "http.response.start":
            start, kind = message, _kind_of(message)
        if not _JSON.match(kind):
            if kind.startswith(EVENTS) and message.get("body"):
                message = {**message, "body": as_texts(message["body"])}
            await send(message)
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                await _send_whole(send, start, message, b"".join(parts))

    return send_changed


async def _send_whole(send: Send, start: Message, end: Message, body: bytes) -> None:
    is_large = len(body) > AT_ONCE_BYTES
    body = await asyncio.to_thread(as_texts, body) if is_large else as_texts(body)
    headers = [
        (name, str(len(body)).encode() if name == b"content-length" else value)
        for name, value in start["headers"]
    ]
    await send({**start, "headers": headers})
    await send({**end, "body": body})


def _kind_of(start: Message) -> str:
    kind: bytes = next((value for name, value in start["headers"] if name == b"content-type"), b"")
    return kind.decode("latin-1")
