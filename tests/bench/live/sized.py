"""`odometer size` beside a real run: `python -m tests.bench.live.sized [--per-s 1000] [--seconds 300]`.

One worker counts live events (tests.bench.data.usage_log). The table has what was measured in the last
two thirds of the run, and what the estimate says for the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
import redis

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from deploy.sizing.estimate import Load, checked, estimate
from schemas.catalog.views import DEFAULT
from tests.bench.data.usage_log import AGENTS, LIVE, MODELS
from tests.bench.fold import check_totals
from tests.bench.live.freshness import PARTITIONS, Events, Sent, at_rate
from tests.bench.live.pace import cpu_s
from tests.bench.own_servers import own_servers
from tests.real.harness.system import System, system_of

DAY_S: Final = 86_400


def file_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*.aof"))


async def compare(
    system: System, valkey: Server, directory: Path, per_s: float, seconds: float
) -> None:
    events = Events()
    worker = system.worker()
    pids = (worker.process.pid, valkey.pid)
    with redis.Redis.from_url(system.settings.redis) as client:
        empty = client.info("memory")["used_memory"]
        await at_rate(system, events.of(LIVE), per_s, seconds / 3, Sent())
        before = [*map(cpu_s, pids), file_bytes(directory), _received(client)]
        sent = Sent()
        began_s, commits = time.perf_counter(), _commits(system)
        await at_rate(system, events.of(LIVE), per_s, 2 * seconds / 3, sent)
        passed_s = time.perf_counter() - began_s
        commits = _commits(system) - commits
        after = [*map(cpu_s, pids), file_bytes(directory), _received(client)]
        memory = client.info("memory")["used_memory"]
        await system.caught_up()
        check_totals(client, DEFAULT, events.totals)
    worker_cores, redis_cores, file, received = (
        (now - then) / passed_s for now, then in zip(after, before, strict=True)
    )
    rate = len(sent.acks) / passed_s
    load = Load(
        events_per_s=rate,
        series=events.totals.events,  # of 30 million combinations, nearly each event has its own
        tenants=LIVE.tenants,
        agent_models=AGENTS * MODELS,
        days=seconds / DAY_S,
        event_bytes=308,
        kafka_days=seconds / DAY_S,
        replicas=1,
    )
    needs = estimate(checked(load))
    print(
        f"{f'{rate:.0f} events/s, {seconds:.0f} s, load {psutil.getloadavg()[0]:.1f}':36}{'measured':>14}{'estimate':>14}"
    )
    for name, found, said in (
        ("events a commit", len(sent.acks) / commits, needs.events_a_commit),
        ("worker, cores", worker_cores, needs.worker_cores),
        ("Redis, cores", redis_cores, needs.redis_cores),
        ("file written, B/s", file, needs.file_bytes_per_s),
        ("received by Redis, B/s", received, needs.redis_input_bytes_per_s),
        ("memory of Redis, B", memory - empty, needs.redis_bytes),
        (
            "worker's memory, B",
            psutil.Process(worker.process.pid).memory_info().rss,
            needs.worker_bytes,
        ),
    ):
        print(f"{name:36}{found:14,.2f}{said:14,.2f}{said / found:8.2f}", flush=True)


def _commits(system: System) -> int:
    meta = system.meta()
    assert meta is not None
    return meta.commits


def _received(client: redis.Redis) -> int:
    return int(client.info("stats")["total_net_input_bytes"])


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--per-s", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args(arguments)
    with own_servers() as (directory, kafka, valkey):
        async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
            await compare(system, valkey, directory, options.per_s, options.seconds)


if __name__ == "__main__":
    asyncio.run(main())
