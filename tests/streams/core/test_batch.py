"""When a batch is due, and how many records make it full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.batch import RECORDS_MIN, Batch, Policy
from streams.core.ports import PartitionBatch
from tests.simulation.log import PolledRecord

POLICY = Policy(records_max=20_000, vectors_max=10_000, bytes_max=1000, age_ms_max=50)


def polled(*values: bytes, partition: int = 0, end: int = 9) -> PartitionBatch:
    return PartitionBatch(partition, end, [PolledRecord(i, 0, v, ()) for i, v in enumerate(values)])


def test_an_empty_batch_is_never_due_and_waits_for_the_next_pass() -> None:
    assert not Batch().is_due(POLICY, 1, 10**9)
    assert Batch().wait_ms(POLICY, 10**9, 200) == 200


def test_a_batch_is_due_by_count_by_bytes_or_by_age() -> None:
    batch = Batch()
    batch.add([polled(b"a", b"b")], {0: -1}, 100, 100)
    assert not batch.is_due(POLICY, 3, 149)
    assert batch.wait_ms(POLICY, 130, 200) == 20
    assert batch.is_due(POLICY, 3, 150)
    assert batch.is_due(POLICY, 2, 100)
    batch.add([polled(b"c" * 1000)], {0: -1}, 120, 120)
    assert batch.is_due(POLICY, 99, 120)


def test_what_came_during_a_long_commit_is_due_as_soon_as_the_rest_of_it_is_polled() -> None:
    batch = Batch()
    batch.add([PartitionBatch(0, 9, [PolledRecord(0, 130, b"a", ())])], {0: -1}, 100, 300)
    assert not batch.is_due(POLICY, 3, 304)
    assert batch.wait_ms(POLICY, 300, 200) == POLICY.gather_ms
    assert batch.is_due(POLICY, 3, 305)


def test_what_was_appended_just_now_or_by_a_clock_that_is_ahead_waits_its_time() -> None:
    for appended_ms in (300, 900):
        batch = Batch()
        batch.add(
            [PartitionBatch(0, 9, [PolledRecord(0, appended_ms, b"a", ())])], {0: -1}, 100, 300
        )
        assert not batch.is_due(POLICY, 3, 349)
        assert batch.is_due(POLICY, 3, 350)


def test_nothing_waited_before_the_poll_before() -> None:
    batch = Batch()
    batch.add([polled(b"a")], {0: -1}, 270, 300)
    assert not batch.is_due(POLICY, 3, 319)
    assert batch.is_due(POLICY, 3, 320)


def test_a_clock_that_is_set_back_holds_up_nothing() -> None:
    batch = Batch()
    batch.add([polled(b"a")], {0: -1}, 100_000, 100_000)
    assert batch.wait_ms(POLICY, 40_000, 200) == POLICY.age_ms_max
    assert not batch.is_due(POLICY, 3, 100_049)
    assert batch.is_due(POLICY, 3, 40_050)


def test_markers_alone_make_a_batch_so_that_the_position_passes_them() -> None:
    batch = Batch()
    batch.add([polled(end=5)], {0: 3}, 100, 100)
    assert (batch.parts[0].start, batch.parts[0].end) == (3, 5)
    assert batch.is_due(POLICY, 9, 150)


def test_what_is_polled_of_a_partition_that_is_not_counted_is_dropped() -> None:
    batch = Batch()
    batch.add([polled(b"a", partition=7)], {0: 3}, 100, 100)
    assert not batch.parts


@given(st.integers(1, 50_000), st.integers(0, 50_000), st.integers(0, 10**6))
def test_a_goal_stays_in_its_bounds(goal: int, records: int, vectors: int) -> None:
    assert RECORDS_MIN <= POLICY.next_goal(min(goal, 20_000), records, vectors) <= 20_000 or (
        records < goal and vectors <= POLICY.vectors_max
    )


def test_the_goal_settles_where_a_commit_makes_about_the_most_additions() -> None:
    goal = POLICY.first_goal()
    seen = []
    for _ in range(60):
        vectors = 8 * goal  # each record is of eight series of its own
        seen.append(vectors)
        goal = POLICY.next_goal(goal, goal, vectors)
    assert max(seen) <= 1.5 * POLICY.vectors_max
    assert min(seen[10:]) >= 0.6 * POLICY.vectors_max


def test_small_live_batches_do_not_change_the_goal() -> None:
    assert POLICY.next_goal(5000, 3, 36) == 5000


def test_a_policy_of_few_records_is_kept() -> None:
    assert Policy(records_max=7).first_goal() == 7
