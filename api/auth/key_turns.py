"""Lets one change or list of keys run at a time in a process, and each tenant in its turn.

Each reads all records of keys. So at most one such reading is in memory, and however often a tenant's
admin asks, another tenant's request waits for one of each tenant that asks, and not for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from schemas.errors import StoreUnavailable

TURN_S: Final = 3.0
"""A request that waits longer for its turn gets a 503: published clients time out after 5 s."""


@dataclass(eq=False)
class _Queue:
    """The requests of one tenant."""

    length: int = 0
    first: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeyTurns:
    """The requests that wait, one queue for each tenant. Only the first of a queue waits with those of
    the others, in the order of arrival."""

    def __init__(self) -> None:
        self._running = asyncio.Lock()
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Runs the block when it is this request's turn. Raises StoreUnavailable if that takes too
        long."""
        queue = self._queues.setdefault(tenant, _Queue())
        queue.length += 1
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(TURN_S):
                        await stack.enter_async_context(queue.first)
                        await stack.enter_async_context(self._running)
                except TimeoutError:
                    raise StoreUnavailable("other requests about keys were first") from None
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[tenant]
