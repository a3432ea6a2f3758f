"""What a plan reads of one tenant: the series, the keys of their pages, and the rows that count. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from api.errors import UnanswerableQuestion
from api.query.plan import Plan, counted_since, lacks_events, without_hours
from api.query.series_index import Filter, SeriesIndex, matching
from schemas.catalog.measures import How
from schemas.catalog.sketches import BINS, SAMPLE_MAX
from schemas.catalog.views import Table
from schemas.store.layout import (
    HISTOGRAMS_A_PAGE,
    SLOT_BUCKETS,
    Int64s,
    Meta,
    PageKind,
    chunk_version_key,
    chunks_of,
    page_key,
)
from schemas.tiers import ALL_CLOSED, Closed, Span, Tier, whole_spans

PAGES_MAX: Final = 50_000
"""Pages of one atomic read. An MGET costs Redis about 1 us a page, and Redis serves no other client
meanwhile: 50 ms. The default 24 h of 30 models are 150 pages, five years of them by hour 4,500."""
SKETCH_CELLS_MAX: Final = 1 << 16
"""Sketches of one answer. A histogram takes 2.7 kB, however few rows it has: 177 MB."""
GROUP_BYTES: Final = 64
"""A tuple of one text, which the index has anyway, and its place."""
COUNTER_WEIGHT: Final = 16
"""What a byte of counters counts for in bounds of bytes. A row of a call has 11 to 15 B in a page (6 to 13
if it is compacted). To decode it takes 230 B for one measure and 750 B for six, and 0.3 to 0.9 us. So
the bounds allow as many rows as if each had the 234 B of its numbers. Rows of sketches are decoded as
they are stored."""
LOOKS_MAX: Final = 5_000_000
"""Looks for a part in a value, such as 5 parts in a million users: 0.1 to 1 us each, in a thread. 200 parts in
a million values took 20 to 190 s."""
PAGE_WORK: Final = 4
"""How much longer the key of a page takes to make than a value to look at (0.5 us)."""

FEW: Final = 64
"""If at most one of so many series passes, the passing series are found by search. Otherwise a table
of all series is made, which takes longer than to answer the page of one user."""


@dataclass(frozen=True, eq=False)
class PickedSeries:
    """The series of a table that pass the filters, ascending, and the group of each.

    `pages`: the numbers of their pages, by how many series share a page. `count`: all series of the
    table, those that do not pass included.
    """

    series: Int64s
    group: Int64s
    pages: Mapping[int, tuple[int, ...]]
    count: int

    def groups_of(self, series: Int64s) -> Int64s:
        """The group of each of these series; -1 if it does not pass the filters."""
        if 0 < len(self.series) * FEW < self.count:
            place = np.searchsorted(self.series, series)
            place[place == len(self.series)] = 0
            return np.where(self.series[place] == series, self.group[place], -1)
        return self._group_of_series[series]

    @cached_property
    def _group_of_series(self) -> Int64s:
        # SLOT more: a page may have series that are newer than this index, and a first row without one.
        found = np.full(self.count + SLOT_BUCKETS, -1, np.int64)
        found[self.series] = self.group
        return found


@dataclass(frozen=True, eq=False)
class PageSet:
    """The pages of one kind that a plan reads of a table, chunk by chunk: their keys, as many in
    each chunk and of the same `numbers`; the key of each chunk's version; and for each chunk `edges`:
    its start, the length of a bucket, and the start and end of the range that counts. No page has
    more than `page_bytes_max` bytes, weighed, except for what the last commit appended. `weight`: what
    one stored byte counts for."""

    keys: tuple[str, ...]
    chunk_versions: tuple[str, ...]
    numbers: Int64s
    edges: Int64s
    page_bytes_max: int
    weight: int

    def places_of(self, chunk: int) -> range:
        """The places of a chunk's keys in `keys`."""
        return range(chunk * len(self.numbers), (chunk + 1) * len(self.numbers))


@dataclass(frozen=True, eq=False)
class TableSelection:
    """What a plan reads of one table: the pages of each kind that its terms need. `columns`:
    (place among the plan's sums, column of the table's counters) of those that it has."""

    names: SeriesIndex
    picked: PickedSeries
    page_sets: Mapping[PageKind, PageSet]
    columns: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Selection:
    """What a plan reads of one tenant. `groups`: values of `group_by`, in the order of their first
    series. `closed` and `hours_from_ms`: it is right while those of `Meta` are equal."""

    plan: Plan
    groups: tuple[tuple[str, ...], ...]
    parts: tuple[TableSelection, ...]
    closed: Closed = ALL_CLOSED
    hours_from_ms: int = 0

    def is_of(self, meta: Meta) -> bool:
        """Whether it is right for these counters."""
        return (self.closed, self.hours_from_ms) == (meta.closed, meta.hours_from_ms)

    @property
    def has_many_sketches(self) -> bool:
        """Whether the answer could have more sketches than one may have."""
        cells = len(self.groups) * len(self.plan.starts_ms) * len(self.plan.sketches)
        return cells > SKETCH_CELLS_MAX

    @property
    def names(self) -> tuple[SeriesIndex, ...]:
        return tuple(part.names for part in self.parts)

    @cached_property
    def page_sets(self) -> tuple[PageSet, ...]:
        """The page sets of all tables and kinds of pages."""
        return tuple(page_set for part in self.parts for page_set in part.page_sets.values())

    @cached_property
    def chunk_versions(self) -> tuple[str, ...]:
        """Keys of the versions of all chunks, in the order of `page_sets`."""
        return tuple(
            chunk_version
            for page_set in self.page_sets
            for chunk_version in page_set.chunk_versions
        )

    def pages_behind(self, count: int) -> Iterator[tuple[PageSet, str, str]]:
        """The next `count` pages of each chunk, behind those of all series: their page set, their chunk
        and their key. Series that get a name now have rows there."""
        for part in self.parts:
            for page_kind, page_set in part.page_sets.items():
                first = -(-part.names.count // page_kind.page_series)
                for chunk in page_set.chunk_versions:
                    head, _, rest = chunk.rpartition(":v")  # as `page_key` writes it
                    for page in range(first, first + count):
                        yield page_set, chunk, f"{head}:{rest}.{page}"


Picked = tuple[tuple[tuple[str, ...], ...], tuple[PickedSeries, ...]]
"""The groups of all tables of a plan, and the series of each table that pass its filters."""
Pick = Callable[[tuple[SeriesIndex, ...], tuple[Filter, ...], tuple[str, ...]], Picked]


def size_bytes(picked: Picked) -> int:
    """An estimate."""
    groups, tables = picked
    return GROUP_BYTES * len(groups) + sum(24 * len(one.series) + 8 * one.count for one in tables)


def select(
    plan: Plan,
    names: Sequence[SeriesIndex],
    generation: int,
    tenant_id: int,
    closed: Closed = ALL_CLOSED,
    pick: Pick | None = None,
    hours_from_ms: int = 0,
    since_ms: int = 0,
) -> Selection:
    """`names` has an index for each table of the plan; `pick` may cache `pick_series`. Its plan reads no
    hours before `hours_from_ms`, and nothing before `since_ms`, which the view lacks. Raises
    UnanswerableQuestion if pages are too many, and BadParameter as `counted_since`."""
    counted = counted_since(plan, since_ms)
    plan = without_hours(counted, hours_from_ms)
    if plan is not counted:
        plan = replace(plan, counts_from_ms=counted.counts_from_ms)
        if plan.start_ms < plan.counts_from_ms:
            raise lacks_events(plan.view, since_ms)
    _check_looks(plan, names)
    groups, picked = (pick or pick_series)(
        tuple(names), plan.question.filters, plan.question.group_by
    )
    check_pages(
        sum(
            len(own.pages[page_kind.page_series]) * len(_chunks(plan, page_kind, closed))
            for own, names_ in zip(picked, names, strict=True)
            for page_kind in _page_kinds(plan, names_.table)
        ),
        "The answer",
    )
    parts = [
        TableSelection(
            names_,
            own,
            {
                page_kind: _page_set(plan, page_kind, own, generation, tenant_id, closed)
                for page_kind in _page_kinds(plan, names_.table)
            },
            tuple(
                (place, names_.table.measures.index(term.measure))
                for place, term in enumerate(plan.sums)
                if term.is_in(names_.table)
            ),
        )
        for own, names_ in zip(picked, names, strict=True)
    ]
    return Selection(plan, groups, tuple(parts), closed, hours_from_ms)


def _check_looks(plan: Plan, names: Sequence[SeriesIndex]) -> None:
    """Raise UnanswerableQuestion if the filters would look for too many parts in too many values."""
    looks = sum(
        len(own.column(filter_.dimension).places) * len(filter_.parts)
        for own in names
        for filter_ in plan.question.filters
    )
    if looks > LOOKS_MAX:
        raise UnanswerableQuestion(
            f"The filters would look {looks} times for a part of a value (`*text*`), more than the limit of"
            f" {LOOKS_MAX} (LOOKS_MAX). Use fewer of them, or beginnings (`text*`), ends (`*text`) or whole"
            " values."
        )


def work_of(plan: Plan, names: Sequence[SeriesIndex], *, is_picked: bool) -> int:
    """How many values `select` looks at, about: 0.5 us each. `is_picked`: the series are cached."""
    question = plan.question
    chunks = sum(len(chunks_of(span)) for span in plan.spans)  # about: some are in finer buckets
    work = 0
    for own in names:
        passing = own.count
        for filter_ in question.filters:
            if filter_.dimension == "kind":
                continue
            if filter_.looks_at_all:
                values = len(own.column(filter_.dimension).places)
                work += 0 if is_picked else values * (1 + len(filter_.parts) // 4)
            elif not filter_.is_negated:
                passing = min(passing, int(np.count_nonzero(matching(own, filter_))))
        work += 0 if is_picked else passing * (1 + len(question.group_by))
        for page_kind in _page_kinds(plan, own.table):
            pages = min(passing, -(-own.count // page_kind.page_series))
            work += PAGE_WORK * chunks * pages
    return work


def check_pages(count: int, what: str) -> None:
    if count > PAGES_MAX:
        raise UnanswerableQuestion(
            f"{what} would need {count} pages of counters, more than the limit of {PAGES_MAX} for one"
            " answer (PAGES_MAX). Use a shorter range, longer buckets (granularity), or filters that"
            " select fewer series."
        )


def _page_kinds(plan: Plan, table: Table) -> Iterable[PageKind]:
    return dict.fromkeys(term.page_kind(table) for term in plan.question.terms if term.is_in(table))


def _chunks(plan: Plan, page_kind: PageKind, closed: Closed) -> list[tuple[Span, int]]:
    """The chunks of the plan's time whose buckets are whole, each with its span."""
    spans = whole_spans(plan.spans, page_kind.tiers, closed)
    return [(span, chunk) for span in spans for chunk in chunks_of(span)]


def _page_set(
    plan: Plan,
    page_kind: PageKind,
    picked: PickedSeries,
    generation: int,
    tenant_id: int,
    closed: Closed,
) -> PageSet:
    pages = picked.pages[page_kind.page_series]
    chunks = _chunks(plan, page_kind, closed)
    edges = [
        (
            chunk * span.tier.chunk_ms,
            span.tier.bucket_ms,
            max(span.start_ms, chunk * span.tier.chunk_ms),
            min(span.end_ms, (chunk + 1) * span.tier.chunk_ms),
        )
        for span, chunk in chunks
    ]
    return PageSet(
        tuple(
            page_key(generation, page_kind, span.tier, chunk, tenant_id, page)
            for span, chunk in chunks
            for page in pages
        ),
        tuple(
            chunk_version_key(generation, page_kind, span.tier, chunk, tenant_id)
            for span, chunk in chunks
        ),
        np.array(pages, np.int64),
        np.array(edges, np.int64).reshape(len(chunks), 4),
        max([_page_bytes_max(page_kind, span.tier) for span in plan.spans], default=0),
        COUNTER_WEIGHT if page_kind.sketch is None else 1,
    )


def _page_bytes_max(page_kind: PageKind, tier: Tier) -> int:
    """A page is compacted when it has twice its compact length, and some room. Of counters: the numbers
    of so many rows, which is more than their bytes."""
    rows = page_kind.page_series * tier.chunk_buckets
    if page_kind.sketch is not None:
        rows *= BINS if page_kind.sketch.how is How.HISTOGRAM else SAMPLE_MAX + 1
    return 2 * rows * page_kind.dtype.itemsize + page_kind.room_bytes


def pick_series(
    names: tuple[SeriesIndex, ...], filters: tuple[Filter, ...], group_by: tuple[str, ...]
) -> Picked:
    """The groups of all tables, and the series of each table that pass."""
    groups: dict[tuple[str, ...], int] = {}
    picked = []
    for own in names:
        passes = np.ones(own.count, np.bool_)
        for filter_ in filters:
            if filter_.dimension != "kind":  # then the table would not be here
                passes &= matching(own, filter_)
        series = np.flatnonzero(passes).astype(np.int64)
        columns = [own.column(dimension) for dimension in group_by]
        combined = np.zeros(series.size, np.int64)
        for column in columns:
            combined = combined * max(1, len(column.words)) + column.codes[series]
            combined = np.unique(combined, return_inverse=True)[1]  # so that it never overflows
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        members = series[first]
        words = [[column.words[c] for c in column.codes[members].tolist()] for column in columns]
        each = zip(*words, strict=True) if columns else [()] * len(members)
        numbers = np.array([groups.setdefault(group, len(groups)) for group in each], np.int64)
        sizes = {own.table.view.page_series, HISTOGRAMS_A_PAGE}
        pages = {size: tuple(np.unique(series // size).tolist()) for size in sizes}
        picked.append(PickedSeries(series, numbers[inverse], pages, own.count))
    return tuple(groups), tuple(picked)
