"""Lets one piece of work run at a time, and gives each tenant its turn.

So a request waits for one piece of each other tenant that asks, however many requests another tenant
sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Queue:
    """The requests of one tenant."""

    length: int = 0
    first: asyncio.Lock = field(default_factory=asyncio.Lock)


class TenantTurns:
    """The requests that wait, one queue for each tenant. Only the first of a queue waits with those of
    the others, in the order of arrival.

    `timeout_s`: how long a request waits, None: without limit. `late` makes its error then.
    """

    def __init__(
        self, timeout_s: float | None = None, late: Callable[[], Exception] = TimeoutError
    ) -> None:
        self._timeout_s = timeout_s
        self._late = late
        self._running = asyncio.Lock()
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Runs the block when it is this request's turn."""
        queue = self._queues.setdefault(tenant, _Queue())
        queue.length += 1
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await stack.enter_async_context(queue.first)
                        await stack.enter_async_context(self._running)
                except TimeoutError:
                    raise self._late() from None
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[tenant]
