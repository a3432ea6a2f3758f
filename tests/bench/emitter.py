"""What a `Meter` costs its app: `python -m tests.bench.emitter [--events N] [--kafka]`.

It prints the CPU time of the caller's thread an event, beside the cheapest alternative: the app makes
the same dict and keeps it in a list. It also prints the CPU time of the whole process, with JSON, gzip
and sending. Every event that arrived is compared with what was recorded, id by id. Medians of five
rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.local.kafka import start_kafka
from deploy.local.servers import free_port
from streams.kafka.topics import ensure_topics
from streams.meter import Meter
from tests.real.harness.topics import read_log
from tests.streams.meter.receiver import receiver_of

ROUNDS = 5
BURST = 1000
TOPIC = "bench.events"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000, help="of one round")
    parser.add_argument("--kafka", action="store_true", help="to a real Kafka, not over HTTP")
    options = parser.parse_args()
    with a_kafka() if options.kafka else a_receiver() as (url, read_back):
        caller, process, listed, sent = [], [], [], set()
        with Meter(url, source="bench", queue_max=2 * options.events, close_s=60) as meter:
            for _ in range(ROUNDS):
                listed.append(append_to_list(options.events))
                ids, caller_us, process_us = record(meter, options.events)
                caller.append(caller_us)
                process.append(process_us)
                sent.update(ids)
            counts = meter.counts
        arrived = read_back()
    assert counts == (ROUNDS * options.events, 0, 0, 0), counts
    assert arrived == sent, f"{len(arrived)} arrived of {len(sent)}"
    print(f"{len(sent)} events recorded, {len(arrived)} arrived: the same ids")
    report("a dict kept in a list, CPU us an event", listed)
    report("Meter.record, CPU us an event in the caller's thread", caller)
    report("the whole process (with JSON and sending), CPU us an event", process)


def record(meter: Meter, events: int) -> tuple[list[str], float, float]:
    """In bursts, as an app does; the ids, and CPU us an event of this thread and of the process."""
    ids: list[str] = []
    caller_ns, process_ns = 0, time.process_time_ns()
    for _ in range(events // BURST):
        before_ns = time.thread_time_ns()
        ids += [meter.record("llm", **fields(number)) for number in range(BURST)]
        caller_ns += time.thread_time_ns() - before_ns
    assert meter.flush(60)
    process_ns = time.process_time_ns() - process_ns
    return ids, caller_ns / events / 1000, process_ns / events / 1000


def fields(number: int) -> dict[str, Any]:
    return {
        "provider": "openai",
        "model": "gpt-4o",
        "agent_id": "my-agent",
        "user_id": "u-1",
        "call_id": "call-1",
        "input_tokens": 1200 + number,
        "output_tokens": 300,
        "cache_read_tokens": 1000,
        "latency_ms": 850,
        "first_output_ms": 210,
    }


def append_to_list(events: int) -> float:
    kept: list[dict[str, Any]] = []
    before_ns = time.thread_time_ns()
    kept += [fields(number) for number in range(events)]
    return (time.thread_time_ns() - before_ns) / events / 1000


def report(what: str, us: list[float]) -> None:
    print(f"{what}: {statistics.median(us):.2f} (from {min(us):.2f} to {max(us):.2f})")


@contextmanager
def a_receiver() -> Iterator[tuple[str, Callable[[], set[str]]]]:
    with receiver_of([]) as receiver:
        yield receiver.url, lambda: set(receiver.ids)


@contextmanager
def a_kafka() -> Iterator[tuple[str, Callable[[], set[str]]]]:
    with TemporaryDirectory(prefix="odometer-bench-") as directory:
        server = start_kafka(Path(directory), port=free_port(), controller_port=free_port())
        try:
            asyncio.run(
                ensure_topics(
                    server.address, events=TOPIC, dead_letter=f"{TOPIC}.dead", partitions=4
                )
            )

            def read_back() -> set[str]:
                records = asyncio.run(read_log(server.address, TOPIC))
                return {json.loads(one.value or b"")["id"] for one in records}

            yield f"kafka://{server.address}/{TOPIC}", read_back
        finally:
            server.stop()


if __name__ == "__main__":
    main()
