"""What is kept of pages, and of the sums that questions made of them, while nothing is added. Pure.

Each chunk of a table's pages has a version that changes with what is added to it, so what was read
stands while its chunk's version does. Of pages that have only grown since, the tails are enough.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from api.query.selection import Selection
from api.query.sums import CELLS_DENSE_MAX, Sums, summed
from schemas.store.layout import CHUNK_VERSION_BYTES, Meta, unpack_chunk_version

PAGES_BYTES_MAX: Final = 128 * 1024 * 1024
"""Pages kept: 24 h of 30 models are 1 MB, a leaderboard of 100,000 users over 30 days is 100 MB."""
PAGE_BYTES: Final = 200
"""Of a page's key and of what holds it here."""
SUMS_BYTES_MAX: Final = 64 * 1024 * 1024
"""Sums kept, with the keys of what they are made of."""
SKETCH_BYTES: Final = 500
"""Of a cell that has one: a histogram is 2.7 kB, and most cells of a long series have none."""

PackedChunkVersion = bytes
"""A `layout.ChunkVersion` as it stands in Redis."""


NO_CHUNK_VERSION: Final[PackedChunkVersion] = bytes(CHUNK_VERSION_BYTES)
"""Of a chunk that has none: nothing was ever appended to it."""


def only_grew(before: PackedChunkVersion, after: PackedChunkVersion) -> bool:
    """Whether what was read at `before` is how it begins at `after`."""
    old, new = unpack_chunk_version(before), unpack_chunk_version(after)
    return old.compactions == new.compactions and old.commits <= new.commits


class Page(NamedTuple):
    """What stood under a key at a version of its chunk; None: nothing."""

    chunk_version: PackedChunkVersion
    data: bytes | None


class PageCache:
    """Pages by chunk; the chunk that was longest not used goes first."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[str, dict[str, Page]] = OrderedDict()
        self._size_bytes = 0

    def of(self, chunk: str) -> Mapping[str, Page]:
        """The pages of the chunk that has this version's key."""
        found = self._chunks.get(chunk)
        if found is None:
            return _NOTHING
        self._chunks.move_to_end(chunk)
        return found

    def keep(self, chunk: str, key: str, page: Page) -> None:
        pages = self._chunks.setdefault(chunk, {})
        before = pages.get(key)
        self._size_bytes += _size_bytes(page) - (0 if before is None else _size_bytes(before))
        pages[key] = page
        while self._size_bytes > PAGES_BYTES_MAX:
            _chunk, gone = self._chunks.popitem(last=False)
            self._size_bytes -= sum(map(_size_bytes, gone.values()))


_NOTHING: Final[Mapping[str, Page]] = {}


def _size_bytes(page: Page) -> int:
    return PAGE_BYTES + len(page.data or b"")


@dataclass(eq=False)
class Missing:
    """Pages that are needed whole, and those of which only a tail is, as they were before: key to
    page. `chunk_of` says whose they are."""

    whole: dict[str, None] = field(default_factory=dict)
    tails: dict[str, Page] = field(default_factory=dict)
    chunk_of: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.whole or self.tails)


@dataclass(eq=False)
class CachedSums:
    """A selection, and its sums as they were when its chunks had these versions, made of so many bytes
    of each page. At `meta` they were the same. All series that the generation had named when they
    were `whole_at` are in it; `named_at` is the reader's own count of what it had learnt."""

    selection: Selection
    sums: Sums | None = None
    chunk_versions: Sequence[PackedChunkVersion] = ()
    lengths: list[list[int]] = field(default_factory=list)
    meta: Meta | None = None
    named_at: int = -1
    whole_at: int = -1

    @property
    def size_bytes(self) -> int:
        """About what it takes at most."""
        plan = self.selection.plan
        keys = sum(len(page_set.keys) for page_set in self.selection.page_sets)
        cells = min(CELLS_DENSE_MAX, len(self.selection.groups) * len(plan.starts_ms))
        return PAGE_BYTES * (keys + 5) + cells * (
            8 * len(plan.sums) + SKETCH_BYTES * len(plan.sketches)
        )

    def list_missing(self, page_cache: PageCache, missing: Missing) -> None:
        """Where nothing was read yet: what is not cached is asked for at once."""
        if self.sums is not None:
            return
        for page_set in self.selection.page_sets:
            for number, chunk in enumerate(page_set.chunk_versions):
                there = page_cache.of(chunk)
                for at in page_set.places_of(number):
                    if (key := page_set.keys[at]) not in there:
                        missing.whole[key] = None
                        missing.chunk_of[key] = chunk

    def refresh(
        self, chunk_versions: Sequence[PackedChunkVersion], pages: Mapping[str, Page], page_cache: PageCache, missing: Missing,
        *, by_tails: bool,
    ) -> None:  # fmt: skip
        """Sums as of these versions, where all that they need is in `pages` or cached; else what is not
        goes into `missing`."""
        if self.sums is not None and self.chunk_versions == chunk_versions:
            return
        grows = self._grows(chunk_versions)
        found: list[list[bytes | None]] = [[None] * len(w.keys) for w in self.selection.page_sets]
        place, is_missing = 0, False
        for own, page_set in zip(found, self.selection.page_sets, strict=True):
            for number, chunk in enumerate(page_set.chunk_versions):
                chunk_version = chunk_versions[place]
                is_new = not grows or self.chunk_versions[place] != chunk_version
                place += 1
                if not is_new:
                    continue
                there = page_cache.of(chunk)
                for at in page_set.places_of(number):
                    key = page_set.keys[at]
                    page = pages.get(key) or there.get(key)
                    if page is not None and page.chunk_version == chunk_version:
                        own[at] = page.data
                        continue
                    is_missing = True
                    missing.chunk_of[key] = chunk
                    if (
                        by_tails
                        and page is not None
                        and only_grew(page.chunk_version, chunk_version)
                    ):
                        missing.tails[key] = page
                    else:
                        missing.whole[key] = None
        if not is_missing:
            self._sum(chunk_versions, found, grows=grows)

    def _grows(self, chunk_versions: Sequence[PackedChunkVersion]) -> bool:
        return (
            self.sums is not None
            and self.sums.can_grow
            and all(map(only_grew, self.chunk_versions, chunk_versions))
        )

    def _sum(
        self,
        chunk_versions: Sequence[PackedChunkVersion],
        found: list[list[bytes | None]],
        *,
        grows: bool,
    ) -> None:
        self.chunk_versions = chunk_versions
        if self.sums is None or not grows:
            self.sums = summed(self.selection, found)
            self.lengths = [[len(page or b"") for page in own] for own in found]
            return
        for own, lengths in zip(found, self.lengths, strict=True):
            for at, page in enumerate(own):
                if page is not None:
                    own[at] = page[lengths[at] :]
                    lengths[at] = len(page)
        self.sums = self.sums.plus(found)


class SumsCache:
    """The last selections and their sums; the longest unused goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, CachedSums] = OrderedDict()
        self._size_bytes = 0

    def get(self, question: Hashable) -> CachedSums | None:
        found = self._kept.get(question)
        if found is not None:
            self._kept.move_to_end(question)
        return found

    def put(self, question: Hashable, cached: CachedSums) -> None:
        before = self._kept.pop(question, None)
        if before is not None:
            self._size_bytes -= before.size_bytes
        self._kept[question] = cached
        self._size_bytes += cached.size_bytes
        while self._size_bytes > SUMS_BYTES_MAX and len(self._kept) > 1:
            self._size_bytes -= self._kept.popitem(last=False)[1].size_bytes
