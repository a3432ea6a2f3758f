"""However many keys there are and however often an admin asks, others do not wait for it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import redis

from api.auth.audit import Actor, operator
from api.auth.authenticate import digest_of
from api.auth.key_cache import KEYS_KEY
from api.auth.key_records import RECORDS_AT_ONCE, KeyChange, StoredKeys, change_keys
from api.auth.keys import KeySpec, create_keys, list_keys, opened, revoke_key
from api.store.reader import Store
from schemas.store.keys import Key

NOW_MS = 1_770_552_123_456
ACME = Actor("key-000000000a", "acme's admin", "admin", ("acme", "more"))
BETA = Actor("key-000000000b", "beta's admin", "admin", ("beta",))


class Watched(Store):
    """Notes how many fields an answer has, and how many readings run at the same time."""

    largest = readings = readings_max = 0

    async def ask(self, *command: str | int | bytes) -> Any:
        if command[:3] == ("HSCAN", KEYS_KEY, 0):
            self.readings += 1
            self.readings_max = max(self.readings_max, self.readings)
        reply = await super().ask(*command)
        assert command[:2] != ("HGETALL", KEYS_KEY)
        if command[0] == "HSCAN":
            self.largest = max(self.largest, len(reply[1]))
            self.readings -= command[1] == KEYS_KEY and not reply[0]
        return reply


def fill(redis_url: str, count: int) -> None:
    """So many keys of many tenants."""
    with redis.Redis.from_url(redis_url) as client:
        for n in range(count):
            record = Key(
                id=f"key-{n:010x}",
                name="k",
                tenants=(f"t{n % 100}",),
                role="viewer",
                created_ms=NOW_MS,
            )
            client.hset(KEYS_KEY, digest_of(str(n)), record.model_dump_json())


async def test_all_records_are_read_some_at_a_time_and_once_at_a_time(redis_url: str) -> None:
    fill(redis_url, 2_500)
    watched = Watched(redis_url, "")
    try:
        wanted = [KeySpec(f"k{n}", ("acme",), "viewer") for n in range(10)]
        made = [(await create_keys(watched, [one], ACME, NOW_MS))[0].record for one in wanted]
        (theirs,) = await create_keys(watched, [KeySpec("k", ("beta",), "viewer")], BETA, NOW_MS)
        await asyncio.gather(
            *(revoke_key(watched, one.id, ACME, NOW_MS) for one in made),
            revoke_key(watched, theirs.record.id, BETA, NOW_MS),
            *(list_keys(watched, ACME) for _ in range(5)),
        )
        listed = await list_keys(watched, ACME)
        assert {one.record.state(NOW_MS) for one in listed} == {"revoked"}
        assert len(listed) == 10
        assert len(await list_keys(watched, operator())) == 2_511
        assert watched.readings_max == 1
        assert 0 < watched.largest <= 2 * RECORDS_AT_ONCE
    finally:
        await watched.close()


async def test_a_thread_decides(redis_url: str) -> None:
    """Parsing ten thousand records takes a tenth of a second, in which the process answers others."""
    threads: set[int] = set()

    def decide(_stored: StoredKeys) -> KeyChange:
        threads.add(threading.get_ident())
        return KeyChange({}, [])

    async with opened(redis_url) as store:
        await change_keys(store, decide, ACME, NOW_MS)
    assert threads
    assert threading.get_ident() not in threads
