"""The functional core: decoded events in, one delta out. No I/O, no clock.

Columns first, one roll-up a batch: `columns` turns a batch's events into arrays once, `fold` adds
them up for every view and tier. Both are values, so a batch that the store answers with "these ids
are remembered" or "this call has moved" is folded again from the same columns, without decoding.

The rules (design: "The way of one event"): an event counts at its own time, in the tiers that keep
that age at its append; of equal events in a batch the first counts; a call is booked once, at its
first event in log order, with that event's agent, and its duration is added to the same bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.event import DEFAULT_TENANT, USAGE_KINDS, Kind
from schemas.grid import TIERS, Tier, finest_written
from schemas.identity import call_digest, event_digest
from schemas.layout import (
    RUN_DTYPE,
    Family,
    Int64s,
    Rows,
    counters_of,
    series_name,
    sketch_of,
)
from schemas.limits import COUNT_MAX
from schemas.measures import (
    BOOKED,
    COST_EVENTS,
    COST_NANO_USD,
    SKETCHES,
    How,
    Measure,
)
from schemas.prices import BUNDLED, Prices
from schemas.sketches import MARK, bins_of, chat_digest
from schemas.views import DEFAULT, LABEL, SLICE_MS, Catalog, Table, booking_dimensions
from schemas.wire import Wire
from streams.chats import Chats, chats_of
from streams.decode import Decoded
from streams.people import CALL_KIND, Calls, Said, latest_calls, words_of
from streams.pricing import Asked, Standings, add_costs

Codes = npt.NDArray[np.int64]
Items = npt.NDArray[np.uint64]
NOTHING: Final = MARK
"""In a column of a sketch: this event adds nothing to it."""

_CALLS, _DURATION, _WITH_USAGE, _USAGE_DURATION = range(len(BOOKED))


class Booking(msgspec.Struct, array_like=True, frozen=True):
    """Where a call was booked, as it is remembered: a JSON array. `duration_ms` is -1 while none
    was reported; `values` are those of the booking's dimensions."""

    booked_ms: int
    duration_ms: int
    with_usage: bool
    values: tuple[str, ...]


class Held(NamedTuple):
    """A booking as the store holds it: in which slice, and its exact bytes."""

    slice: int
    data: bytes


class CallUpdate(NamedTuple):
    """What a commit does to one call: it must still be as `old` says (None: not booked)."""

    digest: int
    old: Held | None
    new: Held


class _CallEvent(NamedTuple):
    """One event of a call, in log order."""

    row: int
    digest: int
    tenant: int
    kind: str
    duration_ms: int | None
    booked_ms: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """A batch's accepted events in log order of each partition: one row an event.

    digests: uint64; at_ms, append_ms: int64; level: index of the finest tier; codes: one int64
    column a dimension, indexes into `words`; values: n x measures int64; standing: how each cost is
    known; sketched: for each sketch the bin or digest to add (NOTHING: none); misread: labels that
    should be numbers and are not, by field; calls: in log order; origin: each row's place in
    `events`, which holds those that do not count, too.
    """

    catalog: Catalog
    digests: npt.NDArray[np.uint64]
    at_ms: Int64s
    append_ms: Int64s
    level: Int64s
    tenants: Codes
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    values: Int64s
    standing: Standings
    sketched: Mapping[str, Items]
    misread: Mapping[str, int]
    calls: Sequence[_CallEvent]
    events: Sequence[Decoded]
    origin: Int64s

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def call_digests(self) -> list[tuple[int, int]]:
        """Each call once: its digest and the slice of its first record here."""
        first: dict[int, int] = {}
        for call in self.calls:
            first.setdefault(call.digest, int(self.append_ms[call.row]) // SLICE_MS)
        return list(first.items())

    def without(self, digests: npt.NDArray[np.uint64]) -> Columns:
        """The same batch without the events of these digests."""
        return self._keep(~np.isin(self.digests, digests))

    def first_of_each(self) -> Columns:
        """The same batch with only the first of equal events."""
        _, first = np.unique(self.digests, return_index=True)
        if len(first) == len(self.digests):
            return self
        keep = np.zeros(len(self.digests), dtype=bool)
        keep[first] = True
        return self._keep(keep)

    def _keep(self, keep: npt.NDArray[np.bool_]) -> Columns:
        new_row = np.cumsum(keep) - 1
        return replace(
            self,
            digests=self.digests[keep],
            at_ms=self.at_ms[keep],
            append_ms=self.append_ms[keep],
            level=self.level[keep],
            tenants=self.tenants[keep],
            codes={name: column[keep] for name, column in self.codes.items()},
            values=self.values[keep],
            origin=self.origin[keep],
            standing=self.standing[keep],
            sketched={name: items[keep] for name, items in self.sketched.items()},
            calls=[c._replace(row=int(new_row[c.row])) for c in self.calls if keep[c.row]],
        )


class Part(NamedTuple):
    """Rows for the pages of one family and tier. `runs` (layout.RUN_DTYPE) say of whom they are:
    the next so many rows are of one series, an index into the delta's, and chunk. The cell of a row
    is its bucket; the store knows the place of its series."""

    family: Family
    tier: Tier
    runs: Rows
    rows: Rows


class Delta(NamedTuple):
    """What a batch adds. `series`: (table, index into `tenants`, name), those of one table and
    tenant side by side."""

    tenants: Sequence[str]
    series: Sequence[tuple[Table, int, str]]
    parts: Sequence[Part]
    calls: Sequence[CallUpdate]
    people: Said = ()
    recent: Calls = ()
    chats: Chats = ()


# -- columns ---------------------------------------------------------------------------------------


class _Words:
    """Texts to small integers, in order of appearance."""

    def __init__(self) -> None:
        self.code: dict[str, int] = {}

    def encode(self, values: Sequence[str | None]) -> Codes:
        code = self.code
        for value in set(values):
            code.setdefault(value or "", len(code))
        code_of = {value: code[value or ""] for value in set(values)}
        return np.fromiter((code_of[v] for v in values), np.int64, len(values))

    def words(self) -> list[str]:
        return list(self.code)


def columns(
    events: Sequence[Decoded],
    append_ms: Sequence[int],
    prices: Prices = BUNDLED,
    catalog: Catalog = DEFAULT,
) -> Columns:
    """The batch as arrays; of equal events the first. `append_ms` stands beside `events`; an event
    of usage without a cost gets that of `prices`."""
    wires = [decoded.event for decoded in events]
    tenants = [wire.tenant or DEFAULT_TENANT for wire in wires]
    tenant_words = _Words()
    tenant_codes = tenant_words.encode(tenants)
    at = np.fromiter((decoded.at_ms for decoded in events), np.int64, len(events))
    append = np.array(append_ms, np.int64).reshape(len(events))
    codes: dict[str, Codes] = {}
    words: dict[str, Sequence[str]] = {"tenant": tenant_words.words()}
    for name in catalog.kept_dimensions:
        interned = _Words()
        codes[name] = interned.encode(_values_of(wires, catalog.dimensions[name]))
        words[name] = interned.words()
    has_kind = _has_kind(codes["kind"], words["kind"])
    misread: Counter[str] = Counter()
    values = _matrix(events, catalog, has_kind, misread)
    asked = Asked(wires, at, {**codes, "tenant": tenant_codes}, words)
    standing = add_costs(prices, asked, values)
    return Columns(
        catalog=catalog,
        digests=np.fromiter(
            (event_digest(t, w.source, w.id) for t, w in zip(tenants, wires, strict=True)),
            np.uint64,
            len(wires),
        ),
        at_ms=at,
        append_ms=append,
        level=_levels(append - at),
        tenants=tenant_codes,
        codes=codes,
        words=words,
        values=values,
        standing=standing,
        sketched={
            sketch.name: np.where(has_kind(sketch), _items(wires, tenants, sketch), NOTHING)
            for sketch in SKETCHES
        },
        misread=misread,
        calls=_call_events(events, tenants, tenant_codes, catalog),
        events=events,
        origin=np.arange(len(events)),
    ).first_of_each()


def _fields(wires: Sequence[Wire], field: str) -> list[Any]:
    if field.startswith(LABEL):
        key = field.removeprefix(LABEL)
        return [None if wire.labels is None else wire.labels.get(key) for wire in wires]
    return [getattr(wire, field) for wire in wires]


def _values_of(wires: Sequence[Wire], fields: Sequence[str]) -> list[str | None]:
    """A dimension of each event: the first of its fields that is reported."""
    first, *others = fields
    values: list[str | None] = _fields(wires, first)
    for field in others:
        values = [v or other for v, other in zip(values, _fields(wires, field), strict=True)]
    return values


def _has_kind(codes: Codes, words: Sequence[str]) -> Callable[[Measure], npt.NDArray[np.bool_]]:
    """For each event, whether its kind has a measure."""

    @cache
    def of_kinds(kinds: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        return np.isin(codes, [code for code, word in enumerate(words) if word in kinds])

    return lambda measure: of_kinds(measure.kinds)


def _levels(age_ms: Int64s) -> Int64s:
    """`grid.finest_written` of many ages."""
    oldest = int(age_ms.max(initial=0))
    if finest_written(oldest) == 0:
        return np.zeros(len(age_ms), np.int64)
    return np.array([finest_written(age) for age in age_ms.tolist()], np.int64)


def _matrix(
    events: Sequence[Decoded],
    catalog: Catalog,
    has_kind: Callable[[Measure], npt.NDArray[np.bool_]],
    misread: Counter[str],
) -> Int64s:
    matrix = np.zeros((len(events), len(catalog.measures)), np.int64)
    for index, measure in enumerate(catalog.measures):
        if measure.how is How.COUNT:
            matrix[:, index] = 1
        elif measure.how is not How.BOOKED:
            matrix[:, index] = _measured(events, measure, misread) * has_kind(measure)
    return matrix


def _measured(events: Sequence[Decoded], measure: Measure, misread: Counter[str]) -> Int64s:
    """One measure of each event: its field's value, whether it is reported, or is this value."""
    field = measure.field
    found: list[Any]
    if field == "cost_nano_usd":
        found = [decoded.cost_nano_usd for decoded in events]
    else:
        found = _fields([decoded.event for decoded in events], field)
    if measure.how is How.SUM:
        if field.startswith(LABEL):
            found = [_whole_number(text, field, misread) for text in found]
        if measure.rest is not None:
            found = [
                _rest_of(decoded.event, *measure.rest) if value is None else value
                for decoded, value in zip(events, found, strict=True)
            ]
        return np.fromiter((value or 0 for value in found), np.int64, len(found))
    if measure.how is How.IS:
        return np.fromiter((value == measure.equals for value in found), np.int64, len(found))
    empty = (None, "")
    return np.fromiter((value not in empty for value in found), np.int64, len(found))


def _whole_number(text: str | None, field: str, misread: Counter[str]) -> int | None:
    """What a label says, where that is a number of 0 to COUNT_MAX in decimal digits."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and int(text) <= COUNT_MAX:  # labels are 256 long at most
        return int(text)
    misread[field] += 1
    return None


def _items(wires: Sequence[Wire], tenants: Sequence[str], sketch: Measure) -> Items:
    """What each event adds to a sketch: a bin, or a digest; NOTHING where it reports nothing."""
    found = _fields(wires, sketch.field)
    if sketch.how is How.HISTOGRAM:
        values = np.fromiter((-1 if v is None else v for v in found), np.int64, len(found))
        return np.where(values < 0, np.uint64(NOTHING), bins_of(values).astype(np.uint64))
    return np.fromiter(
        (
            chat_digest(tenant, value) if value else NOTHING
            for tenant, value in zip(tenants, found, strict=True)
        ),
        np.uint64,
        len(found),
    )


def _rest_of(event: Wire, whole: str, part: str) -> int:
    """What is left of one field without another: never less than nothing."""
    return max(0, (getattr(event, whole) or 0) - (getattr(event, part) or 0))


def _call_events(
    events: Sequence[Decoded],
    tenants: Sequence[str],
    tenant_codes: Codes,
    catalog: Catalog,
) -> list[_CallEvent]:
    calls: list[_CallEvent] = []
    fields = [catalog.dimensions[name] for name in booking_dimensions(catalog)]
    for row, decoded in enumerate(events):
        wire = decoded.event
        if not wire.call_id:
            continue
        calls.append(
            _CallEvent(
                row,
                call_digest(tenants[row], wire.call_id),
                int(tenant_codes[row]),
                wire.kind,
                wire.duration_ms if wire.kind == "call" else None,
                decoded.at_ms if decoded.started_ms is None else decoded.started_ms,
                tuple(_values_of([wire], from_)[0] or "" for from_ in fields),
            )
        )
    return calls


# -- bookings --------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """What is rolled up: events and additions to bookings, in one form."""

    at_ms: Int64s
    level: Int64s
    tenants: Codes
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    values: Int64s
    sketched: Mapping[str, Items]


class _Addition(NamedTuple):
    """To one booking's bucket."""

    tenant: int
    booked_ms: int
    level: int
    values: tuple[str, ...]
    amounts: tuple[int, int, int, int]  # in the order of measures.BOOKED


def _book(
    batch: Columns, held: Mapping[int, Held | None]
) -> tuple[list[_Addition], list[CallUpdate]]:
    """The additions that the batch's calls make, and each call's new booking."""
    bookings = {
        digest: msgspec.json.decode(one.data, type=Booking)
        for digest, one in held.items()
        if one is not None
    }
    latest_slice: dict[int, int] = {}
    additions: list[_Addition] = []
    for event in batch.calls:
        append_ms = int(batch.append_ms[event.row])
        before = bookings.get(event.digest)
        booking = before or Booking(event.booked_ms, -1, False, event.values)
        with_usage = booking.with_usage or event.kind in USAGE_KINDS
        duration = booking.duration_ms if event.duration_ms is None else event.duration_ms
        amounts = [0, 0, 0, 0]
        amounts[_CALLS] = int(before is None)
        amounts[_DURATION] = max(duration, 0) - max(booking.duration_ms, 0)
        amounts[_WITH_USAGE] = int(with_usage) - int(booking.with_usage)
        was_in_usage = max(booking.duration_ms, 0) if booking.with_usage else 0
        amounts[_USAGE_DURATION] = (max(duration, 0) if with_usage else 0) - was_in_usage
        if any(amounts):
            level = finest_written(append_ms - booking.booked_ms)
            additions.append(
                _Addition(
                    event.tenant,
                    booking.booked_ms,
                    level,
                    booking.values,
                    (*amounts,),  # type: ignore[arg-type]
                )
            )
        bookings[event.digest] = Booking(booking.booked_ms, duration, with_usage, booking.values)
        slice_ = append_ms // SLICE_MS
        latest_slice[event.digest] = max(latest_slice.get(event.digest, slice_), slice_)
    updates = []
    for digest, slice_ in latest_slice.items():
        old = held.get(digest)
        new_slice = slice_ if old is None else max(slice_, old.slice)
        new = Held(new_slice, msgspec.json.encode(bookings[digest]))
        # Also where nothing changes: that there was nothing to book is true only while `old` is.
        # (A store that goes back between the look and the commit would lose the booking.)
        updates.append(CallUpdate(digest, old, new))
    return additions, updates


def _rows(batch: Columns, additions: Sequence[_Addition]) -> _Rows:
    """Events and additions under one another."""
    if not additions:
        return _Rows(
            batch.at_ms, batch.level, batch.tenants, batch.codes, batch.words, batch.values,
            batch.sketched,
        )  # fmt: skip
    count = len(additions)
    of_bookings = booking_dimensions(batch.catalog)
    codes: dict[str, Codes] = {}
    words: dict[str, Sequence[str]] = {"tenant": batch.words["tenant"]}
    for name in batch.codes:
        known = list(batch.words[name])
        code = {word: index for index, word in enumerate(known)}
        if name == "kind":
            booked = ["call"] * count
        elif name in of_bookings:
            at = of_bookings.index(name)
            booked = [addition.values[at] for addition in additions]
        else:
            booked = [""] * count
        for word in booked:
            if word not in code:
                code[word] = len(known)
                known.append(word)
        added = np.fromiter((code[word] for word in booked), np.int64, count)
        codes[name] = np.concatenate([batch.codes[name], added])
        words[name] = known
    values = np.zeros((count, len(batch.catalog.measures)), np.int64)
    booked_at = [batch.catalog.measures.index(measure) for measure in BOOKED]
    values[:, booked_at] = [addition.amounts for addition in additions]
    at_ms = np.array([addition.booked_ms for addition in additions], np.int64)
    level = np.array([addition.level for addition in additions], np.int64)
    tenants = np.array([addition.tenant for addition in additions], np.int64)
    nothing = np.full(count, NOTHING, np.uint64)
    return _Rows(
        np.concatenate([batch.at_ms, at_ms]),
        np.concatenate([batch.level, level]),
        np.concatenate([batch.tenants, tenants]),
        codes,
        words,
        np.concatenate([batch.values, values]),
        {name: np.concatenate([items, nothing]) for name, items in batch.sketched.items()},
    )


# -- roll-up ---------------------------------------------------------------------------------------


def fold(batch: Columns, held: Mapping[int, Held | None], *, keeps_previews: bool = False) -> Delta:
    """What the batch adds to every view and tier. `held`: the bookings of its calls."""
    additions, updates = _book(batch, held)
    rows = _rows(batch, additions)
    series: list[tuple[Table, int, str]] = []
    parts: list[Part] = []
    for code, kind in enumerate(rows.words["kind"]):
        of_kind = _chosen(rows, np.flatnonzero(rows.codes["kind"] == code))
        for view in batch.catalog.views:
            table = view.tables.get(cast("Kind", kind))
            if table is not None:
                parts.extend(_roll_up(table, batch.catalog, of_kind, series))
    counted = [batch.events[place] for place in batch.origin.tolist()]
    return Delta(
        rows.words["tenant"],
        series,
        parts,
        updates,
        words_of(counted),
        _latest_calls(batch),
        chats_of(counted, keeps_previews=keeps_previews),
    )


def _latest_calls(batch: Columns) -> Calls:
    if CALL_KIND not in batch.words["kind"]:
        return ()
    rows = np.flatnonzero(batch.codes["kind"] == list(batch.words["kind"]).index(CALL_KIND))
    measures = batch.catalog.measures
    known = batch.values[rows, measures.index(COST_EVENTS)] > 0
    costs = np.where(known, batch.values[rows, measures.index(COST_NANO_USD)], -1)
    return latest_calls(
        batch.events, batch.origin[rows], batch.tenants[rows], batch.at_ms[rows], costs.tolist()
    )


def _chosen(rows: _Rows, at: Codes) -> _Rows:
    if len(at) == len(rows.at_ms):
        return rows
    return _Rows(
        rows.at_ms[at],
        rows.level[at],
        rows.tenants[at],
        {name: column[at] for name, column in rows.codes.items()},
        rows.words,
        rows.values[at],
        {name: items[at] for name, items in rows.sketched.items()},
    )


def _roll_up(
    table: Table, catalog: Catalog, rows: _Rows, series: list[tuple[Table, int, str]]
) -> list[Part]:
    """One table's rows in all tiers; its series are appended to `series`."""
    values = rows.values[:, [catalog.measures.index(measure) for measure in table.measures]]
    if table.kind == "call":  # events and bookings, of which this view may keep one kind only
        adds = np.flatnonzero(values.any(axis=1))
        rows, values = _chosen(rows, adds), values[adds]
    if not len(rows.at_ms):
        return []
    group, first = _group([rows.tenants, *(rows.codes[name] for name in table.dimensions)])
    offset = len(series)
    for row in first.tolist():
        name = series_name([rows.words[d][rows.codes[d][row]] for d in table.dimensions])
        series.append((table, int(rows.tenants[row]), name))
    parts = []
    if table.measures:
        nothing = np.zeros(len(group), np.int64)
        levelled = _Levelled(group, rows.at_ms, nothing, rows.level, values)
        family = counters_of(table)
        for tier, found in _by_tier(family, levelled):
            packed = _packed(family, tier, found, offset)
            packed.rows["values"] = found.values
            parts.append(packed)
    for sketch in table.sketches:
        parts.extend(_sketched(table, sketch, rows, group, offset))
    return parts


def _sketched(
    table: Table, sketch: Measure, rows: _Rows, group: Codes, offset: int
) -> Iterator[Part]:
    """One sketch of a table in all tiers: counts of bins, or digests."""
    items = rows.sketched[sketch.name]
    adds = np.flatnonzero(items != np.uint64(NOTHING))
    if not len(adds):
        return
    words, codes = np.unique(items[adds], return_inverse=True)
    once = np.ones((len(adds), 1), np.int64)
    levelled = _Levelled(group[adds], rows.at_ms[adds], codes, rows.level[adds], once)
    family = sketch_of(table, sketch)
    for tier, found in _by_tier(family, levelled):
        packed = _packed(family, tier, found, offset)
        if sketch.how is How.HISTOGRAM:
            packed.rows["bin"] = words[found.item]
            packed.rows["count"] = found.values[:, 0]
        else:
            packed.rows["digest"] = words[found.item]
        yield packed


class _Levelled(NamedTuple):
    """What is added up: of which group, when, of which item, from which tier on, and how much."""

    group: Codes
    at_ms: Int64s
    item: Codes
    level: Int64s
    values: Int64s


def _by_tier(family: Family, rows: _Levelled) -> Iterator[tuple[Tier, _Levelled]]:
    """The sums of each tier that the family keeps, in order of group, time, item. From fine to
    coarse, each from the rows of the one before: their number only shrinks."""
    kept: _Levelled | None = None
    for tier in TIERS:
        joins = rows if not np.any(rows.level != tier.id) else _at(rows, rows.level == tier.id)
        if kept is not None and len(kept.group):
            joins = _Levelled(*map(np.concatenate, zip(kept, joins, strict=True)))
        kept = joins
        if tier in family.tiers and len(kept.group):
            kept = _add_up(kept, tier.bucket_ms)
            yield tier, kept


def _at(rows: _Levelled, chosen: npt.NDArray[Any]) -> _Levelled:
    return _Levelled(*(column[chosen] for column in rows))


def _add_up(rows: _Levelled, bucket_ms: int) -> _Levelled:
    """Sums over equal (group, bucket, item), in their order."""
    bucket = rows.at_ms // bucket_ms
    key = _joint([rows.group, bucket - bucket.min(), rows.item])
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    at = order[starts]
    return _Levelled(
        rows.group[at],
        bucket[at] * bucket_ms,
        rows.item[at],
        rows.level[at],
        np.add.reduceat(rows.values[order], starts, axis=0),
    )


def _group(code_columns: Sequence[Codes]) -> tuple[Codes, Codes]:
    """Rows with equal codes: the group of each row, and the first row of each group. Groups are in
    the order of the columns' codes, the first weighing most."""
    _, first, group = np.unique(_joint(code_columns), return_index=True, return_inverse=True)
    return group.reshape(-1), first


def _joint(columns: Sequence[Int64s]) -> Int64s:
    """One key for several columns of codes, in the same order, the first weighing most."""
    key = columns[0]
    for column in columns[1:]:
        width = int(column.max()) + 1
        if int(key.max()) > (1 << 62) // width:  # would not fit: number what there is
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
        key = key * width + column
    return key


def _packed(family: Family, tier: Tier, found: _Levelled, offset: int) -> Part:
    """Runs, and rows whose cells are set."""
    bucket = found.at_ms // tier.bucket_ms
    chunk = bucket // tier.chunk_buckets
    changes = (found.group[1:] != found.group[:-1]) | (chunk[1:] != chunk[:-1])
    starts = np.flatnonzero(np.concatenate(([True], changes)))
    runs = np.empty(len(starts), RUN_DTYPE)
    runs["series"] = found.group[starts] + offset
    runs["chunk"] = chunk[starts]
    runs["rows"] = np.diff(starts, append=len(bucket))
    rows = np.empty(len(bucket), family.dtype)
    rows["cell"] = bucket % tier.chunk_buckets
    return Part(family, tier, runs, rows)
