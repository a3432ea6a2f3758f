"""What counting costs: CPU us an event of one worker and of Redis, from Kafka to committed.

    python -m tests.bench.fold [--events 200000] [--faust-events 20000] [--only "five views"]

The servers are a real Kafka and a real Valkey with its append-only file. The product's worker runs in
a process of its own and counts exactly once, with remembered ids and histograms. The cases:

- events: 1M in 10 minutes of event time (live) or in 30 days (backfill), of which the first
  `--events` are made; 200 agents, 30 models, 5,000 users; 1 tenant or 20
- views: the five busiest, or all
- batches: 1k, 5k, 20k records, or as the worker sizes them itself

After every run all views are added up and compared with what was sent.

The same topic is also read by simpler programs: aiokafka's `getmany`, which throws the bytes away, and
a plain Faust agent, which adds two numbers a model in memory (`--faust-events`).

The report compares each goal with the measured figure. Then it lists what each stage and each feature
of an event costs (tests.bench.stages). CPU time stays comparable when the machine does other work.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import msgspec
import numpy as np
import psutil
import redis

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.catalog.measures import COST_NANO_USD, EVENTS, INPUT_TOKENS, Measure
from schemas.catalog.views import Catalog
from schemas.store.layout import (
    FIRST_GENERATION,
    SLOT_BUCKETS,
    counters_of,
    meta_key,
    prefix,
    unpack_meta,
)
from schemas.tiers import DAY, Span, floor_to, whole_spans
from tests.bench import stages
from tests.bench.data.usage_log import (
    BACKFILL,
    BACKFILL_20,
    LIVE,
    LIVE_20,
    Shape,
    Totals,
    fill,
)
from tests.bench.fold_process import CATALOGS, Cost, Spec
from tests.bench.own_servers import own_servers
from tests.real.harness.topics import now_ms

PARTITIONS: Final = 4
BATCHES: Final = (1000, 5000, 20_000)
PROCESS_S: Final = 900
FAUST_GOAL: Final = 30.0
PAUSE_S: Final = 0.3
"""For Redis to end what a run left it to do, before its CPU time is read."""
_NAMES = count()


@dataclass(frozen=True)
class Servers:
    kafka: Server
    valkey: Server

    @property
    def redis(self) -> str:
        return url_of(self.valkey)

    def redis_cpu_s(self) -> float:
        times = psutil.Process(self.valkey.pid).cpu_times()
        return times.user + times.system


@contextmanager
def servers_of() -> Iterator[Servers]:
    with own_servers() as (_, kafka, valkey):
        yield Servers(kafka, valkey)


FAR_MS: Final = 1 << 45
"""After every event."""


@dataclass(frozen=True)
class Log:
    """A topic of one shape, and what it must come to."""

    shape: Shape
    topic: str
    totals: Totals


@dataclass(frozen=True)
class Found:
    """Of one run. Per event: CPU us of the worker and of Redis."""

    worker_us: float
    redis_us: float
    per_s: float
    call_ms: Sequence[float]


async def log_of(servers: Servers, shape: Shape, events: int, partitions: int = PARTITIONS) -> Log:
    topic = f"bench.{next(_NAMES)}"
    kafka = servers.kafka.address
    totals = await fill(kafka, topic, partitions, shape, range(events), now_ms())
    return Log(shape, topic, totals)


def run(what: str, spec: Spec) -> Cost:
    """One process of tests.bench.fold_process, to its end."""
    command = [sys.executable, "-m", "tests.bench.fold_process", what]
    command.append(msgspec.json.encode(spec).decode())
    done = subprocess.run(command, capture_output=True, timeout=PROCESS_S, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(b"{")]
    assert lines, done.stderr.decode()
    return msgspec.json.decode(lines[-1], type=Cost)


def spec_of(servers: Servers, log: Log, **changes: Any) -> Spec:
    return Spec(
        **{
            "kafka": servers.kafka.address,
            "redis": servers.redis,
            "topic": log.topic,
            "group": f"bench-{next(_NAMES)}",
            "events": log.totals.events,
            **changes,
        }
    )


def counted(servers: Servers, log: Log, catalog: str, batch: int) -> Found:
    """One worker on an empty Redis; its totals are checked."""
    with redis.Redis.from_url(servers.redis) as client:
        client.flushall()
        before_s = servers.redis_cpu_s()
        cost = run("worker", spec_of(servers, log, catalog=catalog, batch=batch))
        time.sleep(PAUSE_S)
        redis_s = servers.redis_cpu_s() - before_s
        check_totals(client, CATALOGS[catalog], log.totals)
    return Found(
        cost.us_an_event,
        redis_s / cost.events * 1e6,
        cost.events / cost.elapsed_s,
        cost.calls_ms,
    )


def check_totals(client: redis.Redis, catalog: Catalog, totals: Totals) -> None:
    """That the buckets of every view, of whatever tier is whole, add up to what was sent."""
    record = client.get(meta_key(FIRST_GENERATION))
    assert isinstance(record, bytes)
    closed = unpack_meta(record).closed
    for table in (table for table in catalog.tables if table.kind == "llm"):
        page_kind = counters_of(table)
        everything = [Span(DAY, 0, floor_to(FAR_MS, DAY.bucket_ms))]
        sums = Counter[Measure]()
        for span in whole_spans(everything, page_kind.tiers, closed):
            head = f"{prefix(FIRST_GENERATION)}{page_kind.head}.{span.tier.id}."
            for key in client.scan_iter(f"{head}*", count=1000):
                page = client.get(key)
                assert isinstance(page, bytes)
                rows = page_kind.rows_of(page)
                chunk = int(key.rsplit(b".", 3)[1])
                at_ms = (
                    chunk * span.tier.chunk_ms
                    + rows["slot"].astype(np.int64) % SLOT_BUCKETS * span.tier.bucket_ms
                )
                within = rows["values"][(span.start_ms <= at_ms) & (at_ms < span.end_ms)]
                for measure in (EVENTS, INPUT_TOKENS, COST_NANO_USD):
                    sums[measure] += int(within[:, table.measures.index(measure)].sum())
        found = sums[EVENTS], sums[INPUT_TOKENS], sums[COST_NANO_USD]
        assert found == (totals.events, totals.input_tokens, totals.cost_nano_usd), (
            f"view {table.view.name}: {found}, not {totals}"
        )


def shown(name: str, found: Found) -> None:
    ordered = sorted(found.call_ms)
    p99_ms = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(
        f"{name:44}{found.worker_us:9.1f}{found.redis_us:9.1f}{found.per_s:11.0f}"
        f"{statistics.median(ordered):10.0f}{p99_ms:9.0f}",
        flush=True,
    )


async def compare(
    servers: Servers, events: int, faust_events: int, *, short: bool, only: str = ""
) -> None:
    print(
        f"{'CPU us an event':44}{'worker':>9}{'Redis':>9}{'events/s':>11}{'call ms':>10}{'p99':>9}"
    )
    logs: dict[str, Log] = {}
    runs: dict[tuple[str, str, int], Found] = {}
    for shape in (LIVE, BACKFILL) if short else (LIVE, BACKFILL, LIVE_20, BACKFILL_20):
        for catalog in ("five",) if short else ("five", "all"):
            wanted = (BATCHES if shape.tenants == 1 else BATCHES[-1:]) if not short else ()
            for batch in (*wanted, 0):
                how = f"batches of {batch}" if batch else "its own batches"
                name = f"{shape.name}, {catalog} views, {how}"
                if only not in name:
                    continue
                if shape.name not in logs:
                    logs[shape.name] = await log_of(servers, shape, events)
                log = logs[shape.name]
                found = runs[shape.name, catalog, batch] = counted(servers, log, catalog, batch)
                shown(name, found)
    if only:
        return
    live = logs[LIVE.name]
    thrown = run("getmany", spec_of(servers, live))
    print(f"{'getmany, thrown away':44}{thrown.us_an_event:9.1f}")
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as name:
        plain = run("faust", spec_of(servers, live, events=faust_events, directory=name))
    print(f"{f'Faust agent, {faust_events} events, two sums in memory':44}{plain.us_an_event:9.1f}")
    against_goals(runs, plain.us_an_event, 0 if short else BATCHES[-1])


def against_goals(runs: Mapping[tuple[str, str, int], Found], faust_us: float, batch: int) -> None:
    """What is promised beside what was measured, in batches of this size."""
    live, backfill = runs[LIVE.name, "five", batch], runs[BACKFILL.name, "five", batch]
    goals = [
        ("worker, five views, live", live.worker_us, 10.0),
        ("Redis, five views, live", live.redis_us, 7.0),
        ("worker, five views, backfill", backfill.worker_us, 13.0),
        ("Redis, five views, backfill", backfill.redis_us, 7.0),
    ]
    if (all_views := runs.get((LIVE.name, "all", batch))) is not None:
        goals.append(("worker, all views to five", all_views.worker_us / live.worker_us, 1.6))
    if (tenants := runs.get((LIVE_20.name, "five", batch))) is not None:
        goals.append(("worker, 20 tenants to one", tenants.worker_us / live.worker_us, 2.0))
        goals.append(("Redis, 20 tenants to one", tenants.redis_us / live.redis_us, 2.0))
    how = f"batches of {batch}" if batch else "its own batches"
    print(f"{f'goals, {how}':44}{'measured':>9}{'at most':>9}")
    for name, measured, goal in goals:
        said = "met" if measured <= goal else f"missed by {measured / goal:.2f} times"
        print(f"{name:44}{measured:9.2f}{goal:9.1f}  {said}")
    ratio = faust_us / live.worker_us
    said = "met" if ratio >= FAUST_GOAL else f"missed by {FAUST_GOAL / ratio:.2f} times"
    print(f"{'the Faust agent to the worker, at least':44}{ratio:9.1f}{FAUST_GOAL:9.1f}  {said}")


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--faust-events", type=int, default=20_000)
    parser.add_argument("--short", action="store_true", help="two runs instead of twenty")
    parser.add_argument("--only", default="", help="runs of the worker with this in their name")
    options = parser.parse_args(arguments)
    with servers_of() as servers:
        await compare(
            servers, options.events, options.faust_events, short=options.short, only=options.only
        )
        if not (options.short or options.only):
            await stages.compare(servers.valkey, options.events // 2, BATCHES[-1])


if __name__ == "__main__":
    asyncio.run(main())
