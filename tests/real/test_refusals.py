"""A worker that must not continue counts nothing, says what to do, and resumes when told to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis

from deploy.local.servers import Server
from schemas.prices.price_list import BUNDLED
from schemas.responses.status import Status
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import FIRST_GENERATION, NO_POSITION, Meta
from schemas.units import iso
from streams.core.ports import RefusalReason
from streams.operations.status import read_status
from streams.redis.generations import GenerationEntry, RedisGenerations
from streams.worker.process import REPLACED
from tests.eviction import evict
from tests.oracles.event_logs import SECRET, event
from tests.oracles.redis_counters import read_counters
from tests.real.harness.system import System
from tests.real.harness.topics import Sent, cut, delete_topic, ends_of, now_ms, read_log, sent
from tests.real.harness.workers import WorkerProcess
from tests.real.test_counting import events
from tests.real.test_rebuild import ended, refuses, start_rebuild
from tests.schemas.prices.test_price_list import INPUT, one

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
            commands = ("odometer accept", "start the version", "odometer rebuild")
            assert any(command in one["detail"] for command in commands)


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


# -- a Redis that evicts, as managed services do by default ----------------------------------------


def set_policy(system: System, policy: str) -> None:
    with redis.Redis.from_url(system.settings.redis) as client:
        client.config_set("maxmemory-policy", policy)


async def problems(system: System) -> str:
    settings = system.settings
    return "\n".join((await read_status(settings.kafka, settings.redis, system.topic)).problems)


async def begin_generation(system: System, number: int) -> None:
    about, digest = describe(system.topic), generation_digest(system.topic, BUNDLED.version)
    entry = GenerationEntry(origin=FIRST_GENERATION, begun_ms=now_ms())
    async with RedisGenerations(system.settings.redis) as generations:
        assert await generations.begin(number, entry, digest, [NO_POSITION], 0, about, SECRET)


async def test_counting_stops_before_and_after_an_eviction_until_a_rebuild(
    own_system: System, own_valkey: Server
) -> None:
    system = own_system
    worker = system.worker()
    async with system.load() as load:
        await load.send(events("first", 300))
        await system.caught_up()
        assert (await worker.health())["status"] == 200

        set_policy(system, "volatile-lru")
        await system.until("it refuses the policy", lambda: refuses(worker))
        assert "volatile-lru" in (await worker.health())["refused"]["generation"]
        assert "volatile-lru" in await problems(system)
        before = system.positions()
        await load.send(events("second", 300))
        evict(system.settings.redis)
        assert system.positions() == before  # it counts nothing meanwhile

        async def says_rebuild() -> bool:
            health = await worker.health()
            return "odometer rebuild" in health.get("refused", {}).get("generation", "")

        await system.until("it refuses the counters", says_rebuild)
        await begin_generation(system, 2)  # as a rebuild that was killed leaves it
        assert await asyncio.to_thread(own_valkey.stop)
        await asyncio.to_thread(own_valkey.restart)
        assert await asyncio.to_thread(worker.terminate) == 0
        again = system.worker()
        await system.until("a new worker refuses them too", lambda: refuses(again))
        assert "evicted keys" in await problems(system)

        await ended(start_rebuild(system), system)
        system.generation = 3  # generation 2 may have lost keys too
        await system.caught_up()
        assert (await system.judge()).accepted == 600

        async def counts() -> bool:
            return (await again.health()).get("status") == 200

        await system.until("the worker counts", counts)
        assert await problems(system) == ""
        set_policy(system, "allkeys-lru")
        await system.until("it refuses again", lambda: refuses(again))
        set_policy(system, "noeviction")
        await system.until("and goes on by itself", counts)


# -- another price list ----------------------------------------------------------------------------

PRICES = one(provider="own", model="m", **{INPUT: 1})
ADDS = PRICES + one(provider="own", model="new", **{INPUT: 3})
CHANGES = ADDS.replace("= 1\n", "= 2\n")


def some(label: str, count: int) -> list[Sent]:
    """Half of them of the model that only the second list has."""
    at = iso(now_ms())
    given = {"provider": "own", "cost_usd": None, "kind": "llm", "input_tokens": 1000}
    return [
        sent(event(id=f"{label}-{n}", time=at, model=("m", "new")[n % 2], **given))
        for n in range(count)
    ]


async def status_of(system: System) -> Status:
    return await read_status(system.settings.kafka, system.settings.redis, system.topic)


async def test_a_list_that_adds_a_model_counts_at_once_and_one_that_changes_a_price_waits(
    system: System, tmp_path: Path
) -> None:
    first = system.worker(prices=PRICES)
    async with system.load() as load:
        await load.send(some("first", 40))
        await system.caught_up()
        second = system.worker(prices=ADDS)
        system.workers.remove(first)  # which ends, as it should
        assert await asyncio.to_thread(first.process.wait, 20) == REPLACED
        again = system.worker(prices=PRICES)  # a supervisor that restarts it with the old list
        other = system.worker(prices=CHANGES)
        await load.send(some("second", 40))
        await system.caught_up()
        await system.until("the old one waits", lambda: refuses(again))
        await system.until("the other one waits", lambda: refuses(other))
        assert "own/new at" in (await again.health())["refused"]["generation"]
        assert "own/m at" in (await other.health())["refused"]["generation"]
        assert (await second.health())["status"] == 200
        found = await status_of(system)
        assert found.costs_computed == {"own_prices": 60}
        assert found.unpriced == {"own/new": 20}
        assert [one.from_ms is None for one in found.price_lists] == [True, False]

        (tmp_path / "prices.toml").write_text(CHANGES)
        system.workers.remove(second)
        await ended(start_rebuild(system, prices_file=str(tmp_path / "prices.toml")), system)
        assert await asyncio.to_thread(second.process.wait, 20) == REPLACED
        system.generation = 2
        await system.caught_up()
        found = await status_of(system)
        assert (found.costs_computed, found.unpriced) == ({"own_prices": 80}, {})
        assert [one.from_ms for one in found.price_lists] == [None]
