"""Payloads of vendors and frameworks, read and priced as the API and the worker do."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from schemas.event.usage_event import UsageEvent
from schemas.formats.context import Context, with_given
from schemas.formats.parse import Parsed, parse
from schemas.formats.values import load_values
from schemas.prices.cost import price
from schemas.prices.tariffs import Unpriced, Why

NOW_MS = 1_796_040_000_000
"""2026-11-30: the bundled list has tiers since October."""
AT_S = NOW_MS // 1000
CHAT_ID = "chatcmpl-BXyT7h9cJ2LmQpRsTuVwXyZ1"


def read(body: object, **given: str) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    context = with_given(Context(received_ms=NOW_MS, id_seed="seed"), given)
    return parse(load_values(raw), None, context)


def one(body: object, **given: str) -> UsageEvent:
    (event,) = read(body, **given).events
    assert isinstance(event.usage, UsageEvent)
    return event.usage


def usd(event: UsageEvent) -> Decimal:
    if event.cost_usd is not None:
        return event.cost_usd
    priced = price(event)
    assert not isinstance(priced, Unpriced), priced.reason
    return Decimal(priced.nano_usd) / 10**9


def incomplete(event: UsageEvent) -> str:
    """Why an event has no cost, although it used something."""
    assert event.cost_usd is None
    found = price(event)
    assert isinstance(found, Unpriced)
    assert found.why is Why.INCOMPLETE
    return found.reason


def chat(model: str, usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    head = {"id": CHAT_ID, "object": "chat.completion", "created": AT_S, "model": model}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}
    return {**head, "choices": [choice], "usage": usage, **more}


def chunk(usage: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    delta = {"index": 0, "finish_reason": None, "delta": {"content": "x"}}
    head = {"id": CHAT_ID, "object": "chat.completion.chunk", "created": AT_S, "model": "gpt-4o"}
    return {**head, "choices": [delta], "usage": usage, **more}


def gemini(usage: dict[str, Any], model: str = "gemini-2.5-flash") -> dict[str, Any]:
    candidates = [{"content": {}, "finishReason": "STOP"}]
    return {"candidates": candidates, "usageMetadata": usage, "modelVersion": model}


def span(**attributes: object) -> dict[str, Any]:
    named = [
        {
            "key": key,
            "value": {"stringValue": value} if isinstance(value, str) else {"intValue": value},
        }
        for key, value in attributes.items()
    ]
    at_ns = str(AT_S * 10**9)
    ids = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
    made = {**ids, "name": "chat", "startTimeUnixNano": at_ns, "endTimeUnixNano": at_ns}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{**made, "attributes": named}]}]}]}


TOKENS = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
SPAN = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def litellm(cost: object) -> dict[str, Any]:
    head = {"id": CHAT_ID, "call_type": "acompletion", "custom_llm_provider": "openai"}
    return {**head, "model": "gpt-4o", "response_cost": cost, **TOKENS, "status": "success"}
