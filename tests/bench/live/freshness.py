"""How soon an event is counted: `python -m tests.bench.live.freshness [--seconds 10] [--history 100000]`.

The time begins when the producer sees Kafka's acknowledgement. It ends when the counters have the
event; the benchmark reads them from Redis every 2 ms, as the API does. The cases:

- an idle system, half of one worker's capacity, and 90% of it (capacity is measured first)
- 200 events/s alone, and beside `odometer send` of a file with a month of history, over HTTP and to
  Kafka; `odometer send` gives way by itself

For the file, the report shows the rate at which its middle is counted (from a tenth to nine tenths),
beside the rate without live load and without giving way. Each process is separate, all on one machine.
At the end the sums of every view are compared with what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import redis
from aiokafka import AIOKafkaProducer
from redis import asyncio as redis_asyncio

from deploy.local.api_keys import create_key
from deploy.local.servers import plain_environment
from deploy.local.valkey import url_of
from deploy.settings import CHECKOUT
from schemas.catalog.views import DEFAULT
from schemas.store.layout import FIRST_GENERATION, meta_key, unpack_meta
from tests.bench.data.usage_log import BACKFILL, LIVE, Shape, Totals, values_of
from tests.bench.fold import check_totals
from tests.bench.own_servers import own_servers
from tests.real.harness.api_process import api_of
from tests.real.harness.system import System, system_of
from tests.real.harness.topics import now_ms, producer_of

PARTITIONS: Final = 4
TICK_S: Final = 0.02
LOOK_S: Final = 0.002
IDLE_PER_S: Final = 10
LIVE_PER_S: Final = 200
HISTORY: Final = 100_000
OVERLOAD_PER_S: Final = 30_000
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

    async def look(self, url: str, over: asyncio.Event) -> None:
        async with redis_asyncio.Redis.from_url(url) as client:
            while not over.is_set():
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

    def per_s(self) -> float:
        """At which rate the middle of all that was seen was counted."""
        counted = [sum(positions) for positions in self.positions]
        whole = counted[-1] - counted[0]
        first, last = (
            bisect_left(counted, counted[0] + int(whole * share)) for share in (0.1, 0.9)
        )
        first = max(0, first - 1)  # one commit may have counted all of it
        seconds = max(LOOK_S, self.at_s[last] - self.at_s[first])
        return (counted[last] - counted[first]) / seconds


@dataclass
class Events:
    """Events with ids that nobody else has, and what all that were taken come to."""

    next: int = 0
    totals: Totals = field(default_factory=Totals)

    def of(self, shape: Shape) -> Iterator[bytes]:
        """Without end, in time's order up to now."""
        while True:
            numbers = range(self.next, self.next + MADE_AT_ONCE)
            self.next = numbers.stop
            yield from values_of(shape, numbers, now_ms(), self.totals)


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


@asynccontextmanager
async def seen_of(system: System) -> AsyncIterator[Seen]:
    """What a reader sees until all is counted."""
    seen, over = Seen(), asyncio.Event()
    looking = asyncio.create_task(seen.look(system.settings.redis, over))
    try:
        yield seen
        await system.caught_up()
        await asyncio.sleep(10 * LOOK_S)
    finally:
        over.set()  # the client may swallow that it is cancelled
        await looking


async def waits_at(
    system: System, events: Events, per_s: float, seconds: float
) -> tuple[list[float], float]:
    """The waits of live events in ms, and how many a second there were."""
    sent = Sent()
    async with seen_of(system) as seen:
        await at_rate(system, events.of(LIVE), per_s, seconds, sent)
    return seen.waits_ms(sent), len(sent.acks) / seconds


async def capacity(system: System, events: Events, seconds: float) -> float:
    """Events that the worker counts a second: as it warms up, then beside a sender of somewhat more
    that shares the cores, as in all that follows."""
    per_s = float(OVERLOAD_PER_S)
    for share, lasting_s in ((1.0, min(1.0, seconds)), (1.2, seconds)):
        async with seen_of(system) as seen:
            await at_rate(system, events.of(LIVE), share * per_s, lasting_s, Sent())
        per_s = seen.per_s()
    return per_s


# -- beside a backfill -----------------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """A file of a month, and the command that sends it."""

    file: Path
    events: int
    command: Sequence[str]

    async def send(self) -> None:
        """A new month each time."""
        command = [sys.executable, "-m", "deploy.cli.main", "send", str(self.file), "--no-state"]
        process = await asyncio.create_subprocess_exec(
            *command, *self.command, cwd=CHECKOUT, env=plain_environment(),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    def write(self, events: Events) -> None:
        made = islice(events.of(BACKFILL), self.events)
        self.file.write_bytes(b"".join(one + b"\n" for one in made))


async def beside(
    system: System, events: Events, history: History, live_per_s: float
) -> tuple[list[float], float]:
    """The waits of live events in ms while history is sent, and how many events of both are counted
    a second."""
    await asyncio.to_thread(history.write, events)
    sent = Sent()
    async with seen_of(system) as seen:
        sending = asyncio.create_task(history.send())
        live = events.of(LIVE)
        while live_per_s and not sending.done():
            await at_rate(system, live, live_per_s, 0.5, sent)
        await sending
    return seen.waits_ms(sent), seen.per_s()


async def compare_backfill(system: System, events: Events, directory: Path, count: int) -> None:
    settings = system.settings
    key = await create_key(settings.redis, name="bench", tenant="default", role="write-only")
    file = directory / "history.ndjson"
    to_kafka: tuple[str, ...] = ("--to-kafka", "--kafka", settings.kafka, "--redis", settings.redis)
    to_kafka = (*to_kafka, "--topic", settings.topic)
    with (
        api_of(settings, directory / "paced") as api,
        api_of(settings, directory / "unpaced", "--backfill-delay-ms", "0") as unpaced,
    ):
        over_http = ("--api-key", key, "--api-url", f"http://{api.address}")
        plain_http = ("--api-key", key, "--api-url", f"http://{unpaced.address}")
        for name, paced, plain in (
            ("odometer send", over_http, plain_http),
            ("odometer send --to-kafka", to_kafka, (*to_kafka, "--unpaced")),
        ):
            _, full = await beside(system, events, History(file, count, plain), 0)
            print(f"{name}, without giving way, no live load{full:12.0f}/s", flush=True)
            waits_ms, both = await beside(system, events, History(file, count, paced), LIVE_PER_S)
            shown(f"live beside {name}", waits_ms, LIVE_PER_S)
            share = (both - LIVE_PER_S) / full
            print(f"{name}, beside it{both - LIVE_PER_S:12.0f}/s, {share:.2f} of that", flush=True)
            waits_ms, _ = await beside(system, events, History(file, count, plain), LIVE_PER_S)
            shown(f"live beside {name}, without giving way", waits_ms, LIVE_PER_S)


def shown(name: str, waits_ms: Sequence[float], per_s: float) -> None:
    p50, p99 = (waits_ms[int((len(waits_ms) - 1) * share)] for share in (0.5, 0.99))
    goal = f"  (goal: p99 {GOALS_MS[name]})" if name in GOALS_MS else ""
    print(f"{name:60}{per_s:8.0f}/s  p50 {p50:6.0f} ms  p99 {p99:6.0f} ms{goal}", flush=True)


async def compare(system: System, directory: Path, seconds: float, history: int) -> None:
    events = Events()
    system.worker()
    whole = await capacity(system, events, seconds)
    print(f"one worker counts {whole:.0f} events/s here", flush=True)
    for name, per_s in (
        ("idle", IDLE_PER_S),
        ("half of capacity", whole / 2),
        ("90% of capacity", whole * 0.9),
        ("live alone", LIVE_PER_S),
    ):
        shown(name, *await waits_at(system, events, per_s, seconds))
    await compare_backfill(system, events, directory, history)
    with redis.Redis.from_url(system.settings.redis) as client:
        check_totals(client, DEFAULT, events.totals)
    print(f"counted in every view, as sent: {events.totals}", flush=True)


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--history", type=int, default=HISTORY, help="events of the file")
    options = parser.parse_args(arguments)
    with own_servers() as (directory, kafka, valkey):
        async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
            await compare(system, directory, options.seconds, options.history)


if __name__ == "__main__":
    asyncio.run(main())
