"""A client of streams inside the test's process: it reads events, or stops reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.types import Message

from api.app.dispatch import Application

WAIT_S = 20.0


@dataclass
class Event:
    name: str
    data: dict[str, Any]
    id: str = ""


@dataclass
class Stream:
    """One open stream. `reads`: cleared, the client takes nothing more."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    received: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    text: str = ""

    async def next(self) -> Event | None:
        """The next event; None: the stream has ended."""
        while "\n\n" not in self.text:
            part = await asyncio.wait_for(self.received.get(), WAIT_S)
            if part is None:
                return None
            self.text += part.decode()
        block, _, self.text = self.text.partition("\n\n")
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        return Event(lines["event"], json.loads(lines["data"]), lines.get("id", ""))

    async def of(self, name: str) -> Event:
        """The next event of this name."""
        while True:
            found = await self.next()
            assert found is not None, f"ended before {name}"
            if found.name == name:
                return found

    async def body(self) -> Any:
        """The whole of an answer that is no stream."""
        parts = []
        while (part := await asyncio.wait_for(self.received.get(), WAIT_S)) is not None:
            parts.append(part)
        return json.loads(b"".join(parts))


@asynccontextmanager
async def streaming(
    app: Application,
    params: Mapping[str, Any] | str,
    headers: Mapping[str, str | bytes],
    method: str = "GET",
) -> AsyncIterator[Stream]:
    """A stream that is open; it is closed by the client at the end. `params`: a text is sent as it is."""
    query = params if isinstance(params, str) else urlencode(params, doseq=True)
    stream = Stream()
    stream.reads.set()
    started, closed = asyncio.Event(), asyncio.Event()
    sent = [("http.request", b"")]

    async def receive() -> Message:
        if sent:
            kind, body = sent.pop()
            return {"type": kind, "body": body, "more_body": False}
        await closed.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            stream.status = message["status"]
            stream.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            started.set()
            return
        await stream.reads.wait()
        if body := message.get("body", b""):
            stream.received.put_nowait(bytes(body))
        if not message.get("more_body", False):
            stream.received.put_nowait(None)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/v1/stream",
        "raw_path": b"/v1/stream",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), encoded(v)) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("odometer.test", 80),
    }
    task = asyncio.create_task(app(scope, receive, send))
    try:
        await asyncio.wait_for(started.wait(), WAIT_S)
        yield stream
    finally:
        closed.set()
        stream.reads.set()
        await asyncio.wait_for(task, WAIT_S)


@dataclass
class Shown:
    """What a client shows: it applies events as the README says."""

    answers: dict[int, dict[str, Any]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        for part in event.data.get("answers", ()):
            number = part["question"]
            if event.name == "snapshot":
                self.answers[number] = dict(part)
                continue
            answer = self.answers[number]
            rows = {label(answer, row): row for row in answer["rows"]}
            for row in part["removed"]:
                rows.pop(label(answer, row), None)
            rows |= {label(answer, row): row for row in part["rows"]}
            answer |= {k: v for k, v in part.items() if k not in {"rows", "removed"}}
            answer["rows"] = list(rows.values())

    def rows(self, number: int = 0) -> list[dict[str, Any]]:
        return sorted(self.answers[number]["rows"], key=str)


def label(answer: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Any, ...]:
    measured = {*answer["measures"], "partial"}
    return tuple(value for name, value in row.items() if name not in measured)


def encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
