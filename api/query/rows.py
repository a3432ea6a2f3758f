"""The rows of an answer before quotients: sums of each group in each bucket, by column. Pure.

Columns are faster than objects: an answer has thousands of rows, and dashboards ask for it again
after every commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from api.query.plan import DistinctValues, Sum
from api.query.sums import Columns, Row, Sums
from schemas.catalog.sketches import Distinct
from schemas.store.layout import Int64s

OTHERS: Final = -1
"""The place of the group that has the sums of all groups beyond `limit`."""

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RowColumns:
    """`group[row]` is a place in `groups`, or OTHERS. `bucket[row]` is a place in the starts of the
    plan's buckets. `is_null`: the rows that `fill` made, whose measures are null; None: none are."""

    groups: Sequence[tuple[str, ...]]
    group: Int64s
    bucket: Int64s
    sums: Columns
    is_null: Marks | None = None

    def __len__(self) -> int:
        return len(self.group)

    def taken(self, places: Int64s | Marks) -> RowColumns:
        """Some of the rows, or all in another order."""
        is_null = None if self.is_null is None else self.is_null[places]
        return RowColumns(
            self.groups, self.group[places], self.bucket[places], self.sums[:, places], is_null
        )

    def names(self, place: int) -> list[str | None]:
        """The value of each row's group at a place in `group_by`; None for OTHERS."""
        groups, own = self.groups, self.group.tolist()
        if len(own) < len(groups):
            return [None if group == OTHERS else groups[group][place] for group in own]
        values = [*(group[place] for group in groups), None]  # OTHERS is the last
        return list(map(values.__getitem__, own))

    @property
    def totals(self) -> list[Sum]:
        """Of each term over all rows."""
        return [_sum(column) for column in self.sums]

    def by_group(self) -> tuple[Int64s, Columns]:
        """The groups that have rows, without OTHERS, and their sums over all buckets."""
        is_there = np.bincount(self.group, minlength=len(self.groups)) > 0
        groups = np.flatnonzero(is_there)
        return groups, _added(self.sums, (np.cumsum(is_there) - 1)[self.group], len(groups))

    def by_shown_group(self) -> tuple[list[tuple[str, ...] | None], Columns]:
        """All groups that have rows, None for OTHERS, and their sums over all buckets."""
        every = np.where(self.group == OTHERS, len(self.groups), self.group)
        groups, place = np.unique(every, return_inverse=True)
        names = [self.groups[n] if n < len(self.groups) else None for n in groups.tolist()]
        return names, _added(self.sums, place, len(groups))


def columns_of(found: Sums, places: Int64s | None = None) -> RowColumns:
    """The rows with events; always one without groups and buckets. `places`: only those that
    `Sums.top` found in `there`."""
    selection = found.selection
    cells, sums = found.there
    if places is not None:
        cells, sums = cells[places], sums[:, places]
    if selection.plan.sketches:
        known = [set(own) for own in found.sketched]
        every = np.array(sorted(set(cells.tolist()).union(*known)), np.int64)
        both = np.zeros((len(sums) + len(known), len(every)), object)
        both[: len(sums), np.searchsorted(every, cells)] = sums
        for column, own in zip(both[len(sums) :], found.sketched, strict=True):
            for place in np.flatnonzero(np.isin(every, list(own))).tolist():
                column[place] = own[int(every[place])]
        cells, sums = every, both
    asked = selection.plan.question
    if not len(cells) and not (asked.group_by or asked.step):
        nothing = np.zeros(1, np.int64)
        return RowColumns(((),), nothing, nothing, np.zeros((len(sums), 1), sums.dtype))
    bucket, group = np.divmod(cells, max(1, len(selection.groups)))
    return RowColumns(selection.groups, group, bucket, sums)


def columns_of_rows(rows: Sequence[Row], starts_ms: Int64s, width: int) -> RowColumns:
    """Columns of rows with `width` sums each."""
    places: dict[tuple[str, ...], int] = {}
    group = [places.setdefault(row.group, len(places)) for row in rows]
    at_ms = np.array([row.at_ms for row in rows], np.int64)
    sums = np.zeros((width, len(rows)), object)
    for place, row in enumerate(rows):
        for term, one in enumerate(row.sums):
            sums[term, place] = one
    bucket = np.searchsorted(starts_ms, at_ms)
    return RowColumns(tuple(places), np.array(group, np.int64), bucket, sums)


def regrouped(
    rows: RowColumns, names_of: Callable[[tuple[str, ...]], Sequence[tuple[str, ...]]]
) -> RowColumns:
    """The rows by other groups. `names_of`: the groups that have the rows of a group, one or several."""
    places: dict[tuple[str, ...], int] = {}
    of_each = [
        [places.setdefault(name, len(places)) for name in names_of(group)] for group in rows.groups
    ]
    counts = np.array([len(one) for one in of_each], np.int64)
    starts = np.cumsum(counts) - counts
    found = np.array([place for one in of_each for place in one], np.int64)
    repeats = counts[rows.group]
    row = np.repeat(np.arange(len(rows)), repeats)
    # Of a row's groups the first, the second, ...
    number = np.arange(len(row)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    group = found[starts[rows.group[row]] + number]
    sums = rows.sums[:, row]
    if len(row) > len(rows):
        sums = sums.astype(object)  # what counts several times may need more than 64 bits
    return _together(tuple(places), group, rows.bucket[row], sums)


def joined(parts: Sequence[RowColumns]) -> RowColumns:
    """The rows of all parts; those of the same group and bucket are added."""
    if len(parts) == 1:
        return parts[0]
    places: dict[tuple[str, ...], int] = {}
    groups = []
    for part in parts:
        own = [places.setdefault(group, len(places)) for group in part.groups]
        groups.append(np.array(own, np.int64)[part.group])
    # Objects: each part fits into 64 bits, but not all of them together.
    sums = np.concatenate([part.sums.astype(object) for part in parts], axis=1)
    bucket = np.concatenate([part.bucket for part in parts])
    return _together(tuple(places), np.concatenate(groups), bucket, sums)


def _together(
    groups: tuple[tuple[str, ...], ...], group: Int64s, bucket: Int64s, sums: Columns
) -> RowColumns:
    """One row for each group and bucket."""
    count = max(1, len(groups))
    cells, own = np.unique(bucket * count + group, return_inverse=True)
    bucket, group = np.divmod(cells, count)
    return RowColumns(groups, group, bucket, _added(sums, own, len(cells)))


def limited(rows: RowColumns, rank: Int64s, limit: int) -> RowColumns:
    """The first groups by rank, and the sums of all others in each bucket."""
    is_kept = rank[rows.group] < limit
    if is_kept.all():
        return rows
    rest = ~is_kept
    buckets, own = np.unique(rows.bucket[rest], return_inverse=True)
    others = _added(rows.sums[:, rest], own, len(buckets))
    return with_others(rows.taken(is_kept), buckets, others)


def with_others(rows: RowColumns, buckets: Int64s, sums: Columns) -> RowColumns:
    """These rows and, in the given buckets, rows with the sums of all other groups."""
    return replace(
        rows,
        group=np.concatenate([rows.group, np.full(len(buckets), OTHERS)]),
        bucket=np.concatenate([rows.bucket, buckets]),
        sums=np.concatenate([rows.sums, sums], axis=1),
    )


def filled(rows: RowColumns, groups: Int64s, is_unknown: Marks) -> RowColumns:
    """A row for each group in each bucket. `groups` has all groups of the rows. `is_unknown`: of each
    bucket, whether a row that is made for it has nulls, not zeros."""
    count = len(is_unknown) * len(groups)
    place = rows.bucket * len(groups) + np.searchsorted(groups, rows.group)
    sums = np.zeros((len(rows.sums), count), rows.sums.dtype)
    sums[:, place] = rows.sums
    bucket, group = np.divmod(np.arange(count), max(1, len(groups)))
    is_null = None
    if is_unknown.any():
        is_null = is_unknown[bucket]
        is_null[place] = False
    return RowColumns(rows.groups, groups[group], bucket, sums, is_null)


def running(rows: RowColumns) -> RowColumns:
    """Each row with the sums of all earlier buckets of its group added. The order stays."""
    order = np.lexsort((rows.bucket, rows.group))
    group = rows.group[order]
    edges = np.flatnonzero(group[1:] != group[:-1]) + 1
    sums = rows.sums.copy()
    for own in np.split(order, edges):
        if sums.dtype == object:
            for term, column in enumerate(rows.sums):
                sums[term, own] = _running(column[own])
        else:
            sums[:, own] = np.add.accumulate(rows.sums[:, own], axis=1)
    return replace(rows, sums=sums)


def in_order(rows: RowColumns, rank: Int64s, *, is_back_in_time: bool) -> RowColumns:
    """Rows by time, and in each bucket by rank."""
    bucket = -rows.bucket if is_back_in_time else rows.bucket
    return rows.taken(np.lexsort((rank[rows.group], bucket)))


def _added(sums: Columns, place: Int64s, count: int) -> Columns:
    """The sums of the rows that have equal places."""
    found = np.zeros((len(sums), count), sums.dtype)
    for own, column in zip(found, sums, strict=True):
        if _sets(column) is None:
            np.add.at(own, place, column)
        else:
            order = np.argsort(place, kind="stable")
            for run in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
                own[place[run[0]]] = _sum(column[run])
    return found


def _sum(column: Columns) -> Sum:
    if (kind := _sets(column)) is None:
        return cast("Sum", column.sum() if column.dtype == object else column.sum().item())
    parts: list[Any] = [one for one in column.tolist() if isinstance(one, kind)]
    return kind.union(parts)


def _running(column: Columns) -> Columns | list[Sum]:
    """Each value with all values before it added."""
    if (kind := _sets(column)) is None:
        return np.add.accumulate(column)
    values = column.tolist()
    places = [place for place, one in enumerate(values) if isinstance(one, kind)]
    found: list[Sum] = [0] * len(values)
    unions: Sequence[Sum] = kind.unions([values[place] for place in places])
    for (place, end), one in zip(pairwise([*places, len(values)]), unions, strict=True):
        found[place:end] = [one] * (end - place)
    return found


def _sets(column: Columns) -> type[Distinct | DistinctValues] | None:
    """The class of the sets in a column; None if it has numbers. 0 is the empty set."""
    if column.dtype != object:
        return None
    found = {type(one) for one in column.tolist()} & {Distinct, DistinctValues}
    return found.pop() if found else None
