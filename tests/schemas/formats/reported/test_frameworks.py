"""What frameworks and gateways report beside an answer. Values are derived by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from schemas.event.usage_event import UsageEvent
from schemas.formats.parse import Event
from tests.schemas.formats.reported.payloads import (
    AT_S,
    TOKENS,
    chat,
    chunk,
    one,
    read,
    usd,
)


def cost(event: Event) -> Decimal:
    assert isinstance(event.usage, UsageEvent)
    return usd(event.usage)


_AT = "2026-11-30T10:00:00.000Z"

# -- Langfuse ----------------------------------------------------------------------------------------


def langfuse(**body: Any) -> dict[str, Any]:
    told = {"id": "g-1", "model": "gpt-4o", "startTime": _AT, "endTime": _AT, **body}
    return {"batch": [{"type": "generation-create", "body": told}]}


@pytest.mark.parametrize(
    "usage",
    [
        {**TOKENS, "prompt_tokens_details": {"cached_tokens": 400}},
        {
            "input_tokens": 1000,
            "output_tokens": 100,
            "total_tokens": 1100,
            "input_tokens_details": {"cached_tokens": 400},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    ],
    ids=["chat", "responses"],
)
def test_langfuse_passes_openais_usage_on_as_it_is(usage: dict[str, Any]) -> None:
    event = one(langfuse(usageDetails=usage))
    assert event.cache_read_tokens == 400
    assert usd(event) == Decimal("0.003")  # 600 * 2.5 + 400 * 1.25 + 100 * 10 per million


def test_costs_of_input_and_output_are_the_cost() -> None:
    usage = {"input": 10, "output": 5, "inputCost": 0.1, "outputCost": 0.02}
    assert one(langfuse(usage=usage)).cost_usd == Decimal("0.12")


def test_an_observation_that_failed_is_a_failed_request() -> None:
    begun = langfuse()["batch"][0]
    failed = langfuse(level="ERROR", statusMessage="a secret")["batch"][0]
    event = one({"batch": [begun, {**failed, "type": "generation-update"}]})
    assert (event.error, event.model, event.input_tokens) == ("error", "gpt-4o", None)


# -- Helicone ----------------------------------------------------------------------------------------


def helicone(response: dict[str, Any], asked: dict[str, Any] | None = None) -> dict[str, Any]:
    request = {
        "url": "https://api.openai.com/v1/chat/completions",
        "json": asked or {"model": "gpt-4o", "messages": []},
        "meta": {"Helicone-User-Id": "u-1"},
    }
    timing = {
        "startTime": {"seconds": AT_S - 2, "milliseconds": 100},
        "endTime": {"seconds": AT_S, "milliseconds": 300},
        "timeToFirstToken": 250,
    }
    return {"providerRequest": request, "providerResponse": response, "timing": timing}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, {"error": {"message": "a secret", "code": "rate_limit_exceeded"}}, None),
        (529, {"type": "error", "error": {"type": "overloaded_error"}}, "overloaded_error"),
        (500, {}, "500"),
        (400, {"error": "a secret"}, "400"),
    ],
)
def test_a_log_of_a_call_that_failed_is_a_failed_request(
    status: int, body: dict[str, Any], error: str | None
) -> None:
    event = one(helicone({"status": status, "json": body, "headers": {}}))
    assert event.error == (error or "rate_limit_exceeded")
    told = (event.provider, event.model, event.user_id, event.latency_ms)
    assert told == ("openai", "gpt-4o", "u-1", 2200)


@pytest.mark.parametrize("mark", ["", "data: "])
def test_the_lines_of_a_stream_in_a_log_are_its_answer(mark: str) -> None:
    chunks = [chunk(), chunk(TOKENS, choices=[])]
    lines = "\n".join(f"{mark}{json.dumps(one_chunk)}" for one_chunk in chunks)
    event = one(helicone({"status": 200, "textBody": f"{lines}\n{mark}[DONE]\n"}))
    assert (event.input_tokens, event.first_output_ms) == (1000, 250)
    assert usd(event) == Decimal("0.0035")


def test_logs_of_tools_are_no_calls() -> None:
    parsed = read(helicone({"status": 200, "json": {}}, {"_type": "tool", "toolName": "x"}))
    assert (parsed.events, parsed.refused) == ((), ())
    assert "tool" in parsed.skipped[0].reason


# -- Claude Code -------------------------------------------------------------------------------------


def line(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "sessionId": "s-1", "uuid": "u-1", "timestamp": _AT, **more}


@pytest.mark.parametrize(
    "other",
    [
        line("last-prompt", lastPrompt="a secret"),
        line("permission-mode", permissionMode="plan"),
        {"type": "ai-title", "sessionId": "s-1", "aiTitle": "a secret"},
        {"type": "file-history-snapshot", "messageId": "m-1", "snapshot": {}},
        {"type": "stream_event", "session_id": "s-1", "uuid": "u-1", "event": {}},
        {"type": "system", "subtype": "init", "session_id": "s-1"},
    ],
    ids=lambda one_line: str(one_line["type"]),
)
def test_any_line_of_a_transcript_that_is_no_answer_is_skipped(other: dict[str, Any]) -> None:
    parsed = read(other)
    assert (parsed.events, parsed.refused) == ((), ())
    assert parsed.skipped[0].format == "claude_code"


def test_the_cost_that_claude_code_once_wrote_counts() -> None:
    message = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "model": "claude-sonnet-4-20250514",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 4, "output_tokens": 50},
    }
    assert one(line("assistant", message=message, costUSD=0.0123)).cost_usd == Decimal("0.0123")


# -- LangChain, OpenAI's Agents SDK ------------------------------------------------------------------


def test_langchains_totals_by_model_are_an_event_each() -> None:
    counts = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    details = {"input_token_details": {"cache_read": 400}}
    events = read({"gpt-4o": {**counts, **details}, "claude-sonnet-4-5": counts}).events
    told = [(event.fields["provider"], event.fields["input_tokens"]) for event in events]
    assert told == [("openai", 1000), ("anthropic", 1000)]
    assert list(map(cost, events)) == [Decimal("0.003"), Decimal("0.0045")]


def generation(**data: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "output_tokens": 100}
    told = {"type": "generation", "model": "llama-3.3-70b-versatile", "usage": usage, **data}
    return {"object": "trace.span", "id": "span_1", "ended_at": _AT, "span_data": told}


def test_the_base_url_of_an_agent_tells_the_provider() -> None:
    settings = {"base_url": "https://api.groq.com/openai/v1/"}
    assert one(generation(model_config=settings)).provider == "groq"
    assert one(generation(model_config=None)).provider is None


def test_a_generation_that_failed_is_a_failed_request() -> None:
    failed = {**generation(usage=None), "error": {"message": "a secret"}}
    event = one(failed)
    assert (event.error, event.input_tokens) == ("failed", None)


def test_an_answer_beside_a_log_is_read_as_before() -> None:
    log = helicone({"status": 200, "json": chat("gpt-4o", TOKENS)})
    (event,) = read([log, chat("gpt-4o", TOKENS)]).events
    assert cost(event) == Decimal("0.0035")
