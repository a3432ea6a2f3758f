"""Answers from a real Valkey that has evicted keys are refused, as those of any untrusted store."""

from __future__ import annotations

import httpx
import pytest
import redis

from api.store import evictions
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.limits import HOUR_MS
from schemas.store.eviction import EvictionRecord, evictions_key, unpack_record
from schemas.store.layout import FIRST_GENERATION
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack
from tests.eviction import evict
from tests.servers import url_as

PATH = "/v1/usage"
EVICTED = (
    "Redis has evicted keys, so totals would be too low. Count again from the log with odometer"
    " rebuild."
)

pytestmark = pytest.mark.servers


def stored(url: str) -> EvictionRecord:
    with redis.Redis.from_url(url) as client:
        return unpack_record(client.hgetall(evictions_key(FIRST_GENERATION)))


async def refused(client: httpx.AsyncClient) -> bool:
    answer = await client.get(PATH)
    ready = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["detail"] == f"There are no counters to read: {EVICTED}"
    return (ready.status_code, ready.json()["reason"]) == (503, EVICTED)


async def test_no_answer_after_an_eviction_whatever_restarts(
    own_valkey: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evictions, "CHECK_EVERY_S", 0.0)
    url = url_of(own_valkey)
    pack([Event(NOW_MS - HOUR_MS)]).write(url)
    key = await create_key(url, name="k", tenant="acme", role="viewer")
    async with client_of(url, clock, key) as client:
        assert (await client.get(PATH)).status_code == 200
        assert stored(url) == EvictionRecord()
        evict(url)
        assert await refused(client)
        assert stored(url).seen_ms > 0
        assert own_valkey.stop()
        own_valkey.restart()
        assert await refused(client)
    async with client_of(url, clock, key) as client:
        assert await refused(client)
        with redis.Redis.from_url(url) as direct:
            direct.delete(evictions_key(FIRST_GENERATION))
        assert (await client.get(PATH)).status_code == 200


async def test_evictions_before_the_counters_are_no_loss(own_valkey: Server, clock: Clock) -> None:
    url = url_of(own_valkey)
    evict(url)
    with redis.Redis.from_url(url) as direct:
        run_id, evicted = direct.info("server")["run_id"], direct.info("stats")["evicted_keys"]
        pack([Event(NOW_MS - HOUR_MS)]).write(url)
        key = await create_key(url, name="k", tenant="acme", role="viewer")
        direct.hset(evictions_key(FIRST_GENERATION), mapping={"run_id": run_id, "evicted": evicted})
        async with client_of(url, clock, key) as client:
            assert (await client.get(PATH)).status_code == 200
        direct.hset(evictions_key(FIRST_GENERATION), mapping={"run_id": "", "stated": 1})
        async with client_of(url, clock, key) as client:  # a worker may not read INFO
            assert (await client.get(PATH)).status_code == 200
        fields = {"run_id": run_id, "evicted": evicted - 1}
        direct.hset(evictions_key(FIRST_GENERATION), mapping=fields)
        async with client_of(url, clock, key) as client:
            assert await refused(client)


async def test_without_info_what_a_worker_has_seen_decides(
    own_valkey: Server, clock: Clock
) -> None:
    url = url_of(own_valkey)
    pack([Event(NOW_MS - HOUR_MS)]).write(url)
    key = await create_key(url, name="k", tenant="acme", role="viewer")
    with redis.Redis.from_url(url) as direct:
        direct.execute_command("ACL", "SETUSER", "a", "on", ">pw", "~*", "+@all", "-info")
        theirs = url_as("a:pw", url)
        async with client_of(theirs, clock, key) as client:
            assert (await client.get(PATH)).status_code == 200
        direct.hset(evictions_key(FIRST_GENERATION), "seen_ms", 1)
        async with client_of(theirs, clock, key) as client:
            assert await refused(client)
