"""Our own event, read quickly: one that nothing is missing from, and that nobody need explain. Pure.

It accepts nothing that the full reading refuses and gives the same event (a test compares the two);
all else it leaves to that. A hundred events take 0.4 ms this way and 2.2 ms the full one.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

import msgspec

from schemas.event.event_struct import EventStruct
from schemas.formats.context import GIVEN, Context
from schemas.limits import EVENT_BYTES_MAX
from schemas.units import usd_to_nano

_ADDED: Final = attrgetter(*(name for name in GIVEN if name != "tenant"))
_NOTHING: Final = (None,) * (len(GIVEN) - 1)


def applies(format: str | None, context: Context) -> bool:  # noqa: A002
    """Whether a request adds nothing to its events but their tenant."""
    return format in {None, "neutral"} and _ADDED(context) == _NOTHING


def read(item: Any, context: Context) -> tuple[EventStruct, bytes] | None:  # noqa: ANN401  any JSON
    """The event and its record for the topic, or None where the full reading has to look."""
    try:
        wire = msgspec.convert(item, EventStruct)
        if wire.cost_usd is not None:
            usd_to_nano(wire.cost_usd)
        if context.tenant is not None:
            if wire.tenant not in {None, "", context.tenant}:
                return None
            wire.tenant = context.tenant
        elif context.writes is not None and not (wire.tenant and context.writes(wire.tenant)):
            return None
        record = msgspec.json.encode(wire)
    except (msgspec.ValidationError, ValueError, ArithmeticError, RecursionError):
        return None
    return (wire, record) if len(record) <= EVENT_BYTES_MAX else None
