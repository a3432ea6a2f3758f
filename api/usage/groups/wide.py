"""A series with one row for each bucket, and one column for each group and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from api.errors import UnanswerableQuestion
from api.query.measures import Number
from api.usage.groups.person_dimensions import UNKNOWN
from api.usage.groups.ranking import Group

COLUMNS_MAX: Final = 1_000
"""Groups x measures. A sheet shows some tens, and a chart as many lines."""
CELLS_MAX: Final = 500_000
"""Buckets x columns: 5 MB of CSV. As many as 100,000 rows of five columns."""
NOT_REPORTED: Final = "(not reported)"
NOT_KNOWN: Final = "(unknown)"
ALL_OTHERS: Final = "(all others)"

WideCell = str | bool | Number


class WideColumn(NamedTuple):
    """What a column has. `group`: None: all groups that are not shown."""

    name: str
    measure: str
    group: Group


def wide_columns(
    groups: Sequence[Group], measures: Sequence[str], taken: Sequence[str]
) -> list[WideColumn]:
    """The columns by group, then by measure. With several measures each name has that of its measure. A name
    that another column has, or one of `taken`, gets a number. Raises UnanswerableQuestion."""
    count = len(groups) * len(measures)
    if count > COLUMNS_MAX:
        raise UnanswerableQuestion(
            f"`layout=wide` would have {len(groups)} groups x {len(measures)} measures = {count} columns,"
            f" more than the limit of {COLUMNS_MAX} (COLUMNS_MAX). Use `limit` or fewer measures."
        )
    used = set(taken)
    found = []
    for group in groups:
        label = ALL_OTHERS if group is None else " / ".join(map(_part, group))
        for measure in measures:
            wanted = label if len(measures) == 1 else f"{label}: {measure}"
            name, number = wanted, 2
            while name in used:
                name, number = f"{wanted} ({number})", number + 1
            used.add(name)
            found.append(WideColumn(name, measure, group))
    return found


def _part(value: str) -> str:
    return NOT_KNOWN if value == UNKNOWN else value or NOT_REPORTED


def widened(
    columns: Sequence[WideColumn],
    buckets: Sequence[WideCell],
    groups: Sequence[Group],
    values: Mapping[str, Sequence[Number]],
) -> tuple[list[int], dict[str, list[Number]]]:
    """The place of the first row of each bucket, and the cells by column name. `buckets` and `groups`: of each
    row; `values`: its measures. Null where a group has no row. Raises UnanswerableQuestion."""
    place_of: dict[WideCell, int] = {}
    first: list[int] = []
    bucket_of = []
    for row, bucket in enumerate(buckets):
        place = place_of.setdefault(bucket, len(first))
        if place == len(first):
            first.append(row)
        bucket_of.append(place)
    if len(first) * len(columns) > CELLS_MAX:
        raise UnanswerableQuestion(
            f"`layout=wide` would have {len(first)} buckets x {len(columns)} columns ="
            f" {len(first) * len(columns)} cells, more than the limit of {CELLS_MAX} (CELLS_MAX). Use"
            " `limit`, fewer measures or longer buckets."
        )
    found: dict[str, list[Number]] = {one.name: [None] * len(first) for one in columns}
    cells = {(one.group, one.measure): found[one.name] for one in columns}
    for measure, own in values.items():
        for bucket, group, value in zip(bucket_of, groups, own, strict=True):
            cells[group, measure][bucket] = value
    return first, found
