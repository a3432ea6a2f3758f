"""A rebuild copies latest calls once, even if the new generation evicts them at once."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
import redis

from schemas.limits import DAY_MS
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import describe, generation_digest
from schemas.store.recent_calls import RECENT_HELD, RECENT_MAX, Recent, recent_key, records_of
from schemas.tiers import first_closed
from streams.rebuild.carry_over import CarryOver
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.shared_history import shared_with
from streams.redis.generations import GenerationEntry, RedisGenerations, RedisPair
from streams.redis.store import RedisStore
from streams.worker.clock import ProcessClock
from tests.oracles.event_logs import mixed
from tests.oracles.redis_users import read_recent, read_records
from tests.schemas.store.test_recent_calls import call
from tests.streams.rebuild.test_carry_over import (
    ALL_WEEK,
    TIMING,
    TOPIC,
    WEEK,
    ListLog,
    counts,
    worker_of,
)


def write(redis_url: str, generation: int, *groups: list[Recent]) -> None:
    """The calls of a tenant without events, in a record each."""
    key = recent_key(generation, "full")
    with redis.Redis.from_url(redis_url) as client:
        for calls in groups:
            (one,) = records_of(calls)
            client.zadd(key, {one.member(1): one.at_ms})
        client.zadd(key, {"": -sum(map(len, groups))})


@pytest.mark.servers
async def test_a_call_that_is_evicted_at_once_is_not_copied_for_ever(redis_url: str) -> None:
    """The new generation has many calls, and an older one in a record that ends later."""
    now_ms = time.time_ns() // 1_000_000
    log = mixed(random.Random(4), 60, start_ms=now_ms - 7 * DAY_MS, mix=WEEK)
    records = [record for record in log if ALL_WEEK not in (record.value or b"")]
    starts = dict.fromkeys(range(WEEK.partitions), 0)
    bounds = await ListLog(records, starts).bounds()
    entry = GenerationEntry(origin=1, begun_ms=now_ms, older_ms=now_ms - DAY_MS)
    digest = generation_digest(TOPIC)
    calls = [call(n) for n in range(RECENT_HELD + 2)]
    async with (
        RedisStore(redis_url, about=describe(TOPIC)) as store,
        RedisGenerations(redis_url) as generations,
        RedisPair(redis_url, 1, 2) as pair,
    ):
        old = worker_of(ListLog(records, starts), store, BUNDLED)
        await counts(old, sum(one.end for one in bounds.values()))
        assert await generations.begin(
            2, entry, digest, [*starts.values()], 0, describe(TOPIC), None, first_closed(now_ms)
        )
        write(redis_url, 1, calls[1:2], calls[900:])
        write(redis_url, 2, [calls[0], *calls[2:900]], calls[900:])
        worker = RebuildWorker(
            ListLog(records, starts),
            pair,
            ProcessClock(),
            digest,
            pair,
            CarryOver(pair, shared_with(await generations.about(1)), entry, now_ms),
            timing=TIMING,
        )
        async with asyncio.timeout(60):
            await worker.fill_and_switch(0)
    times_ms = [at_ms for at_ms, _ in read_records(redis_url, 2)["full"]]
    assert times_ms == [calls[899].at_ms, calls[-1].at_ms]  # no record of calls[1]
    assert read_recent(redis_url, 2)["full"] == calls[-RECENT_MAX:]
