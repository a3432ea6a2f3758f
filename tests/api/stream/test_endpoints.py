"""`/v1/stream` over a real Valkey: what is sent, when it ends, and its limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import redis

from api.app.dispatch import Application
from api.app.main import build
from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from api.stream import endpoints, feeds
from deploy.local.api_keys import create_key
from schemas.limits import HOUR_MS
from tests.api.conftest import Clock, revoke
from tests.api.counters import NOW_MS, Event, pack
from tests.api.stream.streaming import Shown, streaming

LOG = [
    Event(at_ms=NOW_MS - 1 - n * HOUR_MS // 4, model=f"m{n % 3}", input_tokens=n, cost_nano_usd=n)
    for n in range(40)
]
LATER = Event(at_ms=NOW_MS - 1, model="m9", input_tokens=7, cost_nano_usd=None)
BY_MODEL = {"measures": "requests,input_tokens,cost_usd", "group_by": "model"}
BY_HOUR = {"measures": "requests", "granularity": "1h", "compare": "previous"}


@pytest.fixture
async def app(redis_url: str, clock: Clock) -> AsyncIterator[Application]:
    pack(LOG).write(redis_url)
    app = build(redis_url, clock=clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def usage(app: Application, params: dict[str, Any], headers: dict[str, str]) -> Any:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://odometer.test", headers=headers
    ) as client:
        response = await client.get("/v1/usage", params=params)
        assert response.status_code == 200, response.text
        return response.json()


def several(*questions: dict[str, str]) -> dict[str, Any]:
    return {"question": [urlencode(one) for one in questions]}


async def test_a_snapshot_then_changed_rows_are_the_answer_of_usage(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    shown = Shown()
    async with streaming(app, several(BY_MODEL, BY_HOUR), headers) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        snapshot = await stream.of("snapshot")
        shown.apply(snapshot)
        for number, question in enumerate((BY_MODEL, BY_HOUR)):
            whole = await usage(app, question, headers)
            of_stream = shown.answers[number]
            state = {"complete_through", "history_from", "refused", "generation"}
            assert {**of_stream, **{k: snapshot.data[k] for k in state}} == {
                **whole,
                "question": number,
            }
        pack([*LOG, LATER], commits=2).write(redis_url)
        changed = await stream.of("rows")
        assert [row["model"] for row in changed.data["answers"][0]["rows"]] == ["m9"]
        assert changed.data["answers"][0]["rows"][0]["cost_usd"] is None
        shown.apply(changed)
        for number, question in enumerate((BY_MODEL, BY_HOUR)):
            whole = await usage(app, question, headers)
            assert shown.rows(number) == sorted(whole["rows"], key=str)
            assert shown.answers[number]["totals"] == whole["totals"]


async def test_a_moved_range_removes_rows(
    app: Application, headers: dict[str, str], clock: Clock
) -> None:
    shown = Shown()
    asked = {"measures": "requests", "granularity": "15m", "from": "now-2h"}
    async with streaming(app, asked, headers) as stream:
        shown.apply(await stream.of("snapshot"))
        clock.now_ms += HOUR_MS
        changed = await stream.of("rows")
        assert changed.data["answers"][0]["removed"]
        shown.apply(changed)
    assert shown.rows() == sorted((await usage(app, asked, headers))["rows"], key=str)


async def test_each_second_says_how_fresh_it_is(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    async with streaming(app, BY_MODEL, headers) as stream:
        first = (await stream.of("state")).data
        assert first["complete_through"] == "2026-02-08T12:02:02.456Z"
        assert first["unavailable"] is None
        pack(LOG, commits=2, complete_ms=(NOW_MS, NOW_MS)).write(redis_url)
        while (await stream.of("state")).data["complete_through"] == first["complete_through"]:
            pass
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        await stream.of("end")  # its key is gone too


async def test_a_stream_of_a_feed_without_changes_begins_with_how_fresh_it_is_now(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    async with streaming(app, BY_MODEL, headers) as stream:
        old = (await stream.of("snapshot")).data["complete_through"]
        pack(LOG, commits=2, complete_ms=(NOW_MS, NOW_MS)).write(redis_url)
        while (new := (await stream.of("state")).data["complete_through"]) == old:
            pass
        async with streaming(app, BY_MODEL, headers) as other:
            assert (await other.of("snapshot")).data["complete_through"] == new


async def test_counters_that_cannot_be_read_are_said(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    async with streaming(app, BY_MODEL, headers) as stream:
        await stream.of("snapshot")
        with redis.Redis.from_url(redis_url) as client:
            client.delete(*client.keys("*meta*"))
        while (await stream.of("state")).data["unavailable"] is None:
            pass
        pack([*LOG, LATER], commits=2).write(redis_url)
        changed = await stream.next()
        while changed is not None and changed.name == "state":
            changed = await stream.next()
        assert changed is not None
        assert changed.data["unavailable"] is None


async def test_equal_streams_share_a_feed_and_a_slow_one_skips(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    async with (
        streaming(app, BY_MODEL, headers) as quick,
        streaming(app, BY_MODEL, headers) as slow,
    ):
        one, two = await quick.of("snapshot"), await slow.of("snapshot")
        assert one == two
        shown = Shown()
        shown.apply(two)
        slow.reads.clear()
        for more in range(1, 4):
            pack([*LOG, *[LATER] * more], commits=1 + more).write(redis_url)
            assert (await quick.of("rows")).data["answers"][0]["rows"][0]["requests"] == more
        slow.reads.set()
        events: list[Any] = []
        while not events or shown.answers[0]["totals"]["requests"] < len(LOG) + 3:
            events.append(await slow.of("rows"))
            shown.apply(events[-1])
        assert len(events) <= 2  # the one that was under way, and the newest
        assert shown.rows() == sorted((await usage(app, BY_MODEL, headers))["rows"], key=str)


async def test_a_client_that_connects_again_gets_what_changed_since(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    async with streaming(app, BY_MODEL, headers) as stream:
        seen = await stream.of("snapshot")
    pack([*LOG, LATER], commits=2).write(redis_url)
    async with streaming(app, BY_MODEL, {**headers, "last-event-id": seen.id}) as stream:
        changed = await stream.of("rows")
        assert [row["model"] for row in changed.data["answers"][0]["rows"]] == ["m9"]
    for unknown in ("x.1", f"{seen.id}9", "", f"{seen.id.split('.')[0]}.²"):
        sent = {**headers, "last-event-id": unknown} if unknown.isascii() else headers
        async with streaming(app, BY_MODEL, sent) as stream:
            first = await stream.next()
            assert first is not None
            assert first.name == "snapshot"


async def test_a_stream_ends_with_its_key(
    app: Application, headers: dict[str, str], redis_url: str, key: str, clock: Clock
) -> None:
    expires = await create_key(
        redis_url, name="short", tenant="acme", role="viewer", expires_ms=NOW_MS + HOUR_MS
    )
    async with (
        streaming(app, BY_MODEL, headers) as revoked,
        streaming(app, BY_MODEL, {"x-api-key": expires}) as expired,
    ):
        await revoked.of("snapshot")
        await expired.of("snapshot")
        await revoke(redis_url, key)
        assert "revoked" in (await revoked.of("end")).data["reason"]
        assert await revoked.next() is None
        clock.now_ms += 2 * HOUR_MS
        assert "time is over" in (await expired.of("end")).data["reason"]
    async with streaming(app, BY_MODEL, headers) as refused:
        assert refused.status == 401


@pytest.mark.parametrize(
    ("params", "status", "named"),
    [
        ({"measures": "cost_us"}, 400, "measures"),
        ({"format": "csv"}, 400, "format"),
        ({"question": ["measures=requests", "measures=nothing"]}, 400, "measures"),
        ({"question": ["tenant=acme"], "tenant": "acme"}, 400, "tenant"),
        ({"question": ["measures=requests", "tenant=beta"]}, 403, None),
        ({"question": ["format=csv"]}, 400, "format"),
        ({"question": ["measures=requests"] * 17}, 400, "question"),
        ({"question": ["measures=requests"], "measures": "requests"}, 400, "measures"),
        ({"group_by": "model,phone"}, 400, None),
        ({"tenant": "beta"}, 403, None),
    ],
)
async def test_what_usage_rejects_a_stream_rejects(
    app: Application,
    headers: dict[str, str],
    params: dict[str, Any],
    status: int,
    named: str | None,
) -> None:
    async with streaming(app, params, headers) as stream:
        assert stream.status == status
        assert (await stream.body()).get("parameter") == named


async def test_streams_are_bounded_and_a_tenant_leaves_some_to_others(
    app: Application, headers: dict[str, str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, beta = [
        {"x-api-key": await create_key(redis_url, name="other", tenant=tenant, role="viewer")}
        for tenant in ("acme", "beta")
    ]
    monkeypatch.setattr(feeds, "STREAMS_OF_KEY_MAX", 3)
    monkeypatch.setattr(feeds, "STREAMS_MAX", 7)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(streaming(app, BY_MODEL, sent))
            for sent in (*[headers] * 4, other, other, *[beta] * 3)
        ]
        assert [one.status for one in opened] == [*[200] * 3, 429, 200, 429, 200, 200, 429]
        assert int(opened[3].headers["retry-after"]) > 0
        assert "STREAMS_OF_KEY_MAX" in (await opened[3].body())["detail"]
        assert "tenant has 4 streams" in (await opened[5].body())["detail"]
    async with streaming(app, BY_MODEL, headers) as again:
        assert again.status == 200  # the places are free again


async def test_feeds_and_rows_are_bounded(
    app: Application, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "FEEDS_MAX", 2)
    async with (
        streaming(app, BY_MODEL, headers) as first,
        streaming(app, BY_HOUR, headers) as second,
    ):
        assert [first.status, second.status] == [200, 429]
    monkeypatch.setattr(feeds, "FEEDS_MAX", 9)
    monkeypatch.setattr(feeds, "ROWS_OF_FEED_MAX", 10)
    async with streaming(app, {"granularity": "15m"}, headers) as third:
        assert third.status == 400
        assert "ROWS_OF_FEED_MAX" in (await third.body())["detail"]
    compared = {"granularity": "1h", "from": "now-6h", "compare_from": "now-9h"}
    async with streaming(app, compared, headers) as earlier:
        assert earlier.status == 400
        assert (
            "17 rows" in (await earlier.body())["detail"]
        )  # 7, and 10 that they are compared with
    monkeypatch.setattr(feeds, "CELLS_OF_FEED_MAX", 10)
    async with streaming(app, {"granularity": "1h", "from": "now-3h"}, headers) as wide:
        assert wide.status == 400
        assert "28 cells" in (await wide.body())["detail"]
    monkeypatch.setattr(feeds, "CELLS_OF_FEED_MAX", 99)
    monkeypatch.setattr(feeds, "CELLS_MAX", 5)
    async with streaming(app, {"group_by": "model", "from": "now-3h"}, headers) as fourth:
        assert fourth.status == 429
        assert "CELLS_MAX" in (await fourth.body())["detail"]


async def test_a_head_sends_headers_only(app: Application, headers: dict[str, str]) -> None:
    async with streaming(app, BY_MODEL, headers, method="HEAD") as stream:
        assert stream.status == 200
        assert await stream.next() is None


async def test_a_stream_counts_as_one_request(app: Application, redis_url: str) -> None:
    """Its key is checked every second, which is no request of the key's limit."""
    async with opened(redis_url) as store:
        spec = KeySpec("few", ("acme",), "viewer", requests_per_s=0.01, burst=1)
        (made,) = await create_keys(store, [spec], operator(), NOW_MS)
    async with streaming(app, BY_MODEL, {"x-api-key": made.secret}) as stream:
        for _second in range(2):
            await stream.of("state")


def test_the_questions_of_a_page_fit_a_url() -> None:
    assert endpoints.QUESTIONS_MAX * 400 < 8 * 1024


async def test_streams_that_arrive_together_wait_for_the_first_read(
    app: Application, headers: dict[str, str]
) -> None:
    async def first() -> str:
        async with streaming(app, BY_MODEL, headers) as stream:
            return (await stream.of("snapshot")).id

    found = await asyncio.gather(*(first() for _ in range(20)))
    assert len({*found}) == 1


async def test_many_streams_of_a_feed_are_woken_together(
    app: Application, headers: dict[str, str], redis_url: str
) -> None:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(streaming(app, BY_MODEL, headers)) for _ in range(50)
        ]
        await asyncio.gather(*(one.of("snapshot") for one in opened))
        pack([*LOG, LATER], commits=2).write(redis_url)
        changed = await asyncio.gather(*(one.of("rows") for one in opened))
        assert all(one == changed[0] for one in changed)
