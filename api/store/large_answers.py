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
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, starmap
from typing import Final, NamedTuple, TypeVar

from api.errors import LargeAnswersBusy, UnanswerableQuestion
from api.query.selection import COUNTER_WEIGHT, SKETCH_CELLS_MAX, Selection
from api.query.sliced_sums import slices, summed_in_slices
from api.query.sums import Pages, Sums
from api.store.connection import ReadConnection
from api.store.page_cache import NO_CHUNK_VERSION, PackedChunkVersion, Page, PageCache
from api.store.snapshot import SnapshotReader
from api.store.sums_cache import CachedSums, Tail
from schemas.store.layout import Meta, unpack_chunk_version

UNSEEN_BYTES_MAX: Final = 32 * 1024 * 1024
"""If all pages of an answer cannot be larger together, weighed, their lengths are not asked for. Those of
dashboards cannot: 24 h of 30 models are at most 22 MB, and 10 MB if each is busy in every minute."""
SMALL_BYTES_MAX: Final = 8 * 1024 * 1024
"""Weighed (`COUNTER_WEIGHT`): 512 KiB of counters, 40,000 rows. A larger answer is read in pieces. Up to
here decoding takes 30 ms and 30 MiB at once."""
SMALL_PAGES_MAX: Final = 5000
"""Of more pages not even the lengths are asked for at once. Five years of 30 models by hour have 4,500."""
ANSWER_BYTES_MAX: Final = 128 * 1024 * 1024
"""The most that one answer may read, weighed: 8 MiB of counters, 600,000 rows. The leaderboard of
100,000 users over 30 days has 100 MB."""
ROW_BYTES_MIN: Final = 3
"""Of counters, in a page: a slot, and one number of one byte."""
CELLS_MAX: Final = 8 * 1024 * 1024
"""Sums of one answer (groups x buckets x measures), 8 bytes each: 64 MB."""
PIECE_BYTES_MAX: Final = 256 * 1024
PIECE_PAGES_MAX: Final = 1000
"""Of one piece, as stored: 1 ms of Redis and as much of this process, in commands of which each is short."""
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
    """A page that sums need, or what was appended to it: the place of its page set and of its key."""

    place: int
    at: int
    tail: Tail
    chunk: str
    chunk_version: PackedChunkVersion


@dataclass(frozen=True, eq=False)
class _Work:
    """What makes the sums of one question at `chunk_versions`: nothing if they are `made`; only what was
    appended if `grown` are its sums before; else all `needed` pages. It is fixed here, because other
    tasks may bring the cached sums to a later instant meanwhile."""

    cached: CachedSums
    chunk_versions: Sequence[PackedChunkVersion]
    made: Sums | None
    grown: Sums | None
    lengths: list[list[int]]
    needed: list[_Needed]

    @staticmethod
    def of(cached: CachedSums, versions: Sequence[PackedChunkVersion]) -> _Work:
        made = cached.sums if cached.chunk_versions == versions else None
        grown = cached.sums if cached.grows(versions) else None
        return _Work(
            cached,
            versions,
            made,
            grown,
            [[*own] for own in cached.lengths]
            if made or grown
            else [[0] * len(page_set.keys) for page_set in cached.selection.page_sets],
            list(starmap(_Needed, cached.tails(versions))),
        )


@dataclass(eq=False)
class LargeRead:
    """One large question: what was read for it so far, over all its tries."""

    connection: ReadConnection
    caches: Sequence[PageCache]
    _held: dict[Tail, _Held] = field(default_factory=dict)

    async def refresh(
        self, snapshots: SnapshotReader, all_cached: Sequence[CachedSums]
    ) -> Meta | None:
        """As `GenerationState.refresh`, in pieces. Raises UnanswerableQuestion, LargeAnswersBusy."""
        chunks = [chunk for one in all_cached for chunk in one.selection.chunk_versions]
        for _round in range(ROUNDS_MAX):
            snapshot = await snapshots.read(chunks)
            if snapshot is None:
                return None
            works = [
                _Work.of(one, snapshot.chunk_versions(one.selection.chunk_versions))
                for one in all_cached
            ]
            wanted: dict[Tail, str] = {}
            for work in works:
                async for one in _unhurried(work.needed):
                    if self._is_wanted(one):
                        wanted[one.tail] = one.chunk
            if not wanted:
                self._check(all_cached, {})
                return await self._sum_all(snapshot.meta, works)
            await self._read(wanted, all_cached, snapshot.found)
        raise LargeAnswersBusy(f"the counters changed under each of {ROUNDS_MAX} reads")

    def _is_wanted(self, needed: _Needed) -> bool:
        """Whether the page is not held at its version. One that is cached is held from now on."""
        tail = needed.tail
        if needed.chunk_version == NO_CHUNK_VERSION:
            return False  # nothing was ever appended to the chunk, so it has no pages
        held = self._held.get(tail)
        if held is None and not tail[1]:
            for cache in self.caches:
                page = cache.pages_of(needed.chunk).get(tail[0])
                if page is not None:
                    compactions = unpack_chunk_version(page.chunk_version).compactions
                    held = _Held(compactions, page.chunk_version, page.data or b"")
                    self._held[tail] = held
        return held is None or held.chunk_version != needed.chunk_version

    async def _read(
        self,
        wanted: Mapping[Tail, str],
        all_cached: Sequence[CachedSums],
        versions: Mapping[str, PackedChunkVersion | None],
    ) -> None:
        """Read these pages, or what was appended to them, after a look at how long they are."""
        absent: list[Tail] = []
        async for tail, chunk in _unhurried(wanted.items()):
            held = self._held.get(tail)
            now = unpack_chunk_version(versions[chunk] or NO_CHUNK_VERSION)
            if held is not None and held.compactions != now.compactions:
                del self._held[tail]
            if tail not in self._held:
                absent.append(tail)
        lengths = dict(
            zip(absent, await lengths_of(self.connection, [key for key, _ in absent]), strict=True)
        )
        self._check(all_cached, lengths)
        needed = {tail: max(0, lengths[tail] - tail[1]) for tail in absent}
        for piece in _pieces(wanted, needed):
            await self._read_piece({tail: wanted[tail] for tail in piece})

    def _check(self, all_cached: Sequence[CachedSums], absent: Mapping[Tail, int]) -> None:
        """Raise UnanswerableQuestion if what is held and the absent pages, of these lengths, are more
        bytes or cells than an answer may have."""
        held = {key: start + len(one.data) for (key, start), one in self._held.items()}
        check_bytes(
            weighed(
                all_cached,
                chain(
                    ((key, max(0, length - start)) for (key, start), length in absent.items()),
                    ((key, len(one.data)) for (key, _), one in self._held.items()),
                ),
            )
        )
        check_cells(all_cached, held | {key: length for (key, _), length in absent.items()})

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
        for (tail, chunk), data in zip(piece.items(), found, strict=True):
            old, new = before[chunk] or NO_CHUNK_VERSION, after[chunk] or NO_CHUNK_VERSION
            compactions = unpack_chunk_version(old).compactions
            known = self._held.pop(tail, None)
            if compactions != unpack_chunk_version(new).compactions or (
                known is not None and known.compactions != compactions
            ):
                continue  # compacted meanwhile: what was read does not fit together
            self._held[tail] = _Held(
                compactions, new if old == new else None, (known.data if known else b"") + data
            )

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
        kept: dict[str, dict[str, Page]] = {}
        async for place, at, (key, start), chunk, version in _unhurried(work.needed):
            if version == NO_CHUNK_VERSION:
                continue
            data = self._held[key, start].data
            found[place][at] = data or None
            work.lengths[place][at] = start + len(data)
            if not start:
                kept.setdefault(chunk, {})[key] = Page(version, data or None)
        for chunk, pages in kept.items():
            self.caches[-1].keep(chunk, pages)
        return await _summed(selection, found, work.grown)


Item = TypeVar("Item")


async def _unhurried(items: Iterable[Item]) -> AsyncIterator[Item]:
    """These, and other tasks run after each thousand."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % PIECE_PAGES_MAX:
            await asyncio.sleep(0)


async def lengths_of(connection: ReadConnection, keys: Iterable[str]) -> list[int]:
    """The lengths of these pages, without reading them."""
    found: list[int] = []
    rest = iter(keys)
    while some := list(islice(rest, PIECE_PAGES_MAX)):
        found += await connection.read(*[("STRLEN", key) for key in some])
    return found


async def _summed(selection: Selection, found: Pages, grown: Sums | None) -> Sums:
    """The sums of these pages, or `grown` with these tails. Other tasks run after each slice."""
    if grown is not None:
        for part in slices(selection, found):
            grown = grown.plus(part)
            await asyncio.sleep(0)
        return grown
    steps = summed_in_slices(selection, found)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Sums = end.value
            return made
        await asyncio.sleep(0)


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


def weighed(all_cached: Sequence[CachedSums], lengths: Iterable[tuple[str, int]]) -> int:
    """What these lengths of pages count for. The pages are some that `all_cached` need."""
    light = {
        key
        for cached in all_cached
        for page_set in cached.selection.page_sets
        if page_set.weight == 1
        for key in page_set.keys
    }
    return sum(length if key in light else COUNTER_WEIGHT * length for key, length in lengths)


def check_bytes(count: int) -> None:
    """`count`: weighed."""
    if count > ANSWER_BYTES_MAX:
        raise UnanswerableQuestion(
            f"The answer would decode {count / 2**20:.0f} MiB of counters, more than the limit of"
            f" {ANSWER_BYTES_MAX / 2**20:.0f} MiB (ANSWER_BYTES_MAX). Use a shorter range, longer"
            " buckets (granularity), or filters that select fewer series."
        )


def check_cells(all_cached: Sequence[CachedSums], lengths: Mapping[str, int]) -> None:
    """Raise UnanswerableQuestion if the answer may have too many sums, those of all its sections
    together. Each row of a page makes one cell at most, so a range in which most groups have no events
    is not refused."""
    sums = sketches = 0
    for cached in all_cached:
        plan = cached.selection.plan
        cells = len(cached.selection.groups) * len(plan.starts_ms)
        rows, sketch_rows = _rows(cached.selection, lengths)
        sums += min(cells, rows) * len(plan.sums)
        sketches += min(cells * len(plan.sketches), sketch_rows)
    for found, most, what in (
        (sums, CELLS_MAX, "sums (CELLS_MAX)"),
        (sketches, SKETCH_CELLS_MAX, "percentiles or distinct counts (SKETCH_CELLS_MAX)"),
    ):
        if found > most:
            raise UnanswerableQuestion(
                f"The answer may have {found} cells (groups x buckets x measures), more than the limit"
                f" of {most} {what}. Use a shorter range, longer buckets (granularity), fewer"
                " dimensions or measures, or filters that select fewer series."
            )


def _rows(selection: Selection, lengths: Mapping[str, int]) -> tuple[int, int]:
    """The most rows of counters and of sketches in pages of these lengths."""
    counters = sketches = 0
    for part in selection.parts:
        for page_kind, page_set in part.page_sets.items():
            length = sum(lengths.get(key, 0) for key in page_set.keys)
            if page_kind.sketch is None:
                counters += length // ROW_BYTES_MIN
            else:
                sketches += length // page_kind.dtype.itemsize
    return counters, sketches
