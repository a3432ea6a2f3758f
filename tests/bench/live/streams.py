"""How soon a change is on many streams: `python -m tests.bench.live.streams [--streams 1000] [--seconds 20]`.

One worker counts, one API process has all streams, and one client process reads them. The time begins
when the producer sees Kafka's acknowledgement and ends when a stream's bytes say so many requests. At the
end each stream must show what `/v1/usage` answers, and that must be what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec
import psutil
from aiokafka import AIOKafkaProducer

from deploy.local.api_keys import create_key
from deploy.local.valkey import url_of
from schemas.units import iso
from tests.bench.own_servers import own_servers
from tests.real.harness.api_process import api_of
from tests.real.harness.system import System, system_of
from tests.real.harness.topics import now_ms, producer_of

MIB: Final = 1024 * 1024
STREAMS: Final = 1000
STREAMS_OF_KEY: Final = 50
PER_S: Final = 20
GOAL_P95_MS: Final = 500
OPEN_S: Final = 60.0
QUESTIONS: Final = (
    {"measures": "requests,cost_usd", "group_by": "model"},
    {"measures": "requests", "granularity": "1m", "from": "now-1h", "group_by": "agent"},
    {"measures": "requests,p95_latency_ms", "granularity": "15m"},
    {"measures": "requests,error_rate", "group_by": "provider"},
    {"measures": "requests,total_tokens", "group_by": "agent,model", "limit": "10"},
)
TOTAL: Final = re.compile(rb'"totals":\{"requests":(\d+)')


@dataclass
class StreamClient(asyncio.Protocol):
    """One stream: when it showed which number of requests first."""

    path: str
    key: str
    at_s: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    status: bytes = b""
    ended: bool = False
    tail: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {self.key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.status = self.status or data[9:12]
        text = self.tail + data
        *_, last = [None, *TOTAL.finditer(text)]
        if last is not None and (not self.counts or int(last[1]) != self.counts[-1]):
            self.at_s.append(time.perf_counter())
            self.counts.append(int(last[1]))
        self.tail = text[-64:]

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended = True

    def waits_ms(self, acks: Sequence[tuple[int, float]]) -> list[float]:
        """From the acknowledgement of event number n until the stream showed n requests."""
        waits = []
        for number, acked_s in acks:
            seen = bisect_left(self.counts, number)
            assert seen < len(self.counts), "a stream did not show all events"
            waits.append(max(0.0, self.at_s[seen] - acked_s) * 1000)
        return waits


async def compare(system: System, directory: Path, streams: int, seconds: float) -> None:
    """Open the streams, send at PER_S, print how soon each stream showed it. Raises AssertionError if a
    number is wrong."""
    system.worker()
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(producer_of(system.settings.kafka, linger_ms=0))
        acks = [await _send(producer, system.topic, 1)]
        await system.complete()
        api = stack.enter_context(api_of(system.settings, directory))
        process = psutil.Process(api.pid)
        clients = await _opened(system, stack, int(api.address.rpartition(":")[2]), streams)
        before_s = sum(process.cpu_times()[:2])
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            acks.append(await _send(producer, system.topic, len(acks) + 1))
            await asyncio.sleep(1 / PER_S)
        took_s = time.perf_counter() - began_s
        spent_s = sum(process.cpu_times()[:2]) - before_s
        await _until(lambda: all(one.counts[-1] == len(acks) for one in clients), clients)
        await _check(clients, len(acks), api.address)
        waits = sorted(wait for one in clients for wait in one.waits_ms(acks[1:]))
        cuts = quantiles(waits, n=100)
        print(
            f"{len(clients)} streams of one process, {len(acks)} events at {PER_S}/s: acknowledged to"
            f" received p50 {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms (goal: {GOAL_P95_MS}), p99 {cuts[98]:.0f} ms;"
            f" {spent_s / took_s:.0%} of a core, {process.memory_info().rss / MIB:.0f} MiB;"
            " each stream shows what was sent",
            flush=True,
        )


async def _send(producer: AIOKafkaProducer, topic: str, number: int) -> tuple[int, float]:
    """One event; its number and when its acknowledgement was seen."""
    event = {
        "id": f"e-{number}",
        "source": "bench",
        "time": iso(now_ms()),
        "kind": "llm",
        "provider": f"p{number % 2}",
        "model": f"m{number % 20}",
        "agent_id": f"a{number % 7}",
        "tenant": "acme",
        "input_tokens": number,
        "output_tokens": 1,
        "latency_ms": number % 900,
    }
    await producer.send_and_wait(topic, msgspec.json.encode(event))
    return number, time.perf_counter()


async def _opened(
    system: System, stack: AsyncExitStack, port: int, streams: int
) -> list[StreamClient]:
    url = system.settings.redis
    keys = [
        await create_key(url, name=f"bench {n}", tenant="acme", role="viewer")
        for n in range(-(-streams // STREAMS_OF_KEY))
    ]
    clients = []
    for number in range(streams):
        path = f"/v1/stream?{urlencode(QUESTIONS[number % len(QUESTIONS)])}"
        client = StreamClient(path, keys[number // STREAMS_OF_KEY])
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda one=client: one, "127.0.0.1", port)  # type: ignore[misc]
        stack.callback(transport.close)
        clients.append(client)
    await _until(lambda: all(one.counts for one in clients), clients)
    return clients


async def _until(holds: Callable[[], bool], clients: Sequence[StreamClient]) -> None:
    give_up_s = time.perf_counter() + OPEN_S
    while not holds():
        ended = [one for one in clients if one.ended or one.status not in {b"", b"200"}]
        assert not ended, f"{len(ended)} streams ended: {ended[0].status!r}"
        assert time.perf_counter() < give_up_s, "not all streams showed it"
        await asyncio.sleep(0.05)


async def _check(clients: Sequence[StreamClient], sent: int, address: str) -> None:
    """Numbers only grow, and each stream ends with what `/v1/usage` answers."""
    for one in clients:
        assert all(a < b for a, b in pairwise(one.counts))
    async with httpx.AsyncClient(headers={"x-api-key": clients[0].key}) as client:
        for question in QUESTIONS:
            answer = await client.get(f"http://{address}/v1/usage", params=question)
            assert answer.json()["totals"]["requests"] == sent


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args(arguments)
    with own_servers() as (directory, kafka, valkey):
        async with system_of(kafka.address, url_of(valkey), directory, 1) as system:
            await compare(system, directory, options.streams, options.seconds)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
