"""Totals that leave parts out, the same fact under other names, and what is unknown."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.formats.vendors.usage import CONTRADICTION, PROBLEM, inclusive
from tests.schemas.formats.fixtures import fixture, only, read

counts = st.integers(0, 10**9)


def chat(model: str = "m", **usage: Any) -> dict[str, Any]:
    return {"object": "chat.completion", "id": "chatcmpl-Bx", "model": model, "usage": usage}


@given(counts, counts, counts, counts, counts)
def test_any_vendors_reading_is_found_from_its_total(
    into: int, out: int, cached: int, written: int, thought: int
) -> None:
    """Inclusive numbers, and those that leave out cached or reasoning tokens, or both."""
    whole = (into + cached + written, out + thought)
    read_all = partial(inclusive, cache_read=cached, cache_write=written, reasoning=thought)
    found = read_all(*whole, sum(whole))
    assert (found.input, found.output, found.is_consistent) == (*whole, True)
    for said in ((into, whole[1]), (whole[0], out), (into, out)):
        found = read_all(*said, sum(whole))
        assert found.is_consistent
        assert found.input is not None
        assert found.output is not None
        assert found.input + found.output == sum(whole)
        assert found.input >= cached + written
        assert found.output >= thought


@given(counts, counts, st.none() | counts, counts, counts)
def test_numbers_that_contradict_each_other_stay_as_they_are(
    into: int, out: int, total: int | None, cached: int, thought: int
) -> None:
    found = inclusive(into, out, total, cache_read=cached, reasoning=thought)
    if not found.is_consistent:
        assert (found.input, found.output) == (into, out)
    elif total is None:
        assert cached <= into
        assert thought <= out


def test_xai_leaves_reasoning_out() -> None:
    details = {"reasoning_tokens": 512}
    usage = {"prompt_tokens": 18, "completion_tokens": 7, "completion_tokens_details": details}
    fields = only(read(chat("grok-3-mini", **usage, total_tokens=537)))
    assert (fields["output_tokens"], fields["reasoning_tokens"]) == (519, 512)


def test_gemini_at_openais_endpoint_has_its_thoughts_in_the_total_alone() -> None:
    usage = {"prompt_tokens": 22, "completion_tokens": 80, "total_tokens": 602}
    assert only(read(chat("gemini-2.5-flash", **usage)))["output_tokens"] == 580
    fields = only(read(chat("some-model", **usage)))
    assert (fields["output_tokens"], fields["cost_problem"]) == (80, PROBLEM)


def test_gemini_through_livekit_and_litellm() -> None:
    body = fixture("livekit/llm")
    body["metadata"] = {"model_name": "gemini-2.5-flash", "model_provider": "google"}
    body |= {"prompt_tokens": 22, "completion_tokens": 80, "total_tokens": 602}
    body |= {"prompt_cached_tokens": 0, "cache_creation_tokens": 0, "reasoning_tokens": 0}
    assert only(read(body))["output_tokens"] == 580


def test_a_contradiction_has_no_price_and_is_reported() -> None:
    usage = {"prompt_tokens": 80, "completion_tokens": 15, "total_tokens": 95}
    usage["prompt_tokens_details"] = {"cached_tokens": 100}  # type: ignore[assignment]
    (event,) = read(chat("gpt-4o", **usage)).events
    assert event.fields["cost_problem"] == PROBLEM
    assert event.unknown == (f"usage.total_tokens{CONTRADICTION}",)


def test_reasoning_beyond_the_output_is_a_contradiction() -> None:
    details = {"reasoning_tokens": 20}
    usage = {"prompt_tokens": 8, "completion_tokens": 5, "completion_tokens_details": details}
    assert only(read(chat("gpt-5", **usage)))["cost_problem"] == PROBLEM


@pytest.mark.parametrize(
    "cached",
    [
        {"prompt_cache_hit_tokens": 44, "prompt_cache_miss_tokens": 6},  # DeepSeek
        {"cached_tokens": 44},  # Moonshot
        {"prompt_tokens_details": {"cached_tokens": 44}},
        {"prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 44},
        {"cache_read_input_tokens": 44},
    ],
)
def test_cached_tokens_have_several_names(cached: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 6, "total_tokens": 56, **cached}
    fields = only(read(chat("deepseek-chat", **usage)))
    assert (fields["input_tokens"], fields["cache_read_tokens"]) == (50, 44)


@pytest.mark.parametrize(
    ("cost", "usd"),
    [
        ({"cost": 1}, "1"),
        ({"cost": {"total_cost": 2, "request_cost": 1}}, "2"),  # Perplexity
        ({"estimated_cost": 3}, "3"),  # DeepInfra
        ({"cost": 1, "is_byok": True, "cost_details": {"upstream_inference_cost": 4}}, "5"),
        ({"cost": 1, "is_byok": True}, None),
    ],
)
def test_the_cost_that_a_vendor_reports_counts(cost: dict[str, Any], usd: str | None) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 6, **cost}
    assert only(read(chat(**usage))).get("cost_usd") == usd


UNKNOWN = [
    (chat(prompt_tokens=1, completion_tokens=1, dreams=3), "usage.dreams"),
    (
        chat(prompt_tokens=1, prompt_tokens_details={"smell_tokens": 2}),
        "usage.prompt_tokens_details.smell_tokens",
    ),
    (
        {"type": "message", "usage": {"input_tokens": 1, "output_tokens": 1, "dreams": {"a": 1}}},
        "usage.dreams",
    ),
    (
        {"usageMetadata": {"promptTokenCount": 1, "dreamTokenCount": 1}},
        "usageMetadata.dreamTokenCount",
    ),
    (
        {"usage": {"inputTokens": 1, "outputTokens": 1, "dreamTokens": 4}, "stopReason": "x"},
        "usage.dreamTokens",
    ),
    ({"usage": {"billed_units": {"input_tokens": 1, "dreams": 2}}}, "usage.billed_units.dreams"),
    (
        {"usage_metadata": {"input_tokens": 1, "output_tokens": 1, "dreams": 1}, "type": "ai"},
        "usage_metadata.dreams",
    ),
    (
        {"requests": 1, "input_tokens": 1, "output_tokens": 1, "dreams": 1},
        "usage.dreams",
    ),
]


@pytest.mark.parametrize(("body", "name"), UNKNOWN)
def test_an_unknown_field_of_usage_is_reported_in_every_format(
    body: dict[str, Any], name: str
) -> None:
    (event,) = read(body).events
    assert name in event.unknown
    assert event.fields[name] is None  # passed on, so that the worker counts the name


def test_an_unknown_field_that_says_nothing_is_not_reported() -> None:
    usage: dict[str, Any] = {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "a": 0,
        "b": None,
        "c": {},
        "d": False,
    }
    (event,) = read(chat(**usage)).events
    assert event.unknown == ()
