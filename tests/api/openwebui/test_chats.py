"""Messages, chats and overview of a model: folded and committed to a real Valkey, asked over HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from api.auth.keys import opened
from api.store import directory
from deploy.local.api_keys import create_key
from schemas.catalog.views import SLICE_MS
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.responses.openwebui import Message, ModelChats, ModelOverview
from schemas.store.chats import Chat, model_key, pack_chat, records_key, updates_key
from schemas.store.directory import LIBRARY, ON_PURPOSE, chats_key, function_name
from schemas.store.generation import generation_digest
from schemas.tiers import ceil_to
from schemas.units import instant_to_ms, iso
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from tests.api.app.test_joint import NOW_MS, Appended
from tests.api.conftest import Clock, client_of
from tests.api.counters import TOPIC
from tests.api.openwebui.test_pages import ROOT
from tests.oracles.event_logs import SECRET, Fields, countable

pytestmark = pytest.mark.servers

GOLDEN = Path(__file__).parent / "golden_openwebui_chats.json"
NOW_S = NOW_MS // 1000
TITLES = ("Ünicode", "Answers", "", "Zebra")
USERS = ("ann", "bob", "", "cy@example.com")


def log() -> list[Fields]:
    """Twelve chats, one begun each five hours, with two to five requests; ratings and tags."""
    found: list[Fields] = []
    for n in range(12):
        chat: Fields = {"chat_id": f"c{n:02}", "tenant": "other" if n == 11 else "acme"}
        user = USERS[n % 4]
        chat |= {"user_email": user} if "@" in user else {"user_id": user}
        start_ms = NOW_MS - (n + 1) * 5 * HOUR_MS
        for turn in range(2 + n % 4):
            at_ms = start_ms + turn * 10 * MINUTE_MS
            model = "a/b" if turn == 0 or n % 2 else "gpt-4o"
            asked = {"kind": "llm", "model": model, "time": iso(at_ms), "input_tokens": 10 + n}
            if turn != 1:
                asked |= {"output_tokens": turn, "message_preview": f"Hello {n} {turn}"}
            found.append(chat | asked)
        news = {"kind": "chat", "chat_title": TITLES[n % 4], "tags": ["all", f"t{n % 3}"]}
        found.append(chat | news | {"time": iso(start_ms + MINUTE_MS)})
        rating = {"kind": "feedback", "model": "a/b", "rating": 1 if n % 3 else -1}
        found.append(chat | rating | {"time": iso(start_ms)})
    found.append({"kind": "llm", "model": "a/b", "time": iso(NOW_MS), "tenant": "acme"})
    return [{"id": f"e{n}", "source": "test", **fields} for n, fields in enumerate(found)]


async def write(redis_url: str, fields: Sequence[Fields], *, keeps_previews: bool = False) -> None:
    records = [Appended(n, NOW_MS, msgspec.json.encode(one)) for n, one in enumerate(fields)]
    good = countable(records)
    assert len(good) == len(records)
    rows = columns(good, secret=SECRET)
    async with RedisStore(redis_url) as store:
        digest = generation_digest(TOPIC)
        await store.open(digest, 1, NOW_MS, SECRET)
        held = await store.bookings(rows.secret, rows.booked_calls)
        commit = Commit(
            id=bytes(15) + b"1",
            generation_digest=digest,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=1,
            absent_ms={},
            partitions=[Progress(0, -1, len(records), len(records) - 1, NOW_MS, NOW_MS)],
            digests=rows.digests,
            slices=rows.append_ms // SLICE_MS,
            delta=fold(rows, held, keeps_previews=keeps_previews),
        )
        assert (await store.commit(commit)).outcome is Outcome.COMMITTED


@pytest.fixture
async def admin(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    clock.now_ms = NOW_MS
    key = await create_key(redis_url, name="admin", tenant="acme", role="admin")
    async with opened(redis_url) as store:
        await directory.name_user(store, "acme", "ann", NOW_MS, email=None, name="Ann")
        await directory.name_user(store, "acme", "bob", NOW_MS, email=None, name="Bob")
    async with client_of(redis_url, clock, key) as client:
        yield client


async def body(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    response = await client.get(f"{ROOT}/{path}", params=params)
    assert response.status_code == 200, response.text
    assert response.headers["odometer-complete-through"] == iso(NOW_MS)
    return response.json()


def ms_of(fields: Fields) -> int:
    return instant_to_ms(datetime.fromisoformat(fields["time"]))


def messages_of(fields: Sequence[Fields], **wanted: str) -> list[Fields]:
    """Requests of the tenant acme with these fields, newest first."""
    return sorted(
        (
            one
            for one in fields
            if one["kind"] == "llm"
            and one["tenant"] == "acme"
            and all(one.get(name) == value for name, value in wanted.items())
        ),
        key=lambda one: one["time"],
        reverse=True,
    )


def chats_of(fields: Sequence[Fields], model: str) -> dict[str, list[Fields]]:
    """The events of each chat that used the model, oldest first."""
    chats: dict[str, list[Fields]] = {}
    for one in fields:
        if one["kind"] != "feedback" and one["tenant"] == "acme" and one.get("chat_id"):
            chats.setdefault(one["chat_id"], []).append(one)
    used = {one["chat_id"] for one in messages_of(fields, model=model) if one.get("chat_id")}
    return {
        name: sorted(own, key=lambda one: one["time"])
        for name, own in chats.items()
        if name in used
    }


# -- frozen ----------------------------------------------------------------------------------------


def since_now(found: Any) -> Any:
    """With times as seconds, and dates as days, from now: the store lets old pages expire, so a
    log of a fixed day cannot be committed."""
    if isinstance(found, list):
        return [since_now(one) for one in found]
    if not isinstance(found, dict):
        return found
    today = datetime.fromtimestamp(NOW_S, UTC).date()
    shown: dict[str, Any] = {}
    for name, value in found.items():
        if name in {"created_at", "updated_at"}:
            shown[name] = value - NOW_S
        elif name == "date":
            shown[name] = (date.fromisoformat(value) - today).days
        else:
            shown[name] = since_now(value)
    return shown


async def test_the_answers_are_frozen(redis_url: str, admin: httpx.AsyncClient) -> None:
    """A change of this file is a new version of the endpoints."""
    day: list[Fields] = [
        {"time": iso(NOW_MS - n * DAY_MS), "tenant": "acme", "model": "a/b"} for n in range(3)
    ]
    asked: Fields = {"kind": "llm", "chat_id": "c1", "user_id": "ann", "input_tokens": 7}
    news: Fields = {"kind": "chat", "chat_id": "c1", "chat_title": "Title", "tags": ["b", "a"]}
    fields = [day[2] | asked, day[1] | asked | {"error": "Timeout", "user_id": None}, day[0] | news]
    fields += [day[n] | {"kind": "feedback", "rating": 1 - 2 * n} for n in (0, 1, 0)]
    fields.append(day[0] | asked | {"chat_id": None, "user_id": "eve"})
    await write(redis_url, [{"id": f"e{n}", "source": "s", **one} for n, one in enumerate(fields)])
    asked_for: list[tuple[str, dict[str, Any]]] = [
        ("messages", {"model_id": "a/b"}),
        ("models/a/b/chats", {}),
        ("models/a/b/overview", {"days": 2}),
    ]
    found = {path: since_now(await body(admin, path, **params)) for path, params in asked_for}
    assert json.dumps(found, indent=1, ensure_ascii=False) + "\n" == GOLDEN.read_text()


# -- messages --------------------------------------------------------------------------------------


async def test_messages_are_of_a_chat_or_a_model_or_a_user(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    fields = log()
    await write(redis_url, fields)
    assert await body(admin, "messages") == []
    cases: list[tuple[dict[str, Any], str]] = [
        ({"chat_id": "c03", "model_id": "x", "limit": 1, "skip": 9, "end_date": 5}, "chat_id c03"),
        ({"model_id": "gpt-4o", "user_id": "bob"}, "model gpt-4o"),
        ({"user_id": "ann"}, "user_id ann"),
        ({"model_id": "none"}, "model none"),
    ]
    for params, wanted in cases:
        field, value = wanted.split()
        found = await body(admin, "messages", **params)
        expected = messages_of(fields, **{field: value})
        if field == "chat_id":
            expected.reverse()
        assert [one["id"] for one in found] == [one["id"] for one in expected][:50], params
        for one in found:
            Message.model_validate(one)


async def test_messages_are_paged_and_bounded(redis_url: str, admin: httpx.AsyncClient) -> None:
    fields = log()
    await write(redis_url, fields)
    every = [one["id"] for one in messages_of(fields, model="a/b")]
    page = await body(admin, "messages", model_id="a/b", skip=3, limit=4)
    assert [one["id"] for one in page] == every[3:7]
    day_s = NOW_S // 60 * 60 - DAY_MS // 1000
    inside = [m["id"] for m in messages_of(fields, model="a/b") if m["time"] >= iso(day_s * 1000)]
    page = await body(admin, "messages", model_id="a/b", start_date=day_s)
    assert [one["id"] for one in page] == inside
    assert 0 < len(inside) < len(every)


async def test_a_message_says_what_is_known(redis_url: str, admin: httpx.AsyncClient) -> None:
    at = {"source": "s", "time": iso(NOW_MS - 1500), "kind": "llm", "tenant": "acme"}
    known = {"chat_id": "c1", "user_id": "u", "model": "m", "error": "Timeout", "output_tokens": 7}
    await write(redis_url, [at | known | {"id": "e1"}, at | {"id": "e2", "chat_id": "c1"}])
    found = {one["id"]: one for one in await body(admin, "messages", chat_id="c1")}
    nothing = dict.fromkeys(
        ("parent_id", "content", "output", "files", "sources", "embeds", "meta", "status_history")
    )
    at_s = (NOW_MS - 1500) // 1000
    common = {"chat_id": "c1", "role": "assistant", "done": True, **nothing}
    common |= {"created_at": at_s, "updated_at": at_s}
    usage = {"input_tokens": 0, "output_tokens": 7, "total_tokens": 7}
    assert found == {
        "e1": common
        | {"id": "e1", "user_id": "u", "model_id": "m", "error": "Timeout", "usage": usage},
        "e2": common
        | {"id": "e2", "user_id": None, "model_id": None, "error": None, "usage": None},
    }
    assert all(len(one) == 18 for one in found.values())


# -- chats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_previews", [False, True])
async def test_the_chats_of_a_model(
    redis_url: str, admin: httpx.AsyncClient, *, keeps_previews: bool
) -> None:
    fields = log()
    await write(redis_url, fields, keeps_previews=keeps_previews)
    for model, path in [("a/b", "a/b"), ("a/b", "a%2Fb"), ("gpt-4o", "gpt-4o"), ("x", "x")]:
        found = await body(admin, f"models/{path}/chats")
        ModelChats.model_validate(found)
        chats = chats_of(fields, model)
        assert found["total"] == len(chats)
        for one in found["chats"]:
            own = chats[one["chat_id"]]
            user = own[0].get("user_id") or own[0].get("user_email")
            preview = own[0].get("message_preview") if keeps_previews else None
            (title,) = (event["chat_title"] for event in own if event["kind"] == "chat")
            assert one["user_id"] == (user or None)
            assert one["user_name"] == {"ann": "Ann", "bob": "Bob"}.get(user or "")
            assert (one["first_message"] or "") == (preview or title)
            assert one["updated_at"] == ms_of(own[-1]) // 1000
        assert [one["chat_id"] for one in found["chats"]] == sorted(chats)


@pytest.mark.parametrize(
    ("order_by", "direction", "ids"),
    [
        ("updated_at", "desc", ["c00", "c01", "c02", "c03", "c04"]),
        ("updated_at", "asc", ["c10", "c09", "c08", "c07", "c06"]),
        ("nonsense", "sideways", ["c00", "c01", "c02", "c03", "c04"]),
        ("title", "asc", ["c02", "c06", "c10", "c01", "c05"]),
        ("title", "desc", ["c00", "c04", "c08", "c03", "c07"]),
        ("user_name", "asc", ["c02", "c03", "c06", "c07", "c10"]),
        ("user_name", "desc", ["c01", "c05", "c09", "c00", "c04"]),
    ],
)
async def test_chats_are_ordered_and_paged(
    redis_url: str, admin: httpx.AsyncClient, order_by: str, direction: str, ids: list[str]
) -> None:
    await write(redis_url, log())
    order = {"order_by": order_by, "direction": direction}
    found = await body(admin, "models/a/b/chats", **order, limit=5)
    assert [one["chat_id"] for one in found["chats"]] == ids
    rest = await body(admin, "models/a/b/chats", **order, skip=4, limit=100)
    assert rest["chats"][0] == found["chats"][4]
    assert (rest["total"], len(rest["chats"])) == (11, 7)


async def test_a_range_has_the_chats_with_a_message_of_the_model_in_it(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    fields = log()
    await write(redis_url, fields)
    for model in ("a/b", "gpt-4o"):
        for low, high in [(12, 6), (5, None), (None, 30), (3, 4), (20, 19), (35, 34.9)]:
            start_ms = 0 if low is None else ceil_to(NOW_MS - int(low * HOUR_MS), 60_000)
            end_ms = (
                NOW_MS + DAY_MS if high is None else ceil_to(NOW_MS - int(high * HOUR_MS), 60_000)
            )
            inside = {
                one["chat_id"]
                for one in messages_of(fields, model=model)
                if "chat_id" in one and start_ms <= ms_of(one) < end_ms
            }
            params = {"start_date": start_ms // 1000, "end_date": end_ms // 1000}
            found = await body(admin, f"models/{model}/chats", **params)
            assert {one["chat_id"] for one in found["chats"]} == inside, (model, low, high)
            assert found["total"] == len(inside)


async def test_a_chat_that_rested_is_not_in_the_range_between(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    """Used ten and two days ago, at one time of the day. Other models and titles are no use."""
    asked = {"source": "s", "tenant": "acme", "chat_id": "c", "kind": "llm"}
    at_ms = {days: NOW_MS - days * DAY_MS for days in (10, 5, 2)}
    fields = [
        asked | {"id": f"m{days}", "model": "m" if days != 5 else "n", "time": iso(at_ms[days])}
        for days in at_ms
    ]
    fields.append(asked | {"id": "t", "kind": "chat", "chat_title": "T", "time": iso(at_ms[5])})
    await write(redis_url, fields)
    for days, before_h, after_h, total in [
        (10, 1, 1, 1), (10, 3, -1, 0), (10, -1, 3, 0), (5, 1, 1, 0), (2, 24, 1, 1), (2, -1, 24, 0),
    ]:  # fmt: skip
        start_s, end_s = ((at_ms[days] + hours * HOUR_MS) // 1000 for hours in (-before_h, after_h))
        found = await body(admin, "models/m/chats", start_date=start_s, end_date=end_s)
        assert found["total"] == total, (days, before_h, after_h)


async def test_a_chat_without_days_is_used_from_its_first_event_to_its_last(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    """As versions before stored it."""
    await write(redis_url, [])
    record = pack_chat(Chat("old", NOW_MS - 3 * DAY_MS, NOW_MS - DAY_MS, models=("m",)))
    async with opened(redis_url) as store:
        await store.ask("HSET", records_key("acme"), "old", record)
        await store.ask("ZADD", updates_key("acme"), NOW_MS - DAY_MS, "old")
        await store.ask("SADD", model_key("acme", "m"), "old")
    for days, total in ((4, 0), (2, 1), (1, 0)):
        end_s = (NOW_MS - days * DAY_MS) // 1000 + 7200
        found = await body(admin, "models/m/chats", start_date=end_s - 3600, end_date=end_s)
        assert found["total"] == total, days


async def test_a_long_title_is_cut_and_any_name_of_a_model_is_found(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    title = "é" * 256
    asked = {"source": "s", "tenant": "acme", "time": iso(NOW_MS), "chat_id": "c"}
    spoken = asked | {"id": "1", "kind": "llm", "model": "line\nbreak"}
    await write(redis_url, [spoken, asked | {"id": "2", "kind": "chat", "chat_title": title}])
    found = await body(admin, "models/line%0Abreak/chats")
    assert [one["first_message"] for one in found["chats"]] == [title[:200]]


async def test_the_title_of_the_stream_stands_above_that_of_events(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    await write(redis_url, log())
    async with opened(redis_url) as store:
        said: list[str | int] = ["c00", ON_PURPOSE + NOW_MS, "Renamed", 100]
        await store.call(function_name("chat"), LIBRARY, [chats_key("acme")], said)
    found = await body(admin, "models/a/b/chats", limit=1)
    assert found["chats"][0]["first_message"] == "Renamed"


@pytest.mark.parametrize("name", ["limit", "skip"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "Input should be greater than or equal to 0"),
        ("9999999999", "Input should be less than or equal to {most}"),
        ("x", "Input should be a valid integer, unable to parse string as an integer"),
    ],
)
async def test_pages_are_bounded(
    redis_url: str, admin: httpx.AsyncClient, name: str, value: str, message: str
) -> None:
    await write(redis_url, log())
    most = {"limit": 100, "skip": 10**9}[name]
    for path in ("messages", "models/a/b/chats"):
        response = await admin.get(f"{ROOT}/{path}", params={name: value})
        assert response.status_code == 422
        (detail,) = response.json()["detail"]
        assert (detail["loc"], detail["input"]) == (["query", name], value)
        assert detail["msg"] == message.format(most=most)


async def test_lists_are_cut_where_the_contract_says(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    """50 messages and chats by default, 100 at most, and the ten tags of most chats."""
    at = {"source": "s", "tenant": "acme", "time": iso(NOW_MS - HOUR_MS)}
    asked = {"kind": "llm", "model": "m", "user_id": "ann"}
    fields: list[Fields] = []
    for n in range(101):
        chat = at | {"chat_id": f"c{n}"}
        fields.append(chat | asked | {"id": f"m{n}"})
        tags = [f"t{tag:02}" for tag in range(12) if n >= 2 * tag]
        fields.append(chat | {"id": f"t{n}", "kind": "chat", "tags": tags})
    await write(redis_url, fields)
    assert len(await body(admin, "messages", model_id="m")) == 50
    assert len(await body(admin, "messages", model_id="m", limit=100)) == 100
    for params, shown in (({}, 50), ({"limit": 100}, 100)):
        found = await body(admin, "models/m/chats", **params)
        assert (len(found["chats"]), found["total"]) == (shown, 101)
    overview = await body(admin, "models/m/overview")
    assert overview["tags"] == [{"tag": f"t{n:02}", "count": 101 - 2 * n} for n in range(10)]


# -- overview --------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [0, -3, 1, 2, 30])
async def test_the_overview_of_a_model(redis_url: str, admin: httpx.AsyncClient, days: int) -> None:
    fields = log()
    await write(redis_url, fields)
    found = await body(admin, "models/a%2Fb/overview", days=days)
    ModelOverview.model_validate(found)
    won, lost = Counter[str](), Counter[str]()
    for one in fields:
        if one["kind"] == "feedback" and one["tenant"] == "acme":
            (won if one["rating"] == 1 else lost)[one["time"][:10]] += 1
    first_ms = NOW_MS - days * DAY_MS
    if days <= 0:
        first_ms = NOW_MS - 11 * 5 * HOUR_MS
    every = [iso(at)[:10] for at in range(first_ms // DAY_MS * DAY_MS, NOW_MS + 1, DAY_MS)]
    assert found["history"] == [{"date": day, "won": won[day], "lost": lost[day]} for day in every]
    assert len(found["history"]) == days + 1 or days <= 0
    assert found["tags"] == [
        {"tag": "all", "count": 11},
        {"tag": "t0", "count": 4},
        {"tag": "t1", "count": 4},
        {"tag": "t2", "count": 3},
    ]


async def test_the_overview_of_nothing(redis_url: str, admin: httpx.AsyncClient) -> None:
    await write(redis_url, log())
    assert await body(admin, "models/x/overview", days=0) == {"history": [], "tags": []}
    found = await body(admin, "models/x/overview")
    assert len(found["history"]) == 31
    assert not any(day["won"] or day["lost"] for day in found["history"])
    response = await admin.get(f"{ROOT}/models/x/overview", params={"days": "1831"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["msg"] == "Input should be less than or equal to 1830"
