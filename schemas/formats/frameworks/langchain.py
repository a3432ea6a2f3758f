"""LangChain's messages with `usage_metadata` to events, plain or as `dumpd` writes them. Pure.

Its totals include cached and reasoning tokens. The chunks of a stream are one message:
`schemas.formats.joining` adds them up, and the last one counts.
Source: schemas/contracts/producers.md, langchain-core 1.8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from schemas.formats.body import Json, count, difference, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    Known,
    has_any,
    inclusive,
    unknown_fields,
)
from schemas.prices.terms import tier_of

COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")
CHUNK: Final = "AIMessageChunk"
DUMPED: Final = "constructor"
"""The `type` of what `dumpd` writes."""
PART: Final = "odometer.part"
"""Set on a chunk by schemas.formats.joining: it does not end its message."""
PART_SKIPPED: Final = "a chunk of a LangChain message counts with the last one"
_AI: Final = frozenset({"ai", "AIMessage", CHUNK})
_ENDS: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason")
"""Bedrock's and Ollama's integrations are the last two."""
_TIERS: Final = ("priority", "flex")
"""langchain-openai puts the tier before the names of the details, and sums up the rest under it."""
_KEPT: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def _names(*parts: str) -> Known:
    tiers = [name for tier in _TIERS for name in (tier, *(f"{tier}_{part}" for part in parts))]
    return dict.fromkeys((*parts, *tiers))


_KNOWN: Final[Known] = {
    **dict.fromkeys(COUNTS),
    "input_token_details": _names("cache_read", "cache_creation", "audio", *_KEPT),
    "output_token_details": _names("reasoning", "audio"),
}
MODELS_MAX: Final = 64
"""Of the totals by model: an app has a few."""
_PATH: Final = "usage_metadata."


def is_own(payload: Json) -> bool:
    if _is_by_model(payload):
        return True
    message = message_of(payload)
    usage = message.get("usage_metadata")
    if isinstance(usage, dict):
        return has_any(usage, COUNTS)
    is_told = message.keys() & {"usage_metadata", "response_metadata", PART}
    return bool(is_told) and _is_ai(message)


def _is_ai(message: Json) -> bool:
    return str(message.get("type")) in _AI


def read(payload: Json) -> list[ReaderResult]:
    """One message of a model, or the totals by model of `UsageMetadataCallbackHandler`."""
    if _is_by_model(payload):
        return [
            _draft(usage, {"model": model}, f"{model[:64]}.") for model, usage in payload.items()
        ]
    message = message_of(payload)
    if message.get(PART):
        return [Uncounted(PART_SKIPPED)]
    if message.get("usage_metadata") is None:
        if _is_ai(message):
            return [Uncounted("the message has no usage_metadata")]
        raise invalid("usage_metadata", "is missing: this is no message of LangChain")
    usage = section(message, "usage_metadata")
    if not has_any(usage, COUNTS):
        raise invalid("usage_metadata", f"has none of LangChain's counts: {', '.join(COUNTS)}")
    about = section(message, "response_metadata")
    path = "response_metadata."
    named = {
        "provider": text(about, "model_provider", path),
        "model": text(about, "model_name", path) or text(about, "model", path),
        "service_tier": tier_of(_word(about, "service_tier")) or _tier_of_details(usage),
        "finish_reason": end_of(message),
    }
    response_id = text(about, "id", path) or text(message, "id")
    return [replace(_draft(usage, named, _PATH), id=response_id, id_source=IdSource.RESPONSE)]


def _draft(usage: Json, named: dict[str, str | None], path: str) -> Draft:
    tokens, unknown = tokens_of(usage, path)
    return Draft({"kind": "llm", "operation": "chat", **named, **tokens}, unknown=unknown)


def _is_by_model(payload: Json) -> bool:
    """The totals of `UsageMetadataCallbackHandler`: usage by the name of the model."""
    return 0 < len(payload) <= MODELS_MAX and all(
        isinstance(usage, dict) and {*COUNTS} <= usage.keys() <= _KNOWN.keys()
        for usage in payload.values()
    )


def _word(holder: Json, key: str) -> str | None:
    """A word beside the numbers: a wrong one costs no answer its usage."""
    found = holder.get(key)
    return found if isinstance(found, str) else None


def message_of(payload: Json) -> Json:
    """The message itself, or the `kwargs` of `dumpd`, or the `data` of `messages_to_dict`."""
    for name in ("kwargs", "data"):
        inner = payload.get(name)
        if isinstance(inner, dict) and ("usage_metadata" in inner or _is_ai(inner)):
            return inner
    return payload


def end_of(message: Json) -> str | None:
    """Why the message ended, in the word of its integration."""
    about = message.get("response_metadata")
    if not isinstance(about, dict):
        return None
    return next((said for name in _ENDS if (said := _word(about, name))), None)


def tokens_of(usage: Json, path: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    details_in = section(usage, "input_token_details", path)
    details_out = section(usage, "output_token_details", path)
    path_in, path_out = f"{path}input_token_details.", f"{path}output_token_details."
    cache_read = _detail(details_in, "cache_read", path_in)
    cache_write = _detail(details_in, "cache_creation", path_in)
    kept = [count(details_in, name, path_in) for name in _KEPT]
    if not cache_write and any(kept):  # langchain-anthropic writes 0 beside the two lifetimes
        cache_write = sum(one or 0 for one in kept)
    reasoning = _detail(details_out, "reasoning", path_out)
    audio = _detail(details_out, "audio", path_out)
    totals = inclusive(
        count(usage, "input_tokens", path),
        count(usage, "output_tokens", path),
        count(usage, "total_tokens", path),
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=reasoning,
    )
    unknown = unknown_fields(usage, _KNOWN, path)
    if not totals.is_consistent:
        unknown.append(f"{path}total_tokens{CONTRADICTION}")
    return {
        "input_tokens": totals.input,
        "input_audio_tokens": _detail(details_in, "audio", path_in),
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_write,
        "cache_write_1h_tokens": kept[1],
        "output_tokens": totals.output,
        "output_text_tokens": difference(totals.output, audio),
        "output_audio_tokens": audio,
        "reasoning_tokens": reasoning,
        "cost_problem": None if totals.is_consistent else PROBLEM,
    }, tuple(unknown)


def _detail(details: Json, name: str, path: str) -> int | None:
    """A part of the tokens, with or without the tier before its name."""
    found = (count(details, one, path) for one in (name, *(f"{tier}_{name}" for tier in _TIERS)))
    reported = [one for one in found if one is not None]
    return max(reported) if reported else None


def _tier_of_details(usage: Json) -> str | None:
    """The tier that the names of the details have, where the message does not say it."""
    details = [
        section(usage, name, _PATH) for name in ("input_token_details", "output_token_details")
    ]
    return next((tier for tier in _TIERS if any(tier in one for one in details)), None)
