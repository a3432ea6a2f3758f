"""Who makes an answer now, and who waits. A tenant that asks much waits for itself, and all large answers
give way to small questions.

An answer from the caches waits for nobody. All others take a turn to be read (`question_turns`). What
would hold up the event loop runs in a thread, in a turn of its own: the steps of one read and bodies of
some rows (`step_turns`), large reads (`large_turns`), and bodies of many rows (`body_turns`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from api.errors import LargeAnswersBusy, TooManyLargeQuestions, TooManyQuestions
from api.http.tenant_turns import Refusal, TenantTurns, TurnLimits

QUESTIONS: Final = TurnLimits(at_once=8, of_tenant=2, of_tenant_max=64, most=256, timeout_s=3.0)
"""Questions that are read at once, and that wait. One takes the event loop 1 to 5 ms, and those of a tenant
share their reads. A question of another tenant waits for 2 of each tenant. The 64th of a tenant that asks
for 34 ms each waits 2 s."""
STEPS: Final = TurnLimits(of_tenant_max=64, most=256, timeout_s=3.0)
"""Selections, sums and bodies of 2 to 30 ms, in a thread."""
LARGE: Final = TurnLimits(at_once=2, of_tenant_max=8, most=32)
"""Large answers that are read: each has up to 128 MB of pages, and up to 50,000 keys while it waits."""
BODIES: Final = TurnLimits(of_tenant_max=16, most=64, timeout_s=4.0)
"""Bodies of many rows, in a thread: two at once would only share the core. Making one is never cut off:
a thread cannot be stopped."""
LARGE_TIMEOUT_S: Final = 4.0
"""For the wait of a large question. The published clients time out after 5 s, and should get a 503 before."""
RETRY_AFTER_S: Final = 2
ROUNDS: Final = 8
"""Rounds of the event loop between two steps. A small question takes six: it arrives, its task starts,
two replies of Redis, its result is shared, and it is sent. A round without work takes 20 us."""
PAUSE_MAX_S: Final = 0.01
"""A large answer goes on after this time, however many small questions there are. So large answers have at
least a quarter of the process: steps of 3 to 5 ms."""


def question_turns() -> TenantTurns:
    return TenantTurns(QUESTIONS, *_refusals(TooManyQuestions, "questions"))


def step_turns() -> TenantTurns:
    return TenantTurns(STEPS, *_refusals(TooManyQuestions, "questions"))


def large_turns() -> TenantTurns:
    return TenantTurns(LARGE, *_refusals(TooManyLargeQuestions, "large questions"))


def body_turns() -> TenantTurns:
    return TenantTurns(BODIES, *_refusals(TooManyLargeQuestions, "large questions"))


def _refusals(own_error: type[TooManyQuestions], what: str) -> tuple[Refusal, Refusal]:
    """The errors of one that waited too long, and of one that may not wait. A tenant that has asked for
    others before asks too much itself."""

    def late(own: int) -> Exception:
        if own:
            return own_error(own, RETRY_AFTER_S)
        return LargeAnswersBusy(f"{what} of others took too long")

    def full(own: int) -> Exception:
        if own:
            return own_error(own, RETRY_AFTER_S)
        return LargeAnswersBusy(f"too many {what} are under way already")

    return late, full


Shaped = TypeVar("Shaped")


@dataclass(frozen=True)
class Turn:
    """Runs what makes a body: at once, or in `threads`."""

    threads: Executor | None

    async def run(self, make: Callable[[], Shaped]) -> Shaped:
        if self.threads is None:
            return make()
        return await asyncio.get_running_loop().run_in_executor(self.threads, make)


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
