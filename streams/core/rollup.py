"""Sorts and sums whole batches: the array operations under streams/core/fold.py. Pure.

Sorts go by 16 bits at a time, low bits first: numpy sorts 16-bit numbers by counting, which is twelve
times faster than sorting whole numbers. A batch is sorted by time once, and then by the series of
each view. Coarser tiers are then in order already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.store.layout import Int64s
from schemas.tiers import SOURCES, TIERS, Closed, Tier

Flags = npt.NDArray[np.bool_]
_DIGIT_BITS: Final = 16


class Grouped(NamedTuple):
    """Events, or sums of events, sorted by group and time. `values`: one row each."""

    group: Int64s
    at_ms: Int64s
    finest_tier: Int64s
    values: Int64s


class Itemized(NamedTuple):
    """How often each item occurs in a group and bucket, sorted by group, time, item."""

    group: Int64s
    at_ms: Int64s
    item: Int64s
    times: Int64s


Some = TypeVar("Some", Grouped, Itemized)


def sorted_by(key: Int64s, order: Int64s | None = None) -> Int64s:
    """The indexes that sort by `key` (not negative); equal keys stay in the order of `order`."""
    if order is None:
        order = np.arange(len(key))
    while key.any():
        digits = key.astype(np.uint16)  # the low 16 bits
        order = order.take(np.argsort(digits.take(order), kind="stable"))
        key = key >> _DIGIT_BITS
    return order


def changes(*columns: npt.NDArray[Any]) -> Flags:
    """Where any column differs from the row before; True at the first row."""
    changed = np.empty(len(columns[0]), bool)
    changed[:1] = True
    np.not_equal(columns[0][1:], columns[0][:-1], out=changed[1:])
    for column in columns[1:]:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def combined_key(columns: Sequence[Int64s]) -> Int64s:
    """One key for several columns of codes; the first column is the most significant."""
    key = columns[0]
    for column in columns[1:]:
        width = int(column.max()) + 1
        if int(key.max()) > (1 << 62) // width:  # would overflow: number the existing keys
            key = numbered(key)[1]
        key = key * width + column
    return key


def numbered(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Int64s]:
    """The distinct values in order, and for each row the index of its value."""
    order = np.argsort(values)
    changed = changes(values.take(order))
    number = np.empty(len(values), np.int64)
    number[order] = np.cumsum(changed) - 1
    return values.take(order[changed]), number


def duplicates(digests: npt.NDArray[np.uint64]) -> Int64s:
    """The indexes of values that are equal to an earlier one."""
    low = (digests & np.uint64(0xFFFF_FFFF)).astype(np.int64)
    order = sorted_by(low)
    if changes(low.take(order)).all():
        return np.empty(0, np.int64)
    order = np.argsort(digests, kind="stable")
    return order[~changes(digests.take(order))]


def tiers_of(rows: Grouped, kept: Sequence[Tier], closed: Closed) -> Iterator[tuple[Tier, Grouped]]:
    """The sums of each kept tier, over the rows that are written to it."""
    return _by_tier(rows, rows.finest_tier, kept, closed, _added_up)


def items_of(
    rows: Grouped, item: Int64s, kept: Sequence[Tier], closed: Closed
) -> Iterator[tuple[Tier, Itemized]]:
    """For each kept tier: how often every item (not negative) occurs."""
    once = Itemized(rows.group, rows.at_ms, item, np.ones(len(item), np.int64))
    return _by_tier(once, rows.finest_tier, kept, closed, _counted)


def _by_tier(
    rows: Some,
    finest_tier: Int64s,
    kept: Sequence[Tier],
    closed: Closed,
    added_up: Callable[[Some, int, bool], Some],
) -> Iterator[tuple[Tier, Some]]:
    """A coarser tier is made from the rows of the finer one, if all rows have one finest tier. `added_up` takes
    rows, the length of a bucket in ms, and whether it has made the rows itself, for a finer tier."""
    if not len(finest_tier):
        return
    finest, coarsest = int(finest_tier.min()), int(finest_tier.max())
    found, is_added_up = rows, False
    for place, tier in enumerate(TIERS[finest:], finest):
        if tier not in kept:
            continue
        if finest < coarsest:
            written = _written(finest_tier, rows.at_ms, place, kept, closed)
            found, is_added_up = _chosen(rows, written), False
        elif (edge_ms := closed.whole_before(tier, kept)) is not None and _source(tier) >= finest:
            found = _chosen(found, found.at_ms < edge_ms)
        if not len(found.group):
            continue
        found, is_added_up = added_up(found, tier.bucket_ms, is_added_up), True
        yield tier, found


def _written(
    finest_tier: Int64s, at_ms: Int64s, place: int, kept: Sequence[Tier], closed: Closed
) -> Flags:
    """Which rows are written to a tier: where it is the finest one that keeps them, and where the one
    that it is made from is closed."""
    written: Flags = finest_tier <= place
    edge_ms = closed.whole_before(TIERS[place], kept)
    if edge_ms is not None:
        written &= (finest_tier > _source(TIERS[place])) | (at_ms < edge_ms)
    return written


def _source(tier: Tier) -> int:
    """The index of the tier that it is made from."""
    return TIERS.index(SOURCES[tier])


def _chosen(rows: Some, chosen: Flags) -> Some:
    return rows if chosen.all() else type(rows)(*(column[chosen] for column in rows))


def _added_up(rows: Grouped, bucket_ms: int, _is_added_up: bool) -> Grouped:  # noqa: FBT001
    bucket = rows.at_ms // bucket_ms
    starts = np.flatnonzero(changes(rows.group, bucket))
    if len(starts) == len(bucket):
        return rows._replace(at_ms=bucket * bucket_ms)
    sums = np.empty((len(starts), rows.values.shape[1]), np.int64)
    for column in range(sums.shape[1]):
        sums[:, column] = np.add.reduceat(rows.values[:, column], starts)
    return Grouped(
        rows.group.take(starts),
        bucket.take(starts) * bucket_ms,
        rows.finest_tier.take(starts),
        sums,
    )


def _counted(rows: Itemized, bucket_ms: int, is_counted: bool) -> Itemized:  # noqa: FBT001
    """`is_counted`: the rows are the result of a finer tier."""
    bucket = rows.at_ms // bucket_ms
    changed = changes(rows.group, bucket)
    if is_counted and not (changes(rows.group, rows.at_ms) ^ changed).any():
        return rows._replace(at_ms=bucket * bucket_ms)
    run = np.cumsum(changed, dtype=np.int64)
    order = sorted_by(run, sorted_by(rows.item))
    ordered_run, ordered_item = run.take(order), rows.item.take(order)
    starts = np.flatnonzero(changes(ordered_run, ordered_item))
    at = order.take(starts)
    return Itemized(
        rows.group.take(at),
        bucket.take(at) * bucket_ms,
        ordered_item.take(starts),
        np.add.reduceat(rows.times.take(order), starts),
    )
