"""OpenAPI of the AgentLens dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from api.agentlens.analytics import FILTERS, GRANULARITIES
from api.agentlens.events import AGENTS_MS, LIMIT_DEFAULT, LIMIT_MAX
from api.agentlens.ingest import EVENTS_MAX, SEVERITIES
from schemas.limits import DAY_MS
from schemas.responses.agentlens import (
    Agent,
    AgentLensEvent,
    AgentLensEvents,
    AgentLensHealth,
    AgentLensProblem,
    Agents,
    Ingested,
    LlmAnalytics,
)
from schemas.store.recent_calls import RECENT_MAX

Object = dict[str, Any]
Refs = Mapping[type[BaseModel], Object]

MODELS: Final[tuple[type[BaseModel], ...]] = (
    LlmAnalytics,
    AgentLensEvents,
    AgentLensEvent,
    Agents,
    Agent,
    Ingested,
    AgentLensHealth,
    AgentLensProblem,
)
ERRORS: Final = ("400", "401", "403", "404", "429", "503")


class _Get(NamedTuple):
    """`parameters`: of the query, each with its meaning."""

    path: str
    operation: str
    summary: str
    answer: type[BaseModel]
    parameters: Mapping[str, str] = {}


_ANALYTICS_PARAMETERS: Final = {
    "from": "ISO 8601, inclusive. Default: 24 hours ago. A range without a whole bucket gets the buckets that"
    " cover it; headers state the covered range.",
    "to": "ISO 8601, exclusive. Default: now.",
    "granularity": f"Bucket size: {', '.join(GRANULARITIES)}. Default: hour.",
    **{name: f"Only this {of}." for name, of in FILTERS.items()},
}
_EVENT_PARAMETERS: Final = {
    "eventType": "Event types, separated by commas. Only llm_response is stored.",
    "severity": "`info`, or `error` for failed calls. Separate several by commas.",
    "agentId": "Only this agent.",
    "sessionId": "Only this chat, or this call if it is in no chat.",
    "search": "Only events whose payload contains this text. Case does not matter.",
    "from": "ISO 8601, inclusive.",
    "to": "ISO 8601, inclusive.",
    "limit": f"Events in the answer. Default: {LIMIT_DEFAULT}, at most {LIMIT_MAX}.",
    "offset": "How many events to skip.",
    "order": "`desc`, the default, or `asc`.",
}
_ENDPOINTS: Final = (
    _Get("/api/analytics/llm", "getLlmAnalytics", "Summary, models and series of LLM calls",
         LlmAnalytics, _ANALYTICS_PARAMETERS),
    _Get("/api/events", "getEvents", f"The latest {RECENT_MAX} calls", AgentLensEvents, _EVENT_PARAMETERS),
    _Get("/api/events/{id}", "getEvent", "One of the latest calls", AgentLensEvent),
    _Get("/api/agents", "getAgents", f"Agents seen in the last {AGENTS_MS // DAY_MS} days", Agents),
    _Get("/api/agents/{id}", "getAgent", "One agent", Agent),
)  # fmt: skip
_AGENTLENS: Final[Object] = {
    "events": [
        {
            "sessionId": "session-1",
            "agentId": "my-agent",
            "eventType": "llm_response",
            "severity": "info",
            "timestamp": "2026-02-08T10:00:00.123Z",
            "metadata": {},
            "payload": {
                "callId": "call-1",
                "provider": "openai",
                "model": "gpt-4o",
                "completion": None,
                "finishReason": "stop",
                "usage": {"inputTokens": 1200, "outputTokens": 300, "totalTokens": 1500},
                "costUsd": 0.0045,
                "latencyMs": 850,
            },
        }
    ]
}


def paths(ref: Refs) -> Object:
    """`ref`: the schema of each of MODELS."""
    found: Object = {one.path: {"get": _entry(one, ref)} for one in _ENDPOINTS}
    found["/api/events"]["post"] = _post_events(ref)
    found["/api/health"] = {
        "get": {
            "operationId": "getHealth",
            "summary": "Whether Redis answers",
            "security": [],
            "responses": {"200": _of("`db.ok` is true if Redis answers.", ref[AgentLensHealth])},
        }
    }
    return found


def _entry(one: _Get, ref: Refs) -> Object:
    text = {"type": "string"}
    of_path = [{"name": "id", "in": "path", "required": True, "schema": text}]
    of_query = [
        {"name": name, "in": "query", "description": about, "schema": text}
        for name, about in one.parameters.items()
    ]
    return {
        "operationId": one.operation,
        "summary": f"{one.summary}, as AgentLens answers",
        "parameters": [*(of_path if "{id}" in one.path else []), *of_query],
        "responses": {"200": _of(f"{one.summary}.", ref[one.answer]), **_errors(ref, ERRORS)},
    }


def _post_events(ref: Mapping[type[BaseModel], Object]) -> Object:
    schema = {
        "type": "object",
        "required": ["events"],
        "properties": {
            "events": {
                "type": "array",
                "minItems": 1,
                "maxItems": EVENTS_MAX,
                "items": {
                    "type": "object",
                    "required": ["sessionId", "agentId", "eventType"],
                    "properties": {"severity": {"enum": list(SEVERITIES)}},
                },
            }
        },
    }
    return {
        "operationId": "postAgentLensEvents",
        "summary": "Send events as AgentLens's producers send them; all are accepted, or none",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": _AGENTLENS}},
        },
        "responses": {
            "201": _of("Kafka has all events.", ref[Ingested]),
            **_errors(ref, ("400", "401", "403", "408", "413", "415", "429", "503")),
        },
    }


def _errors(ref: Refs, statuses: tuple[str, ...]) -> Object:
    body = ref[AgentLensProblem]
    return {status: _of("An error, as AgentLens reports it.", body) for status in statuses}


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
