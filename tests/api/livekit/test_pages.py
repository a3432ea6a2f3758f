"""`/admin/analytics/...` as schemas/contracts/livekit.md has it, over a real Valkey."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from api.auth.keys import opened
from api.livekit import endpoints as livekit_endpoints
from api.livekit.bodies import data_of, rounded
from api.livekit.errors import ENCODER
from api.livekit.questions import ENDPOINTS
from api.store.directory import name_user
from deploy.local.api_keys import create_key
from deploy.sample.traffic import history
from schemas.limits import DAY_MS
from schemas.units import iso
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Counters, Event, pack, parts_of, read_pure
from tests.api.query.test_query import moments
from tests.oracles.livekit_logs import logs, month, questions
from tests.oracles.livekit_oracle import (
    FILTERS,
    PATHS,
    Asked,
    Fields,
    addresses_of,
    answer,
    packed,
)

ROOT = "/admin/analytics/"
GOLDEN = Path(__file__).parent / "golden"
MONTH = month()
BY_PATH = {endpoint.path[1:]: endpoint for endpoint in ENDPOINTS}


@pytest.fixture
async def client(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    key = await create_key(redis_url, name="admin", tenant="acme", role="super-admin")
    async with client_of(redis_url, clock, key) as client:
        yield client


async def write(redis_url: str, log: Sequence[Fields]) -> None:
    """Counters, and the directory that its events make."""
    pack(packed(log)).write(redis_url)
    async with opened(redis_url) as store:
        for tenant in ("acme", "other"):
            for user, address in addresses_of(log, tenant).items():
                await name_user(store, tenant, user, NOW_MS, email=address, name=None)


def read(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


async def data(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    response = await client.get(ROOT + path, params=params)
    assert response.status_code == 200, response.text
    found = read(response.text)
    assert found["success"] is True
    assert found["message"] == BY_PATH[path].message
    assert list(found) == ["success", "message", "data"]
    return found["data"]


# -- 200 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_the_responses_are_frozen(
    redis_url: str, client: httpx.AsyncClient, path: str
) -> None:
    """A change of these files is a new version of the endpoint."""
    await write(redis_url, MONTH)
    params = {"start_date": "2026-01-20", "end_date": "2026-02-08T23:59:59Z"}
    response = await client.get(ROOT + path, params=params, headers={"accept-encoding": "identity"})
    assert response.status_code == 200
    golden = GOLDEN / f"{path.replace('/', '-')}.json"
    assert response.content + b"\n" == golden.read_bytes()
    BY_PATH[path].body.model_validate_json(response.content)
    asked = Asked(path, 1_768_867_200_000, 1_770_595_199_000)
    expected = answer(MONTH, asked)
    found = read(response.text)["data"]
    if path == "dashboard":  # the range is given back as it was sent, without an offset here
        assert found.pop("date_range") == {
            "start_date": "2026-01-20T00:00:00",
            "end_date": "2026-02-08T23:59:59+00:00",
        }
        del expected["date_range"]
    assert found == expected
    headers = dict(response.headers)
    by_key = headers.pop("vary").removeprefix("Accept-Encoding, ")  # which is not on short ones
    assert by_key == "authorization, x-api-key, x-odometer-tenant"
    assert headers == {
        "content-type": "application/json",
        "content-length": str(len(response.content)),
        "cache-control": "no-store",
        "odometer-complete-through": "2026-02-08T12:02:02.456Z",
        "odometer-range-from": "2026-01-20T00:00:00Z",
        "odometer-range-to": "2026-02-08T14:03:00Z",
    }


@pytest.mark.parametrize("path", PATHS)
async def test_the_range_is_thirty_days_before_now_even_if_an_end_is_given(
    redis_url: str, client: httpx.AsyncClient, path: str
) -> None:
    await write(redis_url, MONTH)
    month_ago_ms = NOW_MS - 30 * DAY_MS
    found = await data(client, path)
    expected = answer(MONTH, Asked(path, month_ago_ms, NOW_MS))
    if path == "dashboard":
        expected["date_range"] = {
            "start_date": "2026-01-09T12:02:03.456000+00:00",
            "end_date": "2026-02-08T12:02:03.456000+00:00",
        }
    assert found == expected
    end_ms = NOW_MS - 10 * DAY_MS
    response = await client.get(ROOT + path, params={"end_date": iso(end_ms)})
    assert response.headers["odometer-range-from"] == "2026-01-09T12:15:00Z"
    assert response.headers["odometer-range-to"] == "2026-01-29T12:15:00Z"


EMPTY_DATA: Mapping[str, Any] = {
    "calls/by-user": {"users": []},
    "calls/by-phone-number": {"phone_numbers": []},
    "calls/by-service": {"services": []},
    "tokens/by-user": {"users": []},
    "tokens/by-assistant": {"assistants": []},
    "tokens/by-model": {"models": []},
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_start_after_the_end_is_empty(
    redis_url: str, client: httpx.AsyncClient, path: str
) -> None:
    await write(redis_url, MONTH)
    found = await data(client, path, start_date="2026-02-01", end_date="2026-01-20")
    if path in EMPTY_DATA:
        assert found == EMPTY_DATA[path]
    else:
        dates = {"start_date": "2026-02-01T00:00:00", "end_date": "2026-01-20T00:00:00"}
        assert found.pop("date_range", dates) == dates
        assert set(found.values()) == {0}


@pytest.mark.parametrize(
    ("sent", "covered"),
    [
        ("2026-02-08T10:00:00Z", "2026-02-08T10:00:00Z"),
        ("2026-02-08T10:00:00%2B05:30", "2026-02-08T04:30:00Z"),
        ("2026-02-08T10:00:00-0530", "2026-02-08T15:30:00Z"),
        ("2026-02-08%2010:00:00", "2026-02-08T10:00:00Z"),  # naive is UTC
        ("2026-02-08+10:00:00", "2026-02-08T10:00:00Z"),  # a + is a space
        ("2026-02-08T10:00", "2026-02-08T10:00:00Z"),
        ("2026-02-08", "2026-02-08T00:00:00Z"),
        ("1770552120", "2026-02-08T12:02:00Z"),
        ("1770552120000", "2026-02-08T12:02:00Z"),
        ("1770552119.25", "2026-02-08T12:02:00Z"),
        ("2026-02-08T10:00:00.000001Z", "2026-02-08T10:01:00Z"),
        ("0001-01-01T00:00:00%2B14:00", "2021-02-05T00:00:00Z"),
        ("9999-12-31T23:59:59.999999-14:00", "2026-02-08T14:03:00Z"),
    ],
)
async def test_times_are_instants(
    redis_url: str, client: httpx.AsyncClient, sent: str, covered: str
) -> None:
    pack([]).write(redis_url)
    response = await client.get(f"{ROOT}tokens/summary?start_date={sent}&end_date={sent}")
    assert response.status_code == 200, response.text
    if "15:30" not in covered:  # that is ahead of now
        assert response.headers["odometer-range-from"] == covered
        assert response.headers["odometer-range-to"] == covered
    else:
        assert response.headers["odometer-range-from"] == "2026-02-08T14:03:00Z"


async def test_the_last_of_repeated_parameters_wins(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    await write(redis_url, MONTH)
    response = await client.get(
        f"{ROOT}tokens/by-assistant?start_date=nonsense&start_date=2026-01-20"
        "&user_email=nobody&user_email=alice@example.com"
    )
    asked = Asked("tokens/by-assistant", 1_768_867_200_000, NOW_MS, "alice@example.com")
    assert read(response.text)["data"] == answer(MONTH, asked)
    assert len(read(response.text)["data"]["assistants"]) > 1


@pytest.mark.parametrize("path", PATHS)
async def test_filters_take_what_is_shown_under_an_address(
    redis_url: str, client: httpx.AsyncClient, path: str
) -> None:
    """bob has two keys; u-9 has no address and is shown, and found, by its key."""
    await write(redis_url, MONTH)
    month_ago_ms = NOW_MS - 30 * DAY_MS
    for email in ("bob@example.com", "u-9", "u-2", "BOB@example.com", ""):
        for agent in ("", "tutor"):
            asked = Asked(path, month_ago_ms, NOW_MS, email, agent)
            found = await data(client, path, **asked.params)
            assert found == answer(MONTH, asked)


async def test_a_key_that_has_another_address_now_is_not_found_by_itself(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    usage = {"kind": "llm", "tenant": "acme", "time": iso(NOW_MS - DAY_MS), "input_tokens": 7}
    log = [usage | {"user_email": "old@example.com"}]
    pack(packed(log)).write(redis_url)
    assert (await data(client, "tokens/summary", user_email="old@example.com"))[
        "total_llm_tokens"
    ] == 7
    async with opened(redis_url) as store:
        await name_user(
            store, "acme", "old@example.com", NOW_MS, email="new@example.com", name=None
        )
    for email, tokens in (("old@example.com", 0), ("new@example.com", 7)):
        found = await data(client, "tokens/summary", user_email=email)
        assert found["total_llm_tokens"] == tokens
    users = (await data(client, "tokens/by-user"))["users"]
    assert [user["user_email"] for user in users] == ["new@example.com"]


async def test_ties_are_in_order_of_the_name(redis_url: str, client: httpx.AsyncClient) -> None:
    usage = {"kind": "llm", "tenant": "acme", "time": iso(NOW_MS - DAY_MS), "input_tokens": 5}
    names = ["b", "a", "é", "B", "z", "c"]
    log = [usage | {"agent_id": name} for name in names]
    log.append(usage | {"agent_id": "last", "input_tokens": 4, "output_tokens": 2})
    await write(redis_url, log)
    found = await data(client, "tokens/by-assistant")
    order = [row["assistant_id"] for row in found["assistants"]]
    assert order == ["last", "B", "a", "b", "c", "z", "é"]


async def test_who_used_something_is_listed_even_if_nothing_was_reported(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    failed = {"kind": "llm", "tenant": "acme", "time": iso(NOW_MS - DAY_MS), "agent_id": "a"}
    rung = failed | {"kind": "call", "agent_id": "b", "call_id": "c", "duration_ms": 1000}
    chat = failed | {"kind": "chat", "agent_id": "d"}
    await write(redis_url, [failed, rung, chat])
    (row,) = (await data(client, "tokens/by-assistant"))["assistants"]
    assert row.pop("assistant_id") == "a"
    assert set(row.values()) == {0}


async def test_a_key_sees_its_own_tenant_only(redis_url: str, clock: Clock) -> None:
    await write(redis_url, MONTH)
    for tenant in ("acme", "other", "nobody"):
        key = await create_key(redis_url, name="k", tenant=tenant, role="super-admin")
        async with client_of(redis_url, clock, key) as client:
            for path in PATHS:
                asked = Asked(path, NOW_MS - 30 * DAY_MS, NOW_MS, tenant=tenant)
                found = await data(client, path, tenant="acme", **asked.params)
                assert found == answer(MONTH, asked)


async def test_head_is_get_without_its_body(redis_url: str, client: httpx.AsyncClient) -> None:
    pack([]).write(redis_url)
    response = await client.head(f"{ROOT}dashboard")
    assert response.status_code == 200
    assert response.headers["odometer-range-to"] == "2026-02-08T12:03:00Z"


async def test_answers_say_what_they_do_not_know(redis_url: str, client: httpx.AsyncClient) -> None:
    counters = pack([], complete_ms=(0, NOW_MS), refused=(0, 3), history_from_ms=NOW_MS)
    counters.write(redis_url)
    response = await client.get(f"{ROOT}tokens/by-assistant")
    assert response.headers["odometer-complete-through"] == "unknown"
    assert response.headers["odometer-refused"] == "1"
    assert response.headers["odometer-history-from"] == "2026-02-08T12:02:03.456Z"


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "of", "text"),
    [
        (4_900_300, 1000, "4900.3"),
        (945 * 60_000 + 18_000, 60_000, "945.3"),
        (945 * 60_000 + 18_000, 3_600_000, "15.76"),  # 15.755: to the even 6
        (575 * 60_000 + 27_000, 3_600_000, "9.59"),
        (5, 1000, "0"),  # 0.005: to the even 0
        (15, 1000, "0.02"),
        (25, 1000, "0.02"),
        (2_000_000, 1000, "2000"),
        (2**70, 1, str(2**70)),
        (2**63 - 1, 1000, "9223372036854775.81"),
        (1, 3, "0.33"),
        (2, 3, "0.67"),
    ],
)
def test_decimal_numbers_are_rounded_half_even(total: int, of: int, text: str) -> None:
    assert ENCODER.encode(rounded(total, of)).decode() == text


# -- laws ------------------------------------------------------------------------------------------


def pure(counters: Counters, log: Sequence[Fields], asked: Asked) -> Any:
    """`data` through the pure engine, as the wire has it."""
    endpoint = BY_PATH[asked.path]
    understood = livekit_endpoints.parse_query(QueryParams(asked.params), endpoint, asked.now_ms)
    addresses = addresses_of(log, asked.tenant)
    address = understood.wanted.get("user_email")
    users = None
    if address is not None:
        named = {key for key, known in addresses.items() if known == address}
        users = frozenset(named | ({address} - addresses.keys()))
    plans = livekit_endpoints.plans_for(endpoint, understood, users, asked.now_ms)
    answers = read_pure(counters, asked.tenant, plans)
    content = {
        "success": True,
        "message": endpoint.message,
        "data": data_of(endpoint, understood.bounds, answers, addresses),
    }
    text = ENCODER.encode(content)
    endpoint.body.model_validate_json(text)
    return read(text.decode())["data"]


@settings(max_examples=200, deadline=None)
@given(logs(), questions(), st.booleans())
def test_an_answer_is_what_scanning_every_event_says(
    log: list[Fields],
    asked: Asked,
    late: bool,  # noqa: FBT001  hypothesis' own
) -> None:
    assert pure(pack(packed(log, late=late)), log, asked) == answer(log, asked)


@settings(max_examples=40, deadline=None)
@given(logs(), questions())
def test_views_of_the_same_agree(log: list[Fields], asked: Asked) -> None:
    """Calls are as many by user, number and service; tokens by assistant, user and model."""
    counters = pack(packed(log))
    everybody = replace(asked, user_email="", assistant_id="")

    def rows(path: str) -> list[dict[str, Any]]:
        (section,) = pure(counters, log, replace(everybody, path=path)).values()
        found: list[dict[str, Any]] = section
        return found

    def total(path: str, name: str) -> Decimal:
        return Decimal(sum(row[name] for row in rows(path)))

    board = pure(counters, log, replace(everybody, path="dashboard"))
    for path in ("calls/by-user", "calls/by-phone-number", "calls/by-service"):
        assert total(path, "total_calls") == board["total_calls"]
    summary = pure(counters, log, replace(everybody, path="tokens/summary"))
    for path in ("tokens/by-assistant", "tokens/by-user", "tokens/by-model"):
        for name in ("total_llm_tokens", "total_tts_characters", "total_llm_output_text_tokens"):
            assert total(path, name) == summary[name]
    assert total("tokens/by-model", "total_records") == summary["total_records"]


@settings(max_examples=40, deadline=None)
@given(logs(), questions(), st.lists(moments(), max_size=3))
def test_adjacent_ranges_never_count_a_call_twice(
    log: list[Fields], asked: Asked, cuts: list[int]
) -> None:
    counters = pack(packed(log))
    for path, name in (("dashboard", "total_calls"), ("tokens/summary", "total_records")):
        whole = replace(asked, path=path)
        ranges = parts_of(asked.from_ms, asked.to_ms, cuts)
        parts = [replace(whole, from_ms=start_ms, to_ms=end_ms) for start_ms, end_ms in ranges]
        assert (
            sum(pure(counters, log, part)[name] for part in parts)
            == (pure(counters, log, whole)[name])
        )


def test_every_filter_of_the_page_is_offered() -> None:
    assert {path: tuple(BY_PATH[path].filters) for path in FILTERS} == FILTERS
    assert [path for path in PATHS if not BY_PATH[path].filters] == [
        path for path in PATHS if path not in FILTERS
    ]


@pytest.mark.parametrize("path", PATHS)
def test_the_sample_traffic_fills_every_field(path: str) -> None:
    week_ago_ms = NOW_MS - 7 * DAY_MS
    log = [event | {"tenant": "acme"} for event in history(1, week_ago_ms, NOW_MS, 500)]
    found = answer(log, Asked(path, week_ago_ms, NOW_MS))
    sections = [section for section in found.values() if isinstance(section, list)]
    rows = sections[0] if sections else [found]
    assert not [name for name in rows[0] if not any(row[name] for row in rows)]


def test_sums_beyond_64_bits_are_numbers() -> None:
    huge = {"input_tokens": 2**62, "output_tokens": 2**62, "events": 1}
    counters = pack([Event(NOW_MS - n * DAY_MS, others=huge) for n in range(1, 4)])
    asked = Asked("tokens/summary", NOW_MS - 5 * DAY_MS, NOW_MS)
    assert pure(counters, [], asked)["total_llm_tokens"] == 6 * 2**62
