"""Sends long answers in pieces, and bounds the bytes of answers that clients have not read yet.

An answer is in memory until its client has read it, and a client may read slowly. So all answers from
COUNTED_FROM_BYTES count until they are read. A tenant may have as many unread bytes as the process has
left: one tenant gets half of them, two a third each, and the next tenant finds as much. An answer that
does not fit is not sent: the client gets a 429 or 503 in the words of its dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import LargeAnswersBusy, TooManyUnreadAnswers
from api.http.caller import CALLER
from api.http.tenant_shares import TenantShares
from schemas.errors import OdometerError

UNREAD_BYTES_MAX: Final = 256 * 1024 * 1024
"""The largest answers have 10 to 30 MB, those of dashboards 0.1 to 1 MB."""
COUNTED_FROM_BYTES: Final = 16 * 1024
"""A shorter answer counts as its connection, which may have so many bytes in its buffer (`api.app.server`).
4,096 connections have 128 MB at most."""
PIECE_BYTES: Final = 128 * 1024
"""Compressed in a thread, and written when the client has read the piece before."""
RETRY_AFTER_S: Final = 5
EVENTS: Final = b"text/event-stream; charset=utf-8"
"""The media type of streams, whose answers have many bodies."""

ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


class Unread:
    """The bytes of answers that are being sent, by tenant; by key if that is of several tenants."""

    def __init__(self, bytes_max: int = UNREAD_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._shares = TenantShares()

    @property
    def total(self) -> int:
        return self._shares.total

    def add(self, owner: str, size: int) -> None:
        """Raises TooManyUnreadAnswers, or LargeAnswersBusy if the unread answers are those of others.
        A single answer is always sent."""
        if not self._shares.has_room(owner, self._bytes_max, size):
            if own := self._shares.of(owner):
                raise TooManyUnreadAnswers(own, RETRY_AFTER_S)
            raise LargeAnswersBusy("too many bytes of other answers are not read by their clients")
        self._shares.add(owner, size)

    def remove(self, owner: str, size: int) -> None:
        self._shares.add(owner, -size)


class Sending:
    """An application whose long answers are counted. `error_response` answers what does not fit."""

    def __init__(self, app: ASGIApp, unread: Unread, error_response: ErrorHandler) -> None:
        self._app = app
        self._unread = unread
        self._error_response = error_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(self._unread, send)
        try:
            await self._app(scope, receive, answer.send)
        except _NotSent as refused:
            why = refused.why.with_traceback(None)
        else:
            return
        finally:
            answer.release()
        # The answer is gone now.
        if answer.is_started:  # a stream whose next event did not fit: the client connects again
            await send({"type": "http.response.body", "body": b""})
        else:
            response = await self._error_response(Request(scope, receive), why)
            await response(scope, receive, send)


class _Answer:
    """One answer. Its status goes with the first body, whose length says whether it is sent."""

    __slots__ = ("_is_stream", "_owner", "_send", "_size", "_start", "_unread", "is_started")

    def __init__(self, unread: Unread, send: Send) -> None:
        self._unread = unread
        self._send = send
        self._start: Message | None = None
        self._is_stream = False
        self._owner = ""
        self._size = 0
        self.is_started = False

    async def send(self, message: Message) -> None:
        if self._start is None:
            self._start = message
            self._is_stream = (b"content-type", EVENTS) in message["headers"]
            return
        if not self.is_started or self._is_stream:
            self._count(len(message.get("body", b"")))
        if not self.is_started:
            self.is_started = True
            await self._send(self._start)
        if not self._size:
            await self._send(message)
            return
        await _send_pieces(message, self._send)
        if self._is_stream:
            self.release()  # the client has read this event

    def release(self) -> None:
        if self._size:
            self._unread.remove(self._owner, self._size)
            self._size = 0

    def _count(self, size: int) -> None:
        if size < COUNTED_FROM_BYTES:
            return
        owner = _owner()
        try:
            self._unread.add(owner, size)
        except OdometerError as error:
            raise _NotSent(error) from error
        self._owner, self._size = owner, size


class _NotSent(BaseException):
    """An answer did not fit. No exception handler between its application and `Sending` takes this."""

    def __init__(self, why: OdometerError) -> None:
        super().__init__(str(why))
        self.why = why


def _owner() -> str:
    caller = CALLER.get()
    return "" if caller is None else caller.tenant or caller.key_id


async def _send_pieces(message: Message, send: Send) -> None:
    """The server takes a piece when the client has read the one before. So after the empty one at the
    end, hardly anything is unread."""
    body: bytes = message.get("body", b"")
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({**message, "body": b""})
