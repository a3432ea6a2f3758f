"""The HTTP/1.1 server: uvicorn's protocol with limits for what a client sends before it has a key.

Uvicorn limits neither the bytes nor the number of headers, nor the URL, and it has no timeout but the
one between two requests. Here every byte is counted before the parser gets it, and every state of a
connection has a deadline:

    waiting for a request   `idle_s`; for the first one of a connection `head_s`
    reading its headers     `head_s` in all
    reading its body        `body_idle_s` without a byte, `body_s` in all; the time does not count while
                            the application does not read
    answering               none: a stream that sends heartbeats stays open. But a client that does not
                            read what was sent is disconnected after `write_s`
    refused                 what still arrives is discarded for `linger_s`, so that the client can read
                            the answer; then the connection is reset

Trailers are discarded: merged into the headers, as uvicorn does, they could bring an `authorization`
that no proxy has seen. The time is that of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from math import inf
from typing import Any, Final, NoReturn, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from api.app.connections import Connections
from api.app.origins import refusal_headers
from api.app.server_limits import KIB, ServerLimits
from api.errors import TooManyConnections
from api.http.caller import BELONGS_TO

FEED_BYTES: Final = 64 * KIB
"""Given to the parser at once."""
CHUNK_FRAMING_BYTES: Final = 16
"""Of a chunk: the size in up to 12 digits, and two line ends. More is an extension."""
RATE_BYTES_PER_S: Final = 1024
"""A client that takes its answer more slowly does not read it."""
WRITE_BUFFER_BYTES: Final = 16 * KIB
"""Of a connection. The next answer, or the next piece of one, is written when so few are unread."""
CLOCK_S: Final = 0.001
"""Resolution of the event loop's timers."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `connections` counts those of the process."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
        limits: ServerLimits,
        origins: Collection[str] = (),
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._book = connections
        self._limits = limits
        self._origins = origins
        self._is_in_body = False
        self._is_stopped = False  # nothing more is parsed
        self._head_bytes = 0
        self._head_began: float | None = None
        self._framing_bytes = 0
        self._chunks = 0
        self._discarded_bytes = 0
        self._body_began = 0.0
        self._refusal = HTTPStatus.BAD_REQUEST
        self._answering: RequestResponseCycle | None = None
        self._deadline = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._write_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    # -- the connection ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        if self._book.admit(self):
            self._head_began = self.loop.time()
            self._set_deadline(self._head_began + self._limits.head_s)
        else:
            self._is_stopped = True
            self._book.refused[HTTPStatus.SERVICE_UNAVAILABLE] += 1
            self._write_refusal(HTTPStatus.SERVICE_UNAVAILABLE)
            transport.close()
            self._watch_writes()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._write_timer = None
        self._deadline = inf
        for cycle in (self._answering, *(waiting for waiting, _app in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        self._book.remove(self)
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close the connection for a new one."""
        self._is_stopped = True
        if self._answering is None and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.transport.abort()

    def belongs_to(self, tenants: tuple[str, ...]) -> None:
        """The key of the request that is being answered is of `tenants`. Raises TooManyConnections."""
        try:
            self._book.belongs_to(self, tenants)
        except TooManyConnections:
            if self._answering is not None:
                self._answering.keep_alive = False
            raise

    # -- what arrives ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._book.received_bytes += len(data)
        if self._is_stopped:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self._limits.linger_bytes_max:
                self.transport.abort()
            return
        start = 0
        while start < len(data) and not self._is_stopped:
            end = start + FEED_BYTES
            if not self._is_in_body:
                end = min(end, start + self._limits.head_bytes_max - self._head_bytes)
            self._feed(data[start:end])
            start = end
        if not self._is_stopped:
            self._set_state_deadline()

    def _feed(self, data: bytes) -> None:
        """Give `data` to the parser. The bytes of a message that begins inside `data` count from the
        next call on: at most FEED_BYTES are missing."""
        if self._is_in_body:
            self._framing_bytes += len(data)
        else:
            self._head_bytes += len(data)
        self._book.parsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stop_after_answers()  # the parser has skipped what came after the request
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        else:
            too_long = (
                self._framing_bytes > self._limits.framing_bytes_max
                if self._is_in_body
                else self._head_bytes >= self._limits.head_bytes_max
            )
            if too_long:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {BELONGS_TO: cast("dict[object, object]", self.belongs_to)}

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self._limits.url_bytes_max:
            self._fail(HTTPStatus.REQUEST_URI_TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_body:
            return  # a trailer
        if len(self.headers) >= self._limits.headers_max:
            self._fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined_max:
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE)
        super().on_headers_complete()
        self._book.busy(self)
        self._is_in_body = True
        self._head_bytes = self._framing_bytes = self._chunks = self._discarded_bytes = 0
        self._head_began = None
        self._body_began = 0.0

    def on_chunk_header(self) -> None:
        self._chunks += 1
        self._framing_bytes = max(0, self._framing_bytes - CHUNK_FRAMING_BYTES)
        if self._chunks > self._limits.chunks_max:
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = max(0, self._framing_bytes - len(body))
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > self._limits.discarded_bytes_max:
                self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_body = False
        self._head_bytes = 0

    def _fail(self, status: HTTPStatus) -> NoReturn:
        """Stop the parser; the connection is refused with `status`."""
        self._refusal = status
        raise httptools.HttpParserError(status.phrase)

    # -- what is answered --------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._answering = None
        if self.transport.is_closing():
            self._watch_writes()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._book.idle(self)
            self._set_state_deadline()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer `status` and close; answers to requests before this one go first."""
        read = self.cycle if self._is_in_body else None
        self._is_stopped = True
        self._book.refused[status] += 1
        if self.pipeline and self.pipeline[0][0] is read:
            self.pipeline.popleft()
        if self._answering is not None and self._answering is not read:
            self._stop_after_answers()
            return
        has_begun = read is not None and read.response_started
        if self._answering is not None:
            self._answering.disconnected = True  # its answer goes nowhere
            self._answering.message_event.set()
            self._answering = None
            if has_begun:
                self.transport.abort()
                return
        if not has_begun:
            self._write_refusal(status)
        self._set_deadline(self.loop.time() + self._limits.linger_s)

    def _stop_after_answers(self) -> None:
        """Parse nothing more; close after the last answer."""
        self._is_stopped = True
        last = self.pipeline[0][0] if self.pipeline else self._answering
        if last is None:
            self._set_deadline(self.loop.time() + self._limits.linger_s)
        else:
            last.keep_alive = False
            self._set_deadline(inf)

    def _write_refusal(self, status: HTTPStatus) -> None:
        body = f"{status.phrase}.\n".encode()
        retry = b"retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b""
        self.transport.write(
            STATUS_LINE[status]
            + b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
            + b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body)
            + retry
            + refusal_headers(self._origins, dict(self.headers or ()).get(b"origin"))
            + b"connection: close\r\n\r\n"
            + body
        )

    # -- deadlines ---------------------------------------------------------------------------------

    def _set_state_deadline(self) -> None:
        limits = self._limits
        if self._is_in_body:
            now = self.loop.time()
            self._body_began = self._body_began or now
            self._set_deadline(min(now + limits.body_idle_s, self._body_began + limits.body_s))
        elif self._head_bytes or self._head_began is not None:
            if self._head_began is None:
                self._head_began = self.loop.time()
            self._set_deadline(self._head_began + limits.head_s)
        elif self._answering is not None:
            self._deadline = inf
        else:
            self._set_deadline(self.loop.time() + limits.idle_s)

    def _set_deadline(self, at: float) -> None:
        """One timer for all deadlines: it is made again only for an earlier one."""
        self._deadline = at
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, inf
        if self.loop.time() + CLOCK_S < self._deadline:
            if self._deadline < inf:
                self._set_deadline(self._deadline)
        elif self._is_stopped:
            self.transport.abort()
        elif self.flow.read_paused:  # we did not read: the client is not late
            self._body_began = 0.0
            self._head_began = None
            self._set_state_deadline()
        elif self._is_in_body or self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()
            self._watch_writes()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def _watch_writes(self) -> None:
        """Disconnect a client that does not read what was written."""
        self._unsent_bytes = self.transport.get_write_buffer_size()
        if self._write_timer is None and self._unsent_bytes:
            self._write_timer = self.loop.call_later(self._limits.write_s, self._check_writes)

    def _check_writes(self) -> None:
        self._write_timer = None
        taken_bytes = self._unsent_bytes - self.transport.get_write_buffer_size()
        if taken_bytes < self._limits.write_s * RATE_BYTES_PER_S:
            self.transport.abort()
        else:
            self._watch_writes()


def protocol_of(
    connections: Connections,
    limits: ServerLimits | None = None,
    origins: Collection[str] = (),
) -> type[asyncio.Protocol]:
    """What uvicorn's Config takes as `http`."""
    made: Callable[..., asyncio.Protocol] = partial(
        LimitedProtocol,
        connections=connections,
        limits=limits or ServerLimits(),
        origins=origins,
    )
    return cast("type[asyncio.Protocol]", made)
