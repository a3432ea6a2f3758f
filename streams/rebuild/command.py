"""`odometer rebuild`: fills the next generation from the log beside the current one, and switches.

An operator changes the configuration (a view, a measure, a limit, a price), then runs this command
under the new one. Meanwhile workers and APIs of the old configuration go on. At the switch, the
workers of the old configuration exit; those of the new one, which may be waiting, start to count.

A rebuild can be killed at any point and run again. It resumes the generation that it began, where
that has the same configuration and the log still holds the next records. Otherwise it starts from
scratch under another number. Two rebuilds at once would do no harm, because every step compares the
state that it started from. But one of them would be useless, so a lease allows only one. The lease
is renewed three times per period and expires soon after its holder dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import RebuildRefused, StoreFull, StoreUnavailable
from schemas.prices.price_list import Prices
from schemas.quotas import Quota
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import LIVE, NO_POSITION, Meta
from schemas.tiers import first_closed
from streams.core.ports import Clock, OffsetBounds, RefusalReason
from streams.core.resume_checks import refusal_of, stored_of
from streams.kafka.consumer import open_whole_log
from streams.kafka.offsets import read_bounds, read_record_at
from streams.rebuild.carry_over import (
    CarryOver,
    carry_over_before,
    closed_at_first,
    hours_from,
)
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.report import RebuildProgress, RebuildResult
from streams.rebuild.shared_history import SharedHistory, shared_with
from streams.redis.commit import TENANT_SERIES
from streams.redis.eviction import EvictionWatch
from streams.redis.generations import LEASE_MS, GenerationEntry, RedisGenerations, RedisPair
from streams.worker.clock import ProcessClock

ABANDONED_MS: Final = 60_000
"""An abandoned generation is kept this long, so that its rebuild, if it still runs, notices."""
PROGRESS_S: Final = 0.5
"""The interval between two progress reports."""


class Overtaken(RebuildRefused):
    """Another rebuild has taken over the same generation."""


@dataclass(frozen=True)
class _Configuration:
    """The configuration of the new generation."""

    topic: str
    prices: Prices
    catalog: Catalog
    tenant_series: Quota

    @property
    def digest(self) -> bytes:
        return generation_digest(self.topic, self.prices.version, self.catalog)


async def rebuild(
    kafka: str,
    redis_url: str,
    topic: str,
    prices: Prices,
    kept_ms: int,
    say: Callable[[RebuildProgress], None],
    catalog: Catalog = DEFAULT,
    clock: Clock = ProcessClock(),  # noqa: B008  it has no state
    *,
    tenant_series: Quota = TENANT_SERIES,
    redis_eviction: str = "",
) -> RebuildResult:
    """Returns when the new generation answers. The old one is kept for another `kept_ms`.

    Raises RebuildRefused where the result could be wrong or another rebuild runs, StoreError, and
    LogError.
    """
    under = _Configuration(topic, prices, catalog, tenant_series)
    async with (
        RedisGenerations(redis_url) as generations,
        EvictionWatch(redis_url, redis_eviction) as watch,
        hold_lease(generations, clock) as token,
    ):
        keeping = asyncio.create_task(_keep_lease(generations, token))
        plan = None
        try:
            plan = await _choose_generation(generations, watch, kafka, under, clock)
            return await _fill(redis_url, watch, kafka, under, plan, kept_ms, say, keeping, clock)
        except Overtaken:
            raise
        except RebuildRefused:
            if plan is not None:
                now_ms = clock.now_ms()
                given_up = replace(plan.entry, retired_ms=now_ms, drop_ms=now_ms + ABANDONED_MS)
                await generations.retire(plan.number, given_up)
            raise
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


# -- one at a time ---------------------------------------------------------------------------------


@asynccontextmanager
async def hold_lease(generations: RedisGenerations, clock: Clock) -> AsyncIterator[bytes]:
    """Holds the lease of a rebuild under the token that it yields. First waits until the lease of a
    killed rebuild expires."""
    token = clock.commit_id().hex().encode()
    left_ms = LEASE_MS + 1
    while not await generations.take_lease(token):
        before_ms, left_ms = left_ms, await generations.lease_left_ms()
        if left_ms > before_ms:
            raise RebuildRefused(
                "another rebuild is under way: odometer status shows its generation"
            )
        await asyncio.sleep(PROGRESS_S)
    try:
        yield token
    finally:
        await generations.release_lease(token)


async def _keep_lease(generations: RedisGenerations, token: bytes) -> None:
    """Renews the lease until another rebuild has it: this process was frozen, or Redis was away, for too long."""
    while True:
        await asyncio.sleep(LEASE_MS / 3000)
        with suppress(StoreUnavailable):
            if not await generations.take_lease(token):
                return


# -- which generation ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _RebuildPlan:
    """The generation to fill. `begin`: the positions where its counting started."""

    number: int
    entry: GenerationEntry
    shared: SharedHistory | None  # None: the log holds all
    resumed: bool
    begin: Mapping[int, int]


async def _choose_generation(
    generations: RedisGenerations,
    watch: EvictionWatch,
    kafka: str,
    under: _Configuration,
    clock: Clock,
) -> _RebuildPlan:
    """Resumes a generation that was begun before, where possible; else begins a new one."""
    topic = under.topic
    old = await generations.meta()
    if old is None:
        raise RebuildRefused("no counters yet, so there is nothing to rebuild: start a worker")
    origin = generations.generation
    evicts = await watch.look(origin)
    if evicts is not None and evicts[0] is not RefusalReason.KEYS_EVICTED:
        raise RebuildRefused(evicts[1])
    bounds = await read_bounds(kafka, topic)
    await _check_log(old, kafka, topic, bounds)
    entries = await generations.entries()
    begin = {partition: one.start for partition, one in bounds.items()}
    shared = None
    if any(begin.values()) or old.history_from_ms:
        shared = shared_with(await generations.about(origin), under.catalog)
    for number, entry in entries.items():
        if number <= origin or entry.drop_ms:
            continue
        # After an eviction it is not known which generations have lost keys.
        if evicts is None and await _can_resume(
            generations, number, entry, origin, under.digest, bounds
        ):
            return _RebuildPlan(number, entry, shared if entry.older_ms else None, True, begin)
        now_ms = clock.now_ms()
        given_up = replace(entry, retired_ms=now_ms, drop_ms=now_ms + ABANDONED_MS)
        await generations.retire(number, given_up)
    number = max([origin, *entries]) + 1
    first_ms = await _first_append_ms(old, kafka, topic, bounds) if shared else 0
    older_ms = carry_over_before(first_ms) if shared else 0
    # Ids and bookings are carried over only with older buckets. Else all are made again from the log.
    keeps_secret = shared is not None and await generations.has_secret(origin)
    entry = GenerationEntry(
        origin=origin,
        begun_ms=clock.now_ms(),
        older_ms=older_ms,
        recognised_from_ms=0 if keeps_secret else first_ms,
    )
    history_from_ms = old.history_from_ms
    if shared is not None and (shared.missing or evicts is not None):  # copies may lack keys
        history_from_ms = max(history_from_ms, older_ms)
    closed = closed_at_first(old, entry.begun_ms) if shared else first_closed(entry.begun_ms)
    starts = await generations.view_starts()
    await watch.look(number)  # how many keys Redis evicted before it
    begun = await generations.begin(
        number,
        entry,
        under.digest,
        [begin.get(p) or NO_POSITION for p in range(max(begin) + 1)],
        history_from_ms,
        describe(topic, under.catalog),
        None if keeps_secret else clock.secret(),
        closed,
        hours_from(old, shared, older_ms, closed) if shared else 0,
        # What is copied of an added view begins where it began to count. All later buckets are counted.
        {id_: min(from_ms, older_ms) for id_, from_ms in starts.items()} if shared else None,
    )
    if not begun:
        raise RebuildRefused(
            "another generation answers by now, or the secret is gone: run odometer rebuild again"
        )
    return _RebuildPlan(number, entry, shared, False, begin)


async def _check_log(old: Meta, kafka: str, topic: str, bounds: Mapping[int, OffsetBounds]) -> None:
    """Checks that the log is the one that was counted. (A rebuild may repair a sum that overflowed.)"""
    for partition, stored in ((p, stored_of(old, p)) for p in sorted(bounds)):
        last_record = None
        if stored.last_offset >= bounds[partition].start:
            last_record = await read_record_at(kafka, topic, partition, stored.last_offset)
        refused = refusal_of(stored, bounds[partition], last_record)
        if refused is not None:
            raise RebuildRefused(f"partition {partition} is paused, solve that first: {refused[1]}")


async def _can_resume(
    generations: RedisGenerations,
    number: int,
    entry: GenerationEntry,
    origin: int,
    digest: bytes,
    bounds: Mapping[int, OffsetBounds],
) -> bool:
    """Whether a generation that was begun can be resumed."""
    meta = await generations.meta_of(number)
    if meta is None or entry.origin != origin or meta.state != LIVE:
        return False
    return meta.digest == digest and all(
        max(stored_of(meta, p).position, 0) >= one.start for p, one in bounds.items()
    )


async def _first_append_ms(
    old: Meta, kafka: str, topic: str, bounds: Mapping[int, OffsetBounds]
) -> int:
    """The latest append time, in ms, that a record before the start of the log can have. For an empty
    partition, it is that of the last counted record."""
    latest_ms = 0
    for partition, one in bounds.items():
        if one.start or old.history_from_ms:
            first = await read_record_at(kafka, topic, partition, one.start)
            append_ms = first.append_ms if first else stored_of(old, partition).last_append_ms
            latest_ms = max(latest_ms, append_ms)
    return latest_ms


# -- filling ---------------------------------------------------------------------------------------


async def _fill(
    redis_url: str,
    watch: EvictionWatch,
    kafka: str,
    under: _Configuration,
    plan: _RebuildPlan,
    kept_ms: int,
    say: Callable[[RebuildProgress], None],
    overtaken: asyncio.Task[None],
    clock: Clock,
) -> RebuildResult:
    origin, number = plan.entry.origin, plan.number
    async with (
        RedisPair(redis_url, origin, number, under.tenant_series) as pair,
        open_whole_log(kafka, under.topic) as log,
    ):
        carry_over = None
        if plan.shared is not None and not plan.entry.is_whole:
            carry_over = CarryOver(pair, plan.shared, plan.entry, clock.now_ms())
        worker = RebuildWorker(
            log,
            pair,
            clock,
            under.digest,
            pair,
            carry_over,
            prices=under.prices,
            catalog=under.catalog,
        )
        await _run_together(worker, watch, plan, kept_ms, say, overtaken)
        meta = await pair.meta()
    assert meta is not None
    return RebuildResult(
        replaced=origin,
        generation=number,
        resumed=plan.resumed,
        events=worker.health.events,
        older_ms=plan.entry.older_ms,
        recognised_from_ms=plan.entry.recognised_from_ms,
        history_from_ms=meta.history_from_ms,
        hours_from_ms=meta.hours_from_ms,
        missing=list(plan.shared.missing) if plan.shared else [],
        dropped_after_ms=clock.now_ms() + kept_ms,
    )


async def _run_together(
    worker: RebuildWorker,
    watch: EvictionWatch,
    plan: _RebuildPlan,
    kept_ms: int,
    say: Callable[[RebuildProgress], None],
    overtaken: asyncio.Task[None],
) -> None:
    """Returns when the new generation answers. Raises Overtaken where the lease is lost."""
    working = [
        asyncio.create_task(one)
        for one in (
            worker.fill_and_switch(kept_ms),
            worker.poll_end_offsets(lambda: False),
            _report_progress(worker, plan, say),
            _refuse_evictions(watch, plan.number),
        )
    ]
    try:
        await asyncio.wait([*working, overtaken], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in working:
            task.cancel()
        await asyncio.wait(working)
    if overtaken.done():
        raise Overtaken(
            "another rebuild has taken over: this process was stopped or cut off for too long"
        )
    for task in working:
        if not task.cancelled():
            task.result()


async def _refuse_evictions(watch: EvictionWatch, number: int) -> None:
    """Ends the rebuild when Redis may evict, or has evicted since it began."""
    while True:
        with suppress(StoreUnavailable, StoreFull):
            if (evicts := await watch.look(number, is_filling=True)) is not None:
                raise RebuildRefused(evicts[1])
        await asyncio.sleep(PROGRESS_S)


async def _report_progress(
    worker: RebuildWorker, plan: _RebuildPlan, say: Callable[[RebuildProgress], None]
) -> None:
    while True:
        total, left = worker.extent(plan.begin), worker.lag()
        say(
            RebuildProgress(
                generation=plan.number, done=max(0, total - left), total=total, doing=worker.doing
            )
        )
        await asyncio.sleep(PROGRESS_S)
