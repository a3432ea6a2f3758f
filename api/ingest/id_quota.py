"""Each tenant's quota of event ids: a tenant that has used it up may send no more events for a while.

Redis stores each event id for 24 to 36 h, so one tenant that sends many events takes memory from all.
The workers count the ids of each tenant in the commit that stores them. Once a second this process
reads these counts. It adds the events that it accepted and the workers have not counted yet. So the
quota is exceeded only by the rest of one request, by events of other processes that are not counted
yet, and by what goes to Kafka without the API. What is in Kafka always counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from api.errors import CountingBehind, QuotaUsedUp
from api.store.reader import Store
from schemas.catalog.views import REMEMBERED_MS, SLICE_MS
from schemas.errors import StoreError
from schemas.limits import SECOND_MS
from schemas.quotas import Quota
from schemas.store.quota_counts import id_counts_key

READ_AFTER_MS: Final = 1000
"""How long counts are used before they are read again: 0.3 ms, and 1 us for each active tenant."""
SLICES_MAX: Final = 16
"""Slices of append time that are read, the newest: Redis stores 4, and more while workers are behind."""
TENANTS_MAX: Final = 10_000
"""Tenants whose counts are cached, 200 B each."""


@dataclass
class _Usage:
    """The ids of one tenant: `counted` in Redis, the oldest of them in `slice`, and `pending`, which this
    process has accepted and the workers may not have counted. `is_active`: since the last read."""

    counted: int = 0
    slice: int = 0
    pending: int = 0
    is_active: bool = True


class IdQuota:
    """`quota`: ids that a tenant may have in Redis; 0 is no quota. `reached`: the ends of the partitions
    that Kafka has acknowledged to this process. `ticks`: a steady clock in ms."""

    def __init__(
        self,
        store: Store,
        quota: Quota,
        reached: Callable[[], Mapping[int, int]],
        clock: Callable[[], int],
        ticks: Callable[[], int],
    ) -> None:
        self._store = store
        self._quota = quota
        self._reached = reached
        self._clock = clock
        self._ticks = ticks
        self._usages: dict[str, _Usage] = {}
        self._sending = 0
        self._read_ms: int | None = None
        self._reading = asyncio.Lock()

    @asynccontextmanager
    async def taken(
        self, events: Mapping[str, int], *, is_atomic: bool = False
    ) -> AsyncIterator[Collection[str]]:
        """Counts events of these tenants, which are sent in the `with`. Gives the tenants that have used up
        their quota; their events must not be sent.

        A tenant may send while it has any ids left. Raises QuotaUsedUp if none of the tenants has, or,
        for an atomic request, if one of them has not.
        """
        quotas = {tenant: most for tenant in events if (most := self._quota.of(tenant))}
        if quotas:
            await self._read(quotas)
        over = {tenant for tenant, most in quotas.items() if self._used(tenant) >= most}
        if over and (is_atomic or len(over) == len(events)):
            first = min(over)
            raise QuotaUsedUp(first, quotas[first], self._wait_s(first, quotas[first]))
        taken = [(self._usages[tenant], events[tenant]) for tenant in quotas.keys() - over]
        for usage, count in taken:
            usage.pending += count
        sending = sum(count for tenant, count in events.items() if tenant not in over)
        self._sending += sending
        try:
            yield over
        except CountingBehind:  # nothing was sent
            for usage, count in taken:
                usage.pending = max(0, usage.pending - count)
            raise
        finally:
            self._sending -= sending

    def _used(self, tenant: str) -> int:
        usage = self._usages[tenant]
        return usage.counted + usage.pending

    def _wait_s(self, tenant: str, most: int) -> int:
        """Until the tenant's oldest slice is dropped, or until the workers have counted what it sent."""
        usage = self._usages[tenant]
        if usage.counted < most:
            return READ_AFTER_MS // SECOND_MS
        dropped_ms = (usage.slice + 1) * SLICE_MS + REMEMBERED_MS
        return max(1, -(-(dropped_ms - self._clock()) // SECOND_MS))

    async def _read(self, tenants: Collection[str]) -> None:
        """Makes sure that the usage of each tenant is known, and reads all again when it is time. Only one
        request waits for that; meanwhile others use what is known."""
        if all(t in self._usages for t in tenants) and (
            self._reading.locked() or not self._is_due()
        ):
            for tenant in tenants:
                self._usages[tenant].is_active = True
            return
        async with self._reading:
            new = {tenant: _Usage() for tenant in tenants if tenant not in self._usages}
            if self._is_due():
                before, found = self._usages, self._kept() | new
                await self._count(found, has_all=True)
                used = {t: one for t, one in before.items() if t not in found and one.is_active}
                self._usages = used | found  # `used`: by others meanwhile
                self._read_ms = self._ticks()
            elif new:
                await self._count(new, has_all=False)
                self._usages |= new
            for tenant in tenants:
                self._usages.setdefault(tenant, _Usage()).is_active = True

    def _is_due(self) -> bool:
        return self._read_ms is None or self._ticks() - self._read_ms >= READ_AFTER_MS

    def _kept(self) -> dict[str, _Usage]:
        kept = {t: one for t, one in self._usages.items() if one.is_active or one.pending}
        for one in kept.values():
            one.is_active = False
        return dict(islice(kept.items(), max(0, len(kept) - TENANTS_MAX), None))

    async def _count(self, usages: Mapping[str, _Usage], *, has_all: bool) -> None:
        """Reads what Redis has counted. If it does not answer, the last counts remain: events do not wait
        for Redis, because Kafka takes them and they are counted later."""
        names = list(usages)
        before = {tenant: usages[tenant].pending for tenant in names}
        sent, reached = self._sending, dict(self._reached())
        try:
            reading = await self._store.state()
            meta = reading.meta
            slices = range(
                max(meta.slice_low, meta.slice_high - SLICES_MAX + 1), meta.slice_high + 1
            )
            found = await self._store.ask_all(
                [("HMGET", id_counts_key(reading.generation, one), *names) for one in slices]
            )
        except StoreError:
            return
        stored = dict(enumerate(part.position for part in meta.partitions))
        lag = sent + sum(max(0, end - max(0, stored.get(p, 0))) for p, end in reached.items())
        for place, tenant in enumerate(names):
            counts = {
                s: int(row[place]) for s, row in zip(slices, found, strict=True) if row[place]
            }
            usage = usages[tenant]
            usage.counted, usage.slice = sum(counts.values()), min(counts, default=0)
            if has_all:
                usage.pending += min(before[tenant], lag) - before[tenant]
