"""A worker that must not continue counts nothing, says what to do, and resumes when told to."""

from __future__ import annotations

import asyncio

import pytest
import redis

from schemas.store.layout import NO_POSITION, Meta
from streams.core.ports import RefusalReason
from tests.oracles.redis_counters import read_counters
from tests.real.harness.system import System
from tests.real.harness.topics import cut, delete_topic, ends_of, now_ms, read_log
from tests.real.harness.workers import WorkerProcess
from tests.real.test_counting import events

pytestmark = pytest.mark.servers


async def refused(system: System, wanted: dict[str, RefusalReason]) -> None:
    """Until the store says these refusals; each of them says what to do."""

    async def said() -> bool:
        async with system.store() as store:
            found = await store.refusals()
        return {name: one["reason"] for name, one in found.items()} == {
            name: why.name.lower() for name, why in wanted.items()
        }

    await system.until(f"refusals {wanted}", said)
    async with system.store() as store:
        for one in (await store.refusals()).values():
            assert "odometer accept" in one["detail"] or "start the version" in one["detail"]


async def health_says_refused(system: System, worker: WorkerProcess) -> None:
    async def says_so() -> bool:
        health = await worker.health()
        return health.get("status") == 503 and health["state"] == "refused"

    await system.until("the health page says that it refuses", says_so)


async def accept(system: System, partition: int, new_position: int) -> None:
    async with system.store() as store:
        meta = read_meta(system)
        position = meta.partitions[partition].position
        assert await store.accept(partition, position, new_position, now_ms())


def read_meta(system: System) -> Meta:
    meta = system.meta()
    assert meta is not None
    return meta


async def stopped(worker: WorkerProcess) -> None:
    assert await asyncio.to_thread(worker.terminate) == 0


async def test_a_topic_made_anew_is_refused_whether_its_log_is_longer_or_shorter(
    system: System,
) -> None:
    worker = system.worker()
    async with system.load() as load:
        for partition in range(4):
            await load.send(events(f"old-{partition}", 50), partition=partition)
    await system.caught_up()
    old = await read_log(system.settings.kafka, system.topic)
    counters = read_counters(system.settings.redis)
    await stopped(worker)

    await delete_topic(system.settings.kafka, system.topic)
    await system.make_topics(4)
    async with system.load() as load:
        await load.send(events("longer", 80), partition=0)
        await load.send(events("shorter", 20), partition=1)
        await load.send(events("as long", 50), partition=2)
    worker = system.worker()
    beyond, other = RefusalReason.POSITION_BEYOND_END, RefusalReason.OTHER_LOG
    await refused(system, {"0": other, "1": beyond, "2": other, "3": beyond})
    await health_says_refused(system, worker)
    assert [p.refused for p in read_meta(system).partitions] == [other, beyond, other, beyond]
    assert read_counters(system.settings.redis) == counters
    complete_ms = read_meta(system).complete_through_ms

    for partition in range(4):
        await accept(system, partition, 0)
    await system.caught_up()
    await system.complete()
    assert read_meta(system).history_from_ms > complete_ms
    await refused(system, {})
    assert (await system.judge(before=old)).accepted == 350
    assert (await worker.health())["status"] == 200


async def test_a_topic_made_anew_under_a_running_worker_is_not_read_on_silently(
    system: System,
) -> None:
    worker = system.worker()
    async with system.load() as load:
        await load.send(events("old", 50), partition=0)
    await system.caught_up()
    counters = read_counters(system.settings.redis)

    await delete_topic(system.settings.kafka, system.topic)
    await system.make_topics(4)
    async with system.load() as load:
        await load.send(events("new", 80), partition=0)
    await refused(system, {"0": RefusalReason.OTHER_LOG})
    await health_says_refused(system, worker)
    assert read_counters(system.settings.redis) == counters


async def test_records_that_retention_removed_uncounted_are_refused_until_told(
    system: System,
) -> None:
    worker = system.worker()
    async with system.load() as load:
        await load.send(events("counted", 50), partition=0)
        await load.send(events("whole", 50), partition=1)
        await system.caught_up()
        counted = await read_log(system.settings.kafka, system.topic)
        await stopped(worker)
        await load.send(events("lost", 30), partition=0)
        await load.send(events("kept", 30), partition=0)
        await load.send(events("whole too", 30), partition=1)
    await cut(system.settings.kafka, system.topic, {0: 80})
    before = [record for record in counted if record.partition == 0]
    system.worker()
    await refused(system, {"0": RefusalReason.POSITION_EXPIRED})
    await system.until("the other partition goes on", lambda: system.positions()[1] == 80)
    assert read_meta(system).partitions[0].position == 50

    await accept(system, 0, 80)
    await system.caught_up()
    await system.complete()
    assert read_meta(system).history_from_ms > 0
    assert (await system.judge(before=before)).accepted == 160


async def test_an_emptied_redis_is_not_filled_from_a_log_whose_beginning_is_gone(
    system: System,
) -> None:
    system.worker()
    async with system.load() as load:
        await load.send(events("first", 50), partition=0)
        await system.caught_up()
        await cut(system.settings.kafka, system.topic, {0: 20})
        with redis.Redis.from_url(system.settings.redis) as client:
            client.flushall()
        await load.send(events("second", 50), partition=0)
        await load.send(events("whole", 50), partition=1)
        await refused(system, {"0": RefusalReason.LOG_STARTS_LATER})
        await system.until("the whole one is counted", lambda: system.positions().get(1) == 50)
        assert read_meta(system).partitions[0].position == NO_POSITION
        assert read_meta(system).complete_through_ms == 0

        await accept(system, 0, 20)
        await system.caught_up()
        await system.complete()
    assert (await system.judge()).accepted == 130


async def test_a_worker_of_another_generation_counts_nothing(system: System) -> None:
    """Here one that reads another topic; one with other limits or views differs in the same way."""
    worker = system.worker()
    async with system.load() as load:
        await load.send(events("first", 50))
        await system.caught_up()
        await stopped(worker)
        meta = read_meta(system)
        await load.send(events("second", 50))
    stranger = system.worker(topic=system.settings.dead_letter_topic, group=f"{system.topic}.other")
    await refused(system, {"generation": RefusalReason.OTHER_GENERATION})
    await health_says_refused(system, stranger)
    assert read_meta(system).partitions == meta.partitions
    await stopped(stranger)

    system.worker()
    await system.caught_up()
    await system.complete()
    assert (await system.judge()).accepted == 100
    assert await ends_of(system.settings.kafka, system.settings.dead_letter_topic) == {0: 0}
