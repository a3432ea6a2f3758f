"""The body of a request as bytes: read within bounds of size and time, and decompressed.

A body of 16 MB can be 500 bytes on the wire, so both sizes are bounded, and what all requests hold
together: a process takes a bounded number of bytes at a time and tells the rest to come again.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request

from api.errors import InvalidBody, TooBusy
from schemas.formats.body import BODY_BYTES_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY_S: Final = 30.0
"""For a body to arrive: 16 MB at 4 Mbit/s. A client that is slower sends smaller bodies."""
HELD_BYTES_MAX: Final = 128 << 20
"""Of all bodies that one process holds, as sent or decompressed: eight of the largest."""
WINDOW_LOG_MAX: Final = 23
"""zstd: 8 MiB, what a decoder has to support (RFC 8878); more is memory that the sender chooses."""
ENCODINGS: Final = ("identity", "gzip", "deflate", "zstd")
STREAMS_MAX: Final = 64
"""Compressed streams of one body: each costs a copy of the rest."""
_GZIP: Final = 31
"""zlib's word for: a gzip header, and the largest window."""


class Room:
    """How many bytes of bodies the process may hold, and does."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX) -> None:
        self._free_bytes = bytes_max

    @asynccontextmanager
    async def body(self, request: Request, bytes_max: int = BODY_BYTES_MAX) -> AsyncIterator[bytes]:
        """The decompressed body, while it is worked on. Raises InvalidBody, TooBusy."""
        held_bytes = 0

        def hold(size_bytes: int) -> None:
            nonlocal held_bytes
            if size_bytes > self._free_bytes:
                raise TooBusy("Too many large bodies are being read.")
            self._free_bytes -= size_bytes
            held_bytes += size_bytes

        try:
            sent = await _sent(request, bytes_max, hold)
            plain = decompressed(sent, request.headers.get("content-encoding", ""), bytes_max)
            if plain is not sent:
                hold(len(plain))
            yield plain
        finally:
            self._free_bytes += held_bytes


async def _sent(request: Request, bytes_max: int, hold: Callable[[int], None]) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > bytes_max:
        raise _too_large(bytes_max)
    parts: list[bytes] = []
    size_bytes = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size_bytes += len(part)
                if size_bytes > bytes_max:
                    raise _too_large(bytes_max)
                hold(len(part))
                parts.append(part)
    except TimeoutError as error:
        raise InvalidBody(
            408, "too-slow", f"The body did not arrive within {BODY_S:g} s (BODY_S)."
        ) from error
    except ClientDisconnect as error:
        raise InvalidBody(400, "invalid-body", "The body ended before it was whole.") from error
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
