"""The published client of Open WebUI, all eight methods, against a running system.

Sample traffic through Kafka, a worker, Redis and an API process fills every field that it shows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from owui_client import OpenWebUI
from owui_client.models.analytics import UserAnalyticsEntry

from api.auth.keys import opened
from api.store import directory
from deploy.local.api_keys import create_key
from deploy.sample.traffic import history
from schemas.limits import DAY_MS
from schemas.store.directory import ON_PURPOSE, GroupUpdate, group_text
from schemas.units import ms_to_instant
from tests.oracles.event_logs import Fields
from tests.real.harness.api_process import api_of
from tests.real.harness.system import System
from tests.real.harness.topics import now_ms, sent

pytestmark = pytest.mark.servers

DAYS = 3
EVENTS_A_DAY = 400
CHAT_KINDS = ("llm", "chat")


@asynccontextmanager
async def running(
    system: System, redis_url: str, path: Path, log: list[Fields]
) -> AsyncIterator[OpenWebUI]:
    """A worker that keeps previews and has counted the log, and a client of the API."""
    system.worker(store_previews=True)
    async with system.load() as load:
        await load.send([sent(event) for event in log + log[::9]])
    await system.caught_up()
    await system.complete()
    key = await create_key(redis_url, name="owui", tenant="default", role="admin")
    async with opened(redis_url) as store:
        said = GroupUpdate(
            "team",
            ON_PURPOSE + now_ms(),
            now_ms(),
            is_new=True,
            text=group_text("Team", ""),
            members=["u-1", "u-2", "nobody"],
        )
        await directory.say_group(store, "default", said)
    with api_of(system.settings, path) as api:
        client = OpenWebUI(api_url=f"http://{api.address}/api", api_key=key)
        try:
            yield client
        finally:
            await client._client.aclose()  # which it leaves to the end of the process


def by(events: Iterable[Fields], name: str) -> dict[str, list[Fields]]:
    found: dict[str, list[Fields]] = defaultdict(list)
    for event in events:
        if event.get(name):
            found[event[name]].append(event)
    return found


def tokens(events: Iterable[Fields]) -> tuple[int, int]:
    rows = list(events)
    return (
        sum(event.get("input_tokens", 0) for event in rows),
        sum(event.get("output_tokens", 0) for event in rows),
    )


def second(event: Fields) -> str:
    text: str = event["time"]
    return text[:19]


async def test_the_published_client_reads_what_was_sent(
    system: System, redis_url: str, tmp_path: Path
) -> None:
    end_ms = now_ms()
    log = list(history(3, end_ms - DAYS * DAY_MS, end_ms, EVENTS_A_DAY))
    asked = [event for event in log if event["kind"] == "llm"]
    async with running(system, redis_url, tmp_path, log) as client:
        await check_counters(client, log, asked)
        await check_series(client, asked, end_ms)
        await check_chats(client, log, asked)
        with pytest.raises(httpx.HTTPStatusError, match="less than or equal to 100"):
            await client.analytics.get_messages(limit=101)
        client.api_key = "sk-unknown"
        with pytest.raises(httpx.HTTPStatusError, match="Your session has expired"):
            await client.analytics.get_summary()


async def check_counters(client: OpenWebUI, log: list[Fields], asked: list[Fields]) -> None:
    team = {"u-1", "u-2"}
    for group_id, own in [
        (None, asked),
        ("team", [event for event in asked if event.get("user_id") in team]),
        ("unknown", []),
    ]:
        summary = await client.analytics.get_summary(group_id=group_id)
        assert summary.model_dump() == {
            "total_messages": len(own),
            "total_chats": len(by(own, "chat_id")),
            "total_models": len(by(own, "model")),
            "total_users": len(by(own, "user_id")),
        }
        models = await client.analytics.get_model_analytics(group_id=group_id)
        assert {one.model_id: one.count for one in models.models} == {
            model: len(rows) for model, rows in by(own, "model").items()
        }
        users = await client.analytics.get_user_analytics(group_id=group_id, limit=1000)
        names = {event["user_id"]: event for event in log if event.get("user_id")}
        assert {one.user_id: one for one in users.users} == {
            user: UserAnalyticsEntry(
                user_id=user,
                name=names[user]["user_name"],
                email=names[user]["user_email"],
                count=len(rows),
                input_tokens=tokens(rows)[0],
                output_tokens=tokens(rows)[1],
                total_tokens=sum(tokens(rows)),
            )
            for user, rows in by(own, "user_id").items()
        }
        usage = await client.analytics.get_token_usage(group_id=group_id)
        assert {one.model_id: (one.input_tokens, one.output_tokens) for one in usage.models} == {
            model: tokens(rows) for model, rows in by(own, "model").items()
        }
        assert usage.total_tokens == sum(tokens(own))


async def check_series(client: OpenWebUI, asked: list[Fields], end_ms: int) -> None:
    every: Counter[tuple[str, str]] = Counter()
    start_s = end_ms // DAY_MS * DAY_MS // 1000
    found = await client.analytics.get_daily_stats()
    for one in found.data:
        every.update({(one.date, model): count for model, count in one.models.items()})
    assert every == Counter((event["time"][:10], event["model"]) for event in asked)
    hours = await client.analytics.get_daily_stats(
        start_date=start_s, end_date=start_s + DAY_MS // 1000 - 1, granularity="hourly"
    )
    today = f"{ms_to_instant(start_s * 1000):%Y-%m-%d}"
    # The range ends where an event may lie ahead at most.
    assert [one.date for one in hours.data] == [
        f"{today} {hour:02}:00" for hour in range(len(hours.data))
    ]
    assert sum(sum(one.models.values()) for one in hours.data) == sum(
        1 for event in asked if event["time"].startswith(today)
    )


async def check_chats(client: OpenWebUI, log: list[Fields], asked: list[Fields]) -> None:
    model, requests = max(by(asked, "model").items(), key=lambda one: len(by(one[1], "chat_id")))
    own = by([event for event in log if event["kind"] in CHAT_KINDS], "chat_id")
    wanted = {chat: own[chat] for chat in by(requests, "chat_id")}
    found = await client.analytics.get_model_chats(model, limit=100)
    assert found.total == len(wanted) > 0
    for one in found.chats:
        events = wanted[one.chat_id]
        named: list[Any] = [event["message_preview"] for event in events if event["kind"] == "chat"]
        assert one.user_id == events[0]["user_id"]
        assert one.user_name == events[0]["user_name"]
        assert [one.first_message] == (named or [None])
        assert f"{ms_to_instant(one.updated_at * 1000):%FT%T}" == max(map(second, events))
    assert any(one.first_message for one in found.chats)
    page = await client.analytics.get_model_chats(model, skip=1, limit=2)
    assert page.chats == found.chats[1:3]
    overview = await client.analytics.get_model_overview(model, days=DAYS)
    rated = [e for e in log if e["kind"] == "feedback" and e.get("model") == model]
    for name, rating in (("won", 1), ("lost", -1)):
        assert sum(getattr(day, name) for day in overview.history) == sum(
            1 for event in rated if event["rating"] == rating
        )
    assert rated
    tags = Counter(
        tag for events in wanted.values() for event in events for tag in event.get("tags", ())
    )
    assert {one.tag: one.count for one in overview.tags} == dict(tags.most_common(10))
    assert tags
    latest = sorted(requests, key=lambda event: event["time"], reverse=True)
    messages = await client.analytics.get_messages(model_id=model, limit=20)
    assert [one["created_at"] for one in messages] == sorted(
        (one["created_at"] for one in messages), reverse=True
    )
    assert {one["id"] for one in messages} <= {event["id"] for event in latest}
    chat = next(iter(wanted))
    in_chat = await client.analytics.get_messages(chat_id=chat)
    assert {one["id"] for one in in_chat} == {e["id"] for e in asked if e.get("chat_id") == chat}
