"""The pages of counters that this process has read, each with the version of its chunk.

A chunk's version in Redis changes with every commit that appends to a page of the chunk. So a cached
page is up to date while its chunk has the version at which the page was read. If the page has only
grown since, reading its tail is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cachetools import LRUCache

from api.query.selection import COUNTER_WEIGHT
from schemas.store.chunk_version import CHUNK_VERSION_BYTES, unpack_chunk_version
from schemas.store.layout import ROOM_BYTES_MAX

PAGES_BYTES_MAX: Final = 128 * 1024 * 1024
"""24 h of 30 models are 1 MB of pages, a leaderboard of 100,000 users over 30 days is 100 MB."""
PAGE_BYTES: Final = 200
"""What a page costs beside its data: its key, the `Page` and two entries of dictionaries."""

PackedChunkVersion = bytes
"""A `ChunkVersion` as Redis holds it."""

NO_CHUNK_VERSION: Final[PackedChunkVersion] = bytes(CHUNK_VERSION_BYTES)
"""The version of a chunk to which nothing was ever appended."""


def only_grew(before: PackedChunkVersion, after: PackedChunkVersion) -> bool:
    """Whether the pages read at `before` are a prefix of the pages at `after`."""
    old, new = unpack_chunk_version(before), unpack_chunk_version(after)
    return old.compactions == new.compactions and old.commits <= new.commits


class Page(NamedTuple):
    """The value of a page's key at a version of its chunk. None: Redis has no such key."""

    chunk_version: PackedChunkVersion
    data: bytes | None


class _Chunk:
    """The cached pages of one chunk, by key."""

    __slots__ = ("pages", "size_bytes")

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.size_bytes = 0

    def add(self, pages: Mapping[str, Page]) -> None:
        for key, page in pages.items():
            before = self.pages.get(key)
            self.size_bytes += _size_bytes(page) - (0 if before is None else _size_bytes(before))
        self.pages.update(pages)


class PageCache:
    """Pages by chunk, at most PAGES_BYTES_MAX. Evicts the least recently used chunk as a whole."""

    def __init__(self) -> None:
        self._chunks: LRUCache[str, _Chunk] = LRUCache(
            PAGES_BYTES_MAX, getsizeof=lambda chunk: chunk.size_bytes
        )

    def pages_of(self, chunk: str) -> Mapping[str, Page]:
        """The cached pages of a chunk, which is named by the key of its version."""
        try:
            return self._chunks[chunk].pages
        except KeyError:
            return _NO_PAGES

    def keep(self, chunk: str, pages: Mapping[str, Page]) -> None:
        """Add pages of one chunk, or replace them. A chunk larger than the whole cache is dropped."""
        cached = self._chunks.pop(chunk, None) or _Chunk()
        cached.add(pages)
        if cached.size_bytes <= PAGES_BYTES_MAX:
            self._chunks[chunk] = cached


_NO_PAGES: Final[Mapping[str, Page]] = {}


def _size_bytes(page: Page) -> int:
    return PAGE_BYTES + len(page.data or b"")


@dataclass(eq=False)
class Missing:
    """The pages to read from Redis: some as a whole, of others only the tail behind the cached page.
    `chunk_of` gives the chunk of each, and `bytes_max` the most bytes that it can have.
    `cached_bytes`: the weighed bytes of the cached pages that are summed with them."""

    whole: dict[str, None] = field(default_factory=dict)
    tails: dict[str, Page] = field(default_factory=dict)
    chunk_of: dict[str, str] = field(default_factory=dict)
    bytes_max: dict[str, int] = field(default_factory=dict)
    cached_bytes: int = 0

    @property
    def most_bytes(self) -> int:
        """The most that summing them can take, weighed. A page that is not compacted grows by
        its own length and some room at most."""
        tails = sum(len(page.data or b"") + ROOM_BYTES_MAX for page in self.tails.values())
        return (
            self.cached_bytes
            + COUNTER_WEIGHT * tails
            + sum(self.bytes_max[key] for key in self.whole)
        )

    def __bool__(self) -> bool:
        return bool(self.whole or self.tails)
