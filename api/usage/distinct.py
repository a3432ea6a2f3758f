"""Counts the distinct values of a dimension, such as users.

The question is grouped by that dimension too, and its rows with events are counted. So the count is
exact for any range.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.query.measures import Offered
from api.query.plan import DistinctValues, Sum, Term
from api.query.sums import Row
from schemas.catalog.sketches import Distinct


def counted_dimension(measures: Sequence[Offered]) -> str:
    """The dimension whose values a measure counts; "" if there is none."""
    return next((one.distinct for one in measures if one.distinct), "")


def with_counted(measures: Sequence[Offered], group_by: Sequence[str]) -> tuple[str, ...]:
    """`group_by`, and the dimension whose values are counted."""
    own = counted_dimension(measures)
    return (*group_by, own) if own and own not in group_by else tuple(group_by)


def count_distinct(
    measures: Sequence[Offered], group_by: Sequence[str], terms: Sequence[Term], rows: Sequence[Row]
) -> list[Row]:
    """Rows by `with_counted` as rows by `group_by`, in order of their first, the values behind their
    sums. Who is not known is no member."""
    (counting,) = {one for one in measures if one.distinct}
    at = with_counted(measures, group_by).index(counting.distinct)
    places = [place for place, term in enumerate(terms) if term in counting.over]
    width = len(group_by)
    found: dict[tuple[int, tuple[str, ...]], tuple[list[Sequence[Sum]], set[str]]] = {}
    for row in rows:
        all_sums, values = found.setdefault((row.at_ms, row.group[:width]), ([], set()))
        own = row.sums
        all_sums.append(own)
        if row.group[at] and any(map(own.__getitem__, places)):
            values.add(row.group[at])
    return [
        Row(group, at_ms, (), (*map(_together, *all_sums), DistinctValues(frozenset(values))))
        for (at_ms, group), (all_sums, values) in found.items()
    ]


def _together(*sums: Sum) -> Sum:
    """The sum of some of one kind, or 0. Sets are united at once: one after the other is quadratic."""
    if len(sums) == 1:
        return sums[0]
    sets = [one for one in sums if isinstance(one, Distinct)]
    return Distinct.union(sets) if sets else sum(sums)
