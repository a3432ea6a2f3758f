"""Lets a few pieces of work run at a time, and gives each tenant its turn.

So a request waits for a few pieces of each other tenant that asks, however many requests another tenant
sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from api.http.tenant_shares import TenantShares

Refusal = Callable[[int], Exception]
"""Makes the error of a request without a turn. The number: requests of its tenant before it."""


@dataclass(frozen=True)
class TurnLimits:
    """How many requests run at once, in the process and of one tenant, and how many run or wait.

    A tenant may have as many as are left for others, `of_tenant_max` at most. So a few tenants do not
    fill all. None: no limit. `timeout_s`: how long a request waits for its turn.
    """

    at_once: int = 1
    of_tenant: int = 1
    of_tenant_max: int | None = None
    most: int | None = None
    timeout_s: float | None = None

    def has_room(self, tenant: str, shares: TenantShares) -> bool:
        """Whether one more request may wait. `shares`: those that run or wait."""
        if self.of_tenant_max is not None and shares.of(tenant) >= self.of_tenant_max:
            return False
        return self.most is None or shares.has_room(tenant, self.most)


class TenantTurns:
    """The requests that wait, one queue for each tenant. Only the first of a queue (`of_tenant`) wait
    with those of the others, in the order of arrival.

    `late` makes the error of a request that has waited too long, `full` of one that may not wait.
    """

    def __init__(
        self,
        limits: TurnLimits = TurnLimits(),
        late: Refusal = lambda _own: TimeoutError(),
        full: Refusal = lambda _own: TimeoutError(),
    ) -> None:
        self._limits = limits
        self._late = late
        self._full = full
        self._running = asyncio.Semaphore(limits.at_once)
        self._shares = TenantShares()
        self._queues: dict[str, asyncio.Semaphore] = {}

    def of(self, tenant: str) -> int:
        """How many requests of this tenant run or wait."""
        return self._shares.of(tenant)

    @asynccontextmanager
    async def turn(self, tenant: str, until_s: float | None = None) -> AsyncIterator[None]:
        """Runs the block when it is this request's turn. `until_s`: the loop's time until which it waits
        at most."""
        own = self.of(tenant)
        if not self._limits.has_room(tenant, self._shares):
            raise self._full(own)
        queue = self._queues.get(tenant)
        if queue is None:
            queue = self._queues[tenant] = asyncio.Semaphore(self._limits.of_tenant)
        self._shares.add(tenant)
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout_at(self._deadline_s(until_s)):
                        await stack.enter_async_context(queue)
                        await stack.enter_async_context(self._running)
                except TimeoutError:
                    raise self._late(own) from None
                yield
        finally:
            self._shares.add(tenant, -1)
            if not self._shares.of(tenant):
                del self._queues[tenant]

    def _deadline_s(self, until_s: float | None) -> float | None:
        """One deadline for both waits: those of its tenant, and those of the others."""
        if self._limits.timeout_s is None:
            return until_s
        end_s = asyncio.get_running_loop().time() + self._limits.timeout_s
        return end_s if until_s is None else min(end_s, until_s)
