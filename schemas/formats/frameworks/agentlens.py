"""AgentLens' ingest events to ours. Pure.

Only `llm_response` counts: `llm_call` and `cost_tracked` report the same call, which
`payload.callId` identifies. What its server rejects in them is rejected here. Provider and input tokens stay as sent, as in AgentLens' own answers.
Source: schemas/contracts/agentlens.md, "Its ingest".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from schemas.event.event_struct import parse_instant
from schemas.formats.body import Json, count, invalid, milliseconds, section, text, usd
from schemas.formats.draft import Draft, ReaderResult, Uncounted

COUNTED: Final = "llm_response"
TEXTS: Final = {
    "llm_call": ("callId", "provider", "model"),
    "llm_response": ("callId", "provider", "model", "finishReason"),
    "cost_tracked": ("provider", "model"),
}
NUMBERS: Final = {
    "llm_response": ("costUsd", "latencyMs"),
    "cost_tracked": ("inputTokens", "outputTokens", "totalTokens", "costUsd"),
}
USAGE: Final = ("inputTokens", "outputTokens", "totalTokens")
ROLES: Final = ("system", "user", "assistant", "tool")
_TEXT: Final = "must be a text that is not empty"
_NUMBER: Final = "must be a number"


def read(event: Json) -> list[ReaderResult]:
    kind = text(event, "eventType")
    if kind is None:
        raise invalid("eventType", _TEXT)
    for path, message in problems(event):
        raise invalid(path, message)
    if kind != COUNTED:
        return [Uncounted(f"the event type {kind[:64]} carries no usage, only {COUNTED} does")]
    payload = section(event, "payload")
    usage = section(payload, "usage", "payload.")
    output = count(usage, "outputTokens", "payload.usage.")
    fields = {
        "kind": "llm",
        "operation": "chat",
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
        "finish_reason": text(payload, "finishReason", "payload."),
    }
    return [Draft(fields=fields, id=_required(payload, "callId", "payload."))]


def problems(event: Json) -> Iterator[tuple[str, str]]:
    """What its server rejects in the payload of a model call: path and message of each."""
    kind = event.get("eventType")
    payload = event.get("payload")
    if not isinstance(kind, str) or kind not in TEXTS or not isinstance(payload, dict):
        return
    for name in TEXTS[kind]:
        if not isinstance(payload.get(name), str) or not payload[name]:
            yield f"payload.{name}", _TEXT
    for name in NUMBERS.get(kind, ()):
        if not _is_number(payload.get(name)):
            yield f"payload.{name}", _NUMBER
    if kind == "llm_call":
        yield from _messages(payload)
    if kind == COUNTED:
        yield from _answer(payload)


def _messages(payload: Json) -> Iterator[tuple[str, str]]:
    """An empty array is no fault of its event alone: see `without_messages`."""
    messages = payload.get("messages")
    if not isinstance(messages, list):
        yield "payload.messages", "must be an array"
        return
    for place, message in enumerate(messages):
        is_one = isinstance(message, dict) and message.get("role") in ROLES
        if not is_one or not isinstance(message.get("content"), str | list):
            path = f"payload.messages.{place}"
            yield path, f"must have a role ({', '.join(ROLES)}) and a content (text or array)"


def without_messages(events: Sequence[object]) -> Iterator[int]:
    """The places of calls that say nothing: `messages` is empty, and no answer is beside them.

    Its server rejects each empty array. A producer that does not keep texts sends one with the answer of
    its call, which has all that counts: its request would be lost as a whole.
    """
    calls = [
        (place, event["eventType"], event["payload"])
        for place, event in enumerate(events)
        if isinstance(event, dict)
        and isinstance(event.get("payload"), dict)
        and event.get("eventType") in ("llm_call", COUNTED)
    ]
    answered = [payload.get("callId") for _, kind, payload in calls if kind == COUNTED]
    names = {name for name in answered if isinstance(name, str)}
    for place, kind, payload in calls:
        if kind != COUNTED and payload.get("messages") == [] and payload.get("callId") not in names:
            yield place


def _answer(payload: Json) -> Iterator[tuple[str, str]]:
    if "completion" not in payload or not isinstance(payload["completion"], str | None):
        yield "payload.completion", "must be a text or null"
    usage = payload.get("usage")
    if not isinstance(usage, dict):
        yield "payload.usage", "must be an object"
        return
    for name in USAGE:
        if not _is_number(usage.get(name)):
            yield f"payload.usage.{name}", _NUMBER


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _required(holder: Json, key: str, path: str) -> str:
    value = text(holder, key, path)
    if value is None:
        raise invalid(path + key, _TEXT)
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
