"""The rows of a question before they are ranked: of one tenant or several, by what is stored or what the
directory says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from api.query.plan import DistinctValues, Sum
from api.query.rows import RowColumns, columns_of, columns_of_rows, joined, regrouped
from api.query.sums import Row, Sums
from api.usage.distinct import count_distinct, counted_dimension
from api.usage.groups.owners import Owner
from api.usage.query import TENANT, UsageQuery


def stored_rows(
    query: UsageQuery, found: Sequence[Sums], owners: Sequence[Owner]
) -> tuple[RowColumns, list[Sum]]:
    """The rows by `query.group_by`, and their totals. `found`: the sums of each owner."""
    is_counted = bool(counted_dimension(query.computed))
    parts = [
        _counted_rows(query, sums, owner.tenant if len(owners) > 1 else "")
        if is_counted
        else columns_of(sums)
        for sums, owner in zip(found, owners, strict=True)
    ]
    rows = joined(parts)
    totals = rows.totals  # before the events of a user are in several groups
    if query.people_by or TENANT in query.group_by:
        rows = joined(
            [
                regrouped(part, partial(_shown_groups, query, owner))
                for part, owner in zip(parts, owners, strict=True)
            ]
        )
    return rows, totals


def _counted_rows(query: UsageQuery, found: Sums, tenant: str) -> RowColumns:
    """The rows of a query with a measure that counts distinct values. Values of two tenants are never the
    same one: `tenant` is a part of them."""
    covered = found.selection.plan
    terms = covered.question.terms
    rows = count_distinct(query.computed, query.stored_group_by, terms, found.rows)
    if tenant:
        rows = [_of_tenant(row, tenant) for row in rows]
    width = len(terms) + 1
    if not rows and not (query.stored_group_by or query.step):
        rows = [Row((), 0, (0,) * width)]
    return columns_of_rows(rows, covered.starts_ms, width)


def _of_tenant(row: Row, tenant: str) -> Row:
    *others, own = row.sketches
    if isinstance(own, DistinctValues):
        own = DistinctValues(frozenset(f"{tenant}\0{value}" for value in own.values))
    return row._replace(sketches=(*others, own))


def _shown_groups(query: UsageQuery, owner: Owner, group: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The groups of an answer that have the rows of a stored group: several if a user has several groups."""
    values = dict(zip(query.stored_group_by, group, strict=True))
    found: list[tuple[str, ...]] = [()]
    for name in query.group_by:
        own: Sequence[str]
        if name in query.people_by:
            own = owner.people.values(name, values["user"])
        else:
            own = (owner.tenant if name == TENANT else values[name],)
        found = [(*before, value) for before in found for value in own]
    return found
