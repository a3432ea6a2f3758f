"""Atomic reads of Redis: the state of the current generation and the values of some keys, with one
MGET.

One snapshot is under way at a time, because Redis runs one command at a time anyway. Requests that
arrive meanwhile share the next snapshot: thirty pages that are polled at once cost two snapshots, not
thirty. Tails of pages are read just before the MGET. A tail belongs to the snapshot if the version of
its chunk is the same as in the snapshot before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from api.query.selection import PAGES_MAX
from api.store.connection import ReadConnection
from api.store.page_cache import NO_CHUNK_VERSION, PackedChunkVersion
from schemas.store.layout import (
    CURRENT_KEY,
    Meta,
    meta_key,
)

SHARED_BYTES_MAX: Final = 64 * 1024 * 1024
"""The most that requests which share a snapshot can read of whole pages together: Redis copies it in
one step, and this process holds it until it is summed. Pages have a tenth of their most as a rule."""
NOTHING: Final[Mapping[str, int]] = {}

LENGTHS_AT_ONCE: Final = 1000
"""Lengths of one command: 0.5 ms of Redis."""

Item = TypeVar("Item")
Tail = tuple[str, int]
"""The key of a page, and the byte from which to read."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The values of the requested keys at one instant. `found` may have keys of other requests too."""

    meta: Meta
    found: Mapping[str, bytes | None]
    tails: Mapping[Tail, bytes]

    def has(self, keys: Iterable[str]) -> bool:
        """Whether all these keys were read."""
        return all(map(self.found.__contains__, keys))

    def chunk_version(self, chunk: str) -> PackedChunkVersion:
        return self.found[chunk] or NO_CHUNK_VERSION

    def chunk_versions(self, chunks: Iterable[str]) -> list[PackedChunkVersion]:
        found = self.found
        return [found[chunk] or NO_CHUNK_VERSION for chunk in chunks]


Check = Callable[[bytes | None, bytes | None], Meta | None]
"""Turns the pointer to the current generation and a meta record into the state. None: the record is of
another history."""


@dataclass(eq=False)
class _Request:
    """Keys that are read together, and the futures of the callers."""

    keys: dict[str, None] = field(default_factory=dict)
    tails: dict[Tail, None] = field(default_factory=dict)
    bytes_max: dict[str, int] = field(default_factory=dict)
    waiting: list[asyncio.Future[Snapshot | None]] = field(default_factory=list)

    def has_room_for(self, bytes_max: Mapping[str, int]) -> bool:
        """Whether these pages may be read with the others. Pages that all of them need count once."""
        if len(self.keys) + len(self.tails) > PAGES_MAX:
            return False
        if not bytes_max or not self.bytes_max:
            return True
        return sum({**self.bytes_max, **bytes_max}.values()) <= SHARED_BYTES_MAX


class SnapshotReader:
    """Reads snapshots of one generation. The result is None if Redis holds another history."""

    def __init__(self, connection: ReadConnection, generation: int, check: Check) -> None:
        self._connection = connection
        self._meta_key: Final = meta_key(generation)
        self._check = check
        self._next: _Request | None = None
        self._last_sent: asyncio.Task[Snapshot | None] | None = None

    async def read(
        self,
        keys: Iterable[str],
        tails: Iterable[Tail] = (),
        bytes_max: Mapping[str, int] = NOTHING,
    ) -> Snapshot | None:
        """`bytes_max`: the most bytes that a key can have, for keys of pages."""
        request = self._next
        if request is None or not request.has_room_for(bytes_max):
            request = self._next = _Request()
            self._last_sent = asyncio.ensure_future(self._send(request, self._last_sent))
            self._last_sent.add_done_callback(partial(_deliver, request))
        request.bytes_max |= bytes_max
        request.keys.update(dict.fromkeys(keys))
        request.tails.update(dict.fromkeys(tails))
        seen: asyncio.Future[Snapshot | None] = asyncio.get_running_loop().create_future()
        request.waiting.append(seen)
        return await seen

    async def _send(
        self, request: _Request, before: asyncio.Task[Snapshot | None] | None
    ) -> Snapshot | None:
        """A task of its own: a caller that is cancelled does not cancel it for the others."""
        if before is not None and not before.done():
            await asyncio.wait([before])
        if self._next is request:
            self._next = None
        keys, tails = list(request.keys), list(request.tails)
        replies: list[Any] = await self._connection.read(
            *[("GETRANGE", key, start, -1) for key, start in tails],
            ("MGET", CURRENT_KEY, self._meta_key, *keys),
        )
        current, record, *found = replies.pop()
        meta = self._check(current, record)
        if meta is None:
            return None
        return Snapshot(
            meta, dict(zip(keys, found, strict=True)), dict(zip(tails, replies, strict=True))
        )


def _deliver(request: _Request, sent: asyncio.Task[Snapshot | None]) -> None:
    for one in request.waiting:
        if one.done():
            continue  # this caller was cancelled
        if sent.cancelled():
            one.cancel()
        elif (error := sent.exception()) is not None:
            one.set_exception(error)
        else:
            one.set_result(sent.result())
    if not sent.cancelled():
        sent.exception()  # marks it as retrieved: every caller may have been cancelled


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


async def lengths_of(connection: ReadConnection, keys: Iterable[str]) -> list[int]:
    """The lengths of these pages, without reading them."""
    found: list[int] = []
    for some in batched(keys, LENGTHS_AT_ONCE):
        found += await connection.read(*[("STRLEN", key) for key in some])
    return found
