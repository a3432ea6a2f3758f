"""The series of one table and tenant as columns, so that filters and groups cost microseconds. Pure.

A series' id is its place in the list `N:lV.T`; lists only grow, so what is known stays true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.catalog.views import Table
from schemas.errors import StoreCorrupt
from schemas.store.layout import Int64s, series_values

Bools = npt.NDArray[np.bool_]
VALUE_BYTES: Final = 200
"""A text of 36 characters has 85 bytes, its entry in a dictionary about 100, in `words` 8."""


@dataclass(frozen=True)
class Filter:
    """Keeps the series whose `dimension` has one of the values or begins with one of the prefixes;
    `is_negated` keeps the others. "" is "not reported"."""

    dimension: str
    values: frozenset[str]
    prefixes: tuple[str, ...] = ()
    is_negated: bool = False

    def takes(self, value: str) -> bool:
        return (value in self.values or value.startswith(self.prefixes)) is not self.is_negated


@dataclass(eq=False)
class _CodeBuffer:
    """Where the codes of a column and of those that it grew from stand, and how many are there."""

    codes: Int64s
    used: int


@dataclass(frozen=True, eq=False)
class Column:
    """One dimension: `places` has its distinct values in order, each with its place in it, and
    `codes[series]` is the place of each. A column that grows shares `places`, so it may have more,
    and the room behind its codes."""

    places: dict[str, int]
    codes: Int64s
    room: _CodeBuffer | None = None

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.places)


@dataclass(frozen=True, eq=False)
class SeriesIndex:
    """All series of a table and tenant that are known, one column a dimension."""

    table: Table
    count: int
    columns: tuple[Column, ...]

    @property
    def size_bytes(self) -> int:
        """An estimate: the codes with the room behind them, and every distinct value."""
        return sum(
            2 * column.codes.nbytes + VALUE_BYTES * len(column.places) for column in self.columns
        )

    def column(self, dimension: str) -> Column:
        """Of the kind, the same for all."""
        if dimension == "kind":
            return Column({self.table.kind: 0}, np.zeros(self.count, np.int64))
        return self.columns[self.table.dimensions.index(dimension)]


@cache
def empty_index(table: Table) -> SeriesIndex:
    empty = np.empty(0, np.int64)
    return SeriesIndex(table, 0, tuple(Column({}, empty) for _ in table.dimensions))


def extended(names: SeriesIndex, more: Sequence[bytes]) -> SeriesIndex:
    """`names` with those that follow them in the list; StoreCorrupt where one is not a name."""
    values = [series_values(name) for name in more]
    width = len(names.table.dimensions)
    if any(len(value) != width for value in values):
        raise StoreCorrupt(f"a series name of view {names.table.view.name} has not {width} values")
    columns = tuple(
        _extended(column, [value[place] for value in values], is_first=not names.count)
        for place, column in enumerate(names.columns)
    )
    return SeriesIndex(names.table, names.count + len(values), columns)


def matching(names: SeriesIndex, filter_: Filter) -> Bools:
    """For each series, whether it passes."""
    column = names.column(filter_.dimension)
    if filter_.prefixes:
        passes = np.fromiter(map(filter_.takes, column.words), np.bool_, len(column.words))
        return passes[column.codes]
    taken = [column.places[value] for value in filter_.values if value in column.places]
    passes = column.codes == taken[0] if len(taken) == 1 else np.isin(column.codes, taken)
    return ~passes if filter_.is_negated else passes


def _extended(column: Column, values: list[str], *, is_first: bool) -> Column:
    # Names begin with no words of their own, and whoever begins makes them.
    places = {} if is_first else column.places
    codes = [places.setdefault(value, len(places)) for value in values]
    have = len(column.codes)
    count = have + len(codes)
    room = column.room
    if room is None or room.used != have or count > len(room.codes):
        # Twice as much as is needed: a million codes are not copied for each new one.
        room = _CodeBuffer(np.empty(2 * count, np.int64), have)
        room.codes[:have] = column.codes
    room.codes[have:count] = codes
    room.used = count
    return Column(places, room.codes[:count], room)
