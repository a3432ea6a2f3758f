"""AgentLens' ingest events to ours. Pure.

Only `llm_response` counts: `llm_call` and `cost_tracked` report the same call, which
`payload.callId` identifies. Provider and input tokens stay as sent, as in AgentLens' own answers.
Source: schemas/contracts/agentlens.md, "Its ingest".
"""

from __future__ import annotations

from typing import Final

from schemas.event.event_struct import parse_instant
from schemas.formats.body import Json, count, invalid, milliseconds, section, text, usd
from schemas.formats.draft import Draft, ReaderResult, Uncounted

COUNTED: Final = "llm_response"


def read(event: Json) -> list[ReaderResult]:
    kind = text(event, "eventType")
    if kind is None:
        raise invalid("eventType", "must be a text that is not empty")
    if kind != COUNTED:
        return [Uncounted(f"the event type {kind[:64]} carries no usage, only {COUNTED} does")]
    payload = section(event, "payload")
    usage = section(payload, "usage", "payload.")
    output = count(usage, "outputTokens", "payload.usage.")
    fields = {
        "kind": "llm",
        "time": _timestamp(event),
        "agent_id": _required(event, "agentId", ""),
        "chat_id": text(event, "sessionId"),
        "provider": _required(payload, "provider", "payload."),
        "model": _required(payload, "model", "payload."),
        "input_tokens": count(usage, "inputTokens", "payload.usage."),
        "output_tokens": output,
        "output_text_tokens": output,
        "cache_read_tokens": count(usage, "cacheReadTokens", "payload.usage."),
        "cache_write_tokens": count(usage, "cacheWriteTokens", "payload.usage."),
        "reasoning_tokens": count(usage, "thinkingTokens", "payload.usage."),
        "cost_usd": usd(payload, "costUsd", "payload."),
        "latency_ms": milliseconds(payload, "latencyMs", "payload."),
    }
    return [Draft(fields=fields, id=_required(payload, "callId", "payload."))]


def _required(holder: Json, key: str, path: str) -> str:
    value = text(holder, key, path)
    if value is None:
        raise invalid(path + key, "must be a text that is not empty")
    return value


def _timestamp(event: Json) -> str | None:
    """RFC 3339 with any offset. AgentLens' Python SDK sends `+00:00`, its TypeScript SDK `Z`."""
    value = text(event, "timestamp")
    if value is not None:
        try:
            parse_instant(value)
        except ValueError as error:
            raise invalid("timestamp", str(error)) from error
    return value
