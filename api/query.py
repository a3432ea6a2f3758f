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
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from api.axis import Step, longest_read_ms, starts_of
from api.errors import UnanswerableQuestion
from api.names import Bools, Filter, Names, matching
from schemas.errors import StoreCorrupt
from schemas.grid import DAY, SLACK_MS, TIERS, Span, Tier, boundary, ceil_to, cover
from schemas.layout import Int64s, Rows, chunks_of, page_key, row_dtype, unpack_page
from schemas.limits import AHEAD_MS_MAX
from schemas.measures import Measure
from schemas.views import VIEWS, View

PAGES_MAX: Final = 50_000
"""Pages of one atomic read. An MGET costs Redis about 1 us a page and nobody else is served
meanwhile: 50 ms. The default 24 h of 30 models are 150 pages, five years of them by hour 4,500."""
VIEWS_KEPT: Final = 1024
"""Which views hold which dimensions and measures, remembered: tens of bytes each."""
PICKS_KEPT: Final = 256
"""Which series pass a filter, and their groups, remembered: dashboards repeat a few questions. One
of 5,000 series holds 100 kB."""
KEYS_KEPT: Final = 512
KEYS_KEPT_EACH_MAX: Final = 512
"""Keys of a chunk remembered: 512 x 512 x 80 B = 20 MB at most; longer ones are made each time."""

SUM_MAX: Final = 2**63 - 1


@dataclass(frozen=True)
class Term:
    """What is summed: a measure, over events of some kinds only where `kinds` is not empty."""

    measure: Measure
    kinds: tuple[str, ...] = ()


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
    """Which view answers, which buckets make up the range [start_ms, end_ms) it covers, and where
    the buckets of the answer start (one, at 0, without a step)."""

    question: Question
    view: View
    start_ms: int
    end_ms: int
    spans: tuple[Span, ...]
    starts_ms: Int64s


@dataclass(frozen=True, eq=False)
class Picked:
    """The series that pass the filters: ascending, with the pages they lie in and their groups.

    `group_of_series` is -1 for those that do not pass; `counted` says for each term which series
    count in it (None: all do).
    """

    series: Int64s
    pages: tuple[int, ...]
    groups: tuple[tuple[str, ...], ...]
    group_of_series: Int64s
    counted: tuple[Bools | None, ...]


class Block(NamedTuple):
    """The pages of one chunk of time that a plan reads, and the part of the chunk it needs."""

    tier: Tier
    chunk: int
    start_ms: int
    end_ms: int
    keys: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Selection:
    """What a plan reads of one tenant."""

    plan: Plan
    names: Names
    picked: Picked
    blocks: tuple[Block, ...]


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
    longest_ms = longest_read_ms(question.step, question.zone)
    spans = cover(start_ms, end_ms, question.now_ms, longest_ms)
    if question.step is None:
        starts_ms = np.zeros(1, np.int64)
    else:
        starts_ms = starts_of(question.step, question.zone, start_ms, end_ms)
    return Plan(question, view, start_ms, end_ms, tuple(spans), starts_ms)


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


def views_that_hold(dimensions: Iterable[str], measures: Iterable[Measure]) -> tuple[View, ...]:
    """Cheapest first."""
    return _holding(frozenset(dimensions), frozenset(measure.name for measure in measures))


@lru_cache(maxsize=VIEWS_KEPT)
def _holding(dimensions: frozenset[str], measures: frozenset[str]) -> tuple[View, ...]:
    return tuple(
        view
        for view in VIEWS
        if dimensions <= {*view.dimensions}
        and measures <= {measure.name for measure in view.measures}
    )


def select(question_plan: Plan, names: Names, generation: int, tenant_id: int) -> Selection:
    question, view = question_plan.question, question_plan.view
    kinds = tuple(term.kinds for term in question.terms)
    picked = _pick(names, question.filters, question.group_by, kinds)
    chunks = [(span, chunk) for span in question_plan.spans for chunk in chunks_of(span)]
    if len(chunks) * len(picked.pages) > PAGES_MAX:
        raise UnanswerableQuestion(
            f"The answer would take {len(chunks) * len(picked.pages)} pages of counters, more than"
            f" the {PAGES_MAX} of one atomic read: ask for a shorter range, or filter by fewer"
            " values."
        )
    make = _keys_kept if len(picked.pages) <= KEYS_KEPT_EACH_MAX else _keys
    blocks = tuple(
        Block(
            span.tier,
            chunk,
            span.start_ms,
            span.end_ms,
            make(generation, view.id, span.tier.id, chunk, tenant_id, picked.pages),
        )
        for span, chunk in chunks
    )
    return Selection(question_plan, names, picked, blocks)


def page_keys(selections: Sequence[Selection]) -> list[str]:
    """Every page that the selections read, each once."""
    keys = list(
        dict.fromkeys(
            key for selection in selections for block in selection.blocks for key in block.keys
        )
    )
    if len(keys) > PAGES_MAX:
        raise UnanswerableQuestion(
            f"The answer's parts together would take {len(keys)} pages of counters, more than the"
            f" {PAGES_MAX} of one atomic read: ask for a shorter range, or filter by fewer values."
        )
    return keys


def _view_for(question: Question) -> View:
    dimensions = {filter_.dimension for filter_ in question.filters} | {*question.group_by}
    measures = [term.measure for term in question.terms]
    holding = views_that_hold(dimensions, measures)
    if holding:
        return holding[0]
    by = f" by {', '.join(sorted(dimensions))}"
    summed = ", ".join(sorted({measure.name for measure in measures}))
    raise UnanswerableQuestion(
        f"No view keeps {summed}{by}. {_nearly(dimensions, measures)} A view is added as one line"
        " of VIEWS in schemas/views.py, and a rebuild fills it from the log."
    )


def _nearly(dimensions: set[str], measures: Sequence[Measure]) -> str:
    def listed(views: Sequence[View]) -> str:
        return "; ".join(f"{view.name} ({', '.join(view.dimensions)})" for view in views) or "none"

    by_dimensions = listed(views_that_hold(dimensions, ()))
    by_measures = listed(views_that_hold((), measures))
    return (
        f"The views are: {listed(VIEWS)}. Of these, with the dimensions: {by_dimensions}; with"
        f" the measures: {by_measures}."
    )


@lru_cache(maxsize=PICKS_KEPT)
def _pick(
    names: Names,
    filters: tuple[Filter, ...],
    group_by: tuple[str, ...],
    kinds: tuple[tuple[str, ...], ...],
) -> Picked:
    passes = np.ones(names.count, np.bool_)
    for filter_ in filters:
        passes &= matching(names, filter_)
    series = np.flatnonzero(passes).astype(np.int64)
    columns = [names.column(dimension) for dimension in group_by]
    combined = np.zeros(series.size, np.int64)
    for column in columns:
        combined = combined * max(1, len(column.words)) + column.codes[series]
        combined = np.unique(combined, return_inverse=True)[1]  # so that it never overflows
    _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
    # One more: a page of several series may hold one that is newer than the dictionary.
    page_series = names.view.page_series
    group_of_series = np.full(names.count + page_series, -1, np.int64)
    group_of_series[series] = inverse
    counted: dict[tuple[str, ...], Bools | None] = {(): None}
    for some in set(kinds) - {()}:
        of_kind = matching(names, Filter("kind", frozenset(some)))
        counted[some] = np.concatenate([of_kind, np.zeros(page_series, np.bool_)])
    return Picked(
        series,
        tuple(np.unique(series // page_series).tolist()),
        tuple(
            tuple(column.words[int(column.codes[member])] for column in columns)
            for member in series[first].tolist()
        ),
        group_of_series,
        tuple(counted[some] for some in kinds),
    )


_VIEWS: Final = {view.id: view for view in VIEWS}
_TIERS: Final = {tier.id: tier for tier in TIERS}


def _keys(
    generation: int, view_id: int, tier_id: int, chunk: int, tenant_id: int, pages: tuple[int, ...]
) -> tuple[str, ...]:
    view, tier = _VIEWS[view_id], _TIERS[tier_id]
    return tuple(page_key(generation, view, tier, chunk, tenant_id, page) for page in pages)


_keys_kept = lru_cache(maxsize=KEYS_KEPT)(_keys)


# -- after the read --------------------------------------------------------------------------------


def assemble(selection: Selection, pages: Mapping[str, bytes | None]) -> list[Row]:
    """The question's rows in order of time, groups in order of their first series. A row of zeros
    only is none: nothing asked for happened. A page that is not there was never written.
    """
    question = selection.plan.question
    is_one_row = not (question.group_by or question.step)
    cut = _cut(selection, pages)
    if cut is None:
        return [_nothing(question)] if is_one_row else []
    cell, values = cut
    groups, starts_ms = selection.picked.groups, selection.plan.starts_ms
    if len(groups) * len(starts_ms) == 1:
        first = np.zeros(1, np.int64)
        cells = first
    else:
        order = np.argsort(cell, kind="stable")
        cell, values = cell[order], values[order]
        first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
        cells = cell[first]
    at_ms = starts_ms[cells // len(groups)].tolist()
    rows = [
        Row(groups[group], start_ms, sums)
        for group, start_ms, sums in zip(
            (cells % len(groups)).tolist(), at_ms, exact_sums(values, first), strict=True
        )
        if any(sums)
    ]
    return rows if rows or not is_one_row else [_nothing(question)]


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


def _nothing(question: Question) -> Row:
    return Row((), 0, (0,) * len(question.terms))


def _cut(selection: Selection, pages: Mapping[str, bytes | None]) -> tuple[Int64s, Int64s] | None:
    """Of the rows inside the plan's spans that belong to a picked series: the cell of the answer
    (bucket x groups + group), and the values of the terms. None where there are no such rows.

    All pages of all tiers are joined, so that numpy is called once an answer and not once a page.
    """
    plan_, picked, view = selection.plan, selection.picked, selection.plan.view
    found: list[bytes] = []
    block_of: list[int] = []
    number_of: list[int] = []
    for place, block in enumerate(selection.blocks):
        for number, key in zip(picked.pages, block.keys, strict=True):
            data = pages.get(key)
            if data is not None:
                found.append(data)
                block_of.append(place)
                number_of.append(number)
    if not found:
        return None
    rows, owner = _joined(view, found)
    block_of_row = np.array(block_of, np.int64)[owner]
    edges = np.array(
        [
            (
                b.chunk * b.tier.chunk_ms,
                b.tier.bucket_ms,
                b.tier.chunk_buckets,
                b.start_ms,
                b.end_ms,
            )
            for b in selection.blocks
        ],
        np.int64,
    )
    chunk_ms, bucket_ms, buckets, low_ms, high_ms = (
        column[block_of_row] for column in np.ascontiguousarray(edges.T)
    )
    in_page = rows["cell"].astype(np.int64)
    series = np.array(number_of, np.int64)[owner]
    if view.page_series > 1:
        inside, in_page = np.divmod(in_page, buckets)
        series = series * view.page_series + inside
    at_ms = chunk_ms + in_page * bucket_ms
    group = picked.group_of_series[series]
    counts = np.flatnonzero((low_ms <= at_ms) & (at_ms < high_ms) & (group >= 0))
    if not counts.size:
        return None
    cell = group[counts]
    if plan_.question.step is not None:
        bucket = np.searchsorted(plan_.starts_ms, at_ms[counts], side="right") - 1
        cell += bucket * len(picked.groups)
    wanted = [view.measures.index(term.measure) for term in plan_.question.terms]
    values = rows["values"][counts][:, wanted]
    for place, counted in enumerate(picked.counted):
        if counted is not None:
            values[:, place] *= counted[series[counts]]
    return cell, values


def _joined(view: View, pages: list[bytes]) -> tuple[Rows, Int64s]:
    """All rows of the pages, and for each the place of its page."""
    row_bytes = row_dtype(view).itemsize
    lengths = np.array([len(page) for page in pages], np.int64)
    if np.any(lengths % row_bytes):
        raise StoreCorrupt(f"a page of view {view.name} is no whole number of rows")
    owner = np.repeat(np.arange(len(pages), dtype=np.int64), lengths // row_bytes)
    return unpack_page(view, b"".join(pages)), owner
