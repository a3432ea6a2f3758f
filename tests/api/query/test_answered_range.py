"""A range with time but without a whole bucket is answered by the bucket that it lies in."""

from __future__ import annotations

import pytest
from hypothesis import given

from api.query.answered_range import answered_range
from api.query.plan import covered_range
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import DAY, floor_to
from tests.api import counters
from tests.api.counters import NOW_MS, Asked
from tests.api.query.test_query import moments


@given(moments(), moments())
def test_it_is_the_covered_range_or_the_bucket_around_it(one_ms: int, other_ms: int) -> None:
    one_ms, other_ms = sorted((one_ms, other_ms))
    from_ms, to_ms = answered_range(one_ms, other_ms, NOW_MS)
    assert (from_ms, to_ms) == counters.covering(Asked(one_ms, other_ms))
    assert covered_range(from_ms, to_ms, NOW_MS) == (
        from_ms,
        to_ms,
    )  # all that is asked later agrees
    if NOW_MS - DAY.kept_ms + DAY_MS < one_ms < other_ms <= NOW_MS:
        assert from_ms < to_ms


@pytest.mark.parametrize(
    ("ago_ms", "length_ms", "bucket_ms"),
    [
        (500 * DAY_MS, 3 * HOUR_MS, DAY_MS),
        (100 * DAY_MS, 20 * MINUTE_MS, HOUR_MS),
        (50 * DAY_MS, MINUTE_MS, 15 * MINUTE_MS),
        (HOUR_MS, 1, MINUTE_MS),
    ],
)
def test_a_short_range_of_long_ago(ago_ms: int, length_ms: int, bucket_ms: int) -> None:
    from_ms = floor_to(NOW_MS - ago_ms, bucket_ms) + bucket_ms // 3
    found = answered_range(from_ms, from_ms + length_ms, NOW_MS)
    assert found == (floor_to(from_ms, bucket_ms), floor_to(from_ms, bucket_ms) + bucket_ms)


@pytest.mark.parametrize(
    ("from_ms", "to_ms"),
    [
        (NOW_MS - DAY_MS, NOW_MS - DAY_MS),
        (NOW_MS, NOW_MS - DAY_MS),
        (0, DAY_MS),
        (NOW_MS + 50 * DAY_MS, NOW_MS + 60 * DAY_MS),
    ],
)
def test_a_range_without_time_that_is_kept_stays_empty(from_ms: int, to_ms: int) -> None:
    start_ms, end_ms = answered_range(from_ms, to_ms, NOW_MS)
    assert start_ms == end_ms
