"""Who makes a large answer now, and who waits. A tenant that asks many waits for itself.

Large answers take long in two ways: to read and sum, and to turn many rows into a body. Each has its own
slots, because the second needs no Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from api.errors import LargeAnswersBusy, TooManyLargeQuestions

READ_AT_ONCE: Final = 2
"""Large answers that a process reads at once: 256 MB of pages. One tenant has one at most."""
SHAPED_AT_ONCE: Final = 1
"""Bodies of many rows that a process makes at once, in a thread: two would only share the core."""
WAITING_OF_TENANT_MAX: Final = 8
WAITING_MAX: Final = 32
"""Large questions under way or waiting: of a tenant, and of the process. Each holds up to 50,000 keys."""
LARGE_TIMEOUT_S: Final = 4.0
"""For waiting and reading. The published clients time out after 5 s, and should get a 503 before."""
SHAPE_WAIT_S: Final = 2.0
"""For the wait until a body is made. Making it is never cut off: a thread cannot be stopped."""
RETRY_AFTER_S: Final = 2


class Slots:
    """First come, first served: `at_once` of the process, and one of each tenant."""

    def __init__(self, at_once: int) -> None:
        self._process = asyncio.Semaphore(at_once)
        self._tenants: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}

    @asynccontextmanager
    async def slot(self, tenant: str, wait_s: float | None = None) -> AsyncIterator[None]:
        """Raises TooManyLargeQuestions, or LargeAnswersBusy if too many wait, or for too long."""
        if self._waiting.get(tenant, 0) >= WAITING_OF_TENANT_MAX:
            raise TooManyLargeQuestions(WAITING_OF_TENANT_MAX, RETRY_AFTER_S)
        if sum(self._waiting.values()) >= WAITING_MAX:
            raise LargeAnswersBusy(f"{WAITING_MAX} large questions are under way already")
        self._waiting[tenant] = self._waiting.get(tenant, 0) + 1
        lock = self._tenants.setdefault(tenant, asyncio.Lock())
        try:
            async with _within(wait_s, lock), _within(wait_s, self._process):
                yield
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant], self._tenants[tenant]


Shaped = TypeVar("Shaped")


@dataclass(frozen=True)
class Turn:
    """Runs what makes a body: at once, or in `threads`."""

    threads: Executor | None

    async def run(self, make: Callable[[], Shaped]) -> Shaped:
        if self.threads is None:
            return make()
        return await asyncio.get_running_loop().run_in_executor(self.threads, make)


@asynccontextmanager
async def _within(
    wait_s: float | None, lock: asyncio.Lock | asyncio.Semaphore
) -> AsyncIterator[None]:
    """Hold this. Raises LargeAnswersBusy if it is not free within `wait_s`."""
    try:
        async with asyncio.timeout(wait_s):
            await lock.acquire()
    except TimeoutError as error:
        raise LargeAnswersBusy(f"other large questions took longer than {wait_s} s") from error
    try:
        yield
    finally:
        lock.release()
