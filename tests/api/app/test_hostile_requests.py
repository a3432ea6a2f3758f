"""Whatever is sent to a path, the answer says what is wrong: no 500, and little memory.

Each route of the application, with the queries, names and bodies of an attacker. Those of events are in
tests/api/ingest/, those of dead letters, which are in Kafka, in tests/api/dead_letters/.
"""

from __future__ import annotations

import os
import random
import re
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Any, Final

import httpx
import msgspec
import pytest

from api.app.main import build
from api.auth.endpoints import BODY_BYTES_MAX as KEY_BYTES_MAX
from api.auth.endpoints import IMPORT_BYTES_MAX
from api.openwebui.users import BODY_BYTES_MAX as FORM_BYTES_MAX
from api.usage.endpoints import BODY_BYTES_MAX as QUESTION_BYTES_MAX
from deploy.local.api_keys import create_key
from tests.api.conftest import Clock, client_of
from tests.api.counters import pack
from tests.api.routes import CHANGING, ROUTES, TENANTS, events_of
from tests.api.stream.streaming import streaming

URL_BYTES: Final = 7_800
DEAD_LETTERS: Final = "/v1/dead-letters"
PEAK_BYTES_MAX: Final = 40 << 20
"""A body of 2 MiB is there three times at most while it is read, and an error refers to it."""
PARAMETERS: Final = (
    *("measures", "from", "to", "granularity", "tz", "group_by", "order_by", "limit", "fill"),
    *("compare", "cumulative", "format", "model", "model!", "user", "tenant", "search"),
    *("agentId", "provider", "offset", "eventType", "start_date", "end_date", "group_id"),
    *("metric", "skip", "direction", "days", "page", "query", "user_email", "assistant_id"),
)
VALUES: Final = (
    *("x" * URL_BYTES, "," * URL_BYTES, "a*," * (URL_BYTES // 3), "*" * URL_BYTES, "9" * URL_BYTES),
    *("-" + "9" * 400, "1e999", "NaN", "inf", "-1", "1.5", "1_000", "٣", "9223372036854775808"),
    *("\0", "\ufffd", "\U0001f600" * 100, "\u202e", " ", "0000-00-00", "9999-12-31T23:59:59Z"),
    *("0001-01-01T00:00:00+14:00", "now-" + "9" * 4000 + "d", "../../etc/passwd", "(a+)+" * 1000),
)
REPEATED: Final = "1"
PAIRS: Final = int(os.environ.get("ODOMETER_HOSTILE_PAIRS", "30"))
"""Pairs of a parameter and a value that each path is asked, of 832. All were asked once: no 500."""
QUERIES: Final = (
    *("&" * URL_BYTES, "=" * URL_BYTES, ";" * URL_BYTES, "%" * URL_BYTES, "%ff" * 2_600 + "=1"),
    *("a=b&" * (URL_BYTES // 4), "%00=%00", "x" * URL_BYTES + "=1", "tz=%ed%a0%80", "model=%ff"),
    "&".join(f"{n:x}={n:x}" for n in range(800)),
)
NAMES: Final = (
    *("x" * URL_BYTES, "/" * 99, "a/" * 3_000, "%2f" * 2_000, "..%2f" * 1_000, "%00", "%ff", "%25"),
    *("%ed%a0%80", "%0d%0a", "%e2%80%ae", "%f0%9f%98%80" * 600, "*", "info/info", "users/add"),
    *("y" * 257, "y" * 321, "%20", ";a=b", "?", "{}"),
)
BYTES_MAX: Final = {
    "/v1/usage": QUESTION_BYTES_MAX,
    "/v1/keys": KEY_BYTES_MAX,
    "/v1/keys/import": IMPORT_BYTES_MAX,
    "/v1/keys/{id}/rotate": KEY_BYTES_MAX,
}
"""The largest body of a path; that of a form of Open WebUI for all others."""


@pytest.fixture
async def client(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    pack(list(events_of(TENANTS))).write(redis_url)
    key = await create_key(redis_url, name="a", tenant="acme", role="super-admin")
    async with client_of(redis_url, clock, key) as client:
        yield client


def placed(path: str, name: str = "x") -> str:
    """The path of a route with a name in its place."""
    return re.sub(r"{.*?}", lambda _: name, path)


GETS: Final = [
    path
    for method, path in ROUTES
    if method == "GET" and path != "/v1/stream" and not path.startswith(DEAD_LETTERS)
]
NAMED: Final = [
    (method, path)
    for method, path in [*ROUTES, *CHANGING]
    if "{" in path and not path.startswith(DEAD_LETTERS)
]


@pytest.mark.parametrize("path", GETS)
async def test_any_query_has_an_answer(client: httpx.AsyncClient, path: str) -> None:
    for query in QUERIES:
        answer = await client.get(f"{placed(path)}?{query}")
        assert answer.status_code < 500, query[:80]
    pairs = list(product(PARAMETERS, [*VALUES, REPEATED]))
    for name, value in random.Random(path).sample(pairs, PAIRS):
        repeats = 500 if value == REPEATED else 1
        answer = await client.get(placed(path), params=[(name, value)] * repeats)
        assert answer.status_code < 500, (name, value[:80])


async def test_any_query_of_a_stream_has_an_answer(redis_url: str, clock: Clock) -> None:
    pack(list(events_of(TENANTS))).write(redis_url)
    key = await create_key(redis_url, name="a", tenant="acme", role="super-admin")
    headers = {"authorization": f"Bearer {key}"}
    app = build(redis_url, clock=clock)
    pairs = list(product(PARAMETERS, [*VALUES, REPEATED]))
    async with app.router.lifespan_context(app):
        for query in QUERIES:
            async with streaming(app, query, headers) as stream:
                assert stream.status < 500, query[:80]
        for name, value in random.Random("/v1/stream").sample(pairs, PAIRS):
            params = {name: [value] * (500 if value == REPEATED else 1)}
            async with streaming(app, params, headers) as stream:
                assert stream.status < 500, (name, value[:80])


@pytest.mark.parametrize(("method", "path"), NAMED)
async def test_any_name_in_a_path_has_an_answer(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    for name in NAMES:
        answer = await client.request(method, placed(path, name), json={})
        assert answer.status_code < 500, name[:80]


def bodies_of(valid: dict[str, Any], bytes_max: int) -> Iterator[bytes]:
    """Bodies that are as large as they may be, and ones that no reader expects."""
    room = bytes_max - 200 - len(msgspec.json.encode(valid))
    yield from (b"", b"null", b"[]", b"\xff" * room, b'"' * room, b'"' + b"\\" * room)
    yield from (b"[" * room, b'{"a":' * (room // 5), b"[" * (room // 2) + b"]" * (room // 2))
    yield from (b"[" + item * (room // 3) + b"0]" for item in (b"0 ,", b"{},", b"[],", b'"",'))
    yield b"{" + b",".join(b'"%x":0' % n for n in range(room // 11)) + b"}"
    yield b"{" + b",".join([b'"a":0'] * (room // 6)) + b"}"
    yield b" " * (bytes_max + 1)
    values = (
        *(b'"' + b"x" * room + b'"', b'"' + b"\\u00e9" * (room // 6) + b'"', b"9" * room),
        *(b"-" + b"9" * 5000, b"0." + b"1" * room, b"1e999", b"5e-324", b"NaN", b"-Infinity"),
        *(
            b'"\\ud800"',
            b'"\\u0000"',
            b'"\xff"',
            b"true",
            b"null",
            b"[[[]]]",
            b"18446744073709551616",
        ),
        *(b"[" + b"0," * (room // 2) + b"0]", b"[" + b'"",' * (room // 3) + b'""]', b'{"a":{}}'),
        b'{"' + b"k" * room + b'":1}',
    )
    for name in valid:
        rest = b"".join(
            b'"%s":%s,' % (n.encode(), msgspec.json.encode(v))
            for n, v in valid.items()
            if n != name
        )
        yield from (b'{%s"%s":%s}' % (rest, name.encode(), value) for value in values)


@pytest.mark.parametrize(
    ("method", "path"), [one for one in [*CHANGING, ("POST", "/v1/usage")] if one[0] == "POST"]
)
async def test_any_body_has_an_answer(client: httpx.AsyncClient, method: str, path: str) -> None:
    bytes_max = BYTES_MAX.get(path, FORM_BYTES_MAX)
    valid = (
        CHANGING[method, path][1] if (method, path) in CHANGING else {"from": "now-7d", "tz": "UTC"}
    )
    headers = {"content-type": "application/json"}
    tracemalloc.start()
    try:
        for body in bodies_of(valid, bytes_max):
            tracemalloc.reset_peak()
            before_bytes, _ = tracemalloc.get_traced_memory()
            answer = await client.request(method, placed(path), content=body, headers=headers)
            assert answer.status_code < 500, body[:80]
            _, peak_bytes = tracemalloc.get_traced_memory()
            assert peak_bytes - before_bytes < PEAK_BYTES_MAX, body[:80]
    finally:
        tracemalloc.stop()
