"""Lets a few requests of one tenant begin in one round of the event loop.

All requests that arrive together would begin in one round. A tenant that sends a thousand would hold up
those of all others until each of its own is parsed, and perhaps refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

A_ROUND: Final = 4
"""Requests of a tenant that begin in one round: up to 1.5 ms each. A small question takes some eight
rounds."""


class Arrivals:
    """The requests that wait to begin, by tenant, in their order."""

    def __init__(self, a_round: int = A_ROUND) -> None:
        self._a_round = a_round
        self._begun: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def begin(self, tenant: str) -> None:
        """Wait for a round in which one more request of this tenant may begin."""
        loop = asyncio.get_running_loop()
        if not self._begun:
            loop.call_soon(self._next_round, loop)
        begun = self._begun.get(tenant, 0)
        if begun < self._a_round:
            self._begun[tenant] = begun + 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        await turn

    def _next_round(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun.clear()
        for tenant, waiting in [*self._waiting.items()]:
            begun = 0
            while waiting and begun < self._a_round:
                turn = waiting.popleft()
                if not turn.done():  # its client is still there
                    turn.set_result(None)
                    begun += 1
            if begun:
                self._begun[tenant] = begun
            if not waiting:
                del self._waiting[tenant]
        if self._begun:
            loop.call_soon(self._next_round, loop)
