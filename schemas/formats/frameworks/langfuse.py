"""Langfuse's ingestion (`{"batch": [...]}`) to events: its generations. Pure.

A generation is created, then updated when it ends: the reports of one body are put together, and the
one with usage counts. Names in `usageDetails` are exclusive parts, as Langfuse adds them up.
Source: schemas/contracts/producers.md, langfuse 2.60.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from schemas.event.answer_id import is_answer_id
from schemas.event.event_struct import parse_instant
from schemas.formats.body import Json, count, section, text, usd
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.times import IMPOSSIBLE
from schemas.formats.vendors import openai_usage
from schemas.formats.vendors.usage import CONTRADICTION, PROBLEM
from schemas.units import instant_to_ms

GENERATIONS: Final = frozenset(
    {"generation-create", "generation-update", "embedding-create", "embedding-update"}
)
OBSERVATIONS: Final = frozenset({"observation-create", "observation-update"})
MODELS: Final = frozenset({"GENERATION", "EMBEDDING"})
_CACHE_READ: Final = (
    "input_cached_tokens",
    "cache_read_input_tokens",
    "input_cache_read",
    "input_cached",
    "cached_tokens",
    "prompt_tokens_details.cached_tokens",
)
_CACHE_WRITE: Final = (
    "cache_creation_input_tokens",
    "input_cache_creation",
    "input_cache_write",
    "cache_write_input_tokens",
)
_AUDIO_IN: Final = ("input_audio_tokens", "input_audio")
_AUDIO_OUT: Final = ("output_audio_tokens", "output_audio")
_REASONING: Final = ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens", "reasoning")
_IN: Final = ("input", "promptTokens", "prompt_tokens", "input_tokens", "inputTokens")
_OUT: Final = ("output", "completionTokens", "completion_tokens", "output_tokens", "outputTokens")
_TOTAL: Final = ("total", "totalTokens", "total_tokens")
_OTHERS: Final = ("unit", "inputCost", "outputCost", "totalCost")
_NESTED: Final = (
    *("prompt_tokens_details", "input_tokens_details"),
    *("completion_tokens_details", "output_tokens_details"),
)
"""Sections of OpenAI's usage, which Langfuse's server takes as it is."""
_KNOWN: Final = frozenset(
    (*_IN, *_OUT, *_TOTAL, *_CACHE_READ, *_CACHE_WRITE, *_AUDIO_IN, *_AUDIO_OUT, *_REASONING)
) | set(_OTHERS)

_READ: Final = (
    *("id", "type", "model", "sessionId", "level", "usage", "usageDetails", "costDetails"),
    *("startTime", "endTime", "completionStartTime"),
)

_OF_LITELLM: Final = re.compile(r"time-[0-9-]+_(.+)")


def is_own(payload: Json) -> bool:
    batch = payload.get("batch")
    first = batch[0] if isinstance(batch, list) and batch else None
    return isinstance(first, dict) and isinstance(first.get("body"), dict) and "type" in first


def opened(payload: Json) -> list[object]:
    """The items of a batch. Reports of one observation get what earlier ones of the batch say."""
    told: dict[str, Json] = {}
    items: list[object] = []
    for item in payload["batch"]:
        body = item.get("body") if isinstance(item, dict) else None
        name = body.get("id") if isinstance(body, dict) else None
        if isinstance(body, dict) and isinstance(name, str):
            said = {key: body[key] for key in _READ if body.get(key) is not None}
            told[name] = {**told.get(name, {}), **said}
            items.append({**item, "body": told[name]})
        else:
            items.append(item)
    return items


def read(payload: Json) -> list[ReaderResult]:
    """One item of a batch."""
    kind = text(payload, "type") or ""
    body = section(payload, "body")
    of = text(body, "type", "body.") or ""
    if not (kind in GENERATIONS or (kind in OBSERVATIONS and of.upper() in MODELS)):
        return [Uncounted(f"{kind[:64] or 'an item without type'} is no call of a model")]
    usage, path = _usage(body)
    failed = text(body, "level", "body.") == "ERROR"
    if not usage and not failed:
        return [Uncounted("the observation has no usage yet: the report with its usage counts")]
    model = text(body, "model", "body.")
    if any(isinstance(usage.get(name), dict) for name in _NESTED):
        tokens, unknown = openai_usage.tokens_of(usage, path, model)
    else:
        tokens, unknown = _tokens(usage, path)
    start, end = text(body, "startTime", "body."), text(body, "endTime", "body.")
    fields = {
        "kind": "llm",
        "time": end or start or text(payload, "timestamp"),
        "model": model,
        "operation": "embeddings" if "embedding" in f"{kind}{of}".lower() else None,
        "call_id": text(body, "sessionId", "body."),
        "latency_ms": _between(start, end),
        "first_output_ms": _between(start, text(body, "completionStartTime", "body.")),
        "error": "error" if failed else None,
        **tokens,
        "cost_usd": _cost(body, usage, path),
    }
    unit = (text(usage, "unit", path) or "TOKENS").upper() if path == "body.usage." else "TOKENS"
    if unit != "TOKENS":
        fields |= dict.fromkeys(tokens) | {"cost_problem": f"usage in {unit[:32].lower()}"}
        unknown = (*unknown, f"{path}unit")
    return [Draft(fields, _identity(text(body, "id", "body.")), unknown=unknown)]


def _identity(observation: str | None) -> str | None:
    """The observation's id. LiteLLM's has the id of the answer, which other reports of it have too."""
    found = _OF_LITELLM.fullmatch(observation or "")
    return found[1] if found and is_answer_id(found[1]) else observation


def _usage(body: Json) -> tuple[Json, str]:
    for name in ("usageDetails", "usage"):
        found = section(body, name, "body.")
        if found:
            return found, f"body.{name}."
    return {}, "body.usage."


def _tokens(usage: Json, path: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    def first(names: tuple[str, ...]) -> int | None:
        return next(
            (count(usage, name, path) for name in names if usage.get(name) is not None), None
        )

    into, out, total = first(_IN), first(_OUT), first(_TOTAL)
    read_tokens, write_tokens = first(_CACHE_READ), first(_CACHE_WRITE)
    audio_in, audio_out, reasoning = first(_AUDIO_IN), first(_AUDIO_OUT), first(_REASONING)
    parts_in = sum(part or 0 for part in (read_tokens, write_tokens, audio_in))
    parts_out = sum(part or 0 for part in (audio_out, reasoning))
    unknown = [f"{path}{name}" for name, value in usage.items() if value and name not in _KNOWN]
    if into is not None and out is not None and total == into + out:
        parts_in = parts_out = 0  # the sender's numbers include their parts
    elif total is not None and total != (into or 0) + (out or 0) + parts_in + parts_out:
        unknown.append(f"{path}total{CONTRADICTION}")
    is_consistent = not any(CONTRADICTION in name for name in unknown)
    return {
        "input_tokens": None if into is None else into + parts_in,
        "input_audio_tokens": audio_in,
        "cache_read_tokens": read_tokens,
        "cache_write_tokens": write_tokens,
        "output_tokens": None if out is None else out + parts_out,
        "output_audio_tokens": audio_out,
        "reasoning_tokens": reasoning,
        "cost_problem": None if is_consistent else PROBLEM,
    }, tuple(unknown)


def _cost(body: Json, usage: Json, path: str) -> str | None:
    """The sender's cost: the total, or the sum of its parts."""
    details = section(body, "costDetails", "body.")
    if not details:
        total = usd(usage, "totalCost", path)
        given = [usd(usage, name, path) for name in ("inputCost", "outputCost")]
        return total if total is not None else _sum(given)
    if details.get("total") is not None:
        return usd(details, "total", "body.costDetails.")
    return _sum([usd(details, name, "body.costDetails.") for name in details])


def _sum(parts: list[str | None]) -> str | None:
    said = [Decimal(part) for part in parts if part is not None]
    return str(sum(said)) if said else None


def _between(start: str | None, end: str | None) -> int | None:
    if start is None or end is None or IMPOSSIBLE in {start, end}:
        return None
    try:
        first, last = parse_instant(start), parse_instant(end)
    except ValueError:
        return None
    elapsed = instant_to_ms(last) - instant_to_ms(first)  # type: ignore[arg-type]
    return elapsed if elapsed >= 0 else None
