"""What a load needs: memory, file, CPU and network. No I/O, no clock.

The load is spread evenly: every series has the same number of events, at any time of the day. Real loads
have some series with many events and many with few, which takes fewer rows. So this is an upper bound for
counters. CPU, file and network have a part for each commit and one for each event.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Final

from deploy.sizing import measured
from deploy.sizing.measured import Cost
from schemas.catalog.measures import How
from schemas.catalog.views import ID_BUCKETS, REMEMBERED_MS, SLICE_MS, TENANTS_MAX, VIEWS, View
from schemas.errors import InvalidConfig
from schemas.limits import DAY_MS
from schemas.store.layout import page_kept_ms
from schemas.tiers import DAY, HOUR, MINUTE, QUARTER, Tier
from streams.core.batch import Policy, first_pace

EVENTS_PER_S_MAX: Final = 10_000_000
SERIES_MAX: Final = 1_000_000_000
DAYS_MAX: Final = 5 * 366
EVENT_BYTES_MAX: Final = 1 << 20
BUSY_SHARE: Final = 0.7
"""Of a core: what is planned for. Beyond it, the delay of a queue grows fast."""


@dataclass(frozen=True)
class Load:
    """`series`: different combinations of user, agent and model in use. `agent_models`: combinations of
    agent and model among them, whose percentiles are kept. `days`: since when the load lasts, which bounds
    what the tiers hold."""

    events_per_s: float
    series: int
    tenants: int
    agent_models: int
    days: float
    event_bytes: int
    kafka_days: float
    replicas: int


def checked(load: Load) -> Load:
    """Raises InvalidConfig: a sentence with the option, its value and what is allowed."""
    bounds: Sequence[tuple[str, float, float, float]] = (
        ("events-per-s", load.events_per_s, 0.001, EVENTS_PER_S_MAX),
        ("series", load.series, 1, SERIES_MAX),
        ("tenants", load.tenants, 1, TENANTS_MAX),
        ("agent-models", load.agent_models, 1, SERIES_MAX),
        ("days", load.days, 0.001, DAYS_MAX),
        ("event-bytes", load.event_bytes, 100, EVENT_BYTES_MAX),
        ("kafka-days", load.kafka_days, 0.001, DAYS_MAX),
        ("replicas", load.replicas, 1, 10),
    )
    for option, value, low, high in bounds:
        if not low <= value <= high:
            raise InvalidConfig(
                f"--{option} is {value:,.12g}; it can be from {low:,.12g} to {high:,.12g}"
            )
    for option, value, said in (
        ("tenants", load.tenants, "each tenant has one series at least"),
        ("agent-models", load.agent_models, "series are combinations of user, agent and model"),
    ):
        if value > load.series:
            raise InvalidConfig(f"--{option} is {value:,} and --series {load.series:,}; {said}")
    return load


@dataclass(frozen=True)
class Needs:
    """Bytes, bytes a second, and cores, of all `installations`; `events_a_commit`: of one. `notes`: a
    sentence each."""

    installations: int
    ids_bytes: int
    counters_bytes: int
    percentiles_bytes: int
    names_bytes: int
    redis_bytes: int
    file_bytes: int
    file_bytes_per_s: int
    redis_cores: float
    redis_input_bytes_per_s: int
    workers: int
    worker_cores: float
    worker_bytes: int
    events_a_commit: int
    kafka_bytes: int
    kafka_input_bytes_per_s: int
    kafka_output_bytes_per_s: int
    notes: Sequence[str]


def estimate(load: Load) -> Needs:
    """With as few installations as one Redis each can take. Redis uses one core for commits."""
    count = 1
    while (needs := _of_one(part := _share(load, count))).redis_cores > BUSY_SHARE:
        count += 1
    notes = []
    if count > 1:
        notes.append(
            f"One Redis would need {_of_one(load).redis_cores:.1f} cores and uses one, of which"
            f" {BUSY_SHARE} are planned: so these are {count} installations, each with its own tenants,"
            f" {part.events_per_s:,.0f} events/s"
        )
    if count > load.tenants:
        notes.append(f"The events of one tenant cannot be split: there are {load.tenants} tenants")
    all_needs = {
        name: value if name == "events_a_commit" else value * count
        for name, value in asdict(needs).items()
        if name != "notes"
    }
    return Needs(**all_needs, notes=notes)


def _share(load: Load, count: int) -> Load:
    return replace(
        load,
        events_per_s=load.events_per_s / count,
        series=-(-load.series // count),
        tenants=-(-load.tenants // count),
        agent_models=-(-load.agent_models // count),
    )


def _of_one(load: Load) -> Needs:
    workers, events_a_commit = commits_of(load)

    def per_s(cost: Cost) -> float:
        return load.events_per_s * per_event(cost, events_a_commit, load.tenants)

    ids = ids_bytes(load)
    counters, percentiles = rows_bytes(load)
    names = round(names_of(load) * measured.NAME_BYTES)
    dataset = ids + counters + percentiles + names + measured.REDIS_EMPTY_BYTES
    redis_cores = measured.REDIS_IDLE_CORES + per_s(measured.REDIS_US) / 1e6
    kafka_in = load.events_per_s * load.event_bytes
    return Needs(
        installations=1,
        ids_bytes=ids,
        counters_bytes=counters,
        percentiles_bytes=percentiles,
        names_bytes=names,
        redis_bytes=dataset,
        file_bytes=max(measured.REWRITE_FROM_BYTES, dataset) * measured.FILE_PEAK,
        file_bytes_per_s=round(per_s(measured.FILE_BYTES)),
        redis_cores=redis_cores,
        redis_input_bytes_per_s=round(per_s(measured.COMMIT_BYTES)),
        workers=workers,
        worker_cores=workers * measured.WORKER_IDLE_CORES + per_s(measured.WORKER_US) / 1e6,
        worker_bytes=workers * measured.WORKER_BYTES,
        events_a_commit=events_a_commit,
        kafka_bytes=round(
            kafka_in * load.replicas * min(load.days, load.kafka_days) * DAY_MS / 1000
        ),
        kafka_input_bytes_per_s=round(kafka_in * load.replicas),
        kafka_output_bytes_per_s=round(kafka_in),
        notes=(),
    )


def per_event(cost: Cost, events: float, tenants: int) -> float:
    """In a commit of so many events of so many tenants. Rows of one tenant merge: so an event's own part
    goes by the events of its tenant in the commit, between what was measured, by their logarithm."""
    of_tenant = max(1.0, events / tenants)
    points = [(math.log(found), each) for found, each in cost.by_tenant_events]
    if of_tenant <= cost.by_tenant_events[0][0]:
        each = points[0][1]
    elif of_tenant >= cost.by_tenant_events[-1][0]:
        each = points[-1][1]
    else:
        at = math.log(of_tenant)
        (low, below), (high, above) = next(pair for pair in pairwise(points) if at <= pair[1][0])
        each = below + (above - below) * (at - low) / (high - low)
    return cost.commit / events + each


def commits_of(load: Load) -> tuple[int, int]:
    """How many workers, and how many events a commit has. A worker waits while Redis carries out its commit:
    so both together take BUSY_SHARE of its time at most."""
    workers = 0
    while True:
        workers += 1
        per_s = load.events_per_s / workers
        events = _events_a_commit(per_s, load.tenants)
        us = sum(
            per_event(cost, events, load.tenants)
            for cost in (measured.WORKER_US, measured.REDIS_US)
        )
        if measured.WORKER_IDLE_CORES + per_s * us / 1e6 <= BUSY_SHARE:
            return workers, events


def _events_a_commit(per_s: float, tenants: int) -> int:
    """Of one worker, by the rule of streams/core/batch.py: what comes while a batch waits."""
    pace, events = first_pace(Policy()), 1.0
    for _ in range(ROUNDS):
        took_us = events * sum(
            per_event(cost, events, tenants) for cost in (measured.WORKER_US, measured.REDIS_US)
        )
        age_ms = pace.next(int(events), 0, int(took_us / 1000)).age_ms
        events = min(pace.policy.records_max, max(1.0, per_s * max(age_ms, took_us / 1000) / 1000))
    return int(events)


ROUNDS: Final = 20
"""A longer wait makes a larger commit, which waits longer: it has settled by then."""


def ids_bytes(load: Load) -> int:
    """The most at once: the ids of the window, and of the slice that is not dropped yet. A set of integers
    is compact up to SET_ENTRIES."""
    held_ms = min(load.days * DAY_MS, REMEMBERED_MS + SLICE_MS)
    of_set = load.events_per_s * min(held_ms, SLICE_MS) / 1000 / ID_BUCKETS
    each = measured.ID_BYTES if of_set <= measured.SET_ENTRIES else measured.LARGE_SET_ID_BYTES
    return round(load.events_per_s * held_ms / 1000 * each)


def series_of(view: View, load: Load) -> int:
    """Series of a view of model calls."""
    if "user" in view.dimensions:
        return load.series
    return load.agent_models if {"agent", "model"} & {*view.dimensions} else load.tenants


def _llm_views() -> Sequence[View]:
    return [view for view in VIEWS if "llm" in view.tables]


def names_of(load: Load) -> int:
    return sum(series_of(view, load) for view in _llm_views())


def rows_bytes(load: Load) -> tuple[int, int]:
    """Of counters and of percentiles, in all tiers."""
    counters = percentiles = 0.0
    for view in _llm_views():
        series = series_of(view, load)
        for tier in view.tiers:
            events = _events(load, series, tier)
            sparse = measured.SPARSE_ROW_BYTES if view.page_series > 1 else measured.LONE_ROW_BYTES
            each = measured.BUSY_ROW_BYTES if events >= 1 else sparse
            counters += series * _buckets(load, view, tier) * -math.expm1(-events) * each
            bins = measured.BINS * -math.expm1(-events / measured.BINS)
            histograms = sum(
                sketch.how is How.HISTOGRAM and tier in view.tiers_of(sketch)
                for sketch in view.sketches
            )
            held = series * _buckets(load, view, tier) * bins
            percentiles += histograms * held * measured.BIN_BYTES
    return round(counters), round(percentiles)


def _buckets(load: Load, view: View, tier: Tier) -> float:
    """How many buckets of memory a tier holds at once; of the chunk that is open, as many again."""
    lag_ms = 0 if tier is view.tiers[0] else CLOSED_AFTER_MS[tier]
    kept_ms = min(load.days * DAY_MS, page_kept_ms(tier)) - lag_ms
    if kept_ms <= 0:
        return 0.0
    open_ms = min(kept_ms, tier.chunk_ms) * (measured.OPEN_FACTOR - 1)
    return max(1.0, (kept_ms + open_ms) / tier.bucket_ms)


CLOSED_AFTER_MS: Final = {
    MINUTE: 0,
    QUARTER: MINUTE.chunk_ms,
    HOUR: QUARTER.chunk_ms,
    DAY: QUARTER.chunk_ms,
}
"""A coarser tier is written when a chunk of the finer one is over."""


def _events(load: Load, series: int, tier: Tier) -> float:
    """In one bucket of one series. They come at random: a share of exp(-events) of the buckets has none."""
    return load.events_per_s * min(tier.bucket_ms, load.days * DAY_MS) / 1000 / series
