"""Labels of buckets: those of the standard library, in any zone, with few look-ups of offsets."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.query import time_buckets
from api.query.time_buckets import STEPS, end_of, labels, local_labels, starts_of
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import DAY, QUARTER
from schemas.units import instant_to_ms, iso, ms_to_instant
from tests.api.counters import NOW_MS
from tests.oracles.usage_oracle import Asked, ends_at, starts_at

ZONES = [
    UTC,
    *map(
        ZoneInfo,
        ("Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca",
         "America/St_Johns", "Pacific/Apia"),
    ),
]  # fmt: skip
INSTANTS = st.lists(st.integers(NOW_MS - DAY.kept_ms, NOW_MS + DAY_MS), max_size=50)


def label(at_ms: int, zone: tzinfo) -> str:
    if zone is UTC:
        return iso(at_ms)
    text = ms_to_instant(at_ms).astimezone(zone).isoformat(timespec="milliseconds")
    return text.replace(".000", "", 1)


@given(INSTANTS, st.sampled_from(ZONES), st.sampled_from([1, 1000, MINUTE_MS, HOUR_MS]))
def test_labels_are_those_of_the_standard_library(
    instants: list[int], zone: tzinfo, of_ms: int
) -> None:
    at_ms = np.array(instants, np.int64) // of_ms * of_ms
    assert labels(at_ms, zone) == [label(at, zone) for at in at_ms.tolist()]
    for form, has_clock in (("%Y-%m-%d", False), ("%Y-%m-%d %H:%M", True)):
        assert local_labels(at_ms, zone, has_clock=has_clock) == [
            ms_to_instant(at).astimezone(zone).strftime(form) for at in at_ms.tolist()
        ]


@pytest.mark.parametrize("zone", ZONES)
def test_labels_of_five_years_look_up_few_offsets(
    monkeypatch: pytest.MonkeyPatch, zone: tzinfo
) -> None:
    """One a day, and each quarter-hour of a day on which the offset changes."""
    looked_up = list[int]()
    look_up = time_buckets._offset_ms

    def counted(zone: tzinfo, at_ms: int) -> int:
        looked_up.append(at_ms)
        return look_up(zone, at_ms)

    monkeypatch.setattr(time_buckets, "_offset_ms", counted)
    quarters = np.arange(NOW_MS - DAY.kept_ms, NOW_MS, QUARTER.bucket_ms, dtype=np.int64)
    found = labels(quarters, zone)
    days = DAY.kept_ms // DAY_MS
    assert len(looked_up) <= (0 if zone is UTC else days + 2 + 96 * 4 * 6)
    assert found == [label(at, zone) for at in quarters.tolist()]


STEPS_BY_NAME = {step.name: step for step in STEPS}
# Clocks change at these UTC times, by an hour, by half an hour, or over midnight; Kathmandu's never do.
CHANGES = {
    "America/Santiago": ("2025-09-07T04:00Z", "2026-04-05T03:00Z"),
    "Australia/Lord_Howe": ("2025-10-04T15:30Z", "2026-04-04T15:00Z"),
    "Pacific/Chatham": ("2025-09-27T14:00Z", "2026-04-04T14:00Z"),
    "Europe/Berlin": ("2025-10-26T01:00Z", "2026-03-29T01:00Z"),
    "Africa/Cairo": ("2025-10-30T21:00Z", "2026-04-23T22:00Z"),
    "Asia/Kathmandu": ("2026-01-01T00:00Z",),
}


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("name", [s.name for s in STEPS if s.length_ms <= 7 * DAY_MS])
def test_a_bucket_begins_where_the_step_of_the_wall_clock_changes(zone: str, name: str) -> None:
    for text in CHANGES[zone]:
        change_ms = instant_to_ms(datetime.fromisoformat(text))
        low_ms, high_ms = change_ms - 3 * HOUR_MS, change_ms + 27 * HOUR_MS
        asked = Asked(low_ms, high_ms, NOW_MS, name, ZoneInfo(zone))
        grid = range(low_ms, high_ms, min(5 * MINUTE_MS, STEPS_BY_NAME[name].length_ms))
        expected = sorted({starts_at(at_ms, asked) for at_ms in grid})
        found = starts_of(STEPS_BY_NAME[name], ZoneInfo(zone), low_ms, high_ms)
        assert found.tolist() == expected
        ends = [*expected[1:], ends_at(expected[-1], asked)]
        assert end_of(STEPS_BY_NAME[name], ZoneInfo(zone), found) == ends[-1]


@pytest.mark.parametrize(
    ("zone", "step", "from_", "expected"),
    [
        ("America/Santiago", "6h", "2025-09-06T22:00Z",
         ["2025-09-06T18:00:00-04:00", "2025-09-07T01:00:00-03:00", "2025-09-07T06:00:00-03:00"]),
        ("Australia/Lord_Howe", "1h", "2025-10-04T14:30Z",
         ["2025-10-05T01:00:00+10:30", "2025-10-05T02:30:00+11:00", "2025-10-05T03:00:00+11:00"]),
        ("Asia/Kathmandu", "10m", "2026-01-01T18:15Z",
         ["2026-01-02T00:00:00+05:45", "2026-01-02T00:10:00+05:45", "2026-01-02T00:20:00+05:45"]),
    ],
)  # fmt: skip
def test_starts_of_days_that_begin_late_and_of_odd_zones(
    zone: str, step: str, from_: str, expected: list[str]
) -> None:
    from_ms = instant_to_ms(datetime.fromisoformat(from_))
    starts = starts_of(STEPS_BY_NAME[step], ZoneInfo(zone), from_ms, from_ms + DAY_MS)
    assert labels(starts[:3], ZoneInfo(zone)) == expected
