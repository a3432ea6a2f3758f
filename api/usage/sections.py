"""The rows of an answer from exact sums: order, limit, fill, running sums, totals.

All steps work on sums, and quotients are computed last. So an average in the `other` row, in a total
or in a running sum is the average of all its events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

import numpy as np

from api.errors import UnanswerableQuestion
from api.query.bounds import row_count
from api.query.measures import (
    MeasureFormula,
    Number,
    estimates_of,
    formulas,
    terms_of,
    with_means,
    with_presence,
)
from api.query.plan import Plan, Question, Sum, plan, view_for
from api.query.rows import (
    OTHERS,
    Marks,
    RowColumns,
    columns_of,
    filled,
    in_order,
    limited,
    running,
    with_others,
)
from api.query.sums import Sums
from api.query.time_buckets import labels
from api.usage.distinct import with_counted
from api.usage.groups.owners import ANY, Owner
from api.usage.groups.person_dimensions import PLACEHOLDER, cell_of, value_of
from api.usage.groups.ranking import (
    Group,
    GroupPage,
    Ranking,
    first_rows,
    null_last,
    page_of,
    ranked,
    ranked_as,
)
from api.usage.groups.stored_rows import stored_rows
from api.usage.groups.wide import WideColumn, wide_columns, widened
from api.usage.query import TIME, UsageQuery
from schemas.catalog.views import DEFAULT, Catalog
from schemas.store.layout import Int64s

ROWS_MAX: Final = 100_000
"""Rows of an answer: 15 MB of JSON. Use `limit` for more groups."""
ANSWER_CELLS_MAX: Final = 2_000_000
"""Rows x columns of an answer: 20 columns of 100,000 rows. 47 of 95,000 were 111 MB of JSON and 320 MB while
it was made."""

OTHER: Final = "other"
"""The column that marks the row of all groups that are not shown."""
PARTIAL: Final = "partial"
"""The column that marks buckets whose counters are not those of the whole bucket."""

Cell = str | bool | Number


@dataclass(frozen=True)
class Section:
    """The rows of one range, by column in the order of the answer, and their totals. `estimates`: the
    relative error of the measures that are not exact. `groups`: those that are shown, by rank.
    `by_group`: if ranges are compared, the measures of each group over all buckets; () is one without
    events. `page`: of an answer with groups, not of the range that it is compared with. `wide`: what its columns have, with `layout=wide`."""

    covered: Plan
    columns: Mapping[str, Sequence[Cell]]
    totals: dict[str, Number]
    estimates: dict[str, float]
    groups: Sequence[Group] = ()
    by_group: Mapping[Group, Mapping[str, Number]] = field(default_factory=dict)
    page: GroupPage | None = None
    wide: tuple[WideColumn, ...] = ()

    @property
    def length(self) -> int:
        """How many rows."""
        return len(next(iter(self.columns.values())))


def plans_of(query: UsageQuery, now_ms: int, catalog: Catalog = DEFAULT) -> tuple[Plan, ...]:
    """The plan of the range, and of the range that it is compared with."""
    asked = Question(
        terms=terms_of(query.computed),
        from_ms=query.from_ms,
        to_ms=query.to_ms,
        now_ms=now_ms,
        filters=(*query.filters, *[PLACEHOLDER] * bool(query.person_filters)),
        group_by=with_counted(query.computed, query.stored_group_by),
        step=query.step,
        zone=query.zone,
        axis_to_ms=query.to_ms,
    )
    view = view_for(asked, catalog)
    terms = with_means(with_presence(asked.terms, view), query.computed, view)
    asked = replace(asked, terms=terms)
    current = plan(asked, catalog)
    if query.compared is None:
        return (current,)
    from_ms, to_ms, _ = query.compared
    before = replace(asked, from_ms=from_ms, to_ms=to_ms, axis_to_ms=to_ms)
    return current, plan(before, catalog)


@dataclass(frozen=True)
class Completeness:
    """How many of a plan's buckets begin, and how many end, by `complete_through`. Rows depend on it, so
    answers are cached with it."""

    begun: int = 0
    over: int = 0


UNKNOWN: Final = Completeness()
"""Of an answer without a step, or while `complete_through` is not known."""


def states_of(
    query: UsageQuery, plans: Sequence[Plan], through_ms: int
) -> tuple[Completeness, ...]:
    """Of each plan. `through_ms`: 0 if it is not known."""
    if query.step is None:
        return (UNKNOWN,) * len(plans)
    return tuple(
        Completeness(
            int(np.searchsorted(one.starts_ms, through_ms, side="left")),
            int(np.searchsorted(one.ends_ms, through_ms, side="right")),
        )
        for one in plans
    )


def sections_of(
    query: UsageQuery,
    sums: Sequence[Sums],
    states: Sequence[Completeness],
    owners: Sequence[Owner] = ANY,
) -> list[Section]:
    """The section of the range, and of the range that it is compared with, which has the same groups. `sums`:
    for each range those of each owner."""
    count = len(owners)
    current = section(query, sums[:count], states[0], owners)
    shown = current.groups if query.group_by else None
    before = [
        section(query, sums[place * count : (place + 1) * count], state, owners, shown)
        for place, state in enumerate(states[1:], 1)
    ]
    every = [current, *before]
    return _widened(query, every) if query.is_wide else every


def _widened(query: UsageQuery, sections: Sequence[Section]) -> list[Section]:
    """These sections with a column for each group of the first one and each measure. All have the same."""
    groups = [*sections[0].groups]
    if query.has_other and any(True in one.columns[OTHER] for one in sections):
        groups.append(None)
    measures = [measure.name for measure in query.measures]
    wide = wide_columns(groups, measures, (TIME, PARTIAL, "period"))
    return [_wide(query, one, wide) for one in sections]


def _wide(query: UsageQuery, found: Section, wide: Sequence[WideColumn]) -> Section:
    columns = found.columns
    cells = zip(*(columns[name] for name in query.columns), strict=True)
    named: list[Group] = [tuple(map(value_of, row)) for row in cells]
    if query.has_other:
        named = [None if cell else one for one, cell in zip(named, columns[OTHER], strict=True)]
    values = {
        measure.name: cast("Sequence[Number]", columns[measure.name]) for measure in query.measures
    }
    first, numbers = widened(wide, columns[TIME], named, values)
    of_buckets = {name: [columns[name][row] for row in first] for name in (TIME, PARTIAL)}
    return replace(
        found,
        columns={TIME: of_buckets[TIME], **numbers, PARTIAL: of_buckets[PARTIAL]},
        wide=tuple(wide),
    )


def cells_of(query: UsageQuery, sections: Sequence[Sums]) -> int:
    """What a body costs: rows x (columns + 1). Rows that `fill` makes count too."""
    return sum(_cells(query, found) for found in sections)


def _cells(query: UsageQuery, found: Sums) -> int:
    rows = row_count(found)
    if query.fill != "none" or query.is_wide:
        groups = min(rows, len(found.selection.groups)) if query.group_by else 1
        if query.limit is not None:
            groups = min(groups, query.limit + 1)  # OTHERS
        rows = max(rows, groups * len(found.selection.plan.starts_ms))
    columns = len(query.group_by) + max(
        len(query.measures), len(found.selection.plan.question.terms)
    )
    return rows * (columns + 1 + 2 * (query.step is not None))


def section(
    query: UsageQuery,
    found: Sequence[Sums],
    state: Completeness = UNKNOWN,
    owners: Sequence[Owner] = ANY,
    shown_groups: Sequence[Group] | None = None,
) -> Section:
    """`shown_groups`: those to show, of the range that this one is compared with; None: by `limit`."""
    covered = found[0].selection.plan
    computed = {one.name: one for one in formulas(query.computed, covered.question.terms)}
    shown = [computed[measure.name] for measure in query.measures]
    rows, totals, ranking = _shown_rows(query, computed, found, owners, shown_groups)
    rank = ranking.rank
    groups: Sequence[Group] = ()
    by_group: Mapping[Group, Mapping[str, Number]] = {}
    if (query.compared is not None or query.is_wide) and query.group_by:
        groups, by_group = _by_group(shown, rows, rank)
    if query.fill != "none":
        rows = _filled(query, rows, len(covered.starts_ms), state)
    check_size(len(rows), len(rows) * _columns(query))
    rows = _in_order(query, shown, rows, rank)
    if query.is_cumulative:
        rows = running(rows)
    measured, of_totals, estimates = _measured(shown, rows, totals)
    columns = _named(query, covered.starts_ms, rows) | measured
    if query.step is not None:
        columns[PARTIAL] = is_partial(covered, state)[rows.bucket].tolist()
    page = page_of(query, ranking, totals) if query.group_by and shown_groups is None else None
    return Section(covered, columns, of_totals, estimates, groups, by_group, page)


def check_size(rows: int, cells: int, of: str = "The answer") -> None:
    """Raise UnanswerableQuestion if an answer has too many rows or cells."""
    for count, most, what in (
        (rows, ROWS_MAX, "rows, more than the limit of {} (ROWS_MAX)"),
        (
            cells,
            ANSWER_CELLS_MAX,
            "cells (rows x columns), more than the limit of {} (ANSWER_CELLS_MAX)",
        ),
    ):
        if count > most:
            raise UnanswerableQuestion(
                f"{of} would have {count} {what.format(most)}. Use fewer buckets, fewer measures, fewer"
                " dimensions in `group_by`, or `limit`."
            )


def _columns(query: UsageQuery) -> int:
    labels = (
        len(query.columns) + query.has_other + 2 * (query.step is not None)
    )  # `time`, `partial`
    return labels + len(query.measures)


def _shown_rows(
    query: UsageQuery,
    computed: Mapping[str, MeasureFormula],
    found: Sequence[Sums],
    owners: Sequence[Owner],
    shown_groups: Sequence[Group] | None,
) -> tuple[RowColumns, list[Sum], Ranking]:
    """The rows of the groups that are shown and of all others, the totals, and the rank of each group."""
    shown = [computed[measure.name] for measure in query.measures]
    own = found[0]
    is_plain = shown_groups is None and len(found) == 1
    first = first_rows(query, shown, own) if is_plain else None
    if first is not None:
        rows, whole = columns_of(own, first), [*own.totals]
        others = np.array([whole], rows.sums.dtype).T - rows.sums.sum(axis=1, keepdims=True)
        ranking = replace(ranked(query, computed, rows), count=len(own.there[0]), has_more=True)
        return with_others(rows, np.zeros(1, np.int64), others), [*whole], ranking
    rows, totals = stored_rows(query, found, owners)
    if shown_groups is not None:
        ranking = ranked_as(shown_groups, rows)
        return limited(rows, ranking.rank, ranking.shown), totals, ranking
    ranking = ranked(query, computed, rows)
    if ranking.shown < len(rows.groups) and query.group_by:
        rows = limited(rows, ranking.rank, ranking.shown)
    return rows, totals, ranking


def _measured(
    shown: Sequence[MeasureFormula], rows: RowColumns, totals: Sequence[Sum]
) -> tuple[dict[str, list[Number]], dict[str, Number], dict[str, float]]:
    """The measures of each row and of the totals, and which are estimates."""
    # The totals are one more row here: their quotients are computed in the same way.
    sums: list[list[Sum]] = rows.sums.tolist()
    for column, total in zip(sums, totals, strict=True):
        column.append(total)
    measured = {formula.name: formula.column(sums) for formula in shown}
    of_totals = {name: column.pop() for name, column in measured.items()}
    if rows.is_null is not None:
        for place in np.flatnonzero(rows.is_null).tolist():
            for values in measured.values():
                values[place] = None
    return measured, of_totals, estimates_of(shown, sums)


def is_partial(covered: Plan, state: Completeness) -> Marks:
    """Of each bucket, whether it is not over by `complete_through`, or not all of it is in the range."""
    found = np.arange(len(covered.starts_ms)) >= state.over
    if len(found):
        found[0] |= bool(covered.starts_ms[0] < covered.start_ms)
        found[-1] |= bool(covered.ends_ms[-1] > covered.end_ms)
    return found


def _by_group(
    shown: Sequence[MeasureFormula], rows: RowColumns, rank: Int64s
) -> tuple[list[Group], dict[Group, dict[str, Number]]]:
    """The groups in the order of their ranks, without that of all others, and the measures of each over all
    buckets. () is a group without events."""
    present = np.unique(rows.group[rows.group != OTHERS])
    groups: list[Group] = [rows.groups[n] for n in present[np.argsort(rank[present])].tolist()]
    names, added = rows.by_shown_group()
    sums: list[list[Sum]] = added.tolist()
    for column in sums:
        column.append(0)
    columns = [(formula.name, formula.column(sums)) for formula in shown]
    return groups, {
        group: {name: column[place] for name, column in columns}
        for place, group in enumerate([*names, ()])
    }


def _filled(query: UsageQuery, rows: RowColumns, buckets: int, state: Completeness) -> RowColumns:
    groups = np.unique(rows.group) if query.group_by else np.zeros(1, np.int64)
    count = len(groups) * buckets
    what = f"With `fill`, the answer of {len(groups)} groups x {buckets} buckets"
    check_size(count, count * _columns(query), what)
    # What happens after `complete_through` is not known, so it is not 0.
    is_unknown = np.arange(buckets) >= (0 if query.fill == "null" else state.begun)
    return filled(rows, groups, is_unknown)


def _in_order(
    query: UsageQuery, shown: Sequence[MeasureFormula], rows: RowColumns, rank: Int64s
) -> RowColumns:
    """Rows by time and rank. A series without groups is sorted by all of `order_by`."""
    is_back_in_time = (TIME, True) in query.order_by
    is_in_order = len(rows) == 1 or not (query.group_by or is_back_in_time)
    ordered = rows if is_in_order else in_order(rows, rank, is_back_in_time=is_back_in_time)
    by = [one for one in query.order_by if one[0] != TIME]
    if query.group_by or not by:
        return ordered
    by_formula = {formula.name: formula for formula in shown}
    sums = ordered.sums.tolist()
    places = [*range(len(ordered))]
    for name, down in reversed(query.order_by):
        if name == TIME:
            keys: Sequence[object] = ordered.bucket.tolist()
        else:
            keys = null_last(by_formula[name].column(sums), down=down)
        places.sort(key=keys.__getitem__, reverse=down)  # type: ignore[arg-type]
    return ordered.taken(np.array(places, np.int64))


def _named(query: UsageQuery, starts_ms: Int64s, rows: RowColumns) -> dict[str, Sequence[Cell]]:
    """The columns with the bucket and the group of each row."""
    columns: dict[str, Sequence[Cell]] = {}
    if query.step is not None:
        buckets, bucket = np.unique(rows.bucket, return_inverse=True)
        at_ms = starts_ms[buckets]
        texts: list[Cell] = at_ms.tolist() if query.has_times_ms else [*labels(at_ms, query.zone)]
        columns[TIME] = list(map(texts.__getitem__, bucket.tolist()))
    for place, name in enumerate(query.columns):
        values = rows.names(place)
        columns[name] = [*map(cell_of, values)] if query.people_by else values
    if query.has_other:
        columns[OTHER] = (rows.group == OTHERS).tolist()
    return columns
