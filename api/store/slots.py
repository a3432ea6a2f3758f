"""Who makes a large answer now, and who waits. A tenant that asks many waits for itself, and all large
answers give way to small questions.

Large answers take long in two ways: to read and sum, and to turn many rows into a body. Each has its own
slots, because the second needs no Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from api.errors import LargeAnswersBusy, TooManyLargeQuestions

READ_AT_ONCE: Final = 2
"""Large answers that a process reads at once: 256 MB of pages. One tenant has one at most."""
SHAPED_AT_ONCE: Final = 1
"""Bodies of many rows that a process makes at once, in a thread: two would only share the core."""
WAITING_OF_TENANT_MAX: Final = 8
WAITING_MAX: Final = 32
"""Large questions under way or waiting: of a tenant, and of the process. Each holds up to 50,000 keys. A
tenant may have as many as are left, so that a few tenants do not fill all."""
LARGE_TIMEOUT_S: Final = 4.0
"""For waiting and reading. The published clients time out after 5 s, and should get a 503 before."""
SHAPE_WAIT_S: Final = 2.0
"""For the wait until a body is made. Making it is never cut off: a thread cannot be stopped."""
RETRY_AFTER_S: Final = 2
ROUNDS: Final = 8
"""Rounds of the event loop between two steps. A small question takes six: it arrives, its task starts,
two replies of Redis, its result is shared, and it is sent. A round without work takes 20 us."""
PAUSE_MAX_S: Final = 0.01
"""A large answer goes on after this time, however many small questions there are. So large answers have at
least a quarter of the process: steps of 3 to 5 ms."""


class Slots:
    """First come, first served: `at_once` of the process, and one of each tenant."""

    def __init__(self, at_once: int) -> None:
        self._process = asyncio.Semaphore(at_once)
        self._tenants: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}

    @asynccontextmanager
    async def slot(self, tenant: str, wait_s: float | None = None) -> AsyncIterator[None]:
        """Raises TooManyLargeQuestions, or LargeAnswersBusy if too many wait, or for too long."""
        own, left = self._waiting.get(tenant, 0), WAITING_MAX - sum(self._waiting.values())
        if own and own >= min(WAITING_OF_TENANT_MAX, left):
            raise TooManyLargeQuestions(own, RETRY_AFTER_S)
        if not left:
            raise LargeAnswersBusy(f"{WAITING_MAX} large questions are under way already")
        self._waiting[tenant] = own + 1
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


class Priority:
    """Counts the small questions that read now."""

    def __init__(self) -> None:
        self._small = 0
        self._is_free = asyncio.Event()
        self._is_free.set()

    @contextmanager
    def small(self) -> Iterator[None]:
        """A small question is read meanwhile."""
        self._small += 1
        self._is_free.clear()
        try:
            yield
        finally:
            self._small -= 1
            if not self._small:
                self._is_free.set()

    async def give_way(self) -> None:
        """Pause a large answer until no small question is read, PAUSE_MAX_S at most."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + PAUSE_MAX_S
        while True:
            for _round in range(ROUNDS):
                await asyncio.sleep(0)
            left_s = end_s - loop.time()
            if not self._small or left_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._is_free.wait()
