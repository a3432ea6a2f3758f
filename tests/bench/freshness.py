"""How soon an event is counted: `python -m tests.bench.freshness [--seconds 10]`.

From the moment its producer sees Kafka's acknowledgement until the counters, read from Redis every
2 ms as the API reads them, have it: on an idle system, at half and at 90% of what one worker counts
a second (measured first), and with a backfill of a month beside live events: paced by the sender, so
that both together are half of that, and as fast as Kafka takes it. A Kafka, a Valkey and a worker
process of its own; what was sent is then compared with the positions.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import redis.asyncio as redis
from aiokafka import AIOKafkaProducer

from deploy.kafka import start_kafka
from deploy.servers import free_port
from deploy.valkey import start_valkey, url_of
from schemas.layout import FIRST_GENERATION, meta_key, unpack_meta
from tests.bench.usage_log import BACKFILL, LIVE, Shape, Totals, values_of
from tests.real.system import System, system_of
from tests.real.topics import now_ms, producer_of

PARTITIONS: Final = 4
TICK_S: Final = 0.02
LOOK_S: Final = 0.002
WARM_UP: Final = 30_000
"""Events that the worker's capacity is measured by."""
IDLE_PER_S: Final = 10
MADE_AT_ONCE: Final = 5000
GOALS_MS: Final = {"idle": 250, "half of capacity": 250, "90% of capacity": 1000}


@dataclass
class Sent:
    """What was acknowledged: for each event its partition, offset and when that was seen."""

    acks: list[tuple[int, int, float]] = field(default_factory=list)


@dataclass
class Seen:
    """Each partition's position over time, as a reader saw it."""

    at_s: list[float] = field(default_factory=list)
    positions: list[tuple[int, ...]] = field(default_factory=list)

    async def look(self, url: str) -> None:
        async with redis.Redis.from_url(url) as client:
            while True:
                data = await client.get(meta_key(FIRST_GENERATION))
                if isinstance(data, bytes):
                    self.positions.append(tuple(p.position for p in unpack_meta(data).partitions))
                    self.at_s.append(time.perf_counter())
                await asyncio.sleep(LOOK_S)

    def waits_ms(self, sent: Sent) -> list[float]:
        """From acknowledgement to the first look that had it; 0 where that was before."""
        columns = list(zip(*self.positions, strict=True))
        waits = []
        for partition, offset, at_s in sent.acks:
            look = bisect_right(columns[partition], offset)
            assert look < len(self.at_s), "not counted"
            waits.append(max(0.0, self.at_s[look] - at_s) * 1000)
        return sorted(waits)


def events_of(shape: Shape, start: int) -> Iterator[bytes]:
    """Without end, in time's order up to now."""
    while True:
        yield from values_of(shape, range(start, start + MADE_AT_ONCE), now_ms(), Totals())
        start += MADE_AT_ONCE


async def send(
    producer: AIOKafkaProducer, topic: str, values: Sequence[bytes], partition: int, sent: Sent
) -> None:
    batch = producer.create_batch()
    count = sum(batch.append(timestamp=None, key=None, value=v) is not None for v in values)
    assert count == len(values)
    found = await (await producer.send_batch(batch, topic, partition=partition))
    at_s = time.perf_counter()
    sent.acks.extend((partition, found.offset + n, at_s) for n in range(count))


async def at_rate(
    system: System, events: Iterator[bytes], per_s: float, seconds: float, sent: Sent
) -> None:
    """A batch each tick, round the partitions; one that is late is followed at once."""
    async with producer_of(system.settings.kafka, linger_ms=0, max_batch_size=1 << 20) as producer:
        started_s, made, tick = time.perf_counter(), 0, 0
        while (passed_s := time.perf_counter() - started_s) < seconds:
            due = min(2000, int(passed_s * per_s) - made)
            if due > 0:
                made += due
                await send(producer, system.topic, list(islice(events, due)), tick % 4, sent)
            tick += 1
            await asyncio.sleep(TICK_S if due < 2000 else 0)


async def measured(
    system: System, live_per_s: float, seconds: float, start: int, backfill_per_s: float = 0
) -> tuple[list[float], int]:
    """The waits of live events in ms, and how many events there were in all."""
    sent, backfilled, seen = Sent(), Sent(), Seen()
    looking = asyncio.create_task(seen.look(system.settings.redis))
    async with asyncio.TaskGroup() as tasks:
        live = events_of(LIVE, start)
        tasks.create_task(at_rate(system, live, live_per_s, seconds, sent))
        if backfill_per_s:
            old = events_of(BACKFILL, start + 10_000_000)
            tasks.create_task(at_rate(system, old, backfill_per_s, seconds, backfilled))
    await system.caught_up()
    await asyncio.sleep(10 * LOOK_S)
    looking.cancel()
    await asyncio.wait([looking])
    return seen.waits_ms(sent), len(sent.acks) + len(backfilled.acks)


async def capacity(system: System) -> float:
    """Events that the worker counts a second, from a log that is there."""
    await at_rate(system, events_of(LIVE, 50_000_000), 1e9, 1.0, Sent())
    began = sum(system.positions().values())
    started_s = time.perf_counter()
    await system.caught_up()
    return (sum(system.positions().values()) - began) / (time.perf_counter() - started_s)


def shown(name: str, waits_ms: Sequence[float], events: int, seconds: float) -> None:
    p50, p99 = (waits_ms[int((len(waits_ms) - 1) * share)] for share in (0.5, 0.99))
    goal = f"  (goal: p99 {GOALS_MS[name]})" if name in GOALS_MS else ""
    print(
        f"{name:48}{events / seconds:8.0f}/s  p50 {p50:6.0f} ms  p99 {p99:6.0f} ms{goal}",
        flush=True,
    )


async def compare(system: System, seconds: float) -> None:
    system.worker()
    await at_rate(system, events_of(LIVE, 40_000_000), WARM_UP, 1.0, Sent())
    await system.caught_up()
    whole = await capacity(system)
    print(f"one worker counts {whole:.0f} events/s here", flush=True)
    cases = (
        ("idle", IDLE_PER_S, 0.0),
        ("half of capacity", whole / 2, 0.0),
        ("90% of capacity", whole * 0.9, 0.0),
        ("live 10%, a backfill paced at 40%", whole / 10, whole * 0.4),
        ("live 10%, a backfill as fast as Kafka takes it", whole / 10, 1e9),
    )
    for number, (name, live_per_s, backfill_per_s) in enumerate(cases):
        waits_ms, events = await measured(
            system, live_per_s, seconds, number * 100_000, backfill_per_s
        )
        shown(name, waits_ms, events, seconds)


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    seconds = parser.parse_args(arguments).seconds
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as name:
        directory = Path(name)
        kafka = start_kafka(directory, port=free_port(), controller_port=free_port())
        valkey = start_valkey(directory, port=free_port())
        try:
            async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
                await compare(system, seconds)
        finally:
            valkey.stop()
            kafka.stop()


if __name__ == "__main__":
    asyncio.run(main())
