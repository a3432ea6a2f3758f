"""Where the fold's time goes: `python -m tests.bench.stages [--events 100000] [--batch 20000]`.

It prints CPU us an event of each stage, one after the other in this process, on the live events of
tests.bench.fold. Then it prints what each feature of an event adds to the worker's part, and to
Redis. Fetching from Kafka is not included: tests.bench.fold measures it as `getmany`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import psutil

from deploy.local.servers import Server, free_port
from deploy.local.valkey import start_valkey, url_of
from schemas.catalog.views import DEFAULT, SLICE_MS, Catalog
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION, prefix
from schemas.tiers import first_closed
from streams.core.chats import chats_of
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.core.pricing import PricingInput, add_costs
from streams.core.users import user_updates
from streams.redis.commit import encode_commit
from streams.redis.store import RedisStore
from tests.bench.data.usage_log import LIVE, Shape, Totals, values_of
from tests.bench.fold_process import FIVE
from tests.oracles.event_logs import SECRET, countable
from tests.real.harness.topics import now_ms

T = TypeVar("T")

OF_EVENT: Final[dict[str, Callable[[int], str]]] = {
    "a call of 10 events": lambda n: f',"call_id":"call-{n // 10}"',
    "a chat of 10 events": lambda n: f',"chat_id":"chat-{n // 10}"',
    "the user's address and name": lambda n: (
        f',"user_email":"u{n % 5000}@example.com","user_name":"U"'
    ),
    "labels": lambda _: ',"labels":{"team":"search"}',
}


class Fetched(NamedTuple):
    """A record as the consumer returns it."""

    offset: int
    timestamp: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Costs(NamedTuple):
    """CPU us an event."""

    stages: dict[str, float]
    redis: float

    @property
    def worker(self) -> float:
        """Of the stages that follow one another; those in brackets are parts of others."""
        return sum(us for name, us in self.stages.items() if not name.startswith("("))


class _Stages:
    def __init__(self) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)

    def timed(self, name: str, work: Callable[[], T]) -> T:
        started_s = time.process_time()
        result = work()
        self.spent_s[name] += time.process_time() - started_s
        return result


async def costs_of(
    valkey: Server, shape: Shape, catalog: Catalog, events: int, batch: int
) -> Costs:
    """On an emptied Redis; each batch is committed."""
    stages, process, redis_s = _Stages(), psutil.Process(valkey.pid), 0.0
    now, digest, position = now_ms(), generation_digest("stages", catalog=catalog), NO_POSITION
    async with RedisStore(url_of(valkey)) as store:
        await store._redis.flushall()
        await store.open(digest, 1, now, SECRET, closed := first_closed(now))
        for start in range(0, events, batch):
            records = [
                Fetched(start + at, now, value)
                for at, value in enumerate(
                    values_of(shape, range(start, start + batch), now, Totals())
                )
            ]
            good = stages.timed("decode", lambda: countable(records))  # noqa: B023
            assert len(good) == len(records)
            rows = stages.timed("columns", lambda: columns(good, BUNDLED, catalog, secret=SECRET))  # noqa: B023
            words = {**rows.words}
            asked = PricingInput(
                good.wires, rows.at_ms, {**rows.codes, "tenant": rows.tenants}, words
            )
            places = range(len(good))
            values = rows.values.copy()
            stages.timed("(of it pricing)", lambda: add_costs(BUNDLED, asked, values))  # noqa: B023
            delta = stages.timed("roll-up", lambda: fold(rows, {}, closed))  # noqa: B023
            stages.timed("(of it users)", lambda: user_updates(good, places))  # noqa: B023
            stages.timed("(of it chats)", lambda: chats_of(good, places, keeps_previews=False))  # noqa: B023
            end = max(position, 0) + batch
            commit = Commit(
                (start + 1).to_bytes(16, "big"), digest, SECRET.name, now, 1, {},
                [Progress(0, position, end, end - 1, now, now)],
                digests=rows.digests, slices=rows.append_ms // SLICE_MS, delta=delta,
                closed=closed, id_counts=rows.id_counts,
            )  # fmt: skip
            before = process.cpu_times()
            spent_s = time.process_time()
            reply = await store.commit(commit)
            stages.spent_s["encode and client"] += time.process_time() - spent_s
            spent_s = time.process_time()
            await store.compact_pages()
            stages.spent_s["pages compacted"] += time.process_time() - spent_s
            after = process.cpu_times()
            redis_s += after.user + after.system - before.user - before.system
            assert reply.outcome is Outcome.COMMITTED, reply
            stages.timed("(of it encode)", lambda: encode_commit(commit, store._ids))  # noqa: B023
            position = end
        assert await store._redis.exists(prefix(1) + "meta")
    return Costs({n: s / events * 1e6 for n, s in stages.spent_s.items()}, redis_s / events * 1e6)


async def compare(valkey: Server, events: int, batch: int) -> None:
    found = {
        name: await costs_of(valkey, LIVE, catalog, events, batch)
        for name, catalog in (("five views", FIVE), ("all views", DEFAULT))
    }
    print(f"{f'CPU us an event, batches of {batch}':44}{'five views':>12}{'all views':>12}")
    for stage in found["five views"].stages:
        print(f"{stage:44}{''.join(f'{one.stages[stage]:12.2f}' for one in found.values())}")
    print(f"{'worker, without fetching':44}{''.join(f'{c.worker:12.2f}' for c in found.values())}")
    print(f"{'Redis':44}{''.join(f'{c.redis:12.2f}' for c in found.values())}")
    print(f"{'what it adds, all views':44}{'worker':>12}{'Redis':>12}")
    for name, more in OF_EVENT.items():
        costs = await costs_of(valkey, replace(LIVE, more=more), DEFAULT, events, batch)
        plain = found["all views"]
        print(f"{name:44}{costs.worker - plain.worker:12.2f}{costs.redis - plain.redis:12.2f}")


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=20_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as name:
        valkey = start_valkey(Path(name), port=free_port())
        try:
            await compare(valkey, options.events, options.batch)
        finally:
            valkey.stop()


if __name__ == "__main__":
    asyncio.run(main())
