"""The rows of an answer, held by column, against the same computed row by row, whatever the sums are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.query.plan import DistinctValues
from api.query.rows import OTHERS, RowColumns, filled, in_order, limited, running
from schemas.catalog.sketches import Distinct

GROUPS = (("a",), ("b",), ("c",), ("d",))
BUCKETS = 5
HUGE = 2**70

Plain = dict[tuple[int, int], list[Any]]
"""The sums of a group's bucket."""


@st.composite
def lines(draw: st.DrawFn) -> RowColumns:
    """Some buckets of some groups, two sums each: of 64 bits, or larger ones as objects."""
    places = st.tuples(st.integers(0, len(GROUPS) - 1), st.integers(0, BUCKETS - 1))
    there = draw(st.lists(places, unique=True, max_size=len(GROUPS) * BUCKETS))
    is_huge = draw(st.booleans())
    number = st.integers(-HUGE, HUGE) if is_huge else st.integers(-(2**40), 2**40)
    sums = draw(st.lists(st.tuples(number, number), min_size=len(there), max_size=len(there)))
    columns = np.array(sums, object if is_huge else np.int64).reshape(len(there), 2).T
    group, bucket = (np.array([one[at] for one in there], np.int64) for at in (0, 1))
    return RowColumns(GROUPS, group, bucket, columns)


def plain_of(found: RowColumns) -> Plain:
    each = zip(found.group.tolist(), found.bucket.tolist(), found.sums.T.tolist(), strict=True)
    plain: Plain = {(group, bucket): sums for group, bucket, sums in each}
    assert len(plain) == len(found), "a group's bucket has one line"
    return plain


ranks = st.permutations(range(len(GROUPS))).map(lambda own: np.array([*own, len(GROUPS)]))


@given(lines(), ranks, st.integers(1, len(GROUPS)))
def test_groups_beyond_the_limit_make_one_whose_sums_are_theirs(
    found: RowColumns, rank: np.ndarray, limit: int
) -> None:
    want: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for (group, bucket), sums in plain_of(found).items():
        own = want[group if rank[group] < limit else OTHERS, bucket]
        own[:] = [own[0] + sums[0], own[1] + sums[1]]
    kept = limited(found, rank, limit)
    assert plain_of(kept) == want
    assert kept.totals == found.totals


@given(found=lines(), null=st.booleans())
def test_filled_lines_are_there_for_each_bucket_and_add_nothing(
    found: RowColumns, *, null: bool
) -> None:
    groups = np.unique(found.group)
    full = filled(found, groups, np.full(BUCKETS, null))
    before, plain = plain_of(found), plain_of(full)
    assert set(plain) == {(g, bucket) for g in groups.tolist() for bucket in range(BUCKETS)}
    assert all(sums == before.get(place, [0, 0]) for place, sums in plain.items())
    nulls = [] if full.is_null is None else np.flatnonzero(full.is_null).tolist()
    places = [*zip(full.group.tolist(), full.bucket.tolist(), strict=True)]
    assert {places[at] for at in nulls} == (set(plain) - set(before) if null else set())


@given(lines())
def test_running_sums_hold_all_earlier_buckets_of_their_group(found: RowColumns) -> None:
    before = plain_of(found)
    for (group, bucket), sums in plain_of(running(found)).items():
        own = [before[place] for place in before if place[0] == group and place[1] <= bucket]
        assert sums == [sum(one[term] for one in own) for term in (0, 1)]


@given(found=lines(), rank=ranks, back=st.booleans())
def test_lines_stand_by_time_and_then_by_rank(
    found: RowColumns, rank: np.ndarray, *, back: bool
) -> None:
    ordered = in_order(found, rank, is_back_in_time=back)
    keys = [*zip(ordered.bucket.tolist(), rank[ordered.group].tolist(), strict=True)]
    assert keys == sorted(keys, key=lambda key: (-key[0] if back else key[0], key[1]))
    assert plain_of(ordered) == plain_of(found)


# -- sets ------------------------------------------------------------------------------------------


@st.composite
def set_lines(draw: st.DrawFn) -> RowColumns:
    """As `lines`, of a set and a number; 0 is the empty set."""
    found = draw(lines())
    number = found.sums.tolist()[0]
    made = st.sampled_from((chats_of, users_of))
    make, values = draw(made), st.sets(st.integers(1, 30), max_size=12)
    levels = st.integers(0, 3)
    sets = [draw(st.one_of(st.just(0), st.builds(make, values, levels))) for _ in number]
    columns = np.zeros((2, len(number)), object)
    for place, (one, own) in enumerate(zip(number, sets, strict=True)):
        columns[0, place], columns[1, place] = one, own
    return RowColumns(found.groups, found.group, found.bucket, columns)


def chats_of(values: set[int], level: int) -> Distinct:
    """Spread over all digests, so that those of each level are there."""
    digests = np.array(sorted(one << 59 for one in values), np.uint64)
    return Distinct(digests[digests < (1 << (64 - level))] if level else digests, level)


def users_of(values: set[int], _level: int) -> DistinctValues:
    return DistinctValues(frozenset(map(str, values)))


def plainly(sets: Iterable[Any]) -> tuple[int, bool]:
    """How many there are in all of them, one after the other, and whether that is exact."""
    whole = sum(sets)
    if isinstance(whole, int):
        return whole, True
    return len(whole), getattr(whole, "is_exact", True)


@given(set_lines(), ranks, st.integers(1, len(GROUPS)))
def test_sets_of_groups_beyond_the_limit_make_one(
    found: RowColumns, rank: np.ndarray, limit: int
) -> None:
    sets: defaultdict[tuple[int, int], list[Any]] = defaultdict(list)
    for (group, bucket), (_, own) in plain_of(found).items():
        sets[group if rank[group] < limit else OTHERS, bucket].append(own)
    kept = limited(found, rank, limit)
    assert {place: plainly([own]) for place, (_, own) in plain_of(kept).items()} == {
        place: plainly(own) for place, own in sets.items()
    }
    assert plainly([found.totals[1]]) == plainly(found.sums[1].tolist())


@given(set_lines())
def test_a_running_set_holds_all_earlier_buckets_of_its_group(found: RowColumns) -> None:
    before = plain_of(found)
    for (group, bucket), (_, whole) in plain_of(running(found)).items():
        own = [before[place][1] for place in before if place[0] == group and place[1] <= bucket]
        assert plainly([whole]) == plainly(own)


def test_sets_of_all_buckets_make_one() -> None:
    members = np.empty((1, 2), object)
    members[0, :] = [DistinctValues(frozenset("xy")), DistinctValues(frozenset("yz"))]
    place = np.zeros(2, np.int64)
    both = RowColumns(GROUPS, place, np.array([0, 1]), members)
    assert [plainly([one]) for one in running(both).sums[0]] == [(2, True), (3, True)]
    groups, sums = both.by_group()
    assert groups.tolist() == [0]
    assert sums[0, 0].values == frozenset("xyz")
    assert both.totals == [DistinctValues(frozenset("xyz"))]
