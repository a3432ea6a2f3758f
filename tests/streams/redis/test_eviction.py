"""A watch on a real Valkey that evicts: what it refuses, and what it remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.store.eviction import evictions_key
from schemas.store.layout import FIRST_GENERATION
from streams.core.ports import RefusalReason
from streams.redis.eviction import EvictionWatch
from streams.redis.store import RedisStore
from tests.eviction import evict
from tests.oracles.event_logs import SECRET
from tests.servers import url_as
from tests.streams.redis.test_store_contract import DIGEST, NOW_MS, commit, progress

pytestmark = pytest.mark.servers

NEXT = FIRST_GENERATION + 1


@pytest.fixture
async def watch(own_valkey: Server) -> AsyncIterator[EvictionWatch]:
    async with EvictionWatch(url_of(own_valkey)) as watch:
        yield watch


async def begin_counting(url: str) -> None:
    async with RedisStore(url) as store:
        await store.open(DIGEST, 1, NOW_MS, SECRET)
        await store.commit(commit(1, progress(0)))


async def reason(watch: EvictionWatch, generation: int = FIRST_GENERATION) -> RefusalReason | None:
    refusal = await watch.look(generation)
    return None if refusal is None else refusal[0]


async def test_an_eviction_is_known_through_restarts_until_the_next_generation(
    own_valkey: Server, watch: EvictionWatch
) -> None:
    url = url_of(own_valkey)
    assert evict(url) >= 10  # of others, before there are counters
    assert await reason(watch) is None
    await begin_counting(url)
    assert await reason(watch) is None
    with redis.Redis.from_url(url) as client:
        assert client.ttl(evictions_key(FIRST_GENERATION)) == -1
        client.config_set("maxmemory-policy", "volatile-lru")
    said = await watch.look(FIRST_GENERATION)
    assert said is not None
    assert said[0] is RefusalReason.EVICTION_POLICY
    assert "volatile-lru" in said[1]
    assert "CONFIG SET maxmemory-policy noeviction" in said[1]
    evict(url)
    assert await watch.look(FIRST_GENERATION, is_read_only=True) is not None
    assert await reason(watch) is RefusalReason.KEYS_EVICTED
    assert own_valkey.stop()
    own_valkey.restart()
    with redis.Redis.from_url(url) as client:
        assert client.info("stats")["evicted_keys"] == 0
    async with EvictionWatch(url) as later:
        assert await reason(later) is RefusalReason.KEYS_EVICTED
        assert await reason(later, NEXT) is None
        assert await reason(later) is RefusalReason.KEYS_EVICTED


async def test_an_eviction_under_another_policy_is_stored_too(
    own_valkey: Server, watch: EvictionWatch
) -> None:
    url = url_of(own_valkey)
    assert await reason(watch) is None
    await begin_counting(url)
    evict(url, keep_policy="allkeys-lru")
    assert await reason(watch) is RefusalReason.EVICTION_POLICY
    with redis.Redis.from_url(url) as client:
        client.config_resetstat()
        client.config_set("maxmemory-policy", "noeviction")
    assert await reason(watch) is RefusalReason.KEYS_EVICTED


async def test_without_info_the_operator_has_to_say_it(own_valkey: Server) -> None:
    with redis.Redis.from_url(url_of(own_valkey)) as client:
        client.execute_command("ACL", "SETUSER", "w", "on", ">pw", "~*", "+@all", "-info")
        url = url_as("w:pw", url_of(own_valkey))
        async with EvictionWatch(url) as watch, EvictionWatch(url, "noeviction") as stated:
            refusal = await watch.look(FIRST_GENERATION)
            assert refusal is not None
            assert refusal[0] is RefusalReason.EVICTION_UNKNOWN
            assert "+info" in refusal[1]
            assert "ODOMETER_REDIS_EVICTION=noeviction" in refusal[1]
            assert await stated.look(FIRST_GENERATION) is None
            client.execute_command("ACL", "SETUSER", "w", "+info")
            assert await watch.look(FIRST_GENERATION) is None
            # The statement is for a Redis that cannot be asked. What Redis itself says counts more.
            client.config_set("maxmemory-policy", "volatile-ttl")
            refusal = await stated.look(FIRST_GENERATION)
            assert refusal is not None
            assert refusal[0] is RefusalReason.EVICTION_POLICY


async def test_what_the_operator_states_covers_the_evictions_before(own_valkey: Server) -> None:
    url = url_of(own_valkey)
    evict(url)
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "w", "on", ">pw", "~*", "+@all", "-info")
    async with EvictionWatch(url_as("w:pw", url), "noeviction") as stated:
        assert await reason(stated) is None
        await begin_counting(url)
        assert await reason(stated) is None
    async with EvictionWatch(url) as watch:  # the right was granted later
        assert await reason(watch) is None
        evict(url)
        assert await reason(watch) is RefusalReason.KEYS_EVICTED


async def test_a_failover_that_loses_the_record_hides_no_eviction(
    own_valkey: Server, watch: EvictionWatch
) -> None:
    url = url_of(own_valkey)
    assert await reason(watch) is None
    await begin_counting(url)
    evict(url)
    assert await reason(watch) is RefusalReason.KEYS_EVICTED
    with redis.Redis.from_url(url) as client:
        client.delete(evictions_key(FIRST_GENERATION))
        client.config_resetstat()
        assert await reason(watch) is RefusalReason.KEYS_EVICTED
        assert client.hexists(evictions_key(FIRST_GENERATION), "seen_ms")


async def test_a_rebuild_notices_an_eviction_before_its_first_commit(
    own_valkey: Server, watch: EvictionWatch
) -> None:
    assert await reason(watch, NEXT) is None
    assert await watch.look(NEXT, is_filling=True) is None
    evict(url_of(own_valkey))
    refusal = await watch.look(NEXT, is_filling=True)
    assert refusal is not None
    assert refusal[0] is RefusalReason.KEYS_EVICTED
