"""What is older than the log: taken over from the generation that counted it.

The rule: *while both generations stand at the same positions, they speak of the same records, so
that what one of them says of a bucket may replace what the other says.* The new one has counted the
log from where it starts now. Whatever the old one has besides, in buckets that records before that
start may have reached, is the difference of the two, and is committed to the new one as an ordinary
delta. So it does not matter how late an event came, how often a killed rebuild begins again, or what
the new one had counted there; and from then on both add the same.

- `older_ms` (B) parts the buckets, for all tiers at one instant, a UTC midnight: those before B are
  the old generation's, under its limits and prices; those from B on are counted from the log alone.
- B lies so far behind the first record's append that no record before it reaches B, neither by its
  own time nor as the original of a resend or the first event of a call: AHEAD + slack + 1.5 W.
- What is remembered (ids, bookings of calls before B) is taken over first, so that both generations
  judge and place the records to come alike while the buckets follow.
- Views and measures that the old generation did not keep have no history before B: the new one
  says so (`history_from`).

What it cannot know: an event whose original is gone from the log *and* from the ids (older than W),
sent again under another time. The old generation would have counted it too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from schemas.catalog.views import (
    CALL_BUCKETS,
    ID_BUCKETS,
    REMEMBERED_MS,
    SLICE_MS,
    Table,
)
from schemas.errors import StoreUnavailable
from schemas.limits import AHEAD_MS_MAX, DAY_MS
from schemas.store.layout import (
    RUN_DTYPE,
    PageKind,
    Rows,
    prefix,
)
from schemas.tiers import SLACK_MS, ceil_to
from streams.core.fold import Delta, DeltaPart
from streams.core.ports import Outcome
from streams.rebuild.carried_records import CarriedRecords
from streams.rebuild.name_cache import NameCache
from streams.rebuild.page_difference import SeriesChunk, difference, rows_of
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.shared_history import SharedHistory
from streams.redis.generations import Entry, RedisPair

T = TypeVar("T")

PAGES_AT_ONCE: Final = 100
"""Compared at once: at most 9,600 additions in one commit, 0.1 s of Redis."""
BUCKETS_AT_ONCE: Final = 64
"""Sets of ids or hashes of calls that are read at once, each of up to some 4,096."""
EXPIRING_MS: Final = 600_000
"""A page that goes so soon is not compared: it might go in between, and is not read any more."""


def carry_over_before(first_append_ms: int) -> int:
    """B: no record that was appended before `first_append_ms`, and nothing that depends on one
    within the time that is remembered, adds to a bucket from there on."""
    return ceil_to(first_append_ms + AHEAD_MS_MAX + SLACK_MS + REMEMBERED_MS + SLICE_MS, DAY_MS)


Place = tuple[str, int, int, int, int]
"""Of a page: head, tier, chunk, tenant, page."""


class _Located(NamedTuple):
    """A unit and where it lies in either generation: key ("" nowhere) and series."""

    unit: SeriesChunk
    old: tuple[str, int]
    new: tuple[str, int]


class CarryOver:
    """`streams.rebuild.rebuild_worker.OlderHistory` on Redis: everything before the entry's `older_ms` that both
    generations keep."""

    def __init__(self, pair: RedisPair, shared: SharedHistory, entry: Entry, now_ms: int) -> None:
        self._pair = pair
        self._shared = shared
        self._entry = entry
        self._older_ms = entry.older_ms
        self._now_ms = now_ms
        self._old = NameCache(pair, pair.origin)
        self._new = NameCache(pair, pair.generation)
        self._records = CarriedRecords(pair, shared, entry.older_ms)

    async def carry_over(self, worker: RebuildWorker) -> None:
        """Each step is a commit that finds nothing to add where it was done before."""
        look = await worker.patiently(self._pair.look)
        for slice_ in range(look.old.slice_low, look.old.slice_high + 1):
            for at in range(0, ID_BUCKETS, BUCKETS_AT_ONCE):
                await self._records.carry_ids(worker, slice_, range(at, at + BUCKETS_AT_ONCE))
            for at in range(0, CALL_BUCKETS, BUCKETS_AT_ONCE):
                await self._records.carry_calls(worker, slice_, range(at, at + BUCKETS_AT_ONCE))
        for dictionary in (self._old, self._new):
            cursor = 0
            while True:
                cursor, keys = await worker.patiently(
                    lambda d=dictionary, c=cursor: self._pair.some_keys(d.generation, "[ps]", c)  # type: ignore[misc]
                )
                places = self._older_places(dictionary.generation, keys)
                for at in range(0, len(places), PAGES_AT_ONCE):
                    await self._carry_pages(worker, dictionary, places[at : at + PAGES_AT_ONCE])
                if not cursor:
                    break
        await self._records.carry_recent(worker)
        await self._records.carry_tallies(worker)
        done = msgspec.structs.replace(self._entry, is_whole=True)
        await worker.patiently(lambda: self._pair.note(self._pair.generation, done))

    # -- pages -------------------------------------------------------------------------------------

    def _older_places(self, generation: int, keys: Sequence[bytes]) -> list[Place]:
        places = []
        for key in keys:
            head, *numbers = key.decode().removeprefix(prefix(generation)).rsplit(".", 4)
            tier, chunk, tenant, page = map(int, numbers)
            if self._is_older(head, tier, chunk):
                places.append((head, tier, chunk, tenant, page))
        return places

    def _is_older(self, head: str, tier_id: int, chunk: int) -> bool:
        tier, common = self._shared.tiers.get(tier_id), self._shared.page_kinds.get(head)
        if tier is None or common is None:
            return False
        if tier_id not in [one.id for one in common.new.tiers]:
            return False
        expires_ms = (chunk + 1) * tier.chunk_ms + tier.kept_ms + 2 * SLACK_MS
        return chunk * tier.chunk_ms < self._older_ms and expires_ms > self._now_ms + EXPIRING_MS

    async def _carry_pages(
        self, worker: RebuildWorker, dictionary: NameCache, places: Sequence[Place]
    ) -> None:
        while True:
            found = await worker.patiently(lambda: self._careful(self._found(dictionary, places)))
            keys = list(dict.fromkeys(key for f in found for key, _ in (f.old, f.new) if key))
            state, pages = await worker.level(lambda k=keys: self._careful(self._pair.read(k)))  # type: ignore[misc]
            delta = self._delta(found, dict(zip(keys, pages, strict=True)))
            if not delta.parts:
                return
            commit = replace(worker.correction(state), delta=delta)
            if (await worker.correct(commit)).outcome is Outcome.COMMITTED:
                return

    async def _careful(self, asked: Awaitable[T]) -> T:
        """A store that was away may have come back older, with other names under the same ids."""
        try:
            return await asked
        except StoreUnavailable:
            self._old.let_go()
            self._new.let_go()
            raise

    async def _found(self, dictionary: NameCache, places: Sequence[Place]) -> list[_Located]:
        """The series of these pages, and where they lie in both generations."""
        self._old.look_again()
        self._new.look_again()
        units: dict[SeriesChunk, None] = {}
        tenants = await dictionary.tenants()
        for head, tier, chunk, tenant, page in places:
            page_kind = self._page_kind_of(dictionary, head)
            names = (await dictionary.series(page_kind, tenant)).names
            page_series = page_kind.page_series
            for name in names[page * page_series : (page + 1) * page_series]:
                units[
                    SeriesChunk(head, self._shared.tiers[tier], chunk, tenants.names[tenant], name)
                ] = None
        found = []
        for unit in units:
            common = self._shared.page_kinds[unit.head]
            old = await self._old.key(common.old, unit)
            found.append(_Located(unit, old, await self._new.key(common.new, unit)))
        return found

    def _page_kind_of(self, dictionary: NameCache, head: str) -> PageKind:
        common = self._shared.page_kinds[head]
        return common.old if dictionary is self._old else common.new

    def _delta(self, found: Sequence[_Located], pages: Mapping[str, bytes | None]) -> Delta:
        """Those of one table and tenant side by side, as a delta has its series."""
        tenants: dict[str, int] = {}
        series: list[tuple[Table, int, str]] = []
        places: dict[tuple[Table, int, str], int] = {}
        lacking: dict[tuple[str, int], list[tuple[int, int, Rows]]] = {}
        for unit, (old_key, old_series), (new_key, new_series) in sorted(
            found,
            key=lambda one: (one.unit.tenant, self._shared.page_kinds[one.unit.head].new.table.id),
        ):
            common = self._shared.page_kinds[unit.head]
            buckets = (self._older_ms - unit.chunk * unit.tier.chunk_ms) // unit.tier.bucket_ms
            rows = difference(
                common,
                rows_of(common.old, pages.get(old_key), old_series, buckets),
                rows_of(common.new, pages.get(new_key), new_series, buckets),
            )
            if len(rows):
                tenant = tenants.setdefault(unit.tenant, len(tenants))
                one = common.new.table, tenant, unit.name
                if one not in places:
                    places[one] = len(series)
                    series.append(one)
                parts = lacking.setdefault((unit.head, unit.tier.id), [])
                parts.append((places[one], unit.chunk, rows))
        return Delta(
            list(tenants),
            series,
            [
                DeltaPart(
                    page_kind,
                    self._shared.tiers[tier],
                    np.array([(at, chunk, len(rows)) for at, chunk, rows in parts], RUN_DTYPE),
                    # Of rows side by side numpy makes such of this machine's byte order, and digests
                    # lie in the other one.
                    np.concatenate([rows for _, _, rows in parts]).astype(page_kind.dtype),
                )
                for (head, tier), parts in lacking.items()
                for page_kind in (self._shared.page_kinds[head].new,)
            ],
            (),
        )
