"""Every event counts exactly once, whatever is killed, paused or restored from an older copy."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest
import redis

from deploy.local.servers import Server
from schemas.store.layout import meta_key
from streams.core.batch import Policy
from tests.oracles.event_logs import mixed
from tests.real.harness.system import SMALL, System, Watch
from tests.real.harness.topics import Sent, as_sent, members_of, now_ms
from tests.real.harness.workers import END_S
from tests.real.test_counting import MIX, events

pytestmark = pytest.mark.servers


def adversarial(seed: int, count: int) -> list[Sent]:
    return as_sent(mixed(random.Random(seed), count, start_ms=now_ms(), mix=MIX))


async def test_a_worker_killed_three_times_mid_load_loses_and_doubles_nothing(
    system: System,
) -> None:
    records = adversarial(3, 6000)
    workers = [system.worker(policy=SMALL), system.worker(policy=SMALL)]
    watch = Watch(system)
    async with system.load() as load, watch.watching(), asyncio.TaskGroup() as tasks:
        tasks.create_task(load.at_rate(records, per_s=400))
        for kill in range(1, 4):
            await system.counted(kill * 1200)
            workers.pop(0).kill()
            workers.append(system.worker(policy=SMALL))
    await system.caught_up()
    await system.complete()
    await system.judge()
    watch.judge(load.acks)


async def test_a_redis_that_lost_its_last_writes_mid_load_is_brought_up_again_from_kafka(
    own_system: System, own_valkey: Server
) -> None:
    """SIGKILL alone loses nothing that the system has taken; a power cut does, so the end of the
    append-only file is cut off."""
    system = own_system
    system.worker(policy=SMALL)
    system.worker(policy=SMALL)
    async with system.load() as load, asyncio.TaskGroup() as tasks:
        tasks.create_task(load.at_rate(adversarial(4, 4000), per_s=800))
        await system.counted(800)
        own_valkey.kill()  # once with all its writes
        own_valkey.restart()
        await system.counted(1600)
        (written,) = (own_valkey.spec.directory / "appendonlydir").glob("*.incr.aof")
        kept_bytes = written.stat().st_size
        await system.counted(2400)
        own_valkey.kill()
        before = written.stat().st_size
        assert before > kept_bytes
        with written.open("r+b") as file:
            file.truncate(kept_bytes + 1)  # in the middle of a command
        own_valkey.restart()
    await system.caught_up()
    await system.complete()
    want = await system.judge()
    assert want.duplicates > 20


async def test_a_kafka_killed_mid_load_and_resends_of_its_producers_change_nothing(
    own_system: System, own_kafka: Server
) -> None:
    system = own_system
    worker = system.worker(policy=SMALL)
    watch = Watch(system)
    records = adversarial(5, 3000)
    async with system.load(request_timeout_ms=300) as load, watch.watching():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.at_rate(records, per_s=800))
            await system.counted(800)
            own_kafka.pause()  # appended or not: who knows? The producers send again.

            async def kafka_is_away() -> bool:
                return bool((await worker.health()).get("kafka"))

            await system.until("the worker says that Kafka is away", kafka_is_away)
            own_kafka.kill()
            await asyncio.to_thread(own_kafka.restart)
        await load.send(records[:1000])  # by a producer that does not know what it has sent
        await system.caught_up()
        await system.complete()
    want = await system.judge()
    watch.judge(load.acks)
    assert want.duplicates > 900
    assert want.accepted > 2500
    await system.until("the worker is well again", worker.health)
    assert (await worker.health())["status"] == 200


async def test_a_zombie_adds_nothing(system: System) -> None:
    """Paused past its session with a batch in hand, and let go on when another has counted it."""
    holding = Policy(records_max=5000, age_ms_min=3000)
    records = adversarial(6, 1500)
    zombie = system.worker(policy=holding)
    async with system.load() as load:
        await load.send(events("first", 100))
        await system.counted(100)
        await load.at_rate(records[:1000], per_s=1000)
        zombie.pause()
        system.worker(policy=SMALL)
        await system.caught_up()
        woken_ms = now_ms()
        zombie.resume()

        async def zombie_works_again() -> bool:
            return int((await zombie.health()).get("progress_ms", 0)) > woken_ms

        await system.until("the zombie is back in the group", zombie_works_again)
        await load.at_rate(records[1000:], per_s=1000)
    await system.caught_up()
    await system.complete()
    await system.judge()


async def test_a_full_redis_takes_nothing_half_and_the_worker_says_so_and_goes_on(
    own_system: System, own_valkey: Server
) -> None:
    system = own_system
    worker = system.worker()
    records = adversarial(8, 1000)
    async with system.load() as load:
        await load.send(records[:500])
        await system.caught_up()
        with redis.Redis.from_url(system.settings.redis) as client:
            client.config_set("maxmemory", "1mb")
            written = client.get(meta_key(1))
            await load.send(records[500:])

            async def says_so() -> bool:
                health = await worker.health()
                full = "accepts no writes" in str(health.get("store"))
                return full and bool(health["status"] == 503)

            await system.until("the worker says that Redis is full", says_so)
            assert client.get(meta_key(1)) == written
            client.config_set("maxmemory", "0")
    await system.caught_up()
    await system.complete()
    await system.judge()
    assert own_valkey.is_running()


async def test_a_worker_ends_within_its_promise_while_kafka_does_not_answer(
    own_system: System, own_kafka: Server
) -> None:
    system = own_system
    worker = system.worker()
    async with system.load() as load:
        await load.send(events("one", 100))
        await system.caught_up()
    own_kafka.pause()
    started_s = time.monotonic()
    code = await asyncio.to_thread(worker.terminate)
    own_kafka.resume()
    assert code == 0
    assert time.monotonic() - started_s < END_S


async def test_a_worker_ends_at_once_when_told(system: System, tmp_path: Path) -> None:
    """And leaves its group, so that its successor need not wait for a session to run out."""
    worker = system.worker()
    async with system.load() as load:
        await load.send(events("one", 100))
        await system.caught_up()
        assert await asyncio.to_thread(worker.terminate) == 0
        assert await members_of(system.settings.kafka, system.settings.group) == 0
        system.worker()
        await load.send(events("two", 100))
        await system.caught_up()
    await system.judge()
    assert not (tmp_path / ".odometer").exists()
