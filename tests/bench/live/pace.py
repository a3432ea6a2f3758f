"""How rarely a worker commits: `python -m tests.bench.live.pace [--seconds 10] [--per-s 10,2500,5000]`.

For each rate of live events, one worker that commits after 50 ms, and one that follows the load
(`Pace` in streams/core/batch.py), one directly after the other: records a commit, CPU us an event of
the worker and of Redis, and ms from Kafka's acknowledgement until the counters have the event.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

import psutil
import redis

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.catalog.views import DEFAULT
from streams.core.batch import Policy
from tests.bench.data.usage_log import LIVE
from tests.bench.fold import check_totals
from tests.bench.live.freshness import PARTITIONS, Events, Sent, at_rate, seen_of
from tests.bench.own_servers import own_servers
from tests.real.harness.system import System, system_of

PER_S: Final = "10,2500,5000"
SECONDS: Final = 10.0
WARM_UP_S: Final = 3.0
POLICIES: Final = {"after 50 ms": Policy(visible_ms_max=0), "by load": Policy()}


def cpu_s(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


async def compare(
    system: System, valkey: Server, rates: Sequence[float], seconds: float, turns: int
) -> None:
    events = Events()
    print(f"{'':36}{'a commit':>9}{'worker':>8}{'Redis':>8}{'p50 ms':>8}{'p99 ms':>8}{'load':>6}")
    for per_s in rates:
        for name in [*POLICIES] * turns:
            worker = system.worker(policy=POLICIES[name])
            await at_rate(system, events.of(LIVE), per_s, min(WARM_UP_S, seconds), Sent())
            await system.caught_up()
            pids = (worker.process.pid, valkey.pid)
            before = [cpu_s(pid) for pid in pids]
            sent = Sent()
            async with seen_of(system) as seen:
                await at_rate(system, events.of(LIVE), per_s, seconds, sent)
            spent = [cpu_s(pid) - then for pid, then in zip(pids, before, strict=True)]
            made = len(set(seen.positions)) - 1  # positions move with each commit of records
            worker.terminate()
            waits_ms = seen.waits_ms(sent)
            p50, p99 = (waits_ms[int((len(waits_ms) - 1) * share)] for share in (0.5, 0.99))
            us = "".join(f"{one / len(waits_ms) * 1e6:8.1f}" for one in spent)
            print(
                f"{f'{per_s:.0f}/s, {name}':36}{len(waits_ms) / made:9.0f}{us}{p50:8.0f}{p99:8.0f}"
                f"{psutil.getloadavg()[0]:6.1f}",
                flush=True,
            )
    with redis.Redis.from_url(system.settings.redis) as client:
        check_totals(client, DEFAULT, events.totals)
    print(f"counted in every view, as sent: {events.totals}", flush=True)


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--per-s", default=PER_S, help="rates, separated by commas")
    parser.add_argument("--turns", type=int, default=2, help="how often each of both runs")
    options = parser.parse_args(arguments)
    rates = [float(one) for one in options.per_s.split(",")]
    with own_servers() as (directory, kafka, valkey):
        async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
            await compare(system, valkey, rates, options.seconds, options.turns)


if __name__ == "__main__":
    asyncio.run(main())
