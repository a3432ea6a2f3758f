"""The query engine of every dialect: turns a question into a plan. Pure.

    plan(question) -> select(plan, names, ...) -> the store reads the pages -> summed(selection, pages)

A bound moves up to the next boundary of the buckets that are still stored at its age
(`schemas.tiers.boundary`); ranges are half-open. So adjacent ranges add up, and all questions about
one range cover the same instants, whatever they group by. If the stored buckets are longer than the
step, a bucket counts in the step that contains its start. No bucket is ever split.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import cached_property, lru_cache
from itertools import count, pairwise
from typing import Final

import numpy as np

from api.errors import BadParameter, UnanswerableQuestion
from api.query.kept_range import longest_fit_ms
from api.query.series_index import Filter
from api.query.time_buckets import Step, end_of, fits, starts_of
from schemas.catalog.measures import Measure
from schemas.catalog.sketches import Distinct, Histogram
from schemas.catalog.views import DEFAULT, Catalog, Table, View
from schemas.limits import AHEAD_MS_MAX
from schemas.store.layout import Int64s, PageKind, counters_of, sketch_of
from schemas.tiers import (
    DAY,
    HOUR,
    SLACK_MS,
    TIERS,
    Span,
    Tier,
    boundary,
    ceil_to,
    cover,
    kept_from,
)
from schemas.units import iso

VIEWS_KEPT: Final = 1024
"""Cached sets of dimensions and measures, with the views that have them: tens of bytes each."""
AXIS_AHEAD_MS_MAX: Final = DAY.kept_ms
"""How far ahead of now an answer has empty buckets: as far as history goes back."""
NUMBERS_KEPT: Final = 8192
"""Cached numbers of plans. An equal plan that is made a second later gets the same number."""


@dataclass(frozen=True)
class Term:
    """A measure to sum, over events of some kinds only if `kinds` is not empty. The sum of a sketch is
    a Histogram or a Distinct, or 0 if there are no events."""

    measure: Measure
    kinds: tuple[str, ...] = ()

    def is_in(self, table: Table) -> bool:
        is_kept = self.measure in table.measures or self.measure in table.sketches
        return is_kept and (not self.kinds or table.kind in self.kinds)

    def page_kind(self, table: Table) -> PageKind:
        """The kind of page that has it."""
        if self.measure in table.sketches:
            return sketch_of(table, self.measure)
        return counters_of(table)


@dataclass(frozen=True)
class Question:
    """The sums of `terms` over [from_ms, to_ms), with the buckets that are stored at `now_ms`.

    A series counts if it passes every filter. There is one row for each group and step; exactly one
    row without `group_by` and `step`. `axis_to_ms`: until when the answer has buckets, where that is
    later than what can have counters.
    """

    terms: tuple[Term, ...]
    from_ms: int
    to_ms: int
    now_ms: int
    filters: tuple[Filter, ...] = ()
    group_by: tuple[str, ...] = ()
    step: Step | None = None
    zone: tzinfo = UTC
    axis_to_ms: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """The tables of a view to read, the stored buckets (`spans`) that make up [start_ms, end_ms) as far as
    it can have counters, and the starts of the answer's buckets (one, at 0, without a step). `tiers`: those
    that it may read. `counts_from_ms`: it begins there, as the view lacks events of before (0: it begins where
    it was asked to)."""

    question: Question
    view: View
    tiers: tuple[Tier, ...]
    tables: tuple[Table, ...]
    start_ms: int
    end_ms: int
    spans: tuple[Span, ...]
    starts_ms: Int64s
    counts_from_ms: int = 0

    @cached_property
    def sums(self) -> tuple[Term, ...]:
        return tuple(term for term in self.question.terms if term.measure.is_sum)

    @cached_property
    def sketches(self) -> tuple[Term, ...]:
        return tuple(term for term in self.question.terms if not term.measure.is_sum)

    @cached_property
    def starts_list(self) -> list[int]:
        starts: list[int] = self.starts_ms.tolist()
        return starts

    @property
    def split_days_end_ms(self) -> int:
        """The end of the last stored days inside of which a bucket of the answer begins; 0: there are none."""
        if self.question.step is None:
            return 0
        starts = self.starts_ms
        return max(
            (
                span.end_ms
                for span in self.spans
                if span.tier is DAY
                and not fits(
                    starts[(span.start_ms < starts) & (starts < span.end_ms)], span.tier.bucket_ms
                )
            ),
            default=0,
        )

    @cached_property
    def ends_ms(self) -> Int64s:
        """The ends of the answer's buckets. Only with a step."""
        asked = self.question
        assert asked.step is not None
        if not len(self.starts_ms):
            return self.starts_ms
        return np.append(self.starts_ms[1:], end_of(asked.step, asked.zone, self.starts_ms))

    @cached_property
    def number(self) -> int:
        """Equal for plans that read and sum the same, also if they are made at different times."""
        asked = self.question
        return _number(
            (
                (asked.terms, asked.filters, asked.group_by, asked.step, str(asked.zone)),
                (self.view, self.tables, self.spans, self.start_ms, self.end_ms),
            )
        )


_numbers: Final = count()


@lru_cache(maxsize=NUMBERS_KEPT)
def _number(_content: Hashable) -> int:
    return next(_numbers)


Owned = tuple[str, Plan]
"""A plan, and the tenant whose counters it reads."""


@dataclass(frozen=True)
class DistinctValues:
    """Distinct values of a dimension. The sum of two is their union."""

    values: frozenset[str]

    def __add__(self, other: DistinctValues | int) -> DistinctValues:
        """The union. 0 is the empty set, so that `sum` works."""
        return self if isinstance(other, int) else DistinctValues(self.values | other.values)

    __radd__ = __add__

    @staticmethod
    def union(parts: Sequence[DistinctValues]) -> DistinctValues:
        """The union of all at once: one after the other takes quadratic time."""
        return DistinctValues(frozenset().union(*[part.values for part in parts]))

    @staticmethod
    def unions(parts: Sequence[DistinctValues]) -> list[int]:
        """The size of the union of each with all before it."""
        seen: set[str] = set()
        counts = []
        for part in parts:
            seen |= part.values
            counts.append(len(seen))
        return counts

    def __len__(self) -> int:
        return len(self.values)


Sum = int | Histogram | Distinct | DistinctValues


def plan(question: Question, catalog: Catalog = DEFAULT) -> Plan:
    """Choose the cheapest view, and the fewest buckets that make up the range."""
    return plans((question,), catalog)[0]


def plans(questions: Sequence[Question], catalog: Catalog = DEFAULT) -> tuple[Plan, ...]:
    """The plans of the sections of one answer. All use the tiers that their views have in common, so
    that equal bounds cover the same instants."""
    views = [view_for(question, catalog) for question in questions]
    kept = [tiers_of(view, one.terms) for view, one in zip(views, questions, strict=True)]
    tiers = tuple(tier for tier in TIERS if all(tier in own for own in kept))
    return tuple(_plan(one, view, tiers) for one, view in zip(questions, views, strict=True))


def tiers_of(view: View, terms: Sequence[Term]) -> tuple[Tier, ...]:
    """The tiers in which a view has all of these terms."""
    sketches = {None, *(term.measure for term in terms if not term.measure.is_sum)}
    return tuple(t for t in TIERS if all(t in view.tiers_of(sketch) for sketch in sketches))


def counted_since(plan: Plan, since_ms: int) -> Plan:
    """The plan where its view lacks events of before `since_ms` (schemas/store/added_views.py): its range
    begins there. Raises BadParameter if nothing of the range is left: it would be silent zeros."""
    if plan.start_ms >= since_ms or plan.start_ms >= plan.end_ms:
        return plan
    asked = plan.question
    changed = _plan(replace(asked, from_ms=max(asked.from_ms, since_ms)), plan.view, plan.tiers)
    if asked.to_ms <= since_ms or changed.start_ms >= changed.end_ms:
        raise lacks_events(plan.view, since_ms)
    return replace(changed, counts_from_ms=since_ms)


def lacks_events(view: View, since_ms: int) -> BadParameter:
    return BadParameter(
        "from",
        f"View {view.name} counts since {iso(since_ms)}: it was added without a rebuild, so it lacks earlier"
        " events. Use a later range, or run `odometer rebuild`, which counts it from the log.",
        (iso(since_ms),),
    )


def without_hours(plan: Plan, hours_from_ms: int) -> Plan:
    """The plan where counters have no hours before this UTC midnight (`Meta.hours_from_ms`): before it,
    it reads longer buckets, and the range begins and ends on their bounds. If the range lies in one day of
    which there is no more, it becomes that day: then it begins earlier."""
    if plan.start_ms >= hours_from_ms:
        return plan
    changed = _plan(plan.question, plan.view, plan.tiers, hours_from_ms)
    if plan.start_ms < plan.end_ms and changed.start_ms >= changed.end_ms:
        day_ms = changed.end_ms - DAY.bucket_ms
        whole = replace(plan.question, from_ms=day_ms, to_ms=changed.end_ms)
        return _plan(whole, plan.view, plan.tiers, hours_from_ms)
    return changed


def _plan(question: Question, view: View, tiers: tuple[Tier, ...], hours_from_ms: int = 0) -> Plan:
    now_ms = question.now_ms
    start_ms, end_ms = covered_range(question.from_ms, question.to_ms, now_ms, tiers, hours_from_ms)
    axis_ms = end_ms
    if question.axis_to_ms:
        axis_ms = max(end_ms, axis_end_ms(question.axis_to_ms, now_ms, tiers))
        start_ms = max(start_ms, min(axis_end_ms(question.from_ms, now_ms, tiers), axis_ms))
    longest_ms = DAY.bucket_ms
    starts_ms = np.zeros(1, np.int64)
    if question.step is not None:
        starts_ms = starts_of(question.step, question.zone, start_ms, axis_ms)
        longest_ms = longest_fit_ms(starts_ms[starts_ms > start_ms], tiers)
    edge_ms = min(max(start_ms, hours_from_ms), end_ms)
    spans = [
        *cover(start_ms, edge_ms, now_ms, longest_ms, _kept_at(start_ms, tiers, hours_from_ms)),
        *cover(edge_ms, end_ms, now_ms, longest_ms, tiers),
    ]
    tables = tuple(
        table
        for table in view.tables.values()
        if any(term.is_in(table) for term in question.terms)
        and all(f.takes(table.kind) for f in question.filters if f.dimension == "kind")
    )
    return Plan(question, view, tiers, tables, start_ms, axis_ms, tuple(spans), starts_ms)


def axis_end_ms(to_ms: int, now_ms: int, tiers: Sequence[Tier] = TIERS) -> int:
    """Where the axis of an answer ends that was asked for until `to_ms`: at most AXIS_AHEAD_MS_MAX ahead."""
    return boundary(min(to_ms, now_ms + AXIS_AHEAD_MS_MAX), now_ms, tiers)


def covered_range(
    from_ms: int,
    to_ms: int,
    now_ms: int,
    tiers: Sequence[Tier] = TIERS,
    hours_from_ms: int = 0,
) -> tuple[int, int]:
    """The range [start, end) that an answer covers; empty if `from_ms` is after `to_ms`.

    Bounds are first limited to the time that can have counters: from the oldest stored day to the
    largest lead of an event's clock. That is monotone, so adjacent ranges still add up.
    """
    oldest_ms = ceil_to(now_ms - DAY.kept_ms, DAY.bucket_ms)
    last_ms = newest_ms(now_ms)
    limited = (min(max(at_ms, oldest_ms), last_ms) for at_ms in (from_ms, to_ms))
    start_ms, end_ms = (
        boundary(at_ms, now_ms, _kept_at(at_ms, tiers, hours_from_ms)) for at_ms in limited
    )
    return start_ms, max(start_ms, end_ms)


def _kept_at(at_ms: int, tiers: Sequence[Tier], hours_from_ms: int) -> Sequence[Tier]:
    """A bound before `hours_from_ms` never moves beyond it, as that is on a boundary of days."""
    if at_ms >= hours_from_ms:
        return tiers
    return tuple(tier for tier in tiers if tier is not HOUR)


def newest_ms(now_ms: int) -> int:
    """The latest instant that can have counters: the largest lead of an event's clock."""
    return now_ms + AHEAD_MS_MAX + SLACK_MS


def finest_kept(start_ms: int, now_ms: int, tiers: Sequence[Tier] = TIERS) -> Tier:
    """The finest of these tiers that is still kept at `start_ms`."""
    for tier, coarser in pairwise(tiers):
        if start_ms >= kept_from(tier, coarser, now_ms):
            return tier
    return tiers[-1]


def views_that_hold(
    dimensions: Iterable[str], measures: Iterable[Measure], catalog: Catalog = DEFAULT
) -> tuple[View, ...]:
    """The views with these dimensions and measures, the cheapest first."""
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


def view_for(question: Question, catalog: Catalog = DEFAULT) -> View:
    """The cheapest view that can answer. Raises UnanswerableQuestion with those that come near."""
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
            f"View {view.name}, which has {summed}{by}, has no buckets shorter than {finest}. Use a"
            f" granularity of {finest} or longer."
        )
    raise UnanswerableQuestion(
        f"No view has {summed}{by}. {_nearly(dimensions, measures, catalog)} To add a view, write an"
        " entry into the catalog file (ODOMETER_CATALOG_FILE) and restart workers and API, which count it"
        " from then on. `odometer rebuild` counts it from the log."
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
