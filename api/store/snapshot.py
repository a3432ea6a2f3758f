"""One look at Redis: the state of the generation that answers, and what stands under some keys, all
of one instant. Looks at the same time are one.

Redis serves one command at a time anyway, so one look is under way at a time, and what is asked
meanwhile goes with the next: thirty pages that are polled at once cost two looks and not thirty.
Tails of pages are read just before: they are of the look's instant where their chunks' versions were
the same at the look before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from api.query.selection import PAGES_MAX
from api.store.connection import ReadConnection
from api.store.page_cache import NO_CHUNK_VERSION, PackedChunkVersion
from schemas.store.layout import CURRENT_KEY, Meta, meta_key

Tail = tuple[str, int]
"""A page's key, and from which byte on it is wanted."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What was seen: `found` has what stands under the keys that were asked for, and others."""

    meta: Meta
    found: Mapping[str, bytes | None]
    tails: Mapping[Tail, bytes]

    def chunk_version(self, chunk: str) -> PackedChunkVersion:
        return self.found[chunk] or NO_CHUNK_VERSION

    def chunk_versions(self, chunks: Iterable[str]) -> list[PackedChunkVersion]:
        found = self.found
        return [found[chunk] or NO_CHUNK_VERSION for chunk in chunks]


Check = Callable[[bytes | None, bytes | None], Meta | None]
"""What stands under `current` and as the generation's meta, to the state; None: another history."""


@dataclass(eq=False)
class _Request:
    """Keys that are read together, and who waits for them."""

    keys: dict[str, None] = field(default_factory=dict)
    tails: dict[Tail, None] = field(default_factory=dict)
    waiting: list[asyncio.Future[Snapshot | None]] = field(default_factory=list)


class SnapshotReader:
    """Those of one generation; None where what was seen is of another history."""

    def __init__(self, connection: ReadConnection, generation: int, check: Check) -> None:
        self._connection = connection
        self._meta_key: Final = meta_key(generation)
        self._check = check
        self._next: _Request | None = None
        self._last_sent: asyncio.Task[Snapshot | None] | None = None

    async def read(self, keys: Iterable[str], tails: Iterable[Tail] = ()) -> Snapshot | None:
        request = self._next
        if request is None or len(request.keys) + len(request.tails) > PAGES_MAX:
            request = self._next = _Request()
            self._last_sent = asyncio.ensure_future(self._send(request, self._last_sent))
            self._last_sent.add_done_callback(partial(_deliver, request))
        request.keys.update(dict.fromkeys(keys))
        request.tails.update(dict.fromkeys(tails))
        seen: asyncio.Future[Snapshot | None] = asyncio.get_running_loop().create_future()
        request.waiting.append(seen)
        return await seen

    async def _send(
        self, request: _Request, before: asyncio.Task[Snapshot | None] | None
    ) -> Snapshot | None:
        """No caller's going away ends it: others wait for the same."""
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
            continue  # whoever asked went away
        if sent.cancelled():
            one.cancel()
        elif (error := sent.exception()) is not None:
            one.set_exception(error)
        else:
            one.set_result(sent.result())
    if not sent.cancelled():
        sent.exception()  # seen: every caller may have gone away
