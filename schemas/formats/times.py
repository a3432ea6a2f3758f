"""Times of answers: one that cannot be right becomes that of receipt, and is reported. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from schemas.event.event_struct import parse_instant
from schemas.formats.body import AT_MS_MAX, TEXT_CHARS_MAX, Json
from schemas.limits import AHEAD_MS_MAX, SECOND_MS
from schemas.units import instant_to_ms, iso, seconds_to_ms

IMPOSSIBLE: Final = "impossible"
"""Of a time that is none, such as one in ms where seconds are meant."""
FIRST_MS: Final = 1_420_070_400_000
"""2015-01-01. A time before it is a mistake (0, or seconds read as ms): no vendor sold tokens then."""
NO_TIME: Final = "time (impossible)"
"""The name under which a time that cannot be right is reported."""


def instant(holder: Json, key: str) -> str | None:
    """Decimal seconds since 1970, or RFC 3339 text, to RFC 3339 text (to the ms, half-even).

    `IMPOSSIBLE` for any other value: a time alone never costs an answer its usage.
    """
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return value[:TEXT_CHARS_MAX] or None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return IMPOSSIBLE
    seconds = Decimal(value)
    if not seconds.is_finite() or not 0 <= seconds <= AT_MS_MAX // SECOND_MS:
        return IMPOSSIBLE
    return iso(seconds_to_ms(seconds))


def is_possible(time: object, received_ms: int) -> bool:
    """Whether something can have happened then, seen from the receipt."""
    try:
        at = parse_instant(time)
    except ValueError:
        return False
    at_ms = instant_to_ms(at)  # type: ignore[arg-type]
    return FIRST_MS <= at_ms <= received_ms + AHEAD_MS_MAX - SECOND_MS
