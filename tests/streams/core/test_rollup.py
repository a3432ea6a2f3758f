"""Sorting and adding up against the plain way."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import ALL_CLOSED, SOURCES, TIERS, Closed
from streams.core.rollup import (
    Grouped,
    combined_key,
    duplicates,
    items_of,
    numbered,
    sorted_by,
    tiers_of,
)

KEYS = st.lists(st.integers(0, 5) | st.integers(0, 2**62), max_size=40)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 3 * DAY_MS) | st.integers(0, 3 * MINUTE_MS),
        st.integers(0, len(TIERS) - 1),
        st.integers(-(2**62), 2**62),
        st.integers(0, 70_000),
    ),
    max_size=40,
)


@given(KEYS)
def test_places_are_in_order_and_equal_ones_as_they_were(keys: list[int]) -> None:
    found = sorted_by(np.array(keys, np.int64)).tolist()
    assert found == sorted(range(len(keys)), key=keys.__getitem__)


@given(KEYS)
def test_numbers_are_those_of_the_different_values(keys: list[int]) -> None:
    values, number = numbered(np.array(keys, np.int64))
    assert values.tolist() == sorted(set(keys))
    assert values[number].tolist() == keys


@given(st.lists(st.integers(0, 3) | st.integers(0, 2**64 - 1), max_size=40), st.booleans())
def test_duplicates_are_all_but_the_first(digests: list[int], alike: bool) -> None:  # noqa: FBT001
    """`alike`: different ones that are equal in their low half."""
    if alike:
        digests = [digest << 40 & (1 << 64) - 1 for digest in digests]
    places = set(duplicates(np.array(digests, np.uint64)).tolist())
    seen: set[int] = set()
    for place, digest in enumerate(digests):
        assert (place in places) == (digest in seen)
        seen.add(digest)


@given(st.lists(st.tuples(*[st.integers(0, 2**40)] * 3), min_size=1, max_size=20))
def test_a_joint_key_has_the_order_of_its_columns(rows: list[tuple[int, ...]]) -> None:
    """Also where the product of their widths would not fit."""
    key = combined_key([np.array(column, np.int64) for column in zip(*rows, strict=True)])
    assert sorted_by(key).tolist() == sorted(range(len(rows)), key=rows.__getitem__)


@st.composite
def what_is_closed(draw: st.DrawFn) -> Closed:
    """Any, or all."""
    if draw(st.booleans()):
        return ALL_CLOSED
    minutes_ms = draw(st.sampled_from((0, HOUR_MS, DAY_MS, DAY_MS + HOUR_MS, 4 * DAY_MS)))
    quarters_ms = draw(st.sampled_from(range(0, minutes_ms + 1, DAY_MS)))
    return Closed(minutes_ms, quarters_ms)


@given(ROWS, what_is_closed())
def test_tiers_and_items_are_those_of_adding_one_by_one(
    rows: list[tuple[int, int, int, int, int]], closed: Closed
) -> None:
    rows.sort()
    columns = [np.array([row[n] for row in rows], np.int64) for n in range(5)]
    group, at_ms, finest_tier, value, item = columns
    grouped = Grouped(group, at_ms, finest_tier, value.reshape(-1, 1))
    sums = {tier.id: found for tier, found in tiers_of(grouped, TIERS, closed)}
    items = {tier.id: found for tier, found in items_of(grouped, item, TIERS, closed)}
    for index, tier in enumerate(TIERS):
        expected: Counter[tuple[int, int]] = Counter()
        counts: Counter[tuple[int, int, int]] = Counter()
        for one, at, from_, number, of in rows:
            whole_ms = closed.whole_before(tier, TIERS)
            is_open = whole_ms is not None and at >= whole_ms
            is_made = is_open and from_ <= TIERS.index(SOURCES[tier])
            if from_ <= index and not is_made:
                start = at - at % tier.bucket_ms
                expected[one, start] += number
                counts[one, start, of] += 1
        found = sums.get(tier.id)
        summed = [] if found is None else [c.tolist() for c in (found.group, found.at_ms)]
        keys = list(zip(*summed, strict=True))
        assert keys == sorted(expected)
        if found is not None:
            wrapped = [((expected[key] + 2**63) % 2**64) - 2**63 for key in keys]
            assert found.values[:, 0].tolist() == wrapped
            own = items[tier.id]
            seen = zip(own.group.tolist(), own.at_ms.tolist(), own.item.tolist(), strict=True)
            assert dict(zip(seen, own.times.tolist(), strict=True)) == counts
            assert len(own.group) == len(counts)
