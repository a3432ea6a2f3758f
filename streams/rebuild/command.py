"""`odometer rebuild`: fills the next generation from the log beside the current one, and switches.

What an operator does: change the configuration (a view, a measure, a limit, a price), then run this
under the new one. While it runs, workers and APIs of the old configuration go on. At the switch the
workers of the old one end, and those of the new one, which may have been waiting, go on counting.

It may be killed at any point and run again: it goes on with what it had filled, where that is of the
same configuration and the log still holds what comes next; else it begins anew under another number.
Two at once would do no harm (every step compares what it was worked out from), but one of them would
be for nothing: the second says that there is a first, by a lease that ends soon after its holder.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import RebuildRefused, StoreUnavailable
from schemas.prices.price_list import Prices
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import LIVE, NO_POSITION, Meta
from schemas.units import iso
from streams.core.ports import OffsetBounds
from streams.core.resume_checks import refusal_of, stored_of
from streams.kafka.consumer import open_whole_log
from streams.kafka.offsets import read_bounds, read_record_at
from streams.rebuild.carry_over import CarryOver, carry_over_before
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.shared_history import SharedHistory, shared_with
from streams.redis.generations import LEASE_MS, Entry, RedisGenerations, RedisPair
from streams.worker.clock import ProcessClock

ABANDONED_MS: Final = 60_000
"""How long a generation that was given up stays: its worker, should it live, learns of it by then."""
LOOK_S: Final = 0.5
"""Between two words of progress, and of being alive."""


class Overtaken(RebuildRefused):
    """Another rebuild goes on with the same generation."""


class RebuildResult(BaseModel):
    """What a rebuild did. `resumed`: an earlier one had begun it. `older_ms`: buckets before it were
    taken over (0: none had to be). `history_from_ms`: where not 0, before it not everything is
    known that is kept now, and `missing` is what."""

    model_config = ConfigDict(frozen=True)

    replaced: int
    generation: int
    resumed: bool
    events: int
    older_ms: int
    history_from_ms: int
    missing: list[str]
    dropped_after_ms: int

    def sentence(self) -> str:
        said = [
            f"Generation {self.generation} answers now, with {self.events} events counted anew.",
            f"Generation {self.replaced} is kept until {iso(self.dropped_after_ms)}.",
        ]
        if self.older_ms:
            said.append(
                f"Buckets before {iso(self.older_ms)} were taken over: the topic no longer holds all"
                " of their records."
            )
        if self.missing:
            said.append(
                f"Before it nothing is known of: {', '.join(self.missing)}; answers say that history"
                f" is whole from {iso(self.history_from_ms)}."
            )
        said.append(
            "Workers of this configuration count on it by themselves; start those of the old one, "
            "and the API, anew with this one."
        )
        return "\n".join(said)


@dataclass(frozen=True)
class _Configuration:
    """The configuration that is counted under."""

    topic: str
    prices: Prices
    catalog: Catalog

    @property
    def digest(self) -> bytes:
        return generation_digest(self.topic, self.prices.version, self.catalog)


class RebuildProgress(BaseModel):
    """How far it is: records read of those that there are, and what it is at."""

    model_config = ConfigDict(frozen=True)

    generation: int
    done: int
    total: int
    doing: str


async def rebuild(
    kafka: str,
    redis_url: str,
    topic: str,
    prices: Prices,
    kept_ms: int,
    say: Callable[[RebuildProgress], None],
    catalog: Catalog = DEFAULT,
) -> RebuildResult:
    """Returns when the new generation answers; the old one is kept for `kept_ms` more.

    Raises RebuildRefused where it cannot be right or another one runs, StoreError, and LogError.
    """
    under = _Configuration(topic, prices, catalog)
    async with RedisGenerations(redis_url) as generations, hold_lease(generations) as token:
        keeping = asyncio.create_task(_keep_lease(generations, token))
        plan = None
        try:
            plan = await _choose_generation(generations, kafka, under)
            return await _fill(redis_url, kafka, under, plan, kept_ms, say, keeping)
        except Overtaken:
            raise
        except RebuildRefused:
            if plan is not None:
                now_ms = _now_ms()
                given_up = replace(plan.entry, retired_ms=now_ms, drop_ms=now_ms + ABANDONED_MS)
                await generations.retire(plan.number, given_up)
            raise
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


# -- one at a time ---------------------------------------------------------------------------------


@asynccontextmanager
async def hold_lease(generations: RedisGenerations) -> AsyncIterator[bytes]:
    """Holds the lease, to be kept alive under the token given; that of one that was killed it
    waits for to end."""
    token = secrets.token_hex(16).encode()
    left_ms = LEASE_MS + 1
    while not await generations.take_lease(token):
        before_ms, left_ms = left_ms, await generations.lease_left_ms()
        if left_ms > before_ms:
            raise RebuildRefused(
                "another rebuild is under way: odometer status shows what it fills"
            )
        await asyncio.sleep(LOOK_S)
    try:
        yield token
    finally:
        await generations.let_lease_go(token)


async def _keep_lease(generations: RedisGenerations, token: bytes) -> None:
    """Until another one has it: this process was frozen, or Redis away, for longer than it lasts."""
    while True:
        await asyncio.sleep(LEASE_MS / 3000)
        with suppress(StoreUnavailable):
            if not await generations.take_lease(token):
                return


# -- which generation ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _RebuildPlan:
    """What is to be filled. `begin`: the positions that it was begun at."""

    number: int
    entry: Entry
    shared: SharedHistory | None  # None: the log holds all
    resumed: bool
    begin: Mapping[int, int]


async def _choose_generation(
    generations: RedisGenerations, kafka: str, under: _Configuration
) -> _RebuildPlan:
    """The generation that was begun before, where it will do; else a new one."""
    topic = under.topic
    old = await generations.meta()
    if old is None:
        raise RebuildRefused(
            "nothing is counted yet, so there is nothing to rebuild: start a worker"
        )
    origin = generations.generation
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
        if await _can_resume(generations, number, entry, origin, under.digest, bounds):
            return _RebuildPlan(number, entry, shared if entry.older_ms else None, True, begin)
        now_ms = _now_ms()
        given_up = replace(entry, retired_ms=now_ms, drop_ms=now_ms + ABANDONED_MS)
        await generations.retire(number, given_up)
    number = max([origin, *entries]) + 1
    first_ms = await _first_append_ms(old, kafka, topic, bounds) if shared else 0
    older_ms = carry_over_before(first_ms) if shared else 0
    entry = Entry(origin=origin, begun_ms=_now_ms(), older_ms=older_ms)
    history_from_ms = old.history_from_ms
    if shared is not None and shared.missing:
        history_from_ms = max(history_from_ms, older_ms)
    begun = await generations.begin(
        number,
        entry,
        under.digest,
        [begin.get(p) or NO_POSITION for p in range(max(begin) + 1)],
        history_from_ms,
        describe(topic, under.catalog),
    )
    if not begun:
        raise RebuildRefused("another generation answers by now: run it again")
    return _RebuildPlan(number, entry, shared, False, begin)


async def _check_log(old: Meta, kafka: str, topic: str, bounds: Mapping[int, OffsetBounds]) -> None:
    """That the log is the one that was counted. A sum that left 64 bits may be mended by this."""
    for partition, stored in ((p, stored_of(old, p)) for p in sorted(bounds)):
        last_record = None
        if stored.last_offset >= bounds[partition].start:
            last_record = await read_record_at(kafka, topic, partition, stored.last_offset)
        refused = refusal_of(stored, bounds[partition], last_record)
        if refused is not None:
            raise RebuildRefused(f"partition {partition} is refused, mend that first: {refused[1]}")


async def _can_resume(
    generations: RedisGenerations,
    number: int,
    entry: Entry,
    origin: int,
    digest: bytes,
    bounds: Mapping[int, OffsetBounds],
) -> bool:
    """Whether a generation that was begun can be gone on with."""
    meta = await generations.meta_of(number)
    if meta is None or entry.origin != origin or meta.state != LIVE:
        return False
    return meta.digest == digest and all(
        max(stored_of(meta, p).position, 0) >= one.start for p, one in bounds.items()
    )


async def _first_append_ms(
    old: Meta, kafka: str, topic: str, bounds: Mapping[int, OffsetBounds]
) -> int:
    """No record that the log no longer holds was appended later. Of a partition that holds nothing
    now, the last that was counted is the last that there was."""
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
    kafka: str,
    under: _Configuration,
    plan: _RebuildPlan,
    kept_ms: int,
    say: Callable[[RebuildProgress], None],
    overtaken: asyncio.Task[None],
) -> RebuildResult:
    origin, number = plan.entry.origin, plan.number
    async with (
        RedisPair(redis_url, origin, number) as pair,
        open_whole_log(kafka, under.topic) as log,
    ):
        carry_over = None
        if plan.shared is not None and not plan.entry.is_whole:
            carry_over = CarryOver(pair, plan.shared, plan.entry, _now_ms())
        worker = RebuildWorker(
            log,
            pair,
            ProcessClock(),
            under.digest,
            pair,
            carry_over,
            prices=under.prices,
            catalog=under.catalog,
        )
        working = [
            asyncio.create_task(one)
            for one in (
                worker.fill_and_switch(kept_ms),
                worker.poll_end_offsets(lambda: False),
                _tell(worker, plan, say),
            )
        ]
        try:
            await asyncio.wait([*working, overtaken], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in working:
                task.cancel()
            await asyncio.wait(working)
        if overtaken.done():
            raise Overtaken("another rebuild has taken over: this process was away for too long")
        for task in working:
            if not task.cancelled():
                task.result()
        meta = await pair.meta()
    assert meta is not None
    return RebuildResult(
        replaced=origin,
        generation=number,
        resumed=plan.resumed,
        events=worker.health.events,
        older_ms=plan.entry.older_ms,
        history_from_ms=meta.history_from_ms,
        missing=list(plan.shared.missing) if plan.shared else [],
        dropped_after_ms=_now_ms() + kept_ms,
    )


async def _tell(
    worker: RebuildWorker, plan: _RebuildPlan, say: Callable[[RebuildProgress], None]
) -> None:
    while True:
        total, left = worker.extent(plan.begin), worker.lag()
        say(
            RebuildProgress(
                generation=plan.number, done=max(0, total - left), total=total, doing=worker.doing
            )
        )
        await asyncio.sleep(LOOK_S)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
