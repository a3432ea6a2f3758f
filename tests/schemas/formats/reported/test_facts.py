"""Facts that decide a price or an identity, and that only some vendors report. Values are derived by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from schemas.event.usage_event import UsageEvent
from tests.schemas.formats.reported.payloads import (
    AT_S,
    TOKENS,
    chat,
    incomplete,
    one,
    read,
    usd,
)

# -- identity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chatcmpl-A1", "koboldcpp", "id-1796040000123", "cmpl-default"])
def test_an_id_that_a_server_gives_to_many_answers_is_completed(name: str) -> None:
    first = {**chat("llama3.2", TOKENS), "id": name}
    other = {**first, "created": AT_S + 60}
    assert len(read([first, other, first]).events) == 2


def test_a_stream_of_a_maker_at_bedrock_counts_once() -> None:
    def chunk(text: str, into: int | None, out: int, stop: str | None) -> dict[str, Any]:
        counts = {"prompt_token_count": into, "generation_token_count": out}
        return {"generation": text, **counts, "stop_reason": stop}

    told = {"inputTokenCount": 17, "outputTokenCount": 50, "firstByteLatency": 300}
    last = {**chunk("", None, 50, "stop"), "amazon-bedrock-invocationMetrics": told}
    event = one(
        [chunk("a", 17, 1, None), chunk("b", None, 2, None), last],
        model="us.meta.llama3-3-70b-instruct-v1:0",
    )
    assert (event.input_tokens, event.output_tokens, event.first_output_ms) == (17, 50, 300)
    assert event.finish_reason == "stop"


@pytest.mark.parametrize(
    ("chunk", "counts"),
    [
        ({"outputs": [{"text": "x", "stop_reason": "stop"}]}, (117, 50, 100)),
        ({"outputText": "", "completionReason": "FINISH", "inputTextTokenCount": 17}, None),
    ],
    ids=["mistral", "titan"],
)
def test_the_counts_of_bedrock_are_in_the_last_chunk_of_any_maker(
    chunk: dict[str, Any], counts: tuple[int, int, int] | None
) -> None:
    told = {"inputTokenCount": 17, "outputTokenCount": 50, "cacheReadInputTokenCount": 100}
    event = one({**chunk, "amazon-bedrock-invocationMetrics": told}, model="amazon.some-model")
    read_counts = (event.input_tokens, event.output_tokens, event.cache_read_tokens)
    assert read_counts == (counts or (117, 50, 100))


def test_chunks_of_titan_before_the_last_count_nothing() -> None:
    chunk = {"outputText": "x", "index": 0, "inputTextTokenCount": 17, "completionReason": None}
    last = {**chunk, "completionReason": "FINISH", "totalOutputTextTokenCount": 9}
    event = one([chunk, chunk, last], model="amazon.titan-text-express-v1")
    assert (event.input_tokens, event.output_tokens) == (17, 9)


# -- no calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"id": "resp_1", "object": "response", "deleted": True},
        {"id": "video_1", "object": "video", "deleted": True},
        {
            "id": "batch_1",
            "object": "batch",
            "status": "completed",
            "usage": {"input_tokens": 900, "output_tokens": 90, "total_tokens": 990},
        },
        {
            "model": "llama3.2",
            "created_at": "2026-11-30T10:00:00Z",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "load",
        },
        {"type": "Begin", "id": "session-1", "expires_at": AT_S},
    ],
    ids=["deleted", "deleted video", "batch", "load", "begin"],
)
def test_what_is_no_answer_is_skipped_with_its_reason(body: dict[str, Any]) -> None:
    parsed = read(body)
    assert (parsed.events, parsed.refused) == ((), ())
    assert parsed.skipped[0].reason


def test_the_sum_of_a_batch_is_no_answer_if_its_format_is_named_either() -> None:
    usage = {"input_tokens": 900, "output_tokens": 90, "total_tokens": 990}
    body = {"id": "batch_1", "object": "batch", "usage": usage}
    assert read({"format": "openai", "payload": body}).events == ()


# -- totals ------------------------------------------------------------------------------------------

_GROSS = {"inputTokens": 4995, "outputTokens": 19, "cacheWriteInputTokens": 4993}


@pytest.mark.parametrize(
    ("body", "model", "into"),
    [
        ({"metadata": {"usage": {**_GROSS, "totalTokens": 10007}}}, "openai.gpt-5.6", 4995),
        ({"metadata": {"usage": {**_GROSS, "totalTokens": 10007}}}, "us.openai.gpt-5.6", 4995),
        ({"metadata": {"usage": _GROSS}}, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 9988),
        ({"usage": {**_GROSS, "inputTokens": 2}, "stopReason": "end_turn"}, "openai.gpt-5.6", 4995),
    ],
    ids=["stream", "region", "claude", "answer"],
)
def test_streams_of_openais_models_at_bedrock_have_the_cache_in_their_input(
    body: dict[str, Any], model: str, into: int
) -> None:
    # earendil-works/pi#8752, maximhq/bifrost#6942
    event = one(body, model=model)
    assert (event.input_tokens, event.cost_problem) == (into, None)


# -- prices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["low", "medium"])
def test_the_search_context_of_perplexity_decides_the_price(size: str) -> None:
    usage = {**TOKENS, "search_context_size": size}
    assert size in incomplete(one(chat("sonar-pro", usage)))
    said = {"input_tokens_cost": 0.003, "request_cost": 0.006, "total_cost": 0.0105}
    assert usd(one(chat("sonar-pro", {**usage, "cost": said}))) == Decimal("0.0105")


def test_the_largest_search_context_has_the_listed_price() -> None:
    event = one(chat("sonar-pro", {**TOKENS, "search_context_size": "high"}))
    assert usd(event) == Decimal("0.0185")  # 1000 * 3 + 100 * 15 per million, 14 per thousand


@pytest.mark.parametrize("in_stream", [False, True])
def test_an_inference_with_less_latency_has_another_price(in_stream: bool) -> None:  # noqa: FBT001
    usage = {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100}
    body: dict[str, Any] = {"usage": usage, "performanceConfig": {"latency": "optimized"}}
    body = {"metadata": body} if in_stream else {**body, "stopReason": "end_turn"}
    assert "optimized" in incomplete(one(body, model="us.amazon.nova-pro-v1:0"))


def test_a_transcription_of_groq_is_of_groq() -> None:
    event = one(
        {"task": "translate", "text": "x", "duration": 20.0, "x_groq": {"id": "req_1"}},
        model="whisper-large-v3",
    )
    assert (event.provider, event.operation) == ("groq", "translation")


_RESPONSE = {
    "id": "resp_68b0a1c2d3e4f5061728394a5b6c7d8e",
    "object": "response",
    "created_at": AT_S,
    "model": "gpt-5",
    "status": "completed",
    "usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
}
_SEARCH = {"type": "web_search_call", "action": {"type": "search"}}


@pytest.mark.parametrize(("billed", "cost"), [(2, "0.02225"), (0, "0.00225")])
def test_the_searches_that_openai_bills_are_those_that_it_tells(billed: int, cost: str) -> None:
    told = {"web_search": {"num_requests": billed}, "image_gen": {"total_tokens": 0}}
    event = one({**_RESPONSE, "output": [_SEARCH], "tool_usage": told})
    assert usd(event) == Decimal(cost)  # 1000 * 1.25 + 100 * 10 per million, 10 per thousand


def test_tokens_of_images_that_a_tool_made_are_not_those_of_the_model() -> None:
    told = {"image_gen": {"input_tokens": 50, "output_tokens": 1056, "total_tokens": 1106}}
    assert "tool_calls" in incomplete(one({**_RESPONSE, "output": [], "tool_usage": told}))


def test_the_model_that_writes_an_image_as_svg_is_a_call_of_its_own() -> None:
    counts = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    svg = {**counts, "reasoning_tokens": 40, "model": "gpt-5"}
    body = {"created": AT_S, "data": [{"b64_json": "aGk="}], "usage": counts, "svg_usage": svg}
    made, written = (event.usage for event in read(body, model="gpt-image-1").events)
    assert isinstance(written, UsageEvent)
    assert (made.model, written.model) == ("gpt-image-1", "gpt-5")
    assert (written.reasoning_tokens, usd(written)) == (40, Decimal("0.00225"))


@pytest.mark.parametrize(("kept", "has_cost"), [(0, True), (300, False)])
def test_cache_writes_for_12_hours_have_no_listed_price(kept: int, has_cost: bool) -> None:  # noqa: FBT001
    lifetimes = {"ttl_30m_tokens": 300 - kept, "ttl_12h_tokens": kept}
    details = {"cache_write_tokens": 300, "cache_write_tokens_details": lifetimes}
    usage = {**TOKENS, "prompt_tokens_details": details}
    (event,) = read(chat("gpt-5.6", usage)).events
    assert event.unknown == ()
    assert isinstance(event.usage, UsageEvent)
    if has_cost:
        assert usd(event.usage) == Decimal("0.0063")  # 700 * 4 + 300 * 5 + 100 * 20 per million
    else:
        assert "12 hours" in incomplete(event.usage)


def test_the_lifetimes_of_a_cache_write_are_its_sum_where_nothing_else_is() -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
    }
    event = one({"type": "message", "id": "msg_1", "model": "claude-sonnet-4-5", "usage": usage})
    assert (event.input_tokens, event.cache_write_tokens) == (1300, 300)
    # 1000 * 3 + 100 * 3.75 + 200 * 6 + 100 * 15 per million
    assert usd(event) == Decimal("0.006075")


# -- speech ------------------------------------------------------------------------------------------


def _deepgram(metadata: dict[str, Any], heard: dict[str, Any]) -> dict[str, Any]:
    model = {"m": {"name": "general-nova-3", "arch": "nova-3"}}
    about = {"request_id": "r-1", "duration": 60.0, "channels": 1, "model_info": model}
    return {
        "metadata": {**about, **metadata},
        "results": {"channels": [{"alternatives": [heard]}]},
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_deepgram({"summary_info": {"input_tokens": 95, "output_tokens": 63}}, {}), "summary"),
        (_deepgram({}, {"transcript": "x", "languages": ["en", "es"]}), "languages"),
        (
            {
                "id": "t-1",
                "status": "completed",
                "audio_url": "https://host/a",
                "audio_duration": 281,
                "speech_model": "universal",
                "speaker_labels": True,
            },
            "speaker_labels",
        ),
        (
            {
                "language_probability": 0.98,
                "text": "x",
                "words": [{"text": "x", "end": 7.25}],
                "transcription_id": "t-1",
                "model_id": "scribe_v1",
            },
            "last word",
        ),
    ],
    ids=["deepgram", "languages", "assemblyai", "elevenlabs"],
)
def test_speech_with_more_than_its_price_bills_has_no_cost(body: dict[str, Any], said: str) -> None:
    assert said in incomplete(one(body))


def test_each_channel_that_elevenlabs_transcribed_is_billed() -> None:
    channel = {"language_probability": 0.98, "text": "x", "audio_duration_secs": 60.0}
    event = one({"transcripts": [channel, channel], "transcription_id": "t-1"}, model="scribe_v1")
    assert event.stt_audio_ms == 120_000
    assert usd(event) == Decimal("0.007333333")  # 2 minutes of 0.22 an hour
