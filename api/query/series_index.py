"""The series of one table and tenant as columns, so that filters and groups take microseconds. Pure.

The id of a series is its place in the list `N:lV.T` in Redis. Lists only grow, so an index stays
correct and is only extended.
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
from schemas.store.layout import Int64s
from schemas.store.series_names import series_values

Bools = npt.NDArray[np.bool_]
VALUE_BYTES: Final = 200
"""A text of 36 characters has 85 bytes, its entry in a dictionary about 100, in `words` 8."""


@dataclass(frozen=True)
class Filter:
    """Passes series whose value of `dimension` is one of `values`, begins with one of `prefixes`, ends with one
    of `suffixes` or contains one of `parts`. With `ignores_case` all of these are case-folded, and so is the
    value. `is_negated` passes the others. The value "" means that events did not report the dimension."""

    dimension: str
    values: frozenset[str]
    prefixes: tuple[str, ...] = ()
    is_negated: bool = False
    suffixes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    ignores_case: bool = False

    @property
    def looks_at_all(self) -> bool:
        """Whether every value must be looked at: none can be found by its name alone."""
        return bool(self.prefixes or self.suffixes or self.parts or self.ignores_case)

    def takes(self, value: str) -> bool:
        if self.ignores_case:
            value = value.casefold()
        found = value in self.values or value.startswith(self.prefixes)
        found = found or value.endswith(self.suffixes) or any(part in value for part in self.parts)
        return found is not self.is_negated


@dataclass(eq=False)
class _CodeBuffer:
    """The array behind the codes of a column and of the columns that it was extended from. `used`: how
    many codes it has."""

    codes: Int64s
    used: int


@dataclass(frozen=True, eq=False)
class Column:
    """One dimension. `places` gives the place of each distinct value, in the order of arrival, and
    `codes[series]` is the place of a series' value.

    An extended column shares `places` and the room behind the codes with the one before. So `places`
    may have more values than this column uses.
    """

    places: dict[str, int]
    codes: Int64s
    room: _CodeBuffer | None = None

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.places)


@dataclass(frozen=True, eq=False)
class SeriesIndex:
    """The series of a table and tenant that were read so far, with a column for each dimension."""

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
        """The column of a dimension. All series of a table have the same kind."""
        if dimension == "kind":
            return Column({self.table.kind: 0}, np.zeros(self.count, np.int64))
        return self.columns[self.table.dimensions.index(dimension)]


@cache
def empty_index(table: Table) -> SeriesIndex:
    empty = np.empty(0, np.int64)
    return SeriesIndex(table, 0, tuple(Column({}, empty) for _ in table.dimensions))


def extended(names: SeriesIndex, more: Sequence[bytes]) -> SeriesIndex:
    """The index with the next names of the list. Raises StoreCorrupt if one of them is not a name."""
    values = [series_values(name) for name in more]
    width = len(names.table.dimensions)
    if any(len(value) != width for value in values):
        raise StoreCorrupt(
            f"a series name of view {names.table.view.name} does not have {width} values"
        )
    columns = tuple(
        _extended(column, [value[place] for value in values], is_first=not names.count)
        for place, column in enumerate(names.columns)
    )
    return SeriesIndex(names.table, names.count + len(values), columns)


def matching(names: SeriesIndex, filter_: Filter) -> Bools:
    """Whether each series passes the filter."""
    column = names.column(filter_.dimension)
    if filter_.looks_at_all:
        passes = np.fromiter(map(filter_.takes, column.words), np.bool_, len(column.words))
        return passes[column.codes]
    taken = [column.places[value] for value in filter_.values if value in column.places]
    passes = column.codes == taken[0] if len(taken) == 1 else np.isin(column.codes, taken)
    return ~passes if filter_.is_negated else passes


def _extended(column: Column, values: list[str], *, is_first: bool) -> Column:
    # All empty indexes share one dictionary, so the first names start a new one.
    places = {} if is_first else column.places
    codes = [places.setdefault(value, len(places)) for value in values]
    have = len(column.codes)
    count = have + len(codes)
    room = column.room
    if room is None or room.used != have or count > len(room.codes):
        # Twice the space that is needed, so that a million codes are not copied for each new one.
        room = _CodeBuffer(np.empty(2 * count, np.int64), have)
        room.codes[:have] = column.codes
    room.codes[have:count] = codes
    room.used = count
    return Column(places, room.codes[:count], room)
