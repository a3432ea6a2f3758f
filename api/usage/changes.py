"""The change of each measure between two ranges, by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.query.comparison import change_of
from api.query.measures import Number
from api.usage.groups.person_dimensions import cell_of
from api.usage.groups.ranking import Group
from api.usage.query import UsageQuery
from api.usage.sections import OTHER, Section


def changes_of(query: UsageQuery, current: Section, previous: Section) -> dict[str, Any]:
    """A row for each group of the current range, by rank, then one for all others; and the totals."""
    groups: list[Group] = [*current.groups]
    if None in current.by_group or None in previous.by_group:
        groups.append(None)
    rows = []
    for group in groups:
        values = map(cell_of, group or (None,) * len(query.columns))
        row: dict[str, Any] = dict(zip(query.columns, values, strict=True))
        row[OTHER] = group is None
        own, before = (one.by_group.get(group, one.by_group[()]) for one in (current, previous))
        rows.append(row | _changes(own, before))
    return {"rows": rows, "totals": _changes(current.totals, previous.totals)}


def _changes(own: Mapping[str, Number], before: Mapping[str, Number]) -> dict[str, Any]:
    return {name: change_of(value, before[name])._asdict() for name, value in own.items()}
