"""Histograms: how near a percentile is to the values that were seen."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.sketches import BINS, RELATIVE_ERROR, Histogram, bins_of, middle_of
from schemas.limits import DURATION_MS_MAX

VALUES = st.one_of(st.integers(0, 40), st.integers(0, DURATION_MS_MAX))


def histogram(values: list[int]) -> Histogram:
    return Histogram(np.bincount(bins_of(np.array(values, np.int64)), minlength=BINS))


@given(VALUES)
def test_a_bin_is_represented_by_what_it_can_have(value: int) -> None:
    (own,) = bins_of(np.array([value])).tolist()
    found = middle_of(own)
    assert abs(found - value) <= RELATIVE_ERROR * value
    assert bins_of(np.array([int(np.floor(found)), int(np.ceil(found))])).tolist().count(own)
    assert value > 29 or found == value


@given(st.lists(VALUES, min_size=1, max_size=5), st.sampled_from([0.5, 0.95, 0.999]))
def test_a_percentile_is_between_the_bins_of_the_smallest_and_the_largest(
    values: list[int], share: float
) -> None:
    one = histogram(values)
    assert one.count == len(values)
    assert one.has_one_bin == (len({*bins_of(np.array(values)).tolist()}) == 1)
    found = one.quantile(share)
    assert found is not None
    assert (1 - RELATIVE_ERROR) * min(values) <= found <= (1 + RELATIVE_ERROR) * max(values)
