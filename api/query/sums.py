"""Exact sums of the pages that a selection reads. Pure.

Pages only grow until a compaction, which changes no sum. So earlier sums stay valid, and rows that
were appended since are added to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from api.errors import UnanswerableQuestion
from api.query.plan import Sum, Term
from api.query.selection import PageSet, Selection, TableSelection
from schemas.catalog.measures import How
from schemas.catalog.sketches import BINS, Distinct, Histogram, distinct_sets
from schemas.store.layout import SLOT_BUCKETS, Int64s, PageKind, sketch_of

CELLS_DENSE_MAX: Final = 1 << 17
"""Up to so many cells (buckets x groups), an answer is one array: 1 MB a term. A leaderboard of 100,000
users is. 90 days of 30 models by quarter-hour are not: only their cells with events are stored."""
ROWS_FEW: Final = 10_000
"""Rows that are cached: 3 MB."""
ROWS_MAX: Final = 300_000
"""Rows of one question that become objects: 0.3 kB each, 90 MB."""
SUM_MAX: Final = 2**63 - 1
EXACT_MAX: Final = 2**53
"""The largest whole number up to which doubles are exact."""
LOW: Final = 0xFFFFFFFF

Columns = npt.NDArray[Any]
"""`[term, row]`: 64-bit numbers if every sum fits, else objects: large integers, sketches and sets.
Each adds up with its own kind and with 0."""

Pages = Sequence[Sequence[bytes | None]]
"""For each `PageSet` of a selection, the values of its keys in their order; None: no such key."""
Starts = Sequence[int]
"""For each `PageSet`, the place of the first of these pages among its keys; (): 0 for all."""


class Row(NamedTuple):
    """One row: the values of `group_by`, the start of the bucket (0 without a step), the exact sums of
    the terms in order, and the sums of the terms that are sketches."""

    group: tuple[str, ...]
    at_ms: int
    values: tuple[int, ...]
    sketches: tuple[Sum, ...] = ()

    @property
    def sums(self) -> tuple[Sum, ...]:
        return self.values + self.sketches if self.sketches else self.values


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of each cell (cell = bucket x groups + group), as `low[term, cell]`.

    If a sum might need more than 64 bits, it is high x 2^32 + low, exact for 2^31 rows. `places` gives
    the number of each stored cell; None: all cells are stored. No sum of `low`, nor of any of its
    cells together, is larger than `bound`.
    """

    selection: Selection
    low: Int64s
    high: Int64s | None
    bound: int
    places: Int64s | None
    sketched: Sequence[dict[int, Histogram | Distinct]]

    @property
    def can_grow(self) -> bool:
        """Whether appended rows can be added to these sums. If not, all pages are summed from scratch."""
        return self.places is None and not self.selection.plan.sketches

    def plus(self, tails: Pages, starts: Starts = ()) -> Self:
        """These sums with rows that were appended to pages; the same object if none of them counts."""
        blocks = _blocks(self.selection, tails, starts)
        if not blocks:
            return self
        bound = self.bound + sum(_bound(values) for _, values in blocks)
        low = self.low.copy()
        high = None if self.high is None else self.high.copy()
        if high is None and bound > SUM_MAX:
            low, high = low & LOW, low >> 32
        for cell, values in blocks:
            _add(low, high, cell, values)
        return type(self)(self.selection, low, high, bound, None, self.sketched)

    @property
    def rows(self) -> list[Row]:
        """Rows by time, groups in the order of their first series. A row that is all zeros is left
        out. Raises UnanswerableQuestion if they are too many.

        Few rows are cached. Not by `cached_property`: its lock is one for all answers, and a thread that
        makes the rows of a large one would hold it.
        """
        cached: list[Row] | None = self.__dict__.get("_rows")
        if cached is not None:
            return cached
        count = max([len(self.there[0]), *map(len, self.sketched)])
        if count > ROWS_MAX:
            raise UnanswerableQuestion(
                f"The answer needs {count} rows, more than the limit of {ROWS_MAX} (ROWS_MAX). Use a"
                " shorter range, longer buckets, fewer dimensions, or filters that select fewer series."
            )
        rows = self._rows_made()
        if len(rows) <= ROWS_FEW:
            self.__dict__["_rows"] = rows
        return rows

    def _rows_made(self) -> list[Row]:
        selection = self.selection
        width = len(selection.plan.sketches)
        found_at, columns = self.there
        cells = found_at.tolist()
        sums: list[tuple[int, ...]] = list(map(tuple, columns.T.tolist()))
        if not width:
            if not cells and not (selection.plan.question.group_by or selection.plan.question.step):
                return [Row((), 0, (0,) * len(self.low))]
            return self._made(cells, sums, None)
        found = dict(zip(cells, sums, strict=True))
        sketches: dict[int, list[Sum]] = {cell: [0] * width for cell in cells}
        for place, own in enumerate(self.sketched):
            for cell, sketch in own.items():
                sketches.setdefault(cell, [0] * width)[place] = sketch
        nothing = (0,) * len(self.low)
        if not sketches and not (selection.plan.question.group_by or selection.plan.question.step):
            return [Row((), 0, nothing, (0,) * width)]
        cells = sorted(sketches)
        return self._made(
            cells, [found.get(cell, nothing) for cell in cells], [sketches[cell] for cell in cells]
        )

    @cached_property
    def totals(self) -> tuple[int, ...]:
        """The sums of all cells."""
        return tuple(_total(self, place) for place in range(len(self.low)))

    def top(self, places: Sequence[int], count: int, *, is_descending: bool) -> Int64s | None:
        """The places in `there` of the first `count` groups by the sum of these terms, in no order.

        Equal sums are ordered by the names of their groups. Only for answers without buckets. None if
        there are no more groups, or if a double cannot hold the sums: other code sorts by doubles.
        """
        if self.high is not None or self.places is not None or self.bound * len(places) > SUM_MAX:
            return None
        cells, sums = self.there
        if len(cells) <= count:
            return None
        values = sums[list(places)].sum(axis=0)
        if max(int(values.max()), -int(values.min())) > EXACT_MAX:
            return None
        if is_descending:
            values = -values
        edge = np.partition(values, count - 1)[count - 1]
        groups = self.selection.groups
        inside = np.flatnonzero(values < edge)
        equal = np.flatnonzero(values == edge).tolist()
        equal.sort(key=lambda place: groups[cells[place]])
        return np.concatenate([inside, np.array(equal[: count - len(inside)], np.int64)])

    @property
    def there(self) -> tuple[Int64s, Columns]:
        """The cells with a sum that is not zero, ascending, and their sums as `[term, cell]`: 64-bit
        numbers if all of them together fit, else Python integers."""
        cached: tuple[Int64s, Columns] | None = self.__dict__.get("_there")
        if cached is None:
            cached = self.__dict__["_there"] = self._there_found()
        return cached

    @property
    def stored_there(self) -> Int64s:
        """The places of the stored cells that have a sum which may be other than zero."""
        some = self.low.any(axis=0)
        if self.high is not None:
            some |= self.high.any(axis=0)
        return np.flatnonzero(some)

    def _there_found(self) -> tuple[Int64s, Columns]:
        if not len(self.low):
            return np.empty(0, np.int64), self.low[:, :0]
        at = self.stored_there
        cells = at if self.places is None else self.places[at]
        if self.high is None:
            return cells, self.low[:, at]
        sums = (self.high[:, at].astype(object) << 32) + self.low[:, at].astype(object)
        kept = sums.astype(np.bool_).any(axis=0)  # high and low that add up to zero
        return cells[kept], sums[:, kept]

    def _made(
        self,
        cells: Sequence[int],
        sums: Sequence[tuple[int, ...]],
        sketches: Sequence[Sequence[Sum]] | None,
    ) -> list[Row]:
        groups = self.selection.groups
        count = len(groups)
        at_ms = self.selection.plan.starts_list
        if sketches is None:
            if count == 1:
                (group,) = groups
                return [Row(group, at_ms[c], s) for c, s in zip(cells, sums, strict=True)]
            return [
                Row(groups[c % count], at_ms[c // count], s)
                for c, s in zip(cells, sums, strict=True)
            ]
        return [
            Row(groups[c % count], at_ms[c // count], s, tuple(more))
            for c, s, more in zip(cells, sums, sketches, strict=True)
        ]


def summed(selection: Selection, pages: Pages, starts: Starts = ()) -> Sums:
    """The sums of these pages. Raises StoreCorrupt if a page is cut short."""
    terms = selection.plan.sums
    sketched = [_sketched(selection, term, pages, starts) for term in selection.plan.sketches]
    blocks = _blocks(selection, pages, starts)
    count = len(selection.groups) * len(selection.plan.starts_ms)
    places = None
    if count > CELLS_DENSE_MAX:
        cells = [cell for cell, _ in blocks]
        places, all_cells = np.unique(
            np.concatenate(cells) if cells else np.empty(0, np.int64), return_inverse=True
        )
        if blocks:
            blocks = [(all_cells, np.concatenate([values for _, values in blocks], axis=1))]
        count = len(places)
    bound = sum(_bound(values) for _, values in blocks)
    low = np.zeros((len(terms), count), np.int64)
    high = np.zeros_like(low) if bound > SUM_MAX else None
    for cell, values in blocks:
        _add(low, high, cell, values)
    return Sums(selection, low, high, bound, places, sketched)


def _total(sums: Sums, place: int) -> int:
    low = sums.low[place]
    if sums.high is None and sums.bound * max(1, low.size) <= SUM_MAX:
        whole: int = low.sum().item()
        return whole
    total = (int((low >> 32).sum()) << 32) + int((low & LOW).sum())
    if sums.high is not None:
        total += int(sums.high[place].sum()) << 32
    return total


_Block = tuple[Int64s, Int64s]
"""The cells of some rows, and `values[term, row]`."""


def _blocks(selection: Selection, pages: Pages, starts: Starts) -> list[_Block]:
    """One for each table that has rows which count."""
    terms = selection.plan.sums
    if not terms:
        return []
    blocks = []
    for part, page_kind, page_set, own, start in _each(selection, pages, starts):
        there, kept = _there(own, start)
        if page_kind.sketch is not None or not kept:
            continue
        found = page_kind.columns_of(kept, [column for _, column in part.columns])
        cut = _cut(selection, part, page_kind, page_set, there[found.page], found.slots)
        if cut is not None:
            values = np.zeros((len(terms), len(cut.cell)), np.int64)
            for (place, _), one in zip(part.columns, found.values, strict=True):
                values[place] = one if cut.chosen is None else one[cut.chosen]
            blocks.append((cut.cell, values))
    return blocks


def _each(
    selection: Selection, pages: Pages, starts: Starts
) -> list[tuple[TableSelection, PageKind, PageSet, Sequence[bytes | None], int]]:
    page_kinds = [
        (part, page_kind, page_set)
        for part in selection.parts
        for page_kind, page_set in part.page_sets.items()
    ]
    return [
        (*one, own, start)
        for one, own, start in zip(page_kinds, pages, starts or [0] * len(pages), strict=True)
    ]


def _there(pages: Sequence[bytes | None], start: int) -> tuple[Int64s, list[bytes]]:
    """The pages that Redis has, and the place of each. `start`: the place of the first page."""
    kept = [(place, page) for place, page in enumerate(pages, start) if page]
    return np.array([place for place, _ in kept], np.int64), [page for _, page in kept]


def _bound(values: Int64s) -> int:
    """An upper bound of every sum of any of these values."""
    largest: int = max(abs(int(values.max())), abs(int(values.min())))
    return largest * len(values[0])


def _add(low: Int64s, high: Int64s | None, cell: Int64s, values: Int64s) -> None:
    if high is not None:
        _add(high, None, cell, values >> 32)
        values = values & LOW
    if low.shape[1] == 1:
        low[:, 0] += values.sum(axis=1)
        return
    for sums, own in zip(low, values, strict=True):
        np.add.at(sums, cell, own)


def _sketched(
    selection: Selection, term: Term, pages: Pages, starts: Starts
) -> dict[int, Histogram | Distinct]:
    """The sketch of each cell of the answer, over all tables."""
    cells, rows_of = [], []
    for part, page_kind, page_set, own, start in _each(selection, pages, starts):
        table = part.names.table
        if not term.is_in(table) or page_kind is not sketch_of(table, term.measure):
            continue
        there, kept = _there(own, start)
        if not kept:
            continue
        rows, page = page_kind.rows_of_all(kept)
        slots = rows["slot"].astype(np.int64)
        cut = _cut(selection, part, page_kind, page_set, there[page], slots)
        if cut is not None:
            rows_of.append(rows if cut.chosen is None else rows[cut.chosen])
            cells.append(cut.cell)
    if not cells:
        return {}
    cell, rows = np.concatenate(cells), np.concatenate(rows_of)
    if term.measure.how is How.DISTINCT:
        return {**distinct_sets(cell, rows["digest"].astype(np.uint64))}
    order = np.argsort(cell, kind="stable")
    cell, rows = cell[order], rows[order]
    first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
    ends = np.append(first[1:], len(cell)).tolist()
    found: dict[int, Histogram | Distinct] = {}
    for place, start, end in zip(cell[first].tolist(), first.tolist(), ends, strict=True):
        own_rows = rows[start:end]
        counts = np.zeros(BINS, np.int64)
        np.add.at(counts, own_rows["bin"], own_rows["count"].astype(np.int64))
        found[place] = Histogram(counts)
    return found


class _Cut(NamedTuple):
    """Which rows of a page kind count (None: all), and the cell of the answer of each that does."""

    chosen: Int64s | None
    cell: Int64s


def _cut(  # the six things that say what a row is
    selection: Selection,
    part: TableSelection,
    page_kind: PageKind,
    page_set: PageSet,
    page_of: Int64s,
    slots: Int64s,
) -> _Cut | None:
    """The rows inside the plan's spans that belong to a selected series; None if there are none.
    `page_of`: of each row, the place of its page among the keys of the page set.

    All pages of all tiers are joined, so that numpy is called once for each kind of page.
    """
    if not len(slots):
        return None
    plan = selection.plan
    chunk, number = np.divmod(page_of, len(page_set.numbers))
    cell = slots
    if page_kind.page_series > 1:
        series = page_set.numbers[number] * page_kind.page_series + (cell >> 8)
        cell = cell & (SLOT_BUCKETS - 1)
        group = part.picked.groups_of(series)
    else:
        group = part.picked.groups_of(page_set.numbers)[number]
    chunk_ms, bucket_ms, low_ms, high_ms = page_set.edges.T
    at_ms = chunk_ms[chunk] + cell * bucket_ms[chunk]
    counts = (low_ms[chunk] <= at_ms) & (at_ms < high_ms[chunk]) & (group >= 0)
    chosen = None
    if not counts.all():
        chosen = np.flatnonzero(counts)
        if not chosen.size:
            return None
        at_ms, group = at_ms[chosen], group[chosen]
    if plan.question.step is not None:
        bucket = np.searchsorted(plan.starts_ms, at_ms, side="right") - 1
        group = group + bucket * len(selection.groups)
    return _Cut(chosen, group)
