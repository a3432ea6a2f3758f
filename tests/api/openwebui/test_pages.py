"""`/api/v1/analytics` as schemas/contracts/openwebui.md has it, over a real Valkey."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from api.store import directory
from api.store.reader import Store
from deploy.local.api_keys import create_key
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.responses.openwebui import Daily, Models, Summary, Tokens, Users
from schemas.store.directory import GroupUpdate, group_text
from tests.api.conftest import Clock, client_of, revoke
from tests.api.counters import NOW_MS, Event, pack
from tests.oracles.openwebui_oracle import ANSWERS, Asked, messages

ROOT = "/api/v1/analytics"
GOLDEN = Path(__file__).parent / "golden_openwebui.json"
NOW_S = NOW_MS // 1000
DAY_S = DAY_MS // 1000
MODELS: dict[str, type[BaseModel]] = {
    "summary": Summary,
    "models": Models,
    "users": Users,
    "tokens": Tokens,
    "daily": Daily,
}
NOT_AUTHENTICATED = '{"detail":"Not authenticated"}'
UNKNOWN_KEY = '{"detail":"Your session has expired or the token is invalid. Please sign in again."}'
FORBIDDEN = (
    '{"detail":"You do not have permission to access this resource. Please contact your'
    ' administrator for assistance."}'
)

TOO_OLD = (
    "Before 2025-01-05T00:00:00Z only days in UTC are kept: ask for a later start_date, or leave tz"
    " out"
)

MONTH = [
    Event(
        at_ms=NOW_MS - 1 - n * 7_777_777,
        provider=["anthropic", "openai", ""][n % 3],
        model=["claude-sonnet-4", "gpt-4o", "", "vendor/o3"][n % 4],
        user=["ann", "bob", "", "cy@example.com", "dan"][n % 5],
        kind="stt" if n % 11 == 0 else "llm",
        tenant="other" if n % 13 == 0 else "acme",
        input_tokens=0 if n % 4 == 3 else n * 17,
        output_tokens=0 if n % 4 == 3 else n,
        cache_read_tokens=n % 5 * 3,
        cost_nano_usd=None if n % 4 == 1 else n * 1_234_567,
        chat="" if n % 3 == 0 else f"chat-{n % 17}",
    )
    for n in range(330)
]


@pytest.fixture
async def admin(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """Of the tenant acme, which has the group `team`: ann, dan, and one who never did anything."""
    key = await create_key(redis_url, name="admin", tenant="acme", role="admin")
    await say_team(redis_url, "ann", "dan", "eve")
    async with client_of(redis_url, clock, key) as client:
        yield client


async def say_team(redis_url: str, *members: str) -> None:
    store = Store(redis_url, "")
    try:
        said = GroupUpdate(
            "team", NOW_MS, NOW_MS, is_new=True, text=group_text("Team", ""), members=members
        )
        await directory.say_group(store, "acme", said)
        await directory.name_user(store, "acme", "ann", NOW_MS, email="ann@example.com", name="Ann")
        await directory.name_user(store, "acme", "bob", NOW_MS, email="bob@example.com", name="Bob")
        await directory.forget_user(store, "acme", "bob", NOW_MS + 1)
    finally:
        await store.close()


async def body(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    response = await client.get(f"{ROOT}/{path}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def nameless(found: dict[str, Any]) -> dict[str, Any]:
    """Of users without what the directory knows of them, as the oracle has them."""
    if "users" not in found:
        return found
    return {"users": [{**user, "name": None, "email": None} for user in found["users"]]}


# -- 200 -------------------------------------------------------------------------------------------


async def test_the_answers_are_frozen(redis_url: str, admin: httpx.AsyncClient) -> None:
    """A change of this file is a new version of the endpoints."""
    pack(MONTH, history_from_ms=NOW_MS - 30 * DAY_MS).write(redis_url)
    range_s = {"start_date": NOW_S - 3 * DAY_S, "end_date": NOW_S}
    found = {
        "summary": await body(admin, "summary", **range_s),
        "models": await body(admin, "models", **range_s, group_id="team"),
        "users": await body(admin, "users", **range_s),
        "tokens": await body(admin, "tokens", **range_s),
        "daily": await body(admin, "daily", **range_s, compare=True, metric="tokens"),
    }
    assert json.dumps(found, indent=1, ensure_ascii=False) + "\n" == GOLDEN.read_text()


async def test_the_headers_say_what_is_covered(redis_url: str, admin: httpx.AsyncClient) -> None:
    pack(MONTH, history_from_ms=NOW_MS - 30 * DAY_MS).write(redis_url)
    range_s = {"start_date": 1_769_904_000, "end_date": 1_770_508_799}
    inside = messages(MONTH, Asked(), (1_769_904_000_000, 1_770_508_800_000))
    free = [one for one in inside if one.cost_nano_usd is None]
    listed = {"users": "user", "tokens": "model", "daily": "model"}
    for path in ANSWERS:
        response = await admin.get(f"{ROOT}/{path}", params=range_s)
        headers = {k: v for k, v in response.headers.items() if k.startswith("odometer")}
        unpriced = headers.pop("odometer-calls-without-cost", None)
        dimension = listed.get(path)
        count = sum(bool(getattr(one, dimension)) for one in free) if dimension else None
        assert unpriced == (None if count is None else str(count)), path
        assert headers == {
            "odometer-complete-through": "2026-02-08T12:02:02.456Z",
            "odometer-range-from": "2026-02-01T00:00:00Z",
            "odometer-range-to": "2026-02-08T00:00:00Z",
            "odometer-history-from": "2026-01-09T12:02:03.456Z",
        }
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "asked",
    [
        Asked(),
        Asked(0, 0),
        Asked(NOW_S - 7 * DAY_S),
        Asked(None, NOW_S - 7 * DAY_S),
        Asked(NOW_S - 3 * DAY_S, NOW_S, granularity="hourly"),
        Asked(NOW_S - DAY_S, NOW_S, granularity="10m", metric="tokens", compare=True),
        Asked(NOW_S - 6 * DAY_S, NOW_S - 5 * DAY_S, granularity="10m"),
        Asked(NOW_S - 9 * DAY_S, NOW_S, granularity="3h", zone="Asia/Kathmandu"),
        Asked(NOW_S - 9 * DAY_S, NOW_S, granularity="6h", compare=True),
        Asked(NOW_S - 9 * DAY_S, NOW_S, zone="America/New_York", compare=True),
        Asked(NOW_S - 86_200, NOW_S + 43_200, granularity="hourly"),
        Asked(NOW_S - 100 * DAY_S, NOW_S - 100 * DAY_S + 9_000, granularity="hourly"),
        Asked(NOW_MS - DAY_MS, NOW_MS, compare=True),
        Asked(NOW_S - DAY_S, NOW_MS),
        Asked(NOW_S - 7_000, NOW_S - 1_000, granularity="10m", compare=True),
        Asked(NOW_S - DAY_S, NOW_S, granularity="10m", zone="Asia/Kathmandu", compare=True),
        Asked(zone="Pacific/Chatham"),
        Asked(NOW_S - 30 * DAY_S, NOW_S, metric="tokens", limit=2),
        Asked(members=frozenset({"ann", "dan", "eve"}), metric="tokens", limit=0),
        Asked(NOW_S - 9 * DAY_S, NOW_S, members=frozenset({"ann", "dan", "eve"}), compare=True),
        Asked(NOW_S, NOW_S - DAY_S, compare=True),
        Asked(NOW_S, NOW_S),
        Asked(-5, 10**30),
        Asked(tenant="other"),
        Asked(tenant="nobody", start_s=NOW_S - DAY_S, end_s=NOW_S),
    ],
)
async def test_the_answers_are_the_oracles(redis_url: str, clock: Clock, asked: Asked) -> None:
    pack(MONTH).write(redis_url)
    await say_team(redis_url, "ann", "dan", "eve")
    key = await create_key(redis_url, name="admin", tenant=asked.tenant, role="admin")
    async with client_of(redis_url, clock, key) as client:
        for path, answer in ANSWERS.items():
            found = await body(client, path, **asked.params)
            assert nameless(found) == answer(MONTH, asked), path
            MODELS[path].model_validate(found)


async def test_users_have_the_names_that_are_known_now(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    """A deleted user keeps its row."""
    pack(MONTH).write(redis_url)
    found = await body(admin, "users")
    assert {user["user_id"]: (user["name"], user["email"]) for user in found["users"]} == {
        "ann": ("Ann", "ann@example.com"),
        "bob": (None, None),
        "dan": (None, None),
        "cy@example.com": (None, None),
    }


async def test_equals_stand_in_the_order_of_their_ids(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    log = [Event(NOW_MS, model=name, user=name) for name in ("b", "é", "B", "a/b", "a")]
    pack(log).write(redis_url)
    users = await body(admin, "users")
    models = await body(admin, "tokens")
    assert [one["user_id"] for one in users["users"]] == ["B", "a", "a/b", "b", "é"]
    assert [one["model_id"] for one in models["models"]] == ["B", "a", "a/b", "b", "é"]


async def test_a_group_is_its_members_of_now(redis_url: str, admin: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    for group_id, names in [("team", {"ann", "dan"}), ("unknown", set())]:
        found = await body(admin, "users", group_id=group_id)
        assert {one["user_id"] for one in found["users"]} == names
        assert (await body(admin, "tokens", group_id=group_id))["models"] or not names
    assert await body(admin, "users", group_id="") == await body(admin, "users")


async def test_gaps_are_filled_between_two_bounds_only(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - 2 * DAY_MS)]).write(redis_url)
    start = NOW_S - 3 * DAY_S
    filled = await body(admin, "daily", start_date=start, end_date=NOW_S)
    assert [one["date"][-2:] for one in filled["data"]] == ["05", "06", "07", "08"]
    assert [one["models"] for one in filled["data"]] == [{}, {"gpt-4o": 1}, {}, {}]
    open_ended = await body(admin, "daily", start_date=start)
    (only,) = open_ended["data"]
    assert (only["date"], only["models"]) == ("2026-02-06", {"gpt-4o": 1})


async def test_the_axis_of_today_goes_on_to_tonight(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    day_s = NOW_S // DAY_S * DAY_S
    today = {"start_date": day_s, "end_date": day_s + DAY_S - 1, "granularity": "hourly"}
    found = await body(admin, "daily", **today)
    assert [one["date"][-5:] for one in found["data"]] == [f"{n:02}:00" for n in range(24)]


async def test_a_comparison_moves_by_local_days_and_within_a_day_by_its_length(
    redis_url: str, clock: Clock
) -> None:
    """Berlin's clock went back on 2025-10-26. There is an event in each hour of UTC."""
    clock.now_ms = 1_761_955_200_000  # 2025-11-01T00:00Z
    log = [Event(clock.now_ms - n * HOUR_MS) for n in range(1, 24 * 20)]
    pack(log, now_ms=clock.now_ms).write(redis_url)
    key = await create_key(redis_url, name="admin", tenant="acme", role="admin")
    async with client_of(redis_url, clock, key) as client:
        week = {"start_date": 1_761_429_600, "end_date": 1_762_037_999, "tz": "Europe/Berlin"}
        found = await body(client, "daily", compare=True, **week)
        hours = {"start_date": 1_761_904_800, "end_date": 1_761_915_599, "granularity": "hourly"}
        part = await body(client, "daily", compare=True, **hours)
    counts = [[one["models"].get("gpt-4o", 0) for one in found[name]] for name in found]
    assert counts == [[25, 24, 24, 24, 24, 24, 1], [24] * 7]
    assert [one["date"] for one in found["previous"]] == [f"2025-10-{n}" for n in range(19, 26)]
    assert [one["date"][-5:] for one in part["data"]] == ["10:00", "11:00", "12:00"]
    assert [one["date"][-5:] for one in part["previous"]] == ["07:00", "08:00", "09:00"]


@pytest.mark.parametrize("group", [{}, {"group_id": "team"}])
async def test_all_pages_of_one_range_agree(
    redis_url: str, admin: httpx.AsyncClient, group: dict[str, str]
) -> None:
    """The range begins and ends between quarters of an hour."""
    log = [Event(NOW_MS - n * 20_000, chat=f"c{n % 7}") for n in range(600)]
    pack(log).write(redis_url)
    range_s = {"start_date": NOW_S - 9_420, "end_date": NOW_S - 1_860} | group
    found = {path: await body(admin, path, **range_s) for path in ANSWERS}
    counts = {
        found["summary"]["total_messages"],
        sum(one["count"] for one in found["models"]["models"]),
        sum(one["count"] for one in found["users"]["users"]),
        sum(one["message_count"] for one in found["tokens"]["models"]),
        sum(sum(one["models"].values()) for one in found["daily"]["data"]),
    }
    assert counts == {378}


@pytest.mark.parametrize(
    ("days", "start", "end", "messages"),
    [
        (100, "2025-10-31T03:00:00Z", "2025-10-31T06:00:00Z", 0),
        (500, "2024-09-26T00:00:00Z", "2024-09-27T00:00:00Z", 6),
    ],
)
async def test_hours_of_long_ago_are_those_of_their_day(
    redis_url: str, admin: httpx.AsyncClient, days: int, start: str, end: str, messages: int
) -> None:
    """As far back as only days are kept."""
    day_s = (NOW_S // DAY_S - days) * DAY_S
    pack([Event((day_s + n * 60) * 1000) for n in range(6)]).write(redis_url)
    range_s = {"start_date": day_s + 3 * 3600, "end_date": day_s + 6 * 3600}
    for path in ANSWERS:
        response = await admin.get(f"{ROOT}/{path}", params=range_s)
        assert response.headers["odometer-range-from"] == start
        assert response.headers["odometer-range-to"] == end
    assert (await body(admin, "summary", **range_s))["total_messages"] == messages


async def test_hours_that_a_rebuild_could_not_copy_are_those_of_their_day(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    day_s = (NOW_S // DAY_S - 100) * DAY_S
    from_ms = (NOW_S // DAY_S - 91) * DAY_MS
    log = [Event((day_s + n * 60) * 1000) for n in range(6)]
    pack(log, hours_from_ms=from_ms).write(redis_url)
    range_s = {"start_date": day_s + 3 * 3600, "end_date": day_s + 6 * 3600}
    for path in ANSWERS:
        response = await admin.get(f"{ROOT}/{path}", params=range_s)
        assert response.headers["odometer-range-from"] == "2025-10-31T00:00:00Z"
        assert response.headers["odometer-range-to"] == "2025-11-01T00:00:00Z"
    assert (await body(admin, "summary", **range_s))["total_messages"] == 6
    response = await admin.get(f"{ROOT}/daily", params=range_s | {"tz": "Asia/Tokyo"})
    assert response.status_code == 400
    assert "only days in UTC are kept" in response.text


async def test_bounds_in_milliseconds_are_compared_with_seconds(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    """As at its own server: only the axis takes them as milliseconds."""
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    both = {"start_date": NOW_MS - 2 * DAY_MS, "end_date": NOW_MS}
    assert (await body(admin, "summary", **both))["total_messages"] == 0
    assert (await body(admin, "summary", end_date=NOW_MS))["total_messages"] == 1
    found = await body(admin, "daily", **both)
    assert [(one["date"], one["models"]) for one in found["data"]] == [
        (f"2026-02-0{n}", {}) for n in (6, 7, 8)
    ]


async def test_models_of_many_users_are_left_out(redis_url: str, admin: httpx.AsyncClient) -> None:
    pack([Event(NOW_MS, user=f"u{n:03}", cost_nano_usd=10**9) for n in range(101)]).write(redis_url)
    for limit, has_models in ((100, True), (101, False)):
        found = await body(admin, "users", limit=limit)
        assert {("models" in user, user["cost"]) for user in found["users"]} == {(has_models, 1.0)}


async def test_lists_are_cut_where_the_contract_says(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    """50 users by default; models and tokens without a limit. An unknown parameter means nothing."""
    pack([Event(NOW_MS, user=f"u{n}", model=f"m{n}") for n in range(60)]).write(redis_url)
    assert len((await body(admin, "users"))["users"]) == 50
    assert len((await body(admin, "users", limit=60, page=2))["users"]) == 60
    for path in ("models", "tokens"):
        assert len((await body(admin, path, limit=5))["models"]) == 60


async def test_a_repeated_hour_is_one_entry(redis_url: str) -> None:
    """Berlin's clock went back at 2025-10-26T01:00Z; the range is that day there."""
    clock_ms = 1_761_440_400_000
    clock_back = [Event(clock_ms + n * HOUR_MS - 30 * MINUTE_MS) for n in (0, 1, 2)]
    pack(clock_back, now_ms=clock_ms + DAY_MS).write(redis_url)
    key = await create_key(redis_url, name="admin", tenant="acme", role="admin")
    async with client_of(redis_url, lambda: clock_ms + DAY_MS, key) as client:
        day = {"start_date": 1_761_429_600, "end_date": 1_761_519_599, "tz": "Europe/Berlin"}
        found = await body(client, "daily", granularity="hourly", **day)
    assert [one["date"] for one in found["data"]] == [f"2025-10-26 {n:02}:00" for n in range(24)]
    counts = [one["models"].get("gpt-4o", 0) for one in found["data"]]
    assert counts[:5] == [0, 0, 2, 1, 0]


@pytest.mark.parametrize("word", ["", "weekly", "DAILY", "0", "\x00"])
async def test_other_words_stand_for_the_default(
    redis_url: str, admin: httpx.AsyncClient, word: str
) -> None:
    pack(MONTH).write(redis_url)
    assert await body(admin, "daily", granularity=word, metric=word) == await body(admin, "daily")
    assert await body(admin, "users", metric=word) == await body(admin, "users")


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "found"),
    [
        *(
            (
                path,
                {name: text},
                [
                    {
                        "type": "int_parsing",
                        "loc": ["query", name],
                        "msg": "Input should be a valid integer, unable to parse string as an integer",
                        "input": text,
                    }
                ],
            )
            for path, name in [("users", "start_date"), ("tokens", "end_date"), ("users", "limit")]
            for text in ("", "abc", "1.5", "0x10", "é")
        ),
        (
            "users",
            {"limit": "10001"},
            [
                {
                    "type": "less_than_equal",
                    "loc": ["query", "limit"],
                    "msg": "Input should be less than or equal to 10000",
                    "input": "10001",
                    "ctx": {"le": 10000},
                }
            ],
        ),
        (
            "daily",
            {"compare": "perhaps", "tz": "Berlin"},
            [
                {
                    "type": "bool_parsing",
                    "loc": ["query", "compare"],
                    "msg": "Input should be a valid boolean, unable to interpret input",
                    "input": "perhaps",
                },
                {
                    "type": "timezone",
                    "loc": ["query", "tz"],
                    "msg": "Input should be an IANA time zone such as Europe/Berlin",
                    "input": "Berlin",
                },
            ],
        ),
    ],
)
async def test_a_bad_parameter_is_named(
    redis_url: str, admin: httpx.AsyncClient, path: str, params: dict[str, str], found: list[Any]
) -> None:
    pack(MONTH).write(redis_url)
    response = await admin.get(f"{ROOT}/{path}", params=params)
    assert (response.status_code, response.json()) == (422, {"detail": found})


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"compare": "true"}, "Comparison requires a bounded date range"),
        ({"compare": "1", "start_date": "5"}, "Comparison requires a bounded date range"),
        (
            {"tz": "Asia/Tokyo", "start_date": "1700000000"},
            TOO_OLD,
        ),
        (
            {"start_date": NOW_S - 400 * DAY_S, "end_date": NOW_S, "granularity": "10m"},
            "The range has more than 50000 buckets of 10m: ask for a shorter one, or longer buckets",
        ),
    ],
)
async def test_a_range_that_cannot_be_cut(
    redis_url: str, admin: httpx.AsyncClient, params: dict[str, str], text: str
) -> None:
    pack(MONTH).write(redis_url)
    response = await admin.get(f"{ROOT}/daily", params=params)
    assert (response.status_code, response.json()) == (400, {"detail": text})


@pytest.mark.parametrize("path", [*ANSWERS])
async def test_who_asks_is_looked_at_before_what(redis_url: str, clock: Clock, path: str) -> None:
    pack(MONTH).write(redis_url)
    past = await create_key(redis_url, name="k", tenant="acme", role="admin", expires_ms=NOW_MS - 1)
    gone = await create_key(redis_url, name="k", tenant="acme", role="admin")
    await revoke(redis_url, gone)
    lower = [
        await create_key(redis_url, name="k", tenant="acme", role=role)
        for role in ("viewer", "member")
    ]
    cases = [({}, NOT_AUTHENTICATED), ({"authorization": "Basic YTpi"}, NOT_AUTHENTICATED)]
    cases += [({"x-api-key": key}, UNKNOWN_KEY) for key in ("sk-unknown", past, gone)]
    cases += [({"authorization": f"Bearer {key}"}, FORBIDDEN) for key in lower]
    async with client_of(redis_url, clock) as client:
        for headers, text in cases:
            for params in ({}, {"start_date": "abc"}):
                found = await client.get(f"{ROOT}/{path}", params=params, headers=headers)
                assert (found.status_code, found.text) == (401, text)


async def test_unknown_paths_and_methods(redis_url: str, admin: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    for path in (ROOT, f"{ROOT}/", f"{ROOT}/nothing", f"{ROOT}/users/x"):
        found = await admin.get(path)
        assert (found.status_code, found.text) == (404, '{"detail":"Not Found"}'), path
    found = await admin.post(f"{ROOT}/users")
    assert (found.status_code, found.text) == (405, '{"detail":"Method Not Allowed"}')


async def test_missing_counters_are_no_zeros(admin: httpx.AsyncClient) -> None:
    found = await admin.get(f"{ROOT}/users")
    assert found.status_code == 503
    assert found.headers["retry-after"] == "1"
    assert found.json()["detail"].startswith("No counters to answer from: Redis holds no counters")
