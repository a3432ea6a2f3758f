"""Parses the bounds of a range, as people write them. Pure.

A bound is `2026-02-08T10:00:00Z`, `2026-02-08` (its start), seconds or milliseconds since 1970,
`now`, `now-7d`, or the name of a period (its start). If `from` is a period and there is no `to`, the
range is that period, but not beyond now.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final

from api.query.time_buckets import local_ms
from schemas.errors import OdometerError
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.units import EPOCH, ONE_MS, ms_to_instant

DEFAULT_RANGE_MS: Final = DAY_MS
UNITS_MS: Final = {
    "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS
}  # fmt: skip
PERIODS: Final = (
    "this_hour", "today", "yesterday", "this_week", "last_week", "this_month", "last_month",
    "this_year", "last_year",
)  # fmt: skip
ALLOWED: Final = (
    "an RFC 3339 time such as 2026-02-08T10:00:00Z (in a URL, write + as %2B)",
    "a date such as 2026-02-08",
    "seconds or milliseconds since 1970",
    "now",
    f"now-N or now+N and a unit of {', '.join(UNITS_MS)}, such as now-7d",
    *PERIODS,
)
MILLISECONDS_FROM: Final = 10**11
"""A number from here on means milliseconds: as seconds it would be the year 5138."""

_ISO_8601: Final = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_RELATIVE: Final = re.compile(r"now(?:([+-])(\d{1,6})([smhdw]))?", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d{1,15}", re.ASCII)


class InvalidTime(OdometerError):
    """A bound that has none of the allowed forms."""


def parse_range(
    from_text: str | None, to_text: str | None, now_ms: int, zone: tzinfo
) -> tuple[int, int]:
    """Both bounds in ms. Raises InvalidTime with the name of the wrong bound, `from` or `to`."""
    to_ms = now_ms
    if from_text in PERIODS and to_text is None:
        from_ms, end_ms = period(from_text, now_ms, zone)
        return from_ms, min(end_ms, now_ms)
    if to_text is not None:
        to_ms = _bound("to", to_text, now_ms, zone)
    if from_text is None:
        return to_ms - DEFAULT_RANGE_MS, to_ms
    return _bound("from", from_text, now_ms, zone), to_ms


def iso_to_ms(text: str, zone: tzinfo) -> int | None:
    """ISO 8601 to ms, rounded up; in `zone` if it has no offset. None if it is not ISO 8601."""
    if not _ISO_8601.fullmatch(text):
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
        if instant.tzinfo is None:
            return local_ms(instant, zone)
    except (ValueError, OverflowError):
        return None  # a month 13, or a local time before the year 1
    return -((EPOCH - instant) // ONE_MS)


def period(name: str, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    """The start and end in ms of a period in PERIODS."""
    now = ms_to_instant(now_ms).astimezone(zone).replace(tzinfo=None)
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    month = day.replace(day=1)
    year = month.replace(month=1)
    week = day - timedelta(days=day.weekday())
    start, end = {
        "this_hour": (hour, hour + timedelta(hours=1)),
        "today": (day, day + timedelta(days=1)),
        "yesterday": (day - timedelta(days=1), day),
        "this_week": (week, week + timedelta(weeks=1)),
        "last_week": (week - timedelta(weeks=1), week),
        "this_month": (month, _next_month(month)),
        "last_month": ((month - timedelta(days=1)).replace(day=1), month),
        "this_year": (year, year.replace(year=year.year + 1)),
        "last_year": (year.replace(year=year.year - 1), year),
    }[name]
    return local_ms(start, zone), local_ms(end, zone)


def _next_month(month: datetime) -> datetime:
    return (month + timedelta(days=31)).replace(day=1)


def _bound(name: str, text: str, now_ms: int, zone: tzinfo) -> int:
    if text in PERIODS:
        return period(text, now_ms, zone)[0]
    relative = _RELATIVE.fullmatch(text)
    if relative:
        sign, number, unit = relative.groups()
        if sign is None:
            return now_ms
        by_ms = int(number) * UNITS_MS[unit]
        return now_ms - by_ms if sign == "-" else now_ms + by_ms
    if _NUMBER.fullmatch(text):
        number_of = int(text)
        return number_of if abs(number_of) >= MILLISECONDS_FROM else number_of * SECOND_MS
    at_ms = iso_to_ms(text, zone)
    if at_ms is None:
        raise InvalidTime(name)
    return at_ms
