"""The functional core: decoded events in, one delta out. No I/O, no clock.

Columns first (streams/columns.py), one roll-up a batch: `fold` adds them up for every view and tier.

The rules (design: "The way of one event"): an event counts at its own time, in the tiers that keep
that age at its append; of equal events in a batch the first counts; calls are booked as
streams/bookings.py says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from schemas.event import Kind
from schemas.grid import TIERS, Tier
from schemas.layout import (
    RUN_DTYPE,
    Family,
    Int64s,
    Rows,
    counters_of,
    series_name,
    sketch_of,
)
from schemas.measures import BOOKED, COST_EVENTS, COST_NANO_USD, How, Measure
from schemas.views import Catalog, Table, booking_dimensions
from streams.bookings import Addition, CallUpdate, Held, book
from streams.chats import Chats, chats_of
from streams.columns import NOTHING, Codes, Columns, Items
from streams.people import CALL_KIND, Calls, Said, latest_calls, words_of


class Part(NamedTuple):
    """Rows for the pages of one family and tier. `runs` (layout.RUN_DTYPE) say of whom they are:
    the next so many rows are of one series, an index into the delta's, and chunk. The cell of a row
    is its bucket; streams/pages.py adds the place of its series."""

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


class _Rows(NamedTuple):
    """What is rolled up: events and additions to bookings, in one form."""

    at_ms: Int64s
    level: Int64s
    tenants: Codes
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    values: Int64s
    sketched: Mapping[str, Items]


def fold(batch: Columns, held: Mapping[int, Held | None], *, keeps_previews: bool = False) -> Delta:
    """What the batch adds to every view and tier. `held`: the bookings of its calls."""
    additions, updates = book(batch, held)
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


def _rows(batch: Columns, additions: Sequence[Addition]) -> _Rows:
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
        used = np.flatnonzero(values.any(axis=0))  # most measures are of few kinds of models
        levelled = _Levelled(group, rows.at_ms, nothing, rows.level, values[:, used])
        family = counters_of(table)
        for tier, found in _by_tier(family, levelled):
            packed = _packed(family, tier, found, offset)
            packed.rows["values"] = 0
            packed.rows["values"][:, used] = found.values
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
