"""What a vendor bills, where it counts or names it otherwise than others. Each example was wrong once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from schemas.event.usage_event import UsageEvent
from schemas.formats.context import Context
from schemas.formats.parse import parse
from schemas.prices.cost import Priced, price
from tests.oracles.event_logs import NOW_MS


def read(body: dict[str, Any]) -> tuple[UsageEvent, tuple[str, ...]]:
    (one,) = parse(body, None, Context(received_ms=NOW_MS, id_seed="seed")).events
    assert isinstance(one.usage, UsageEvent)
    return one.usage, one.unknown


def gemini(model: str, queries: int) -> dict[str, Any]:
    grounding = {"webSearchQueries": [f"query {n}" for n in range(queries)]} if queries else {}
    candidate = {"content": {}, "finishReason": "STOP", "groundingMetadata": grounding}
    usage = {"promptTokenCount": 20, "candidatesTokenCount": 30, "totalTokenCount": 50}
    return {"candidates": [candidate], "modelVersion": model, "usageMetadata": usage}


@pytest.mark.parametrize(
    ("model", "queries", "searches"),
    [
        ("gemini-2.5-flash", 3, 1),
        ("gemini-2.0-flash-001", 2, 1),
        ("gemini-2.5-pro", 0, None),
        ("gemini-3-pro-preview", 3, 3),
        ("gemini-3.1-flash", 1, 1),
    ],
)
def test_gemini_bills_grounding_by_the_prompt_and_from_3_on_by_the_query(
    model: str, queries: int, searches: int | None
) -> None:
    usage, _ = read(gemini(model, queries))
    assert usage.web_searches == searches


def test_a_grounded_prompt_costs_one_search() -> None:
    usage, _ = read(gemini("gemini-2.5-flash", 3))
    priced = price(usage)
    assert isinstance(priced, Priced)
    assert priced.nano_usd == 35_000_000 + 20 * 300 + 30 * 2500


def chat(model: str, **usage: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, **usage}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "model": model}
    return {**head, "choices": [choice], "usage": counts}


@pytest.mark.parametrize(
    ("ticks", "usd"),
    [(37_756_000, "0.0037756"), (0, "0"), (25_000_000_000, "2.5"), (1, "0.0000000001")],
)
def test_xai_says_what_it_bills_in_ticks(ticks: int, usd: str) -> None:
    usage, unknown = read(chat("grok-4", cost_in_usd_ticks=ticks))
    assert usage.cost_usd == Decimal(usd)
    assert unknown == ()


@pytest.mark.parametrize(
    "said",
    [
        {"server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1}},
        {"server_side_tool_usage": {"web_search": 3}},
        {"num_server_side_tools_used": 3},
    ],
)
def test_tools_that_xai_ran_leave_no_cost_without_theirs(said: dict[str, Any]) -> None:
    usage, unknown = read(chat("grok-4", **said))
    assert (usage.tool_calls, unknown) == (3, ())
    assert not isinstance(price(usage), Priced)


def test_embeddings_that_report_a_total_alone_have_it_as_their_input() -> None:
    """Voyage's."""
    vector = {"object": "embedding", "embedding": [0.1], "index": 0}
    body = {
        "object": "list",
        "data": [vector],
        "model": "voyage-3.5",
        "usage": {"total_tokens": 10},
    }
    usage, _ = read(body)
    assert (usage.input_tokens, usage.output_tokens, usage.provider) == (10, None, "voyageai")
    priced = price(usage)
    assert isinstance(priced, Priced)
    assert priced.nano_usd == 600


def test_vllms_and_mistrals_name_of_cached_tokens_is_known() -> None:
    usage, unknown = read(chat("mistral-large-latest", num_cached_tokens=64))
    assert (usage.cache_read_tokens, unknown) == (64, ())


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("jamba-large-1.7", "ai21"),
        ("palmyra-x5", "writer"),
        ("solar-pro2", "upstage"),
        ("qwen-max-2025-01-25", "alibaba"),
        ("doubao-seed-1-6-250615", "bytedance"),
        ("ernie-x1-turbo-32k", "baidu"),
        ("MiniMax-M2", None),  # open weights: anybody may serve them
        ("ernie-4.5-21b-a3b", None),
        ("step-3", None),
        ("gpt-4o", "openai"),
        ("my-deployment", "openai"),  # Azure's and gateways' own names: by the protocol
    ],
)
def test_a_model_of_another_maker_is_not_openais(model: str, provider: str | None) -> None:
    usage, _ = read(chat(model))
    assert usage.provider == provider


@pytest.mark.parametrize(
    ("id_", "provider"),
    [
        ("msg_01AbCdEfGhIjKlMnOpQrStUv", "anthropic"),
        ("msg_bdrk_01AbCdEfGhIjKlMnOpQrStUv", "aws"),
        ("msg_vrtx_01AbCdEfGhIjKlMnOpQrStUv", "google"),
    ],
)
def test_the_id_of_a_message_tells_the_cloud_that_bills_it(id_: str, provider: str) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}
    head = {"id": id_, "type": "message", "role": "assistant", "stop_reason": "end_turn"}
    found, _ = read({**head, "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage})
    assert found.provider == provider
    assert isinstance(price(found), Priced)


def test_usage_in_the_choice_that_ends_a_stream_counts() -> None:
    """Moonshot's."""
    counts = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cached_tokens": 8}
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": counts}
    head = {"id": "cmpl-04ea926191a14749b7f2c7a48a68abc6", "object": "chat.completion.chunk"}
    usage, unknown = read({**head, "model": "kimi-k2-0905-preview", "choices": [choice]})
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (19, 13, 8)
    assert unknown == ()


@pytest.mark.parametrize(
    ("model", "details", "nano_usd"),
    [
        ("gpt-image-1", {}, 4160 * 40_000),
        ("gpt-image-1.5", {}, 4160 * 32_000),
        ("gpt-image-1.5", {"image_tokens": 4000, "text_tokens": 160}, 4000 * 32_000 + 160 * 10_000),
    ],
)
def test_what_an_image_api_makes_are_image_tokens(
    model: str, details: dict[str, int], nano_usd: int
) -> None:
    counts: dict[str, Any] = {"input_tokens": 0, "output_tokens": 4160, "total_tokens": 4160}
    counts |= {"output_tokens_details": details} if details else {}
    body = {"created": NOW_MS // 1000, "data": [{"b64_json": ""}], "usage": counts}
    (one,) = parse(body, "openai", Context(received_ms=NOW_MS, id_seed="s", model=model)).events
    assert isinstance(one.usage, UsageEvent)
    assert one.usage.output_image_tokens == details.get("image_tokens", 4160)
    priced = price(one.usage)
    assert isinstance(priced, Priced)
    assert priced.nano_usd == nano_usd
