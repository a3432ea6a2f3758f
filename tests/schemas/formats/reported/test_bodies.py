"""Formats that were unknown, and bodies and streams as they come."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from schemas.errors import InvalidEvent
from schemas.event.usage_event import UsageEvent
from schemas.formats.body import load
from tests.schemas.formats.reported.payloads import (
    AT_S,
    CHAT_ID,
    SPAN,
    TOKENS,
    chat,
    chunk,
    gemini,
    incomplete,
    one,
    read,
    span,
    usd,
)

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
    flux = "black-forest-labs/FLUX.1-schnell"
    others = one({"object": "list", "model": flux, "data": [{"index": 0, "url": "https://host/1"}]})
    assert (others.operation, others.images, others.provider) == ("image", 1, None)
    ranked = one({"object": "list", "model": "m", "usage": {"total_tokens": 5}, "results": []})
    assert ranked.operation == "rerank"
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
