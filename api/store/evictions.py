"""Refuses answers from counters of which Redis has evicted keys. schemas/store/eviction.py says why."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.exceptions import ResponseError

from api.errors import CountersMissing
from api.http.singleflight import Singleflight
from api.store.connection import ReadConnection
from schemas.store.eviction import (
    INFO,
    ServerMemory,
    evictions_key,
    has_evicted,
    memory_of,
    unpack_record,
)
from schemas.store.layout import Meta
from schemas.store.redis_errors import is_forbidden

CHECK_EVERY_S: Final = 2.0
"""Answers that were sent before an eviction is seen may be too low."""


class EvictionCheck:
    """Checks a generation when an answer needs it, on a new Redis process, and every 2 s."""

    def __init__(self, connection: ReadConnection) -> None:
        self._connection = connection
        self._checking: Singleflight[None] = Singleflight()
        self._checked: tuple[int, bytes | None] | None = None
        self._due_s = 0.0

    async def check(self, generation: int, run_id: bytes | None, meta: Meta) -> None:
        """Raises CountersMissing after an eviction, and errors of redis-py."""
        known = generation, run_id
        now_s = asyncio.get_running_loop().time()
        if known != self._checked or now_s >= self._due_s:
            await self._checking.once(known, partial(self._look, generation, meta.commits))
            self._checked, self._due_s = known, now_s + CHECK_EVERY_S

    async def _look(self, generation: int, commits: int) -> None:
        key = evictions_key(generation)
        memory = await self._memory()
        (flat,) = await self._connection.read(("HGETALL", key))
        record = unpack_record(dict(zip(flat[::2], flat[1::2], strict=True)))
        if not has_evicted(record, memory, commits):
            return
        if memory is not None and not record.seen_ms:
            with suppress(ResponseError):  # a worker stores it too
                await self._connection.read(("HSETNX", key, "seen_ms", memory.at_ms))
        raise CountersMissing(
            "Redis has evicted keys, so totals would be too low. Count again from the log with"
            " odometer rebuild"
        )

    async def _memory(self) -> ServerMemory | None:
        report: list[Any]
        try:
            report = await self._connection.read(INFO)
        except ResponseError as error:
            if is_forbidden(error):
                return None  # what a worker has stored decides
            raise
        return memory_of(report[0])
