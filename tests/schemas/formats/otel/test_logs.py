"""Log records and metrics of coding agents: which count, once, and with which totals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from schemas.formats.otel.metrics import CUMULATIVE_SUM
from tests.schemas.formats.fixtures import only, read
from tests.schemas.formats.otel.requests import (
    START_NS,
    TRACE,
    chat,
    logs,
    metrics,
    point,
    record,
    span,
    summed,
)
from tests.schemas.formats.otel.requests import traces as traces_of

CLAUDE = {
    "session__id": "s-1",
    "user__email": "dev@example.com",
    "model": "claude-sonnet-4-5-20250929",
    "input_tokens": 8,
    "output_tokens": 240,
    "cache_read_tokens": 15000,
    "cache_creation_tokens": 700,
    "duration_ms": 4200,
    "event__timestamp": "2026-02-08T10:00:00.250Z",
}
CODEX = {
    "event__name": "codex.sse_event",
    "event__kind": "response.completed",
    "conversation__id": "c-1",
    "model": "gpt-5.2-codex",
    "input_token_count": "1200",
    "output_token_count": "300",
    "cached_token_count": 1000,
    "reasoning_token_count": 128,
    "tool_token_count": "1500",
}
GEMINI = {
    "event__name": "gemini_cli.api_response",
    "model": "gemini-2.5-pro",
    "input_token_count": 12000,
    "output_token_count": 350,
    "cached_content_token_count": 8000,
    "thoughts_token_count": 420,
    "tool_token_count": 30,
    "total_token_count": 12800,
}


def test_claude_codes_input_leaves_out_the_cache() -> None:
    request = record(
        "claude_code.api_request", **CLAUDE, cost_usd=Decimal("0.010749"), request_id="req_1"
    )
    made = only(read(logs(request, service="claude-code")))
    assert (made["input_tokens"], made["output_tokens"]) == (15708, 240)
    assert (made["cache_read_tokens"], made["cache_write_tokens"]) == (15000, 700)
    assert (made["provider"], made["cost_usd"]) == ("anthropic", "0.010749")
    assert (made["call_id"], made["user_email"], made["latency_ms"]) == (
        "s-1",
        "dev@example.com",
        4200,
    )


@pytest.mark.parametrize(
    "form", [{"event__name": "api_request"}, {"event__name": "claude_code.api_request"}, {}]
)
def test_the_name_of_a_record_has_several_places(form: dict[str, Any]) -> None:
    name = "claude_code.api_request"
    plain = record(name, **form, **CLAUDE)
    assert only(read(logs(plain)))["input_tokens"] == 15708
    named = {**record("", **CLAUDE), "eventName": name}
    assert only(read(logs(named)))["input_tokens"] == 15708


def test_a_span_of_claude_code_is_its_log_record() -> None:
    """Of the beta of its traces. An interaction above it sums nothing up."""
    request = {"request_id": "req_011CZ9vLc2pT5o9QhX8mKdRa"}
    said = {name: of for name, of in CLAUDE.items() if not name.startswith(("event", "duration"))}
    call = span(2, 1, span__type="llm_request", **said, **request)
    above = span(1, span__type="interaction")
    of_span = only_event_of(traces_of(above, call, service="claude-code"))
    of_log = only(
        read(logs(record("claude_code.api_request", **CLAUDE, **request), service="claude-code"))
    )
    names = ["id", "source", "provider", "model", "input_tokens", "output_tokens", "call_id"]
    names += ["cache_read_tokens", "cache_write_tokens"]
    assert {name: of_span[name] for name in names} == {name: of_log[name] for name in names}
    (skip,) = read(traces_of(span(2, span__type="llm_request", **said))).skipped
    assert "request_id" in skip.reason


def only_event_of(body: dict[str, Any]) -> dict[str, Any]:
    (event,) = read(body).events
    return event.fields


def test_records_that_are_no_calls() -> None:
    of = [
        record("claude_code.user_prompt", prompt_length=31),
        record("claude_code.tool_result", tool_name="Bash", duration_ms=5),
        record("codex.api_request", duration_ms=5),
        record("codex.sse_event", event__kind="response.created"),
        record("gemini_cli.api_request", model="gemini-2.5-pro"),
        record("gen_ai.choice", index=0),
    ]
    parsed = read(logs(*of))
    assert not parsed.events
    assert not any(skip.has_usage for skip in parsed.skipped)


def test_a_record_with_tokens_that_is_not_known_is_told() -> None:
    (skip,) = read(logs(record("other_agent.turn", input_tokens=7))).skipped
    assert skip.has_usage


def test_a_failed_request_of_claude_code_is_an_error_without_its_message() -> None:
    failed = record(
        "claude_code.api_error", model="claude-sonnet-4-5", error="secret", status_code=529
    )
    made = only(read(logs(failed, scope="com.anthropic.claude_code.events")))
    assert made["error"] == "529"
    assert "secret" not in str(made)


def test_codex_totals_are_inclusive() -> None:
    made = only(read(logs(record("", **CODEX), service="codex_exec")))
    assert (made["input_tokens"], made["output_tokens"]) == (1200, 300)
    assert (made["cache_read_tokens"], made["reasoning_tokens"]) == (1000, 128)
    assert (made["provider"], made["chat_id"]) == ("openai", "c-1")


def test_gemini_clis_thoughts_and_tools_are_beside_the_totals() -> None:
    made = only(read(logs(record("", **GEMINI))))
    assert (made["input_tokens"], made["output_tokens"]) == (12030, 770)
    assert (made["cache_read_tokens"], made["reasoning_tokens"]) == (8000, 420)
    assert "cost_problem" not in made


def test_gemini_clis_second_record_of_a_call_counts_nothing() -> None:
    details = record(
        "gen_ai.client.inference.operation.details",
        gen_ai__operation__name="generate_content",
        gen_ai__usage__input_tokens=12000,
    )
    parsed = read(logs(record("", **GEMINI), details, service="gemini-cli"))
    assert len(parsed.events) == 1


def test_a_record_of_the_conventions_has_the_identity_of_its_span() -> None:
    usage = {"gen_ai__usage__input_tokens": 9, "gen_ai__usage__output_tokens": 2}
    details = record(
        "gen_ai.client.inference.operation.details", gen_ai__operation__name="chat", **usage
    )
    details |= {"traceId": TRACE, "spanId": f"{7:016x}"}
    of_log = only(read(logs(details, service="shop")))
    of_span = chat(7, usage__input_tokens=9, usage__output_tokens=2)
    assert of_log["id"] == only(read(traces_of(of_span, service="shop")))["id"]


def test_a_record_that_is_sent_again_has_the_same_id_and_another_has_not() -> None:
    twice = [record("claude_code.api_request", **CLAUDE) for _ in range(2)]
    other = record("claude_code.api_request", **CLAUDE | {"event__sequence": 2})
    first, another = (event.fields["id"] for event in read(logs(*twice, other)).events)
    assert only(read(logs(twice[0])))["id"] == first != another
    unique = "req_011CZ9vLc2pT5o9QhX8mKdRa"
    named = record("claude_code.api_request", **CLAUDE, request_id=unique)
    assert only(read(logs(named)))["id"] == unique


def test_a_record_without_a_time_has_that_of_the_agent() -> None:
    of = record("claude_code.api_request", **CLAUDE) | {"timeUnixNano": "0"}
    assert only(read(logs(of)))["time"] == "2026-02-08T10:00:00.250Z"


# -- metrics -----------------------------------------------------------------------------------------


def claude_points(temporality: Any = 1) -> dict[str, Any]:
    said = {"model": "claude-sonnet-4-5-20250929", "session__id": "s-1", "user__id": "u-1"}
    kinds = {"input": 8, "output": 240, "cacheRead": 15000, "cacheCreation": 700}
    tokens = [point(number, type=kind, **said) for kind, number in kinds.items()]
    return metrics(
        summed("claude_code.token.usage", *tokens, temporality=temporality),
        summed(
            "claude_code.cost.usage", point(Decimal("0.010749"), **said), temporality=temporality
        ),
        summed("claude_code.session.count", point(1, **said), temporality=2),
    )


@pytest.mark.parametrize("delta", [1, "AGGREGATION_TEMPORALITY_DELTA"])
def test_the_delta_sums_of_an_export_are_one_event(delta: Any) -> None:
    parsed = read(claude_points(delta))
    (event,) = parsed.events
    made = event.fields
    assert (made["input_tokens"], made["output_tokens"]) == (15708, 240)
    assert (made["cache_read_tokens"], made["cache_write_tokens"]) == (15000, 700)
    assert (made["cost_usd"], made["model"]) == ("0.010749", "claude-sonnet-4-5-20250929")
    assert (made["call_id"], made["user_id"]) == ("s-1", "u-1")
    assert not any(skip.has_usage for skip in parsed.skipped)
    assert read(claude_points(delta)).events[0].fields["id"] == made["id"]


def test_the_next_export_is_another_event_and_so_is_another_model() -> None:
    name = "claude_code.token.usage"
    of = [point(5, at_s=at, type="input", model=model) for at in (60, 120) for model in "ab"]
    events = read(metrics(summed(name, *of))).events
    assert len({event.fields["id"] for event in events}) == 4


@pytest.mark.parametrize("cumulative", [2, "AGGREGATION_TEMPORALITY_CUMULATIVE"])
def test_cumulative_sums_are_rejected_with_the_setting_for_deltas(cumulative: Any) -> None:
    parsed = read(claude_points(cumulative))
    assert not parsed.events
    assert len(parsed.refused) == 5  # not the one that is no usage
    assert parsed.refused[0].error.detail == CUMULATIVE_SUM
    assert "TEMPORALITY_PREFERENCE=delta" in CUMULATIVE_SUM


def test_histograms_of_tokens() -> None:
    """Codex, and the GenAI conventions."""

    def histogram(name: str, kind: str, **sums: int) -> dict[str, Any]:
        points = [
            {**point(0, **{kind: key}, model="gpt-5.2"), "sum": Decimal(number), "count": "3"}
            for key, number in sums.items()
        ]
        for one in points:
            del one["asInt"]
        return {"name": name, "histogram": {"aggregationTemporality": 1, "dataPoints": points}}

    codex = histogram(
        "codex.turn.token_usage",
        "token_type",
        total=1500,
        input=1200,
        cached_input=1000,
        output=300,
        reasoning_output=128,
    )
    made = only_event(codex)
    assert (made["input_tokens"], made["cache_read_tokens"]) == (1200, 1000)
    assert (made["output_tokens"], made["reasoning_tokens"]) == (300, 128)
    made = only_event(
        histogram("gen_ai.client.token.usage", "gen_ai__token__type", input=9, output=2)
    )
    assert (made["input_tokens"], made["output_tokens"]) == (9, 2)


def only_event(metric: dict[str, Any]) -> dict[str, Any]:
    (event,) = read(metrics(metric)).events
    return event.fields


def test_gemini_clis_metric() -> None:
    kinds = {"input": 100, "output": 20, "thought": 30, "cache": 60, "tool": 5}
    of = [point(number, type=kind, model="gemini-2.5-pro") for kind, number in kinds.items()]
    made = only_event(summed("gemini_cli.token.usage", *of))
    assert (made["input_tokens"], made["output_tokens"]) == (105, 50)
    assert (made["cache_read_tokens"], made["reasoning_tokens"]) == (60, 30)


def test_a_number_that_is_no_count_refuses_its_event_alone() -> None:
    name = "claude_code.token.usage"
    of = [point(-5, type="input", model="a"), point(5, type="input", model="b")]
    parsed = read(metrics(summed(name, *of)))
    assert len(parsed.events) == len(parsed.refused) == 1


def test_the_time_is_the_end_of_the_interval() -> None:
    made = only_event(summed("claude_code.token.usage", point(5, type="input", model="a")))
    assert made["time"] == "2026-02-08T10:01:00Z"
    assert START_NS % 10**9 == 0
