"""The groups that an answer shows, in their order: by `order_by`, `having`, `limit` and `cursor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from api.query.measures import MeasureFormula, Number
from api.query.plan import Sum
from api.query.rows import OTHERS, RowColumns
from api.query.sums import Sums
from api.usage.distinct import counted_dimension
from api.usage.groups.cursor import VERSION, Cursor, Mark, state_of_totals, values_of
from api.usage.groups.having import holding
from api.usage.groups.person_dimensions import cell_of, value_of
from api.usage.query import TIME, UsageQuery
from schemas.store.layout import Int64s

Group = tuple[str, ...] | None
"""The values of a group; None: all groups that are not shown."""


class GroupPage(NamedTuple):
    """`found`: the groups of all pages. `next_cursor`: None on the last one. `is_changed`: whether counters of the
    range have changed since the first page; None on that."""

    found: int
    next_cursor: str | None
    is_changed: bool | None


@dataclass(frozen=True, eq=False)
class Ranking:
    """`rank`: the place of each group in the answer, the last for OTHERS. Groups that are not shown have that
    of OTHERS. `shown`: how many are. `count`: the groups that fulfil `having`, those of all pages. `last`: the
    last one that is shown. `has_more`: whether others follow it."""

    rank: Int64s
    shown: int
    count: int
    last: Mark | None = None
    has_more: bool = False


def ranked(query: UsageQuery, formulas: Mapping[str, MeasureFormula], rows: RowColumns) -> Ranking:
    """The groups to show of these rows, by their sums over the whole range. `formulas`: of all measures that
    the question computes, by name."""
    rank = np.full(len(rows.groups) + 1, len(rows.groups), np.int64)
    if not query.group_by:
        rank[:] = 0
        rank[OTHERS] = len(rows.groups)
        return Ranking(rank, 1, 0)
    present, added = rows.by_group()
    sums: list[list[Sum]] = added.tolist()
    names = [rows.groups[group] for group in present.tolist()]
    keys = [
        formulas[name].column(sums) if name in formulas and name not in query.group_by else None
        for name, _ in order_of(query)
    ]
    places, begin = _in_order(query, names, keys)
    passes = holding(query.having, formulas, sums, len(names))
    passing = [place for place in places if passes[place]]
    before = sum(passes[place] for place in places[:begin])
    end = len(passing) if query.limit is None else before + query.limit
    shown = passing[before:end]
    rank[present[shown]] = np.arange(len(shown))
    last = Mark(names[shown[-1]], values_of(keys, shown[-1])) if shown else None
    return Ranking(rank, len(shown), len(passing), last, end < len(passing))


def ranked_as(shown_groups: Sequence[Group], rows: RowColumns) -> Ranking:
    """The groups that the range shows with which this one is compared; all others come after these."""
    ranks = {group: place for place, group in enumerate(shown_groups)}
    last = len(ranks)
    rank = np.array([*(ranks.get(group, last) for group in rows.groups), last + 1], np.int64)
    return Ranking(rank, last, last)


def first_rows(query: UsageQuery, shown: Sequence[MeasureFormula], found: Sums) -> Int64s | None:
    """The rows that the first page of a leaderboard by one sum shows, without a sort of the others. None if
    all rows are needed."""
    if query.limit is None or query.step is not None or found.selection.plan.sketches:
        return None
    if query.having or query.cursor is not None or query.people_by or query.has_tenants:
        return None
    if counted_dimension(query.computed):
        return None
    ((name, down), *more) = order_of(query)
    by = next((formula for formula in shown if formula.name == name), None)
    if by is None or by.under or by.less or more:
        return None
    kept = found.top(by.over, query.limit, is_descending=down)
    if by.known and kept is not None:
        # Rows with an unknown cost come last, after those that cost 0: only all rows tell which these are.
        costs = found.there[1][list(by.over)][:, kept].sum(axis=0)
        return kept if down and costs.min() > 0 else None
    return kept


def page_of(query: UsageQuery, ranking: Ranking, totals: Sequence[Sum]) -> GroupPage:
    """What an answer says of its page of groups. `totals`: of all groups, also those of other pages."""
    state = state_of_totals(totals)
    is_changed = None if query.cursor is None else query.cursor.state != state
    if not ranking.has_more or ranking.last is None:
        return GroupPage(ranking.count, None, is_changed)
    following = Cursor(
        VERSION,
        query.identity,
        query.from_ms,
        query.to_ms,
        None if query.compared is None else query.compared[:2],
        Mark(tuple(map(cell_of, ranking.last.group)), ranking.last.values),
        state if query.cursor is None else query.cursor.state,
    )
    return GroupPage(ranking.count, following.text(), is_changed)


def order_of(query: UsageQuery) -> list[tuple[str, bool]]:
    """What groups are ordered by: a measure or dimension, and whether that is descending."""
    order = [(name, down) for name, down in query.order_by if name != TIME]
    return order or [(query.measures[0].name, True)]


def null_last(values: Sequence[Number], *, down: bool) -> list[tuple[bool, float]]:
    """Keys for a sort in which null is last in both directions."""
    return [((value is None) is not down, value or 0) for value in values]


def _in_order(
    query: UsageQuery, names: Sequence[tuple[str, ...]], keys: Sequence[list[Number] | None]
) -> tuple[list[int], int]:
    """The places of these groups in their order, and how many of them earlier pages have shown. Equal ones
    are ordered by their names."""
    everything, columns = [*names], [*keys]
    if query.cursor is not None:
        after = query.cursor.after
        everything.append(tuple(map(value_of, after.group)))
        columns = [
            None if column is None else [*column, value]
            for column, value in zip(columns, after.values, strict=True)
        ]
    # Sorts are stable: behind the group that the cursor names comes the place where it ends.
    places = sorted(range(len(everything)), key=everything.__getitem__)
    order = [*zip(order_of(query), columns, strict=True)]
    for (name, down), column in reversed(order):
        sort_keys: Sequence[Any]
        if column is not None:
            sort_keys = null_last(column, down=down)
        else:
            at = query.columns.index(name)
            sort_keys = [group[at] for group in everything]
        places.sort(key=sort_keys.__getitem__, reverse=down)
    if query.cursor is None:
        return places, 0
    begin = places.index(len(names))
    return places[:begin] + places[begin + 1 :], begin
