"""The steps of a series, and the buckets into which they cut a range in a time zone. Pure.

A bucket begins where the step of the zone's wall clock changes: a day, week or month with its local
date, hours and minutes with a multiple of the step, or with the first instant after a gap in which that
multiple lies. Every offset of today's zones is a whole number of quarter-hours, and so is every change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from math import gcd
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.store.layout import Int64s
from schemas.tiers import QUARTER, floor_to
from schemas.units import EPOCH, ONE_MS, ms_to_instant


@dataclass(frozen=True)
class Step:
    """A length of buckets. Months and days differ: `length_ms` is the shortest, `longest_ms` the longest.
    `months`: a step of the calendar. `first_day`: of a week, its first day after Monday."""

    name: str
    length_ms: int
    longest_ms: int
    months: int = 0
    first_day: int = 0

    @property
    def is_week(self) -> bool:
        return self.length_ms == WEEK_MS


def _fixed(name: str, length_ms: int) -> Step:
    return Step(name, length_ms, length_ms)


WEEK_MS: Final = 7 * DAY_MS
YEARLY: Final = Step("1y", 365 * DAY_MS, 366 * DAY_MS, months=12)
QUARTERLY: Final = Step("1q", 90 * DAY_MS, 92 * DAY_MS, months=3)
MONTHLY: Final = Step("1mo", 28 * DAY_MS, 31 * DAY_MS, months=1)
WEEKLY: Final = _fixed("1w", WEEK_MS)
WEEKLY_FROM_SUNDAY: Final = Step("1w", WEEK_MS, WEEK_MS, first_day=6)
DAILY: Final = _fixed("1d", DAY_MS)
HOURLY: Final = _fixed("1h", HOUR_MS)
STEPS: Final = (
    *(_fixed(f"{n}m", n * MINUTE_MS) for n in (1, 5, 10, 15, 30)),
    HOURLY,
    *(_fixed(f"{n}h", n * HOUR_MS) for n in (3, 6, 12)),
    DAILY,
    WEEKLY,
    MONTHLY,
    QUARTERLY,
    YEARLY,
)
"""Shortest first. Weeks begin on Monday; `WEEKLY_FROM_SUNDAY` takes the place of `WEEKLY` on request."""

_THURSDAY_TO_MONDAY_DAYS: Final = 3
"""1970-01-01 was a Thursday, so (days + 3) // 7 changes on Mondays."""


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> tzinfo | None:
    """The zone of an IANA name, or None. Every name of UTC gives `datetime.UTC`."""
    if name in {"UTC", "Etc/UTC", "Z"}:
        return UTC
    return ZoneInfo(name) if name in _zone_names() else None


def zone_names() -> frozenset[str]:
    return _zone_names()


def starts_of(step: Step, zone: tzinfo, start_ms: int, end_ms: int) -> Int64s:
    """The starts of all buckets that overlap [start_ms, end_ms), ascending. The first may start before
    the range."""
    if start_ms >= end_ms:
        return np.empty(0, np.int64)
    if step.months and zone is UTC:
        first, last = (
            np.datetime64(at_ms, "ms").astype("datetime64[M]").astype(np.int64) // step.months
            for at_ms in (start_ms, end_ms - 1)
        )
        months = (np.arange(first, last + 1) * step.months).astype("datetime64[M]")
        starts: Int64s = months.astype("datetime64[ms]").astype(np.int64)
        return starts
    if zone is UTC or QUARTER.bucket_ms % step.length_ms == 0:
        origin_ms = (step.first_day - _THURSDAY_TO_MONDAY_DAYS) * DAY_MS if step.is_week else 0
        first_ms = floor_to(start_ms - origin_ms, step.length_ms) + origin_ms
        return np.arange(first_ms, end_ms, step.length_ms, dtype=np.int64)
    return _local_starts(step, zone, start_ms, end_ms)


def end_of(step: Step, zone: tzinfo, starts_ms: Int64s) -> int:
    """The end of the last of these buckets."""
    last_ms = int(starts_ms[-1])
    after = starts_of(step, zone, last_ms, last_ms + step.longest_ms + 2 * DAY_MS)
    return int(after[after > last_ms][0])


def fits(starts_ms: Int64s, bucket_ms: int) -> bool:
    """Whether no bucket of this length crosses one of these starts."""
    return not (starts_ms % bucket_ms).any()


def labels(at_ms: Int64s, zone: tzinfo) -> list[str]:
    """Of each instant ISO 8601, with the zone's offset at that instant.

    The parts of a label repeat, so each is made once: 0.8 us a label, not 9 us.
    """
    offsets_ms = _offsets_ms(zone, at_ms)
    days, clocks_ms = np.divmod(at_ms + offsets_ms, DAY_MS)
    parts = [_each(days, _date), _each(clocks_ms, _clock)]
    if zone is not UTC:
        parts.append(_each(offsets_ms, _offset))
        return list(map("".join, zip(*parts, strict=True)))
    return [f"{date}{clock}Z" for date, clock in zip(*parts, strict=True)]


def local_labels(at_ms: Int64s, zone: tzinfo, *, has_clock: bool) -> list[str]:
    """Of each instant the local date; `has_clock`: with hour and minute."""
    days, clocks_ms = np.divmod(wall_ms(at_ms, zone), DAY_MS)
    if not has_clock:
        return list(_each(days, _date))
    parts = _each(days, _date), _each(clocks_ms, _clock)
    return [f"{date} {clock[1:6]}" for date, clock in zip(*parts, strict=True)]


def _each(values: Int64s, text: Callable[[int], str]) -> Iterator[str]:
    """The text of each value. Equal values share one."""
    found, place = np.unique(values, return_inverse=True)
    texts = [text(value) for value in found.tolist()]
    return map(texts.__getitem__, place.tolist())


def _date(day: int) -> str:
    return (EPOCH + timedelta(days=day)).date().isoformat()


def _clock(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, SECOND_MS)
    text = f"T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{ms:03}" if ms else text


def _offset(offset_ms: int) -> str:
    """Such as +05:45."""
    at = EPOCH.astimezone(timezone(timedelta(milliseconds=offset_ms)))
    return at.isoformat(timespec="seconds")[19:]


def local_ms(at: datetime, zone: tzinfo) -> int:
    """The instant of a local time: the first if there are two, and after the gap if there is none."""
    aware = at.replace(tzinfo=zone).astimezone(UTC)
    return -((EPOCH - aware) // ONE_MS)


def _local_starts(step: Step, zone: tzinfo, start_ms: int, end_ms: int) -> Int64s:
    # Two days more than the longest bucket, so that the bucket with `start_ms` starts inside.
    grid_ms = gcd(step.length_ms, QUARTER.bucket_ms)
    from_ms = floor_to(start_ms - step.longest_ms - 2 * DAY_MS, grid_ms)
    at_ms = np.arange(from_ms, end_ms, grid_ms, dtype=np.int64)
    wall = wall_ms(at_ms, zone)
    number = _numbers(step, wall)
    if step.length_ms < DAY_MS:
        # An hour that a clock shows twice is two buckets, if the clock is set back to its start.
        begins = (np.diff(number) != 0) | (wall[1:] % step.length_ms == 0)
    else:
        # A clock that is set back across midnight does not start the previous day a second time.
        begins = np.diff(np.maximum.accumulate(number)) > 0
    starts = at_ms[1:][begins]
    first = max(0, int(np.searchsorted(starts, start_ms, side="right")) - 1)
    inside: Int64s = starts[first:]
    return inside


def _numbers(step: Step, wall: Int64s) -> Int64s:
    """The number of the step in which each wall clock is."""
    if step.months:
        months: Int64s = wall.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        return months // step.months
    if step.is_week:
        return (wall // DAY_MS + _THURSDAY_TO_MONDAY_DAYS - step.first_day) // 7
    return wall // step.length_ms


def wall_ms(at_ms: Int64s, zone: tzinfo) -> Int64s:
    """What the clock of the zone shows at each instant, as ms since its own 1970."""
    walls: Int64s = at_ms + _offsets_ms(zone, at_ms)
    return walls


def _offsets_ms(zone: tzinfo, at_ms: Int64s) -> Int64s:
    """Offsets from UTC. Looked up for every instant only on days on which the offset changes."""
    if zone is UTC:
        return np.zeros_like(at_ms)
    days, place = np.unique(at_ms // DAY_MS, return_inverse=True)
    edges = np.unique(np.concatenate([days, days + 1]))
    known = np.array([_offset_ms(zone, day * DAY_MS) for day in edges.tolist()], np.int64)
    first = np.searchsorted(edges, days)
    offsets: Int64s = known[first][place]
    changing = np.flatnonzero((known[first] != known[first + 1])[place])
    offsets[changing] = [_offset_ms(zone, at) for at in at_ms[changing].tolist()]
    return offsets


def _offset_ms(zone: tzinfo, at_ms: int) -> int:
    offset = ms_to_instant(at_ms).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // ONE_MS
