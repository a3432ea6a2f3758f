"""The processes that tests.bench.fold compares: each reads a whole topic and prints what it cost.

    python -m tests.bench.fold_process worker|getmany|faust SPEC

SPEC is `Spec` as JSON. The answer is one line of JSON: events, CPU seconds, elapsed seconds, and the
time in ms that each commit waited for the store. Both times begin before the first fetch and end after
the last commit. They include joining the group (some 20 ms), but not imports, prices and connecting.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from itertools import count
from typing import Any, Final

import faust
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.catalog.views import AGENT, AGENT_MODEL, DEFAULT, MODEL, TOTAL, USER, Catalog
from schemas.prices.tariffs import warm_up
from schemas.store.generation import generation_digest
from streams.core.batch import Policy
from streams.core.ports import Commit, Reply
from streams.kafka.consumer import open_log
from streams.kafka.offsets import read_bounds
from streams.redis.store import RedisStore
from streams.worker.clock import ProcessClock
from streams.worker.faust_process import spare_collector
from streams.worker.loop import Worker

FIVE: Final = Catalog(views=(TOTAL, MODEL, AGENT, AGENT_MODEL, USER))
"""The five busiest views: what the goals are for."""
CATALOGS: Final = {"five": FIVE, "all": DEFAULT}


class Spec(msgspec.Struct, frozen=True):
    """What to read and how; `batch` 0: the product's own policy. `shared`: other workers of the same
    group count too, so that it ends when nothing is left to count. `directory`: for what Faust leaves."""

    kafka: str
    redis: str
    topic: str
    group: str
    events: int
    catalog: str = "five"
    batch: int = 0
    shared: bool = False
    directory: str = ""


class Cost(msgspec.Struct, frozen=True):
    """What came of it. `calls_ms`: each commit's wait for Redis."""

    events: int
    cpu_s: float
    elapsed_s: float
    calls_ms: tuple[float, ...] = ()

    @property
    def us_an_event(self) -> float:
        return self.cpu_s / self.events * 1e6


class _Timed(RedisStore):
    """The store, whose commits are timed."""

    calls_ms: list[float]

    async def commit(self, commit: Commit) -> Reply:
        started_s = time.perf_counter()
        reply = await super().commit(commit)
        self.calls_ms.append((time.perf_counter() - started_s) * 1000)
        return reply


def policy_of(batch: int) -> Policy:
    """Batches of exactly so many records, or the product's own."""
    return Policy() if not batch else Policy(records_max=batch, vectors_max=1 << 40, age_ms_min=250)


async def worker(spec: Spec) -> Cost:
    """The product's own worker, as one member of a group, until all events are counted."""
    warm_up()
    spare_collector()
    digest = generation_digest(spec.topic, catalog=CATALOGS[spec.catalog])
    log = open_log(spec.kafka, spec.topic, f"{spec.topic}.dead", spec.group)
    async with _Timed(spec.redis) as store, log as kafka_log:
        store.calls_ms = []
        counting = Worker(
            kafka_log,
            store,
            ProcessClock(),
            digest,
            policy_of(spec.batch),
            catalog=CATALOGS[spec.catalog],
        )

        def is_done() -> bool:
            health = counting.health
            return (
                health.events > 0 and not counting.lag()
                if spec.shared
                else (health.events >= spec.events)
            )

        watching = asyncio.create_task(counting.poll_end_offsets(is_done))
        cpu_s, started_s = time.process_time(), time.perf_counter()
        await counting.run(is_done)
        cost = Cost(
            counting.health.events,
            time.process_time() - cpu_s,
            time.perf_counter() - started_s,
            tuple(store.calls_ms),
        )
        await watching
        return cost


async def getmany(spec: Spec) -> Cost:
    """aiokafka's own batches, thrown away."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=spec.kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    bounds = await read_bounds(spec.kafka, spec.topic)
    consumer.assign([TopicPartition(spec.topic, partition) for partition in bounds])
    seen = 0
    cpu_s, started_s = time.process_time(), time.perf_counter()
    while seen < spec.events:
        found = await consumer.getmany(timeout_ms=200, max_records=spec.batch or 20_000)
        seen += sum(len(records) for records in found.values())
    cost = Cost(seen, time.process_time() - cpu_s, time.perf_counter() - started_s)
    await consumer.stop()
    return cost


def run_faust(spec: Spec) -> None:
    """A plain agent that counts in memory: no store, nothing exactly once, two sums a model."""
    app = faust.App(
        spec.group,
        broker=f"kafka://{spec.kafka}",
        store="memory://",
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        worker_redirect_stdouts=False,
        datadir=spec.directory,
    )
    sums: Counter[tuple[str, str]] = Counter()
    began: list[float] = []
    seen = count()

    @app.agent(app.topic(spec.topic, value_type=bytes, value_serializer="raw"))
    async def add(stream: Any) -> None:
        async for value in stream:
            if not began:
                began.extend([time.process_time(), time.perf_counter()])
            event = json.loads(value)
            sums[event["model"], "events"] += 1
            sums[event["model"], "input_tokens"] += event["input_tokens"]
            if next(seen) + 1 == spec.events:
                cpu_s = time.process_time() - began[0]
                say(Cost(spec.events, cpu_s, time.perf_counter() - began[1]))
                os._exit(0)  # a worker whose agent ends its app waits for the agent

    app.finalize()
    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    faust.Worker(app, loop=loop, loglevel="ERROR").execute_from_commandline()


def say(cost: Cost) -> None:
    print(msgspec.json.encode(cost).decode(), flush=True)


def main(what: str, spec: Spec) -> None:
    logging.disable(logging.WARNING)
    if what == "faust":
        run_faust(spec)
        return
    say(asyncio.run(worker(spec) if what == "worker" else getmany(spec)))


if __name__ == "__main__":
    main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Spec))
