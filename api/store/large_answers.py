"""Answers that need many bytes of counters: read in pieces on a connection of their own.

A piece has the versions of its chunks before and after its pages, so it is known of which version each
page is. After the last piece, one snapshot says whether the chunks still have those versions. If not,
what was appended since is read, and the snapshot is taken again. So the answer is of the instant of that
last snapshot, as a small answer is. If the chunks change in each round, the answer is a 503.

Pages are read behind a look at their lengths (STRLEN), so an answer that is too large is refused before
any page is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple

from api.errors import LargeAnswersBusy
from api.query.bounds import check_bytes, check_cells, weighed
from api.query.selection import Selection
from api.query.sliced_sums import slices, summed_in_slices
from api.query.sums import Pages, Sums
from api.store.connection import ReadConnection
from api.store.page_cache import NO_CHUNK_VERSION, PackedChunkVersion, Page, PageCache
from api.store.slots import Priority
from api.store.snapshot import Snapshot, SnapshotReader, Tail, batched, lengths_of
from api.store.sums_cache import CachedSums, Renew, are_of, renewed_by
from schemas.store.chunk_version import unpack_chunk_version
from schemas.store.layout import (
    Meta,
)

UNSEEN_BYTES_MAX: Final = 32 * 1024 * 1024
"""If all pages of an answer cannot be larger together, weighed, their lengths are not asked for. Those of
dashboards cannot: 24 h of 30 models are at most 22 MB, and 10 MB if each is busy in every minute."""
SMALL_BYTES_MAX: Final = 8 * 1024 * 1024
"""Weighed (`COUNTER_WEIGHT`): 512 KiB of counters, 40,000 rows. A larger answer is read in pieces. Up to
here decoding takes 30 ms and 30 MiB at once."""
SMALL_PAGES_MAX: Final = 5000
"""Of more pages not even the lengths are asked for at once. Five years of 30 models by hour have 4,500."""
PIECE_BYTES_MAX: Final = 256 * 1024
PIECE_PAGES_MAX: Final = 1000
"""Of one piece, as stored: 1 ms of Redis and as much of this process, in commands of which each is short."""
STEP_PAGES: Final = 4000
"""Pages that are looked at, or looked for in the caches, at once: 2 to 4 ms."""
TOGETHER_PAGES_MAX: Final = 5000
TOGETHER_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the pages that have changed since they were read: so many are read again with the next snapshot, in one
command. In pieces they would have changed again: a worker commits ten times a second."""
TAILS_ROUNDS: Final = 2
"""Rounds in which only what was appended is read, in pieces. Without many commits the second has nothing."""
ROUNDS_MAX: Final = 8
"""Snapshots of one answer. The second is the rule. Each further one needs a commit to the question's
chunks while the few rows are read that the commit before has appended."""


class AnswerIsLarge(Exception):
    """The pages of an answer are too many for one snapshot: read it in pieces."""


class _Held(NamedTuple):
    """What was read of a page: all of it at `chunk_version`. None: a commit came while it was read, so
    it is a beginning of the page as long as the chunk has so many `compactions`."""

    compactions: int
    chunk_version: PackedChunkVersion | None
    data: bytes


class _Needed(NamedTuple):
    """Pages of one chunk that sums need, or what was appended to them: the place of their page set and
    of their keys, and for each the key and the byte from which to read."""

    place: int
    first: int
    tails: Sequence[Tail]
    chunk: str
    chunk_version: PackedChunkVersion


@dataclass(frozen=True, eq=False)
class _Work:
    """What makes the sums of one question at `chunk_versions`: nothing if they are `made`; only what was
    appended if `grown` are its sums before; else all `needed` pages. It is fixed here, because other
    tasks may bring the cached sums to a later instant meanwhile."""

    cached: CachedSums
    before: Sequence[PackedChunkVersion]
    chunk_versions: Sequence[PackedChunkVersion]
    made: Sums | None
    grown: Sums | None
    lengths: list[list[int]]

    @staticmethod
    def of(cached: CachedSums, versions: Sequence[PackedChunkVersion]) -> _Work:
        made = cached.sums if cached.chunk_versions == versions else None
        grown = cached.sums if cached.grows(versions) else None
        return _Work(
            cached,
            cached.chunk_versions,
            versions,
            made,
            grown,
            [[*own] for own in cached.lengths]
            if made or grown
            else [[0] * len(page_set.keys) for page_set in cached.selection.page_sets],
        )

    def needed(self) -> Iterator[_Needed]:
        """At most PIECE_PAGES_MAX pages each. Nothing was ever appended to a chunk without a version,
        so it has no pages."""
        if self.made is not None:
            return
        number = -1
        for place, page_set in enumerate(self.cached.selection.page_sets):
            lengths = self.lengths[place]
            for chunk, key in enumerate(page_set.chunk_versions):
                number += 1
                version = self.chunk_versions[number]
                if version == NO_CHUNK_VERSION or (
                    self.grown is not None and self.before[number] == version
                ):
                    continue
                places = page_set.places_of(chunk)
                for first in range(places.start, places.stop, PIECE_PAGES_MAX):
                    some = slice(first, min(first + PIECE_PAGES_MAX, places.stop))
                    tails = [*zip(page_set.keys[some], lengths[some], strict=True)]
                    yield _Needed(place, first, tails, key, version)


@dataclass(eq=False)
class LargeRead:
    """One large question: what was read for it so far, over all its tries."""

    connection: ReadConnection
    caches: Sequence[PageCache]
    threads: Executor
    priority: Priority
    _held: dict[Tail, _Held] = field(default_factory=dict)

    async def refresh(
        self, snapshots: SnapshotReader, all_cached: Sequence[CachedSums], renew: Renew
    ) -> tuple[Sequence[CachedSums], Meta] | None:
        """As `GenerationState.refresh`, in pieces. Raises UnanswerableQuestion, LargeAnswersBusy."""
        chunks = [chunk for one in all_cached for chunk in one.selection.chunk_versions]
        again: dict[Tail, str] = {}
        for number in range(ROUNDS_MAX):
            together = again if number > TAILS_ROUNDS and self._is_small(again) else {}
            snapshot = await snapshots.read((*chunks, *[key for key, _ in together]))
            if snapshot is None or not are_of(all_cached, snapshot.meta):
                return None
            self._take(together, snapshot)
            found = await self._works(all_cached, snapshot, renew, number)
            if found is None:
                return None
            all_cached, works, wanted = found
            if not wanted:
                await self._check(all_cached, {})
                return all_cached, await self._sum_all(snapshot.meta, works)
            if number:
                again |= wanted
            if number < TAILS_ROUNDS or not self._is_small(again):
                await self._read(wanted, all_cached, snapshot.found)
        raise LargeAnswersBusy(f"the counters changed under each of {ROUNDS_MAX} reads")

    def _is_small(self, again: Mapping[Tail, str]) -> bool:
        """Whether pages that were held before, and have changed since, may be read with the snapshot."""
        held = [self._held.get(tail) for tail in again]
        return 0 < len(held) <= TOGETHER_PAGES_MAX and (
            sum(TOGETHER_BYTES_MAX if one is None else len(one.data) for one in held)
            < TOGETHER_BYTES_MAX
        )

    def _take(self, together: Mapping[Tail, str], snapshot: Snapshot) -> None:
        """Hold the pages that were read with a snapshot: they are of its instant."""
        for (key, start), chunk in together.items():
            version = snapshot.chunk_version(chunk)
            data = (snapshot.found[key] or b"")[start:]
            compactions = unpack_chunk_version(version).compactions
            self._held[key, start] = _Held(compactions, version, data)

    async def _works(
        self, all_cached: Sequence[CachedSums], snapshot: Snapshot, renew: Renew, number: int
    ) -> tuple[Sequence[CachedSums], list[_Work], dict[Tail, str]] | None:
        """The sums with all series of a snapshot, what makes them, and the pages that are to be read for
        that. `number`: of the round; each looks twice as far behind as the one before."""
        works, wanted = await self._works_of(all_cached, snapshot)
        if wanted:
            return all_cached, works, wanted
        renewed = await renewed_by(renew, all_cached, snapshot.meta)
        if renewed is None:
            return None
        if renewed is not all_cached:
            works, wanted = await self._works_of(renewed, snapshot)
            if wanted:  # more series are named until these pages are read
                wanted |= {
                    (key, 0): chunk
                    for one in renewed
                    for _, chunk, key in one.selection.pages_behind(2**number)
                }
        return renewed, works, wanted

    async def _works_of(
        self, all_cached: Sequence[CachedSums], snapshot: Snapshot
    ) -> tuple[list[_Work], dict[Tail, str]]:
        works = [
            _Work.of(one, snapshot.chunk_versions(one.selection.chunk_versions))
            for one in all_cached
        ]
        wanted: dict[Tail, str] = {}
        for work in works:
            async for needed in self._needed(work):
                wanted |= dict.fromkeys(self._wanted(needed), needed.chunk)
        return works, wanted

    async def _needed(self, work: _Work) -> AsyncIterator[_Needed]:
        """Small questions go first after each STEP_PAGES pages."""
        pages = 0
        for needed in work.needed():
            if pages >= STEP_PAGES:
                await self.priority.give_way()
                pages = 0
            pages += len(needed.tails)
            yield needed

    def _wanted(self, needed: _Needed) -> list[Tail]:
        """The pages that are neither held nor cached at their version. Those that are cached, but not
        held, are held from now on."""
        wanted = self._not_held(needed.tails, needed.chunk_version)
        if not wanted:
            return wanted
        compactions: dict[PackedChunkVersion, int] = {}
        for pages in [cache.pages_of(needed.chunk) for cache in self.caches]:
            if not pages:
                continue
            for tail in wanted:
                page = None if tail[1] or tail in self._held else pages.get(tail[0])
                if page is None:
                    continue
                version = page.chunk_version
                if version not in compactions:
                    compactions[version] = unpack_chunk_version(version).compactions
                self._held[tail] = _Held(compactions[version], version, page.data or b"")
        return self._not_held(wanted, needed.chunk_version)

    def _not_held(self, tails: Sequence[Tail], version: PackedChunkVersion) -> list[Tail]:
        held = self._held
        return [
            tail
            for tail in tails
            if (own := held.get(tail)) is None or own.chunk_version != version
        ]

    async def _read(
        self,
        wanted: Mapping[Tail, str],
        all_cached: Sequence[CachedSums],
        versions: Mapping[str, PackedChunkVersion | None],
    ) -> None:
        """Read these pages, or what was appended to them, after a look at how long they are."""
        absent: list[Tail] = []
        compactions = {
            chunk: unpack_chunk_version(versions[chunk] or NO_CHUNK_VERSION).compactions
            for chunk in set(wanted.values())
        }
        for some in batched(wanted.items(), STEP_PAGES):
            await self.priority.give_way()
            for tail, chunk in some:
                held = self._held.get(tail)
                if held is not None and held.compactions != compactions[chunk]:
                    del self._held[tail]
                if tail not in self._held:
                    absent.append(tail)
        lengths = dict(
            zip(absent, await lengths_of(self.connection, [key for key, _ in absent]), strict=True)
        )
        await self._check(all_cached, lengths)
        needed = {tail: max(0, lengths[tail] - tail[1]) for tail in absent}
        for piece in _pieces(wanted, needed):
            await self.priority.give_way()
            await self._read_piece({tail: wanted[tail] for tail in piece})

    async def _check(self, all_cached: Sequence[CachedSums], absent: Mapping[Tail, int]) -> None:
        """Raise UnanswerableQuestion if what is held and the absent pages, of these lengths, are more
        bytes or cells than an answer may have."""
        selections = [one.selection for one in all_cached]
        await self.priority.give_way()
        own = ((key, len(one.data)) for (key, _), one in self._held.items())
        more = ((key, max(0, length - start)) for (key, start), length in absent.items())
        check_bytes(weighed(selections, chain(own, more)))
        await self.priority.give_way()
        lengths = {key: start + len(one.data) for (key, start), one in self._held.items()}
        lengths |= {key: length for (key, _), length in absent.items()}
        check_cells(selections, lengths)
        await self.priority.give_way()

    async def _read_piece(self, piece: Mapping[Tail, str]) -> None:
        chunks = list(dict.fromkeys(piece.values()))
        begins = {
            tail: tail[1] + (len(self._held[tail].data) if tail in self._held else 0)
            for tail in piece
        }
        first, *found, last = await self.connection.read(
            ("MGET", *chunks),
            *[("GETRANGE", key, begins[key, start], -1) for key, start in piece],
            ("MGET", *chunks),
        )
        before, after = (dict(zip(chunks, one, strict=True)) for one in (first, last))
        kept: dict[str, dict[str, Page]] = {}
        for (tail, chunk), data in zip(piece.items(), found, strict=True):
            old, new = before[chunk] or NO_CHUNK_VERSION, after[chunk] or NO_CHUNK_VERSION
            compactions = unpack_chunk_version(old).compactions
            known = self._held.pop(tail, None)
            if compactions != unpack_chunk_version(new).compactions or (
                known is not None and known.compactions != compactions
            ):
                continue  # compacted meanwhile: what was read does not fit together
            whole = (known.data if known else b"") + data
            self._held[tail] = _Held(compactions, new if old == new else None, whole)
            if old == new and not tail[1]:
                kept.setdefault(chunk, {})[tail[0]] = Page(new, whole or None)
        for (
            chunk,
            pages,
        ) in kept.items():  # now: if the answer takes too long, its next try is shorter
            self.caches[-1].keep(chunk, pages)

    async def _sum_all(self, meta: Meta, works: Sequence[_Work]) -> Meta:
        """Sum what is held. All sums change at once, when the last of them is made."""
        sums = [work.made or await self._sum(work) for work in works]
        for work, made in zip(works, sums, strict=True):
            work.cached.put(work.chunk_versions, made, work.lengths)
            work.cached.is_large, work.cached.meta = True, meta
        return meta

    async def _sum(self, work: _Work) -> Sums:
        selection = work.cached.selection
        found: list[list[bytes | None]] = [[None] * len(own.keys) for own in selection.page_sets]
        async for place, first, tails, _chunk, _version in self._needed(work):
            for at, (key, start) in enumerate(tails, first):
                data = self._held[key, start].data
                found[place][at] = data or None
                work.lengths[place][at] = start + len(data)
        return await self._summed(selection, found, work.grown)

    async def _summed(self, selection: Selection, found: Pages, grown: Sums | None) -> Sums:
        """The sums of these pages, or `grown` with these tails, from a thread."""
        loop = asyncio.get_running_loop()
        if grown is not None:
            for part, starts in slices(selection, found):
                await self.priority.give_way()
                grown = await loop.run_in_executor(self.threads, grown.plus, part, starts)
            return grown
        steps = _Steps(summed_in_slices(selection, found))
        while steps.made is None:
            await loop.run_in_executor(self.threads, steps.run)
            await self.priority.give_way()
        return steps.made


class _Steps:
    """The steps of `summed_in_slices`. `made`: the result, after the last."""

    def __init__(self, steps: Generator[None, None, Sums]) -> None:
        self._steps = steps
        self.made: Sums | None = None

    def run(self) -> None:
        try:
            next(self._steps)
        except StopIteration as end:
            self.made = end.value


def _pieces(wanted: Iterable[Tail], needed: Mapping[Tail, int]) -> Iterable[list[Tail]]:
    piece: list[Tail] = []
    size = 0
    for tail in wanted:
        own = needed.get(tail, 0)
        if piece and (size + own > PIECE_BYTES_MAX or len(piece) >= PIECE_PAGES_MAX):
            yield piece
            piece, size = [], 0
        piece.append(tail)
        size += own
    if piece:
        yield piece
