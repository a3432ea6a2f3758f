"""The axis of Open WebUI's series, and the range that a series is compared with.

The axis is that of its server: it begins at the step of the wall clock that contains the start, and goes on
by the wall clock until the end, which is inclusive. So an hour that a clock leaves out is an empty entry,
and an hour that it shows twice is one. Bounds in milliseconds, which select nothing after a start and
everything before an end, still make an axis; one before 2020 or more than a day ahead is taken as now.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Final

import numpy as np

from api.openwebui.errors import BadRange
from api.openwebui.parameters import DailyParameters
from api.query.time_buckets import local_labels, local_ms, wall_ms
from schemas.limits import DAY_MS, MINUTE_MS, SECOND_MS
from schemas.store.layout import Int64s
from schemas.tiers import ceil_to, floor_to
from schemas.units import ms_to_instant

MILLISECONDS_FROM: Final = 10_000_000_000
"""A larger bound is milliseconds, for the axis."""
EARLIEST_MS: Final = 1_577_836_800_000
"""2020-01-01T00:00:00Z. A bound before is none that its server believes."""
LATEST_MS: Final = 4_102_444_800_000
"""2100: a comparison of later bounds moves as of this one. There is nothing to compare."""
BUCKETS_MAX: Final = 50_000
"""Limit for a filled series: five years by hour are 43,920 buckets, 2 MB if all are empty."""


def axis_of(asked: DailyParameters, now_ms: int) -> Int64s:
    """The buckets that are listed even if they are empty, as times of the wall clock. Raises BadRange."""
    if not (asked.start_date and asked.end_date):
        return np.empty(0, np.int64)
    return _axis(
        _believed(asked.start_date, now_ms),
        _believed(asked.end_date, now_ms),
        asked,
        inclusive_ms=1,
    )


def axis_before(from_ms: int, to_ms: int, asked: DailyParameters) -> Int64s:
    """The same of the range of `before`, which ends where the range itself begins."""
    minutes_ms = [ceil_to(at_ms, MINUTE_MS) for at_ms in (from_ms, to_ms)]
    return _axis(minutes_ms[0], minutes_ms[1], asked, inclusive_ms=0)


def labels_of(walls_ms: Int64s, asked: DailyParameters) -> list[str]:
    """Of each time of the wall clock the label of its bucket. A bucket begins later than its label says if
    the clock leaves out the time before."""
    floors = walls_ms - walls_ms % asked.step.length_ms
    return local_labels(floors, UTC, has_clock=asked.step.length_ms < DAY_MS)


def before(from_ms: int, to_ms: int, zone: tzinfo) -> tuple[int, int]:
    """The range that [from_ms, to_ms] is compared with, which ends where it begins.

    A range of a day or more moves by its number of local days, whatever a change of the clock makes of
    their hours; a shorter one by the time that elapses in it. Its last second is part of it.
    """
    from_ms, to_ms = (min(max(at_ms, 0), LATEST_MS) for at_ms in (from_ms, to_ms))
    walls = wall_ms(np.array([from_ms, to_ms], np.int64), zone).tolist()
    if walls[1] - walls[0] < DAY_MS - SECOND_MS:
        length_ms = to_ms - from_ms + SECOND_MS if from_ms < to_ms else 0
        return from_ms - length_ms, to_ms - length_ms
    days = -((walls[0] - walls[1]) // DAY_MS)
    moved = [_local_ms(wall - days * DAY_MS, zone) for wall in walls]
    return moved[0], moved[1]


def _axis(from_ms: int, to_ms: int, asked: DailyParameters, *, inclusive_ms: int) -> Int64s:
    step_ms = asked.step.length_ms
    first, last = wall_ms(np.array([from_ms, to_ms], np.int64), asked.zone).tolist()
    first = floor_to(first, step_ms)
    if (last - first) // step_ms > BUCKETS_MAX:
        raise BadRange(
            f"The range has more than {BUCKETS_MAX} buckets of {asked.step.name}: ask for a shorter"
            " one, or longer buckets"
        )
    return np.arange(first, last + inclusive_ms, step_ms, dtype=np.int64)


def _believed(bound: int, now_ms: int) -> int:
    """A bound in ms, as its server takes it for the axis."""
    at_ms = bound if bound > MILLISECONDS_FROM else bound * SECOND_MS
    return at_ms if EARLIEST_MS <= at_ms <= now_ms + DAY_MS else now_ms


def _local_ms(wall: int, zone: tzinfo) -> int:
    return local_ms(ms_to_instant(wall).replace(tzinfo=None), zone) if wall > 0 else 0
