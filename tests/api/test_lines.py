"""Lines of an answer by column against the same done line by line, whatever their sums are made of."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.lines import OTHERS, Lines, filled, in_order, limited, running
from api.query import Members

GROUPS = (("a",), ("b",), ("c",), ("d",))
BUCKETS = 5
HUGE = 2**70

Plain = dict[tuple[int, int], list[int]]
"""The sums of a group's bucket."""


@st.composite
def lines(draw: st.DrawFn) -> Lines:
    """Some buckets of some groups, two sums each: of 64 bits, or larger ones as objects."""
    places = st.tuples(st.integers(0, len(GROUPS) - 1), st.integers(0, BUCKETS - 1))
    there = draw(st.lists(places, unique=True, max_size=len(GROUPS) * BUCKETS))
    is_huge = draw(st.booleans())
    number = st.integers(-HUGE, HUGE) if is_huge else st.integers(-(2**40), 2**40)
    sums = draw(st.lists(st.tuples(number, number), min_size=len(there), max_size=len(there)))
    columns = np.array(sums, object if is_huge else np.int64).reshape(len(there), 2).T
    group, bucket = (np.array([one[at] for one in there], np.int64) for at in (0, 1))
    return Lines(GROUPS, group, bucket, columns)


def plain_of(found: Lines) -> Plain:
    each = zip(found.group.tolist(), found.bucket.tolist(), found.sums.T.tolist(), strict=True)
    plain: Plain = {(group, bucket): sums for group, bucket, sums in each}
    assert len(plain) == len(found), "a group's bucket has one line"
    return plain


ranks = st.permutations(range(len(GROUPS))).map(lambda own: np.array([*own, len(GROUPS)]))


@given(lines(), ranks, st.integers(1, len(GROUPS)))
def test_groups_beyond_the_limit_make_one_whose_sums_are_theirs(
    found: Lines, rank: np.ndarray, limit: int
) -> None:
    want: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for (group, bucket), sums in plain_of(found).items():
        own = want[group if rank[group] < limit else OTHERS, bucket]
        own[:] = [own[0] + sums[0], own[1] + sums[1]]
    kept = limited(found, rank, limit)
    assert plain_of(kept) == want
    assert kept.totals == found.totals


@given(lines(), st.booleans())
def test_filled_lines_are_there_for_each_bucket_and_add_nothing(found: Lines, null: bool) -> None:  # noqa: FBT001
    groups = np.unique(found.group)
    full = filled(found, groups, BUCKETS, is_null=null)
    before, plain = plain_of(found), plain_of(full)
    assert set(plain) == {(g, bucket) for g in groups.tolist() for bucket in range(BUCKETS)}
    assert all(sums == before.get(place, [0, 0]) for place, sums in plain.items())
    nulls = [] if full.is_null is None else np.flatnonzero(full.is_null).tolist()
    places = [*zip(full.group.tolist(), full.bucket.tolist(), strict=True)]
    assert {places[at] for at in nulls} == (set(plain) - set(before) if null else set())


@given(lines())
def test_running_sums_hold_all_earlier_buckets_of_their_group(found: Lines) -> None:
    before = plain_of(found)
    for (group, bucket), sums in plain_of(running(found)).items():
        own = [before[place] for place in before if place[0] == group and place[1] <= bucket]
        assert sums == [sum(one[term] for one in own) for term in (0, 1)]


@given(lines(), ranks, st.booleans())
def test_lines_stand_by_time_and_then_by_rank(found: Lines, rank: np.ndarray, back: bool) -> None:  # noqa: FBT001
    ordered = in_order(found, rank, is_back_in_time=back)
    keys = [*zip(ordered.bucket.tolist(), rank[ordered.group].tolist(), strict=True)]
    assert keys == sorted(keys, key=lambda key: (-key[0] if back else key[0], key[1]))
    assert plain_of(ordered) == plain_of(found)


def test_sets_add_up_as_sets() -> None:
    members = np.empty((1, 2), object)
    members[0, :] = [Members(frozenset("xy")), Members(frozenset("yz"))]
    place = np.zeros(2, np.int64)
    both = Lines(GROUPS, place, np.array([0, 1]), members)
    assert [len(one) for one in running(both).sums[0]] == [2, 3]
    groups, sums = both.by_group()
    assert groups.tolist() == [0]
    assert sums[0, 0].values == frozenset("xyz")
    assert both.totals == [Members(frozenset("xyz"))]
