"""Events by the million for the benchmarks of reads: rolled up by the worker's code, loaded in bulk.

`streams.core.fold` rolls up whole days. Their pages are written as a commit leaves them once their
chunk has ended (tests/bench/test_reads.py proves that both are equal). The last hours come in small
commits, as from a live worker, so that open pages hold a slot many times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
import redis.asyncio as redis

from schemas.catalog.measures import LATENCY_MS, MEASURES, SKETCHES
from schemas.catalog.sketches import bins_of
from schemas.catalog.views import DEFAULT, DIMENSIONS, Catalog, Table
from schemas.event.event_struct import EventStruct
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store.generation import generation_digest
from schemas.store.layout import (
    SLOT_BUCKETS,
    packed,
    page_kept_ms,
    page_key,
    tenants_list_key,
)
from schemas.tiers import MINUTE, QUARTER, Closed, floor_to
from schemas.units import EPOCH
from streams.core.columns import NOTHING, Columns, _finest_tiers
from streams.core.decode import EventBatch
from streams.core.fold import Delta, DeltaPart, fold
from streams.core.ports import Commit, Outcome, Progress
from streams.core.pricing import CostSource
from streams.redis.client import ask
from streams.redis.store import RedisStore
from tests.oracles.event_logs import SECRET

TOPIC: Final = "usage.events"
DAYS: Final = 30
LIVE_MS: Final = 2 * HOUR_MS
LIVE_EVENTS: Final = 500
"""Of one commit, two minutes' worth at ten million a month."""
COMMIT_EVENTS: Final = 50
"""Of a commit beside which is read: 20 of them a second are 1,000 events/s."""
NAMES_AT_ONCE: Final = 5_000
SETS_AT_ONCE: Final = 2_000
MODELS, AGENTS, USERS = 30, 200, 5000
AGENTS_EACH, MODELS_EACH = 8, 6
"""Agents that a user talks to, models that an agent calls."""
SUMMED: Final = ("events", "cost_nano_usd", "input_tokens", "output_tokens", "latency_ms")
_AMOUNTS: Final = ("input_tokens", "output_tokens", "cost_nano_usd", "latency_ms")
_ONES: Final = ("events", "cost_events", "latency_events")
ONE_CALL: Final = EventStruct(id="one", source="bench", time=EPOCH, kind="llm")
"""What the latest calls hold: no reader measured here looks at them."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Columns of events in order of time."""

    at_ms: Ints
    model: Ints
    agent: Ints
    user: Ints
    values: Ints

    @cached_property
    def summed(self) -> Ints:
        """What the rollups in SQLite keep."""
        return self.values[:, [[m.name for m in MEASURES].index(name) for name in SUMMED]]


@dataclass(frozen=True)
class Traffic:
    """Events of a tenant over DAYS before `now_ms`. A model belongs to one provider; a user has some
    agents and an agent some models, busy ones more often than others, by geometric laws. Users are
    drawn evenly, or (`zipf`) the n-th as often as 1/n says: a few send most of it, and most were
    seen on a few days only. Each event happens so many `times`, in the same bucket: in bulk at once,
    live in a commit each."""

    tenant: str
    events: int
    now_ms: int
    users: int = USERS
    zipf: bool = False
    seed: int = 1
    times: int = 1

    @property
    def words(self) -> Mapping[str, Sequence[str]]:
        named = {
            "tenant": [self.tenant],
            "kind": ["llm"],
            "provider": [f"provider-{n}" for n in range(5)],
            "model": [f"model-{n}" for n in range(MODELS)],
            "agent": [f"agent-{n}" for n in range(AGENTS)],
            "user": [f"user-{n}" for n in range(self.users)],
        }
        return {name: [""] for name in DIMENSIONS} | named

    def bulk(self) -> Iterator[Batch]:
        """Whole days of UTC, up to where the live ones begin."""
        for batch in self._between(self.now_ms - DAYS * DAY_MS, self.now_ms - LIVE_MS, DAY_MS):
            yield replace(batch, values=batch.values * self.times)

    def live(self) -> Iterator[Batch]:
        length_ms = max(1, LIVE_EVENTS * DAYS * DAY_MS // self.events)
        for batch in self._between(self.now_ms - LIVE_MS, self.now_ms, length_ms):
            yield from [batch] * self.times

    def between(self, from_ms: int, to_ms: int, events: int) -> Batch:
        """So many more events of the same kind."""
        return self._drawn(events, from_ms, to_ms)

    def _between(self, from_ms: int, to_ms: int, length_ms: int) -> Iterator[Batch]:
        at_ms = from_ms
        while at_ms < to_ms:
            end_ms = min(to_ms, (at_ms // length_ms + 1) * length_ms)
            first, last = (self._before(edge_ms) for edge_ms in (at_ms, end_ms))
            if last > first:
                yield self._drawn(last - first, at_ms, end_ms)
            at_ms = end_ms

    def _before(self, at_ms: int) -> int:
        return (at_ms - self.now_ms + DAYS * DAY_MS) * self.events // (DAYS * DAY_MS)

    def _drawn(self, n: int, from_ms: int, to_ms: int) -> Batch:
        rng = np.random.default_rng([self.seed, from_ms])
        values = np.zeros((n, len(MEASURES)), np.int64)
        for place, measure in enumerate(MEASURES):
            if measure.name in _AMOUNTS:
                values[:, place] = rng.integers(1, 5_000_000, n)
            elif measure.name in _ONES:
                values[:, place] = 1
        if self.zipf:
            weights = np.cumsum(1 / np.arange(1, self.users + 1))
            user = np.searchsorted(weights, rng.random(n) * weights[-1])
        else:
            user = rng.integers(0, self.users, n)
        agent = self._agents_of_user[user, np.minimum(rng.geometric(0.4, n) - 1, AGENTS_EACH - 1)]
        model = (agent * 7 + np.minimum(rng.geometric(0.5, n) - 1, MODELS_EACH - 1) * 11) % MODELS
        return Batch(np.sort(rng.integers(from_ms, to_ms, n)), model, agent, user, values)

    @cached_property
    def _agents_of_user(self) -> Ints:
        drawn = np.random.default_rng(self.seed).geometric(0.03, (self.users, AGENTS_EACH))
        return np.minimum(drawn - 1, AGENTS - 1).astype(np.int64)


async def fill(redis_url: str, traffic: Traffic, catalog: Catalog = DEFAULT) -> None:
    """All of it, into what stands there."""
    async with RedisStore(redis_url) as store, redis.Redis.from_url(redis_url) as client:
        closed = closed_by(traffic.now_ms)
        await store.open(generation_digest(TOPIC), 1, traffic.now_ms, SECRET, closed)
        loader = Loader(store, client, traffic)
        for batch in traffic.bulk():
            await loader.load(fold(columns_of(traffic, batch, catalog), {}, closed))
        await loader.end()
        await commit_all(store, traffic, traffic.live(), catalog)


def closed_by(now_ms: int) -> Closed:
    """What workers have closed by this time."""
    minutes_ms = floor_to(now_ms, MINUTE.chunk_ms) - MINUTE.chunk_ms
    return Closed(minutes_ms, floor_to(minutes_ms, QUARTER.chunk_ms))


async def commit_all(
    store: RedisStore, traffic: Traffic, batches: Iterable[Batch], catalog: Catalog = DEFAULT
) -> None:
    """As a worker does."""
    for batch in batches:
        meta = await store.meta()
        assert meta is not None
        await commit(store, traffic, fold(columns_of(traffic, batch, catalog), {}, meta.closed))


async def commit(store: RedisStore, traffic: Traffic, delta: Delta) -> None:
    """One more, without digests of events: remembering them is the fold's cost, not a reader's."""
    meta = await store.meta()
    assert meta is not None
    start = meta.partitions[0].position
    end = max(start, 0) + 1
    reply = await store.commit(
        Commit(
            id=end.to_bytes(16, "big"),
            generation_digest=generation_digest(TOPIC),
            secret=SECRET.name,
            now_ms=traffic.now_ms,
            count=1,
            absent_ms={},
            partitions=[Progress(0, start, end, end - 1, traffic.now_ms, traffic.now_ms)],
            delta=delta,
            closed=meta.closed,
        )
    )
    assert reply.outcome is Outcome.COMMITTED, reply
    await store.compact_pages()


class Writer:
    """A worker that counts on: each commit has some events of the last minute before this hour, so
    that it changes what pages show whose range ends with the hour before."""

    def __init__(self, store: RedisStore, traffic: Traffic, catalog: Catalog = DEFAULT) -> None:
        self._store = store
        self._traffic = traffic
        self._catalog = catalog
        self._end_ms = traffic.now_ms // HOUR_MS * HOUR_MS
        self._commits = 0

    @property
    def committed(self) -> int:
        """Events."""
        return self._commits * COMMIT_EVENTS

    async def commit(self) -> None:
        self._commits += 1
        end_ms = self._end_ms - self._commits  # what is drawn goes by it
        batch = self._traffic.between(end_ms - MINUTE_MS, end_ms, COMMIT_EVENTS)
        await commit_all(self._store, self._traffic, [batch], self._catalog)


class Loader:
    """Pages of one tenant, each written once: those of a tier whose chunk holds no more than a day
    with the day, the others at the end. Names go through commits, which number them."""

    def __init__(self, store: RedisStore, client: redis.Redis, traffic: Traffic) -> None:
        self._store = store
        self._client = client
        self._traffic = traffic
        self._ids: dict[Table, dict[str, int]] = {}
        self._kept: dict[str, list[bytes]] = {}
        self._kept_until_ms: dict[str, int] = {}
        self._tenant_id = -1

    async def load(self, delta: Delta) -> None:
        await self._name(delta.series)
        if self._tenant_id < 0:
            tenants = await ask(self._client.lrange(tenants_list_key(1), 0, -1))
            self._tenant_id = tenants.index(self._traffic.tenant.encode())
        ids = np.array([self._ids[table][name] for table, _, name in delta.series], np.int64)
        for part in delta.parts:
            pages = self._pages(part, ids)
            if part.tier.chunk_ms <= DAY_MS:
                await self._write(pages)
                continue
            for key, rows, until_ms in pages:
                self._kept.setdefault(key, []).append(rows)
                self._kept_until_ms[key] = until_ms

    async def end(self) -> None:
        await self._write(
            [(key, b"".join(rows), self._kept_until_ms[key]) for key, rows in self._kept.items()]
        )

    async def _name(self, series: Sequence[tuple[Table, int, str]]) -> None:
        new = []
        for table, tenant, name in series:
            known = self._ids.setdefault(table, {})
            if name not in known:
                known[name] = len(known)
                new.append((table, tenant, name))
        for first in range(0, len(new), NAMES_AT_ONCE):
            named = Delta([self._traffic.tenant], new[first : first + NAMES_AT_ONCE], [], [])
            await commit(self._store, self._traffic, named)

    def _pages(self, part: DeltaPart, ids: Ints) -> Iterator[tuple[str, bytes, int]]:
        """Key, rows and the end of each page that a part adds to."""
        each = part.runs["rows"].astype(np.int64)
        series = np.repeat(ids[part.runs["series"]], each)
        chunk = np.repeat(part.runs["chunk"].astype(np.int64), each)
        page_series = part.page_kind.page_series
        rows = part.rows.copy()
        rows["slot"] += ((series % page_series) * SLOT_BUCKETS).astype(np.uint16)
        page = series // page_series
        order = np.lexsort((page, chunk))
        rows, page, chunk = rows[order], page[order], chunk[order]
        changes = (page[1:] != page[:-1]) | (chunk[1:] != chunk[:-1])
        starts = np.flatnonzero(np.concatenate(([True], changes)))
        ((data, lengths),) = packed([(part.page_kind, rows)])
        begins = np.concatenate(([0], np.cumsum(lengths)))
        ends = begins[np.append(starts[1:], len(rows))]
        for first, last, own_page, own_chunk in zip(
            begins[starts].tolist(), ends.tolist(), page[starts].tolist(), chunk[starts].tolist(),
            strict=True,
        ):  # fmt: skip
            key = page_key(1, part.page_kind, part.tier, own_chunk, self._tenant_id, own_page)
            until_ms = (own_chunk + 1) * part.tier.chunk_ms + page_kept_ms(part.tier)
            yield key, data[first:last], until_ms

    async def _write(self, pages: Iterable[tuple[str, bytes, int]]) -> None:
        remaining = iter(pages)
        while some := list(islice(remaining, SETS_AT_ONCE)):
            async with self._client.pipeline(transaction=False) as pipe:
                for key, rows, until_ms in some:
                    pipe.set(key, rows, pxat=until_ms)
                await pipe.execute()


def columns_of(traffic: Traffic, batch: Batch, catalog: Catalog) -> Columns:
    n = len(batch.at_ms)
    nobody = np.zeros(n, np.int64)
    codes = dict.fromkeys(DIMENSIONS, nobody)
    codes |= {"provider": batch.model % 5, "model": batch.model}
    codes |= {"agent": batch.agent, "user": batch.user}
    append_ms = np.full(n, traffic.now_ms, np.int64)
    sketched = {sketch.name: np.full(n, NOTHING, np.uint64) for sketch in SKETCHES}
    latency_ms = batch.values[:, MEASURES.index(LATENCY_MS)] // 1000
    sketched["latency"] = bins_of(latency_ms).astype(np.uint64)
    return Columns(
        catalog=catalog,
        secret=SECRET.name,
        digests=np.arange(n, dtype=np.uint64),
        at_ms=batch.at_ms,
        append_ms=append_ms,
        finest_tier=_finest_tiers(append_ms - batch.at_ms),
        tenants=nobody,
        codes=codes,
        words=traffic.words,
        values=batch.values,
        cost_source=np.full(n, CostSource.GIVEN, np.int8),
        sketched=sketched,
        misread={},
        calls=[],
        events=EventBatch(
            wires=[ONE_CALL] * n,
            fields={name: [getattr(ONE_CALL, name)] * n for name in EventStruct.__struct_fields__},
            at_ms=batch.at_ms,
            append_ms=append_ms,
            cost_nano_usd=np.full(n, -1, np.int64),
            started_ms={},
            unknown=Counter(),
        ),
        origin=np.arange(n),
    )
