"""The range that is compared with: whole months, local days over a change of clock, or the same time."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from api.query.comparison import change_of, compared_range
from api.query.time_buckets import STEPS
from api.query.time_range import parse_range
from schemas.units import instant_to_ms, iso
from tests.api.counters import NOW_MS

STEP = {step.name: step for step in STEPS}


@pytest.mark.parametrize(
    ("bounds", "zone", "step", "kind", "expected"),
    [
        # A named period moves by its unit, also before it is over.
        (("last_month", None), "UTC", None, "previous", "2025-12-01T00:00:00Z/2026-01-01T00:00:00Z"),
        (("this_month", None), "UTC", "1d", "previous", "2026-01-01T00:00:00Z/2026-01-08T12:02:03.456Z"),
        (("last_quarter", None), "UTC", None, "previous", "2025-07-01T00:00:00Z/2025-10-01T00:00:00Z"),
        (("this_year", None), "UTC", None, "previous", "2025-01-01T00:00:00Z/2025-02-08T12:02:03.456Z"),
        (("last_month", "now"), "UTC", None, "previous", "2025-11-01T00:00:00Z/2025-12-08T12:02:03.456Z"),
        # So does a range with a step of the calendar. 31 January has no day like it in February.
        (("2025-11-01", "2026-02-01"), "UTC", "1mo", "previous", "2025-08-01T00:00:00Z/2025-11-01T00:00:00Z"),
        (("2026-01-01", "2026-02-01"), "UTC", "1q", "previous", "2025-10-01T00:00:00Z/2025-11-01T00:00:00Z"),
        (("2025-03-01", "2025-03-31"), "UTC", "1mo", "previous", "2025-02-01T00:00:00Z/2025-02-28T00:00:00Z"),
        # Local days, with a clock change among them: 30 March 2025 had 23 hours in Berlin.
        (("2025-03-30", "2025-04-06"), "Europe/Berlin", "1d", "previous", "2025-03-22T23:00:00Z/2025-03-29T23:00:00Z"),
        (("2025-04-06", "2025-04-13"), "Europe/Berlin", None, "previous", "2025-03-29T23:00:00Z/2025-04-05T22:00:00Z"),
        # Santiago's 7 September 2025 began at 01:00.
        (("2025-09-07", "2025-09-08"), "America/Santiago", None, "previous", "2025-09-06T04:00:00Z/2025-09-07T04:00:00Z"),
        (("yesterday", None), "UTC", None, "previous", "2026-02-06T00:00:00Z/2026-02-07T00:00:00Z"),
        # All else moves by its own length.
        (("now-6h", None), "UTC", "1h", "previous", "2026-02-08T00:02:03.456Z/2026-02-08T06:02:03.456Z"),
        (("2026-02-01", "2026-02-02"), "Asia/Tokyo", None, "previous_week", "2026-01-24T15:00:00Z/2026-01-25T15:00:00Z"),
        (("today", None), "UTC", None, "previous_month", "2026-01-08T00:00:00Z/2026-01-08T12:02:03.456Z"),
        (("2024-02-29", "2024-03-01"), "UTC", None, "previous_year", "2023-02-28T00:00:00Z/2023-03-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_the_asked_range_moves(
    bounds: tuple[str, str | None], zone: str, step: str | None, kind: str, expected: str
) -> None:
    tz = UTC if zone == "UTC" else ZoneInfo(zone)
    asked = parse_range(*bounds, NOW_MS, tz)
    found = compared_range(kind, asked, STEP[step] if step else None, tz)
    assert f"{iso(found.from_ms)}/{iso(found.to_ms)}" == expected


def test_bounds_far_away_are_no_error() -> None:
    asked = parse_range("0001-01-01", "9999-12-31", NOW_MS, UTC)
    for step in (None, STEP["1mo"], STEP["1y"]):
        for kind in ("previous", "previous_year"):
            assert compared_range(kind, asked, step, UTC).from_ms < NOW_MS


def test_a_change_is_null_where_something_is_unknown() -> None:
    assert change_of(3, 1) == (3, 1, 2, 200.0)
    assert change_of(1, 4) == (1, 4, -3, -75.0)
    assert change_of(1, 0) == (1, 0, 1, None)
    assert change_of(None, 4) == (None, 4, None, None)
    assert change_of(4, None) == (4, None, None, None)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("20251129", "2025-11-29T00:00:00+00:00"),
        ("20251129T101500Z", "2025-11-29T10:15:00+00:00"),
        ("0", "1970-01-01T00:00:00+00:00"),
        ("1770508800", "2026-02-08T00:00:00+00:00"),
        ("1770508800000", "2026-02-08T00:00:00+00:00"),
        ("now-1mo", "2026-01-08T12:02:03.456000+00:00"),
        ("now-1q", "2025-11-08T12:02:03.456000+00:00"),
        ("now-2y", "2024-02-08T12:02:03.456000+00:00"),
        ("now-30m", "2026-02-08T11:32:03.456000+00:00"),
        ("this_quarter", "2026-01-01T00:00:00+00:00"),
        ("last_year", "2025-01-01T00:00:00+00:00"),
    ],
)
def test_bounds_as_people_write_them(text: str, at: str) -> None:
    assert parse_range(text, "now", NOW_MS, UTC).from_ms == instant_to_ms(
        datetime.fromisoformat(at)
    )


def test_weeks_begin_on_the_day_that_was_asked_for() -> None:
    """8 February 2026 was a Sunday."""
    found = [
        iso(parse_range(name, "now", NOW_MS, UTC, first_day).from_ms)[:10]
        for name in ("this_week", "last_week")
        for first_day in (0, 6)
    ]
    assert found == ["2026-02-02", "2026-02-08", "2026-01-26", "2026-02-01"]
