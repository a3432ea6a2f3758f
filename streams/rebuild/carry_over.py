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

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from schemas.catalog.measures import How, Measure
from schemas.catalog.sketches import BINS
from schemas.catalog.views import (
    CALL_BUCKETS,
    DEFAULT,
    ID_BUCKETS,
    REMEMBERED_MS,
    SLICE_MS,
    Catalog,
    Table,
    View,
    booking_dimensions,
)
from schemas.errors import RebuildRefused, StoreUnavailable
from schemas.event.kinds import Kind
from schemas.limits import AHEAD_MS_MAX, DAY_MS
from schemas.store.generation import LAYOUT_BYTES, LAYOUT_VERSION
from schemas.store.layout import (
    RUN_DTYPE,
    SLOT_BUCKETS,
    PageKind,
    Rows,
    counters_of,
    names_list_key,
    page_key,
    prefix,
    sketch_of,
    tallies_key,
    tenants_list_key,
)
from schemas.store.recent_calls import recent_key, unpack_recent
from schemas.tiers import SLACK_MS, TIERS, Tier, ceil_to
from streams.core.calls import Booking, CallUpdate, StoredCall
from streams.core.fold import Delta, DeltaPart
from streams.core.ports import Outcome
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.redis.generations import Entry, RedisPair

T = TypeVar("T")

PAGES_AT_ONCE: Final = 100
"""Compared at once: at most 9,600 additions in one commit, 0.1 s of Redis."""
BUCKETS_AT_ONCE: Final = 64
"""Sets of ids or hashes of calls that are read at once, each of up to some 4,096."""
IDS_AT_ONCE: Final = 5000
CALLS_AT_ONCE: Final = 1000
CARRIED_TALLIES: Final = (b"dead:", b"duplicate", b"unknown:", b"directory_full")
EXPIRING_MS: Final = 600_000
"""A page that goes so soon is not compared: it might go in between, and is not read any more."""


def carry_over_before(first_append_ms: int) -> int:
    """B: no record that was appended before `first_append_ms`, and nothing that depends on one
    within the time that is remembered, adds to a bucket from there on."""
    return ceil_to(first_append_ms + AHEAD_MS_MAX + SLACK_MS + REMEMBERED_MS + SLICE_MS, DAY_MS)


# -- what the old generation means -----------------------------------------------------------------


class ViewDescription(msgspec.Struct, frozen=True, array_like=True):
    """One of them; `names` are those of measures and sketches."""

    id: int
    dimensions: list[str]
    names: list[str]
    tiers: list[int]
    page_series: int
    series_max: int
    fine_sketches: list[str]


class GenerationDescription(msgspec.Struct, frozen=True):
    """What schemas/store/generation.py says of a generation, as far as it is read here."""

    layout: int
    tiers: list[tuple[int, int, int, int]]
    views: list[ViewDescription]
    dimensions: dict[str, list[str]]
    booking_dimensions: list[str]
    measures: list[tuple[str, How, str, tuple[str, str] | None, tuple[Kind, ...], int]]
    remembered: list[int]


class SharedPages(NamedTuple):
    """Pages that both generations keep; `columns`: of each measure that both keep, where it stands
    in the old one's rows and in the new one's."""

    old: PageKind
    new: PageKind
    columns: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SharedHistory:
    """What can be taken over: `page_kinds` by the head of their keys. `missing`: names of what the
    old generation does not have."""

    page_kinds: Mapping[str, SharedPages]
    tiers: Mapping[int, Tier]
    booking_dimensions: tuple[str, ...]
    missing: tuple[str, ...]
    catalog: Catalog


def shared_with(about: str, catalog: Catalog = DEFAULT) -> SharedHistory:
    """RebuildRefused where the old generation's keys are not laid out as ours."""
    try:
        old = msgspec.json.decode(about, type=GenerationDescription)
    except msgspec.DecodeError as error:
        raise RebuildRefused(
            "the log no longer holds all, and the counters do not say how to read them"
        ) from error
    if old.layout != LAYOUT_VERSION or old.remembered != [
        REMEMBERED_MS, SLICE_MS, ID_BUCKETS, CALL_BUCKETS,
    ]:  # fmt: skip
        raise RebuildRefused(
            f"the log no longer holds all, and the older counters are of layout {old.layout}: only "
            f"layout {LAYOUT_VERSION} can be taken over"
        )
    measures = {
        name: Measure(name, "", how, field, rest, kinds, equals)
        for name, how, field, rest, kinds, equals in old.measures
    }
    tiers = {
        tier.id: replace(tier, kept_ms=kept_ms)
        for tier in TIERS
        for id_, bucket_ms, kept_ms, chunk_buckets in old.tiers
        if (id_, bucket_ms, chunk_buckets) == (tier.id, tier.bucket_ms, tier.chunk_buckets)
    }
    page_kinds: dict[str, SharedPages] = {}
    missing: list[str] = []
    described = {one.id: one for one in old.views}
    for view in catalog.views:
        was = described.get(view.id)
        if was is None or not _has_same_dimensions(view, was, old, catalog):
            missing.append(view.name)
            continue
        kept = {name: measures[name] for name in was.names}
        missing += [
            f"{view.name}.{measure.name}"
            for measure in view.measures + view.sketches
            if measure.name not in kept or not _same(kept[measure.name], measure)
        ]
        missing += [f"{view.name}.{t.name}" for t in view.tiers if t.id not in was.tiers]
        page_kinds |= {one.new.head: one for one in _common(view, was, kept)}
    return SharedHistory(page_kinds, tiers, tuple(old.booking_dimensions), tuple(missing), catalog)


def _has_same_dimensions(
    view: View, was: ViewDescription, old: GenerationDescription, catalog: Catalog
) -> bool:
    return tuple(was.dimensions) == view.dimensions and all(
        tuple(old.dimensions[name]) == catalog.dimensions[name] for name in was.dimensions
    )


def _common(view: View, was: ViewDescription, kept: Mapping[str, Measure]) -> Iterator[SharedPages]:
    """The pages of one view, kind by kind, that both have."""
    sums = tuple(measure for measure in kept.values() if measure.is_sum)
    before = View(view.id, view.name, view.dimensions, sums, page_series=was.page_series)
    for kind, table in view.tables.items():
        old = before.tables.get(kind) or Table(before, kind)
        columns = tuple(
            (old.measures.index(kept[measure.name]), at)
            for at, measure in enumerate(table.measures)
            if measure.name in kept and _same(kept[measure.name], measure)
        )
        if columns:
            yield SharedPages(counters_of(old), counters_of(table), columns)
        for sketch in table.sketches:
            if sketch.name in kept and _same(kept[sketch.name], sketch):
                yield SharedPages(PageKind(old, sketch), sketch_of(table, sketch), ())


def _same(a: Measure, b: Measure) -> bool:
    return replace(a, unit="") == replace(b, unit="")


# -- the difference of two pages: pure -------------------------------------------------------------


class SeriesChunk(NamedTuple):
    """One series in one chunk of a page kind and tier."""

    head: str
    tier: Tier
    chunk: int
    tenant: str
    name: str


def rows_of(page_kind: PageKind, page: bytes | None, series: int, buckets: int) -> Rows:
    """A series' rows in a page, those of its first `buckets`; their slots are buckets."""
    if page is None:
        return np.empty(0, page_kind.dtype)
    rows = page_kind.rows_of(page)
    place, bucket = np.divmod(rows["slot"], SLOT_BUCKETS)
    own: Rows = rows[(place == series % page_kind.page_series) & (bucket < buckets)].copy()
    own["slot"] %= SLOT_BUCKETS
    return own


def difference(common: SharedPages, old: Rows, new: Rows) -> Rows:
    """What is to be added to the new generation's rows, so that they say what the old one's do. A
    set of digests can only grow."""
    page_kind = common.new
    if page_kind.sketch is None:
        return _lacking_sums(common, old, new)
    if page_kind.sketch.how is How.HISTOGRAM:
        return _lacking_counts(page_kind, old, new)
    lacking: Rows = np.setdiff1d(old, new)
    return lacking


def _lacking_sums(common: SharedPages, old: Rows, new: Rows) -> Rows:
    at_old, at_new = (list(places) for places in zip(*common.columns, strict=True))
    sums = np.zeros((SLOT_BUCKETS, len(common.new.table.measures)), np.int64)
    ours = np.zeros((len(old), sums.shape[1]), np.int64)
    ours[:, at_new] = old["values"][:, at_old]
    theirs = np.zeros((len(new), sums.shape[1]), np.int64)
    theirs[:, at_new] = new["values"][:, at_new]
    np.add.at(sums, old["slot"], ours)
    np.subtract.at(sums, new["slot"], theirs)
    buckets = np.flatnonzero(sums.any(axis=1))
    rows = np.zeros(len(buckets), common.new.dtype)
    rows["slot"], rows["values"] = buckets, sums[buckets]
    return rows


def _lacking_counts(page_kind: PageKind, old: Rows, new: Rows) -> Rows:
    counts = np.zeros((SLOT_BUCKETS, BINS), np.int64)
    np.add.at(counts, (old["slot"], old["bin"]), old["count"])
    np.subtract.at(counts, (new["slot"], new["bin"]), new["count"])
    bucket, bin_ = np.nonzero(counts)
    rows = np.zeros(len(bucket), page_kind.dtype)
    rows["slot"], rows["bin"], rows["count"] = bucket, bin_, counts[bucket, bin_]
    return rows


# -- names -----------------------------------------------------------------------------------------


@dataclass
class _NameList:
    """One list of names: id to name and back."""

    names: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)


class _NameCache:
    """The names of one generation, read as far as they were needed. Let go whole on every doubt: a
    store that went back may give an id to another name."""

    def __init__(self, pair: RedisPair, generation: int) -> None:
        self._pair = pair
        self._lists: dict[str, _NameList] = {}
        self._read_now: set[str] = set()
        self.generation = generation

    def let_go(self) -> None:
        self._lists.clear()

    def look_again(self) -> None:
        """What is asked for from now on is read once more: names may have been added."""
        self._read_now.clear()

    async def tenants(self) -> _NameList:
        return await self._read(tenants_list_key(self.generation))

    async def series(self, page_kind: PageKind, tenant: int) -> _NameList:
        return await self._read(names_list_key(self.generation, page_kind.table, tenant))

    async def key(self, page_kind: PageKind, unit: SeriesChunk) -> tuple[str, int]:
        """The page in which a series' chunk lies, and the series' id; "" where it has no name."""
        tenant = (await self.tenants()).ids.get(unit.tenant)
        if tenant is None:
            return "", 0
        series = (await self.series(page_kind, tenant)).ids.get(unit.name)
        if series is None:
            return "", 0
        page = series // page_kind.page_series
        return page_key(self.generation, page_kind, unit.tier, unit.chunk, tenant, page), series

    async def _read(self, key: str) -> _NameList:
        known = self._lists.setdefault(key, _NameList())
        if key in self._read_now:
            return known
        self._read_now.add(key)
        for name in await self._pair.list_from(key, len(known.names)):
            known.ids[name] = len(known.names)
            known.names.append(name)
        return known


# -- taking over -----------------------------------------------------------------------------------

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
        self._old = _NameCache(pair, pair.origin)
        self._new = _NameCache(pair, pair.generation)

    async def carry_over(self, worker: RebuildWorker) -> None:
        """Each step is a commit that finds nothing to add where it was done before."""
        look = await worker.patiently(self._pair.look)
        for slice_ in range(look.old.slice_low, look.old.slice_high + 1):
            for at in range(0, ID_BUCKETS, BUCKETS_AT_ONCE):
                await self._carry_ids(worker, slice_, range(at, at + BUCKETS_AT_ONCE))
            for at in range(0, CALL_BUCKETS, BUCKETS_AT_ONCE):
                await self._carry_calls(worker, slice_, range(at, at + BUCKETS_AT_ONCE))
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
        await self._carry_recent(worker)
        await self._carry_tallies(worker)
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
        self, worker: RebuildWorker, dictionary: _NameCache, places: Sequence[Place]
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

    async def _found(self, dictionary: _NameCache, places: Sequence[Place]) -> list[_Located]:
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

    def _page_kind_of(self, dictionary: _NameCache, head: str) -> PageKind:
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

    # -- what is remembered ------------------------------------------------------------------------

    async def _carry_ids(self, worker: RebuildWorker, slice_: int, buckets: Sequence[int]) -> None:
        """Read while both stand at the same positions, so that no id of a record that the new
        generation has still to count is among them."""
        keys = [
            f"{prefix(generation)}i{slice_}.{bucket}"
            for generation in (self._pair.origin, self._pair.generation)
            for bucket in buckets
        ]
        commands = [("SMEMBERS", key) for key in keys]
        state, sets = await worker.level(lambda: self._pair.read_together(commands))
        half = len(buckets)
        lacking = [
            int(id_)
            for old, new in zip(sets[:half], sets[half:], strict=True)
            for id_ in set(old) - set(new)
        ]
        ids = np.array(lacking, np.int64).view(np.uint64)
        while len(ids):
            some = ids[:IDS_AT_ONCE]
            commit = replace(
                worker.correction(state),
                digests=some,
                slices=np.full(len(some), slice_, np.int64),
            )
            reply = await worker.correct(commit)
            if reply.outcome is Outcome.DUPLICATE_IDS:  # in a neighbouring slice
                ids = ids[~np.isin(ids, np.array(reply.subjects, np.uint64))]
                continue
            if reply.outcome is Outcome.COMMITTED:
                ids = ids[len(some) :]
            state, _ = await worker.level(lambda: self._pair.read(()))

    async def _carry_calls(
        self, worker: RebuildWorker, slice_: int, buckets: Sequence[int]
    ) -> None:
        """The bookings in buckets before B: what is corrected later, is corrected where the old
        generation has booked the call."""
        commands = [("HGETALL", f"{prefix(self._pair.origin)}c{slice_}.{b}") for b in buckets]
        while True:
            state, hashes = await worker.level(lambda: self._pair.read_together(commands))
            booked = {int(call): data for one in hashes for call, data in one.items()}
            updates = await self._updates(worker, slice_, booked)
            if not updates:
                return
            delta = Delta((), (), (), updates[:CALLS_AT_ONCE])
            await worker.correct(replace(worker.correction(state), delta=delta))

    async def _updates(
        self, worker: RebuildWorker, slice_: int, booked: Mapping[int, bytes]
    ) -> list[CallUpdate]:
        older = {
            call: booking
            for call, data in booked.items()
            if (booking := msgspec.json.decode(data, type=Booking)).booked_ms < self._older_ms
        }
        asked = [(call, slice_) for call in older]
        held = await worker.patiently(lambda: self._pair.bookings(asked)) if asked else {}
        updates = []
        for call, booking in older.items():
            now = held.get(call)
            new = StoredCall(slice_, msgspec.json.encode(self._translated(booking, now)))
            if now != new:
                updates.append(CallUpdate(call, now, new))
        return updates

    def _translated(self, booking: Booking, now: StoredCall | None) -> Booking:
        """As the new generation writes it; of dimensions that the old one did not keep, what the
        new one knows."""
        own = msgspec.json.decode(now.data, type=Booking).values if now else ()
        dimensions = booking_dimensions(self._shared.catalog)
        values = dict(zip(dimensions, own, strict=False)) | dict(
            zip(self._shared.booking_dimensions, booking.values, strict=True)
        )
        names = (values.get(name, "") for name in dimensions)
        return msgspec.structs.replace(booking, values=tuple(names))

    async def _carry_recent(self, worker: RebuildWorker, cursor: int = 0) -> None:
        """The latest calls that the new generation has not read; those that it has are its own,
        as it may know another cost of them."""
        while True:
            cursor, keys = await worker.patiently(
                lambda c=cursor: self._pair.some_keys(self._pair.origin, "r:", c)  # type: ignore[misc]
            )
            for key in keys:
                tenant = key.decode().removeprefix(recent_key(self._pair.origin, ""))
                await self._carry_recent_of(worker, tenant)
            if not cursor:
                return

    async def _carry_recent_of(self, worker: RebuildWorker, tenant: str) -> None:
        pair = (self._pair.origin, self._pair.generation)
        commands = [("ZRANGE", recent_key(one, tenant), 0, -1) for one in pair]
        while True:
            state, (old, new) = await worker.level(lambda: self._pair.read_together(commands))
            known = {(one.source, one.id) for one in map(unpack_recent, new)}
            lacking = [
                (one.at_ms, member.decode())
                for member in old
                if ((one := unpack_recent(member)).source, one.id) not in known
            ]
            if not lacking:
                return
            delta = Delta((), (), (), (), (), [(tenant, lacking)])
            if (
                await worker.correct(replace(worker.correction(state), delta=delta))
            ).outcome is Outcome.COMMITTED:
                return

    # -- tallies -----------------------------------------------------------------------------------

    async def _carry_tallies(self, worker: RebuildWorker) -> None:
        """Of each the larger count, as the old generation has seen more records and the new one may
        judge them differently. Under other prices, what is told of costs is what those make of the
        log alone."""
        pair = (tallies_key(self._pair.origin), tallies_key(self._pair.generation))
        commands = [("HGETALL", key) for key in pair]
        while True:
            state, (old, new) = await worker.level(lambda: self._pair.read_together(commands))
            look = await worker.patiently(self._pair.look)
            same_prices = look.old.digest[LAYOUT_BYTES:] == look.new.digest[LAYOUT_BYTES:]
            lacking = {
                name.decode(): int(count) - int(new.get(name, 0))
                for name, count in old.items()
                if int(count) > int(new.get(name, 0))
                and (same_prices or name.startswith(CARRIED_TALLIES))
            }
            if not lacking:
                return
            await worker.correct(replace(worker.correction(state), tallies=lacking))
