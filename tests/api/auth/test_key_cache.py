"""The keys that a process remembers: how long, what is left of a limit, and what Redis is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from api.auth.audit import Actor, operator
from api.auth.authenticate import digest_of
from api.auth.key_cache import (
    KEY_AGE_MS,
    KEYS_KEY,
    LIMIT_PREFIX,
    USES_KEY,
    CachedKey,
    KeyCache,
    RateBucket,
)
from api.auth.keys import KeySpec, create_keys, opened, revoke_key, rotate_key
from api.errors import RateLimited
from api.store.reader import Store
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.errors import StoreUnavailable
from schemas.store.keys import Key

WANTED = KeySpec("ci", ("acme",), "viewer")
NOW_MS = 1_770_552_123_456


class Ticks:
    def __init__(self) -> None:
        self.now_ms = 7

    def __call__(self) -> int:
        return self.now_ms


class Counted:
    """A store's `command`, counted."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked = 0

    async def __call__(self, *words: str | int | bytes) -> Any:
        self.asked += 1
        return await self.store.ask(*words)


@asynccontextmanager
async def ringed(redis_url: str) -> AsyncIterator[tuple[Store, Counted, KeyCache, Ticks]]:
    async with opened(redis_url) as store:
        command, ticks = Counted(store), Ticks()
        yield store, command, KeyCache(command, ticks), ticks


async def make(store: Store, **changes: Any) -> tuple[Key, str]:
    (made,) = await create_keys(store, [replace(WANTED, **changes)], operator(), NOW_MS)
    return made.record, digest_of(made.secret)


async def let_through(ring: KeyCache, digest: str, times: int) -> int:
    """How many of so many requests at once are let through."""
    count = 0
    for _ in range(times):
        known = await ring.find(digest)
        assert known is not None
        try:
            ring.take(known)
        except RateLimited:
            continue
        count += 1
    return count


def with_level(record: Key, level: float) -> CachedKey:
    (limit,) = record.limits
    return CachedKey(record, 0, (RateBucket(limit, level, 0),))


async def test_a_key_is_looked_up_twice_a_second(redis_url: str) -> None:
    async with ringed(redis_url) as (store, command, ring, ticks):
        record, digest = await make(store)
        found = await asyncio.gather(*(ring.find(digest) for _ in range(50)))
        assert {one.record for one in found if one} == {record}
        assert command.asked == 1
        ticks.now_ms += KEY_AGE_MS - 1
        await revoke_key(store, record.id, operator(), NOW_MS)
        still = await ring.find(digest)
        assert still is not None
        assert still.record.revoked_ms is None
        assert command.asked == 1
        ticks.now_ms += 1
        gone = await ring.find(digest)
        assert gone is not None
        assert gone.record.revoked_ms == NOW_MS
        assert command.asked == 2


async def test_a_new_key_is_good_at_once_and_one_that_is_gone_is_not(redis_url: str) -> None:
    async with ringed(redis_url) as (store, _command, ring, ticks):
        digest = digest_of("sk-0123456789abcdef")
        assert await ring.find(digest) is None
        await make(store, secret="sk-0123456789abcdef")  # noqa: S106
        assert await ring.find(digest)
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        ticks.now_ms += KEY_AGE_MS
        assert await ring.find(digest) is None


async def test_a_limit_fills_up_again(redis_url: str) -> None:
    async with ringed(redis_url) as (store, command, ring, ticks):
        _record, digest = await make(store, requests_per_s=4.0, burst=10)
        assert await let_through(ring, digest, 30) == 10
        ticks.now_ms += 249
        assert await let_through(ring, digest, 5) == 0
        ticks.now_ms += 1
        assert await let_through(ring, digest, 5) == 1
        assert command.asked == 1
        known = await ring.find(digest)
        assert known is not None
        with pytest.raises(RateLimited) as raised:
            ring.take(known)
        assert raised.value.retry_after_s == 1


def test_retry_after_is_when_it_would_be_let_through() -> None:
    record = Key(
        id="key-0123456789",
        name="k",
        tenants=("t",),
        role="viewer",
        created_ms=0,
        requests_per_s=0.1,
    )
    known = with_level(record, 1.0)
    known.take(0)
    with pytest.raises(RateLimited) as raised:
        known.take(3_000)
    assert raised.value.retry_after_s == 7
    with pytest.raises(RateLimited):
        known.take(9_999)
    known.take(10_000)


async def test_a_stored_limit_that_is_too_small_is_still_a_limit(redis_url: str) -> None:
    """Records of before REQUESTS_PER_S_MIN: their time to wait was infinite, so each request failed."""
    async with ringed(redis_url) as (store, _command, ring, ticks):
        record, digest = await make(store, requests_per_s=1.0, burst=100_000)
        smallest = record.model_copy(update={"requests_per_s": 5e-324})
        with redis.Redis.from_url(redis_url) as client:
            client.hset(KEYS_KEY, digest, smallest.model_dump_json())
            for _ in range(3):
                assert await let_through(ring, digest, 1) == 1
                ticks.now_ms += KEY_AGE_MS
            assert client.get(LIMIT_PREFIX + record.id).startswith(b"99998.000 ")
        known = await ring.find(digest)
        assert known is not None
        known.buckets[0].level = 0.0
        with pytest.raises(RateLimited) as raised:
            ring.take(known)
        assert raised.value.retry_after_s == 100_000


@given(
    st.floats(0.1, 50), st.integers(1, 20), st.lists(st.integers(0, 2_000), min_size=1, max_size=80)
)
def test_never_more_than_the_limit(rate: float, burst: int, pauses_ms: list[int]) -> None:
    record = Key(
        id="key-0123456789",
        name="k",
        tenants=("t",),
        role="viewer",
        created_ms=0,
        requests_per_s=rate,
        burst=burst,
    )
    known, now_ms, through = with_level(record, burst), 0, 0
    waits_s = [0]
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        try:
            known.take(now_ms)
        except RateLimited as error:
            waits_s.append(error.retry_after_s)
        else:
            through += 1
    assert max(waits_s) <= 1 / rate + 1
    assert through <= burst + rate * now_ms / 1000 + 1e-6
    if not any(pauses_ms):
        assert through == min(burst, len(pauses_ms))


async def test_processes_share_a_limit(redis_url: str) -> None:
    """Each tells what it let through, so what one took another does not have."""
    async with ringed(redis_url) as (store, command, one, ticks):
        _record, digest = await make(store, requests_per_s=0.001, burst=10)
        other = KeyCache(command, ticks)
        assert await let_through(one, digest, 6) == 6
        ticks.now_ms += KEY_AGE_MS
        assert await one.find(digest)  # tells its six
        assert await let_through(other, digest, 30) == 4
        ticks.now_ms += KEY_AGE_MS
        assert await other.find(digest)
        ticks.now_ms += KEY_AGE_MS
        assert await let_through(one, digest, 30) == 0
        third = KeyCache(command, ticks)
        assert await let_through(third, digest, 30) == 0


async def test_what_two_took_at_once_is_owed(redis_url: str) -> None:
    async with ringed(redis_url) as (store, command, one, ticks):
        record, digest = await make(store, requests_per_s=0.001, burst=10)
        other = KeyCache(command, ticks)
        assert await one.find(digest)
        assert await other.find(digest)
        assert await let_through(one, digest, 30) + await let_through(other, digest, 30) == 20
        ticks.now_ms += KEY_AGE_MS
        await one.find(digest)
        await other.find(digest)
        with redis.Redis.from_url(redis_url) as client:
            level, _, _at_ms = client.get(LIMIT_PREFIX + record.id).partition(b" ")
            assert -10 <= float(level) < -9.9
            assert client.pttl(LIMIT_PREFIX + record.id) > 20 / 0.001 * 1000


async def test_a_full_redis_still_says_whose_key_it_is(redis_url: str) -> None:
    async with ringed(redis_url) as (store, command, ring, ticks):
        record, digest = await make(store, requests_per_s=0.001, burst=4)
        with redis.Redis.from_url(redis_url) as client:
            before = client.config_get("maxmemory")["maxmemory"]
            client.config_set("maxmemory", "1")
            try:
                assert await let_through(ring, digest, 3) == 3
                ticks.now_ms += KEY_AGE_MS
                assert await let_through(ring, digest, 3) == 1  # its own limit goes on
                assert command.asked == 2
            finally:
                client.config_set("maxmemory", before)
            assert not client.exists(USES_KEY, LIMIT_PREFIX + record.id)


async def test_a_replica_still_says_whose_key_it_is(own_valkey: Server) -> None:
    async with ringed(url_of(own_valkey)) as (store, _command, ring, _ticks):
        _record, digest = await make(store)
        with redis.Redis.from_url(url_of(own_valkey)) as client:
            client.config_set("replica-serve-stale-data", "yes")
            client.replicaof("127.0.0.1", "1")
            assert client.info("replication")["role"] == "slave"
            assert await ring.find(digest)
            assert not client.exists(USES_KEY)


async def test_a_redis_that_is_away_is_not_told_less(own_valkey: Server) -> None:
    async with ringed(url_of(own_valkey)) as (store, _command, ring, ticks):
        _record, digest = await make(store, requests_per_s=0.001, burst=10)
        assert await let_through(ring, digest, 4) == 4
        own_valkey.stop()
        ticks.now_ms += KEY_AGE_MS
        with pytest.raises(StoreUnavailable):
            await ring.find(digest)
        own_valkey.restart()
        assert await let_through(ring, digest, 30) == 6


# -- keys that share a limit -----------------------------------------------------------------------


async def make_family(store: Store, **limits: Any) -> tuple[str, list[str]]:
    """An admin's key with a limit of ten requests, and some keys that it creates."""
    boss, digest = await make(store, role="admin", requests_per_s=0.001, burst=10)
    actor = Actor(boss.id, boss.name, "admin", ("acme",), shared_limit=boss.limit_to_share())
    wanted = [replace(WANTED, name=f"k{n}", **limits) for n in range(5)]
    made = await create_keys(store, wanted, actor, NOW_MS)
    return digest, [digest_of(one.secret) for one in made]


async def test_more_keys_of_an_admin_are_not_more_requests(redis_url: str) -> None:
    async with ringed(redis_url) as (store, command, ring, ticks):
        boss, others = await make_family(store)
        counts = [await let_through(ring, digest, 4) for digest in (boss, *others)]
        assert counts == [4, 4, 2, 0, 0, 0]
        ticks.now_ms += KEY_AGE_MS
        other = KeyCache(command, ticks)
        assert [await let_through(ring, digest, 4) for digest in (boss, *others)] == [0] * 6
        assert [await let_through(other, digest, 4) for digest in (boss, *others)] == [0] * 6


async def test_a_key_below_a_shared_limit_has_its_own_as_well(redis_url: str) -> None:
    async with ringed(redis_url) as (store, _command, ring, _ticks):
        boss, others = await make_family(store, requests_per_s=0.001, burst=3)
        assert [await let_through(ring, digest, 8) for digest in others] == [3, 3, 3, 1, 0]
        assert await let_through(ring, boss, 8) == 0


async def test_what_keys_took_while_another_is_looked_up_is_not_forgotten(redis_url: str) -> None:
    async with ringed(redis_url) as (store, command, ring, ticks):
        boss, others = await make_family(store)
        for digest in (boss, *others):
            assert await ring.find(digest)
        ticks.now_ms += KEY_AGE_MS
        known = await ring.find(boss)
        assert known is not None
        looking = asyncio.ensure_future(ring.find(others[0]))
        await asyncio.sleep(0)  # it has asked, and no answer is here
        for _ in range(4):
            ring.take(known)
        assert await looking
        assert await let_through(ring, others[0], 30) == 6
        ticks.now_ms += KEY_AGE_MS
        assert await ring.find(boss)  # it tells Redis of all ten
        assert await let_through(KeyCache(command, ticks), others[1], 30) == 0


async def test_the_secrets_of_a_key_share_its_limit(redis_url: str) -> None:
    async with ringed(redis_url) as (store, _command, ring, _ticks):
        record, digest = await make(store, requests_per_s=0.001, burst=10)
        rotated = await rotate_key(store, record.id, 60_000, operator(), NOW_MS)
        assert await let_through(ring, digest, 6) == 6
        assert await let_through(ring, digest_of(rotated.secret), 30) == 4


def test_whose_limit_new_keys_share() -> None:
    about: dict[str, Any] = {"name": "k", "role": "super-admin", "created_ms": 0}
    limit: dict[str, Any] = {"requests_per_s": 2.0, "burst": 7}
    boss = Key(id="key-00000000aa", tenants=("t",), **about, **limit)
    shared = boss.limit_to_share()
    assert shared is not None
    assert (shared.id, shared.requests_per_s, shared.burst) == (boss.id, 2.0, 7)
    # An admin that it created passes the same limit on, so further generations add nothing.
    child = boss.model_copy(update={"id": "key-00000000bb", "shared_limit": shared, "burst": 1})
    assert child.limit_to_share() == shared
    assert child.limits == [(child.id, 2.0, 1), (boss.id, 2.0, 7)]
    assert Key(id=boss.id, tenants=("t",), **about).limit_to_share() is None
    assert Key(id=boss.id, tenants="all", **about, **limit).limit_to_share() is None


def test_processes_of_before_can_read_a_record_that_shares_nothing() -> None:
    about: dict[str, Any] = {"name": "k", "role": "viewer", "created_ms": 0}
    record = Key(id="key-00000000aa", tenants=("t",), **about)
    assert b"shared_limit" not in record.model_dump_json().encode()
    assert "shared_limit" not in record.model_dump()
