"""After Redis was emptied, readiness asks so. Otherwise every key would seem to be revoked."""

from __future__ import annotations

import httpx
import pytest
import redis

from api.auth.key_cache import KEYS_KEY
from schemas.limits import HOUR_MS
from streams.core.ports import RefusalReason
from tests.api.counters import NOW_MS, Event, pack

pytestmark = pytest.mark.servers

EVENTS = [Event(NOW_MS - HOUR_MS)]


async def reason(client: httpx.AsyncClient) -> str:
    ready = await client.get("/readyz")
    assert ready.status_code == 503
    return str(ready.json()["reason"])


async def test_counters_that_are_gone_were_perhaps_emptied(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    assert (await reason(client)).startswith("Redis holds no counters yet")
    pack(EVENTS).write(redis_url)
    assert (await client.get("/readyz")).status_code == 200
    with redis.Redis.from_url(redis_url) as direct:
        direct.flushall()
    assert (await reason(client)).startswith("Redis was emptied? It held counters")


async def test_keys_that_are_gone_are_not_revoked(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(EVENTS).write(redis_url)
    assert (await client.get("/v1/usage")).status_code == 200
    with redis.Redis.from_url(redis_url) as direct:
        direct.flushall()
    pack(EVENTS).write(redis_url)  # a worker has begun again
    assert (await reason(client)).startswith("Redis was emptied? It holds no API keys")


async def test_an_api_that_starts_after_it_sees_the_refusal_of_the_workers(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(EVENTS).write(redis_url)
    with redis.Redis.from_url(redis_url) as direct:
        direct.delete(KEYS_KEY)
    assert (await client.get("/readyz")).status_code == 200  # a new installation has no keys either
    pack(EVENTS, refused=(RefusalReason.LOG_STARTS_LATER, 0), commits=2).write(redis_url)
    assert (await reason(client)).startswith("Redis was emptied? It holds no API keys")
