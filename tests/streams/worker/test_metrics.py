"""The metrics of a worker say what it has counted, and agree with the tallies in Redis."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.store.layout import NO_POSITION
from streams.core.decode import Unreadable
from streams.core.ports import OffsetBounds, RefusalReason
from streams.worker.health import WorkerHealth
from streams.worker.metrics import WorkerMetrics, WorkerState
from streams.worker.process import FoldService
from streams.worker.settings import WorkerSettings
from tests.oracles.event_logs import NOW_MS
from tests.streams.worker.scripted import Scene, ScriptedLog, polled_event


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    found: float | None = metrics.registry.get_sample_value(name, labels)
    return found


async def test_a_commit_counts_events_duplicates_and_dead_letters() -> None:
    metrics = WorkerMetrics()
    scene = Scene(ScriptedLog({0: 0}), metrics=metrics)
    await scene.turns()
    records: list[Any] = [
        polled_event(0, NOW_MS - 700, model="no-such-model-7", typo=1, cost_usd=None),
        polled_event(1, NOW_MS - 700, id="evt-0"),  # a duplicate in the batch
        polled_event(2, NOW_MS - 200, kind="tts", provider="elevenlabs", model="m", cost_usd=None),
        Unreadable(3, NOW_MS, "rotted"),
    ]
    await scene.counts(*records)
    await scene.counts(polled_event(4, NOW_MS - 100, id="evt-0"))  # one that was counted before
    tallies = scene.store.state.tallies
    found = {
        (kind, outcome): value(metrics, "odometer_events_total", kind=kind, outcome=outcome)
        for kind, outcome in (
            ("llm", "counted"),
            ("tts", "counted"),
            ("llm", "duplicate"),
            ("tts", "duplicate"),
            ("unknown", "dead"),
        )
    }
    assert found == {
        ("llm", "counted"): 1,
        ("tts", "counted"): 1,
        ("llm", "duplicate"): tallies["duplicate"],
        ("tts", "duplicate"): None,
        ("unknown", "dead"): tallies["dead:unreadable"],
    }
    assert tallies["duplicate"] == 2
    assert value(metrics, "odometer_dead_letters_total", reason="unreadable") == 1
    assert value(metrics, "odometer_unknown_fields_total") == 1  # typo
    assert value(metrics, "odometer_unpriced_events_total") == 2
    assert value(metrics, "odometer_append_to_visible_seconds_count") == 2
    assert value(metrics, "odometer_append_to_visible_seconds_bucket", le="0.25") == 1
    assert value(metrics, "odometer_append_to_visible_seconds_bucket", le="1") == 2
    assert value(metrics, "odometer_commit_size_events_sum") == 2
    assert value(metrics, "odometer_commit_duration_seconds_count") == 2


def test_the_state_has_lag_freshness_and_refusals() -> None:
    health = WorkerHealth(complete_ms={0: 5000}, committed_ms={0: 6000})
    health.refuse(3, RefusalReason.OTHER_LOG, "another log")
    partitions = health.partitions({0: 10, 1: -1}, {0: OffsetBounds(0, 12), 1: OffsetBounds(7, 9)})
    metrics = WorkerMetrics()
    metrics.watch(lambda: WorkerState("refused", partitions, {"other_log": len(health.reasons)}))
    head = "odometer_worker_partition_"
    assert value(metrics, f"{head}lag_records", partition="0") == 2
    assert value(metrics, f"{head}lag_records", partition="1") == 2
    assert value(metrics, f"{head}complete_through_timestamp_seconds", partition="0") == 5
    assert value(metrics, f"{head}last_commit_timestamp_seconds", partition="0") == 6
    assert value(metrics, f"{head}end_offset", partition="1") == 9
    assert value(metrics, "odometer_worker_refused_partitions", reason="other_log") == 1
    assert value(metrics, "odometer_worker_refused_partitions", reason="keys_evicted") == 0
    assert value(metrics, "odometer_worker_state", state="refused") == 1
    health.go_on(3)
    assert not health.refused
    assert not health.reasons


def test_a_worker_that_waits_outside_the_group_says_why_and_claims_no_partition() -> None:
    fold = FoldService(WorkerSettings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1"))
    fold.worker = Scene(ScriptedLog({0: 0})).worker  # it counted until Redis evicted
    fold.refusal = RefusalReason.KEYS_EVICTED, "evicted"
    refused = "odometer_worker_refused_partitions"
    assert value(fold.metrics, "odometer_worker_state", state="refused") == 1
    assert value(fold.metrics, refused, reason="keys_evicted") == 1
    assert value(fold.metrics, refused, reason="other_log") == 0


@pytest.mark.parametrize(
    ("position", "lag"),
    [(NO_POSITION, 5), (3, 5), (7, 3), (10, 0), (12, 0)],
)
def test_lag_counts_what_the_log_holds_and_is_never_negative(position: int, lag: int) -> None:
    assert OffsetBounds(5, 10).lag(position) == lag
