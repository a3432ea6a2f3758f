"""The API as a process on loopback, asked by the published client and by hostile clients."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote_from_bytes

import httpx
import pytest
from agentlensai import AgentLensClient, AuthenticationError
from agentlensai.models import LlmAnalyticsParams
from hypothesis import given, settings
from hypothesis import strategies as st

from api.app.main import DEFAULT_TOPIC, wall_clock_ms
from api.auth.authenticate import digest_of
from api.auth.keys import opened, read_records
from deploy.local import servers
from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of
from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from tests.api.conftest import revoke
from tests.api.counters import Asked, Event, answer, pack

PATH = "/api/analytics/llm"


def api_spec(
    redis_url: str,
    port: int,
    directory: Path,
    topic: str = DEFAULT_TOPIC,
    *,
    access_log: bool = True,
    cors_origins: tuple[str, ...] = (),
) -> servers.ServerSpec:
    program = f"from api.app.main import serve; serve({redis_url!r}, '127.0.0.1', {port}, {topic!r}, access_log={access_log}, cors_origins={cors_origins!r})"

    def is_ready(_pid: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code in {200, 503}
        except httpx.TransportError:
            return False

    return servers.ServerSpec(
        role="api",
        port=port,
        ports_needed=(port,),
        directory=directory,
        command=(sys.executable, "-W", "error", "-c", program),
        files=(),
        prepare=lambda: None,
        is_ready=is_ready,
    )


@pytest.fixture(scope="module")
def api(valkey: Server) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="odometer-test-") as directory:
        server = servers.start(api_spec(url_of(valkey), free_port(), Path(directory)))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def log(redis_url: str) -> list[Event]:
    """Events up to now: the process has the real clock."""
    now_ms = wall_clock_ms()
    log = [
        Event(
            at_ms=now_ms - 1 - n * HOUR_MS // 3,
            provider=["anthropic", "openai"][n % 2],
            model=f"m{n % 5}",
            agent=["support", "sales"][n % 2],
            input_tokens=10 * n,
            output_tokens=n,
            cost_nano_usd=n * 333_333_333,
            latency_ms=n * 7,
        )
        for n in range(200)
    ]
    pack(log, now_ms=now_ms, created_ms=now_ms, complete_ms=(now_ms,), refused=(0,)).write(
        redis_url
    )
    return log


@pytest.fixture
def key(redis_url: str) -> str:
    return asyncio.run(create_key(redis_url, name="sdk", tenant="acme", role="viewer"))


def id_of(redis_url: str, secret: str) -> str:
    async def read() -> str:
        async with opened(redis_url) as store:
            return (await read_records(store))[digest_of(secret)].id

    return asyncio.run(read())


def test_the_published_client_gets_the_right_numbers(
    api: Server, log: list[Event], key: str
) -> None:
    now_ms = wall_clock_ms()
    from_ms, to_ms = now_ms - 20 * DAY_MS, now_ms + DAY_MS
    with AgentLensClient(f"http://{api.address}", api_key=key) as client:
        params = LlmAnalyticsParams(
            from_time=iso(from_ms), to_time=iso(to_ms), granularity="day", agent_id="sales"
        )
        for asked, sent in (
            (Asked(from_ms, to_ms, "day", agent="sales", now_ms=now_ms), params),
            (
                Asked(from_ms, to_ms, "week", provider="anthropic", model="m2", now_ms=now_ms),
                LlmAnalyticsParams(
                    from_time=iso(from_ms),
                    to_time=iso(to_ms),
                    granularity="week",
                    provider="anthropic",
                    model="m2",
                ),
            ),
            (Asked(from_ms, to_ms, now_ms=now_ms), LlmAnalyticsParams(from_time=iso(from_ms))),
        ):
            found = client.get_llm_analytics(sent).model_dump(by_alias=True)
            expected = answer(log, asked)
            assert found == expected
            assert found["summary"]["totalCalls"] > 0
        assert client.get_llm_analytics().summary.total_calls == pytest.approx(72, abs=1)


def test_the_published_client_is_told_of_a_bad_key(api: Server, log: list[Event]) -> None:
    assert log
    with (
        AgentLensClient(f"http://{api.address}", api_key="als_never") as client,
        pytest.raises(AuthenticationError),
    ):
        client.get_llm_analytics()


@pytest.fixture
def guest(api: Server, log: list[Event], key: str) -> Iterator[httpx.Client]:
    assert log
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://{api.address}", headers=headers) as client:
        yield client


def test_garbage_is_never_a_500(guest: httpx.Client) -> None:
    names = st.sampled_from(["from", "to", "granularity", "agentId", "model", "provider", "x"])
    values = st.one_of(
        st.binary(max_size=30),
        st.datetimes().map(lambda at: at.isoformat().encode()),
        st.dates().map(lambda at: at.isoformat().encode()),
        st.sampled_from([b"hour", b"day", b"week", b"", b"null", b"9999-12-31", b"0001-01-01"]),
        st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9](Z|[+-]\d\d)\Z").map(
            str.encode
        ),
    )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(names, values), max_size=8), st.binary(max_size=20))
    def ask(params: list[tuple[str, bytes]], tail: bytes) -> None:
        query = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in params)
        response = guest.get(f"{PATH}?{query}&{quote_from_bytes(tail)}")
        assert response.status_code in {200, 400}
        if response.status_code == 200:
            found = response.json()
            calls = found["summary"]["totalCalls"]
            assert calls == sum(row["calls"] for row in found["byModel"])
            assert calls == sum(row["calls"] for row in found["byTime"])
        else:
            assert list(response.json()) == ["error", "status"]

    ask()


def test_any_credentials_are_never_a_500(api: Server, log: list[Event]) -> None:
    assert log
    # What a client can send as a header at all.
    visible = st.binary(max_size=60).map(
        lambda raw: bytes(byte for byte in raw if byte >= 32 and byte != 127).strip()
    )
    with httpx.Client(base_url=f"http://{api.address}") as client:

        @settings(max_examples=200, deadline=None)
        @given(st.sampled_from([b"authorization", b"x-api-key"]), visible, st.booleans())
        def ask(name: bytes, value: bytes, bearer: bool) -> None:  # noqa: FBT001  hypothesis' own
            value = b"Bearer als_" + value if bearer else value
            response = client.get(PATH, headers=[(name, value)])
            assert response.status_code == 401
            assert list(response.json())[-1] == "status"

        ask()


def test_head_sends_no_body(guest: httpx.Client) -> None:
    response = guest.head(PATH)
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) > 0
    assert "server" not in response.headers


def test_logs_hold_no_key_and_no_query(
    api: Server, guest: httpx.Client, redis_url: str, key: str
) -> None:
    key_id = id_of(redis_url, key)
    guest.get(f"{PATH}?agentId=somebody@example.com&granularity=day")
    guest.get(f"{PATH}?granularity=no", headers={"x-api-key": key})
    guest.get(f"/api/nothing?token={key}")
    guest.get(f"/api/v1/users/{key}", headers={"authorization": ""})
    written = api.spec.output.read_text()
    assert f'127.0.0.1 - "GET {PATH} HTTP/1.1" 200 key={key_id} tenant="acme"\n' in written
    assert f'127.0.0.1 - "GET - HTTP/1.1" 404 key={key_id} tenant="acme"\n' in written
    assert key not in written
    assert "somebody" not in written
    assert "?" not in written


def test_logs_hold_no_id_of_a_user(api: Server, log: list[Event], redis_url: str) -> None:
    assert log
    secret = asyncio.run(create_key(redis_url, name="boss", tenant="acme", role="admin"))
    paths = [
        "/api/v1/users/{}",
        "/api/v1/users/{}/update",
        "/api/v1/groups/id/{}",
        "/api/v1/groups/id/{}/users/add",
        "/api/v1/analytics/models/{}/chats",
        "/api/v1/analytics/models/{}/overview",
        "/api/agents/{}",
        "/api/events/{}",
        "/v1/dimensions/{}",
        "/v1/keys/{}",
        "/admin/analytics/{}",
        "/{}",
    ]
    headers = {"authorization": f"Bearer {secret}"}
    before = api.spec.output.read_text()
    with httpx.Client(base_url=f"http://{api.address}", headers=headers) as client:
        for path in paths:
            for method in ("GET", "POST", "DELETE"):
                client.request(method, path.format("alice@example.com"))
    written = api.spec.output.read_text().removeprefix(before)
    assert written.count("HTTP/1.1") == 3 * len(paths)
    assert "alice" not in written
    assert "example" not in written


def test_there_is_no_access_log_unless_it_is_wanted(redis_url: str, tmp_path: Path) -> None:
    spec = api_spec(redis_url, free_port(), tmp_path / "api", access_log=False)
    server = servers.start(spec)
    try:
        assert httpx.get(f"http://{server.address}/healthz").status_code == 200
    finally:
        server.stop()
    written = spec.output.read_text()
    assert "Application startup complete" in written
    assert "/healthz" not in written


def test_failed_authentication_is_in_the_audit_log_once(
    api: Server, log: list[Event], redis_url: str, key: str
) -> None:
    assert log
    asyncio.run(revoke(redis_url, key))
    key_id = id_of(redis_url, key)
    before = api.spec.output.read_text()
    with httpx.Client(base_url=f"http://{api.address}") as client:
        for sent in (key, "als_guess", ""):
            for _ in range(100):
                headers = {"x-api-key": sent} if sent else {}
                assert client.get(PATH, headers=headers).status_code == 401
    written = api.spec.output.read_text()
    assert '"action": "authentication_failed", "reason": ' in written
    written = written.removeprefix(before)
    assert written.count('"authentication_failed"') <= 2
    assert "als_guess" not in written
    assert key_id not in written.replace(f'"key_id": "{key_id}"', "")


def test_a_server_that_is_attacked_answers_others(api: Server, guest: httpx.Client) -> None:
    """The process itself has the limits that tests/api/app/test_server.py attacks one by one."""
    host, _, port = api.address.partition(":")
    with socket.create_connection((host, int(port))) as attacker:
        with suppress(ConnectionError):
            attacker.sendall(b"GET / HTTP/1.1\r\nx: " + b"x" * 12_000_000)
        with suppress(ConnectionError):
            assert attacker.recv(100).startswith(b"HTTP/1.1 431 ")
    assert guest.get(PATH).status_code == 200


def test_logs_hold_no_key_whatever_is_done_with_it(
    api: Server, log: list[Event], redis_url: str
) -> None:
    assert log
    admin = asyncio.run(create_key(redis_url, name="boss", tenant="acme", role="admin"))
    held = "lvk_0123456789abcdef-held-by-a-client"
    keys = [admin, held, "als_a-key-that-was-never-made"]
    with httpx.Client(base_url=f"http://{api.address}") as client:
        client.headers["authorization"] = f"Bearer {admin}"
        made = client.post("/v1/keys", json={"name": "x", "requests_per_s": 0.01}).json()
        body = {"keys": [{"name": "y", "key": held}]}
        assert client.post("/v1/keys/import", json=body).status_code == 201
        assert client.post("/v1/keys/import", json=body).status_code == 400
        rotated = client.post(f"/v1/keys/{made['id']}/rotate", json={}).json()
        keys += [made["key"], rotated["key"]]
        for key in keys:  # in each place where one might stand, by mistake too
            for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
                for path in (PATH, "/v1/usage", "/admin/analytics/dashboard", "/api/v1/users/"):
                    client.get(path, headers=headers)
            client.get("/v1/usage", params={"tenant": key, "model": key})
            client.get("/v1/usage", headers={"x-odometer-tenant": key})
            client.post("/v1/keys", json={"name": "z", "key": key})
            client.post("/v1/keys", content=key, headers={"content-type": "application/json"})
            client.delete(f"/v1/keys/{key}")
            client.post(f"/v1/keys/{key}/rotate", json={})
        assert client.delete(f"/v1/keys/{made['id']}").status_code == 200
    written = api.spec.output.read_text()
    assert not [key for key in keys if key in written]
    assert '"DELETE /v1/keys/{id} HTTP/1.1" 404' in written
    assert '"POST /v1/keys/{id}/rotate HTTP/1.1" 404' in written
    assert '"DELETE /v1/keys/{id} HTTP/1.1" 200' in written
    assert '" 429' in written
    for action in ("create", "import", "rotate", "revoke"):
        assert f'"action": "{action}", "key_id": "key-' in written


def test_the_log_says_why_there_was_no_answer(
    api: Server, guest: httpx.Client, redis_url: str
) -> None:
    pack([], topic="other.events").write(redis_url)
    assert guest.get(PATH).status_code == 503
    written = api.spec.output.read_text()
    assert (
        "No answer: the counters in Redis were counted with other limits, views or topic" in written
    )


def test_a_stop_lets_answers_finish_and_is_quick(redis_url: str, tmp_path: Path) -> None:
    server = servers.start(api_spec(redis_url, free_port(), tmp_path / "api"))
    with httpx.Client(base_url=f"http://{server.address}") as client:
        assert client.get("/healthz").status_code == 200  # and the connection stays open
        assert server.stop(servers.STOP_GRACE_S)
    written = server.spec.output.read_text()
    assert "Application shutdown complete" in written
    assert "Traceback" not in written
