"""Words, usage and costs of spans under the names of one library. Values are derived by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.schemas.formats.reported.payloads import SPAN, one, read, span, usd

_LLM = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-4o",
    "llm.token_count.prompt": 1500,
    "llm.token_count.completion": 100,
}
_VERCEL = {
    "ai.operationId": "ai.streamText.doStream",
    "ai.model.provider": "gateway",
    "ai.model.id": "openai/gpt-4o",
    "ai.usage.inputTokens": 1500,
    "ai.usage.outputTokens": 100,
}


def mlflow(usage: dict[str, int], **more: object) -> dict[str, Any]:
    """MLflow writes each attribute as JSON."""
    said = {"mlflow.spanType": "CHAT_MODEL", "mlflow.chat.tokenUsage": usage, **more}
    return span(**{name: json.dumps(value) for name, value in said.items()})


def vercel(**facts: object) -> dict[str, Any]:
    return span(**_VERCEL, **{"ai.response.providerMetadata": json.dumps(facts)})


def test_openinferences_other_name_of_the_cache_is_read() -> None:
    event = one(span(**_LLM, **{"llm.token_count.prompt_details.cache_input": 500}))
    assert usd(event) == Decimal("0.004125")  # 1000 * 2.5 + 500 * 1.25 + 100 * 10 per million


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        (span(**_LLM, **{"llm.cost.prompt": "0.003", "llm.cost.completion": "0.0011"}), "0.0041"),
        (vercel(gateway={"cost": "0.0047", "marketCost": "0.0047"}), "0.0047"),
        (vercel(openrouter={"usage": {"cost": 0.0051, "totalTokens": 1600}}), "0.0051"),
        (
            mlflow(
                {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
                **{"mlflow.llm.cost": {"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.31}},
            ),
            "0.31",
        ),
    ],
    ids=["openinference", "vercel", "openrouter", "mlflow"],
)
def test_a_cost_that_a_span_says_counts(body: dict[str, Any], cost: str) -> None:
    assert usd(one(body)) == Decimal(cost)


def test_a_bill_of_0_for_ones_own_key_is_no_cost() -> None:
    assert one(vercel(gateway={"cost": "0", "marketCost": "0.0047"})).cost_usd is None
    assert one(vercel(gateway={"cost": "0"})).cost_usd == 0


def test_a_cost_of_a_gateway_that_is_no_number_costs_no_usage() -> None:
    (event,) = read(vercel(gateway={"cost": "much"})).events
    assert event.unknown == ("ai.response.providerMetadata (no number)",)
    assert event.fields["input_tokens"] == 1500


@pytest.mark.parametrize(
    ("provider", "model", "into", "cost"),
    [
        ("openai", "gpt-4o", 1500, "0.004125"),
        ("anthropic", "claude-sonnet-4-5", 2000, "0.00615"),
    ],
)
def test_mlflows_values_are_json_and_its_input_is_that_of_the_vendor(
    provider: str, model: str, into: int, cost: str
) -> None:
    usage = {"input_tokens": 1500, "output_tokens": 100, "cache_read_input_tokens": 500}
    about = {"mlflow.llm.model": model, "mlflow.llm.provider": provider}
    event = one(mlflow({**usage, "total_tokens": 1600}, **about))
    assert (event.provider, event.model, event.input_tokens) == (provider, model, into)
    assert usd(event) == Decimal(cost)  # claude: 1500 * 3 + 500 * 0.3 + 100 * 15 per million


def test_a_wrapper_of_mlflow_counts_nothing() -> None:
    said = {"mlflow.spanType": json.dumps("AGENT"), "mlflow.chat.tokenUsage": '{"input_tokens":1}'}
    parsed = read(span(**said))
    assert parsed.events == ()
    assert parsed.skipped[0].has_usage


def test_braintrust_names_the_model_in_its_metadata() -> None:
    said = {
        "braintrust.span_attributes": {"type": "llm"},
        "braintrust.metrics": {"prompt_tokens": 1000, "completion_tokens": 100, "tokens": 1100},
        "braintrust.metadata": {"model": "gpt-4o", "provider": "openai"},
    }
    event = one(span(**{name: json.dumps(value) for name, value in said.items()}))
    assert (event.provider, event.model, usd(event)) == ("openai", "gpt-4o", Decimal("0.0035"))


@pytest.mark.parametrize(
    ("said", "kind", "operation"),
    [
        ({"gen_ai.operation.name": "audio"}, "llm", "audio"),
        ({"gen_ai.operation.name": "speech"}, "tts", "speech"),
        ({"gen_ai.operation.name": "transcription"}, "stt", "transcription"),
        ({"agentops.span.kind": "llm"}, "llm", "chat"),
    ],
)
def test_more_words_for_a_call(said: dict[str, str], kind: str, operation: str) -> None:
    plain = {name: value for name, value in SPAN.items() if name != "gen_ai.operation.name"}
    event = one(span(**plain, **said))
    assert (event.kind, event.operation) == (kind, operation)
