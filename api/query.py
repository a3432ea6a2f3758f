"""The query engine behind every dialect: a question to a plan, pages to exact rows. Pure.

    plan(question) -> select(plan, names) -> the store reads page_keys(...) -> assemble(selection, pages)

Bounds follow one rule (`schemas.grid.boundary`): up to the next boundary of the grid that is kept
at that age, half-open. So adjacent ranges add up, and all questions of one range cover the same
instants, whatever they group by. Where only whole days are kept any more (`schemas.grid.QUARTER`
ends after 90 days) a series by hour has that day's sum at the day's first hour: sums always agree,
and no bucket is ever split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from api.errors import UnanswerableQuestion
from api.names import Names, matching
from schemas.errors import StoreCorrupt
from schemas.grid import DAY, SLACK_MS, TIERS, Span, boundary, ceil_to, cover
from schemas.layout import Int64s, Rows, chunks_of, page_key, row_dtype, unpack_page
from schemas.limits import AHEAD_MS_MAX, DAY_MS, HOUR_MS
from schemas.measures import Measure
from schemas.views import VIEWS, View

PAGES_MAX: Final = 50_000
"""Pages of one atomic read. An MGET costs Redis about 1 us a page and nobody else is served
meanwhile: 50 ms. The default 24 h of 30 models are 150 pages, five years of them by hour 4,500."""

SUM_MAX: Final = 2**63 - 1

_VIEWS: Final = {view.id: view for view in VIEWS}
_TIERS: Final = {tier.id: tier for tier in TIERS}


@dataclass(frozen=True)
class Step:
    """Buckets of an answer: [start_ms, start_ms + length_ms), one of which starts at `origin_ms`."""

    name: str
    length_ms: int
    origin_ms: int = 0


HOURLY: Final = Step("hour", HOUR_MS)
DAILY: Final = Step("day", DAY_MS)
WEEKLY: Final = Step("week", 7 * DAY_MS, 4 * DAY_MS)
"""From Monday, UTC: 1970-01-05 was one."""
STEPS: Final = (HOURLY, DAILY, WEEKLY)


@dataclass(frozen=True)
class Question:
    """Sums of `measures` over [from_ms, to_ms) as it looks at `now_ms`.

    `filters` keeps the series whose dimension has one of the values; `group_by` and `step` say what
    one row is. Without either there is exactly one row.
    """

    measures: tuple[Measure, ...]
    from_ms: int
    to_ms: int
    now_ms: int
    filters: Mapping[str, frozenset[str]]
    group_by: tuple[str, ...] = ()
    step: Step | None = None


@dataclass(frozen=True)
class Plan:
    """Which view answers, and which buckets make up the range [start_ms, end_ms) it covers."""

    question: Question
    view: View
    start_ms: int
    end_ms: int
    spans: tuple[Span, ...]


class PageAt(NamedTuple):
    """One page of a tenant. Of plain numbers: thousands of them are dictionary keys of an answer."""

    view_id: int
    tier_id: int
    chunk: int
    page: int


@dataclass(frozen=True, eq=False)
class Selection:
    """What a plan reads of one tenant: the series that pass its filters, ascending."""

    plan: Plan
    names: Names
    series: Int64s


class Row(NamedTuple):
    """One row: values of `group_by`, start of the step's bucket (0 without a step), exact sums."""

    group: tuple[str, ...]
    at_ms: int
    values: tuple[int, ...]


# -- before the read -------------------------------------------------------------------------------


def plan(question: Question) -> Plan:
    """The cheapest view that holds the question, and the fewest buckets that make up its range."""
    view = _view_for(question)
    start_ms, end_ms = covered_range(question.from_ms, question.to_ms, question.now_ms)
    step_ms = min(question.step.length_ms, DAY_MS) if question.step else DAY_MS
    spans = cover(start_ms, end_ms, question.now_ms, step_ms)
    return Plan(question, view, start_ms, end_ms, tuple(spans))


def covered_range(from_ms: int, to_ms: int, now_ms: int) -> tuple[int, int]:
    """The instants that an answer covers: [start, end), empty where `from_ms` is after `to_ms`.

    Bounds are first brought into what can hold a counter at all: from the oldest day that is kept,
    to where an event may lie ahead. That is monotone too, so adjacent ranges still add up.
    """
    oldest_ms = ceil_to(now_ms - DAY.kept_ms, DAY.bucket_ms)
    newest_ms = now_ms + AHEAD_MS_MAX + SLACK_MS
    start_ms, end_ms = (
        boundary(min(max(at_ms, oldest_ms), newest_ms), now_ms) for at_ms in (from_ms, to_ms)
    )
    return start_ms, max(start_ms, end_ms)


def select(question_plan: Plan, names: Names) -> Selection:
    passes = np.ones(names.count, np.bool_)
    for dimension, wanted in question_plan.question.filters.items():
        passes &= matching(names, dimension, wanted)
    return Selection(question_plan, names, np.flatnonzero(passes).astype(np.int64))


def pages_of(selections: Sequence[Selection]) -> list[PageAt]:
    """Every page that the selections read, each once."""
    wanted: dict[PageAt, None] = {}
    for selection in selections:
        for span in selection.plan.spans:
            wanted.update(dict.fromkeys(_pages_of_span(selection, span)))
        if len(wanted) > PAGES_MAX:
            raise UnanswerableQuestion(
                f"The answer would take more than {PAGES_MAX} pages of counters: ask for a shorter"
                " range, or filter by fewer values."
            )
    return list(wanted)


def page_keys(generation: int, tenant_id: int, pages: Sequence[PageAt]) -> list[str]:
    return [
        page_key(
            generation, _VIEWS[page.view_id], _TIERS[page.tier_id], page.chunk, tenant_id, page.page
        )
        for page in pages
    ]


def _view_for(question: Question) -> View:
    dimensions = {*question.group_by, *question.filters}
    for view in VIEWS:
        if dimensions <= set(view.dimensions) and set(question.measures) <= set(view.measures):
            return view
    kept = "; ".join(f"{view.name} ({', '.join(view.dimensions)})" for view in VIEWS)
    asked = ", ".join(sorted(dimensions))
    raise UnanswerableQuestion(
        f"No view keeps these measures by {asked}. The views are: {kept}. A view is added in"
        " schemas/views.py and filled by a rebuild."
    )


def _pages_of_span(selection: Selection, span: Span) -> list[PageAt]:
    view = selection.plan.view
    numbers = np.unique(selection.series // view.page_series).tolist()
    return [
        PageAt(view.id, span.tier.id, chunk, page) for chunk in chunks_of(span) for page in numbers
    ]


# -- after the read --------------------------------------------------------------------------------


def assemble(selection: Selection, pages: Mapping[PageAt, bytes]) -> list[Row]:
    """The question's rows in order of time. A row of zeros only is none: nothing asked for happened.

    A page that is not there was never written.
    """
    question = selection.plan.question
    groups, group_of_series = _groups(selection)
    parts = [_cut(selection, span, group_of_series, pages) for span in selection.plan.spans]
    group = np.concatenate([part.group for part in parts]) if parts else np.empty(0, np.int64)
    if not group.size:
        return [] if question.group_by or question.step else [_nothing(question)]
    at_ms = np.concatenate([part.at_ms for part in parts])
    values = np.concatenate([part.values for part in parts])
    if question.step is None:
        at_ms = np.zeros_like(at_ms)
    else:
        origin_ms, length_ms = question.step.origin_ms, question.step.length_ms
        at_ms = (at_ms - origin_ms) // length_ms * length_ms + origin_ms
    order = np.lexsort((group, at_ms))
    group, at_ms = group[order], at_ms[order]
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(group) != 0) | (np.diff(at_ms) != 0)]))
    rows = [
        Row(groups[place], label_ms, sums)
        for place, label_ms, sums in zip(
            group[starts].tolist(),
            at_ms[starts].tolist(),
            exact_sums(values[order], starts),
            strict=True,
        )
        if any(sums)
    ]
    return rows if rows or question.group_by or question.step else [_nothing(question)]


def exact_sums(values: Int64s, starts: Int64s) -> list[tuple[int, ...]]:
    """Sums of the runs of rows that begin at `starts`, as integers that cannot overflow.

    A single counter may come near 2^63, so a sum of several is made in 64 bits only where it must
    fit; else in halves of 32 bits, which a sum of 2^31 rows cannot overflow.
    """
    largest = max(abs(int(values.max())), abs(int(values.min())))
    if largest * len(values) <= SUM_MAX:
        return [tuple(row) for row in np.add.reduceat(values, starts, axis=0).tolist()]
    high = np.add.reduceat(values >> 32, starts, axis=0).tolist()
    low = np.add.reduceat(values & 0xFFFFFFFF, starts, axis=0).tolist()
    return [
        tuple((upper << 32) + lower for upper, lower in zip(uppers, lowers, strict=True))
        for uppers, lowers in zip(high, low, strict=True)
    ]


class _Part(NamedTuple):
    """Rows of one span that count: the place of their group, their bucket's start, their values."""

    group: Int64s
    at_ms: Int64s
    values: Int64s


def _nothing(question: Question) -> Row:
    return Row((), 0, (0,) * len(question.measures))


def _groups(selection: Selection) -> tuple[list[tuple[str, ...]], Int64s]:
    """The distinct groups, and for each series of the dictionary the place of its group, or -1."""
    names, series = selection.names, selection.series
    columns = [names.column(dimension) for dimension in selection.plan.question.group_by]
    combined = np.zeros(series.size, np.int64)
    for column in columns:
        combined = combined * len(column.words) + column.codes[series]
    _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
    groups = [
        tuple(column.words[int(column.codes[member])] for column in columns)
        for member in series[first].tolist()
    ]
    group_of_series = np.full(names.count, -1, np.int64)
    group_of_series[series] = inverse
    return groups, group_of_series


def _cut(
    selection: Selection, span: Span, group_of_series: Int64s, pages: Mapping[PageAt, bytes]
) -> _Part:
    """The rows of a span's pages that lie inside it and belong to a selected series.

    All pages are joined, so that numpy is called once a span and not once a page.
    """
    view, tier = selection.plan.view, span.tier
    found = [(page, data) for page in _pages_of_span(selection, span) if (data := pages.get(page))]
    rows, owner = _joined(view, [data for _page, data in found])
    chunk = np.array([page.chunk for page, _data in found], np.int64)[owner]
    number = np.array([page.page for page, _data in found], np.int64)[owner]
    cell = rows["cell"].astype(np.int64)
    series = number * view.page_series + cell // tier.chunk_buckets
    at_ms = (chunk * tier.chunk_buckets + cell % tier.chunk_buckets) * tier.bucket_ms
    if series.size and int(series.max()) >= len(group_of_series):
        # A page of several series may hold one that is newer than the dictionary.
        group_of_series = np.concatenate([group_of_series, np.full(view.page_series, -1, np.int64)])
    group = group_of_series[series]
    counts = (span.start_ms <= at_ms) & (at_ms < span.end_ms) & (group >= 0)
    wanted = [view.measures.index(measure) for measure in selection.plan.question.measures]
    return _Part(group[counts], at_ms[counts], rows["values"][counts][:, wanted])


def _joined(view: View, pages: list[bytes]) -> tuple[Rows, Int64s]:
    """All rows of the pages, and for each the place of its page."""
    row_bytes = row_dtype(view).itemsize
    lengths = np.array([len(page) for page in pages], np.int64)
    if np.any(lengths % row_bytes):
        raise StoreCorrupt(f"a page of view {view.name} is no whole number of rows")
    owner = np.repeat(np.arange(len(pages), dtype=np.int64), lengths // row_bytes)
    return unpack_page(view, b"".join(pages)), owner
