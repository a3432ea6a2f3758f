"""How old an event may be when Kafka appends it, and how far ahead its time may be. Pure."""

from __future__ import annotations

from typing import Final

from schemas.errors import InvalidEvent, Reason
from schemas.limits import AHEAD_MS_MAX
from schemas.tiers import TIERS
from schemas.units import duration

OLDEST_MS: Final = TIERS[-1].kept_ms
"""How far an event's time may lie before its append: as long as the coarsest tier keeps buckets."""


def check_age(field: str, at_ms: int, append_ms: int) -> None:
    """Raises InvalidEvent where a time is too far before or after the append."""
    age_ms = append_ms - at_ms
    if age_ms > OLDEST_MS:
        raise InvalidEvent(
            Reason.TOO_OLD,
            f"lies {duration(age_ms)} before the record's append, the limit is {duration(OLDEST_MS)}",
            field,
        )
    if -age_ms > AHEAD_MS_MAX:
        raise InvalidEvent(
            Reason.TOO_FAR_AHEAD,
            f"lies {duration(-age_ms)} after the record's append, the limit is {duration(AHEAD_MS_MAX)}",
            field,
        )
