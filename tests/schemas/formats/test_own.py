"""AgentLens events, CloudEvents and our own events."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from schemas.errors import Reason
from schemas.formats.body import load
from schemas.formats.cloudevents import BinaryCloudEvent
from schemas.formats.draft import IdSource
from schemas.limits import EVENT_BYTES_MAX
from tests.schemas.formats.fixtures import CONTEXT, only, read

RESPONSE: dict[str, Any] = {
    "sessionId": "session-1",
    "agentId": "my-agent",
    "eventType": "llm_response",
    "severity": "info",
    "timestamp": "2026-02-08T10:00:00.123+00:00",
    "metadata": {},
    "payload": {
        "callId": "call-1",
        "provider": "Anthropic",
        "model": "claude-sonnet-4-5",
        "completion": "a secret",
        "finishReason": "stop",
        "usage": {
            "inputTokens": 21,
            "outputTokens": 393,
            "totalTokens": 414,
            "cacheReadTokens": 1800,
            "cacheWriteTokens": 188,
            "thinkingTokens": 200,
        },
        "costUsd": Decimal("0.00450"),
        "latencyMs": Decimal("850.5"),
    },
}
AGENTLENS = {
    "id": "call-1",
    "source": "agentlens",
    "time": "2026-02-08T10:00:00.123+00:00",
    "kind": "llm",
    "operation": "chat",
    "finish_reason": "stop",
    "provider": "Anthropic",  # as sent: its filters are exact
    "model": "claude-sonnet-4-5",
    "agent_id": "my-agent",
    "chat_id": "session-1",
    "input_tokens": 21,  # as sent, though it excludes the cache
    "output_tokens": 393,
    "cache_read_tokens": 1800,
    "cache_write_tokens": 188,
    "reasoning_tokens": 200,
    "output_text_tokens": 393,
    "cost_usd": "0.00450",
    "latency_ms": 850,
}
EVENT: dict[str, Any] = {
    "id": "evt-1",
    "source": "gateway-eu-1",
    "time": "2026-02-08T10:00:00.123Z",
    "kind": "llm",
    "provider": "OpenAI",
    "input_tokens": 0,
    "labels": {"team": "search"},
    "cost_usd": Decimal("0.00450"),
}
OURS = {**EVENT, "cost_usd": "0.00450"}
CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.anything",
    "id": "ce-1",
    "source": "gateway-eu-2",
    "time": "2026-02-08T11:00:00+01:00",
    "subject": "agent-9",
    "data": EVENT,
}


def test_an_agentlens_response_is_its_event() -> None:
    assert only(read(RESPONSE)) == AGENTLENS
    assert only(read({"events": [RESPONSE]})) == AGENTLENS


@pytest.mark.parametrize("kind", ["llm_call", "cost_tracked", "tool_call"])
def test_of_a_call_only_the_response_counts(kind: str) -> None:
    called = {"messages": [{"role": "user", "content": "a secret"}]}
    counts = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    payload = {**RESPONSE["payload"], **called, **counts}
    parsed = read({"events": [{**RESPONSE, "eventType": kind, "payload": payload}, RESPONSE]})
    assert [event.index for event in parsed.events] == [1]
    assert kind in parsed.skipped[0].reason


@pytest.mark.parametrize("name", ["callId", "provider", "model"])
def test_what_agentlens_requires_is_required(name: str) -> None:
    body = {**RESPONSE, "payload": {**RESPONSE["payload"], name: ""}}
    (refused,) = read({"events": [RESPONSE, body]}).refused
    assert (refused.index, refused.error.field) == (1, f"payload.{name}")


def test_a_cloudevent_gives_its_identity_time_and_subject() -> None:
    fields = only(read(CLOUD))
    changed = {
        "id": "ce-1",
        "source": "gateway-eu-2",
        "time": "2026-02-08T11:00:00+01:00",
        "agent_id": "agent-9",
    }
    assert fields == {**OURS, **changed}


def test_a_batch_is_an_array_of_them() -> None:
    parsed = read([CLOUD, {**CLOUD, "specversion": "0.3"}, {**CLOUD, "id": "ce-2"}])
    assert [event.fields["id"] for event in parsed.events] == ["ce-1", "ce-2"]
    assert parsed.refused[0].error.field == "specversion"


def test_data_may_be_base64() -> None:
    data = base64.b64encode(json.dumps({"kind": "llm", "input_tokens": 3}).encode()).decode()
    body = {key: value for key, value in CLOUD.items() if key != "data"}
    assert only(read({**body, "data_base64": data}))["input_tokens"] == 3


def test_binary_mode_has_the_attributes_in_headers() -> None:
    headers = [("CE-" + name, value) for name, value in CLOUD.items() if name != "data"]
    headers += [("content-type", "application/json"), ("ce-extra", "f%C3%BC")]
    binary = BinaryCloudEvent(headers, b'{"kind":"llm","input_tokens":3}')
    fields = only(read(binary))
    assert (fields["id"], fields["input_tokens"]) == ("ce-1", 3)


def test_a_cloudevent_without_a_time_is_of_when_it_came() -> None:
    body = {**CLOUD, "data": {"kind": "llm"}}
    body.pop("time")
    assert only(read(body))["time"] == "2026-02-08T10:01:00+00:00"


def test_our_own_event_is_as_it_is() -> None:
    (event,) = read(EVENT).events
    assert event.fields == {**OURS, "time": "2026-02-08T10:00:00.123000Z"}
    assert event.id_source is IdSource.EVENT


def test_an_event_without_an_id_is_seeded_and_without_a_time_refused() -> None:
    parsed = read([{**EVENT, "id": None}, {**EVENT, "time": None}, {**EVENT, "source": ""}])
    assert parsed.events[0].fields["id"] == "seed-0"
    assert sum(event.is_seeded for event in parsed.events) == 1
    assert [refused.error.field for refused in parsed.refused] == ["time", "source"]


def test_unknown_fields_are_passed_on_by_name_so_that_they_are_counted() -> None:
    (event,) = read({**EVENT, "inputtokens": 5, "x" * 65: 1, "\ud800": 1}).events
    assert event.fields == {**OURS, "inputtokens": None}
    assert event.unknown == ("inputtokens", "x" * 65, "\ud800")


def test_a_wrong_type_is_refused_with_field_and_limit() -> None:
    (refused,) = read({**EVENT, "input_tokens": 10**9 + 1}).refused
    assert refused.error.field == "input_tokens"
    assert "1000000000" in refused.error.detail


def test_the_topic_and_we_read_the_same_decimals() -> None:
    body = load(
        b'{"id":"a","source":"b","time":"2026-02-08T10:00:00Z","kind":"llm","cost_usd":1e-9}'
    )
    assert only(read(body))["cost_usd"] == "1E-9"
    assert CONTEXT.tenant is None


def test_an_event_that_the_topic_would_not_take_is_refused_here() -> None:
    parsed = read({**EVENT, "cost_usd": "0." + "1" * EVENT_BYTES_MAX})
    assert parsed.refused[0].error.reason is Reason.TOO_LARGE
