"""Labels of buckets: those of the standard library, in any zone, with few look-ups of offsets."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.query import time_buckets
from api.query.time_buckets import labels, local_labels
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import DAY, QUARTER
from schemas.units import iso, ms_to_instant
from tests.api.counters import NOW_MS

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
