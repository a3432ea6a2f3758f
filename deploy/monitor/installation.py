"""The status of the whole installation, for `odometer status` and for `GET /v1/status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from api.status.endpoints import Installation, OwnLetters
from deploy.settings import (
    Settings,
    read_catalog,
    read_id_quota,
    read_prices,
    read_series_quota,
)
from schemas.errors import InvalidConfig, LogError
from schemas.limits import HOUR_MS
from schemas.responses.status import Status, Verdict, known_members
from streams.operations.letter_counts import CountedLetters, LetterCounts
from streams.operations.status import read_status
from streams.operations.verdict import judge

KAFKA_S: Final = 5.0
"""How long a request waits for Kafka. The command waits longer: nobody closes its connection."""
WHOLE_AGE_S: Final = 2.0
LETTERS_AGE_S: Final = 10.0
"""Several requests get the same result for so long. The first read takes half a second of a core for 20,000
dead letters; later ones only look at what was added."""

Read = TypeVar("Read")


async def read_installation(settings: Settings, kafka_s: float | None = None) -> tuple[Status, int]:
    """The status, and the time at which it was read in ms. Raises InvalidConfig."""
    found = await read_status(
        settings.kafka,
        settings.redis,
        settings.topic,
        read_prices(settings).version,
        read_catalog(settings),
        settings.redis_eviction,
        read_series_quota(settings),
        read_id_quota(settings),
        settings.dead_letter_topic,
        _now_ms() - HOUR_MS,
        kafka_s,
    )
    return found, _now_ms()


def as_document(found: Status, verdict: Verdict) -> dict[str, Any]:
    """The verdict, then the status, as one JSON object."""
    return {"verdict": verdict.model_dump(mode="json"), **known_members(found)}


def installation_of(settings: Settings) -> Installation:
    """For the API. It is read in threads, so the event loop of the API does not wait."""

    async def whole() -> Mapping[str, object]:
        found, now_ms = await read_installation(settings, KAFKA_S)
        return as_document(found, judge(found, now_ms))

    counts = LetterCounts(settings.kafka, settings.dead_letter_topic)

    async def letters() -> CountedLetters | None:
        try:
            async with asyncio.timeout(KAFKA_S):
                return await counts.read(_now_ms() - HOUR_MS)
        except (LogError, InvalidConfig, TimeoutError):  # InvalidConfig: there is no such topic yet
            return None

    all_letters = SharedRead(letters, LETTERS_AGE_S)

    async def dead_letters_of(tenant: str) -> OwnLetters | None:
        found = await all_letters()
        return None if found is None else OwnLetters(*found.of(tenant))

    return Installation(SharedRead(whole, WHOLE_AGE_S), dead_letters_of)


class SharedRead(Generic[Read]):
    """Calls `read` in a thread with an event loop of its own, and gives the result to all who ask within
    `age_s`."""

    def __init__(self, read: Callable[[], Awaitable[Read]], age_s: float) -> None:
        self._read = read
        self._age_s = age_s
        self._turn = asyncio.Lock()
        self._found: list[Read] = []
        self._until_s = 0.0

    async def __call__(self) -> Read:
        async with self._turn:
            if not self._found or time.monotonic() >= self._until_s:
                self._found = [await asyncio.to_thread(asyncio.run, _awaited(self._read))]
                self._until_s = time.monotonic() + self._age_s
            return self._found[0]


async def _awaited(read: Callable[[], Awaitable[Read]]) -> Read:
    return await read()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
