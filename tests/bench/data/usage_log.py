"""A topic full of usage events with known totals, for the benchmarks: 200 agents, 30 models, 5,000 users."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from aiokafka import AIOKafkaProducer

from schemas.limits import DAY_MS, MINUTE_MS
from schemas.units import iso
from streams.kafka.topics import ensure_topics
from tests.real.harness.topics import producer_of

AGENTS, MODELS, USERS = 200, 30, 5000
WHOLE: Final = 1_000_000
"""Events that the span stands for: fewer are the first of them, as dense in time."""
BATCH_BYTES: Final = 512 << 10


@dataclass(frozen=True)
class Shape:
    """Of a log: over how much event time `WHOLE` events lie, and of how many tenants they are.
    `more`: JSON to put into an event, by its number, beginning with a comma."""

    name: str
    span_ms: int
    tenants: int = 1
    agents: int = AGENTS
    users: int = USERS
    more: Callable[[int], str] = lambda _number: ""


LIVE: Final = Shape("live", 10 * MINUTE_MS)
LIVE_20: Final = Shape("live, 20 tenants", 10 * MINUTE_MS, 20)
BACKFILL: Final = Shape("backfill", 30 * DAY_MS)
BACKFILL_20: Final = Shape("backfill, 20 tenants", 30 * DAY_MS, 20)


@dataclass
class Totals:
    """What a log must come to."""

    events: int = 0
    input_tokens: int = 0
    cost_nano_usd: int = 0


def values_of(
    shape: Shape, numbers: range, now_ms: int, totals: Totals, cost: str = '"0.00450"'
) -> Iterator[bytes]:
    """The events as JSON, at their times up to `now_ms`, added to `totals`."""
    rng = np.random.default_rng(numbers.start + 1)
    count = len(numbers)
    agents, models, users, tenants, inputs, outputs, latencies = (
        found.tolist()
        for found in (
            rng.integers(0, shape.agents, count),
            rng.integers(0, MODELS, count),
            rng.integers(0, shape.users, count),
            rng.integers(0, shape.tenants, count),
            rng.integers(1, 5000, count),
            rng.integers(1, 2000, count),
            rng.lognormal(7, 1, count).astype(np.int64),
        )
    )
    for at, number in enumerate(numbers):
        totals.events += 1
        totals.input_tokens += inputs[at]
        totals.cost_nano_usd += 4_500_000
        time = iso(now_ms - shape.span_ms + number % WHOLE * shape.span_ms // WHOLE)
        tenant = f',"tenant":"tenant-{tenants[at]}"' if shape.tenants > 1 else ""
        yield (
            f'{{"id":"evt-{number:012d}","source":"gateway-eu-1","time":"{time}","kind":"llm"{tenant}'
            f',"provider":"provider-{models[at] % 5}","model":"model-{models[at]}"'
            f',"agent_id":"agent-{agents[at]}","user_id":"user-{users[at]}"'
            f',"input_tokens":{inputs[at]},"output_tokens":{outputs[at]}'
            f',"cache_read_tokens":{inputs[at] // 2},"cost_usd":{cost}'
            f',"latency_ms":{latencies[at]},"first_output_ms":{latencies[at] // 4}'
            f"{shape.more(number)}}}"
        ).encode()


async def fill(
    kafka: str, topic: str, partitions: int, shape: Shape, numbers: range, now_ms: int
) -> Totals:
    """Makes the topic where it is missing and appends the events, round the partitions."""
    await ensure_topics(kafka, events=topic, dead_letter=f"{topic}.dead", partitions=partitions)
    totals = Totals()
    async with producer_of(kafka, linger_ms=0, max_batch_size=BATCH_BYTES) as producer:
        values = list(values_of(shape, numbers, now_ms, totals))
        for partition in range(partitions):
            await _append(producer, topic, partition, values[partition::partitions])
    return totals


async def _append(
    producer: AIOKafkaProducer, topic: str, partition: int, values: Sequence[bytes]
) -> None:
    batch = producer.create_batch()
    for value in values:
        if batch.append(timestamp=None, key=None, value=value) is None:
            await (await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            assert batch.append(timestamp=None, key=None, value=value) is not None
    await (await producer.send_batch(batch, topic, partition=partition))
