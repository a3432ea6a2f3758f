"""The sums of recent questions, each with the versions of the chunks that it was computed from.

While no chunk of a question changes its version, its sums are given again as they are. Where pages
have only grown, the rows of their tails are added to the cached sums.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cachetools import LRUCache

from api.query.selection import Selection
from api.query.sums import Sums, summed
from api.store.page_cache import PAGE_BYTES, Missing, PackedChunkVersion, Page, PageCache, only_grew
from api.store.snapshot import Snapshot
from schemas.catalog.sketches import BINS, Distinct
from schemas.store.layout import Meta

SUMS_BYTES_MAX: Final = 64 * 1024 * 1024
"""A dashboard of 30 models over 24 h has 150 page keys (30 kB) and 8,640 cells of 8 bytes a term: 0.4
MB with five terms, so 150 such pages fit."""
OF_ONE_BYTES_MAX: Final = SUMS_BYTES_MAX // 4
"""Larger sums are not cached: they would evict those of all other tenants."""
PAGE_COST: Final = 16
"""What it costs to look at a page, in bytes of rows."""
SKETCH_BYTES: Final = 200
"""What a sketch costs beside its numbers."""

SUM_FEW: Final = 32 * 1024
"""Bytes of pages that are summed without a thread: 3,000 rows, 2 to 3 ms."""

BEHIND_MAX: Final = 5000
"""If more pages are missing, the next ones are not added: together they could be too many."""
SumsKey = tuple[int, str]
"""The number of a plan, and the tenant."""
Step = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Gives the result of a function that takes some ms, from a thread."""


@dataclass(eq=False)
class CachedSums:
    """A selection, and its sums at `chunk_versions`, computed from `lengths` bytes of each page.

    At the state `meta` the sums were up to date. They contain all series that were named when
    `Meta.names` was `whole_at`. `named_at` counts the names that this process had learned when it
    made the selection. `is_large`: the sums were read in pieces (`large_answers`). `weighed`: the sums whose size the cache knows.
    """

    selection: Selection
    sums: Sums | None = None
    chunk_versions: Sequence[PackedChunkVersion] = ()
    lengths: list[list[int]] = field(default_factory=list)
    meta: Meta | None = None
    named_at: int = -1
    whole_at: int = -1
    is_large: bool = False
    weighed: Sums | None = None

    @property
    def size_bytes(self) -> int:
        """An estimate, from the number of keys, and from the sums once they are made."""
        keys = sum(len(page_set.keys) for page_set in self.selection.page_sets)
        return PAGE_BYTES * (keys + 5) + (0 if self.sums is None else _bytes_of(self.sums))

    def list_missing(self, page_cache: PageCache, missing: Missing) -> None:
        """If nothing was summed yet: add every page that is not cached to `missing`."""
        if self.sums is not None:
            return
        for page_set in self.selection.page_sets:
            for number, chunk in enumerate(page_set.chunk_versions):
                cached = page_cache.pages_of(chunk)
                for at in page_set.places_of(number):
                    if (key := page_set.keys[at]) not in cached:
                        missing.whole[key] = None
                        missing.chunk_of[key] = chunk
                        missing.bytes_max[key] = page_set.page_bytes_max
                    else:
                        missing.cached_bytes += page_set.weight * len(cached[key].data or b"")

    def summing(
        self,
        chunk_versions: Sequence[PackedChunkVersion],
        pages: Mapping[str, Page],
        page_cache: PageCache,
        missing: Missing,
        *,
        by_tails: bool,
    ) -> list[Summing]:
        """What brings the sums to these versions, from `pages` and the page cache: nothing, or one.

        If a page at its version is in neither, add it to `missing`. `by_tails`: read only the tail of a
        cached page that has grown.
        """
        if self.sums is not None and self.chunk_versions == chunk_versions:
            return []
        grows = self.grows(chunk_versions)
        found: list[list[bytes | None]] = [[None] * len(w.keys) for w in self.selection.page_sets]
        place, is_missing = 0, False
        for own, page_set in zip(found, self.selection.page_sets, strict=True):
            for number, chunk in enumerate(page_set.chunk_versions):
                chunk_version = chunk_versions[place]
                is_new = not grows or self.chunk_versions[place] != chunk_version
                place += 1
                if not is_new:
                    continue
                cached = page_cache.pages_of(chunk)
                for at in page_set.places_of(number):
                    key = page_set.keys[at]
                    page = pages.get(key) or cached.get(key)
                    if page is not None and page.chunk_version == chunk_version:
                        own[at] = page.data
                        continue
                    is_missing = True
                    missing.chunk_of[key] = chunk
                    missing.bytes_max[key] = page_set.page_bytes_max
                    if by_tails and page and only_grew(page.chunk_version, chunk_version):
                        missing.tails[key] = page
                    else:
                        missing.whole[key] = None
        if is_missing:
            return []
        before = self.sums if grows else None
        return [Summing(self, chunk_versions, found, before, [[*own] for own in self.lengths])]

    def put(
        self,
        chunk_versions: Sequence[PackedChunkVersion],
        sums: Sums,
        lengths: list[list[int]],
    ) -> None:
        """The sums at these versions, computed from so many bytes of each page."""
        self.chunk_versions, self.sums, self.lengths = chunk_versions, sums, lengths

    def grows(self, chunk_versions: Sequence[PackedChunkVersion]) -> bool:
        """Whether the sums at these versions are those of now with the rows appended since."""
        return (
            self.sums is not None
            and self.sums.can_grow
            and all(map(only_grew, self.chunk_versions, chunk_versions))
        )


Renew = Callable[[Sequence[CachedSums], int], Awaitable[Sequence[CachedSums] | None]]
"""Gives these sums, or new ones, with all series that had a name when `Meta.names` was so many."""


@dataclass(eq=False)
class Summing:
    """What makes the sums of one question at `chunk_versions` from the pages in `found`: all of them, or
    those that have grown if there are sums `before`. It may run in a thread: it changes nothing else."""

    cached: CachedSums
    chunk_versions: Sequence[PackedChunkVersion]
    found: list[list[bytes | None]]
    before: Sums | None
    lengths: list[list[int]]

    @property
    def size(self) -> int:
        """What it costs: bytes, and PAGE_COST of each page."""
        if self.before is None:
            return sum(PAGE_COST + len(page or b"") for own in self.found for page in own)
        return sum(
            PAGE_COST + len(page) - length
            for own, lengths in zip(self.found, self.lengths, strict=True)
            for page, length in zip(own, lengths, strict=True)
            if page is not None
        )

    def run(self) -> tuple[Sums, list[list[int]]]:
        """The sums, and from how many bytes of each page they are computed."""
        selection, found = self.cached.selection, self.found
        if self.before is None:
            return summed(selection, found), [[len(page or b"") for page in own] for own in found]
        for own, lengths in zip(found, self.lengths, strict=True):
            for at, page in enumerate(own):
                if page is not None:
                    own[at] = page[lengths[at] :]
                    lengths[at] = len(page)
        return self.before.plus(found), self.lengths


def are_of(all_cached: Sequence[CachedSums], meta: Meta) -> bool:
    """Whether the selections are right for these counters; if not, they are made again."""
    return all(one.selection.is_of(meta) for one in all_cached)


def pages_of(
    missing: Missing, snapshot: Snapshot, before: Snapshot | None, page_cache: PageCache
) -> dict[str, Page]:
    """The missing pages in a snapshot, by key. They are added to the page cache.

    A tail is valid only if the version of its chunk did not change since the snapshot before.
    """
    fresh: dict[str, dict[str, Page]] = defaultdict(dict)
    for key in missing.whole:
        chunk = missing.chunk_of[key]
        fresh[chunk][key] = Page(snapshot.chunk_version(chunk), snapshot.found[key] or None)
    for key, page in missing.tails.items():
        chunk = missing.chunk_of[key]
        chunk_version = snapshot.chunk_version(chunk)
        if before is not None and before.chunk_version(chunk) == chunk_version:
            known = page.data or b""
            tail = snapshot.tails[key, len(known)]
            fresh[chunk][key] = Page(chunk_version, known + tail or None)
    for chunk, pages in fresh.items():
        page_cache.keep(chunk, pages)
    return {key: page for pages in fresh.values() for key, page in pages.items()}


def summing_of(
    all_cached: Sequence[CachedSums],
    snapshot: Snapshot,
    fresh: Mapping[str, Page],
    page_cache: PageCache,
    *,
    by_tails: bool,
) -> tuple[Missing, list[Summing]]:
    """What brings these sums to a snapshot, and the pages that are missing for that. `fresh`: its pages."""
    missing, to_sum = Missing(), list[Summing]()
    for cached in all_cached:
        if cached.meta is not snapshot.meta:
            versions = snapshot.chunk_versions(cached.selection.chunk_versions)
            to_sum += cached.summing(versions, fresh, page_cache, missing, by_tails=by_tails)
    return missing, to_sum


async def sum_all(
    all_cached: Sequence[CachedSums], to_sum: Sequence[Summing], meta: Meta, step: Step
) -> Meta:
    """Make these sums. They change at once, when the last of them is made: other tasks may bring them to
    a later instant meanwhile."""
    made = []
    for number, one in enumerate(to_sum):
        if number:
            await asyncio.sleep(0)  # others are answered between two sums
        made.append(one.run() if one.size <= SUM_FEW else await step(one.run))
    for one, (sums, lengths) in zip(to_sum, made, strict=True):
        one.cached.put(one.chunk_versions, sums, lengths)
    for cached in all_cached:
        cached.meta = meta
    return meta


async def renewed_by(
    renew: Renew, all_cached: Sequence[CachedSums], meta: Meta
) -> Sequence[CachedSums] | None:
    """The same list if it has all series that a snapshot has; else new sums, of the same chunks. None: start
    again."""
    renewed = await renew(all_cached, meta.names)
    if renewed is None or renewed is all_cached:
        return renewed
    before, now = (
        [chunk for one in some for chunk in one.selection.chunk_versions]
        for some in (all_cached, renewed)
    )
    return renewed if before == now else None


def list_behind(all_cached: Sequence[CachedSums], missing: Missing, number: int) -> None:
    """If pages of new series are missing, add the next ones of each chunk: more series are named until they
    are read. `number`: of the read; each looks twice as far as the one before."""
    if not 0 < len(missing.whole) <= BEHIND_MAX:
        return
    for one in all_cached:
        for page_set, chunk, key in one.selection.pages_behind(2**number):
            missing.whole[key] = None
            missing.chunk_of[key] = chunk
            missing.bytes_max[key] = page_set.page_bytes_max


def _bytes_of(sums: Sums) -> int:
    """The arrays and the sketches. `Sums.there` copies those cells that are not zero: of an array of
    all cells they are few, of others all."""
    copies = 1 if sums.places is None else 2
    arrays = [one for one in (sums.low, sums.high, sums.places) if one is not None]
    return copies * sum(one.nbytes for one in arrays) + sum(
        SKETCH_BYTES + (one.digests.nbytes if isinstance(one, Distinct) else 8 * BINS)
        for own in sums.sketched
        for one in own.values()
    )


def new_sums_cache() -> LRUCache[SumsKey, CachedSums]:
    """At most SUMS_BYTES_MAX."""
    return LRUCache(SUMS_BYTES_MAX, getsizeof=lambda cached: min(cached.size_bytes, SUMS_BYTES_MAX))
