"""The functional core: decoded events in, one delta out. No I/O, no clock. Pure.

`columns` (streams/core/columns.py) makes arrays of the events; `fold` rolls them up once for every
view and tier. The rules (streams/README.md): an event counts at its own time, in the tiers that keep
its age at append. Of equal events in a batch, the first counts. Calls are booked as
streams/core/calls.py describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import NamedTuple, cast

import numpy as np

from schemas.catalog.measures import BOOKED, COST_EVENTS, COST_NANO_USD
from schemas.catalog.views import Catalog, Table, booking_dimensions
from schemas.event.identity import CallKey
from schemas.event.kinds import Kind
from schemas.store.layout import (
    HISTOGRAM_FORM,
    RUN_DTYPE,
    Int64s,
    PageKind,
    Rows,
    counters_of,
    sketch_of,
)
from schemas.store.series_names import name_of_quoted, quoted, series_name
from schemas.tiers import ALL_CLOSED, TIERS, Closed, Tier
from streams.core.calls import CallDelta, CallUpdate, StoredCall, book
from streams.core.chats import Chats, chats_of
from streams.core.columns import NOTHING, Codes, Columns, Items
from streams.core.rollup import (
    Grouped,
    changes,
    combined_key,
    items_of,
    numbered,
    sorted_by,
    tiers_of,
)
from streams.core.users import CALL_KIND, Calls, UserUpdates, latest_calls, user_updates


class DeltaPart(NamedTuple):
    """Rows for the pages of one kind and tier. Each of `runs` (layout.RUN_DTYPE) covers the next rows:
    it has their number, their chunk and their series, an index into the series of the delta. The slot
    of a row is its bucket; streams/redis/series_ids.py adds the place of its series in the page."""

    page_kind: PageKind
    tier: Tier
    runs: Rows
    rows: Rows


class Delta(NamedTuple):
    """Everything that a batch adds. `series`: (table, index into `tenants`, name), sorted so that those
    of one table and tenant are neighbours. `newest_ms`: the time of its newest event or booking."""

    tenants: Sequence[str]
    series: Sequence[tuple[Table, int, str]]
    parts: Sequence[DeltaPart]
    calls: Sequence[CallUpdate]
    users: UserUpdates = ()
    recent: Calls = ()
    chats: Chats = ()
    newest_ms: int = 0


class _Rows(NamedTuple):
    """The input of the roll-up: events and deltas of calls, in one form. `summed`: the distinct columns
    of `values`; `column_of`: for each measure, its column there (-1: all 0). Most measures apply to
    few kinds, and many columns are equal: all tokens are text where no audio is used. `quoted`: the
    words as they appear in names of series."""

    at_ms: Int64s
    finest_tier: Int64s
    tenants: Codes
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    quoted: Mapping[str, Sequence[str]]
    values: Int64s
    summed: Int64s
    column_of: Sequence[int]
    sketched: Mapping[str, Items]


def fold(
    batch: Columns,
    stored_calls: Mapping[CallKey, StoredCall | None],
    closed: Closed = ALL_CLOSED,
    *,
    keeps_previews: bool = False,
) -> Delta:
    """The delta of a batch for every view, in the tiers that it is written to. `stored_calls`: the
    stored bookings of its calls."""
    call_deltas, updates = book(batch, stored_calls)
    rows = _kept_while_open(_rows(batch, call_deltas), closed)
    series: list[tuple[Table, int, str]] = []
    parts: list[DeltaPart] = []
    for code, kind in enumerate(rows.words["kind"]):
        of_kind = _of_kind(rows, code)
        for view in batch.catalog.views:
            table = view.tables.get(cast("Kind", kind))
            if table is not None:
                parts.extend(_roll_up(table, batch.catalog, rows, of_kind, series, closed))
    counted = batch.origin.tolist()
    return Delta(
        rows.words["tenant"],
        series,
        parts,
        updates,
        user_updates(batch.events, counted),
        _latest_calls(batch),
        chats_of(batch.events, counted, keeps_previews=keeps_previews),
        int(rows.at_ms.max(initial=0)),
    )


def _rows(batch: Columns, call_deltas: Sequence[CallDelta]) -> _Rows:
    """The rows of events, then those of call deltas."""
    if not call_deltas:
        return _Rows(
            batch.at_ms, batch.finest_tier, batch.tenants, batch.codes, batch.words,
            _quoted(batch.words), batch.values, *_different(batch.values), batch.sketched,
        )  # fmt: skip
    count = len(call_deltas)
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
            booked = [delta.values[at] for delta in call_deltas]
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
    values[:, booked_at] = [delta.amounts for delta in call_deltas]
    at_ms = np.array([delta.booked_ms for delta in call_deltas], np.int64)
    finest_tier = np.array([delta.finest_tier for delta in call_deltas], np.int64)
    tenants = np.array([delta.tenant for delta in call_deltas], np.int64)
    nothing = np.full(count, NOTHING, np.uint64)
    values = np.concatenate([batch.values, values])
    return _Rows(
        np.concatenate([batch.at_ms, at_ms]),
        np.concatenate([batch.finest_tier, finest_tier]),
        np.concatenate([batch.tenants, tenants]),
        codes,
        words,
        _quoted(words),
        values,
        *_different(values),
        {name: np.concatenate([items, nothing]) for name, items in batch.sketched.items()},
    )


def _kept_while_open(rows: _Rows, closed: Closed) -> _Rows:
    """A bucket that is not closed is kept, and written, whatever its age."""
    finest = rows.finest_tier
    for place, edge_ms in enumerate(closed):
        is_open = (finest > place) & (rows.at_ms >= edge_ms)
        if is_open.any():
            finest = np.where(is_open, place, finest)
    return rows if finest is rows.finest_tier else rows._replace(finest_tier=finest)


def _quoted(words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: list(map(quoted, known)) for name, known in words.items()}


def _different(values: Int64s) -> tuple[Int64s, list[int]]:
    """The distinct columns that are not all 0, and for each column the index of its equal, or -1."""
    kept: list[Int64s] = []
    alike: dict[int, list[int]] = {}  # by sum
    column_of = []
    for column in np.ascontiguousarray(values.T):
        if not column.any():
            column_of.append(-1)
            continue
        candidates = alike.setdefault(int(column.sum()), [])
        for place in candidates:
            if np.array_equal(kept[place], column):
                column_of.append(place)
                break
        else:
            candidates.append(len(kept))
            column_of.append(len(kept))
            kept.append(column)
    return np.stack(kept, axis=1) if kept else np.empty((len(values), 0), np.int64), column_of


def _latest_calls(batch: Columns) -> Calls:
    if CALL_KIND not in batch.words["kind"]:
        return ()
    rows = np.flatnonzero(batch.codes["kind"] == list(batch.words["kind"]).index(CALL_KIND))
    measures = batch.catalog.measures
    known = batch.values[rows, measures.index(COST_EVENTS)] > 0
    costs = np.where(known, batch.values[rows, measures.index(COST_NANO_USD)], -1)
    return latest_calls(
        batch.events, batch.origin[rows], batch.tenants[rows], batch.at_ms[rows], costs
    )


def _of_kind(rows: _Rows, code: int) -> Codes:
    """The rows of one kind, sorted by time."""
    at = np.flatnonzero(rows.codes["kind"] == code)
    if not len(at):
        return at
    minute = rows.at_ms.take(at) // TIERS[0].bucket_ms
    return at.take(sorted_by(minute - minute.min()))


def _roll_up(  # everything that a table is made from
    table: Table,
    catalog: Catalog,
    rows: _Rows,
    at: Codes,
    series: list[tuple[Table, int, str]],
    closed: Closed,
) -> Iterator[DeltaPart]:
    """The rows of one table in all tiers. `at`: the input rows, sorted by time. Appends the series of
    the table to `series`."""
    columns = _places(table, catalog)
    if table.kind == "call":  # events and bookings; this view may keep only one of the two
        at = at[rows.values[:, columns].take(at, 0).any(axis=1)]
    if not len(at):
        return
    codes = [rows.tenants, *(rows.codes[name] for name in table.dimensions)]
    key = combined_key([column.take(at) for column in codes])
    order = sorted_by(key)
    at, key = at.take(order), key.take(order)
    new = changes(key)
    offset = len(series)
    series.extend(_series_of(table, rows, at[new]))
    group = np.cumsum(new) - 1
    found = Grouped(group, rows.at_ms.take(at), rows.finest_tier.take(at), rows.summed.take(at, 0))
    if table.measures:
        page_kind = counters_of(table)
        places = [(n, rows.column_of[column]) for n, column in enumerate(columns)]
        for tier, sums in tiers_of(found, page_kind.tiers, closed):
            part = _packed(page_kind, tier, sums.group, sums.at_ms, offset)
            values = part.rows["values"]
            values[:] = 0
            for place, column in places:
                if column >= 0:
                    values[:, place] = sums.values[:, column]
            yield part
    for sketch in table.sketches:
        items = rows.sketched[sketch.name].take(at)
        yield from _sketched(sketch_of(table, sketch), found, items, offset, closed)


@cache
def _places(table: Table, catalog: Catalog) -> list[int]:
    """The indexes of a table's measures among all measures."""
    return [catalog.measures.index(measure) for measure in table.measures]


def _series_of(table: Table, rows: _Rows, at: Codes) -> list[tuple[Table, int, str]]:
    """The series of these rows, one per row."""
    columns = [
        map(rows.quoted[name].__getitem__, rows.codes[name].take(at).tolist())
        for name in table.dimensions
    ]
    tenants = rows.tenants.take(at).tolist()
    names = map(name_of_quoted, zip(*columns, strict=True)) if columns else repeat(series_name(()))
    return list(zip(repeat(table), tenants, names, strict=False))


def _sketched(
    page_kind: PageKind, rows: Grouped, items: Items, offset: int, closed: Closed
) -> Iterator[DeltaPart]:
    """One sketch of a table in all tiers: counts of bins, or digests."""
    adds = items != np.uint64(NOTHING)
    if not adds.all():
        rows, items = Grouped(*(column[adds] for column in rows)), items[adds]
    if page_kind.form == HISTOGRAM_FORM:
        for tier, counts in items_of(rows, items.astype(np.int64), page_kind.tiers, closed):
            part = _packed(page_kind, tier, counts.group, counts.at_ms, offset)
            part.rows["bin"] = counts.item
            part.rows["count"] = counts.times
            yield part
    else:
        digests, item = numbered(items)
        for tier, counts in items_of(rows, item, page_kind.tiers, closed):
            part = _packed(page_kind, tier, counts.group, counts.at_ms, offset)
            part.rows["digest"] = digests.take(counts.item)
            yield part


def _packed(page_kind: PageKind, tier: Tier, group: Codes, at_ms: Int64s, offset: int) -> DeltaPart:
    """Runs, and rows whose slots are set."""
    bucket = at_ms // tier.bucket_ms
    chunk = bucket // tier.chunk_buckets
    starts = np.flatnonzero(changes(group, chunk))
    runs = np.empty(len(starts), RUN_DTYPE)
    runs["series"] = group.take(starts) + offset
    runs["chunk"] = chunk.take(starts)
    runs["rows"][:-1] = starts[1:] - starts[:-1]
    runs["rows"][-1] = len(bucket) - starts[-1]
    rows = np.empty(len(bucket), page_kind.dtype)
    rows["slot"] = bucket - chunk * tier.chunk_buckets
    return DeltaPart(page_kind, tier, runs, rows)
