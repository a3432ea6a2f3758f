"""The JSON objects of an answer of /v1/usage: the rows of a question, and the state of the counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from api.query.plan import Plan
from api.store.freshness import iso_ms, refusals
from api.store.reader import Reading
from api.usage.changes import changes_of
from api.usage.groups.person_dimensions import cell_of
from api.usage.groups.ranking import GroupPage
from api.usage.query import UsageQuery
from api.usage.render import rows_of
from api.usage.sections import Section
from schemas.store.layout import Meta
from schemas.units import iso

GROUPS_HEADER: Final = "odometer-groups"
CURSOR_HEADER: Final = "odometer-next-cursor"
CHANGED_HEADER: Final = "odometer-is-changed"
PAGE_HEADERS: Final = (GROUPS_HEADER, CURSOR_HEADER, CHANGED_HEADER)


def object_of(query: UsageQuery, current: Section, before: Sequence[Section]) -> dict[str, Any]:
    return {
        "range": range_of(current.covered),
        **form_of(query),
        **page_in(current.page),
        **({"columns": wide_in(query, current)} if query.is_wide else {}),
        "rows": rows_of(current.columns),
        "totals": current.totals,
        **compared(query, current, before),
        "estimates": current.estimates,
    }


def form_of(query: UsageQuery) -> dict[str, Any]:
    """What the rows are of, whatever their range."""
    return {
        "granularity": query.step.name if query.step else "none",
        "tz": query.zone_name,
        "group_by": query.columns,
        "measures": {measure.name: measure.unit for measure in query.measures},
    }


def page_in(page: GroupPage | None) -> dict[str, Any]:
    """How many groups there are, and where the next page begins; nothing of an answer without groups."""
    if page is None:
        return {}
    found: dict[str, Any] = {"groups": page.found, "next_cursor": page.next_cursor}
    return found if page.is_changed is None else found | {"is_changed": page.is_changed}


def page_headers(page: GroupPage | None) -> dict[str, str]:
    """The same for formats that have rows only."""
    if page is None:
        return {}
    found = {GROUPS_HEADER: str(page.found)}
    if page.next_cursor is not None:
        found[CURSOR_HEADER] = page.next_cursor
    if page.is_changed is not None:
        found[CHANGED_HEADER] = "true" if page.is_changed else "false"
    return found


def wide_in(query: UsageQuery, current: Section) -> list[dict[str, Any]]:
    """What each column of a wide answer has. A null `group`: all groups that are not shown."""
    return [
        {
            "name": one.name,
            "measure": one.measure,
            "group": one.group and dict(zip(query.columns, map(cell_of, one.group), strict=True)),
        }
        for one in current.wide
    ]


def compared(query: UsageQuery, current: Section, before: Sequence[Section]) -> dict[str, Any]:
    """The range that this one is compared with, and the change; nothing if there is none."""
    if not before:
        return {}
    (previous,) = before
    rows = {
        "range": range_of(previous.covered),
        "rows": rows_of(previous.columns),
        "totals": previous.totals,
    }
    return {"previous": rows, "comparison": changes_of(query, current, previous)}


def state_of(reading: Reading) -> dict[str, Any]:
    """The state of the counters, the last members of the answer."""
    meta = reading.meta
    return {
        "complete_through": complete_through(meta),
        "history_from": iso_ms(meta.history_from_ms) if meta.history_from_ms else None,
        "refused": refusals(meta),
        "generation": reading.generation,
    }


def range_of(covered: Plan) -> dict[str, str]:
    """`counts_from`: only where the range begins later than asked, as its view lacks earlier events."""
    said = {"from": iso(covered.start_ms), "to": iso(covered.end_ms)}
    return said | {"counts_from": iso(covered.counts_from_ms)} if covered.counts_from_ms else said


def complete_through(meta: Meta) -> str | None:
    return iso_ms(meta.complete_through_ms) if meta.complete_through_ms else None
