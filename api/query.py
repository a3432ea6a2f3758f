"""The query engine behind every dialect: a question to a plan, pages to exact rows. Pure.

    plan(question) -> select(plan, names, ...) -> the store reads page_keys(...)
                   -> assemble(selection, pages)

Bounds follow one rule (`schemas.grid.boundary`): up to the next boundary of the grid that is kept
at that age, half-open. So adjacent ranges add up, and all questions of one range cover the same
instants, whatever they group by. Where only longer buckets are kept any more than a step is long,
a bucket's sum stands at the step that holds its start: sums always agree, no bucket is ever split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

import numpy as np

from api.axis import Step, longest_read_ms, starts_of
from api.errors import UnanswerableQuestion
from api.names import Filter, Names, matching
from schemas.errors import StoreCorrupt
from schemas.grid import DAY, SLACK_MS, TIERS, Span, Tier, boundary, ceil_to, cover
from schemas.layout import (
    HISTOGRAMS_A_PAGE,
    SLOT,
    Family,
    Int64s,
    Rows,
    chunks_of,
    counters_of,
    page_key,
    sketch_of,
)
from schemas.limits import AHEAD_MS_MAX
from schemas.measures import How, Measure
from schemas.sketches import BINS, Distinct, Histogram, distinct_of
from schemas.views import DEFAULT, Catalog, Table, View

PAGES_MAX: Final = 50_000
"""Pages of one atomic read. An MGET costs Redis about 1 us a page and nobody else is served
meanwhile: 50 ms. The default 24 h of 30 models are 150 pages, five years of them by hour 4,500."""
VIEWS_KEPT: Final = 1024
"""Which views hold which dimensions and measures, remembered: tens of bytes each."""
PICKS_KEPT: Final = 256
"""Which series pass a filter, and their groups, remembered: dashboards repeat a few questions. One
of 5,000 series holds 100 kB."""
SELECTIONS_KEPT: Final = 256
SELECTION_KEYS_MAX: Final = 2048
"""Selections remembered, with the keys that they read: a plan is the same for a second, names until
a series is new. 256 x 2,048 x 100 B = 52 MB at most; longer ones are made each time."""

SUM_MAX: Final = 2**63 - 1


@dataclass(frozen=True)
class Term:
    """What is summed: a measure, over events of some kinds only where `kinds` is not empty. The sum
    of a sketch is a Histogram or a Distinct, or 0 where there is nothing."""

    measure: Measure
    kinds: tuple[str, ...] = ()

    def is_in(self, table: Table) -> bool:
        is_kept = self.measure in table.measures or self.measure in table.sketches
        return is_kept and (not self.kinds or table.kind in self.kinds)

    def family(self, table: Table) -> Family:
        """The pages that hold it."""
        if self.measure in table.sketches:
            return sketch_of(table, self.measure)
        return counters_of(table)


@dataclass(frozen=True)
class Question:
    """Sums of `terms` over [from_ms, to_ms) as it looks at `now_ms`.

    A series counts that passes every filter; `group_by` and `step` say what one row is. Without
    either there is exactly one row.
    """

    terms: tuple[Term, ...]
    from_ms: int
    to_ms: int
    now_ms: int
    filters: tuple[Filter, ...] = ()
    group_by: tuple[str, ...] = ()
    step: Step | None = None
    zone: tzinfo = UTC


@dataclass(frozen=True, eq=False)
class Plan:
    """Which tables of a view answer, which buckets make up the range [start_ms, end_ms) it covers,
    and where the buckets of the answer start (one, at 0, without a step)."""

    question: Question
    view: View
    tables: tuple[Table, ...]
    start_ms: int
    end_ms: int
    spans: tuple[Span, ...]
    starts_ms: Int64s

    @cached_property
    def sums(self) -> tuple[Term, ...]:
        return tuple(term for term in self.question.terms if term.measure.is_sum)

    @cached_property
    def sketches(self) -> tuple[Term, ...]:
        return tuple(term for term in self.question.terms if not term.measure.is_sum)


@dataclass(frozen=True, eq=False)
class Picked:
    """The series of a table that pass the filters: ascending, with the pages they lie in, by how
    many series share one. `group_of_series` is -1 for those that do not pass."""

    series: Int64s
    pages: Mapping[int, tuple[int, ...]]
    group_of_series: Int64s


@dataclass(frozen=True, eq=False)
class Wanted:
    """The pages of one family that a plan reads of a table: their keys, the block of each, its
    number, and for each block `edges`: start of the chunk, length of a bucket, and from when to when
    what is in the chunk counts."""

    keys: tuple[str, ...]
    block_of: Int64s
    numbers: Int64s
    edges: Int64s


@dataclass(frozen=True, eq=False)
class Part:
    """What a plan reads of one table: the pages of each family that its terms need. `columns`:
    (place among the plan's sums, column of the table's counters) of those that it has."""

    names: Names
    picked: Picked
    wanted: Mapping[Family, Wanted]
    columns: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Selection:
    """What a plan reads of one tenant. `groups`: values of `group_by`, in order of first series."""

    plan: Plan
    groups: tuple[tuple[str, ...], ...]
    parts: tuple[Part, ...]

    @property
    def names(self) -> tuple[Names, ...]:
        return tuple(part.names for part in self.parts)


Sum = int | Histogram | Distinct


class Row(NamedTuple):
    """One row: values of `group_by`, start of the step's bucket (0 without a step), the exact sums
    of the question's terms in order, and those of its terms that are sketches."""

    group: tuple[str, ...]
    at_ms: int
    values: tuple[int, ...]
    sketches: tuple[Sum, ...] = ()

    @property
    def sums(self) -> tuple[Sum, ...]:
        return self.values + self.sketches


# -- before the read -------------------------------------------------------------------------------


def plan(question: Question, catalog: Catalog = DEFAULT) -> Plan:
    """The cheapest view that holds the question, and the fewest buckets that make up its range."""
    return plans((question,), catalog)[0]


def plans(questions: Sequence[Question], catalog: Catalog = DEFAULT) -> tuple[Plan, ...]:
    """Of the sections of one answer: where a view keeps fewer tiers than another, all go by those
    that they have in common, so that equal bounds cover the same instants."""
    views = [_view_for(question, catalog) for question in questions]
    kept = [tiers_of(view, one.terms) for view, one in zip(views, questions, strict=True)]
    tiers = tuple(tier for tier in TIERS if all(tier in own for own in kept))
    return tuple(_plan(one, view, tiers) for one, view in zip(questions, views, strict=True))


def tiers_of(view: View, terms: Sequence[Term]) -> tuple[Tier, ...]:
    """In which a view keeps all of these."""
    sketches = {None, *(term.measure for term in terms if not term.measure.is_sum)}
    return tuple(t for t in TIERS if all(t in view.tiers_of(sketch) for sketch in sketches))


def _plan(question: Question, view: View, tiers: tuple[Tier, ...]) -> Plan:
    start_ms, end_ms = covered_range(question.from_ms, question.to_ms, question.now_ms, tiers)
    longest_ms = longest_read_ms(question.step, question.zone)
    spans = cover(start_ms, end_ms, question.now_ms, longest_ms, tiers)
    if question.step is None:
        starts_ms = np.zeros(1, np.int64)
    else:
        starts_ms = starts_of(question.step, question.zone, start_ms, end_ms)
    tables = tuple(
        table
        for table in view.tables.values()
        if any(term.is_in(table) for term in question.terms)
        and all(f.takes(table.kind) for f in question.filters if f.dimension == "kind")
    )
    return Plan(question, view, tables, start_ms, end_ms, tuple(spans), starts_ms)


def covered_range(
    from_ms: int, to_ms: int, now_ms: int, tiers: Sequence[Tier] = TIERS
) -> tuple[int, int]:
    """The instants that an answer covers: [start, end), empty where `from_ms` is after `to_ms`.

    Bounds are first brought into what can hold a counter at all: from the oldest day that is kept,
    to where an event may lie ahead. That is monotone too, so adjacent ranges still add up.
    """
    oldest_ms = ceil_to(now_ms - DAY.kept_ms, DAY.bucket_ms)
    newest_ms = now_ms + AHEAD_MS_MAX + SLACK_MS
    start_ms, end_ms = (
        boundary(min(max(at_ms, oldest_ms), newest_ms), now_ms, tiers) for at_ms in (from_ms, to_ms)
    )
    return start_ms, max(start_ms, end_ms)


def views_that_hold(
    dimensions: Iterable[str], measures: Iterable[Measure], catalog: Catalog = DEFAULT
) -> tuple[View, ...]:
    """Cheapest first."""
    return _holding(frozenset(dimensions), frozenset(m.name for m in measures), catalog)


@lru_cache(maxsize=VIEWS_KEPT)
def _holding(
    dimensions: frozenset[str], measures: frozenset[str], catalog: Catalog
) -> tuple[View, ...]:
    return tuple(
        view
        for view in catalog.views
        if dimensions <= {*view.dimensions} and measures <= view.holds
    )


def select(
    question_plan: Plan, names: Sequence[Names], generation: int, tenant_id: int
) -> Selection:
    """`names` are those of the plan's tables."""
    groups, picked = _pick(
        tuple(names), question_plan.question.filters, question_plan.question.group_by
    )
    count = _page_count(question_plan, tuple(names), picked)
    _check_pages(count, "The answer")
    make = _selected if count <= SELECTION_KEYS_MAX else _selected.__wrapped__
    return make(question_plan, tuple(names), groups, picked, generation, tenant_id)


@lru_cache(maxsize=SELECTIONS_KEPT)
def _page_count(question_plan: Plan, names: tuple[Names, ...], picked: tuple[Picked, ...]) -> int:
    chunks = sum(len(chunks_of(span)) for span in question_plan.spans)
    return chunks * sum(
        len(own.pages[family.page_series])
        for own, names_ in zip(picked, names, strict=True)
        for family in _families(question_plan, names_.table)
    )


def _families(question_plan: Plan, table: Table) -> Iterable[Family]:
    terms = question_plan.question.terms
    return dict.fromkeys(term.family(table) for term in terms if term.is_in(table))


@lru_cache(maxsize=SELECTIONS_KEPT)
def _selected(
    question_plan: Plan,
    names: tuple[Names, ...],
    groups: tuple[tuple[str, ...], ...],
    picked: tuple[Picked, ...],
    generation: int,
    tenant_id: int,
) -> Selection:
    parts = [
        Part(
            names_,
            own,
            {
                family: _wanted(question_plan, family, own, generation, tenant_id)
                for family in _families(question_plan, names_.table)
            },
            tuple(
                (place, names_.table.measures.index(term.measure))
                for place, term in enumerate(question_plan.sums)
                if term.is_in(names_.table)
            ),
        )
        for own, names_ in zip(picked, names, strict=True)
    ]
    return Selection(question_plan, groups, tuple(parts))


def _wanted(
    question_plan: Plan, family: Family, picked: Picked, generation: int, tenant_id: int
) -> Wanted:
    pages = picked.pages[family.page_series]
    blocks = [(span, chunk) for span in question_plan.spans for chunk in chunks_of(span)]
    edges = [
        (
            chunk * span.tier.chunk_ms,
            span.tier.bucket_ms,
            max(span.start_ms, chunk * span.tier.chunk_ms),
            min(span.end_ms, (chunk + 1) * span.tier.chunk_ms),
        )
        for span, chunk in blocks
    ]
    return Wanted(
        tuple(
            page_key(generation, family, span.tier, chunk, tenant_id, page)
            for span, chunk in blocks
            for page in pages
        ),
        np.repeat(np.arange(len(blocks)), len(pages)),
        np.tile(np.array(pages, np.int64), len(blocks)),
        np.array(edges, np.int64).reshape(len(blocks), 4),
    )


def page_keys(selections: Sequence[Selection]) -> list[str]:
    """Every page that the selections read, each once."""
    keys = list(
        dict.fromkeys(
            key
            for selection in selections
            for part in selection.parts
            for wanted in part.wanted.values()
            for key in wanted.keys
        )
    )
    _check_pages(len(keys), "The answer's parts together")
    return keys


def _check_pages(count: int, what: str) -> None:
    if count > PAGES_MAX:
        raise UnanswerableQuestion(
            f"{what} would take {count} pages of counters, more than the {PAGES_MAX} of one atomic"
            " read: ask for a shorter range, or filter by fewer values."
        )


def _view_for(question: Question, catalog: Catalog) -> View:
    dimensions = {filter_.dimension for filter_ in question.filters} | {*question.group_by}
    measures = [term.measure for term in question.terms]
    holding = views_that_hold(dimensions, measures, catalog)
    step = question.step
    for view in holding:
        if step is None or step.length_ms >= tiers_of(view, question.terms)[0].bucket_ms:
            return view
    by = f" by {', '.join(sorted(dimensions))}" if dimensions else ""
    summed = ", ".join(sorted({measure.name for measure in measures}))
    if step is not None and holding:
        view, finest = holding[0], tiers_of(holding[0], question.terms)[0].name
        raise UnanswerableQuestion(
            f"View {view.name}, which keeps {summed}{by}, has no buckets of them shorter than"
            f" {finest}: ask for a granularity of {finest} or longer."
        )
    raise UnanswerableQuestion(
        f"No view keeps {summed}{by}. {_nearly(dimensions, measures, catalog)} A view is added by"
        " one entry of the file that ODOMETER_CATALOG_FILE names, and `odometer rebuild` fills it"
        " from the log."
    )


def _nearly(dimensions: set[str], measures: Sequence[Measure], catalog: Catalog) -> str:
    def listed(views: Sequence[View]) -> str:
        return "; ".join(f"{view.name} ({', '.join(view.dimensions)})" for view in views) or "none"

    by_dimensions = listed(views_that_hold(dimensions, (), catalog))
    by_measures = listed(views_that_hold((), measures, catalog))
    return (
        f"The views are: {listed(catalog.views)}. Of these, with the dimensions: {by_dimensions};"
        f" with the measures: {by_measures}."
    )


@lru_cache(maxsize=PICKS_KEPT)
def _pick(
    names: tuple[Names, ...], filters: tuple[Filter, ...], group_by: tuple[str, ...]
) -> tuple[tuple[tuple[str, ...], ...], tuple[Picked, ...]]:
    """The groups of all tables, and the series picked of each."""
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
        numbers = np.array(
            [
                groups.setdefault(
                    tuple(column.words[int(column.codes[member])] for column in columns),
                    len(groups),
                )
                for member in series[first].tolist()
            ],
            np.int64,
        )
        # More: a page may hold series that are newer than the dictionary, and its first row none.
        sizes = {own.table.view.page_series, HISTOGRAMS_A_PAGE}
        group_of_series = np.full(own.count + SLOT, -1, np.int64)
        group_of_series[series] = numbers[inverse]
        pages = {size: tuple(np.unique(series // size).tolist()) for size in sizes}
        picked.append(Picked(series, pages, group_of_series))
    return tuple(groups), tuple(picked)


# -- after the read --------------------------------------------------------------------------------


def assemble(selection: Selection, pages: Mapping[str, bytes | None]) -> list[Row]:
    """The question's rows in order of time, groups in order of their first series. A row of zeros
    only is none: nothing asked for happened. A page that is not there was never written.
    """
    question = selection.plan.question
    sums, sketches = selection.plan.sums, selection.plan.sketches
    found = _summed(selection, pages)
    for place, term in enumerate(sketches):
        for cell, sketch in _sketched(selection, term, pages).items():
            values, others = found.get(cell, ((0,) * len(sums), (0,) * len(sketches)))
            found[cell] = values, (*others[:place], sketch, *others[place + 1 :])
    if not found and not (question.group_by or question.step):
        return [Row((), 0, (0,) * len(sums), (0,) * len(sketches))]
    count = len(selection.groups)
    at_ms = selection.plan.starts_ms.tolist()
    cells = sorted(found) if sketches else found
    return [Row(selection.groups[c % count], at_ms[c // count], *found[c]) for c in cells]


_Found = tuple[tuple[int, ...], tuple[Sum, ...]]


def _summed(selection: Selection, pages: Mapping[str, bytes | None]) -> dict[int, _Found]:
    """The sums of each cell of the answer (bucket x groups + group), in order of cells."""
    terms = selection.plan.sums
    if not terms:
        return {}
    cells, blocks = [], []
    for part in selection.parts:
        family = counters_of(part.names.table)
        cut = _cut(selection, part, family, pages) if family in part.wanted else None
        if cut is not None:
            values = np.zeros((len(terms), len(cut.cell)), np.int64)
            counters = cut.rows["values"]
            for place, column in part.columns:
                # One column at a time: of a row of 178 B a question needs some 50.
                one = counters[:, column]
                values[place] = one if cut.chosen is None else one[cut.chosen]
            cells.append(cut.cell)
            blocks.append(values)
    if not cells:
        return {}
    nothing: tuple[Sum, ...] = (0,) * (len(selection.plan.question.terms) - len(terms))
    cell = cells[0] if len(cells) == 1 else np.concatenate(cells)
    values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
    count = len(selection.groups) * len(selection.plan.starts_ms)
    if count == 1:
        first = places = np.zeros(1, np.int64)
    else:
        if np.any(cell[1:] < cell[:-1]):
            # Of 16 bits numpy sorts by counting, which takes a tenth of comparing.
            order = np.argsort(cell.astype(np.uint16) if count <= 1 << 16 else cell, kind="stable")
            cell, values = cell[order], values[:, order]
        first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
        places = cell[first]
    return {
        place: (sums, nothing)
        for place, sums in zip(places.tolist(), exact_sums(values, first), strict=True)
        if any(sums)
    }


def _sketched(
    selection: Selection, term: Term, pages: Mapping[str, bytes | None]
) -> dict[int, Histogram | Distinct]:
    """One sketch of each cell of the answer, over all tables."""
    cells, rows_of = [], []
    for part in selection.parts:
        table = part.names.table
        cut = None
        if term.is_in(table):
            cut = _cut(selection, part, sketch_of(table, term.measure), pages)
        if cut is not None:
            rows_of.append(cut.rows if cut.chosen is None else cut.rows[cut.chosen])
            cells.append(cut.cell)
    if not cells:
        return {}
    cell, rows = np.concatenate(cells), np.concatenate(rows_of)
    order = np.argsort(cell, kind="stable")
    cell, rows = cell[order], rows[order]
    first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
    ends = np.append(first[1:], len(cell)).tolist()
    found: dict[int, Histogram | Distinct] = {}
    for place, start, end in zip(cell[first].tolist(), first.tolist(), ends, strict=True):
        own = rows[start:end]
        if term.measure.how is How.HISTOGRAM:
            counts = np.zeros(BINS, np.int64)
            np.add.at(counts, own["bin"], own["count"].astype(np.int64))
            found[place] = Histogram(counts)
        else:
            found[place] = distinct_of(own["digest"].astype(np.uint64))
    return found


def exact_sums(values: Int64s, starts: Int64s) -> list[tuple[int, ...]]:
    """Sums of the runs of columns that begin at `starts`, as integers that cannot overflow: of
    `values[term, row]` one tuple of all terms a run.

    A single counter may come near 2^63, so a sum of several is made in 64 bits only where it must
    fit; else in halves of 32 bits, which a sum of 2^31 rows cannot overflow.
    """
    largest = max(abs(int(values.max())), abs(int(values.min())))
    if largest * values.shape[1] <= SUM_MAX:
        return list(zip(*np.add.reduceat(values, starts, axis=1).tolist(), strict=True))
    high = np.add.reduceat(values >> 32, starts, axis=1).T.tolist()
    low = np.add.reduceat(values & 0xFFFFFFFF, starts, axis=1).T.tolist()
    return [
        tuple((upper << 32) + lower for upper, lower in zip(uppers, lowers, strict=True))
        for uppers, lowers in zip(high, low, strict=True)
    ]


class _Cut(NamedTuple):
    """Rows of a family, which of them count (None: all), and the cell of the answer of each that
    does."""

    rows: Rows
    chosen: Int64s | None
    cell: Int64s


def _cut(
    selection: Selection, part: Part, family: Family, pages: Mapping[str, bytes | None]
) -> _Cut | None:
    """The rows that lie inside the plan's spans and belong to a picked series; None where there are
    none.

    All pages of all tiers are joined, so that numpy is called once a family and not once a page.
    The first row of a compact page (layout.COMPACT_CELL) lies beyond its chunk, so counts nothing.
    """
    plan_, wanted = selection.plan, part.wanted[family]
    found = [pages.get(key) for key in wanted.keys]
    there = [place for place, page in enumerate(found) if page is not None]
    if not there:
        return None
    rows, owner = _joined(family, [page for page in found if page is not None])
    place = np.array(there, np.int64)[owner]
    chunk_ms, bucket_ms, low_ms, high_ms = wanted.edges[wanted.block_of[place]].T
    cell = rows["cell"].astype(np.int64)
    series = wanted.numbers[place]
    if family.page_series > 1:
        series = series * family.page_series + (cell >> 8)
        cell &= SLOT - 1
    at_ms = chunk_ms + cell * bucket_ms
    group = part.picked.group_of_series[series]
    counts = (low_ms <= at_ms) & (at_ms < high_ms) & (group >= 0)
    chosen = None
    if not counts.all():
        chosen = np.flatnonzero(counts)
        if not chosen.size:
            return None
        at_ms, group = at_ms[chosen], group[chosen]
    if plan_.question.step is not None:
        bucket = np.searchsorted(plan_.starts_ms, at_ms, side="right") - 1
        group = group + bucket * len(selection.groups)
    return _Cut(rows, chosen, group)


def _joined(family: Family, pages: list[bytes]) -> tuple[Rows, Int64s]:
    """All rows of the pages, and for each the place of its page."""
    row_bytes = family.dtype.itemsize
    lengths = np.array([len(page) for page in pages], np.int64)
    if np.any(lengths % row_bytes):
        raise StoreCorrupt(f"a page of view {family.table.view.name} is no whole number of rows")
    owner = np.repeat(np.arange(len(pages), dtype=np.int64), lengths // row_bytes)
    return np.frombuffer(b"".join(pages), family.dtype), owner
