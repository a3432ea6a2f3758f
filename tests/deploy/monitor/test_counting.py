"""The state of counting as metrics: what is known has a sample, what is not has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from deploy.monitor.counting import CountingMetrics, CountingState, families
from deploy.monitor.view_series import TENANTS_PER_CALL, read_view_series
from deploy.settings import read_settings
from schemas.catalog.views import DEFAULT
from schemas.responses.status import GenerationStatus
from streams.kafka.producer import open_producer
from streams.kafka.topics import ensure_topics
from streams.operations.status import read_status
from streams.redis.server_info import RedisServer
from tests.api.counters import NOW_MS, Event, pack
from tests.servers import url_as
from tests.streams.operations.test_verdict import partition, refusals, status
from tests.streams.redis.test_eviction import begin_counting


class Fixed(Collector):
    def __init__(self, state: CountingState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        return families(self.state)


def value(state: CountingState, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(Fixed(state))
    return registry.get_sample_value(f"odometer_{name}", labels)


def test_freshness_lag_and_refusals() -> None:
    found = status(
        partitions=[partition(0, lag=3, end=13), partition(1, complete_through_ms=None, lag=None)],
        refusals=refusals(0, 1),
        complete_through_ms=2_500,
        generations=[
            GenerationStatus(generation=n, state=state, counted=count, begun_ms=0, replaced_ms=None, dropped_after_ms=None)
            for n, state, count in ((1, "answers", 200), (2, "filling", 50))
        ],
    )  # fmt: skip
    state = CountingState(
        found, RedisServer(10, 100, 0, True), {"directory.users": 4}, {"model": 7}
    )
    assert value(state, "redis_up") == value(state, "kafka_up") == 1
    assert value(state, "complete_through_timestamp_seconds") == 2.5
    assert value(state, "partition_lag_records", partition="0") == 3
    assert value(state, "partition_lag_records", partition="1") is None
    assert value(state, "refused_partitions", reason="log_starts_later") == 2
    assert value(state, "refused_partitions", reason="keys_evicted") == 0
    assert value(state, "rebuild_progress_ratio") == 0.25
    assert value(state, "redis_maxmemory_bytes") == 100
    assert value(state, "redis_rewrite_in_progress") == 1
    assert value(state, "directory_lag_records", topic="directory.users") == 4
    assert value(state, "view_series", view="model") == 7


def test_what_is_not_known_has_no_sample() -> None:
    state = CountingState(status(redis_away="away", complete_through_ms=None), None, {}, {})
    assert value(state, "redis_up") == 0
    assert value(state, "kafka_up") == 1
    for name in (
        "complete_through_timestamp_seconds",
        "rebuild_progress_ratio",
        "redis_memory_bytes",
    ):
        assert value(state, name) is None, name
    assert value(state, "refused_partitions", reason="log_starts_later") is None


@pytest.mark.servers
async def test_without_redis_no_lag_is_claimed(kafka: Server) -> None:
    await ensure_topics(kafka.address, events="lag", dead_letter="lag-dead", partitions=1)
    async with open_producer(kafka.address) as producer:
        await producer.send_records("lag", [(b"k", b"{}", [])])
    found = await read_status(kafka.address, "redis://127.0.0.1:1/0", "lag")
    assert found.redis_away.startswith("Redis does not answer")
    assert [(one.end, one.lag) for one in found.partitions] == [(1, None)]
    assert found.lag is None


@pytest.mark.servers
async def test_the_series_of_a_view_are_those_of_all_tenants_and_kinds(redis_url: str) -> None:
    """More tenants than one call asks about."""
    tenants = TENANTS_PER_CALL + 5
    events = [Event(NOW_MS, tenant=f"t{n}", model=f"m{n % 2}") for n in range(tenants)]
    events += [Event(NOW_MS, tenant="t0", model="m7"), Event(NOW_MS, tenant="t0", model="m8")]
    assert not any((await read_view_series(redis_url, DEFAULT)).values())
    pack(events).write(redis_url)
    found = await read_view_series(redis_url, DEFAULT)
    assert [*found] == [view.name for view in DEFAULT.views]
    assert found["total"] == tenants
    assert found["model"] == tenants + 2
    pack(events[:1], generation=2).write(redis_url)
    assert (await read_view_series(redis_url, DEFAULT))["model"] == 1


@pytest.mark.servers
def test_a_kafka_that_is_away_is_said_and_redis_read(valkey: Server) -> None:
    settings = read_settings(kafka="127.0.0.1:1", redis=url_of(valkey))
    registry = CollectorRegistry()
    registry.register(CountingMetrics(settings))
    assert registry.get_sample_value("odometer_kafka_up") == 0
    assert registry.get_sample_value("odometer_redis_up") == 1
    assert (registry.get_sample_value("odometer_redis_memory_bytes") or 0) > 0
    assert registry.get_sample_value("odometer_view_series", {"view": "model"}) is not None


@pytest.mark.servers
@pytest.mark.parametrize(("stated", "partitions"), [("", 2), ("noeviction", 0)])
async def test_a_redis_that_forbids_info_is_refused_until_the_operator_states_its_policy(
    own_valkey: Server, stated: str, partitions: int
) -> None:
    url = url_of(own_valkey)
    await begin_counting(url)
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "m", "on", ">pw", "~*", "+@all", "-info")
    settings = read_settings(kafka="127.0.0.1:1", redis=url_as("m:pw", url), redis_eviction=stated)
    registry = CollectorRegistry()
    registry.register(CountingMetrics(settings))
    labels = {"reason": "eviction_unknown"}
    assert registry.get_sample_value("odometer_refused_partitions", labels) == partitions
