"""How the cost of counting grows: `python -m tests.bench.scaling [--events 60000] [--short]`.

CPU us an event of all workers together and of Redis, with the five busiest views at live time: for 1, 2
and 4 workers on one topic, for 1k to 100k series of agents and models, and for 4 to 64 partitions.
Totals are checked after each run, as in tests.bench.fold.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import redis

from tests.bench.data.usage_log import LIVE, MODELS
from tests.bench.fold import (
    PAUSE_S,
    Log,
    Servers,
    check_totals,
    counted,
    log_of,
    run,
    servers_of,
    shown,
    spec_of,
)
from tests.bench.fold_process import FIVE

WORKERS: Final = (1, 2, 4)
SERIES: Final = (1000, 10_000, 100_000)
PARTITIONS: Final = (4, 16, 64)


def shared(servers: Servers, log: Log, workers: int) -> tuple[float, float]:
    """CPU us an event, of all workers of one group and of Redis."""
    with redis.Redis.from_url(servers.redis) as client:
        client.flushall()
        before_s = servers.redis_cpu_s()
        spec = spec_of(servers, log, shared=True, batch=1000)
        with ThreadPoolExecutor(workers) as threads:
            costs = list(threads.map(lambda _: run("worker", spec), range(workers)))
        time.sleep(PAUSE_S)
        redis_s = servers.redis_cpu_s() - before_s
        check_totals(client, FIVE, log.totals)
    cpu_s = sum(cost.cpu_s for cost in costs)
    return cpu_s / log.totals.events * 1e6, redis_s / log.totals.events * 1e6


async def compare(servers: Servers, events: int, *, short: bool) -> None:
    log = await log_of(servers, LIVE, events, 8)
    for workers in WORKERS[:1] if short else WORKERS:
        worker_us, redis_us = shared(servers, log, workers)
        name = f"{workers} workers, batches of 1000"
        print(f"{name:44}{worker_us:9.1f}{redis_us:9.1f}", flush=True)
    for series in SERIES[-1:] if short else SERIES:
        log = await log_of(servers, replace(LIVE, agents=series // MODELS), events)
        shown(f"{series} series", counted(servers, log, "five", 0))
    for partitions in () if short else PARTITIONS:
        log = await log_of(servers, LIVE, events, partitions)
        shown(f"{partitions} partitions", counted(servers, log, "five", 0))


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args(arguments)
    with servers_of() as servers:
        await compare(servers, options.events, short=options.short)


if __name__ == "__main__":
    asyncio.run(main())
