"""The JSON objects of an answer of /v1/usage: the rows of a question, and the state of the counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.query.plan import Plan
from api.store.freshness import iso_ms, refusals
from api.store.reader import Reading
from api.usage.changes import changes_of
from api.usage.parameters import UsageQuery
from api.usage.render import rows_of
from api.usage.sections import Section
from schemas.store.layout import Meta
from schemas.units import iso


def object_of(query: UsageQuery, current: Section, before: Sequence[Section]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "range": range_of(current.covered),
        "granularity": query.step.name if query.step else "none",
        "tz": query.zone_name,
        "group_by": query.columns,
        "measures": {measure.name: measure.unit for measure in query.measures},
        "rows": rows_of(current.columns),
        "totals": current.totals,
    }
    if before:
        (previous,) = before
        found["previous"] = {
            "range": range_of(previous.covered),
            "rows": rows_of(previous.columns),
            "totals": previous.totals,
        }
        found["comparison"] = changes_of(query, current, previous)
    return found | {"estimates": current.estimates}


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
    return {"from": iso(covered.start_ms), "to": iso(covered.end_ms)}


def complete_through(meta: Meta) -> str | None:
    return iso_ms(meta.complete_through_ms) if meta.complete_through_ms else None
