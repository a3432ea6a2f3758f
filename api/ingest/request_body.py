"""The body of a request as bytes: read within bounds of size and time, and decompressed.

A body of 16 MB can be 500 bytes on the wire, so both sizes are bounded, and what all requests hold
together: a process takes a bounded number of bytes at a time and tells the rest to come again.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive

from api.errors import InvalidBody, TooBusy
from schemas.formats.body import BODY_BYTES_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY_S: Final = 30.0
"""For a body to arrive: 16 MB at 4 Mbit/s. A client that is slower sends smaller bodies."""
SMALL_BYTES_MAX: Final = 64 * 1024
"""A body that says it is no larger may take its time: all that it holds is its connection."""
HELD_BYTES_MAX: Final = 128 << 20
"""Of all bodies that one process holds, as sent or decompressed: eight of the largest."""
WINDOW_LOG_MAX: Final = 23
"""zstd: 8 MiB, what a decoder has to support (RFC 8878); more is memory that the sender chooses."""
ENCODINGS: Final = ("identity", "gzip", "deflate", "zstd")
STREAMS_MAX: Final = 64
"""Compressed streams of one body: each costs a copy of the rest."""
_GZIP: Final = 31
"""zlib's word for: a gzip header, and the largest window."""


class BodyBudget:
    """How many bytes of bodies the process may hold, and does."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX) -> None:
        self._free_bytes = bytes_max

    def reserve(self, size_bytes: int) -> None:
        """A negative size is let go. Raises TooBusy."""
        if size_bytes > self._free_bytes:
            raise TooBusy("Too many large bodies are being read.")
        self._free_bytes -= size_bytes

    async def body(
        self, receive: Receive, headers: Mapping[str, str], bytes_max: int = BODY_BYTES_MAX
    ) -> HeldBody:
        """The decompressed body, held until its `with` ends. Raises InvalidBody, TooBusy."""
        held = HeldBody(self)
        try:
            sent = await _received(receive, headers.get("content-length", ""), bytes_max, held)
            held.plain = decompressed(sent, headers.get("content-encoding", ""), bytes_max)
            if held.plain is not sent:
                held.reserve(len(held.plain))
        except BaseException:
            held.release()
            raise
        return held


class HeldBody:
    """One body, and the room that it takes."""

    __slots__ = ("_budget", "_size_bytes", "plain")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size_bytes = 0
        self.plain = b""

    def __enter__(self) -> bytes:
        return self.plain

    def __exit__(self, *_error: object) -> None:
        self.release()

    def reserve(self, size_bytes: int) -> None:
        self._budget.reserve(size_bytes)
        self._size_bytes += size_bytes

    def release(self) -> None:
        self._budget.reserve(-self._size_bytes)
        self._size_bytes = 0


async def _received(receive: Receive, length: str, bytes_max: int, held: HeldBody) -> bytes:
    length_bytes = int(length) if length.isdecimal() and len(length) < 20 else None
    if length_bytes is not None and length_bytes > bytes_max:
        raise _too_large(bytes_max)
    if length_bytes is not None and length_bytes <= SMALL_BYTES_MAX:
        return await _arrived(receive, bytes_max, held)
    try:
        async with asyncio.timeout(BODY_S):
            return await _arrived(receive, bytes_max, held)
    except TimeoutError as error:
        raise InvalidBody(
            408, "too-slow", f"The body did not arrive within {BODY_S:g} s (BODY_S)."
        ) from error


async def _arrived(receive: Receive, bytes_max: int, held: HeldBody) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidBody(400, "invalid-body", "The body ended before it was whole.")
        part = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > bytes_max:
            raise _too_large(bytes_max)
        held.reserve(len(part))
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body out of its Content-Encoding. Raises InvalidBody, 413 as soon as it is too large."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, lambda: zlib.decompressobj(_GZIP), bytes_max)
        case "deflate":
            return _inflated(body, zlib.decompressobj, bytes_max)
        case "zstd":
            return _inflated(body, _zstd, bytes_max)
    known = ", ".join(ENCODINGS)
    raise InvalidBody(
        415, "unsupported-media-type", f"The content-encoding is none of {known}: send one of them."
    )


def _zstd() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    )


def _inflated(
    body: bytes, start: Callable[[], zlib._Decompress | zstd.ZstdDecompressor], bytes_max: int
) -> bytes:
    """One stream or several, one behind the other, whole to the last byte."""
    parts: list[bytes] = []
    left = bytes_max + 1
    try:
        while body or not parts:
            if len(parts) == STREAMS_MAX:
                raise _broken(f"it has more than {STREAMS_MAX} streams (STREAMS_MAX)")
            stream = start()
            part = stream.decompress(body, left)
            parts.append(part)
            left -= len(part)
            if left <= 0:
                raise _too_large(bytes_max)
            if not stream.eof:
                raise _broken("it ends before it is whole")
            body = stream.unused_data
    except (zlib.error, zstd.ZstdError) as error:
        raise _broken(str(error)) from error
    return b"".join(parts)


def _broken(why: str) -> InvalidBody:
    return InvalidBody(400, "invalid-body", f"The body cannot be decompressed: {why}.")


def _too_large(bytes_max: int) -> InvalidBody:
    return InvalidBody(
        413,
        "too-large",
        f"The body is larger than {bytes_max} bytes, decompressed (BODY_BYTES_MAX).",
    )
