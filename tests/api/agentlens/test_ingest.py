"""`POST /api/events`: what AgentLens's own producers send, answered as its server does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.agentlens.ingest import EVENTS_MAX
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.units import iso
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS
from tests.api.ingest.taking import Taking, taking
from tests.schemas.formats.fixtures import FOLDER

USAGE = {"inputTokens": 21, "outputTokens": 393, "totalTokens": 414}
MESSAGE = {"role": "user", "content": "a secret"}

pytestmark = pytest.mark.servers

PATH = "/api/events"


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="agent", tenant="acme", role="member")
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        yield api


def response(**changes: Any) -> dict[str, Any]:
    payload = {
        "callId": "call-1",
        "provider": "openai",
        "model": "gpt-4o",
        "completion": None,
        "finishReason": "stop",
        "usage": {"inputTokens": 12, "outputTokens": 3, "totalTokens": 15},
        "costUsd": 0.0045,
        "latencyMs": 850.5,
    }
    return {
        "sessionId": "s-1",
        "agentId": "my-agent",
        "eventType": "llm_response",
        "severity": "info",
        "timestamp": iso(NOW_MS).replace("Z", "+00:00"),
        "metadata": {},
        "payload": {**payload, **changes.pop("payload", {})},
        **changes,
    }


async def test_what_its_sdk_sends_is_ingested_and_only_the_call_is_counted(api: Taking) -> None:
    body = json.loads((FOLDER / "agentlens/call.json").read_text())["body"]
    answer = await api.post(body, PATH)
    assert answer.status_code == 201
    said = answer.json()
    assert said["ingested"] == len(said["events"]) == 2
    assert all(len(one["hash"]) == 64 and len(one["id"]) == 26 for one in said["events"])
    assert said["events"][0] != said["events"][1]
    assert (await api.post(body, PATH)).json() == said
    held = await api.held()
    assert [one["id"] for one in held] == ["call-1", "call-1"]
    assert held[0]["agent_id"] == "my-agent"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"payload": {"costUsd": "much"}}, "events.1.payload.costUsd"),
        ({"payload": {"costUsd": -1}}, "events.1.payload.costUsd"),
        ({"payload": {"model": ""}}, "events.1.payload.model"),
        ({"payload": {"provider": "x" * 300}}, "events.1.payload.provider"),
        ({"payload": {"callId": None}}, "events.1.payload.callId"),
        (
            {"payload": {"usage": {**USAGE, "inputTokens": -1}}},
            "events.1.payload.usage.inputTokens",
        ),
        (
            {"payload": {"usage": {**USAGE, "totalTokens": None}}},
            "events.1.payload.usage.totalTokens",
        ),
        ({"payload": {"usage": None}}, "events.1.payload.usage"),
        ({"payload": {"costUsd": None}}, "events.1.payload.costUsd"),
        ({"payload": {"latencyMs": None}}, "events.1.payload.latencyMs"),
        ({"payload": {"finishReason": ""}}, "events.1.payload.finishReason"),
        ({"payload": {"completion": 5}}, "events.1.payload.completion"),
        ({"eventType": "llm_call"}, "events.1.payload.messages"),
        ({"eventType": "llm_call", "payload": {"messages": "a"}}, "events.1.payload.messages"),
        ({"eventType": "llm_call", "payload": {"messages": [5]}}, "events.1.payload.messages.0"),
        (
            {"eventType": "llm_call", "payload": {"messages": [MESSAGE], "callId": ""}},
            "events.1.payload.callId",
        ),
        ({"eventType": "cost_tracked", "payload": USAGE | {"model": 5}}, "events.1.payload.model"),
        ({"sessionId": ""}, "events.1.sessionId"),
        ({"agentId": 5}, "events.1.agentId"),
        ({"eventType": None}, "events.1.eventType"),
        ({"severity": "loud"}, "events.1.severity"),
        ({"metadata": []}, "events.1.metadata"),
        ({"timestamp": "yesterday"}, "events.1.timestamp"),
        ({"timestamp": "2001-01-01T00:00:00Z"}, "events.1.timestamp"),
        ({"eventType": "custom", "sessionId": ""}, "events.1.sessionId"),
    ],
)
async def test_all_or_nothing_with_the_path_of_what_is_wrong(
    api: Taking, changes: dict[str, Any], path: str
) -> None:
    answer = await api.post({"events": [response(), response(**changes)]}, PATH)
    assert answer.status_code == 400
    body = answer.json()
    assert (body["error"], body["status"]) == ("Validation failed", 400)
    assert [detail["path"] for detail in body["details"]] == [path]
    assert body["details"][0]["message"]
    assert list(body) == ["error", "status", "details"]
    assert await api.log() == []


async def test_a_call_without_messages_needs_its_answer_in_the_same_request(api: Taking) -> None:
    """Its server rejects both; a producer that keeps no texts would lose the numbers of its call."""
    call = response(eventType="llm_call", payload={"messages": []})
    other = response(payload={"callId": "call-2"})
    for events in ([call], [call, other], [other, call]):
        answer = await api.post({"events": events}, PATH)
        assert answer.status_code == 400
        place = events.index(call)
        (detail,) = answer.json()["details"]
        assert detail["path"] == f"events.{place}.payload.messages"
        assert "must not be empty" in detail["message"]
    assert await api.log() == []
    for events in ([call, response()], [response(), call]):
        assert (await api.post({"events": events}, PATH)).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"events":[]}',
        b'{"events":{}}',
        json.dumps({"events": [response()] * (EVENTS_MAX + 1)}).encode(),
        b'{"events":[5]}',
    ],
)
async def test_a_body_that_is_none(api: Taking, body: bytes) -> None:
    answer = await api.post(body, PATH)
    assert answer.status_code == 400
    assert answer.json()["error"] == "Validation failed"
    assert len(answer.json()["details"]) == 1


async def test_other_errors_have_its_shape(api: Taking, key: str) -> None:
    answer = await api.post(b" " * (17 << 20), PATH)
    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    answer = await api.post({"events": [response()]}, PATH, headers={"authorization": ""})
    assert answer.json()["error"] == "Authentication required"
    viewer = {"authorization": f"Bearer {key}"}
    answer = await api.post({"events": [response()]}, PATH, headers=viewer)
    assert answer.json() | {"hint": ""} == {
        "error": "Insufficient permissions",
        "hint": "",
        "required": "member",
        "current": "viewer",
        "status": 403,
    }
    assert await api.log() == []
