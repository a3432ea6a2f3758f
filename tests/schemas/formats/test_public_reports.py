"""Payloads as users of similar systems reported them, and the bill that the vendor sends for each.

Each was counted or priced otherwise once, or refused. Costs are computed by hand from the vendor's list.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from schemas.errors import InvalidEvent
from schemas.event.usage_event import UsageEvent
from schemas.formats.body import load
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

# -- streams of Anthropic's protocol -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ({"input_tokens": 1000, "cache_read_input_tokens": 500}, {"input_tokens": 0}),
        (
            {"input_tokens": 1000, "cache_read_input_tokens": 500},
            {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
        ),
        ({"input_tokens": 1000, "cache_read_input_tokens": 500}, {"input_tokens": None}),
        ({"input_tokens": 1000, "cache_read_input_tokens": 500}, {}),
        ({"input_tokens": 0}, {"input_tokens": 1000, "cache_read_input_tokens": 500}),
        ({"input_tokens": 9}, {"input_tokens": 1000, "cache_read_input_tokens": 500}),
    ],
    ids=["0", "all 0", "null", "none", "at the end alone", "an estimate at the start"],
)
def test_the_input_of_a_stream_is_that_of_its_end_or_of_its_start_if_the_end_has_none(
    start: dict[str, Any], end: dict[str, Any]
) -> None:
    message = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "model": "claude-sonnet-4-5",
    }
    event = one(
        [
            {
                "type": "message_start",
                "message": {**message, "usage": {**start, "output_tokens": 1}},
            },
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {**end, "output_tokens": 100},
            },
        ]
    )
    assert (event.input_tokens, event.cache_read_tokens, event.output_tokens) == (1500, 500, 100)
    assert usd(event) == Decimal("0.00465")  # 1000 * 3 + 500 * 0.3 + 100 * 15 per million


# -- the parts of an input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cached", "total"), [(1000, 1520), (1000, 1500), (5, 1520)], ids=["less", "wrong", "few"]
)
def test_input_of_converse_never_has_the_cache_even_if_a_total_looks_so(
    cached: int, total: int
) -> None:
    usage = {"inputTokens": 1500, "outputTokens": 20, "totalTokens": total}
    body = {"stopReason": "end_turn", "usage": {**usage, "cacheReadInputTokens": cached}}
    event = one(body, model="us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert event.input_tokens == 1500 + cached
    assert "contradicts" in incomplete(event)


def test_cache_writes_of_dashscope_are_among_the_details() -> None:
    details = {
        "cached_tokens": 0,
        "cache_creation_input_tokens": 2500,
        "cache_creation": {"ephemeral_5m_input_tokens": 2500},
        "cache_type": "ephemeral",
    }
    usage = {"prompt_tokens": 3019, "completion_tokens": 104, "total_tokens": 3123}
    (event,) = read(chat("qwen-plus", {**usage, "prompt_tokens_details": details})).events
    assert event.fields["cache_write_tokens"] == 2500
    assert event.fields["input_tokens"] == 3019
    assert event.unknown == ()


def langchain(about: dict[str, Any], into: dict[str, int], out: dict[str, int]) -> dict[str, Any]:
    usage = {"input_tokens": 10_000, "output_tokens": 1000, "total_tokens": 11_000}
    details = {"input_token_details": into, "output_token_details": out}
    return {"type": "ai", "response_metadata": about, "usage_metadata": {**usage, **details}}


@pytest.mark.parametrize(
    ("tier", "cost"), [("flex", "0.00675"), ("priority", "0.027")], ids=["flex", "priority"]
)
@pytest.mark.parametrize("is_said", [True, False])
def test_langchain_puts_the_tier_before_the_names_of_the_parts(
    tier: str, cost: str, *, is_said: bool
) -> None:
    about = {"model_name": "gpt-5-2025-08-07", "model_provider": "openai"}
    about |= {"service_tier": tier} if is_said else {}
    into = {f"{tier}_cache_read": 8000, tier: 2000, "audio": 0}
    (parsed,) = read(langchain(about, into, {f"{tier}_reasoning": 600, tier: 400})).events
    event = parsed.usage
    assert isinstance(event, UsageEvent)
    assert (event.cache_read_tokens, event.reasoning_tokens) == (8000, 600)
    assert (event.service_tier, parsed.unknown) == (tier, ())
    assert usd(event) == Decimal(cost)


def test_langchain_reports_no_writes_beside_their_lifetimes() -> None:
    about = {"model_name": "claude-sonnet-4-5-20250929", "model_provider": "anthropic"}
    kept = {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 8000}
    event = one(langchain(about, {"cache_creation": 0, "cache_read": 0, **kept}, {}))
    assert (event.cache_write_tokens, event.cache_write_1h_tokens) == (10_000, 8000)
    assert usd(event) == Decimal("0.0705")  # 2000 * 3.75 + 8000 * 6 + 1000 * 15 per million


@pytest.mark.parametrize(
    "body",
    [
        chat("gpt-4o", {"total_tokens": 100}),
        span(
            **{name: said for name, said in SPAN.items() if "usage" not in name},
            **{"gen_ai.usage.total_tokens": 100},
        ),
    ],
    ids=["openai", "span"],
)
def test_tokens_without_their_kind_are_not_a_request_that_used_nothing(
    body: dict[str, Any],
) -> None:
    assert incomplete(one(body)) == "only the total of the tokens is reported"


# -- costs -------------------------------------------------------------------------------------------


def litellm(cost: object) -> dict[str, Any]:
    head = {"id": CHAT_ID, "call_type": "acompletion", "custom_llm_provider": "openai"}
    return {**head, "model": "gpt-4o", "response_cost": cost, **TOKENS, "status": "success"}


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (litellm("0.00123"), "0.00123"),
        (litellm("1.23e-3"), "0.00123"),
        (chat("openai/gpt-4o", {**TOKENS, "cost": "0.00123"}), "0.00123"),
        (
            chat(
                "openai/gpt-4o",
                {
                    **TOKENS,
                    "cost": "0.001",
                    "is_byok": True,
                    "cost_details": {"upstream_inference_cost": "0.00023"},
                },
            ),
            "0.00123",
        ),
        (
            span(
                **{
                    "langfuse.observation.type": "generation",
                    "langfuse.observation.model.name": "gpt-4o",
                    "langfuse.observation.usage_details": json.dumps(TOKENS),
                    "langfuse.observation.cost_details": '{"input": 0.001, "output": 0.00023}',
                }
            ),
            "0.00123",
        ),
    ],
    ids=["litellm", "exponent", "openrouter", "own key", "parts of Langfuse"],
)
def test_a_cost_that_is_said_is_kept_as_text_and_in_parts_too(
    body: dict[str, Any], cost: str
) -> None:
    assert one(body).cost_usd == Decimal(cost)


@pytest.mark.parametrize("said", ["", "$0.1", "NaN", "1,5", "0x1", "Infinity"])
def test_a_cost_that_is_no_number_is_refused_by_its_name(said: str) -> None:
    (refused,) = read(litellm(said)).refused
    assert refused.error.field == "response_cost"


@pytest.mark.parametrize("said", ["NaN", "unknown", "$0.1"])
def test_a_span_keeps_its_usage_though_its_cost_is_no_number(said: str) -> None:
    (event,) = read(span(**SPAN, **{"gen_ai.usage.cost": said})).events
    assert isinstance(event.usage, UsageEvent)
    assert usd(event.usage) == Decimal("0.0035")
    assert event.unknown == ("gen_ai.usage.cost (no number)",)


def test_springs_word_for_nothing_is_not_reported() -> None:
    nothing = {"gen_ai.usage.total_tokens": "none", "gen_ai.response.id": "none"}
    event = one(span(**SPAN, **nothing, **{"gen_ai.request.model": "none"}))
    assert usd(event) == Decimal("0.0035")
    assert event.id == "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


def test_tokens_of_langfuse_in_another_unit_are_no_tokens() -> None:
    usage = {"input": 1000, "output": 100, "unit": "CHARACTERS"}
    body = {"id": "obs-1", "model": "text-bison", "usage": usage}
    item = {
        "id": "1",
        "type": "generation-create",
        "timestamp": "2026-01-01T00:00:00Z",
        "body": body,
    }
    (event,) = read({"batch": [item]}).events
    assert isinstance(event.usage, UsageEvent)
    assert event.usage.input_tokens is None
    assert incomplete(event.usage) == "usage in characters"


@pytest.mark.parametrize(
    ("observation", "name"),
    [
        (f"time-10-53-20-123456_{CHAT_ID}", CHAT_ID),
        ("time-10-53-20-123456_chatcmpl-417", "time-10-53-20-123456_chatcmpl-417"),
        ("0af7651916cd43dd", "0af7651916cd43dd"),
    ],
)
def test_an_observation_of_litellm_is_the_report_of_its_answer(observation: str, name: str) -> None:
    body = {"id": observation, "model": "gpt-4o", "usage": {"input": 10, "output": 5}}
    item = {"id": "1", "type": "generation-create", "body": body}
    assert one({"batch": [item]}).id == name


def test_speech_of_a_speech_model_of_google_has_the_price_of_its_output() -> None:
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 1000, "totalTokenCount": 1100}
    made = {"candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 1000}]}
    event = one(gemini({**usage, **made}, "gemini-2.5-flash-preview-tts"))
    assert usd(event) == Decimal("0.01005")  # 100 * 0.5 + 1000 * 10 per million


# -- what was unknown --------------------------------------------------------------------------------

GEMINI_TOKENS = {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100}


@pytest.mark.parametrize(
    "around",
    [
        {"key": "request-1"},
        {"status": "", "processed_time": "2026-11-13T14:04:28.376+00:00", "request": {}},
    ],
    ids=["Gemini", "Vertex AI"],
)
def test_a_line_of_a_batch_of_gemini_costs_half(around: dict[str, Any]) -> None:
    event = one({**around, "response": gemini(GEMINI_TOKENS)})
    assert (event.service_tier, event.provider) == ("batch", "google")
    assert usd(event) == Decimal("0.000275")  # (1000 * 0.3 + 100 * 2.5) / 2 per million


def test_a_line_of_a_batch_of_gemini_that_failed_counts_nothing() -> None:
    line = {"status": "Error: 429", "processed_time": "2026-11-13T14:04:28Z", "request": {}}
    (skipped,) = read({**line, "response": {}}).skipped
    assert "batch" in skipped.reason


@pytest.mark.parametrize(
    "body",
    [
        {
            "predictions": [
                {"embeddings": {"statistics": {"token_count": 4}, "values": [0.1]}},
                {"embeddings": {"statistics": {"token_count": 6}, "values": [0.1]}},
            ],
            "metadata": {"billableCharacterCount": 40},
        },
        {"embeddings": [{"statistics": {"token_count": 10.0}, "values": [0.1]}]},
        {"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 10}},
    ],
    ids=["predict", "google-genai", "embedContent"],
)
def test_embeddings_of_google_count_their_tokens(body: dict[str, Any]) -> None:
    event = one(body, model="gemini-embedding-001")
    assert (event.operation, event.input_tokens) == ("embeddings", 10)
    assert usd(event) == Decimal("0.0000015")


def sonic(into: tuple[int, int], out: tuple[int, int], totals: tuple[int, int]) -> dict[str, Any]:
    sides = {
        side: {"speechTokens": speech, "textTokens": text}
        for side, (speech, text) in (("input", into), ("output", out))
    }
    said = {"totalInputTokens": totals[0], "totalOutputTokens": totals[1]}
    ids = {"completionId": "c1d2e3f4-0000-1111-2222-333344445555", "sessionId": "s-1"}
    return {"event": {"usageEvent": {**ids, **said, "details": {"delta": sides, "total": {}}}}}


def test_nova_sonic_counts_what_is_new_in_each_usage_event_once() -> None:
    first, second = sonic((37, 13), (0, 0), (50, 0)), sonic((100, 0), (80, 20), (150, 100))
    nothing = sonic((0, 0), (0, 0), (150, 100))
    parsed = read(
        [first, {"event": {"textOutput": {}}}, second, nothing, second],
        model="amazon.nova-sonic-v1:0",
    )
    counted = [event.usage for event in parsed.events]
    assert [(one.input_tokens, one.output_tokens) for one in counted] == [(50, 0), (100, 100)]
    assert [(one.input_audio_tokens, one.output_audio_tokens) for one in counted] == [
        (37, 0),
        (100, 80),
    ]
    assert {one.call_id for one in counted} == {"s-1"}
    assert [isinstance(one, UsageEvent) and usd(one) for one in counted] == [
        Decimal("0.000126580"),  # 37 * 3.4 + 13 * 0.06 per million
        Decimal("0.001432800"),  # 100 * 3.4 + 80 * 13.6 + 20 * 0.24
    ]


@pytest.mark.parametrize(
    ("body", "model", "counts"),
    [
        ({"embedding": [0.1], "inputTextTokenCount": 5}, "amazon.titan-embed-text-v2:0", (5, None)),
        (
            {
                "inputTextTokenCount": 5,
                "results": [{"tokenCount": 7, "outputText": "x", "completionReason": "FINISH"}],
            },
            "amazon.titan-text-express-v1",
            (5, 7),
        ),
        (
            {"generation": "x", "prompt_token_count": 100, "generation_token_count": 20},
            "us.meta.llama3-3-70b-instruct-v1:0",
            (100, 20),
        ),
    ],
    ids=["embeddings", "titan", "llama"],
)
def test_models_of_bedrock_answer_in_formats_of_their_own(
    body: dict[str, Any], model: str, counts: tuple[int, int | None]
) -> None:
    event = one(body, model=model)
    assert (event.provider, event.input_tokens, event.output_tokens) == ("aws", *counts)


def test_ocr_of_mistral_is_billed_by_the_page() -> None:
    usage = {"pages_processed": 29, "doc_size_bytes": None}
    body = {"pages": [{"index": 0}], "model": "mistral-ocr-2505", "usage_info": usage}
    event = one(body)
    assert (event.provider, event.operation, event.pages) == ("mistral", "ocr", 29)
    assert usd(event) == Decimal("0.029")
    assert "annotated" in incomplete(one({**body, "document_annotation": "{}"}))


@pytest.mark.parametrize(
    "body",
    [
        {"model": "voxtral-mini-2602", "text": "x", "language": "en", "segments": []},
        {"type": "transcription.done", "model": "voxtral-mini-2602", "text": "x"},
    ],
    ids=["answer", "stream"],
)
def test_a_transcription_of_mistral_is_billed_by_the_second(body: dict[str, Any]) -> None:
    usage = {"prompt_audio_seconds": 60, "prompt_tokens": 4, "total_tokens": 400}
    event = one({**body, "usage": usage})
    assert (event.kind, event.provider, event.stt_audio_ms) == ("stt", "mistral", 60_000)
    assert usd(event) == Decimal("0.003")  # 0.18 an hour


def test_audio_in_a_chat_of_mistral_is_billed_beside_the_tokens() -> None:
    event = one(chat("voxtral-small-24b-2507", {**TOKENS, "prompt_audio_seconds": 30}))
    assert "seconds" in incomplete(event)


def video(status: str, **more: Any) -> dict[str, Any]:
    head = {"id": "video_68d7512d07848190b3e45da0ecbebcde", "object": "video", "model": "sora-2"}
    return {**head, "created_at": AT_S, "status": status, "seconds": "8", **more}


def test_a_video_is_one_call_whose_cost_is_not_known() -> None:
    polled = [video("queued"), video("in_progress"), video("completed"), video("completed")]
    event = one(polled)
    assert (event.operation, event.model, event.id) == ("video", "sora-2", polled[0]["id"])
    assert "seconds" in incomplete(event)
    failed = one(video("failed", error={"code": "moderation_blocked", "message": "x"}))
    assert failed.error == "moderation_blocked"
    assert failed.cost_problem is None


def test_images_without_usage_are_counted_by_their_number() -> None:
    made = [{"url": "https://host/1", "revised_prompt": "x"}, {"b64_json": "x"}]
    event = one({"created": AT_S, "data": made}, model="dall-e-3")
    assert (event.operation, event.images, event.input_tokens) == ("image", 2, None)
    ticks = one({"data": made, "usage": {"cost_in_usd_ticks": 1_400_000_000}}, model="grok-2-image")
    assert ticks.cost_usd == Decimal("0.14")
    (refused,) = read({"data": [{"url": "https://host/1"}]}).refused
    assert refused.error.field == "format"


# -- streams and bodies as they come -----------------------------------------------------------------


def test_chunks_of_azures_filters_are_no_faults_and_tell_the_provider() -> None:
    filters: dict[str, Any] = {"created": 0, "id": "", "model": "", "object": ""}
    checked: dict[str, Any] = {"index": 0, "finish_reason": None, "content_filter_results": {}}
    delta = {**checked, "delta": {"content": "x"}}
    parsed = read(
        [
            {**filters, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
            chunk(choices=[delta]),
            {**filters, "choices": [{**checked, "content_filter_offsets": {}}]},
            chunk(choices=[{**delta, "finish_reason": "stop"}]),
            chunk(TOKENS, choices=[]),
            chunk(TOKENS, choices=[], id="chatcmpl-of-another-provider-1"),
        ]
    )
    assert [event.usage.provider for event in parsed.events] == ["azure", "openai"]
    assert (len(parsed.skipped), parsed.refused) == (4, ())


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "x", "type": "server_error", "code": None}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "x"}, "request_id": "r"},
        {"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}},
        {"error": {"code": 502, "message": "x"}, "user_id": "u"},
    ],
    ids=["openai", "anthropic", "gemini", "openrouter"],
)
def test_the_body_of_an_error_is_skipped_and_said_to_be_one(body: dict[str, Any]) -> None:
    parsed = read([body, chat("gpt-4o", TOKENS)])
    assert len(parsed.events) == 1
    assert "error" in parsed.skipped[0].reason


@pytest.mark.parametrize("lines", [1, 2])
def test_a_byte_order_mark_is_no_part_of_the_body(lines: int) -> None:
    text = "\r\n".join(json.dumps(chat("gpt-4o", TOKENS, id=f"{CHAT_ID}{n}")) for n in range(lines))
    assert len(read(text.encode("utf-8-sig")).events) == lines


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'data: {"object":"chat.completion.chunk"}\n\ndata: [DONE]\n', "server-sent"),
        (b"event: message_start\ndata: {}\n", "server-sent"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "twice"),
    ],
)
def test_a_body_that_is_no_json_says_what_it_is(body: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent, match=said):
        load(body)


@pytest.mark.parametrize(
    ("attributes", "provider"),
    [
        (
            {"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.5-flash"},
            "google",
        ),
        ({"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "openai/gpt-4o"}, "openai"),
    ],
)
def test_googles_agent_kit_is_no_provider(attributes: dict[str, str], provider: str) -> None:
    spoken = {
        name: said for name, said in SPAN.items() if "provider" not in name and "model" not in name
    }
    assert one(span(**spoken, **attributes)).provider == provider


@pytest.mark.parametrize("stem", ["gen_ai.response", "gen_ai.usage"])
def test_spans_of_semantic_kernel_count(stem: str) -> None:
    event = one(
        span(
            **{
                "gen_ai.operation.name": "chat.completions",
                "gen_ai.system": "openai",
                "gen_ai.request.model": "gpt-4o",
                f"{stem}.prompt_tokens": 1000,
                f"{stem}.completion_tokens": 100,
            }
        )
    )
    assert usd(event) == Decimal("0.0035")


def test_a_transcript_that_failed_is_not_billed() -> None:
    body = {"id": "t-1", "status": "error", "audio_url": "https://host", "audio_duration": 60}
    event = one({**body, "speech_model": "universal", "error": "x"})
    assert (event.error, event.stt_audio_ms) == ("error", None)
