"""Whatever is posted, the answer is a 2xx or a 4xx that says why: no 500, no hang, no growth.

Seeded. ODOMETER_FUZZ_REQUESTS sets how many requests a long run takes, ODOMETER_FUZZ_SEED where it
starts. What the bodies become is judged by tests/schemas/formats/test_fuzz.py and tests/real/test_ingest.py.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from backports import zstd

from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from tests.api.conftest import Clock
from tests.api.ingest.taking import Taking, taking
from tests.real.test_ingest import request_of
from tests.schemas.formats.fixtures import NAMES
from tests.schemas.formats.test_fuzz import mutated

pytestmark = pytest.mark.servers

REQUESTS: Final = int(os.environ.get("ODOMETER_FUZZ_REQUESTS", "1500"))
SEED: Final = int(os.environ.get("ODOMETER_FUZZ_SEED", "1"))
GROWTH_KB_MAX: Final = 600 * 1024
"""One body of 16 MB is read at a time (api.ingest.body_reader), as objects it is 160 MB."""

COMPRESSED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": bytes,
    "gzip, gzip": bytes,
}
HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "content-type": (
        "application/json",
        "application/x-ndjson",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/x-protobuf",
        "text/html",
        "application/json; charset=utf-16",
        ";",
        "",
    ),
    "idempotency-key": ("k", "", '"', "x" * 500, "a\tb"),
    "ce-specversion": ("1.0", "0.3", "", "%FF"),
    "ce-id": ("1", "%", "\x7f"),
    "ce-time": ("now", "2026-02-08T10:00:00Z"),
    "x-odometer-tenant": ("acme", "other", ""),
    "content-encoding": ("identity", "gzip", "zstd", "deflate", "x", ""),
}
PATHS: Final = (
    *("/v1/events", "/v1/traces", "/v1/logs", "/v1/metrics", "/api/events"),
    "/api/public/ingestion",
)
QUERIES: Final[tuple[str, ...]] = (
    "",
    "format=openai",
    "format=neutral&atomic=true",
    "format=",
    "atomic=x",
    "latency_ms=9999999999999999999",
    "agent_id=%FF%00",
    "call_started_at=x",
    "id=one",
    "time=never",
    "tenant=acme",
    "a=b",
    "&&==&",
)
CORNERS: Final[tuple[bytes, ...]] = (
    b"",
    b"null",
    b"NaN",
    b"1e999999",
    b"-",
    b'"\\ud800"',
    b"[" * 100_000,
    b"[" * 64 + b"]" * 64,
    b'{"a":' * 63 + b"1" + b"}" * 63,
    b"9" * 100_000,
    b'{"id":"a","id":"a"}',
    b"[" + b"{}," * 200_000 + b"{}]",
    b"[" + b'"",' * 200_000 + b'""]',
    b"\n" * 100_000,
    b"1\n" * 15_000,
    b'{"events":[' + b"{}," * 900 + b"{}]}",
    b'{"resourceSpans":[' + b"{}," * 100_000 + b"{}]}",
    b"\xef\xbb\xbf{}",
)


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="fuzz", tenant="acme", role="write-only")
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        yield api


def fuzzed(rng: random.Random) -> tuple[str, bytes, dict[str, str]]:
    """A library's request with its objects, bytes, headers or compression changed."""
    path, body, headers = request_of(rng.choice(NAMES))
    if rng.random() < 0.6 and headers["content-type"] != "application/x-protobuf":
        body = json.dumps(mutated(json.loads(body), rng), default=str).encode()
    if rng.random() < 0.1:
        body = rng.choice(CORNERS)
    if rng.random() < 0.3:
        body = cut(body, rng)
    if rng.random() < 0.3:
        headers["content-encoding"] = rng.choice([*COMPRESSED])
        body = COMPRESSED[headers["content-encoding"]](body)
        body = cut(body, rng) if rng.random() < 0.3 else body
    for name in rng.sample([*HEADERS], rng.choice((0, 0, 1, 2))):
        headers[name] = rng.choice(HEADERS[name])
    if rng.random() < 0.2:
        path = rng.choice(PATHS)
    query = rng.choice(QUERIES) if rng.random() < 0.3 else ""
    return f"{path}?{query}" if query else path, body, headers


def cut(body: bytes, rng: random.Random) -> bytes:
    changed = bytearray(body or b"{}")
    for _ in range(rng.choice((1, 3))):
        at = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at + 1 : at + 1 + rng.randrange(40)]
            case _:
                changed[at:at] = rng.choice((b'"', b"[", b"{", b"NaN", b"9" * 30, b"\\ud800"))
    return bytes(changed)


@pytest.mark.timeout(0 if REQUESTS > 10_000 else 300)
async def test_any_request_has_an_answer(api: Taking) -> None:
    rng = random.Random(SEED)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statuses: dict[int, int] = {}
    for number in range(REQUESTS):
        path, body, headers = fuzzed(rng)
        sent = {name: value.encode("latin-1") for name, value in headers.items()}
        answer = await api.post(body, path, headers=sent)
        status = answer.status_code
        assert status in {200, 201, 202, 400, 403, 413, 415}, (number, path, body[:500], headers)
        if answer.headers["content-type"].endswith("json"):
            said: dict[str, Any] = answer.json()
            assert status < 300 or said.get("detail") or said.get("error") or said.get("message")
        statuses[status] = statuses.get(status, 0) + 1
    assert statuses.keys() >= {200, 201, 202, 400, 415}
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb < GROWTH_KB_MAX


@pytest.mark.parametrize("path", PATHS)
async def test_corners(api: Taking, path: str) -> None:
    for body in CORNERS:
        for media_type in ("application/json", "application/x-ndjson"):
            answer = await api.post(body, path, headers={"content-type": media_type})
            assert answer.status_code in {200, 202, 400, 413, 415}, body[:20]
