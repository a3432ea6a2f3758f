"""Reads and decompresses the body of a request, within limits of size and time.

A body of 16 MB can be 500 bytes on the wire, so both sizes are limited. The bytes that all requests
of a process hold together are limited too; a request beyond that gets TooBusy and can be retried.
Each tenant has a share of them, and a part is for small bodies only (`shared_bytes`).
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from starlette.types import Receive

from api.errors import InvalidBody, TooBusy
from api.http.shared_bytes import SMALL_BYTES_MAX, Holding, SharedBytes
from api.ingest.memory import MemoryReturn
from schemas.formats.body import BODY_BYTES_MAX

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY_S: Final = 30.0
"""Timeout for a body to arrive: 16 MB at 4 Mbit/s. A slower client must send smaller bodies."""
HELD_BYTES_MAX: Final = 128 << 20
"""Limit of the bytes of all bodies in a process, as sent or decompressed: eight of the largest. 16 MiB
of them are for bodies of at most SMALL_BYTES_MAX, 256 such bodies."""
TENANT_PART: Final = 3 / 8
"""Part of each room that one tenant may use: 42 MiB, so that a body of the largest size fits as sent
and decompressed; and 6 MiB of the room for small bodies, 96 of them."""
WINDOW_LOG_MAX: Final = 23
"""zstd: 8 MiB, which every decoder must support (RFC 8878). More would let the sender choose how
much memory we use."""
ENCODINGS: Final = ("identity", "gzip", "deflate", "zstd")
STREAMS_MAX: Final = 64
"""Compressed streams in one body: each makes a decompressor."""
SENT_PIECE_BYTES: Final = 64 * 1024
PLAIN_PIECE_BYTES: Final = 256 * 1024
"""Decompressed at once, and the most that it becomes: less than 1 ms. A body of 16 MB takes up to 200."""
PIECES_INLINE: Final = 2
"""Further pieces are decompressed in a thread, so other requests go on. A small body has one, and the
attempt to read another."""
_GZIP: Final = 31
"""For zlib: expect a gzip header and the largest window."""


class BodyBudget:
    """How many more bytes of request bodies the process may hold."""

    def __init__(self, bytes_max: int = HELD_BYTES_MAX, memory: MemoryReturn | None = None) -> None:
        self.shared = SharedBytes(bytes_max, TENANT_PART)
        self.memory = MemoryReturn() if memory is None else memory

    async def body(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        tenant: str,
        bytes_max: int = BODY_BYTES_MAX,
    ) -> HeldBody:
        """The decompressed body, which counts until its `with` ends. Raises InvalidBody, TooBusy.

        `tenant` is whose share it uses (`share_of`).
        """
        held = HeldBody(self, tenant)
        try:
            sent = await _received(receive, headers.get("content-length", ""), bytes_max, held)
            encoding = headers.get("content-encoding", "")
            held.plain = await _decompressed(sent, encoding, bytes_max, held)
        except BaseException:
            held.release()
            raise
        return held


class HeldBody:
    """One body, and its bytes in the budget."""

    __slots__ = ("_holding", "_memory", "plain")

    def __init__(self, budget: BodyBudget, tenant: str) -> None:
        self._holding = Holding(budget.shared, tenant)
        self._memory = budget.memory
        self.plain = b""

    def __enter__(self) -> bytes:
        return self.plain

    def __exit__(self, *_error: object) -> None:
        self.release()

    def reserve(self, more_bytes: int) -> None:
        """Take so many more bytes from the budget. Raises TooBusy."""
        if not self._holding.take(more_bytes):
            raise TooBusy("Too many large bodies are being read.")

    def release(self) -> None:
        self._memory.body_ended(self._holding.size_bytes)
        self._holding.release()
        self.plain = b""


async def _received(receive: Receive, length: str, bytes_max: int, held: HeldBody) -> bytes:
    length_bytes = int(length) if length.isdecimal() and len(length) < 20 else None
    if length_bytes is not None and length_bytes > bytes_max:
        raise _too_large(bytes_max)
    if length_bytes is not None and length_bytes <= SMALL_BYTES_MAX:  # it holds only its connection
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


async def _decompressed(sent: bytes, encoding: str, bytes_max: int, held: HeldBody) -> bytes:
    """The body without its Content-Encoding. Raises InvalidBody, 413 as soon as it is too large, and
    TooBusy as soon as there is no room for it."""
    match encoding.strip().lower():
        case "" | "identity":
            return sent
        case "gzip" | "x-gzip":
            pieces = _pieces(sent, lambda: _Inflate(_GZIP))
        case "deflate":
            pieces = _pieces(sent, lambda: _Inflate(zlib.MAX_WBITS))
        case "zstd":
            pieces = _pieces(sent, _zstd)
        case _:
            known = ", ".join(ENCODINGS)
            raise InvalidBody(
                415,
                "unsupported-media-type",
                f"The content-encoding is none of {known}: send one of them.",
            )
    parts: list[bytes] = []
    size_bytes = 0
    piece = next(pieces, None)
    while piece is not None:
        size_bytes += len(piece)
        if size_bytes > bytes_max:
            raise _too_large(bytes_max)
        held.reserve(len(piece))
        parts.append(piece)
        is_inline = len(parts) < PIECES_INLINE
        piece = next(pieces, None) if is_inline else await asyncio.to_thread(next, pieces, None)
    return b"".join(parts)


class _Inflate:
    """zlib's decompressor with the interface of zstd's, which keeps the input that it did not use."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)
        self._is_full = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        plain = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        self._is_full = len(plain) == max_length
        return plain

    @property
    def needs_input(self) -> bool:
        return not self._is_full and not self._stream.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data


def _zstd() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    )


def _pieces(sent: bytes, start: Callable[[], _Inflate | zstd.ZstdDecompressor]) -> Iterator[bytes]:
    """One compressed stream, or several in a row, each complete. A piece may be empty."""
    at = streams = 0
    try:
        while at < len(sent) or not streams:
            if streams == STREAMS_MAX:
                raise _broken(f"it has more than {STREAMS_MAX} streams (STREAMS_MAX)")
            streams += 1
            stream = start()
            while not stream.eof:
                data = b""
                if stream.needs_input:
                    data = sent[at : at + SENT_PIECE_BYTES]
                    at += len(data)
                    if not data:
                        raise _broken("it ends before it is whole")
                yield stream.decompress(data, PLAIN_PIECE_BYTES)
            at -= len(stream.unused_data)
    except (zlib.error, zstd.ZstdError) as error:
        raise _broken(str(error)) from error


def _broken(why: str) -> InvalidBody:
    return InvalidBody(400, "invalid-body", f"The body cannot be decompressed: {why}.")


def _too_large(bytes_max: int) -> InvalidBody:
    return InvalidBody(
        413,
        "too-large",
        f"The body is larger than {bytes_max} bytes, decompressed (BODY_BYTES_MAX).",
    )
