"""LiteLLM's StandardLoggingPayload to an event, as its callbacks post it. Pure.

`prompt_tokens` already include tokens that were read from or written to the cache, for every
provider. The payload has messages and responses; they are never stored. The text of a speech request
is measured, because its length is billed. Source: schemas/contracts/producers.md, litellm 1.109.1.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from schemas.formats.body import (
    Json,
    checked_ms,
    count,
    difference,
    duration_ms,
    invalid,
    number,
    section,
    text,
    usd,
)
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors import gemini
from schemas.formats.vendors.openai_usage import IN, KNOWN, OUT, first_section, hides_thoughts
from schemas.formats.vendors.usage import CONTRADICTION, PROBLEM, Known, inclusive, unknown_fields
from schemas.limits import DURATION_MS_MAX, SECOND_MS
from schemas.prices.names import names
from schemas.prices.terms import region_of, tier_of

REDACTED: Final = "redacted-by-litellm"
MODEL_CALLS: Final = frozenset(
    {
        "completion",
        "text_completion",
        "embedding",
        "responses",
        "anthropic_messages",
        "generate_content",
        "generate_content_stream",
        "realtime",
        "image_generation",
        "image_edit",
        "pass_through_endpoint",
    }
)
"""Call types that are a request to a model even if no token is reported."""
OPERATIONS: Final = {
    **dict.fromkeys(("completion", "responses", "anthropic_messages"), "chat"),
    **dict.fromkeys(("generate_content", "generate_content_stream"), "chat"),
    "text_completion": "text_completion",
    "embedding": "embeddings",
    "realtime": "realtime",
    **dict.fromkeys(("image_generation", "image_edit"), "image"),
    "moderation": "moderation",
    "rerank": "rerank",
    "ocr": "ocr",
    "speech": "speech",
    "transcription": "transcription",
}
_BATCHES: Final = frozenset({"retrieve_batch", "list_batches"})
_TOTALS: Final = {"prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"}
_USAGE: Final = "metadata.usage_object."
_CACHE_HIT: Final = "_cache_hit"
_KNOWN: Final[Known] = {
    **KNOWN,
    **dict.fromkeys(
        ("cache_creation", "server_tool_use", "service_tier", "inference_geo", "speed")
    ),
    **dict.fromkeys(("completion_tokens_details", "prompt_tokens_details")),
}
"""LiteLLM puts the names of all vendors into one object; the payload has the totals."""


def read(payload: Json) -> list[ReaderResult]:
    call_type = text(payload, "call_type")
    if call_type is None:
        raise invalid("call_type", "is missing: this is no payload of LiteLLM's logging")
    call_type = call_type.lstrip("_")
    name = call_type if call_type in MODEL_CALLS else call_type.removeprefix("a")
    kind = {"speech": "tts", "transcription": "stt"}.get(name, "llm")
    counts, unknown = _tokens(payload)
    billed = any(counts.values()) or bool(number(payload, "response_cost"))
    if kind == "llm" and name not in MODEL_CALLS and not billed:
        return [Uncounted(f"the call type {call_type[:64]} carries no usage")]
    fields = {
        **_fields(payload, kind),
        **_terms(payload),
        "operation": OPERATIONS.get(name),
    }
    if name in _BATCHES:
        fields["service_tier"] = "batch"
    call = text(payload, "litellm_call_id")
    if fields["error"] is not None:
        return [Draft(fields, _identity(payload, call))]
    cost = _cost(payload, has_tokens=any(counts.values()))
    made = {**fields, **counts, "cost_usd": cost}
    return [Draft(made, _identity(payload, call), call=call, unknown=unknown)]


def _terms(payload: Json) -> dict[str, str | None]:
    """What decides the price beside the numbers: as the answer says, else as the request asked."""
    usage = section(section(payload, "metadata"), "usage_object", "metadata.")
    answer = payload.get("response")
    asked = section(payload, "model_parameters")
    holders = (usage, answer if isinstance(answer, dict) else {}, asked)

    def said(name: str) -> str | None:
        found = (one.get(name) for one in holders)
        return next((one for one in found if isinstance(one, str) and one), None)

    return {
        "service_tier": tier_of(said("service_tier")),
        "speed": said("speed"),
        "region": region_of(said("inference_geo")),
    }


def _identity(payload: Json, call: str | None) -> str | None:
    """The id. That of a hit of LiteLLM's cache ends with the clock, so that it differs where the
    callback fires twice: then the call's own id."""
    said = text(payload, "id")
    if said is None or (call is not None and _CACHE_HIT in said):
        return call
    return said


def _fields(payload: Json, kind: str) -> dict[str, Any]:
    metadata = section(payload, "metadata")
    failed = text(payload, "status") == "failure"
    usage = section(metadata, "usage_object", "metadata.")
    named = names(
        text(payload, "custom_llm_provider"), text(payload, "model"), text(payload, "api_base")
    )
    return {
        "kind": kind,
        "time": instant(payload, "endTime"),
        "provider": named.provider,
        "model": named.model,
        "agent_id": _agent(metadata),
        "call_id": text(payload, "session_id"),
        "user_id": _user(payload, metadata),
        "user_email": text(metadata, "user_api_key_user_email", "metadata."),
        "voice": _voice(payload) if kind == "tts" else None,
        "tts_characters": _characters(payload) if kind == "tts" and not failed else None,
        "stt_audio_ms": duration_ms(usage, "seconds", _USAGE) if kind == "stt" else None,
        "latency_ms": _elapsed(payload, "endTime"),
        "first_output_ms": None if failed else _first_output(payload),
        "error": _error(payload) if failed else None,
    }


def _agent(metadata: Json) -> str | None:
    requester = section(metadata, "requester_metadata", "metadata.")
    path = "metadata.requester_metadata."
    return text(requester, "agent_id", path) or text(requester, "agent", path)


def _user(payload: Json, metadata: Json) -> str | None:
    """The owner of the proxy's key, else the end user. The SDK alone reports only `user`."""
    return (
        text(metadata, "user_api_key_user_id", "metadata.")
        or text(payload, "end_user")
        or text(section(payload, "model_parameters"), "user", "model_parameters.")
    )


def _voice(payload: Json) -> str | None:
    voice = section(payload, "model_parameters").get("voice")
    return voice if isinstance(voice, str) else None


def _characters(payload: Json) -> int | None:
    """The length of the spoken text, in characters. No other message is read."""
    messages = payload.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    spoken = first.get("content") if isinstance(first, dict) else None
    if not isinstance(spoken, str) or spoken == REDACTED:
        return None
    return len(spoken)


def _tokens(payload: Json) -> tuple[dict[str, int | str | None], tuple[str, ...]]:
    """Totals from the payload, parts from the provider's usage object; and what is unknown in it.

    Input `text_tokens` are not used: LiteLLM excludes the cache from them for Anthropic only.
    """
    usage = section(section(payload, "metadata"), "usage_object", "metadata.")
    totals = {name: count(payload, name) for name in ("prompt_tokens", "completion_tokens")}
    if not any(totals.values()) and not usage.keys() & _TOTALS:
        return {}, ()  # LiteLLM writes 0 where the provider reports none
    details_in, path_in = first_section(usage, IN, _USAGE)
    details_out, path_out = first_section(usage, OUT, _USAGE)
    audio_out = count(details_out, "audio_tokens", path_out)
    cache_read = count(details_in, "cached_tokens", path_in)
    if cache_read is None:
        cache_read = count(usage, "cache_read_input_tokens", _USAGE)
    cache_write = _cache_write(usage, details_in, path_in)
    reasoning = count(details_out, "reasoning_tokens", path_out)
    whole = inclusive(
        totals["prompt_tokens"],
        totals["completion_tokens"],
        count(payload, "total_tokens"),
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=reasoning,
        hides_output=hides_thoughts(text(payload, "model")),
    )
    image_out = count(details_out, "image_tokens", path_out)
    kept = section(details_in, "cache_creation_token_details", path_in)
    kept, path_kept = first_section(
        {"details": kept, "cache_creation": usage.get("cache_creation")},
        ("details", "cache_creation"),
        _USAGE,
    )
    model = text(payload, "model")
    tools = section(usage, "server_tool_use", _USAGE)
    searches = count(tools, "web_search_requests", f"{_USAGE}server_tool_use.")
    if searches is None:
        asked = count(details_in, "web_search_requests", path_in)
        searches = asked and gemini.searches_billed(asked, model)
    unknown = unknown_fields(usage, _KNOWN, _USAGE)
    if not whole.is_consistent:
        unknown.append(f"total_tokens{CONTRADICTION}")
    return {
        "input_tokens": whole.input,
        "input_audio_tokens": count(details_in, "audio_tokens", path_in),
        "input_image_tokens": count(details_in, "image_tokens", path_in),
        "input_video_tokens": count(details_in, "video_tokens", path_in),
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_write,
        "cache_write_1h_tokens": count(kept, "ephemeral_1h_input_tokens", path_kept),
        "output_tokens": whole.output,
        "output_text_tokens": difference(whole.output, (audio_out or 0) + (image_out or 0)),
        "output_audio_tokens": audio_out,
        "output_image_tokens": image_out,
        "web_searches": searches,
        "code_executions": count(tools, "code_execution_requests", f"{_USAGE}server_tool_use."),
        "reasoning_tokens": reasoning,
        "cost_problem": None if whole.is_consistent else PROBLEM,
    }, tuple(unknown)


def _cache_write(usage: Json, details: Json, path: str) -> int | None:
    """One number under up to three names. If they differ, the first that is not 0."""
    found = [
        count(details, "cache_write_tokens", path),
        count(details, "cache_creation_tokens", path),
        count(usage, "cache_creation_input_tokens", _USAGE),
    ]
    reported = [value for value in found if value is not None]
    return next((value for value in reported if value), reported[0] if reported else None)


def _cost(payload: Json, *, has_tokens: bool) -> str | None:
    """A cost of 0 means "not reported" if LiteLLM knows no price, or no number that is billed: a
    transcript whose seconds it does not read. For a cache hit, and for tokens, it means 0."""
    if payload.get("response_cost_failure_debug_info"):
        return None
    is_counted = has_tokens or bool(payload.get("cache_hit"))
    return usd(payload, "response_cost") if is_counted or number(payload, "response_cost") else None


def _elapsed(payload: Json, end: str) -> int | None:
    """None if the clock was set back, or if a time is none: that costs no answer its usage."""
    start_s, end_s = payload.get("startTime"), payload.get(end)
    if not isinstance(start_s, int | Decimal) or not isinstance(end_s, int | Decimal):
        return None
    elapsed = Decimal(end_s) - Decimal(start_s)
    return checked_ms(elapsed, end) if 0 <= elapsed <= DURATION_MS_MAX // SECOND_MS else None


def _first_output(payload: Json) -> int | None:
    """None if nothing was streamed: then `completionStartTime` equals `endTime`."""
    first = payload.get("completionStartTime")
    if first is None or first == payload.get("endTime"):
        return None
    return _elapsed(payload, "completionStartTime")


def _error(payload: Json) -> str:
    """The class of the error. Its message and traceback may contain private data."""
    information = section(payload, "error_information")
    return text(information, "error_class", "error_information.") or "failure"
