"""How soon an event on an idle system is counted: `python -m tests.bench.freshness`.

From the moment its producer sees Kafka's acknowledgement until the counters, read from Redis every
millisecond, have it. A Kafka, a Valkey and a worker process of its own, one event at a time.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import redis.asyncio as redis

from deploy.kafka import start_kafka
from deploy.servers import free_port
from deploy.valkey import start_valkey, url_of
from schemas.layout import FIRST_GENERATION, meta_key, unpack_meta
from schemas.units import iso
from tests.events import event
from tests.real.system import System, system_of
from tests.real.topics import now_ms, sent

EVENTS: Final = 20
PARTITIONS: Final = 4
IDLE_S: Final = (0.7, 1.7)
"""Between two events, at random, so that they meet every phase of the worker's waits."""


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as name:
        directory = Path(name)
        kafka = start_kafka(directory, port=free_port(), controller_port=free_port())
        valkey = start_valkey(directory, port=free_port())
        try:
            async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
                waits_ms = await measured(system)
        finally:
            kafka.stop()
            valkey.stop()
    waits_ms.sort()
    shown = " ".join(f"{one:.0f}" for one in waits_ms)
    print(f"from acknowledgement to counter, ms: median {statistics.median(waits_ms):.0f}, {shown}")


async def measured(system: System) -> list[float]:
    rng = random.Random(1)
    system.worker()
    waits_ms = []
    async with system.load() as load, redis.Redis.from_url(system.settings.redis) as client:
        await load.send([sent(event(id="warm-up", time=iso(now_ms())))])
        await system.caught_up()
        for number in range(EVENTS):
            await asyncio.sleep(rng.uniform(*IDLE_S))
            before = await counted(client)
            await load.send([sent(event(id=f"evt-{number}", time=iso(now_ms())))])
            acknowledged_s = time.monotonic()
            while await counted(client) == before:  # noqa: ASYNC110  as a reader would see it
                await asyncio.sleep(0.001)
            waits_ms.append((time.monotonic() - acknowledged_s) * 1000)
    return waits_ms


async def counted(client: redis.Redis) -> int:
    """Positions move in the same step as the counters."""
    data = await client.get(meta_key(FIRST_GENERATION))
    assert isinstance(data, bytes)
    return sum(partition.position for partition in unpack_meta(data).partitions)


if __name__ == "__main__":
    asyncio.run(main())
