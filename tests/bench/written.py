"""What counting writes: bytes an event in Redis' append-only file, by kind of key.

    python -m tests.bench.written [--events 26400] [--batch 660] [--tenants 1,20]

The events are the live ones of tests.bench.fold, in all views. Every commit has `--batch` events: 660
is what a worker collects at half load. A replica receives the same bytes. At the end the hour and the
day of the events are closed. That is written once for each page, however many events it has: an event's
share is printed for an hour with 1,000 events a second. The totals of all views are checked at the end.
CPU is that of Redis, and of a worker without fetching and decoding.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil
import redis

from deploy.local.servers import Server, free_port
from deploy.local.valkey import start_valkey, url_of
from schemas.catalog.views import DEFAULT, SLICE_MS
from schemas.limits import DAY_MS
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION
from schemas.tiers import first_closed
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from tests.bench.data.usage_log import LIVE, Shape, Totals, values_of
from tests.bench.fold import check_totals
from tests.bench.stages import Fetched
from tests.oracles.event_logs import SECRET, countable
from tests.real.harness.topics import now_ms

HOUR_EVENTS: Final = 3600 * 1000
KINDS: Final = (
    ("counters", re.compile(rb"\d+:p\d")),
    ("sketches", re.compile(rb"\d+:s\d")),
    ("versions of chunks", re.compile(rb"\d+:v")),
    ("ids of events", re.compile(rb"\d+:i\d")),
    ("latest calls", re.compile(rb"\d+:r:")),
    ("names of series", re.compile(rb"\d+:[ntl]")),
    ("compaction queue", re.compile(rb"\d+:due")),
    ("open pages", re.compile(rb"\d+:o\d")),
    ("state", re.compile(rb"\d+:meta")),
    ("users", re.compile(rb"d:")),
)
"""Kinds of keys, after the hash tag."""


async def count_events(
    valkey: Server, shape: Shape, events: int, batch: int
) -> tuple[Totals, float]:
    """Commits the events to an emptied Redis. Returns also the CPU seconds of this process, without making
    and decoding events."""
    now, digest, position = now_ms(), generation_digest("written"), NO_POSITION
    totals, spent_s = Totals(), 0.0
    async with RedisStore(url_of(valkey)) as store:
        await store.open(digest, 1, now, SECRET, closed := first_closed(now))
        for start in range(0, events, batch):
            numbers = range(start, min(start + batch, events))
            records = [
                Fetched(start + at, now, value)
                for at, value in enumerate(values_of(shape, numbers, now, totals))
            ]
            decoded = countable(records)
            started_s = time.process_time()
            rows = columns(decoded, BUNDLED, DEFAULT, secret=SECRET)
            end = max(position, 0) + len(records)
            commit = Commit(
                (start + 1).to_bytes(16, "big"), digest, SECRET.name, now, 1, {},
                [Progress(0, position, end, end - 1, now, now)],
                digests=rows.digests, slices=rows.append_ms // SLICE_MS, delta=fold(rows, {}, closed),
                closed=closed,
            )  # fmt: skip
            reply = await store.commit(commit)
            assert reply.outcome is Outcome.COMMITTED, reply
            await store.compact_pages()
            spent_s += time.process_time() - started_s
            position = end
    return totals, spent_s


def commands_of(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Name, first argument and length of each command of an append-only file."""
    at = 0
    while at < len(data):
        start = at
        if data[at : at + 1] != b"*":  # a comment
            at = data.index(b"\n", at) + 1
            continue
        end = data.index(b"\r\n", at)
        count, at = int(data[at + 1 : end]), end + 2
        parts = []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            length = int(data[at + 1 : end])
            parts.append(data[end + 2 : end + 2 + length])
            at = end + 4 + length
        yield parts[0].upper(), parts[1] if count > 1 else b"", at - start


def by_kind(directory: Path) -> tuple[Counter[str], Counter[str]]:
    """Bytes and commands of each kind of key."""
    size_bytes: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    for file in sorted(directory.rglob("*.incr.aof")):
        for name, key, length in commands_of(file.read_bytes()):
            kind = "other"
            if key.startswith(b"{"):
                rest = key.partition(b":")[2]
                kind = next((kind for kind, of in KINDS if of.match(rest)), "other")
            if name == b"FUNCTION":
                continue
            size_bytes[kind] += length
            commands[kind] += 1
    return size_bytes, commands


async def close_all(valkey: Server) -> None:
    """Closes the hour and the day of the events."""
    now, digest = now_ms() + 3 * DAY_MS, generation_digest("written")
    async with RedisStore(url_of(valkey)) as store:
        while True:
            store._closes_ms = 0
            await store.close_pages(digest, now, bytes(16))
            meta = await store.meta()
            assert meta is not None
            if meta.closed == meta.closing and meta.closed.quarters_ms > now_ms():
                return


async def show(shape: Shape, events: int, batch: int) -> float:
    """Returns the bytes an event."""
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as name:
        valkey = start_valkey(Path(name), port=free_port())
        try:
            totals, worker_s = await count_events(valkey, shape, events, batch)
            redis_s = sum(psutil.Process(valkey.pid).cpu_times()[:2])
            size_bytes, commands = by_kind(Path(name))
            with redis.Redis.from_url(url_of(valkey)) as client:
                received = int(client.info("stats")["total_net_input_bytes"])
            await close_all(valkey)
            closed, closing = by_kind(Path(name))
            with redis.Redis.from_url(url_of(valkey)) as client:
                check_totals(client, DEFAULT, totals)
                memory = int(client.info("memory")["used_memory_dataset"])
        finally:
            valkey.stop()
    total = sum(size_bytes.values())
    print(f"\n{f'{shape.name}, batches of {batch}':32}{'bytes':>10}{'commands':>10}   an event")
    for kind, found in size_bytes.most_common():
        print(f"{kind:32}{found / events:10.1f}{commands[kind] / events:10.2f}")
    print(f"{'all':32}{total / events:10.1f}{sum(commands.values()) / events:10.2f}")
    added, pages = closed.total() - total, closing.total() - commands.total()
    print(f"{'closing, for this hour':32}{added / HOUR_EVENTS:10.1f}{pages / HOUR_EVENTS:10.2f}")
    print(f"{'received by Redis':32}{received / events:10.1f}")
    print(
        f"{'CPU us, worker and Redis':32}{worker_s / events * 1e6:10.1f}{redis_s / events * 1e6:10.1f}"
    )
    print(f"{'memory':32}{memory / events:10.1f}")
    return total / events


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=26_400)
    parser.add_argument("--batch", type=int, default=660)
    parser.add_argument("--tenants", default="1,20", help="numbers of tenants, separated by commas")
    options = parser.parse_args(arguments)
    for tenants in options.tenants.split(","):
        shape = replace(LIVE, name=f"live, tenants: {tenants}", tenants=int(tenants))
        await show(shape, options.events, options.batch)


if __name__ == "__main__":
    asyncio.run(main())
