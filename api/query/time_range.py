"""Parses the bounds of a range, as people write them. Pure.

A bound is `2026-02-08T10:00:00Z`, `2026-02-08` or `20260208` (its start), seconds or milliseconds since
1970, `now`, `now-7d`, or the name of a period (its start). If `from` is a period and there is no `to`, the
range is that period, but not beyond now.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from api.query.time_buckets import local_ms
from schemas.errors import OdometerError
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.units import EPOCH, ONE_MS, ms_to_instant

DEFAULT_RANGE_MS: Final = DAY_MS
UNITS_MS: Final = {
    "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS
}  # fmt: skip
UNITS_MONTHS: Final = {"mo": 1, "q": 3, "y": 12}
"""Units of the calendar: the same day and time of another month, or that month's last day."""
PERIOD_MONTHS: Final = {
    "this_month": 1, "last_month": 1, "this_quarter": 3, "last_quarter": 3, "this_year": 12,
    "last_year": 12,
}  # fmt: skip
PERIODS: Final = (
    "this_hour", "today", "yesterday", "this_week", "last_week", *PERIOD_MONTHS,
)  # fmt: skip
ALLOWED: Final = (
    "an RFC 3339 time such as 2026-02-08T10:00:00Z (in a URL, write + as %2B)",
    "a date such as 2026-02-08 or 20260208",
    "seconds (9 to 11 digits) or milliseconds (12 or 13 digits) since 1970, or 0",
    "now",
    f"now-N or now+N and a unit of {', '.join([*UNITS_MS, *UNITS_MONTHS])}, such as now-7d",
    *PERIODS,
)
MILLISECONDS_FROM: Final = 10**11
"""A number from here on means milliseconds: as seconds it would be the year 5138."""

_ISO_8601: Final = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_COMPACT: Final = re.compile(r"\d{8}(T\d{4}(\d\d)?(Z|[+-]\d\d(\d\d)?)?)?", re.ASCII)
_RELATIVE: Final = re.compile(r"now(?:([+-])(\d{1,6})(mo|[smhdwqy]))?", re.ASCII)
_NUMBER: Final = re.compile(r"0|-?\d{9,13}", re.ASCII)
"""Fewer digits are no time that has counters, but may be a date or a year. More would be microseconds."""


class InvalidTime(OdometerError):
    """A bound that has none of the allowed forms."""


class AskedRange(NamedTuple):
    """A half-open range. `months`: how long the month, quarter or year is that `from` names; else 0."""

    from_ms: int
    to_ms: int
    months: int = 0


def parse_range(
    from_text: str | None,
    to_text: str | None,
    now_ms: int,
    zone: tzinfo,
    first_day: int = 0,
    names: tuple[str, str] = ("from", "to"),
) -> AskedRange:
    """Both bounds in ms. `first_day`: of a week, after Monday. Raises InvalidTime with the name of the
    wrong bound, one of `names`."""
    to_ms = now_ms
    months = PERIOD_MONTHS.get(from_text or "", 0)
    if from_text in PERIODS and to_text is None:
        from_ms, end_ms = period(from_text, now_ms, zone, first_day)
        return AskedRange(from_ms, min(end_ms, now_ms), months)
    if to_text is not None:
        to_ms = _bound(names[1], to_text, now_ms, zone, first_day)
    if from_text is None:
        return AskedRange(to_ms - DEFAULT_RANGE_MS, to_ms)
    return AskedRange(_bound(names[0], from_text, now_ms, zone, first_day), to_ms, months)


def iso_to_ms(text: str, zone: tzinfo) -> int | None:
    """ISO 8601 to ms, rounded up; in `zone` if it has no offset. None if it is not ISO 8601."""
    if not _ISO_8601.fullmatch(text):
        return None
    return _instant(text, zone)


def period(name: str, now_ms: int, zone: tzinfo, first_day: int = 0) -> tuple[int, int]:
    """The start and end in ms of a period in PERIODS. `first_day`: of a week, after Monday."""
    now = _wall(now_ms, zone)
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    months = PERIOD_MONTHS.get(name)
    if months is not None:
        number = (day.year * 12 + day.month - 1) // months - name.startswith("last")
        start, end = (_month(number * months), _month((number + 1) * months))
        return local_ms(start, zone), local_ms(end, zone)
    week = day - timedelta(days=(day.weekday() - first_day) % 7)
    start, end = {
        "this_hour": (hour, hour + timedelta(hours=1)),
        "today": (day, day + timedelta(days=1)),
        "yesterday": (day - timedelta(days=1), day),
        "this_week": (week, week + timedelta(weeks=1)),
        "last_week": (week - timedelta(weeks=1), week),
    }[name]
    return local_ms(start, zone), local_ms(end, zone)


def shifted(at_ms: int, zone: tzinfo, *, months: int = 0, days: int = 0) -> int:
    """The instant at which the zone's wall clock shows the same time so many months and days away. Of a
    day that the month does not have, its last day. Raises OverflowError beyond the years 1 to 9999."""
    local = day_begun(at_ms, zone) or _wall(at_ms, zone)
    if months:
        first = _month(local.year * 12 + local.month - 1 + months)
        last = (_month(first.year * 12 + first.month) - timedelta(days=1)).day
        local = local.replace(year=first.year, month=first.month, day=min(local.day, last))
    return local_ms(local + timedelta(days=days), zone)


def day_begun(at_ms: int, zone: tzinfo) -> datetime | None:
    """The local day that begins at an instant, if one does: at the end of a gap if it has no midnight."""
    day = _wall(at_ms, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if local_ms(day, zone) == at_ms else None


def _wall(at_ms: int, zone: tzinfo) -> datetime:
    return ms_to_instant(at_ms).astimezone(zone).replace(tzinfo=None)


def _month(number: int) -> datetime:
    """The start of a month, counted from the year 0."""
    year, month = divmod(number, 12)
    if not 1 <= year <= 9999:
        raise OverflowError(year)
    return datetime(year, month + 1, 1)  # noqa: DTZ001 - a wall clock


def _bound(name: str, text: str, now_ms: int, zone: tzinfo, first_day: int) -> int:
    if text in PERIODS:
        return period(text, now_ms, zone, first_day)[0]
    if relative := _RELATIVE.fullmatch(text):
        sign, number, unit = relative.groups()
        if sign is None:
            return now_ms
        count = int(sign + number)
        if unit in UNITS_MS:
            return now_ms + count * UNITS_MS[unit]
        try:
            return shifted(now_ms, zone, months=count * UNITS_MONTHS[unit])
        except (OverflowError, ValueError) as error:
            raise InvalidTime(name) from error
    if _NUMBER.fullmatch(text):
        number_of = int(text)
        return number_of if abs(number_of) >= MILLISECONDS_FROM else number_of * SECOND_MS
    at_ms = _instant(text, zone) if _COMPACT.fullmatch(text) else iso_to_ms(text, zone)
    if at_ms is None:
        raise InvalidTime(name)
    return at_ms


def _instant(text: str, zone: tzinfo) -> int | None:
    """Of an ISO 8601 text in `zone`, unless it has an offset. None if there is no such time."""
    try:
        instant = datetime.fromisoformat(text.upper())
        if instant.tzinfo is None:
            return local_ms(instant, zone)
    except (ValueError, OverflowError):
        return None  # a month 13, or a local time before the year 1
    return -((EPOCH - instant) // ONE_MS)
