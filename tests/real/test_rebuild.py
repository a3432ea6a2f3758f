"""A rebuild on real servers: all history gets the new configuration, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Mapping

import pytest
import redis

from deploy.local.servers import plain_environment
from schemas.errors import RebuildRefused
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import generation_digest
from schemas.store.layout import CURRENT_KEY, RETIRED, meta_key, prefix, unpack_meta
from streams.rebuild.command import rebuild
from streams.redis.generations import RedisGenerations
from streams.worker.process import REPLACED
from tests.oracles.event_logs import mixed
from tests.oracles.fold_oracle import Cell, expected
from tests.oracles.redis_counters import read_counters
from tests.real.harness import child
from tests.real.harness.child import Change, earlier_catalog
from tests.real.harness.system import SMALL, System
from tests.real.harness.topics import Sent, as_sent, cut, ends_of, now_ms, read_log
from tests.real.harness.workers import WorkerProcess
from tests.real.test_counting import MIX

pytestmark = pytest.mark.servers

REBUILD_S = 180.0
"""Of a busy machine; ten seconds of it are for the lease of one that was killed."""


def start_rebuild(
    system: System, change: Change | None = None, prices_file: str = ""
) -> subprocess.Popen[bytes]:
    """The command itself, as an operator runs it; `change` runs in it first."""
    environment = {
        **plain_environment(),
        "ODOMETER_KAFKA": system.settings.kafka,
        "ODOMETER_REDIS": system.settings.redis,
        "ODOMETER_TOPIC": system.topic,
        **({"ODOMETER_PRICES_FILE": prices_file} if prices_file else {}),
    }
    with (system.directory / "rebuild.log").open("ab") as output:
        return subprocess.Popen(
            child.command("rebuild", change),
            cwd=system.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


async def ended(process: subprocess.Popen[bytes], system: System) -> None:
    try:
        code = await asyncio.to_thread(process.wait, REBUILD_S)
    finally:
        process.kill()
    said = (system.directory / "rebuild.log").read_text()
    assert code == 0, said
    assert "answers now" in said


def adversarial(seed: int, count: int) -> list[Sent]:
    return as_sent(mixed(random.Random(seed), count, start_ms=now_ms(), mix=MIX))


def counted_of(system: System, generation: int) -> int:
    with redis.Redis.from_url(system.settings.redis) as client:
        data = client.get(meta_key(generation))
    parts = unpack_meta(data).partitions if data else ()
    return sum(max(part.position, 0) for part in parts)


def current_of(system: System) -> int:
    with redis.Redis.from_url(system.settings.redis) as client:
        return int(client.get(CURRENT_KEY) or 0)


async def refuses(worker: WorkerProcess) -> bool:
    return (await worker.health()).get("state") == "refused"


async def test_a_new_view_reaches_history_though_rebuild_and_workers_are_killed(
    system: System,
) -> None:
    records = adversarial(11, 3500)
    earlier = system.worker(earlier_catalog, policy=SMALL)
    async with system.load() as load:
        await load.send(records[:2800])
        await system.caught_up()
        waiting = system.worker(policy=SMALL)
        await system.until("the new one waits", lambda: refuses(waiting))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.at_rate(records[2800:], per_s=60))
            killed = start_rebuild(system)
            await system.until("it fills", lambda: counted_of(system, 2) > 0)
            killed.kill()
            killed.wait()
            assert current_of(system) == 1
            waiting.kill()
            system.workers.remove(waiting)
            system.worker(policy=SMALL)
            await ended(start_rebuild(system), system)
            system.workers.remove(earlier)  # which ends, as it should
            system.generation = 2
            assert await asyncio.to_thread(earlier.process.wait, 20) == REPLACED
            assert "a rebuild has replaced" in earlier.said()
            system.workers.pop().kill()
            system.worker(policy=SMALL)
    await system.caught_up()
    await system.complete()
    assert (await system.judge()).accepted > 2500

    with redis.Redis.from_url(system.settings.redis) as client:
        data = client.get(meta_key(1))
        assert data
        assert unpack_meta(data).state == RETIRED
        again = system.worker(earlier_catalog)
        await system.until("one of before waits outside", lambda: refuses(again))
        assert client.get(meta_key(1)) == data


def comparable(counters: Mapping[Cell, tuple[int, ...]]) -> dict[Cell, tuple[int, ...]]:
    """Without what the earlier configuration did not keep."""
    kept = {
        cell: values[:-1] if cell[0] == "model" else values
        for cell, values in counters.items()
        if cell[0] != "user_agent"
    }
    return {cell: values for cell, values in kept.items() if any(values)}


async def test_what_the_log_has_lost_is_taken_over_to_the_last_unit(system: System) -> None:
    """With late events in old buckets before and after the cut, resends of what is gone, calls that
    began before it, and a rebuild that is killed while it takes over."""
    records = adversarial(12, 3000)
    earlier = system.worker(earlier_catalog, policy=SMALL)
    async with system.load() as load:
        await load.send(records[:2000])
        await system.caught_up()
        log = await read_log(system.settings.kafka, system.topic)
        ends = await ends_of(system.settings.kafka, system.topic)
        await cut(system.settings.kafka, system.topic, {p: end // 2 for p, end in ends.items()})
        gone = [r for r in log if r.offset < ends[r.partition] // 2]
        waiting = system.worker(policy=SMALL)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.at_rate(records[2000:], per_s=80))
            killed = start_rebuild(system)
            with redis.Redis.from_url(system.settings.redis) as client:
                await system.until(
                    "it takes over",
                    lambda: client.exists(f"{prefix(1)}hold") or counted_of(system, 2),
                )
            killed.kill()
            killed.wait()
            await ended(start_rebuild(system), system)
            system.workers.remove(earlier)
            system.generation = 2
    await system.caught_up()
    await system.complete()
    assert await asyncio.to_thread(earlier.process.wait, 20) == REPLACED
    assert (await waiting.health())["status"] == 200
    await load_resends(system, records)
    want = expected([*gone, *await read_log(system.settings.kafka, system.topic)])
    got = comparable(read_counters(system.settings.redis, 2))
    wanted = comparable(want.counters)
    wrong = {c: (got.get(c), wanted.get(c)) for c in got.keys() | wanted.keys()}
    wrong = {cell: pair for cell, pair in wrong.items() if pair[0] != pair[1]}
    assert not wrong, f"{len(wrong)} of {len(wanted)}: {dict([*wrong.items()][:5])}"
    meta = system.meta()
    assert meta
    assert meta.history_from_ms > now_ms()  # of what is new, nothing is whole yet
    async with system.store() as store:
        await store.meta()
        tallies = await store.tallies()
    assert tallies["duplicate"] == want.duplicates
    dead = {f"dead:{reason}": n for reason, n in want.letters_by_reason.items()}
    assert {name: n for name, n in tallies.items() if name.startswith("dead:")} == dead


async def load_resends(system: System, records: list[Sent]) -> None:
    """Of events whose originals the log no longer holds: they are still remembered."""
    async with system.load() as load:
        await load.send(records[:300])
    await system.caught_up()


async def test_a_second_rebuild_says_that_there_is_a_first(system: System) -> None:
    worker = system.worker()
    async with system.load() as load:
        await load.send(adversarial(13, 100))
    await system.caught_up()
    settings = system.settings
    async with RedisGenerations(settings.redis) as first:
        assert await first.take_lease(b"the first")

        async def lives() -> None:
            while True:
                await first.take_lease(b"the first")
                await asyncio.sleep(0.2)

        living = asyncio.create_task(lives())
        with pytest.raises(RebuildRefused, match="another rebuild is under way"):
            await rebuild(settings.kafka, settings.redis, settings.topic, BUNDLED, 0, print)
        living.cancel()
        await first.release_lease(b"the first")
    # The same configuration again: its worker goes on with the new generation by itself.
    done = await rebuild(settings.kafka, settings.redis, settings.topic, BUNDLED, 0, print)
    assert (done.generation, done.replaced, done.missing) == (2, 1, [])
    system.generation = 2
    async with system.load() as load:
        await load.send(adversarial(14, 50))
    await system.caught_up()
    assert worker.process.poll() is None
    async with RedisGenerations(settings.redis) as generations:
        assert await generations.drop_due(now_ms()) == [1]
        assert not await generations.drop_due(now_ms())
        meta = await generations.meta()
    assert meta
    assert meta.digest == generation_digest(system.topic)
    with redis.Redis.from_url(settings.redis) as client:
        assert not list(client.scan_iter(match=f"{prefix(1)}*"))
        assert list(client.scan_iter(match=f"{prefix(2)}*"))
