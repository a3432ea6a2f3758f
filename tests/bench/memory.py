"""Whether memory stays flat: `python -m tests.bench.memory [--minutes 20] [--load 0.8]`.

Kafka, Valkey, a worker and an API run in processes of their own. The worker's capacity is measured
first. Then `--load` of it is sent at live time, and the API is asked once a second, while the memory
of each process is sampled. The report shows each process after the first quarter and at the end, and
its growth a minute in between.

Redis has to grow: it keeps an id of every event for a day, and pages of every minute in which something
happened. So its keys are added up by kind (`MEMORY USAGE`) at both instants, and the report shows their
growth beside that of Redis. At the end everything that was sent must be counted.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
import redis

from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.store.layout import FIRST_GENERATION, prefix
from tests.bench.data.usage_log import LIVE
from tests.bench.live.freshness import Events, Sent, at_rate, capacity
from tests.bench.own_servers import own_servers
from tests.real.harness.apis import api_of
from tests.real.harness.system import System, system_of

PARTITIONS: Final = 4
SAMPLES: Final = 200
"""Over the whole run."""
WARM_SHARE: Final = 0.25
"""Of a run, in which caches fill and allocators find their size."""
_KINDS: Final = {"i": "ids of events", "p": "pages of counters", "s": "pages of sketches"}


@dataclass(frozen=True)
class Sample:
    """Bytes: resident of the processes, `used_memory` of Redis."""

    at_s: float
    worker: int
    api: int
    redis: int


def grown_a_minute(at_s: Sequence[float], values: Sequence[int]) -> float:
    """The slope of a straight line through them."""
    count, middle_s = len(at_s), sum(at_s) / len(at_s)
    middle = sum(values) / count
    spread = sum((at - middle_s) ** 2 for at in at_s)
    drift = sum((at - middle_s) * (v - middle) for at, v in zip(at_s, values, strict=True))
    return drift / spread * 60 if spread else 0.0


def kept(client: redis.Redis) -> Counter[str]:
    """Bytes of what Redis keeps, by kind of key."""
    found: Counter[str] = Counter()
    head = len(prefix(FIRST_GENERATION))
    keys = list(client.scan_iter(count=1000))
    for at in range(0, len(keys), 1000):
        some = keys[at : at + 1000]
        pipe = client.pipeline(transaction=False)
        for key in some:
            pipe.memory_usage(key, samples=5)
        for key, usage in zip(some, pipe.execute(), strict=True):
            rest = key.decode()[head:]
            kind = _KINDS.get(rest[:1], "others") if rest[1:2].isdigit() else "others"
            found[kind] += usage or 0
    return found


async def watched(
    system: System, api: Server, key: str, seconds: float, samples: list[Sample]
) -> Counter[str]:
    """Samples until the time is over, and asks the API; what Redis kept after the warm-up."""
    worker = psutil.Process(system.workers[0].process.pid)
    process = psutil.Process(api.pid)
    started_s, after_warm_up = time.perf_counter(), Counter[str]()
    headers = {"authorization": f"Bearer {key}"}
    question = "/v1/usage?from=now-1d&granularity=1h&group_by=model"
    with redis.Redis.from_url(system.settings.redis) as client:
        async with httpx.AsyncClient(base_url=f"http://{api.address}", headers=headers) as asking:
            while (at_s := time.perf_counter() - started_s) < seconds:
                used = int(client.info("memory")["used_memory"])
                samples.append(
                    Sample(at_s, worker.memory_info().rss, process.memory_info().rss, used)
                )
                if not after_warm_up and at_s >= seconds * WARM_SHARE:
                    after_warm_up = kept(client)
                (await asking.get(question)).raise_for_status()
                await asyncio.sleep(max(seconds / SAMPLES, 0.05))
    return after_warm_up


def report(samples: Sequence[Sample], before: Counter[str], after: Counter[str]) -> None:
    warm = [one for one in samples if one.at_s >= samples[-1].at_s * WARM_SHARE]
    at_s = [one.at_s for one in warm]
    print(f"{'MB':32}{'after the first quarter':>24}{'at the end':>12}{'a minute':>10}")
    for name in ("worker", "api", "redis"):
        values = [int(getattr(one, name)) for one in warm]
        slope = grown_a_minute(at_s, values) / 1e6
        print(f"{name:32}{values[0] / 1e6:24.1f}{values[-1] / 1e6:12.1f}{slope:+10.2f}")
    for kind in sorted(after):
        print(f"{'  of it ' + kind:32}{before[kind] / 1e6:24.1f}{after[kind] / 1e6:12.1f}")
    grown = warm[-1].redis - warm[0].redis
    payload = after.total() - before.total()
    print(
        f"Redis grew by {grown / 1e6:.1f} MB, what it keeps by {payload / 1e6:.1f} MB", flush=True
    )


WARM_UP_S: Final = 1.0


async def measure(system: System, seconds: float, load: float) -> None:
    system.worker()
    events = Events()
    per_s = await capacity(system, events, WARM_UP_S) * load
    print(f"{per_s:.0f} events/s for {seconds / 60:.1f} minutes", flush=True)
    url = system.settings.redis
    key = await create_key(url, name="bench", tenant="default", role="viewer")
    samples: list[Sample] = []
    with api_of(system.settings, system.directory) as api:
        watching = asyncio.create_task(watched(system, api, key, seconds, samples))
        await at_rate(system, events.of(LIVE), per_s, seconds, Sent())
        before = await watching
    await system.caught_up()
    with redis.Redis.from_url(url) as client:
        report(samples, before, kept(client))


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--load", type=float, default=0.8)
    options = parser.parse_args(arguments)
    with own_servers() as (directory, kafka, valkey):
        await compare(kafka, valkey, directory, options.minutes * 60, options.load)


async def compare(
    kafka: Server, valkey: Server, directory: Path, seconds: float, load: float
) -> None:
    """On an emptied Redis."""
    url = url_of(valkey)
    with redis.Redis.from_url(url) as client:
        client.flushall()
    async with system_of(kafka.address, url, directory, PARTITIONS) as system:
        await measure(system, seconds, load)


if __name__ == "__main__":
    asyncio.run(main())
