"""The one rule of bounds: monotone, so that adjacent ranges add up, and exactly covered."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import (
    CLOSING,
    HOUR,
    MINUTE,
    QUARTER,
    SLACK_MS,
    SOURCES,
    TIERS,
    Tier,
    boundary,
    cover,
    finest_written,
    kept_from,
)

NOWS = st.integers(1_770_544_800_000, 1_770_544_800_000 + 3 * DAY_MS)
AGES = st.one_of(
    st.integers(-2 * HOUR_MS, 3 * HOUR_MS),
    st.integers(46 * HOUR_MS, 50 * HOUR_MS),
    st.integers(89 * DAY_MS, 92 * DAY_MS),
    st.integers(398 * DAY_MS, 402 * DAY_MS),
    st.integers(0, 3 * 365 * DAY_MS),
)
STEPS = st.sampled_from([MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS])


@given(NOWS, AGES, AGES)
def test_bounds_keep_their_order(now_ms: int, one: int, other: int) -> None:
    first, second = sorted((now_ms - one, now_ms - other))
    assert boundary(first, now_ms) <= boundary(second, now_ms)


@given(NOWS, AGES)
def test_a_bound_goes_up_by_less_than_a_bucket_of_its_age(now_ms: int, age: int) -> None:
    at_ms = now_ms - age
    assert 0 <= boundary(at_ms, now_ms) - at_ms < DAY_MS
    if age < MINUTE.kept_ms - HOUR_MS:
        assert boundary(at_ms, now_ms) - at_ms < MINUTE_MS
    elif age < QUARTER.kept_ms - HOUR_MS:
        assert boundary(at_ms, now_ms) - at_ms < 15 * MINUTE_MS
    elif age < HOUR.kept_ms - DAY_MS:
        assert boundary(at_ms, now_ms) - at_ms < HOUR_MS


@given(NOWS, AGES)
def test_a_bound_is_its_own_bound(now_ms: int, age: int) -> None:
    bound = boundary(now_ms - age, now_ms)
    assert boundary(bound, now_ms) == bound


@given(NOWS, AGES, AGES, STEPS)
def test_a_cover_is_gapless_and_made_of_kept_buckets(
    now_ms: int, one: int, other: int, step_ms: int
) -> None:
    start, end = sorted((boundary(now_ms - one, now_ms), boundary(now_ms - other, now_ms)))
    spans = cover(start, end, now_ms, step_ms)
    at = start
    for span in spans:
        assert span.start_ms == at
        assert span.start_ms < span.end_ms
        assert span.start_ms % span.tier.bucket_ms == 0
        assert span.end_ms % span.tier.bucket_ms == 0
        finest = next(t for t in TIERS if span.start_ms >= _kept_from(t, now_ms))
        assert span.tier.bucket_ms >= finest.bucket_ms
        assert span.tier.bucket_ms <= max(step_ms, finest.bucket_ms)
        at = span.end_ms
    assert at == end
    assert len(spans) <= 2 * len(TIERS)


def _kept_from(tier: Tier, now_ms: int) -> int:
    index = TIERS.index(tier)
    return 0 if tier is TIERS[-1] else kept_from(tier, TIERS[index + 1], now_ms)


@given(NOWS, AGES)
def test_what_may_be_read_was_written(now_ms: int, age: int) -> None:
    """Whatever tier a question at `now` may read an instant in, an event of that instant was
    written to it, though the broker's clock was ahead by the slack."""
    at_ms = now_ms - age
    for index, tier in enumerate(TIERS[:-1]):
        if at_ms >= _kept_from(tier, now_ms):
            assert finest_written(now_ms + SLACK_MS - at_ms) <= index


def test_an_id_is_of_one_tier_for_ever() -> None:
    """It is part of keys. The order of the tiers is that of their lengths."""
    assert {tier.name: tier.id for tier in TIERS} == {"1m": 0, "15m": 1, "1d": 2, "1h": 3}
    for tier, coarser in pairwise(TIERS):
        assert coarser.bucket_ms % tier.bucket_ms == 0
        assert coarser.kept_ms > tier.kept_ms
    for tier, finer in SOURCES.items():
        assert tier.chunk_ms % finer.chunk_ms == 0  # a chunk that is closed adds to one chunk
        assert finer in CLOSING
    assert TIERS[: len(CLOSING)] == CLOSING
