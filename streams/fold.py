"""The functional core: decoded events in, one delta out. No I/O, no clock.

Columns first, one roll-up a batch: `columns` turns a batch's events into arrays once, `fold` adds
them up for every view and tier. Both are values, so a batch that the store answers with "these ids
are remembered" or "this call has moved" is folded again from the same columns, without decoding.

The rules (design: "The way of one event"): an event counts at its own time, in the tiers that keep
that age at its append; of equal events in a batch the first counts; a call is booked once, at its
first event in log order, with that event's agent, and its duration is added to the same bucket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.event import DEFAULT_TENANT, USAGE_KINDS
from schemas.grid import TIERS, Tier, finest_written
from schemas.identity import call_digest, event_digest
from schemas.layout import Int64s, delta_dtype, series_name
from schemas.measures import (
    BOOKED,
    CALLS,
    COST_EVENTS,
    COST_NANO_USD,
    MEASURES,
    USAGE,
    How,
    Measure,
)
from schemas.prices import BUNDLED, Prices
from schemas.views import BOOKING_DIMENSIONS, DIMENSIONS, SLICE_MS, VIEWS, View
from schemas.wire import Wire
from streams.chats import Chats, chats_of
from streams.decode import Decoded
from streams.people import CALL_KIND, Calls, Said, latest_calls, words_of
from streams.pricing import Asked, Standings, add_costs

Codes = npt.NDArray[np.int64]

_BOOKED_AT: Final = len(USAGE)
"""The first column of the booked measures in the matrix."""
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
    known; calls: in log order; origin: each row's place in `events`, which holds those that do not
    count, too.
    """

    digests: npt.NDArray[np.uint64]
    at_ms: Int64s
    append_ms: Int64s
    level: Int64s
    tenants: Codes
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    values: Int64s
    standing: Standings
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
            calls=[c._replace(row=int(new_row[c.row])) for c in self.calls if keep[c.row]],
        )


class Delta(NamedTuple):
    """What a batch adds. `pages`: for each view and tier an array of layout.delta_dtype, whose
    `series` are indexes into `series`: (view, index into `tenants`, name)."""

    tenants: Sequence[str]
    series: Sequence[tuple[View, int, str]]
    pages: Sequence[tuple[View, Tier, npt.NDArray[Any]]]
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
    events: Sequence[Decoded], append_ms: Sequence[int], prices: Prices = BUNDLED
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
    for name in DIMENSIONS:
        interned = _Words()
        codes[name] = interned.encode(_values_of(wires, name))
        words[name] = interned.words()
    is_usage = np.fromiter((wire.kind in USAGE_KINDS for wire in wires), bool, len(wires))
    values = _matrix(events, is_usage)
    asked = Asked(wires, at, {**codes, "tenant": tenant_codes}, words)
    standing = add_costs(prices, asked, values)
    return Columns(
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
        calls=_call_events(events, tenants, tenant_codes),
        events=events,
        origin=np.arange(len(events)),
    ).first_of_each()


def _values_of(wires: Sequence[Wire], dimension: str) -> list[str | None]:
    """A dimension of each event: the first of its fields that is reported."""
    first, *others = DIMENSIONS[dimension]
    values: list[str | None] = [getattr(wire, first) for wire in wires]
    for field in others:
        values = [v or getattr(w, field) for v, w in zip(values, wires, strict=True)]
    return values


def _levels(age_ms: Int64s) -> Int64s:
    """`grid.finest_written` of many ages."""
    oldest = int(age_ms.max(initial=0))
    if finest_written(oldest) == 0:
        return np.zeros(len(age_ms), np.int64)
    return np.array([finest_written(age) for age in age_ms.tolist()], np.int64)


def _matrix(events: Sequence[Decoded], is_usage: npt.NDArray[np.bool_]) -> Int64s:
    matrix = np.zeros((len(events), len(MEASURES)), np.int64)
    for index, measure in enumerate(USAGE):
        if measure.how is How.COUNT:
            matrix[:, index] = 1
        else:
            matrix[:, index] = _measured(events, measure) * is_usage
    return matrix


def _measured(events: Sequence[Decoded], measure: Measure) -> Int64s:
    """One measure of each event: its field's value, or whether it is reported."""
    field = measure.field
    found: list[Any]
    if field == "cost_nano_usd":
        found = [decoded.cost_nano_usd for decoded in events]
    else:
        found = [getattr(decoded.event, field) for decoded in events]
    if measure.how is How.SUM:
        if measure.rest is not None:
            found = [
                _rest_of(decoded.event, *measure.rest) if value is None else value
                for decoded, value in zip(events, found, strict=True)
            ]
        return np.fromiter((value or 0 for value in found), np.int64, len(found))
    empty = (None, "")
    return np.fromiter((value not in empty for value in found), np.int64, len(found))


def _rest_of(event: Wire, whole: str, part: str) -> int:
    """What is left of one field without another: never less than nothing."""
    return max(0, (getattr(event, whole) or 0) - (getattr(event, part) or 0))


def _call_events(
    events: Sequence[Decoded], tenants: Sequence[str], tenant_codes: Codes
) -> list[_CallEvent]:
    calls: list[_CallEvent] = []
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
                tuple(_values_of([wire], name)[0] or "" for name in BOOKING_DIMENSIONS),
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
    events: int  # so many rows are events; bookings follow


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
            len(batch),
        )  # fmt: skip
    count = len(additions)
    codes: dict[str, Codes] = {}
    words: dict[str, Sequence[str]] = {"tenant": batch.words["tenant"]}
    for name in DIMENSIONS:
        known = list(batch.words[name])
        code = {word: index for index, word in enumerate(known)}
        if name == "kind":
            booked = ["call"] * count
        elif name in BOOKING_DIMENSIONS:
            at = BOOKING_DIMENSIONS.index(name)
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
    values = np.zeros((count, len(MEASURES)), np.int64)
    values[:, _BOOKED_AT:] = [addition.amounts for addition in additions]
    at_ms = np.array([addition.booked_ms for addition in additions], np.int64)
    level = np.array([addition.level for addition in additions], np.int64)
    tenants = np.array([addition.tenant for addition in additions], np.int64)
    return _Rows(
        np.concatenate([batch.at_ms, at_ms]),
        np.concatenate([batch.level, level]),
        np.concatenate([batch.tenants, tenants]),
        codes,
        words,
        np.concatenate([batch.values, values]),
        len(batch),
    )


# -- roll-up ---------------------------------------------------------------------------------------


def fold(batch: Columns, held: Mapping[int, Held | None], *, keeps_previews: bool = False) -> Delta:
    """What the batch adds to every view and tier. `held`: the bookings of its calls."""
    additions, updates = _book(batch, held)
    rows = _rows(batch, additions)
    series: list[tuple[View, int, str]] = []
    pages: list[tuple[View, Tier, npt.NDArray[Any]]] = []
    for view in VIEWS:
        pages.extend(_roll_up(view, rows, series))
    counted = [batch.events[place] for place in batch.origin.tolist()]
    return Delta(
        rows.words["tenant"],
        series,
        pages,
        updates,
        words_of(counted),
        _latest_calls(batch),
        chats_of(counted, keeps_previews=keeps_previews),
    )


def _latest_calls(batch: Columns) -> Calls:
    if CALL_KIND not in batch.words["kind"]:
        return ()
    rows = np.flatnonzero(batch.codes["kind"] == list(batch.words["kind"]).index(CALL_KIND))
    known = batch.values[rows, MEASURES.index(COST_EVENTS)] > 0
    costs = np.where(known, batch.values[rows, MEASURES.index(COST_NANO_USD)], -1)
    return latest_calls(
        batch.events, batch.origin[rows], batch.tenants[rows], batch.at_ms[rows], costs.tolist()
    )


def _roll_up(
    view: View, rows: _Rows, series: list[tuple[View, int, str]]
) -> list[tuple[View, Tier, npt.NDArray[Any]]]:
    """One view's deltas in all tiers; its series are appended to `series`."""
    end = len(rows.at_ms) if CALLS in view.measures else rows.events
    if end == 0:
        return []
    code_columns = [rows.tenants[:end], *(rows.codes[name][:end] for name in view.dimensions)]
    group, first = _group(code_columns)
    offset = len(series)
    for row in first.tolist():
        name = series_name([rows.words[d][rows.codes[d][row]] for d in view.dimensions])
        series.append((view, int(rows.tenants[row]), name))
    values = rows.values[:end][:, view.columns()]
    at_ms, level = rows.at_ms[:end], rows.level[:end]
    pages = []
    for tier in TIERS:
        # From fine to coarse, each from the rows of the one before: their number only shrinks.
        group, bucket, level, values = _add_up(group, at_ms // tier.bucket_ms, level, values)
        at_ms = bucket * tier.bucket_ms
        kept = level <= tier.id
        if kept.any():
            at, in_bucket, amounts = group[kept], bucket[kept], values[kept]
            if np.ptp(level[kept]):  # of one series and bucket there is one row in a delta
                same = np.zeros(len(at), np.int64)
                at, in_bucket, _, amounts = _add_up(at, in_bucket, same, amounts)
            pages.append((view, tier, _pack(view, tier, at + offset, in_bucket, amounts)))
    return pages


def _group(code_columns: Sequence[Codes]) -> tuple[Codes, Codes]:
    """Rows with equal codes: the group of each row, and the first row of each group."""
    key = code_columns[0]
    for column in code_columns[1:]:
        width = int(column.max()) + 1
        if int(key.max()) > (1 << 62) // width:  # would not fit: number the groups so far
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
        key = key * width + column
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return group.reshape(-1), first


def _add_up(
    group: Codes, bucket: Int64s, level: Int64s, values: Int64s
) -> tuple[Codes, Int64s, Int64s, Int64s]:
    """Sums over equal (group, bucket, level), sorted by them."""
    low = int(bucket.min())
    span = int(bucket.max()) - low + 1
    levels = len(TIERS)
    key = (group * span + (bucket - low)) * levels + level
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    at = order[starts]
    return group[at], bucket[at], level[at], np.add.reduceat(values[order], starts, axis=0)


def _pack(
    view: View, tier: Tier, series: Codes, bucket: Int64s, values: Int64s
) -> npt.NDArray[Any]:
    packed = np.empty(len(series), delta_dtype(view))
    packed["series"] = series
    packed["chunk"] = bucket // tier.chunk_buckets
    packed["bucket"] = bucket % tier.chunk_buckets
    packed["values"] = values
    return packed
