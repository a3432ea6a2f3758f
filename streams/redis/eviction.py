"""Watches that Redis does not evict: its policy, and the keys that it has evicted.

A worker and a rebuild look at the start and every few seconds, beside their work. The rules are in
schemas/store/eviction.py.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from redis.exceptions import RedisError

from schemas.errors import StoreFull
from schemas.store.eviction import (
    INFO,
    REPAIR,
    SAFE_POLICY,
    EvictionRecord,
    ServerMemory,
    evictions_key,
    has_evicted,
    memory_of,
    next_record,
    unpack_record,
)
from schemas.store.layout import meta_key, unpack_meta
from schemas.store.redis_errors import is_forbidden, store_error
from streams.core.ports import RefusalReason
from streams.redis.client import RedisOwner, ask

FORBIDDEN: Final = (
    "INFO does not say whether Redis evicts keys, because it is forbidden or incomplete. Grant the "
    "user of the worker the right +info (ACL SETUSER NAME +info); or, if you know that "
    "maxmemory-policy is noeviction, set ODOMETER_REDIS_EVICTION=noeviction"
)


class EvictionWatch(RedisOwner):
    """Looks at one Redis. Use as `async with`.

    `stated`: the policy that the operator states, for a Redis that forbids INFO; "" for none.
    """

    def __init__(self, url: str, stated: str = "") -> None:
        super().__init__(url)
        self._redis.set_response_callback("INFO", _as_it_is)
        self._stated = stated
        self._seen_ms: dict[int, int] = {}
        """Generation to `seen_ms`. A failover can lose the record and keep the loss of the keys."""

    async def look(
        self, generation: int, *, is_read_only: bool = False, is_filling: bool = False
    ) -> tuple[RefusalReason, str] | None:
        """Why nothing may be counted into this generation now, and what to do; else None.

        Stores an eviction, and how many keys were evicted before the first commit. `is_filling`: a
        rebuild may already have read the old generation's keys, so evictions before its first
        commit count too. Raises StoreError.
        """
        memory = await self._memory()
        if memory is None and self._stated != SAFE_POLICY:
            return RefusalReason.EVICTION_UNKNOWN, FORBIDDEN
        # Under another policy too: nothing is counted, but keys go on being evicted.
        has_evicted = await self._check_evicted(
            generation, memory, is_read_only=is_read_only, is_filling=is_filling
        )
        if memory is not None and memory.policy != SAFE_POLICY:
            return RefusalReason.EVICTION_POLICY, (
                f"maxmemory-policy of Redis is {memory.policy}: at its memory limit it evicts counters "
                f"without an error, and totals become too low. Set {SAFE_POLICY}: {REPAIR}"
            )
        if has_evicted:
            return RefusalReason.KEYS_EVICTED, (
                "Redis has evicted keys since these counters were begun, so totals may be too low. "
                "Count again from the log: odometer rebuild"
            )
        return None

    async def _memory(self) -> ServerMemory | None:
        try:
            return memory_of(await self._redis.execute_command(*INFO))  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            if is_forbidden(error):
                return None
            raise store_error(error) from error

    async def _check_evicted(
        self,
        generation: int,
        memory: ServerMemory | None,
        *,
        is_read_only: bool,
        is_filling: bool,
    ) -> bool:
        key = evictions_key(generation)
        stored = unpack_record(await ask(self._redis.hgetall(key)))
        data = await ask(self._redis.get(meta_key(generation)))
        commits = 0 if data is None else unpack_meta(data).commits
        if is_filling:
            commits = max(commits, 1)
        if not commits:
            self._seen_ms.pop(generation, None)
        record = stored._replace(seen_ms=stored.seen_ms or self._seen_ms.get(generation, 0))
        after = next_record(record, memory, commits)
        if after.seen_ms:
            self._seen_ms[generation] = after.seen_ms
        if not is_read_only:
            await self._store(key, stored, after)
        return has_evicted(record, memory, commits)

    async def _store(self, key: str, before: EvictionRecord, after: EvictionRecord) -> None:
        if after == before:
            return
        if after.seen_ms:
            with suppress(StoreFull):  # stored at a later look
                await ask(self._redis.hsetnx(key, "seen_ms", str(after.seen_ms)))
            return
        if before.seen_ms:
            await ask(self._redis.hdel(key, "seen_ms"))
        stated = int(after.is_stated)
        await ask(
            self._redis.hset(
                key, items=["run_id", after.run_id, "evicted", after.evicted, "stated", stated]
            )
        )


def _as_it_is(response: Any, **_options: Any) -> Any:  # noqa: ANN401  as RESP has it
    return response
