"""Equal questions in flight are computed once, and an answer stands until its sums change.

One process, no clock: an answer is kept with what it was made from, the sums that the store gave,
and is given again while they are the same ones; the store is asked for them at each question.
What a question means is remembered too: for a second, as that is how fast `now` moves here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from schemas.limits import SECOND_MS

Result = TypeVar("Result")

ANSWERS_MAX: Final = 256
"""Answers kept: what the dashboards of some tens of people show."""
ANSWER_BYTES_MAX: Final = 256 * 1024
"""A larger answer is not kept: 256 of these are 64 MB."""


def round_to_second(now_ms: int) -> int:
    """The first millisecond of the second that ends with the next whole one.

    All bounds relative to now are whole seconds from it, and go up to a boundary of whole minutes,
    so any question covers the same instants at both; and the same text means the same for a second.
    """
    return (now_ms - 1) // SECOND_MS * SECOND_MS + 1


class Singleflight(Generic[Result]):
    """What is being made for each question."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Task[Result]] = {}

    async def once(self, question: Hashable, make: Callable[[], Awaitable[Result]]) -> Result:
        """What `make` gives, or what is being made for an equal question already.

        A caller that goes away does not take the answer from the others.
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
            task.exception()  # seen: every caller may have gone away


class AnswerCache(Generic[Result]):
    """The last answers with what they were made from; the longest unused goes first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, tuple[Hashable, Result]] = OrderedDict()

    def get(self, question: Hashable, state: Hashable) -> Result | None:
        """What was kept, if it was made from an equal state."""
        made = self._answers.get(question)
        if made is None or made[0] != state:
            return None
        self._answers.move_to_end(question)
        return made[1]

    def put(self, question: Hashable, state: Hashable, answer: Result, size_bytes: int) -> None:
        if size_bytes > ANSWER_BYTES_MAX:
            return
        self._answers[question] = state, answer
        self._answers.move_to_end(question)
        if len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)


async def _awaited(make: Callable[[], Awaitable[Result]]) -> Result:
    return await make()
