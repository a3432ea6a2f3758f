"""Numbers and facts that decide a cost, under whatever name. Costs are computed by hand from the vendor's list."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from schemas.event.usage_event import UsageEvent
from tests.schemas.formats.reported.payloads import (
    CHAT_ID,
    SPAN,
    TOKENS,
    chat,
    gemini,
    incomplete,
    litellm,
    one,
    read,
    span,
    usd,
)

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


CONVERSE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize(
    ("body", "model", "cost"),
    [
        (chat("gpt-4o", {**TOKENS, "total_tokens": 0}), "", "0.0035"),
        (
            gemini({"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 0}),
            "",
            "0.00055",
        ),
        (
            {
                "stopReason": "end_turn",
                "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 0},
            },
            CONVERSE,
            "0.00495",
        ),
    ],
    ids=["openai", "gemini", "converse"],
)
def test_a_total_of_0_beside_tokens_is_none(body: dict[str, Any], model: str, cost: str) -> None:
    assert usd(one(body, model=model)) == Decimal(cost)


@pytest.mark.parametrize("name", ["prompt_tokens_details", "completion_tokens_details"])
def test_an_empty_array_of_php_is_an_empty_object(name: str) -> None:
    assert usd(one(chat("gpt-4o", {**TOKENS, name: []}))) == Decimal("0.0035")
    (refused,) = read(chat("gpt-4o", {**TOKENS, name: [1]})).refused
    assert refused.error.field == f"usage.{name}"


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


# -- facts that decide a price, through a framework --------------------------------------------------

CLAUDE = {"custom_llm_provider": "anthropic", "model": "claude-sonnet-4-5-20250929"}
KEPT_1H = {"cache_creation_input_tokens": 900}


@pytest.mark.parametrize(
    ("usage", "more", "cost"),
    [
        ({"service_tier": "flex"}, {"model": "gpt-5"}, "0.001125"),
        ({}, {"model": "gpt-5", "response": {"service_tier": "flex"}}, "0.001125"),
        ({}, {"model": "gpt-5", "model_parameters": {"service_tier": "flex"}}, "0.001125"),
        ({"service_tier": "default"}, {"model": "gpt-5", "model_parameters": {"service_tier": "flex"}},
         "0.00225"),
        ({}, {"model": "gpt-5", "call_type": "aretrieve_batch"}, "0.001125"),
        ({**KEPT_1H, "cache_creation": {"ephemeral_1h_input_tokens": 900}}, CLAUDE, "0.0072"),
        (
            {
                **KEPT_1H,
                "prompt_tokens_details": {
                    "cache_creation_token_details": {"ephemeral_1h_input_tokens": 900}
                },
            },
            CLAUDE,
            "0.0072",
        ),
        ({"server_tool_use": {"web_search_requests": 2}}, CLAUDE, "0.0245"),
        (
            {"prompt_tokens_details": {"web_search_requests": 3}},
            {"custom_llm_provider": "vertex_ai", "model": "gemini-2.5-flash"},
            "0.03555",
        ),
        (
            {"completion_tokens_details": {"image_tokens": 100}},
            {"custom_llm_provider": "vertex_ai", "model": "gemini-2.5-flash-image"},
            "0.0033",
        ),
        ({"inference_geo": "us"}, {**CLAUDE, "model": "claude-opus-4-6"}, "0.00825"),
    ],
    ids=["flex", "of the answer", "asked", "asked in vain", "batch", "1 h", "1 h details", "searches",
         "prompt with searches", "images", "US"],
)  # fmt: skip
def test_litellm_passes_the_facts_on_where_it_knows_no_price(
    usage: dict[str, Any], more: dict[str, Any], cost: str
) -> None:
    body = {**litellm(None), **more, "metadata": {"usage_object": {**TOKENS, **usage}}}
    assert usd(one(body)) == Decimal(cost)


@pytest.mark.parametrize(
    ("model", "metadata", "cost"),
    [
        (
            "claude-sonnet-4-5",
            {
                "anthropic": {
                    "cacheCreationInputTokens": 1000,
                    "usage": {
                        "cache_creation": {"ephemeral_1h_input_tokens": 1000},
                        "server_tool_use": {"web_search_requests": 2},
                        "service_tier": "standard",
                    },
                }
            },
            "0.0305",  # 1000 * 3 + 1000 * 6 + 100 * 15 per million, and 2 searches
        ),
        ("gpt-5", {"openai": {"serviceTier": "flex", "responseId": "r"}}, "0.001125"),
        ("gpt-5", {"openai": {"serviceTier": "default"}}, "0.00225"),
        (
            "gemini-2.5-flash",
            {"google": {"groundingMetadata": {"webSearchQueries": ["a", "b"]}}},
            "0.03555",
        ),
    ],
    ids=["anthropic", "flex", "standard", "google"],
)
def test_vercels_sdk_has_facts_of_the_price_in_the_text_of_the_provider(
    model: str, metadata: dict[str, Any], cost: str
) -> None:
    event = one(
        span(
            **{
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.model.id": model,
                "ai.model.provider": f"{next(iter(metadata))}.chat",
                "ai.usage.promptTokens": 1000,
                "ai.usage.completionTokens": 100,
                "ai.response.providerMetadata": json.dumps(metadata),
            }
        )
    )
    assert usd(event) == Decimal(cost)


def test_a_span_without_the_tier_of_the_answer_has_that_of_the_request() -> None:
    asked = {"openai.request.service_tier": "flex"}
    tokens = {name: said for name, said in SPAN.items() if "model" not in name}
    event = one(span(**tokens, **asked, **{"gen_ai.request.model": "gpt-5"}))
    assert usd(event) == Decimal("0.001125")
    answered = {**asked, "openai.response.service_tier": "default"}
    event = one(span(**tokens, **answered, **{"gen_ai.request.model": "gpt-5"}))
    assert usd(event) == Decimal("0.00225")


def test_images_that_cohere_bills_leave_no_cost_without_theirs() -> None:
    usage = {"billed_units": {"input_tokens": 100, "output_tokens": 10, "images": 2}}
    assert "images" in incomplete(one({"id": "c-1", "usage": usage}, model="command-a-03-2025"))
