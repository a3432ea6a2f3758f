"""Compressed bodies are decompressed in pieces: bounded, and while other requests go on."""

from __future__ import annotations

import asyncio
import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from api.errors import InvalidBody, TooBusy
from api.ingest.request_body import (
    PLAIN_PIECE_BYTES,
    SENT_PIECE_BYTES,
    STREAMS_MAX,
    BodyBudget,
    HeldBody,
)
from schemas.formats.body import BODY_BYTES_MAX
from tests.api.ingest.taking import receiving

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MiB = 1 << 20
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda plain: gzip.compress(plain, 1),
    "deflate": lambda plain: zlib.compress(plain, 1),
    "zstd": zstd.compress,
}
ENCODINGS = list(COMPRESS)


async def held(sent: bytes, encoding: str, budget: BodyBudget | None = None) -> HeldBody:
    headers = {"content-encoding": encoding}
    return await (budget or BodyBudget()).body(receiving(sent), headers, "acme")


async def plain(sent: bytes, encoding: str) -> bytes:
    with await held(sent, encoding) as body:
        return body


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_bodies_of_any_size_come_back(encoding: str) -> None:
    compress = COMPRESS[encoding]
    noise = random.Random(5).randbytes(3 * SENT_PIECE_BYTES)
    for size in (0, 1, PLAIN_PIECE_BYTES - 1, PLAIN_PIECE_BYTES, 3 * PLAIN_PIECE_BYTES):
        assert await plain(compress(bytes(size)), encoding) == bytes(size)
    for size in (SENT_PIECE_BYTES - 20, SENT_PIECE_BYTES, len(noise)):
        assert await plain(compress(noise[:size]), encoding) == noise[:size]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_streams_behind_each_other_are_one_body_and_bounded(encoding: str) -> None:
    compress = COMPRESS[encoding]
    parts = [b"a" * PLAIN_PIECE_BYTES, b"", random.Random(6).randbytes(SENT_PIECE_BYTES), b"end"]
    assert await plain(b"".join(map(compress, parts)), encoding) == b"".join(parts)
    assert await plain(compress(b"x") * STREAMS_MAX, encoding) == b"x" * STREAMS_MAX
    with pytest.raises(InvalidBody, match=f"more than {STREAMS_MAX} streams"):
        await plain(compress(b"") * (STREAMS_MAX + 1), encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_body_that_is_cut_or_followed_by_something_else_is_refused(encoding: str) -> None:
    whole = COMPRESS[encoding](b"x" * PLAIN_PIECE_BYTES)
    for cut in range(len(whole)):
        with pytest.raises(InvalidBody, match="before it is whole"):
            await plain(whole[:cut], encoding)
    with pytest.raises(InvalidBody, match="cannot be decompressed"):
        await plain(whole + b"rest", encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_other_requests_go_on_while_a_large_body_is_decompressed(encoding: str) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    body = await plain(COMPRESS[encoding](bytes(BODY_BYTES_MAX)), encoding)
    other.cancel()
    assert len(body) == BODY_BYTES_MAX
    assert turns > BODY_BYTES_MAX // PLAIN_PIECE_BYTES // 2


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_bomb_holds_no_more_than_there_is_room_for(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(8 * BODY_BYTES_MAX))
    budget = BodyBudget(8 * MiB)
    assert await peak_bytes(bomb, encoding, budget, TooBusy) < 6 * MiB
    assert await peak_bytes(bomb, encoding, BodyBudget(), InvalidBody) < BODY_BYTES_MAX + 2 * MiB
    with await held(COMPRESS[encoding](bytes(2 * MiB)), encoding, budget) as body:
        assert len(body) == 2 * MiB  # a bomb gives back what it held


async def peak_bytes(
    sent: bytes, encoding: str, budget: BodyBudget, expected: type[Exception]
) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(expected):
            await held(sent, encoding, budget)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
