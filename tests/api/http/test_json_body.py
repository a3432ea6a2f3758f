"""The JSON bodies of all paths but those of events: what is read of them, and how many at once."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from api.errors import InvalidBody, TooBusy
from api.http.json_body import HELD_BYTES_MAX, JSON_BODIES, TENANT_PART, json_body, received
from api.http.shared_bytes import SMALL_BYTES_MAX, SMALL_PART
from api.openwebui.errors import error_response
from api.openwebui.users import BODY_BYTES_MAX
from deploy.local.api_keys import create_key
from tests.api.conftest import Clock, client_of
from tests.api.ingest.taking import receiving, stalling

MiB = 1 << 20
SHARE_BYTES = int(HELD_BYTES_MAX * (1 - SMALL_PART) * TENANT_PART)


def request_of(body: bytes, *, stalls: bool = False, **headers: str) -> Request:
    """A request whose body does not end if it `stalls`."""
    scope = {
        "type": "http",
        "method": "POST",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()],
    }
    return Request(scope, stalling(body) if stalls else receiving(body))


async def test_stalled_bodies_of_one_tenant_leave_room_for_others() -> None:
    async def stall(tenant: str, size_bytes: int) -> asyncio.Future[bytes]:
        request = request_of(bytes(size_bytes), stalls=True)
        task = asyncio.ensure_future(received(request, BODY_BYTES_MAX, tenant))
        await asyncio.sleep(0)
        return task

    tasks = [await stall("acme", MiB) for _ in range(100)]
    assert sum(not task.done() for task in tasks) == SHARE_BYTES // MiB
    with pytest.raises(TooBusy):
        tasks[-1].result()
    assert len(await received(request_of(bytes(MiB)), BODY_BYTES_MAX, "beta")) == MiB
    for tenant in ("beta", "other", "more"):
        tasks += [await stall(tenant, MiB) for _ in range(20)]
    small = bytes(SMALL_BYTES_MAX)
    assert await received(request_of(small), BODY_BYTES_MAX, "last") == small
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not JSON_BODIES.for_any._held  # a request that has ended holds nothing
    busy = error_response(request_of(b""), TooBusy("Too many bodies are being read."))
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "GZIP, gzip"])
async def test_a_compressed_body_is_named_as_such(encoding: str) -> None:
    with pytest.raises(InvalidBody, match="content-encoding") as refusal:
        await received(request_of(b"{}", content_encoding=encoding), 100, "acme")
    assert refusal.value.status == 415


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json; charset=utf-16", "application/xml", ";"]
)
async def test_a_body_that_is_no_json_in_utf8_is_rejected(content_type: str) -> None:
    with pytest.raises(InvalidBody, match="application/json") as refusal:
        await json_body(request_of(b"{}", content_type=content_type), 100, "acme")
    assert refusal.value.status == 415


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/usage", '{"tz":"UTC","tz":"Asia/Tokyo"}'),
        ("/v1/keys", '{"name":"x","role":"viewer","role":"admin"}'),
        ("/v1/keys/import", '{"keys":[],"keys":[{"name":"x","key":"sk-0123456789012345"}]}'),
        ("/v1/keys/import", '{"keys":[{"name":"x","name":"y","key":"sk-0123456789012345"}]}'),
        ("/v1/keys/key-0000000000/rotate", '{"grace_s":0,"grace_s":1}'),
    ],
)
async def test_a_member_that_is_there_twice_is_rejected(
    redis_url: str, clock: Clock, path: str, body: str
) -> None:
    """Whoever checks the request before us may have read the other value."""
    key = await create_key(redis_url, name="a", tenant="acme", role="admin")
    headers = {"content-type": "application/json"}
    async with client_of(redis_url, clock, key) as client:
        answer = await client.post(path, content=body, headers=headers)
        assert answer.status_code == 400
        assert "twice" in answer.json()["detail"]
        deep = await client.post(path, content="[" * 1000, headers=headers)
        assert (deep.status_code, "64 levels" in deep.json()["detail"]) == (400, True)


async def test_open_webui_names_a_compressed_body(redis_url: str, clock: Clock) -> None:
    key = await create_key(redis_url, name="a", tenant="acme", role="admin")
    async with client_of(redis_url, clock, key) as client:
        answer = await client.post(
            "/api/v1/groups/create",
            content=b'{"name":"x","description":"x"}',
            headers={"content-encoding": "gzip"},
        )
        assert (answer.status_code, "content-encoding" in answer.json()["detail"]) == (415, True)
