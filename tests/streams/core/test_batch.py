"""When a batch is due, and how many records make it full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.batch import FETCH_MS, LOAD_RECORDS, RECORDS_MIN, Batch, Pace, Policy, first_pace
from streams.core.ports import PartitionBatch
from tests.simulation.log import PolledRecord

POLICY = Policy(records_max=20_000, vectors_max=10_000, bytes_max=1000, age_ms_min=50)
PACE = first_pace(POLICY)


def full_at(records: int) -> Pace:
    return PACE._replace(records=records)


def polled(*values: bytes, partition: int = 0, end: int = 9) -> PartitionBatch:
    return PartitionBatch(partition, end, [PolledRecord(i, 0, v, ()) for i, v in enumerate(values)])


def test_an_empty_batch_is_never_due_and_waits_for_the_next_pass() -> None:
    assert not Batch().is_due(full_at(1), 10**9)
    assert Batch().wait_ms(PACE, 10**9, 200) == 200


def test_a_batch_is_due_by_count_by_bytes_or_by_age() -> None:
    batch = Batch()
    batch.add([polled(b"a", b"b")], {0: -1}, 100, 100)
    assert not batch.is_due(full_at(3), 149)
    assert batch.wait_ms(PACE, 130, 200) == 20
    assert batch.is_due(full_at(3), 150)
    assert batch.is_due(full_at(2), 100)
    batch.add([polled(b"c" * 1000)], {0: -1}, 120, 120)
    assert batch.is_due(full_at(99), 120)


def test_what_came_during_a_long_commit_is_due_as_soon_as_the_rest_of_it_is_polled() -> None:
    batch = Batch()
    batch.add([PartitionBatch(0, 9, [PolledRecord(0, 130, b"a", ())])], {0: -1}, 100, 300)
    assert not batch.is_due(full_at(3), 304)
    assert batch.wait_ms(PACE, 300, 200) == POLICY.gather_ms
    assert batch.is_due(full_at(3), 305)


def test_what_was_appended_just_now_or_by_a_clock_that_is_ahead_waits_its_time() -> None:
    for appended_ms in (300, 900):
        batch = Batch()
        batch.add(
            [PartitionBatch(0, 9, [PolledRecord(0, appended_ms, b"a", ())])], {0: -1}, 100, 300
        )
        assert not batch.is_due(full_at(3), 349)
        assert batch.is_due(full_at(3), 350)


def test_nothing_waited_before_the_poll_before() -> None:
    batch = Batch()
    batch.add([polled(b"a")], {0: -1}, 270, 300)
    assert not batch.is_due(full_at(3), 319)
    assert batch.is_due(full_at(3), 320)


def test_a_clock_that_is_set_back_holds_up_nothing() -> None:
    batch = Batch()
    batch.add([polled(b"a")], {0: -1}, 100_000, 100_000)
    assert batch.wait_ms(PACE, 40_000, 200) == POLICY.age_ms_min
    assert not batch.is_due(full_at(3), 100_049)
    assert batch.is_due(full_at(3), 40_050)


def test_markers_alone_make_a_batch_so_that_the_position_passes_them() -> None:
    batch = Batch()
    batch.add([polled(end=5)], {0: 3}, 100, 100)
    assert (batch.parts[0].start, batch.parts[0].end) == (3, 5)
    assert batch.is_due(full_at(9), 150)


def test_what_is_polled_of_a_partition_that_is_not_counted_is_dropped() -> None:
    batch = Batch()
    batch.add([polled(b"a", partition=7)], {0: 3}, 100, 100)
    assert not batch.parts


@given(st.integers(0, 50_000), st.integers(0, 50_000), st.integers(0, 10**6))
def test_the_records_of_a_batch_stay_in_their_bounds(full: int, records: int, vectors: int) -> None:
    before = full_at(min(max(full, RECORDS_MIN), 20_000))
    assert RECORDS_MIN <= before.next(records, vectors, 5).records <= 20_000


def test_the_records_settle_where_a_commit_makes_about_the_most_rows() -> None:
    pace = PACE
    seen = []
    for _ in range(60):
        vectors = 8 * pace.records  # each record is of eight series of its own
        seen.append(vectors)
        pace = pace.next(pace.records, vectors, 5)
    assert max(seen) <= 1.5 * POLICY.vectors_max
    assert min(seen[10:]) >= 0.6 * POLICY.vectors_max


def test_small_live_batches_do_not_change_when_a_batch_is_full() -> None:
    assert full_at(5000).next(3, 36, 5).records == 5000


def test_a_policy_of_few_records_is_kept() -> None:
    assert first_pace(Policy(records_max=7)).records == 7


@pytest.mark.parametrize(
    ("took_ms", "age_ms"),
    [
        (0, 50),
        (12, 50),
        (20, 80),
        (43, 172),
        (44, 176),
        (45, 175),
        (100, 120),
        (170, 50),
        (2000, 50),
    ],
)
def test_a_batch_waits_four_commits_within_the_promised_freshness(
    took_ms: int, age_ms: int
) -> None:
    assert PACE.next(600, 6000, took_ms).age_ms == age_ms


@given(st.integers(0, 1000))
def test_an_idle_batch_waits_no_longer_if_its_commit_is_slow(took_ms: int) -> None:
    assert PACE.next(LOAD_RECORDS - 1, 100, took_ms).age_ms == POLICY.age_ms_min


@given(st.integers(0, 170))
def test_a_record_is_visible_in_time_if_the_next_commit_takes_as_long(took_ms: int) -> None:
    age_ms = PACE.next(600, 6000, took_ms).age_ms
    assert age_ms + took_ms + FETCH_MS <= POLICY.visible_ms_max


@given(st.integers(0, 10_000), st.integers(0, 3000))
def test_without_a_promise_a_batch_never_waits_longer(took_ms: int, age_ms: int) -> None:
    pace = first_pace(Policy(age_ms_min=age_ms, visible_ms_max=0))
    assert pace.next(600, 6000, took_ms).age_ms == age_ms


def test_a_poll_may_wait_as_long_as_the_batch() -> None:
    batch = Batch()
    batch.add([polled(b"a")], {0: -1}, 100, 100)
    pace = PACE.next(600, 6000, 43)
    assert batch.wait_ms(pace, 100, 200) == 172
    assert not batch.is_due(pace, 271)
    assert batch.is_due(pace, 272)
