"""The faults, by name. Each returns when its servers answer again.

A fault returns the instant from which its recovery is timed. For a killed worker that is the kill.
For the others it is the instant at which the servers, or the link, were back.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import redis.asyncio as redis

from schemas.store.layout import meta_key
from streams.kafka.consumer import SESSION_MS
from tests.chaos.disks import filled
from tests.chaos.load import Stream
from tests.chaos.proxy import Mode
from tests.chaos.rig import LINKS, LOOK_PAUSE_S, RECOVER_S_MAX, Rig
from tests.real.harness.apis import Producers
from tests.real.harness.topics import widen
from tests.real.harness.workers import WorkerProcess
from tests.real.test_rebuild import ended, start_rebuild

PAUSE_S: Final = (1.0, 4.0)
"""Of a server that freezes, or a link that is down."""
DELAY_S: Final = (0.05, 0.3)
BEYOND_SESSION_S: Final = SESSION_MS / 1000 + 2
LONG_PAUSE_S: Final = (1.0, BEYOND_SESSION_S)
TAKEOVER_GOAL_S: Final = SESSION_MS / 1000 + 2
GOAL_S: Final = 3.0
PARTITIONS_ADDED: Final = 2
WORKERS_SCALED: Final = 4
SENT_UNTIL_A_COMMIT: Final = 60
"""Four times what is sent in a worker's longest wait for a batch, over all partitions."""
SENT_AFTER_SWITCH: Final = 150
"""A second of load: many commits."""


@dataclass
class Scene:
    """What a fault may touch."""

    rig: Rig
    stream: Stream
    over_http: Producers
    rng: random.Random
    partitions: int

    def between(self, bounds: tuple[float, float]) -> float:
        return self.rng.uniform(*bounds)


Fault = Callable[[Scene], Awaitable[float]]


# -- workers ---------------------------------------------------------------------------------------


async def worker_killed(scene: Scene) -> float:
    victim = scene.rig.workers.pop(scene.rng.randrange(len(scene.rig.workers)))
    victim.kill()
    died_s = time.monotonic()
    scene.rig.worker()
    return died_s


async def worker_paused(scene: Scene) -> float:
    """Beyond its session, with whatever it held; then it goes on as if nothing had been."""
    victim = scene.rng.choice(scene.rig.workers)
    victim.pause()
    await asyncio.sleep(BEYOND_SESSION_S)
    victim.resume()
    return time.monotonic()


async def rolling_restart(scene: Scene) -> float:
    """SIGTERM to each in turn, wherever in a commit it is; its successor answers first."""
    for victim in [*scene.rig.workers]:
        successor = scene.rig.worker()
        await scene.rig.system.until("the successor answers", successor.health)
        await _ended(victim)
        scene.rig.workers.remove(victim)
    return time.monotonic()


async def ended_in_a_commit(scene: Scene) -> float:
    """SIGTERM while a commit waits in a frozen Valkey, which carries it out when the worker that
    sent it has gone, or still waits for the reply."""
    victim = scene.rig.workers[0]
    scene.rig.valkey.pause()
    enough = scene.stream.sent + SENT_UNTIL_A_COMMIT
    await scene.rig.system.until("more is sent", lambda: scene.stream.sent >= enough)
    ending = asyncio.create_task(asyncio.to_thread(victim.terminate))
    await asyncio.sleep(scene.between((0.0, 1.0)))
    scene.rig.valkey.resume()
    _assert_clean(victim, await ending)
    scene.rig.workers.remove(victim)
    await scene.rig.system.until("the successor answers", scene.rig.worker().health)
    return time.monotonic()


async def scaled(scene: Scene) -> float:
    """To one worker, to four, and back to two."""
    workers = scene.rig.workers
    while len(workers) > 1:
        await _ended(workers.pop())
    await scene.rig.moved(50)
    while len(workers) < WORKERS_SCALED:
        await scene.rig.system.until("it answers", scene.rig.worker().health)
    await scene.rig.moved(100)
    while len(workers) > 2:
        await _ended(workers.pop(0))
    return time.monotonic()


async def _ended(victim: WorkerProcess) -> None:
    _assert_clean(victim, await asyncio.to_thread(victim.terminate))


def _assert_clean(victim: WorkerProcess, code: int) -> None:
    assert code == 0, f"{victim.log.name} ended with {code} at SIGTERM:\n{victim.said()}"


# -- the API ---------------------------------------------------------------------------------------


async def api_killed(scene: Scene) -> float:
    scene.rig.api.kill()
    await asyncio.to_thread(scene.rig.api.restart)
    return time.monotonic()


async def api_paused(scene: Scene) -> float:
    scene.rig.api.pause()
    await asyncio.sleep(scene.between(LONG_PAUSE_S))
    scene.rig.api.resume()
    return time.monotonic()


# -- Kafka -----------------------------------------------------------------------------------------


async def kafka_killed(scene: Scene) -> float:
    scene.rig.kafka.kill()
    await asyncio.to_thread(scene.rig.kafka.restart)
    return time.monotonic()


async def kafka_restarted(scene: Scene) -> float:
    await asyncio.to_thread(scene.rig.kafka.restart)
    return time.monotonic()


async def kafka_paused(scene: Scene) -> float:
    scene.rig.kafka.pause()
    await asyncio.sleep(scene.between(PAUSE_S))
    scene.rig.kafka.resume()
    return time.monotonic()


async def kafka_paused_past_sessions(scene: Scene) -> float:
    """When it goes on, it takes every worker for dead."""
    scene.rig.kafka.pause()
    await asyncio.sleep(BEYOND_SESSION_S)
    scene.rig.kafka.resume()
    return time.monotonic()


async def kafka_without_disk(scene: Scene) -> float:
    """Nothing more can be written: the broker ends. There is room again, and it is started."""
    kafka = scene.rig.kafka
    with filled(kafka.spec.directory):
        await scene.rig.system.until("Kafka ends", lambda: not kafka.is_running())
    await asyncio.to_thread(kafka.restart)
    return time.monotonic()


async def partitions_added(scene: Scene) -> float:
    """Sent to as soon as the producer knows of them; recovered when they are counted too."""
    system = scene.rig.system
    scene.partitions += PARTITIONS_ADDED
    await widen(system.settings.kafka, system.topic, scene.partitions)
    added_s = time.monotonic()
    producer = scene.stream.load.producer

    async def is_known() -> bool:
        return len(await producer.partitions_for(system.topic)) == scene.partitions

    await system.until("the producer knows the new partitions", is_known)
    scene.stream.partitions = scene.partitions
    return added_s


# -- Valkey ----------------------------------------------------------------------------------------


async def valkey_killed(scene: Scene) -> float:
    scene.rig.valkey.kill()
    await asyncio.to_thread(scene.rig.valkey.restart)
    return time.monotonic()


async def valkey_paused(scene: Scene) -> float:
    scene.rig.valkey.pause()
    await asyncio.sleep(scene.between(LONG_PAUSE_S))
    scene.rig.valkey.resume()
    return time.monotonic()


async def valkey_without_disk(scene: Scene) -> float:
    """It answers, and refuses what it could not write down, until there is room again."""
    with filled(scene.rig.valkey.spec.directory):
        await asyncio.sleep(scene.between(PAUSE_S))
    return time.monotonic()


async def valkey_cut_short(scene: Scene) -> float:
    """As a power cut leaves it: the append-only file ends at a byte at random."""
    scene.rig.valkey.kill()
    written = max(_aof(scene).glob("*.incr.aof"))
    size = written.stat().st_size
    with written.open("r+b") as file:
        file.truncate(scene.rng.randint(size // 2, size))
    await asyncio.to_thread(scene.rig.valkey.restart)
    return time.monotonic()


async def valkey_older(scene: Scene) -> float:
    """Its data directory is put back as it was some hundreds of records ago."""
    copy = _aof(scene).with_name("copy")
    await asyncio.to_thread(shutil.copytree, _aof(scene), copy)
    await scene.rig.moved(scene.rng.randrange(50, 500))
    scene.rig.valkey.kill()
    shutil.rmtree(_aof(scene))
    copy.rename(_aof(scene))
    await asyncio.to_thread(scene.rig.valkey.restart)
    return time.monotonic()


async def valkey_emptied(scene: Scene) -> float:
    """Keys, functions and all, under running workers: all is counted again from the log's start."""
    async with redis.Redis.from_url(scene.rig.system.settings.redis) as client:
        await client.flushall()
        await client.function_flush()
    return time.monotonic()


def _aof(scene: Scene) -> Path:
    return scene.rig.valkey.spec.directory / "appendonlydir"


# -- links -----------------------------------------------------------------------------------------


def link_is(name: str, mode: Mode) -> Fault:
    async def fault(scene: Scene) -> float:
        link = scene.rig.links[name]
        link.set(mode, scene.between(DELAY_S))
        await asyncio.sleep(scene.between(PAUSE_S))
        link.set(Mode.OPEN)
        return time.monotonic()

    return fault


def link_reset(name: str) -> Fault:
    async def fault(scene: Scene) -> float:
        scene.rig.links[name].reset()
        return time.monotonic()

    return fault


# -- operations ------------------------------------------------------------------------------------


async def rebuilt(scene: Scene) -> float:
    """`odometer rebuild` while it counts; the command's own end is the instant. What it has retired
    must stand still though more is sent."""
    rig = scene.rig
    before = await rig.meta()
    assert before is not None
    retired = rig.system.generation
    await ended(start_rebuild(rig.system, rig.change), rig.system)
    ended_s = time.monotonic()
    async with redis.Redis.from_url(rig.system.settings.redis) as client:
        left = await client.get(meta_key(retired))
        enough = scene.stream.sent + SENT_AFTER_SWITCH
        await rig.system.until("more is sent", lambda: scene.stream.sent >= enough)
        assert await client.get(meta_key(retired)) == left, "a retired generation is counted on"
    return ended_s


# -- recoveries ------------------------------------------------------------------------------------
# Each gives the seconds from an instant on.


async def counts_again(scene: Scene, since_s: float) -> float:
    """Until each partition has been committed to."""
    return await scene.rig.recovered(since_s, scene.partitions)


async def answers_again(scene: Scene, since_s: float) -> float:
    """Until the API can answer."""
    async with httpx.AsyncClient(base_url=f"http://{scene.rig.api.address}", timeout=1) as client:
        while time.monotonic() < since_s + RECOVER_S_MAX:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return time.monotonic() - since_s
            except httpx.TransportError:
                pass  # not yet
            await asyncio.sleep(LOOK_PAUSE_S)
    raise AssertionError("the API never answered again")


async def accepts_again(scene: Scene, since_s: float) -> float:
    """Until the API has answered a batch of events with a 202."""
    before = len(scene.over_http.acknowledged)
    while time.monotonic() < since_s + RECOVER_S_MAX:
        if len(scene.over_http.acknowledged) > before:
            return time.monotonic() - since_s
        await asyncio.sleep(LOOK_PAUSE_S)
    raise AssertionError("the API never took events again")


@dataclass(frozen=True)
class Kind:
    fault: Fault
    goal_s: float = GOAL_S
    recovery: Callable[[Scene, float], Awaitable[float]] = counts_again


OF_LINKS: Final = {"api-valkey": answers_again, "api-kafka": accepts_again}
"""The recoveries that are not counting."""
NEED_SMALL_DISKS: Final = {"Kafka's disk full", "Valkey's disk full"}
KINDS: Final[dict[str, Kind]] = {
    "worker killed": Kind(worker_killed, TAKEOVER_GOAL_S),
    "worker paused": Kind(worker_paused),
    "rolling restart": Kind(rolling_restart),
    "SIGTERM in a commit": Kind(ended_in_a_commit),
    "scaled 1 to 4 to 2": Kind(scaled),
    "API killed": Kind(api_killed, recovery=answers_again),
    "API paused": Kind(api_paused, recovery=answers_again),
    "Kafka killed": Kind(kafka_killed),
    "Kafka restarted": Kind(kafka_restarted),
    "Kafka paused": Kind(kafka_paused),
    "Kafka paused past sessions": Kind(kafka_paused_past_sessions),
    "Kafka's disk full": Kind(kafka_without_disk),
    "partitions added": Kind(partitions_added),
    "Valkey killed": Kind(valkey_killed),
    "Valkey paused": Kind(valkey_paused),
    "Valkey's disk full": Kind(valkey_without_disk),
    "Valkey's file cut": Kind(valkey_cut_short),
    "Valkey older": Kind(valkey_older),
    "Valkey emptied": Kind(valkey_emptied),
    "rebuilt live": Kind(rebuilt),
    **{
        f"{name} {mode}": Kind(link_is(name, mode), recovery=OF_LINKS.get(name, counts_again))
        for name in LINKS
        for mode in (Mode.DELAY, Mode.CUT, Mode.HALF_OPEN)
    },
    **{
        f"{name} reset": Kind(link_reset(name), recovery=OF_LINKS.get(name, counts_again))
        for name in LINKS
    },
}
