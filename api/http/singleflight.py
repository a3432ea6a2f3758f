"""Equal questions that arrive at the same time are computed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from schemas.limits import SECOND_MS

Result = TypeVar("Result")


def round_to_second(now_ms: int) -> int:
    """The first millisecond of the current second, where a second ends with its whole number.

    `now` moves once a second here, so equal texts mean the same question for a second. No answer
    changes by it: a bound relative to now is whole seconds away, and goes up to a whole minute.
    """
    return (now_ms - 1) // SECOND_MS * SECOND_MS + 1


class Singleflight(Generic[Result]):
    """The tasks under way, by question."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Result]] = {}

    async def once(self, question: Hashable, make: Callable[[], Awaitable[Result]]) -> Result:
        """The result of `make`, or of the task under way for an equal question.

        A caller that is cancelled does not cancel the task: others may wait for it.
        """
        task = self._under_way.get(question)
        if task is None:
            task = asyncio.ensure_future(_awaited(make))
            self._under_way[question] = task
            task.add_done_callback(lambda done: self._forget(question, done))
        return await asyncio.shield(task)

    def _forget(self, question: Hashable, task: asyncio.Task[Result]) -> None:
        del self._under_way[question]
        if not task.cancelled():
            task.exception()  # marks it as retrieved: every caller may have been cancelled


async def _awaited(make: Callable[[], Awaitable[Result]]) -> Result:
    return await make()
