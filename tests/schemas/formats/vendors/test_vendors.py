"""Traps of vendors, speech vendors and frameworks beyond their fixtures."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.schemas.formats.fixtures import fixture, only, read

Json = dict[str, Any]


# -- Gemini, Bedrock, Cohere -----------------------------------------------------------------------


def gemini(**usage: int) -> Json:
    return {"modelVersion": "gemini-2.5-flash", "responseId": "r", "usageMetadata": usage}


def test_thoughts_that_only_the_total_has_are_output() -> None:
    fields = only(read(gemini(promptTokenCount=10, totalTokenCount=50)))
    assert (fields["input_tokens"], fields["output_tokens"]) == (10, 40)


def test_a_total_of_gemini_that_contradicts_has_no_price() -> None:
    body = gemini(promptTokenCount=10, candidatesTokenCount=5, totalTokenCount=50)
    assert "contradicts" in only(read(body))["cost_problem"]


@pytest.mark.parametrize("total", [2259, None])
def test_converse_excludes_cached_tokens(total: int | None) -> None:
    body = fixture("bedrock/converse")
    body["usage"]["totalTokens"] = total
    assert only(read(body))["input_tokens"] == 2215


def test_converse_without_cache_counts_as_it_is() -> None:
    usage = {"inputTokens": 1200, "outputTokens": 300, "totalTokens": 1500}
    fields = only(read({"usage": usage, "stopReason": "end_turn", "output": {}}))
    assert (fields["input_tokens"], fields["output_tokens"]) == (1200, 300)
    assert "cost_problem" not in fields


def test_an_hour_of_bedrocks_cache_is_told() -> None:
    body = fixture("bedrock/converse")
    body["usage"]["cacheDetails"] = [{"ttl": "1h", "inputTokens": 150}, {"ttl": "5m"}]
    assert only(read(body))["cache_write_1h_tokens"] == 150


def test_coheres_first_version_has_its_units_in_meta() -> None:
    meta = {"billed_units": {"input_tokens": 5, "output_tokens": 7}}
    end = {"event_type": "stream-end", "response": {"generation_id": "g", "meta": meta}}
    assert only(read(end))["id"] == "g"
    assert read({"event_type": "text-generation", "text": "secret"}).skipped


# -- OpenAI's format -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "usage", "provider"),
    [
        ({"x_groq": {"id": "req_1"}}, {}, "groq"),
        ({"prompt_filter_results": []}, {}, "azure"),
        ({"id": "gen-1780000300-x", "provider": "Anthropic"}, {}, "openrouter"),
        ({}, {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 1}, "deepseek"),
        ({"id": "gen-x"}, {}, "openai"),
    ],
)
def test_an_answer_tells_its_vendor(about: Json, usage: Json, provider: str) -> None:
    body = {"object": "chat.completion", "id": "chatcmpl-Bx", "model": "m", **about}
    body["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, **usage}
    assert only(read(body))["provider"] == provider
    envelope = {"context": {"provider": "fireworks"}, "payload": body}
    assert only(read(envelope))["provider"] == "fireworks"


# -- tools, tiers, images --------------------------------------------------------------------------


def test_the_tools_of_a_response_are_counted() -> None:
    output = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},  # costs nothing
        {"type": "web_search_call"},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call"},
        {"type": "message"},
    ]
    body = {"object": "response", "id": "resp_x", "status": "completed", "output": output}
    fields = only(read({**body, "usage": {"input_tokens": 1, "output_tokens": 1}}))
    counted = ("web_searches", "file_searches", "code_executions")
    assert [fields[name] for name in counted] == [2, 1, 1]


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_line_of_a_batch_is_of_the_batch_tier(name: str) -> None:
    if name == "openai":
        held: Json = {"response": {"status_code": 200, "body": fixture("openai/chat")}}
        failed: Json = {"response": None, "error": {"code": "batch_expired"}}
    else:
        held = {"result": {"type": "succeeded", "message": fixture("anthropic/message")}}
        failed = {"result": {"type": "expired"}}
    parsed = read([{"custom_id": "row-1", **held}, {"custom_id": "row-2", **failed}])
    assert [event.fields["service_tier"] for event in parsed.events] == ["batch"]
    assert [one.index for one in parsed.skipped] == [1]


# -- speech ----------------------------------------------------------------------------------------


def test_each_channel_of_deepgram_is_billed() -> None:
    body = fixture("deepgram/listen")
    body["metadata"]["channels"] = 2
    assert only(read(body))["stt_audio_ms"] == 37_000


def test_a_live_transcript_of_deepgram_counts_at_its_end() -> None:
    end = {"type": "Metadata", "request_id": "r", "duration": Decimal("4.5"), "channels": 1}
    parsed = read([{"type": "Results", "duration": 2, "is_final": True}, end])
    assert [event.fields["stt_audio_ms"] for event in parsed.events] == [4500]
    assert len(parsed.skipped) == 1


def test_a_page_of_elevenlabs_history_is_its_items() -> None:
    item = fixture("elevenlabs/history_item")
    page = {"history": [item, {**item, "request_id": "other"}], "last_history_item_id": "x"}
    assert len(read(page).events) == 2


def test_a_part_of_cartesias_live_transcript_counts_once_it_is_final() -> None:
    part = {"type": "transcript", "text": "secret", "duration": Decimal("2.5"), "request_id": "r"}
    parsed = read([{**part, "is_final": False}, {**part, "is_final": True}])
    assert [event.index for event in parsed.events] == [1]


# -- frameworks ------------------------------------------------------------------------------------


def test_entries_that_are_not_all_of_a_run_are_not_the_run() -> None:
    body = fixture("openai_agents/run_usage")
    body["request_usage_entries"] = body["request_usage_entries"][1:]
    events = read(body).events
    assert [event.fields.get("input_tokens") for event in events] == [2200, None]


def line(name: str, output: int, stop: str | None, agent: str = "") -> Json:
    usage = {"input_tokens": 1, "output_tokens": output}
    message = {"id": name, "model": "claude-sonnet-4-5", "stop_reason": stop, "usage": usage}
    return {"type": "assistant", "sessionId": "s", "agentId": agent, "message": message}


def test_agents_at_work_at_once_do_not_end_each_others_answers() -> None:
    lines = [
        line("a", 1, None, "one"),
        line("b", 5, "end_turn", "two"),
        line("a", 9, "end_turn", "one"),
    ]
    events = read(lines).events
    assert sorted((e.fields["id"], e.fields["output_tokens"]) for e in events) == [
        ("a", 9),
        ("b", 5),
    ]


def test_an_answer_at_the_end_of_a_transcript_without_its_end_waits() -> None:
    parsed = read([line("a", 9, "end_turn"), line("b", 1, None)])
    assert [event.fields["id"] for event in parsed.events] == ["a"]
    assert "stop_reason" in parsed.skipped[0].reason


@pytest.mark.parametrize(
    ("usage", "into", "out"),
    [
        ({"input": 900, "input_cached_tokens": 1000, "output": 170}, 1900, 170),
        ({"input": 1900, "input_cached_tokens": 1000, "output": 170, "total": 2070}, 1900, 170),
        ({"promptTokens": 5, "completionTokens": 6}, 5, 6),
        ({"input": 5, "output": 6, "output_reasoning_tokens": 4, "total": 15}, 5, 10),
    ],
)
def test_langfuses_usage_is_exclusive_unless_its_total_says_otherwise(
    usage: Json, into: int, out: int
) -> None:
    item = {
        "type": "generation-create",
        "body": {"id": "g", "model": "gpt-4o", "usageDetails": usage},
    }
    fields = only(read({"batch": [item]}))
    assert (fields["input_tokens"], fields["output_tokens"]) == (into, out)
    assert "cost_problem" not in fields


def test_a_total_of_langfuse_that_contradicts_has_no_price() -> None:
    usage = {"input": 5, "output": 6, "total": 99}
    item = {"type": "generation-update", "body": {"id": "g", "usage": usage}}
    assert "contradicts" in only(read({"batch": [item]}))["cost_problem"]


def test_only_observations_that_are_model_calls_count() -> None:
    body = {"id": "o", "usage": {"input": 1, "output": 2}}
    kinds = [("observation-create", "SPAN"), ("observation-create", "GENERATION")]
    items = [{"type": kind, "body": {**body, "id": of, "type": of}} for kind, of in kinds]
    assert [event.index for event in read({"batch": items}).events] == [1]


def test_the_url_of_a_log_tells_the_provider() -> None:
    body = fixture("helicone/custom_log")
    body["providerRequest"]["url"] = "https://api.deepseek.com/chat/completions"
    assert only(read(body))["provider"] == "deepseek"


@pytest.mark.parametrize(
    "body",
    [
        {"type": {}, "kwargs": {}},
        {"event_type": {}, "usage": {}},
        {"providerRequest": {}, "providerResponse": {}, "timing": {"endTime": {"seconds": 1}}},
    ],
)
@pytest.mark.parametrize("format", ["langchain", "cohere", "helicone", None])
def test_odd_values_are_refused_not_raised(body: Json, format: str | None) -> None:  # noqa: A002
    assert not read(body, format).events


def test_a_time_of_a_log_that_is_none_is_left_out() -> None:
    body = fixture("helicone/custom_log")
    body["timing"]["endTime"]["milliseconds"] = 10**30
    assert "latency_ms" not in only(read(body))


def test_an_unknown_field_never_hides_a_known_one() -> None:
    body = {"requests": 1, "input_tokens": 5, "output_tokens": 1, "time": 7, "error": "x"}
    fields = only(read(body))
    assert (fields["time"], fields["input_tokens"]) == ("2026-02-08T10:01:00Z", 5)
