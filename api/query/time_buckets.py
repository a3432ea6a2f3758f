"""The steps of a series, and the buckets into which they cut a range in a time zone. Pure.

A day, week or month of a zone begins with its local date. Every offset of today's zones is a whole
number of quarter-hours. So days with 23, 24 or 25 hours, and zones that are 30 or 45 minutes off, are
exact sums of quarter-hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store.layout import Int64s
from schemas.tiers import QUARTER, floor_to
from schemas.units import ONE_MS, iso, ms_to_instant


@dataclass(frozen=True)
class Step:
    """A length of buckets. Months and days differ: `length_ms` is the shortest, `longest_ms` the longest."""

    name: str
    length_ms: int
    longest_ms: int


MONTHLY: Final = Step("1mo", 28 * DAY_MS, 31 * DAY_MS)
WEEKLY: Final = Step("1w", 7 * DAY_MS, 7 * DAY_MS)
DAILY: Final = Step("1d", DAY_MS, DAY_MS)
HOURLY: Final = Step("1h", HOUR_MS, HOUR_MS)
STEPS: Final = (
    Step("1m", MINUTE_MS, MINUTE_MS),
    Step("5m", 5 * MINUTE_MS, 5 * MINUTE_MS),
    Step("15m", 15 * MINUTE_MS, 15 * MINUTE_MS),
    HOURLY,
    DAILY,
    WEEKLY,
    MONTHLY,
)
"""Shortest first. Weeks begin on Monday."""

LABELS_KEPT: Final = 20_000
"""Cached labels, 100 B each: twice the quarter-hours of 90 days."""

_THURSDAY_TO_MONDAY_DAYS: Final = 3
"""1970-01-01 was a Thursday, so (days + 3) // 7 changes on Mondays."""
_DAY_QUARTERS: Final = DAY_MS // QUARTER.bucket_ms


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


def longest_read_ms(step: Step | None, zone: tzinfo) -> int:
    """The longest stored bucket that never crosses a boundary of these steps."""
    if step is None:
        return DAY_MS
    return min(step.length_ms, DAY_MS if zone is UTC else QUARTER.bucket_ms)


def starts_of(step: Step, zone: tzinfo, start_ms: int, end_ms: int) -> Int64s:
    """The starts of all buckets that overlap [start_ms, end_ms), ascending. The first may start before
    the range."""
    if start_ms >= end_ms:
        return np.empty(0, np.int64)
    if step is MONTHLY and zone is UTC:
        first = np.datetime64(start_ms, "ms").astype("datetime64[M]")
        last = np.datetime64(end_ms - 1, "ms").astype("datetime64[M]")
        months = np.arange(first, last + 1).astype("datetime64[ms]")
        starts: Int64s = months.astype(np.int64)
        return starts
    if zone is UTC or step.length_ms <= QUARTER.bucket_ms:
        origin_ms = 4 * DAY_MS if step is WEEKLY else 0
        first_ms = floor_to(start_ms - origin_ms, step.length_ms) + origin_ms
        return np.arange(first_ms, end_ms, step.length_ms, dtype=np.int64)
    return _local_starts(step, zone, start_ms, end_ms)


@lru_cache(maxsize=LABELS_KEPT)
def label(at_ms: int, zone: tzinfo) -> str:
    """ISO 8601 with the zone's offset at that instant."""
    if zone is UTC:
        return iso(at_ms)
    text = ms_to_instant(at_ms).astimezone(zone).isoformat(timespec="milliseconds")
    return text.replace(".000", "", 1)


def local_ms(at: datetime, zone: tzinfo) -> int:
    """The instant of a local time: the first if there are two, and after the gap if there is none."""
    aware = at.replace(tzinfo=zone).astimezone(UTC)
    return -((datetime(1970, 1, 1, tzinfo=UTC) - aware) // ONE_MS)


def _local_starts(step: Step, zone: tzinfo, start_ms: int, end_ms: int) -> Int64s:
    # Two days more than the longest bucket, so that the bucket with `start_ms` starts inside.
    from_ms = floor_to(start_ms - step.longest_ms - 2 * DAY_MS, QUARTER.bucket_ms)
    quarters = np.arange(from_ms, end_ms, QUARTER.bucket_ms, dtype=np.int64)
    wall = quarters + _offsets_ms(zone, quarters)
    if step.length_ms < DAY_MS:
        starts = quarters[wall % step.length_ms == 0]
    else:
        days = wall // DAY_MS
        if step is WEEKLY:
            days = (days + _THURSDAY_TO_MONDAY_DAYS) // 7
        elif step is MONTHLY:
            days = wall.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        # A clock that is set back across midnight does not start the previous day a second time.
        days = np.maximum.accumulate(days)
        starts = quarters[1:][np.diff(days) > 0]
    first = max(0, int(np.searchsorted(starts, start_ms, side="right")) - 1)
    inside: Int64s = starts[first:]
    return inside


def _offsets_ms(zone: tzinfo, at_ms: Int64s) -> Int64s:
    """Offsets from UTC. Looked up for every instant only on days on which the offset changes."""
    offsets = np.empty_like(at_ms)
    edges = [*range(0, len(at_ms) - 1, _DAY_QUARTERS), len(at_ms) - 1]
    known = [_offset_ms(zone, int(at_ms[edge])) for edge in edges]
    for place in range(len(edges) - 1):
        low, high = edges[place], edges[place + 1]
        if known[place] == known[place + 1]:
            offsets[low : high + 1] = known[place]
        else:
            each = [_offset_ms(zone, at) for at in at_ms[low : high + 1].tolist()]
            offsets[low : high + 1] = each
    if len(edges) == 1:
        offsets[:] = known[0]
    return offsets


def _offset_ms(zone: tzinfo, at_ms: int) -> int:
    offset = ms_to_instant(at_ms).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // ONE_MS
