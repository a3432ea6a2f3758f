"""Reads the bytes of a response as the app reads them: the same for parsed, raw and streamed responses.

A tap sits on `iter_bytes` and `aiter_bytes` of one response of httpx, through which all of its readers
go. It changes nothing, but for the extra chunk with the usage, which the app did not ask for.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from functools import lru_cache
from typing import Any, Final

from streams.meter.clients.client_call import ClientCall
from streams.meter.clients.stream_notes import StreamNotes, is_telling
from streams.meter.queued import WireBody

HELD_BYTES_MAX: Final = 32 << 20
"""Of a body, or of one event: the last one of a response has all of its texts and images."""
RECENT_BYTES_MAX: Final = 64 << 10
"""Of events that are kept until the stream ends. The last of them have the usage and the reason."""
LAST_EVENTS: Final = 16
"""Of what was kept, these are decoded. Four of them tell: each choice's reason, the usage, the end."""
RECENT_READS_MIN: Final = 4
"""Reads that are kept however large they are: the event with the usage, and what comes after it."""
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_STREAM: Final = "text/event-stream"
_JSON: Final = "json"
_DONE: Final = b"[DONE]"
_TAP: Final = "_odometer_tap"
"""The attribute of a response that has its tap."""


class Tap:
    """What is read of one response. `hides`: the extra chunk with the usage is left out.

    Until the first output each event is decoded. Then a read costs a few us: its events are kept, and
    the last of them are decoded when the stream ends.
    """

    def __init__(self, call: ClientCall, content_type: str, *, hides: bool) -> None:
        self._call = call
        self._notes = StreamNotes()
        self._is_stream = _STREAM in content_type
        self._is_json = not self._is_stream and _JSON in content_type
        self._hides = hides and self._is_stream
        self._parts: list[bytes] = []  # of an event whose end has not come
        self._parts_bytes = 0
        self._recent: deque[bytes] = deque()  # whole events that are not decoded
        self._recent_bytes = 0
        self._is_on = True
        self.is_reading = False

    def take(self, data: bytes | None) -> bytes:
        """The bytes for the app after one read. None: there is no more."""
        passed = self.end() if data is None else self.feed(data)
        self.is_reading = False
        return passed

    def feed(self, data: bytes) -> bytes:
        """The bytes for the app."""
        if not self._is_on:
            return data
        if not self._is_stream:
            if self._is_json:
                self._hold(data)
            return data
        events = self._whole_events(data)
        if events:
            if not self._notes.has_output or (self._hides and _has_extra(events)):
                self._settle()
                events = self._decode(events)
            else:
                self._keep(events)
        self._call.read(self._notes)
        return events if self._hides else data

    def end(self, error: BaseException | None = None) -> bytes:
        """All was read, or reading failed; the bytes that were held back."""
        rest = self._take_parts()
        if self._is_stream:
            self._settle()
            self._decode(rest)
            self._notes.is_complete |= error is None
        if error is not None or self._is_stream:
            self._call.guarded(self._call.ended, self._notes, error)
        else:
            body = WireBody(rest) if self._is_json and self._is_on else None
            self._call.guarded(self._call.answered, body)
        return rest if self._hides else b""

    def close(self) -> None:
        """The app reads no further. While it reads, the reader tells how it ended."""
        if not self.is_reading:
            self.abandon()

    def abandon(self) -> None:
        """Ends the call, if it has not ended."""
        if not self._call.has_ended:
            self._settle()
            self._call.guarded(self._call.ended, self._notes)

    def _whole_events(self, data: bytes) -> bytes:
        """The events that have ended with these bytes. The rest is held."""
        end = data.rfind(b"\n\n") + 2
        if end == 1:  # it may be split, or have the other line ends
            ends = list(_EVENT_END.finditer(b"".join((*self._parts[-1:], data))))
            before = len(self._parts[-1]) if self._parts else 0
            end = ends[-1].end() - before if ends else 0
        if end <= 0:
            self._hold(data)
            return b""
        events = self._take_parts() + data[:end]
        if end < len(data):
            self._hold(data[end:])
        return events

    def _hold(self, data: bytes) -> None:
        self._parts.append(data)
        self._parts_bytes += len(data)
        if self._parts_bytes > HELD_BYTES_MAX and not self._hides:
            self._is_on = False
            self._take_parts()

    def _take_parts(self) -> bytes:
        parts, self._parts, self._parts_bytes = self._parts, [], 0
        return b"".join(parts)

    def _keep(self, events: bytes) -> None:
        self._recent.append(events)
        self._recent_bytes += len(events)
        while self._recent_bytes > RECENT_BYTES_MAX and len(self._recent) > RECENT_READS_MIN:
            self._recent_bytes -= len(self._recent.popleft())

    def _settle(self) -> None:
        """Decodes the last of what was kept."""
        if self._recent:
            for event in events_of(b"".join(self._recent))[-LAST_EVENTS:]:
                self._decode(event)
            self._recent.clear()
            self._recent_bytes = 0

    def _decode(self, events: bytes) -> bytes:
        """Notes the events, after the first output only the telling ones; returns them without the hidden
        one."""
        passed: list[bytes] = []
        for event in events_of(events):
            is_read = not self._notes.has_output or is_telling(event)
            data = data_of(event) if is_read else b""
            if data == _DONE:
                self._notes.is_complete = True
            if not self._see(data):
                passed.append(event)
        return b"".join(passed)

    def _see(self, data: bytes) -> bool:
        """True for the event that is to be hidden."""
        if not data.startswith(b"{"):
            return False
        return bool(self._call.guarded(self._noted, data)) and self._hides

    def _noted(self, data: bytes) -> bool:
        try:
            said = json.loads(data)
        except ValueError:
            return False
        return self._notes.see(said)


def events_of(data: bytes) -> list[bytes]:
    """The events with their blank lines. The last may lack its own."""
    if b"\r" not in data:
        *whole, rest = data.split(b"\n\n")
        found = [event + b"\n\n" for event in whole]
    else:
        ends = [one.end() for one in _EVENT_END.finditer(data)]
        found = [data[at:end] for at, end in zip((0, *ends), ends, strict=False)]
        rest = data[ends[-1] if ends else 0 :]
    return [*found, rest] if rest else found


def data_of(event: bytes) -> bytes:
    """The `data:` lines of an event."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def _has_extra(events: bytes) -> bool:
    return b'"choices":[]' in events or b'"choices": []' in events


def attach(response: Any, call: ClientCall, *, hides: bool) -> None:  # noqa: ANN401  httpx is the app's
    """Sets the tap on a response of httpx (or httpx2) that is not read yet.

    The response becomes an instance of a subclass of its class. Methods set on the object itself would
    have to refer to it: the cycle would leave it to the garbage collector to close a dropped stream.
    """
    content_type = str(response.headers.get("content-type", "")).lower()
    tap = Tap(call, content_type, hides=hides)
    kind: Any = type(response)
    response.__class__ = _tapped_class(kind)
    setattr(response, _TAP, tap)
    call.recorder.streams.add(tap)


@lru_cache(maxsize=16)
def _tapped_class(kind: Any) -> Any:  # noqa: ANN401
    class Tapped(kind):  # type: ignore[misc]
        def iter_bytes(self, *words: Any, **named: Any) -> Iterator[bytes]:  # noqa: ANN401
            return tapped(super().iter_bytes(*words, **named), getattr(self, _TAP))

        def aiter_bytes(self, *words: Any, **named: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
            return atapped(super().aiter_bytes(*words, **named), getattr(self, _TAP))

        def close(self) -> None:
            getattr(self, _TAP).close()
            super().close()

        async def aclose(self) -> None:
            getattr(self, _TAP).close()
            await super().aclose()

        def __del__(self) -> None:
            getattr(self, _TAP).close()

    Tapped.__name__, Tapped.__qualname__ = kind.__name__, kind.__qualname__
    Tapped.__module__ = kind.__module__
    return Tapped


def tapped(source: Generator[bytes], tap: Tap) -> Iterator[bytes]:
    with closing(source), _reading(tap):
        while True:
            tap.is_reading = True
            data = next(source, None)
            passed = tap.take(data)
            if passed:
                yield passed
            if data is None:
                return


async def atapped(source: AsyncGenerator[bytes], tap: Tap) -> AsyncIterator[bytes]:
    async with aclosing(source):
        with _reading(tap):
            while True:
                tap.is_reading = True
                data = await anext(source, None)
                passed = tap.take(data)
                if passed:
                    yield passed
                if data is None:
                    return


@contextmanager
def _reading(tap: Tap) -> Iterator[None]:
    """Tells the tap how the reading of its response ended."""
    try:
        yield
    except Exception as error:
        tap.end(error)
        raise
    finally:
        tap.is_reading = False
        tap.close()
