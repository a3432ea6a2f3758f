"""Token counts of OpenAI's `usage`, and of the vendors that answer in its format. Pure.

DeepSeek, Moonshot, xAI, Groq, OpenRouter and others add fields of their own or count otherwise.
Source: schemas/contracts/producers.md, "Vendors that answer in OpenAI's format".
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from schemas.formats.body import Json, count, difference, number, section, text, usd
from schemas.formats.draft import Draft
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    TOTAL_ALONE,
    Known,
    Totals,
    first_count,
    inclusive,
    unknown_fields,
)

COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "seconds",
)
"""A usage object without any of them is not OpenAI's."""
COSTS: Final = ("cost", "estimated_cost", "cost_in_usd_ticks")
"""What a vendor bills, in dollars or xAI's ticks: images have no more."""
IN: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
OUT: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_CACHED: Final = ("text_tokens", "audio_tokens", "image_tokens")
_DETAILS_IN: Final[Known] = {
    **dict.fromkeys(("text_tokens", "audio_tokens", "image_tokens", "video_tokens")),
    **dict.fromkeys(("cached_tokens", "cache_write_tokens", "cache_creation_tokens")),
    "cache_write_tokens_details": dict.fromkeys(("ttl_30m_tokens", "ttl_12h_tokens")),
    # DashScope's
    **dict.fromkeys(("cache_creation_input_tokens", "cache_type")),
    "cache_creation": dict.fromkeys(("ephemeral_5m_input_tokens",)),
    "cached_tokens_details": dict.fromkeys(_CACHED),
}
_DETAILS_OUT: Final[Known] = dict.fromkeys(
    (
        "text_tokens",
        "audio_tokens",
        "image_tokens",
        "reasoning_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    )
)
KNOWN: Final[Known] = {
    **dict.fromkeys(COUNTS),
    **dict.fromkeys(IN, _DETAILS_IN),
    **dict.fromkeys(OUT, _DETAILS_OUT),
    # DeepSeek's, Moonshot's and StepFun's, and Perplexity's names
    **dict.fromkeys(("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "cached_tokens")),
    **dict.fromkeys(("reasoning_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")),
    # vLLM's and Mistral's name
    "num_cached_tokens": None,
    # seconds of audio: Mistral's
    "prompt_audio_seconds": None,
    # costs: OpenRouter's and Perplexity's, DeepInfra's, xAI's
    **dict.fromkeys(("cost", "cost_details", "is_byok", "estimated_cost", "cost_in_usd_ticks")),
    # searches: xAI's and Perplexity's
    **dict.fromkeys(("num_sources_used", "num_search_queries", "num_server_side_tools_used")),
    **dict.fromkeys(("server_side_tool_usage", "server_side_tool_usage_details")),
    # times and facts that no price needs: Groq's, SambaNova's, Perplexity's
    **dict.fromkeys(("queue_time", "prompt_time", "completion_time", "total_time", "type")),
    **dict.fromkeys(("search_context_size", "time_to_first_token", "stop_reason")),
    **dict.fromkeys(("completion_tokens_per_sec", "total_tokens_per_sec", "total_latency")),
}
_CONTEXT: Final = "search_context_size"
_LISTED_CONTEXT: Final = "high"
"""Perplexity's price of a request depends on it; the bundled list has that of the largest."""
KEPT_LONG: Final = "cache writes that are kept for 12 hours have a price of their own"
AUDIO_SECONDS: Final = "the audio of the prompt is billed by its seconds, beside the tokens"
_TICKS_PLACES: Final = 10
_HIDES_THOUGHTS: Final = ("gemini", "models/gemini", "google/gemini")


def tokens_of(usage: Json, path: str, model: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Counts and cost under any name, as fields of an event; and the paths of unknown fields."""
    details_in, path_in = first_section(usage, IN, path)
    details_out, path_out = first_section(usage, OUT, path)
    cached = section(details_in, "cached_tokens_details", path_in)
    path_cached = f"{path_in}cached_tokens_details."
    cache_read = _first(
        count(details_in, "cached_tokens", path_in),
        *(count(usage, name, path) for name in ("prompt_cache_hit_tokens", "cached_tokens")),
        count(usage, "num_cached_tokens", path),
        count(usage, "cache_read_input_tokens", path),
    )
    cache_write = _first(
        count(details_in, "cache_write_tokens", path_in),
        count(details_in, "cache_creation_tokens", path_in),
        count(details_in, "cache_creation_input_tokens", path_in),
        count(usage, "cache_creation_input_tokens", path),
    )
    reasoning = _first(
        count(details_out, "reasoning_tokens", path_out), count(usage, "reasoning_tokens", path)
    )
    totals = inclusive(
        first_count(usage, ("prompt_tokens", "input_tokens"), path),
        first_count(usage, ("completion_tokens", "output_tokens"), path),
        count(usage, "total_tokens", path),
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=reasoning,
        hides_output=hides_thoughts(model),
    )
    audio = count(details_out, "audio_tokens", path_out)
    image = count(details_out, "image_tokens", path_out)
    output_text = count(details_out, "text_tokens", path_out)
    unknown = unknown_fields(usage, KNOWN, path)
    if not totals.is_consistent:
        unknown.append(f"{path}total_tokens{CONTRADICTION}")
    return {
        "input_tokens": totals.input,
        "output_tokens": totals.output,
        "input_text_tokens": count(details_in, "text_tokens", path_in),
        "input_audio_tokens": count(details_in, "audio_tokens", path_in),
        "input_image_tokens": count(details_in, "image_tokens", path_in),
        "input_video_tokens": count(details_in, "video_tokens", path_in),
        "cache_read_tokens": cache_read,
        "cache_read_text_tokens": count(cached, "text_tokens", path_cached),
        "cache_read_audio_tokens": count(cached, "audio_tokens", path_cached),
        "cache_read_image_tokens": count(cached, "image_tokens", path_cached),
        "cache_write_tokens": cache_write,
        "output_text_tokens": difference(totals.output, (audio or 0) + (image or 0))
        if output_text is None
        else output_text,
        "output_audio_tokens": audio,
        "output_image_tokens": image,
        "reasoning_tokens": reasoning,
        "web_searches": first_count(usage, ("num_sources_used", "num_search_queries"), path),
        "tool_calls": _tool_calls(usage, path),
        "cost_usd": _cost(usage, path),
        "cost_problem": _problem(usage, path, totals),
    }, tuple(unknown)


def svg_of(payload: Json) -> list[Draft]:
    """The call to another model that wrote an image as SVG, if one did."""
    usage = section(payload, "svg_usage")
    if not usage:
        return []
    model = text(usage, "model", "svg_usage.")
    counts = {name: value for name, value in usage.items() if name != "model"}
    tokens, unknown = tokens_of(counts, "svg_usage.", model)
    fields = {"kind": "llm", "operation": "image", "model": model, **tokens}
    return [Draft(fields, unknown=unknown)]


def _problem(usage: Json, path: str, totals: Totals) -> str | None:
    if not totals.is_consistent:
        return PROBLEM
    if number(usage, "prompt_audio_seconds", path):
        return AUDIO_SECONDS
    details, path_in = first_section(usage, IN, path)
    kept = section(details, "cache_write_tokens_details", path_in)
    if count(kept, "ttl_12h_tokens", f"{path_in}cache_write_tokens_details."):
        return KEPT_LONG
    context = usage.get(_CONTEXT)
    if isinstance(context, str) and context not in {"", _LISTED_CONTEXT}:
        return f"a search context of size {context[:16]} has a price of its own"
    is_alone = totals.input is None and totals.output is None
    return TOTAL_ALONE if is_alone and count(usage, "total_tokens", path) else None


def _tool_calls(usage: Json, path: str) -> int | None:
    """XAI's tools that ran on its servers: by name, or their number."""
    for name in ("server_side_tool_usage", "server_side_tool_usage_details"):
        tools = usage.get(name)
        if isinstance(tools, dict):
            return sum(count(tools, tool, f"{path}{name}.") or 0 for tool in tools)
    return count(usage, "num_server_side_tools_used", path)


def hides_thoughts(model: str | None) -> bool:
    """Whether tokens that only the total has are thoughts: so with Gemini's models."""
    return (model or "").startswith(_HIDES_THOUGHTS)


def _cost(usage: Json, path: str) -> str | None:
    """What the vendor says that it bills: OpenRouter's `cost`, Perplexity's `cost.total_cost`, xAI's ticks.

    With a key of one's own (`is_byok`), OpenRouter's cost is its fee, and the vendor of the model
    bills the rest.
    """
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return usd(cost, "total_cost", f"{path}cost.")
    if cost is None:
        ticks = number(usage, "cost_in_usd_ticks", path)
        return usd(usage, "estimated_cost", path) if ticks is None else _usd_of_ticks(ticks)
    fee = usd(usage, "cost", path)
    if usage.get("is_byok") is not True or fee is None:
        return fee
    details = section(usage, "cost_details", path)
    rest = usd(details, "upstream_inference_cost", f"{path}cost_details.")
    return None if rest is None else str(Decimal(fee) + Decimal(rest))


def _usd_of_ticks(ticks: Decimal) -> str:
    """XAI's unit: 10^10 ticks are a USD."""
    return str(ticks.scaleb(-_TICKS_PLACES))


def first_section(holder: Json, names: tuple[str, ...], path: str) -> tuple[Json, str]:
    """The first section that is not empty, and its path."""
    for name in names:
        found = section(holder, name, path)
        if found:
            return found, f"{path}{name}."
    return {}, path


def _first(*found: int | None) -> int | None:
    """The first number that is not 0, else 0 if any is reported."""
    reported = [value for value in found if value is not None]
    return next((value for value in reported if value), reported[0] if reported else None)
