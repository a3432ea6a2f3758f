"""Our own event, as the contract has it (schemas/event/usage_event.py). Pure."""

from __future__ import annotations

from schemas.formats.body import Json
from schemas.formats.draft import Draft, Made


def read(payload: Json) -> list[Made]:
    """The fields as they are; an empty id is "none", any other is judged by the contract."""
    return [Draft(fields=payload, id=payload.get("id") or None)]
