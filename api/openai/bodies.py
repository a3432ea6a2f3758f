"""Turns rows of counters into the buckets of OpenAI's answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.openai.pages import BucketPage
from api.openai.parameters import BATCH, PAIR, OrganizationQuery
from api.openai.questions import DIMENSIONS, WIDTHS, OrganizationPath
from api.query.sums import Row
from schemas.catalog.measures import COST_EVENTS, EVENTS, Measure
from schemas.limits import SECOND_MS
from schemas.responses.openai import Result
from schemas.tiers import floor_to

UNLABELED: Final = "unlabeled"
"""OpenAI's word for all activity but that of its own agents."""


@dataclass
class _Group:
    """The sums of one result, and the kinds of its events."""

    sums: list[int]
    kinds: set[str]


@dataclass(frozen=True)
class Grouping:
    """How rows become groups: our `dimensions`, in the order of a row's group."""

    path: OrganizationPath
    query: OrganizationQuery
    dimensions: tuple[str, ...]
    measures: tuple[Measure, ...]

    def names_of(self, row: Row) -> Result | None:
        """The values of `group_by`; None if no line item selects the row."""
        values = dict(zip(self.dimensions, row.group, strict=True))
        if self.query.line_items is not None and _line_item(values) not in self.query.line_items:
            return None
        return {name: _value(name, values) for name in self.query.group_by}


def dimensions_of(query: OrganizationQuery) -> tuple[str, ...]:
    """Our dimensions to group by; those of line items also if only a filter needs them."""
    names = [*query.group_by, *(["line_item"] if query.line_items is not None else [])]
    return tuple(dict.fromkeys(one for name in names for one in DIMENSIONS[name]))


def page_body(grouping: Grouping, page: BucketPage, rows: Iterable[Row]) -> tuple[Result, int]:
    """The body, and how many events of it have no cost."""
    query, width_ms = grouping.query, WIDTHS[grouping.query.width].length_ms
    buckets: dict[int, dict[tuple[Any, ...], _Group]] = defaultdict(dict)
    for row in rows:
        names = grouping.names_of(row)
        if names is None:
            continue
        group = buckets[row.at_ms].setdefault(
            tuple(names.values()), _Group([0] * len(grouping.measures), set())
        )
        group.sums = [one + more for one, more in zip(group.sums, row.values, strict=True)]
        if "line_item" in query.group_by:
            group.kinds.add(row.group[grouping.dimensions.index("kind")])
    without_cost = 0
    data = []
    for start_ms, end_ms in page.buckets:
        groups = buckets.get(floor_to(start_ms, width_ms), {})
        results, unpriced = _results(grouping, groups)
        without_cost += unpriced
        data.append(
            {
                "object": "bucket",
                "start_time": start_ms // SECOND_MS,
                "end_time": end_ms // SECOND_MS,
                "results": results,
            }
        )
    body = {
        "object": "page",
        "has_more": page.next_page is not None,
        "next_page": page.next_page,
        "data": data,
    }
    return body, without_cost


def _results(
    grouping: Grouping, groups: Mapping[tuple[Any, ...], _Group]
) -> tuple[Sequence[Result], int]:
    """The results of a bucket, most events first; and how many of its events have no cost."""
    path, measures = grouping.path, grouping.measures
    found, without_cost = [], 0
    for names, group in groups.items():
        summed = dict(zip(measures, group.sums, strict=True))
        if not summed[path.only_with]:
            continue
        if COST_EVENTS in summed:
            without_cost += summed[EVENTS] - summed[COST_EVENTS]
        numbers = path.figures(summed, frozenset(group.kinds))
        by = dict(zip(grouping.query.group_by, names, strict=True))
        result = {"object": path.object, **numbers}
        result |= {name: by.get(name) for name in path.result.model_fields if name not in result}
        found.append((-summed[path.only_with], tuple(map(str, names)), result))
    found.sort(key=lambda one: one[:2])
    return [result for _, _, result in found], without_cost


def _value(name: str, values: Mapping[str, str]) -> str | bool | None:
    """What `group_by` shows: null where the events say nothing."""
    match name:
        case "api_source":
            return UNLABELED
        case "batch":
            return values["service_tier"] == BATCH
        case "line_item":
            return _line_item(values)
        case _:
            (dimension,) = DIMENSIONS[name]
            return values[dimension] or None


def _line_item(values: Mapping[str, str]) -> str:
    return PAIR.join(value for value in (values["provider"], values["model"]) if value)
