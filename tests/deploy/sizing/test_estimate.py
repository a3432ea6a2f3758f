"""`odometer size`: its arithmetic, its errors, and what it prints."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.sizing import measured
from deploy.sizing.estimate import Load, Needs, checked, estimate, per_event
from schemas.catalog.views import ID_BUCKETS, REMEMBERED_MS, SLICE_MS
from schemas.errors import InvalidConfig

LOAD = Load(
    events_per_s=100,
    series=10_000,
    tenants=5,
    agent_models=1000,
    days=1830,
    event_bytes=700,
    kafka_days=90,
    replicas=3,
)


def size(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["size", *options])
    said = result.output if result.exception is None else f"{result.output}{result.exception}"
    return result.exit_code, said


def test_ids_are_those_of_the_window_and_of_one_more_slice() -> None:
    window_s = (REMEMBERED_MS + SLICE_MS) / 1000
    assert estimate(LOAD).ids_bytes == 100 * window_s * measured.ID_BYTES
    assert estimate(replace(LOAD, days=1)).ids_bytes == 100 * 86_400 * measured.ID_BYTES


def test_ids_take_more_where_the_sets_of_a_slice_are_too_large_to_be_compact() -> None:
    limit = measured.SET_ENTRIES * ID_BUCKETS / (SLICE_MS / 1000)
    few, many = (
        estimate(replace(LOAD, events_per_s=limit * share)).ids_bytes / share
        for share in (0.99, 1.01)
    )
    assert many / few == pytest.approx(measured.LARGE_SET_ID_BYTES / measured.ID_BYTES, rel=0.001)


def test_a_thousand_busy_series_take_what_was_measured() -> None:
    """RESULTS: 0.38 to 0.50 GB a view and 4.8 to 5.5 GB a histogram, in every bucket of all tiers; open
    pages are besides."""
    busy = replace(LOAD, events_per_s=1000, series=1000, tenants=1)
    needs = estimate(busy)
    each_gb = needs.counters_bytes / 1e9 / 5
    assert 0.38 <= each_gb <= 0.53  # model, agent, agent_model, two of users
    assert 4.3 <= needs.percentiles_bytes / 1e9 / 4 <= 5.6  # of two views


def test_a_tier_that_was_not_written_yet_takes_nothing() -> None:
    minutes = estimate(replace(LOAD, days=0.01)).counters_bytes
    hours = estimate(replace(LOAD, days=0.06)).counters_bytes
    days = estimate(replace(LOAD, days=2)).counters_bytes
    assert minutes < hours < days


@given(
    st.floats(0.01, 1e3),
    st.integers(100, 1_000_000),
    st.integers(1, 100),
    st.floats(0.01, 1830),
    st.floats(1, 50),
)
def test_more_load_never_needs_less(
    per_s: float, series: int, tenants: int, days: float, times: float
) -> None:
    load = replace(LOAD, events_per_s=per_s, series=series, tenants=tenants, days=days)
    load = replace(load, agent_models=series)
    before = estimate(load)
    for more in (
        replace(load, events_per_s=per_s * times),
        replace(load, series=int(series * times)),
        replace(load, days=min(1830, days * times)),
    ):
        after = estimate(more)
        if after.installations != before.installations:
            continue
        assert after.redis_bytes >= before.redis_bytes * 0.78  # a bucket that gets busy is shorter
        assert after.kafka_bytes >= before.kafka_bytes


def test_an_event_costs_less_in_a_larger_commit_and_more_beside_other_tenants() -> None:
    for cost in (measured.WORKER_US, measured.REDIS_US, measured.FILE_BYTES):
        found = [per_event(cost, events, 1) for events in (1, 50, 500, 5000, 50_000)]
        assert found == sorted(found, reverse=True)
        assert per_event(cost, 1000, 20) > per_event(cost, 1000, 1)


def test_what_was_measured_is_what_is_said_there() -> None:
    for cost in (measured.WORKER_US, measured.REDIS_US, measured.FILE_BYTES):
        for events, each in cost.by_tenant_events:
            assert per_event(cost, events, 1) == pytest.approx(each + cost.commit / events)


def test_a_load_that_one_redis_cannot_take_is_split() -> None:
    assert (estimate(LOAD).installations, estimate(LOAD).notes) == (1, [])
    needs = estimate(replace(LOAD, events_per_s=200_000, tenants=2))
    assert needs.redis_cores / needs.installations <= 0.7
    split, tenants = needs.notes
    assert f"{needs.installations} installations, each with its own tenants" in split
    assert tenants == "The events of one tenant cannot be split: there are 2 tenants"


def test_no_worker_is_planned_busier_than_it_may_be() -> None:
    for per_s in (1, 1000, 50_000):
        needs = estimate(replace(LOAD, events_per_s=per_s))
        assert needs.worker_cores / needs.workers <= 0.7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"events_per_s": 0.0}, "--events-per-s is 0; it can be from 0.001 to 10,000,000"),
        (
            {"events_per_s": float("nan")},
            "--events-per-s is nan; it can be from 0.001 to 10,000,000",
        ),
        ({"tenants": 10_001}, "--tenants is 10,001; it can be from 1 to 10,000"),
        ({"series": 0}, "--series is 0; it can be from 1 to 1,000,000,000"),
        ({"days": 1831.0}, "--days is 1,831; it can be from 0.001 to 1,830"),
        ({"replicas": 0}, "--replicas is 0; it can be from 1 to 10"),
        ({"event_bytes": 99}, "--event-bytes is 99; it can be from 100 to 1,048,576"),
        (
            {"series": 4},
            "--tenants is 5 and --series 4; each tenant has one series at least",
        ),
    ],
)
def test_a_wrong_load_is_one_sentence(changes: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        checked(replace(LOAD, **changes))  # type: ignore[arg-type]
    assert str(caught.value) == said


def test_the_table_has_memory_file_cpu_and_network() -> None:
    code, said = size("--events-per-s", "1000", "--series", "20000", "--tenants", "20")
    assert code == 0
    for line in ("Redis, memory", "Redis, file at most", "Redis, CPU", "network to Redis"):
        assert line in said
    assert (
        "--tenants is 20 and --series 3"
        in size("--events-per-s", "1", "--series", "3", "--tenants", "20")[1]
    )


def test_json_has_the_load_and_each_figure() -> None:
    code, said = size("--events-per-s", "10", "--series", "100", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["load"]["agent_models"] == 100
    assert found["needs"].keys() == set(Needs.__dataclass_fields__)
