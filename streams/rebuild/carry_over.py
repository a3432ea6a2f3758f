"""Carries over the buckets that are older than the log from the generation that counted them.

The rule: *while both generations have the same positions, they describe the same records. So the
values of one may replace the values of the other.* The new generation has counted the log from its
current start. Earlier records may have reached older buckets. For those buckets, the difference of
the two generations is committed to the new one as an ordinary delta. So it does not matter how late
an event came, how often a killed rebuild started again, or what the new generation had counted
there. From then on, both add the same.

- `older_ms` (B) divides the buckets of all tiers at one instant, a UTC midnight. Buckets before B
  come from the old generation, with its limits and prices. Buckets from B on are counted from the
  log alone.
- B lies so far after the append time of the first record that no earlier record reaches B: neither
  by its own time, nor as the original of a resend, nor as the first event of a call. The distance is
  AHEAD + slack + 1.5 W.
- Ids, and bookings of calls before B, are carried over first. So both generations judge and place
  the next records alike while the buckets follow. The new generation keeps the secret of the old
  one for that. A generation of layout 3 has no secret: its ids and bookings are left behind. So a
  resend of an event that the log no longer holds counts again, and so does a call none of whose events
  it holds (`GenerationEntry.recognised_from_ms`).
- Of a coarser tier, only the time that is closed in the new generation is compared: the rest follows
  from the finer one (streams/redis/closing.py). The new generation begins with no more closed than the
  old one has, and nothing is closed in it until all is carried over.
- A generation of layouts 3 to 6 has no hours. The new one makes hours from the quarter-hours that it
  copies, as they are closed, and from the log. So it has hours for the last 90 days, and says from when
  (`Meta.hours_from_ms`). Readers take days before that.
- Views and measures that the old generation did not keep have no history before B. The new
  generation says so (`history_from`).

One case is not covered: the original of an event is gone from the log *and* from the ids (older than
W), and the event is sent again with another time. The old generation would have counted it too.
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
from schemas.errors import RebuildRefused, StoreUnavailable
from schemas.event.identity import IdSecret
from schemas.limits import AHEAD_MS_MAX, DAY_MS
from schemas.store.layout import (
    RUN_DTYPE,
    Meta,
    PageKind,
    Rows,
    prefix,
)
from schemas.tiers import ALL_CLOSED, CLOSING, SLACK_MS, Closed, Tier, ceil_to, first_closed
from schemas.units import iso
from streams.core.fold import Delta, DeltaPart
from streams.core.ports import Outcome, PairState
from streams.rebuild.carried_records import CarriedRecords
from streams.rebuild.name_cache import NameCache, lengthened, shortened
from streams.rebuild.page_difference import DecodedPages, SeriesChunk, difference
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.shared_history import SharedHistory, SharedPages
from streams.redis.generations import GenerationEntry, RedisPair

T = TypeVar("T")

PAGES_AT_ONCE: Final = 100
"""Pages compared at once: at most 9,600 rows in one commit, 0.1 s of Redis."""
BUCKETS_AT_ONCE: Final = 64
"""Sets of ids or hashes of calls that are read at once, each with up to about 4,096 members."""
EXPIRING_MS: Final = 600_000
"""A page that expires this soon is not compared: it could expire in between, and nobody reads it."""


def carry_over_before(first_append_ms: int) -> int:
    """B, in ms: no record that was appended before `first_append_ms`, and no event that depends on one
    while its id is stored, adds to a bucket from B on."""
    return ceil_to(first_append_ms + AHEAD_MS_MAX + SLACK_MS + REMEMBERED_MS + SLICE_MS, DAY_MS)


def closed_at_first(old: Meta, now_ms: int) -> Closed:
    """What is closed in a new generation from the start."""
    return Closed(*map(min, first_closed(now_ms), old.closed))


def hours_from(old: Meta, shared: SharedHistory, older_ms: int, closed: Closed) -> int:
    """`Meta.hours_from_ms` of a new generation of which this is closed from the start, in ms. It makes its
    own hours from the quarter-hours that are not closed, and from the log. Earlier ones can only be copied."""
    own_ms = min(older_ms, closed.quarters_ms)
    return own_ms if shared.lacks_hours else min(own_ms, old.hours_from_ms)


def first_carried_slice(look: PairState) -> int:
    """The first slice of ids and bookings to carry over: records that the new generation has still to count
    look into no earlier one. A commit drops only a part of a slice. So a generation that has just caught up with
    a month still has 60 slices of up to 12,288 keys."""
    passed = look.new.complete_through_ms // SLICE_MS - REMEMBERED_MS // SLICE_MS
    return max(look.old.slice_low, passed)


Place = tuple[str, int, int, int, int]
"""The address of a page: head, tier, chunk, tenant, page."""


class _Located(NamedTuple):
    """One series of the old generation in one chunk, and its places in both: keys and series ids. In the
    new one it may be several series (`SharedPages.added`)."""

    unit: SeriesChunk
    old: tuple[tuple[str, int], ...]
    new: tuple[tuple[str, int], ...]


class CarryOver:
    """`streams.rebuild.rebuild_worker.OlderHistory` on Redis: all pages and records before the
    entry's `older_ms` that both generations keep."""

    def __init__(
        self, pair: RedisPair, shared: SharedHistory, entry: GenerationEntry, now_ms: int
    ) -> None:
        self._pair = pair
        self._shared = shared
        self._entry = entry
        self._older_ms = entry.older_ms
        self._now_ms = now_ms
        self._old = NameCache(pair, pair.origin)
        self._new = NameCache(pair, pair.generation)
        self._records = CarriedRecords(pair, shared, entry.older_ms)
        self._closed = ALL_CLOSED

    async def carry_over(self, worker: RebuildWorker) -> None:
        """Each step is a commit that adds nothing when it is repeated."""
        look = await worker.retry(self._pair.look)
        self._closed = look.new.closed
        self._check_closed(look.old.closed)
        secret = await worker.retry(self._pair.shared_secret)
        if secret is not None:
            await self._carry_digests(worker, secret)
        elif not self._entry.recognised_from_ms:
            raise RebuildRefused(
                f"generation {self._pair.origin} lost its secret, so its ids cannot be copied: run "
                "odometer rebuild again"
            )
        for cache in (self._old, self._new):
            cursor = 0
            while True:
                cursor, keys = await worker.retry(
                    lambda d=cache, c=cursor: self._pair.some_keys(d.generation, "[ps][0-9]", c)  # type: ignore[misc]
                )
                places = self._older_places(cache.generation, keys)
                for at in range(0, len(places), PAGES_AT_ONCE):
                    await self._carry_pages(worker, cache, places[at : at + PAGES_AT_ONCE])
                if not cursor:
                    break
        await self._records.carry_recent(worker)
        await self._records.carry_tallies(worker)
        done = msgspec.structs.replace(self._entry, is_whole=True)
        await worker.retry(lambda: self._pair.note(self._pair.generation, done))

    async def _carry_digests(self, worker: RebuildWorker, secret: IdSecret) -> None:
        """Carries over ids and bookings, which are stored by digests under this secret."""
        look = await worker.retry(self._pair.look)
        for slice_ in range(first_carried_slice(look), look.old.slice_high + 1):
            for at in range(0, ID_BUCKETS, BUCKETS_AT_ONCE):
                buckets = range(at, at + BUCKETS_AT_ONCE)
                await self._records.carry_ids(worker, secret, slice_, buckets)
            await self._records.carry_id_counts(worker, slice_)
            for at in range(0, CALL_BUCKETS, BUCKETS_AT_ONCE):
                buckets = range(at, at + BUCKETS_AT_ONCE)
                await self._records.carry_calls(worker, secret, slice_, buckets)

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
        start_ms = chunk * tier.chunk_ms
        expires_ms = start_ms + tier.chunk_ms + tier.kept_ms + 2 * SLACK_MS
        is_kept = expires_ms > self._now_ms + EXPIRING_MS
        if tier in CLOSING and start_ms >= self._closed[CLOSING.index(tier)]:
            is_kept = True  # a page that is not closed does not expire
        return is_kept and start_ms < self._compared_before(common, tier)

    def _compared_before(self, common: SharedPages, tier: Tier) -> int:
        whole_ms = self._closed.whole_before(tier, common.new.tiers)
        return self._older_ms if whole_ms is None else min(self._older_ms, whole_ms)

    def _check_closed(self, old: Closed) -> None:
        """Raises RebuildRefused if the old generation has not closed yet what is to be compared: it made a
        tier from a finer one that the new one does not have."""
        for common in self._shared.page_kinds.values():
            for tier in common.new.tiers:
                whole_ms = old.whole_before(tier, common.old.tiers)
                if whole_ms is not None and whole_ms < self._compared_before(common, tier):
                    raise RebuildRefused(
                        f"view {common.new.table.view.name} has no shorter buckets any more, and those"
                        f" of {tier.name} are not complete until {iso(self._older_ms)}: run odometer"
                        " rebuild a day after that"
                    )

    async def _carry_pages(
        self, worker: RebuildWorker, cache: NameCache, places: Sequence[Place]
    ) -> None:
        while True:
            found = await worker.retry(lambda: self._careful(self._found(cache, places)))
            keys = list(dict.fromkeys(key for f in found for key, _ in (*f.old, *f.new)))
            state, pages = await worker.level(lambda k=keys: self._careful(self._pair.read(k)))  # type: ignore[misc]
            delta = self._delta(found, dict(zip(keys, pages, strict=True)))
            if not delta.parts:
                return
            commit = replace(worker.correction(state), delta=delta)
            if (await worker.correct(commit)).outcome is Outcome.COMMITTED:
                return

    async def _careful(self, asked: Awaitable[T]) -> T:
        """A Redis that was away may have come back from an older copy, with other names for the same ids."""
        try:
            return await asked
        except StoreUnavailable:
            self._old.drop()
            self._new.drop()
            raise

    async def _found(self, cache: NameCache, places: Sequence[Place]) -> list[_Located]:
        """The series of these pages, and their places in both generations."""
        self._old.reread()
        self._new.reread()
        units: dict[SeriesChunk, None] = {}
        tenants = await cache.tenants()
        for head, tier, chunk, tenant, page in places:
            page_kind = self._page_kind_of(cache, head)
            names = (await cache.series(page_kind, tenant)).names
            page_series = page_kind.page_series
            added = 0 if cache is self._old else self._shared.page_kinds[head].added
            for name in names[page * page_series : (page + 1) * page_series]:
                old_name = shortened(name, added)
                units[
                    SeriesChunk(
                        head, self._shared.tiers[tier], chunk, tenants.names[tenant], old_name
                    )
                ] = None
        found = []
        for unit in units:
            common = self._shared.page_kinds[unit.head]
            old = await self._old.places(common.old, unit)
            found.append(
                _Located(unit, old, await self._new.places(common.new, unit, common.added))
            )
        return found

    def _page_kind_of(self, cache: NameCache, head: str) -> PageKind:
        common = self._shared.page_kinds[head]
        return common.old if cache is self._old else common.new

    def _delta(self, found: Sequence[_Located], pages: Mapping[str, bytes | None]) -> Delta:
        """The differences as one delta. It has the series of one table and tenant side by side."""
        tenants: dict[str, int] = {}
        series: list[tuple[Table, int, str]] = []
        places: dict[tuple[Table, int, str], int] = {}
        lacking: dict[tuple[str, int], list[tuple[int, int, Rows]]] = {}
        old = DecodedPages(pages, has_fixed_rows=self._shared.has_fixed_rows)
        new = DecodedPages(pages, has_fixed_rows=False)
        for unit, olds, news in sorted(
            found,
            key=lambda one: (one.unit.tenant, self._shared.page_kinds[one.unit.head].new.table.id),
        ):
            common = self._shared.page_kinds[unit.head]
            before_ms = self._compared_before(common, unit.tier)
            buckets = (before_ms - unit.chunk * unit.tier.chunk_ms) // unit.tier.bucket_ms
            rows = difference(
                common,
                old.rows_of(common.old, olds, buckets),
                new.rows_of(common.new, news, buckets),
            )
            if len(rows):
                tenant = tenants.setdefault(unit.tenant, len(tenants))
                one = common.new.table, tenant, lengthened(unit.name, common.added)
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
