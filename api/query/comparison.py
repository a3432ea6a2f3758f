"""The range that another one is compared with, and the change between the two. Pure.

The range that was *asked* for moves; only then is it limited to what is stored. A named month, quarter or
year, and a range with a step of the calendar, moves by that unit. Any other range between local midnights
moves by its number of local days, whatever a clock change makes of their hours. All else moves by the
time that elapses in it.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Final, NamedTuple

from api.query.measures import Number
from api.query.time_buckets import Step
from api.query.time_range import AskedRange, day_begun, shifted
from schemas.limits import DAY_MS

UNITS: Final = {
    "previous_week": (0, 7), "previous_month": (1, 0), "previous_year": (12, 0),
}  # fmt: skip
"""By how many months and days a comparison moves both bounds, however long the range is."""
KINDS: Final = ("previous", *UNITS)
LONGEST_MONTH_MS: Final = 31 * DAY_MS
EARLIEST_MS: Final = 0
LATEST_MS: Final = 4_102_444_800_000
"""1970 and 2100: bounds beyond have no counters, and a calendar may have no such day."""


def compared_range(kind: str, asked: AskedRange, step: Step | None, zone: tzinfo) -> AskedRange:
    """The range that `asked` is compared with. `kind`: one of KINDS."""
    asked = asked._replace(from_ms=_limited(asked.from_ms), to_ms=_limited(asked.to_ms))
    if kind in UNITS:
        months, days = UNITS[kind]
        return _moved(asked, zone, months=-months, days=-days)
    months = asked.months or (step.months if step else 0)
    if months:
        count = max(1, (asked.to_ms - asked.from_ms) // (months * LONGEST_MONTH_MS))
        while shifted(asked.to_ms, zone, months=-count * months) > asked.from_ms:
            count += 1
        return _moved(asked, zone, months=-count * months)
    between = local_days(asked.from_ms, asked.to_ms, zone)
    if between is not None:
        return _moved(asked, zone, days=-between)
    length_ms = asked.to_ms - asked.from_ms
    return AskedRange(asked.from_ms - length_ms, asked.from_ms)


def local_days(from_ms: int, to_ms: int, zone: tzinfo) -> int | None:
    """How many local days lie between two starts of local days; None if one is not the start of a day."""
    first, last = day_begun(from_ms, zone), day_begun(to_ms, zone)
    return None if first is None or last is None else (last - first).days


def _moved(asked: AskedRange, zone: tzinfo, *, months: int = 0, days: int = 0) -> AskedRange:
    return AskedRange(
        *(shifted(at_ms, zone, months=months, days=days) for at_ms in (asked.from_ms, asked.to_ms))
    )


def _limited(at_ms: int) -> int:
    return min(max(at_ms, EARLIEST_MS), LATEST_MS)


class MeasureChange(NamedTuple):
    """A measure in both periods. `change` is null if one of them is; `percent` also if the earlier is 0."""

    current: Number
    previous: Number
    change: Number
    percent: float | None


def change_of(current: Number, previous: Number) -> MeasureChange:
    if current is None or previous is None:
        return MeasureChange(current, previous, None, None)
    change = current - previous
    percent = None if not previous else 100 * change / abs(previous)
    return MeasureChange(current, previous, change, percent)
