"""The state of counting for the metrics of the API, from Redis and Kafka: right even if no worker runs.

It is read when somebody scrapes, at most once a second, in a thread with an event loop of its own. So
the API's loop does nothing for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deploy.monitor.background import BackgroundLoop
from deploy.monitor.view_series import EVERY_S, read_view_series
from deploy.settings import Settings, directory_settings, read_catalog
from schemas.errors import LogError, StoreError
from schemas.responses.status import PartitionStatus, Status
from streams.core.ports import RefusalReason
from streams.directory.settings import changelogs
from streams.kafka.offsets import read_group_lag
from streams.operations.status import read_status
from streams.redis.server_info import RedisServer, read_server

AGE_S: Final = 1.0
"""Several scrapers get the same state within this time."""
KAFKA_S: Final = 3.0
READ_S: Final = 8.0
"""Prometheus waits 10 s by default; a client of Kafka may take some seconds to close."""
STATES: Final = ("answers", "filling", "replaced", "given up")


class CountingState(NamedTuple):
    """`directory_lag`: records of each directory topic that are not copied yet. `view_series`: series of each
    view. Both are {} where that is not known."""

    status: Status | None
    redis: RedisServer | None
    directory_lag: Mapping[str, int]
    view_series: Mapping[str, int]


UNKNOWN: Final = CountingState(None, None, {}, {})


class CountingMetrics(Collector):
    """Collects the state. It may be scraped in any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = read_catalog(settings)
        self._background = BackgroundLoop("odometer-counting")
        self._lock = threading.Lock()
        self._state = UNKNOWN
        self._read_s = -AGE_S
        self._view_series: Mapping[str, int] = {}
        self._view_series_s = -EVERY_S

    def describe(self) -> Iterator[Metric]:
        return families(UNKNOWN)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() - self._read_s >= AGE_S:
                self._state = self._background.result(self._read(), READ_S) or UNKNOWN
                self._read_s = time.monotonic()
            state = self._state
        return families(state)

    async def _read(self) -> CountingState:
        settings = self._settings
        status, server, lag, view_series = await asyncio.gather(
            read_status(
                settings.kafka,
                settings.redis,
                settings.topic,
                redis_eviction=settings.redis_eviction,
                kafka_s=KAFKA_S,
                with_tenants=False,
            ),
            read_server(settings.redis),
            self._directory_lag(),
            self._series_of_views(),
        )
        return CountingState(status, server, lag, view_series)

    async def _directory_lag(self) -> Mapping[str, int]:
        about = directory_settings(self._settings)
        try:
            async with asyncio.timeout(KAFKA_S):
                return await read_group_lag(
                    self._settings.kafka, about.group, list(changelogs(about))
                )
        except (LogError, TimeoutError):
            return {}

    async def _series_of_views(self) -> Mapping[str, int]:
        if time.monotonic() - self._view_series_s >= EVERY_S:
            try:
                self._view_series = await read_view_series(self._settings.redis, self._catalog)
            except StoreError:
                return {}
            self._view_series_s = time.monotonic()
        return self._view_series


def families(state: CountingState) -> Iterator[Metric]:
    status = state.status
    answers = [
        ("redis", "Redis", status is not None and not status.redis_away),
        ("kafka", "Kafka", status is not None and not status.kafka_away),
    ]
    for name, server, does in answers:
        yield _gauge(f"odometer_{name}_up", f"1 if {server} answers.", float(does))
    complete_ms = status.complete_through_ms if status else None
    yield _gauge(
        "odometer_complete_through_timestamp_seconds",
        "Every event that Kafka acknowledged before this instant is counted, or is a dead letter.",
        None if complete_ms is None else complete_ms / 1000,
    )
    partitions = status.partitions if status else []
    for name, text, value in _PARTITION:
        family = GaugeMetricFamily(f"odometer_partition_{name}", text, labels=["partition"])
        for one in partitions:
            if (found := value(one)) is not None:
                family.add_metric([str(one.partition)], found)
        yield family
    yield from _refusals(status)
    yield from _generations(status)
    of_views = GaugeMetricFamily(
        "odometer_view_series", "Series that a view has counters for.", labels=["view"]
    )
    for view, count in state.view_series.items():
        of_views.add_metric([view], count)
    yield of_views
    over = CounterMetricFamily(
        "odometer_over_limit_rows",
        "Additions that went to the series (other), by view; tenant: too many tenants.",
        labels=["view"],
    )
    for view, count in (status.over_limit if status else {}).items():
        over.add_metric([view], count)
    yield over
    yield from _redis(state.redis)
    directory = GaugeMetricFamily(
        "odometer_directory_lag_records",
        "Records of a topic of the directory that are not copied yet.",
        labels=["topic"],
    )
    for topic, lag in sorted(state.directory_lag.items()):
        directory.add_metric([topic], lag)
    yield directory


_PARTITION: Final[Sequence[tuple[str, str, Callable[[PartitionStatus], float | None]]]] = (
    (
        "complete_through_timestamp_seconds",
        "The events of the partition that Kafka acknowledged before this instant are counted.",
        lambda one: one.complete_through_ms and one.complete_through_ms / 1000,
    ),
    ("lag_records", "Records of the partition that are not counted yet.", lambda one: one.lag),
    (
        "end_offset",
        "The next offset that Kafka will give to a record of the partition.",
        lambda one: one.end,
    ),
    (
        "last_commit_timestamp_seconds",
        "When records of the partition were last counted.",
        lambda one: one.last_commit_ms and one.last_commit_ms / 1000,
    ),
)


def _refusals(status: Status | None) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "odometer_refused_partitions",
        "Partitions that are not counted, by reason. See deploy/RUNBOOK.md.",
        labels=["reason"],
    )
    if status is not None and not status.redis_away:
        found = {
            one.reason: len(status.partitions if one.partitions is None else one.partitions)
            for one in status.refusals
        }
        for reason in RefusalReason:
            family.add_metric([reason.name.lower()], found.get(reason.name.lower(), 0))
    yield family


def _generations(status: Status | None) -> Iterator[Metric]:
    yield _gauge("odometer_series", "Series that have counters.", status.series if status else None)
    family = GaugeMetricFamily(
        "odometer_generations", "Generations of the counters, by state.", labels=["state"]
    )
    found = status.generations if status else []
    if status is not None and not status.redis_away:
        for state in STATES:
            family.add_metric([state], sum(one.state == state for one in found))
    yield family
    counted = {one.state: one.counted or 0 for one in found}
    ratio = None
    if counted.get("answers") and "filling" in counted:
        ratio = min(1.0, counted["filling"] / counted["answers"])
    yield _gauge(
        "odometer_rebuild_progress_ratio",
        "How much of the records a rebuild has counted; absent without one.",
        ratio,
    )


def _redis(server: RedisServer | None) -> Iterator[Metric]:
    yield _gauge(
        "odometer_redis_memory_bytes", "Memory that Redis uses.", server and server.memory_bytes
    )
    yield _gauge(
        "odometer_redis_maxmemory_bytes",
        "Memory that Redis may use; 0 is no limit.",
        server and server.maxmemory_bytes,
    )
    evicted = CounterMetricFamily(
        "odometer_redis_evicted_keys", "Keys that Redis has evicted since its start."
    )
    if server is not None:
        evicted.add_metric([], server.evicted_keys)
    yield evicted
    yield _gauge(
        "odometer_redis_rewrite_in_progress",
        "1 while Redis rewrites its append-only file.",
        server and float(server.is_rewriting),
    )


def _gauge(name: str, text: str, value: float | None) -> Metric:
    """Without a value it has no sample: unknown is not 0."""
    family = GaugeMetricFamily(name, text)
    if value is not None:
        family.add_metric([], value)
    return family
