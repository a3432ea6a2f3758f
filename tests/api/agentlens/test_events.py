"""`GET /api/events` and `GET /api/agents` as schemas/contracts/agentlens.md has them, over a real Valkey."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import redis
from agentlensai.models import Agent as TheirAgent
from agentlensai.models import EventQueryResult
from hypothesis import given
from hypothesis import strategies as st

from api.agentlens.events import LIMIT_MAX, EventsQuery, matching, parse_query
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.store.layout import FIRST_GENERATION
from schemas.store.recent_calls import Recent, pack_recent, recent_key, records_of
from schemas.units import iso
from tests.api.counters import NOW_MS, Event, pack

pytestmark = pytest.mark.servers

PATH = "/api/events"


def call(number: int = 0, **changes: Any) -> Recent:
    """A call `number` seconds ago, unless told otherwise."""
    fields: dict[str, Any] = {
        "id": f"e{number}",
        "source": "gateway",
        "at_ms": NOW_MS - number * SECOND_MS,
        "provider": "openai",
        "model": "gpt-4o",
        "agent": "support",
        "user": "ann",
        "call_id": "",
        "chat_id": "chat-1",
        "input_tokens": 1200,
        "output_tokens": 300,
        "cache_read_tokens": None,
        "cache_write_tokens": None,
        "reasoning_tokens": None,
        "cost_nano_usd": 4_500_000,
        "latency_ms": 850,
        "error": "",
    }
    return Recent(**{**fields, **changes})


def keep(redis_url: str, *calls: Recent, tenant: str = "acme") -> None:
    """With counters beside, as a commit writes both."""
    pack([]).write(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        key = recent_key(FIRST_GENERATION, tenant)
        for one in records_of(calls):
            client.zadd(key, {one.member(client.zcard(key)): one.at_ms})
        client.zadd(key, {"": -len(calls)})


async def got(client: httpx.AsyncClient, path: str = PATH, **params: Any) -> Any:
    response = await client.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def ids(client: httpx.AsyncClient, **params: Any) -> list[str]:
    return [event["id"] for event in (await got(client, **params))["events"]]


# -- events ----------------------------------------------------------------------------------------


async def test_the_body_is_frozen(redis_url: str, client: httpx.AsyncClient) -> None:
    keep(redis_url, call(0, cache_read_tokens=7, call_id="c"), call(1, error="rate_limited"))
    response = await client.get(PATH, params={"eventType": "llm_response", "limit": 1})
    assert response.json() == {
        "events": [
            {
                "id": "e0",
                "timestamp": "2026-02-08T12:02:03.456Z",
                "sessionId": "chat-1",
                "agentId": "support",
                "eventType": "llm_response",
                "severity": "info",
                "payload": {
                    "callId": "c",
                    "provider": "openai",
                    "model": "gpt-4o",
                    "completion": None,
                    "finishReason": "",
                    "usage": {
                        "inputTokens": 1200,
                        "outputTokens": 300,
                        "totalTokens": 1500,
                        "cacheReadTokens": 7,
                    },
                    "costUsd": 0.0045,
                    "latencyMs": 850,
                },
                "metadata": {"source": "gateway", "userId": "ann"},
                "prevHash": None,
                "hash": response.json()["events"][0]["hash"],
                "tenantId": "acme",
            }
        ],
        "total": 2,
        "hasMore": True,
    }
    assert response.headers["x-api-version"] == "v1"
    assert response.headers["odometer-complete-through"] == "2026-02-08T12:02:02.456Z"
    failed = (await got(client, severity="error"))["events"][0]
    assert (failed["severity"], failed["payload"]["finishReason"]) == ("error", "error")
    assert failed["payload"]["error"] == "rate_limited"
    one = await got(client, f"{PATH}/e0")
    assert one == response.json()["events"][0]


async def test_what_was_not_reported_is_zero(redis_url: str, client: httpx.AsyncClient) -> None:
    nothing = dict.fromkeys(("input_tokens", "output_tokens", "cost_nano_usd", "latency_ms"), None)
    keep(redis_url, call(0, chat_id="", user="", agent="", **nothing))
    (event,) = (await got(client))["events"]
    assert event["payload"]["usage"] == {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}
    assert (event["payload"]["costUsd"], event["payload"]["latencyMs"]) == (0, 0)
    assert (event["sessionId"], event["agentId"]) == ("", "")
    assert event["metadata"] == {"source": "gateway"}


async def test_their_client_reads_it(redis_url: str, client: httpx.AsyncClient) -> None:
    keep(redis_url, *(call(n) for n in range(3)))
    found = EventQueryResult.model_validate(await got(client, order="asc"))
    assert [event.id for event in found.events] == ["e2", "e1", "e0"]
    assert (found.total, found.has_more) == (3, False)


async def test_filters_pages_and_orders(redis_url: str, client: httpx.AsyncClient) -> None:
    keep(
        redis_url,
        *(
            call(n, agent=["support", "sales"][n % 2], chat_id=f"s{n % 3}", model=f"m{n % 4}")
            for n in range(12)
        ),
        call(12, error="timeout", chat_id="", call_id="call-1"),
    )
    assert await ids(client) == [f"e{n}" for n in range(13)]
    assert await ids(client, order="asc", limit=2) == ["e12", "e11"]
    assert await ids(client, order="sideways", limit=2, offset=3) == ["e3", "e4"]
    assert await ids(client, agentId="sales") == ["e1", "e3", "e5", "e7", "e9", "e11"]
    assert await ids(client, agentId="Sales") == []
    assert await ids(client, sessionId="s1", agentId="support") == ["e4", "e10"]
    assert await ids(client, sessionId="call-1") == ["e12"]
    assert await ids(client, severity="warn,error") == ["e12"]
    assert await ids(client, search="M3", limit=1) == ["e3"]
    assert await ids(client, eventType="tool_call") == []
    assert len(await ids(client, eventType="tool_call,llm_response")) == 13
    for nothing in ("eventType", "severity", "agentId", "sessionId", "search", "from", "to"):
        assert len(await ids(client, **{nothing: ""})) == 13
    last = await got(client, limit=5, offset=10)
    assert ([event["id"] for event in last["events"]], last["total"], last["hasMore"]) == (
        ["e10", "e11", "e12"],
        13,
        False,
    )
    from_ms, to_ms = NOW_MS - 5 * SECOND_MS, NOW_MS - 3 * SECOND_MS
    assert await ids(client, **{"from": iso(from_ms), "to": iso(to_ms)}) == ["e3", "e4", "e5"]
    shifted = iso(from_ms + HOUR_MS).replace("Z", "+01:00")
    assert len(await ids(client, **{"from": shifted})) == 6
    assert await ids(client, **{"from": iso(to_ms), "to": iso(from_ms)}) == []


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        ("", 50), ("0", 50), ("-3", 1), ("7", 7), ("7.9", 7), ("12abc", 12), ("abc", 50),
        ("999999", LIMIT_MAX), ("9" * 60, LIMIT_MAX),
    ],
)  # fmt: skip
def test_a_limit_is_read_as_their_server_reads_it(limit: str, shown: int) -> None:
    assert parse_query({"limit": limit}).limit == shown


async def test_the_first_of_repeated_parameters_counts(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    keep(redis_url, *(call(n) for n in range(5)))
    response = await client.get(f"{PATH}?limit=2&limit=4")
    assert len(response.json()["events"]) == 2


@pytest.mark.parametrize("name", ["from", "to"])
async def test_a_bound_that_is_no_time(
    redis_url: str, client: httpx.AsyncClient, name: str
) -> None:
    keep(redis_url)
    response = await client.get(PATH, params={name: "yesterday"})
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"Invalid {name}. Use an ISO 8601 time")


async def test_an_event_or_agent_that_is_not_there(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    keep(redis_url, call(0), tenant="other")
    for path, error in ((f"{PATH}/e0", "Event not found"), ("/api/agents/x/y", "Agent not found")):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (404, {"error": error, "status": 404})
    assert (await got(client))["total"] == 0
    assert (await got(client, "/api/agents")) == {"agents": []}


async def test_without_a_key(client: httpx.AsyncClient) -> None:
    for path in (PATH, f"{PATH}/x", "/api/agents", "/api/agents/x"):
        response = await client.get(path, headers={"authorization": ""})
        assert response.status_code == 401
        assert response.json()["error"] == "Authentication required"


CALLS = st.builds(
    lambda number, agent, error, chat: call(number, agent=agent, error=error, chat_id=chat),
    st.integers(0, 20),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "x"]),
    st.sampled_from(["", "s"]),
)


@given(st.lists(CALLS, max_size=8), st.sampled_from(["", "a"]), st.integers(0, 20))
def test_a_filter_keeps_what_it_names_and_the_order(
    calls: list[Recent], agent: str, seconds: int
) -> None:
    from_ms = NOW_MS - seconds * SECOND_MS
    wanted = EventsQuery(
        frozenset(), frozenset(("error",)), "", agent, "", from_ms, None, 1, 0, is_ascending=True
    )
    plainly = [
        one
        for one in calls
        if one.error and (not agent or one.agent == agent) and one.at_ms >= from_ms
    ]
    assert list(matching(calls, wanted)) == plainly


# -- agents ----------------------------------------------------------------------------------------


async def test_agents_are_those_that_the_counters_saw(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(
        [
            Event(NOW_MS - 20 * DAY_MS, agent="support"),
            Event(NOW_MS - 40 * MINUTE_MS, agent="support"),
            Event(NOW_MS - 5 * DAY_MS, agent="sales/eu", kind="tts"),
            Event(NOW_MS - 200 * DAY_MS, agent="retired"),
            Event(NOW_MS - HOUR_MS, agent=""),
            Event(NOW_MS - HOUR_MS, agent="theirs", tenant="other"),
        ]
    ).write(redis_url)
    found = await got(client, "/api/agents")
    assert found == {
        "agents": [
            {
                "id": "support",
                "name": "support",
                "firstSeenAt": "2026-01-19T00:00:00Z",
                "lastSeenAt": "2026-02-08T11:15:00Z",
                "sessionCount": 0,
                "tenantId": "acme",
                "errorRate": 0,
            },
            {
                "id": "sales/eu",
                "name": "sales/eu",
                "firstSeenAt": "2026-02-03T00:00:00Z",
                "lastSeenAt": "2026-02-03T00:00:00Z",
                "sessionCount": 0,
                "tenantId": "acme",
                "errorRate": 0,
            },
        ]
    }
    assert await got(client, "/api/agents/sales%2Feu") == found["agents"][1]
    theirs = [TheirAgent.model_validate(one) for one in found["agents"]]
    assert [agent.id for agent in theirs] == ["support", "sales/eu"]


async def test_the_sessions_of_an_agent_are_its_chats_or_its_booked_calls(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    """Of 90 days, also where they are not among the latest 1,000 calls. A chat of several days is one."""
    log = [
        Event(NOW_MS - n * HOUR_MS, agent="support", chat=f"s{n % 1200}") for n in range(1, 2100)
    ]
    log.append(Event(NOW_MS - HOUR_MS, agent="sales", chat="s1"))
    booked = {"events": 1, "calls": 1}
    log += [Event(NOW_MS - n * DAY_MS, agent="sales", kind="call", others=booked) for n in range(3)]
    pack(log).write(redis_url)
    found = {one["id"]: one for one in (await got(client, "/api/agents"))["agents"]}
    assert {name: one["sessionCount"] for name, one in found.items()} == {
        "support": 1200, "sales": 3,
    }  # fmt: skip
    assert await got(client, "/api/agents/support") == found["support"]


async def test_an_agents_latest_call_is_one_of_the_latest_calls(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - 40 * MINUTE_MS, agent="support")]).write(redis_url)
    calls = [call(2, chat_id="chat-1"), call(1, chat_id="chat-2"), call(3, agent="gone")]
    with redis.Redis.from_url(redis_url) as store:
        for one in calls:  # as layout 5 has them
            store.zadd(recent_key(FIRST_GENERATION, "acme"), {pack_recent(one): one.at_ms})
    (found,) = (await got(client, "/api/agents"))["agents"]
    assert found["lastSeenAt"] == iso(NOW_MS - SECOND_MS)


async def test_a_call_shows_why_it_ended(redis_url: str, client: httpx.AsyncClient) -> None:
    keep(redis_url, call(finish_reason="tool_use"), call(1, error="timeout"))
    events = (await got(client))["events"]
    assert [one["payload"]["finishReason"] for one in events] == ["tool_use", "error"]
