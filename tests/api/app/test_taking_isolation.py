"""Events go to the tenants of their key only: on every path that takes events, however the key is sent and
whatever the request says. A path without a row below fails in test_isolation.py."""

from __future__ import annotations

import base64
import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import msgspec
import pytest
import redis

from api.auth.authenticate import EXPORTER_HEADERS, TENANT_HEADER, digest_of
from api.auth.key_cache import KEYS_KEY
from api.auth.keys import opened
from deploy.local.servers import Server
from schemas.quotas import Quota
from schemas.store.keys import Key
from schemas.store.layout import LOG_SOURCES_KEY
from schemas.units import iso
from tests.api.agentlens.test_ingest import response
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS
from tests.api.ingest.taking import Taking, taking
from tests.api.ingest.test_otlp import attribute, claude, span, spans
from tests.oracles.event_logs import event

pytestmark = pytest.mark.servers

ITEM: Final = {"id": "gen", "endTime": iso(NOW_MS), "usageDetails": {"input": 1}}
NEUTRAL: Final = event(id="n", time=iso(NOW_MS))
CHAT: Final = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "usage": {}}
BODIES: Final[dict[str, list[Any]]] = {
    "/v1/events": [
        NEUTRAL,
        [NEUTRAL, {**NEUTRAL, "tenant": "beta"}],
        {"context": {"tenant": "beta"}, "payload": NEUTRAL},
        CHAT,
    ],
    "/api/events": [{"events": [response()]}],
    "/api/public/ingestion": [{"batch": [{"id": "i", "type": "generation-create", "body": ITEM}]}],
    "/v1/traces": [spans(span(1))],
    "/v1/logs": [claude("sends-logs", "logs")],
    "/v1/metrics": [claude("sends-metrics", "metrics")],
}
"""What each path takes; `naming` adds the name of the other tenant wherever there is room for it."""
PATHS: Final = {
    "/v1/events": "/v1/events",
    "/api/events": "/api/events",
    "/api/public/ingestion": "/api/public/ingestion",
    "/v1/traces": "/v1/traces",
    "/v1/logs": "/v1/logs",
    "/v1/metrics": "/v1/metrics",
    "/{before:path}/v1/traces": "/api/public/otel/v1/traces",
    "/{before:path}/v1/logs": "/api/public/otel/v1/logs",
    "/{before:path}/v1/metrics": "/beta/v1/metrics",
}
"""The path of each route that takes events with POST."""
TAKING: Final = {("POST", route) for route in PATHS}


def naming(body: Any, tenant: str) -> Any:
    """The body with the tenant's name in each of its objects and attributes."""
    if isinstance(body, list):
        named = [naming(one, tenant) for one in body]
        if any(isinstance(one, dict) and "key" in one for one in body):
            named += [attribute(name, tenant) for name in ("tenant", "tenant.id", TENANT_HEADER)]
        return named
    if isinstance(body, dict):
        inner = {name: naming(one, tenant) for name, one in body.items()}
        return inner if {"key", "value"} == inner.keys() else {**inner, "tenant": tenant}
    return body


def headers_of(secret: str) -> Iterator[dict[str, str]]:
    """Each way to send a key."""
    basic = base64.b64encode(f"beta:{secret}".encode()).decode()
    yield {"authorization": f"Bearer {secret}"}
    yield {"x-api-key": secret}
    yield {"authorization": f"Basic {basic}"}
    for name in EXPORTER_HEADERS:
        yield {name: f"Bearer {secret}"}


def requests_of(route: str) -> Iterator[tuple[Any, dict[str, str], dict[str, str]]]:
    """Body, query and headers: each body as it is and with beta's name in it, each way of naming beta."""
    (bodies,) = (found for end, found in BODIES.items() if route.endswith(end))
    for body in bodies:
        for content in (body, naming(copy.deepcopy(body), "beta")):
            yield content, {}, {}
            yield content, {"tenant": "beta"}, {}
            yield content, {}, {TENANT_HEADER: "beta"}
            yield content, {"tenant": "acme"}, {TENANT_HEADER: "beta"}
            yield content, {}, {TENANT_HEADER: "acme"}


KEYS: Final = {
    f"sk-{'-'.join(tenants)}-0123456789": tenants
    for tenants in (("acme",), ("acme", "other"), ("beta",))
}


def keep_keys(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        for number, (secret, tenants) in enumerate(KEYS.items()):
            record = Key(
                id=f"key-{number:010}",
                name="k",
                tenants=tenants,
                role="write-only",
                created_ms=NOW_MS,
            )
            store.hset(KEYS_KEY, digest_of(secret), record.model_dump_json())


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    keep_keys(redis_url)
    async with taking(kafka.address, redis_url, topic, clock, "") as api:
        yield api


@pytest.mark.parametrize("route", [*PATHS])
async def test_a_key_writes_to_its_own_tenants_only(
    api: Taking, redis_url: str, route: str
) -> None:
    for secret, tenants in KEYS.items():
        statuses = set()
        for credentials in headers_of(secret):
            for content, query, headers in requests_of(route):
                answer = await api.post(
                    content, PATHS[route], params=query, headers={**credentials, **headers}
                )
                statuses.add(answer.status_code)
        assert {200, 201, 202, 207} & statuses
        assert max(statuses) < 500
        written = {one["tenant"] for one in (await api.held())}
        if tenants != ("beta",):
            assert "beta" not in written
            assert written <= {*tenants}
            async with opened(redis_url) as store:
                assert not await store.ask("EXISTS", f"{LOG_SOURCES_KEY}beta")
        else:
            assert "beta" in written  # the same requests reach beta with its own key


async def test_a_tenant_that_is_over_its_quota_stops_no_other(
    kafka: Server, redis_url: str, topic: str, clock: Clock
) -> None:
    keep_keys(redis_url)
    acme, _both, beta = ({"x-api-key": secret} for secret in KEYS)
    async with taking(kafka.address, redis_url, topic, clock, "", tenant_ids=Quota(1)) as limited:
        assert (await limited.post(NEUTRAL, headers=acme)).status_code == 202
        for path, bodies in BODIES.items():
            assert (await limited.post(bodies[0], path, headers=acme)).status_code == 429
        said = await limited.post(NEUTRAL, headers=beta)
        assert said.status_code == 202
        assert b"acme" not in msgspec.json.encode(said.json())
