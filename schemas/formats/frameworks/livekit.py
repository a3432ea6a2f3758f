"""LiveKit Agents' metrics to events. Pure.

`request_id` repeats, so it is no event id. Agent, call and user come with the request. Seconds are
read from their decimal text, never as floats. Metrics without usage are skipped, and so are the
running totals of `session_usage_updated`. Source: schemas/contracts/producers.md, livekit-agents 1.8.9.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import (
    Json,
    count,
    difference,
    duration_ms,
    invalid,
    number,
    section,
    text,
)
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors.openai_usage import hides_thoughts
from schemas.formats.vendors.usage import PROBLEM, inclusive
from schemas.prices.names import names

COLLECTED: Final = "metrics_collected"
CUMULATIVE: Final = "session_usage_updated"
WITHOUT_USAGE: Final = frozenset(
    {
        "vad_metrics",
        "eou_metrics",
        "eot_inference_metrics",
        "interruption_metrics",
        "avatar_metrics",
    }
)
WITH_USAGE: Final = frozenset(
    {"llm_metrics", "decision_metrics", "realtime_model_metrics", "tts_metrics", "stt_metrics"}
)
TYPES: Final = WITH_USAGE | WITHOUT_USAGE | {COLLECTED, CUMULATIVE}


def read(payload: Json) -> list[ReaderResult]:
    """One metrics object, plain or wrapped as `metrics_collected`."""
    if payload.get("type") == COLLECTED:
        payload = section(payload, "metrics")
    kind = text(payload, "type")
    if kind == CUMULATIVE:
        return [
            Uncounted("session_usage_updated is a running total: adding it up would count twice")
        ]
    if kind in WITHOUT_USAGE:
        return [Uncounted(f"{kind} carry no usage")]
    if kind not in WITH_USAGE:
        raise invalid("type", f"must be one of {', '.join(sorted(TYPES))}")
    made = {
        "llm_metrics": _llm,
        "decision_metrics": _decision,
        "realtime_model_metrics": _realtime,
        "tts_metrics": _tts,
        "stt_metrics": _stt,
    }[kind](payload)
    if not text(payload, "request_id") and _is_empty(made):
        return [Uncounted(f"{kind} of a connection carry no usage")]
    if kind == "realtime_model_metrics" and number(payload, "session_duration") and _is_empty(made):
        return [Uncounted("realtime_model_metrics of a session's duration carry no usage")]
    return [Draft(fields={**_shared(payload), **made})]


def _is_empty(made: dict[str, Any]) -> bool:
    return not any(value for name, value in made.items() if name.endswith(("tokens", "_ms", "ers")))


def _shared(payload: Json) -> dict[str, Any]:
    metadata = section(payload, "metadata")
    seconds = number(payload, "duration")
    named = names(
        text(metadata, "model_provider", "metadata."), text(metadata, "model_name", "metadata.")
    )
    return {
        "time": instant(payload, "timestamp"),
        "provider": named.provider,
        "model": named.model,
        # 0.0: the request streamed, and no duration is meant.
        "latency_ms": duration_ms(payload, "duration") if seconds else None,
    }


def _first(payload: Json, key: str) -> int | None:
    """LiveKit writes -1 if there was no first output."""
    seconds = number(payload, key)
    return None if seconds is None or seconds < 0 else duration_ms(payload, key)


def _llm(payload: Json) -> dict[str, Any]:
    metadata = payload.get("metadata")
    model = metadata.get("model_name") if isinstance(metadata, dict) else None
    whole = inclusive(
        count(payload, "prompt_tokens"),
        count(payload, "completion_tokens"),
        count(payload, "total_tokens") or None,
        reasoning=count(payload, "reasoning_tokens"),
        hides_output=hides_thoughts(model if isinstance(model, str) else None),
    )
    output = whole.output
    return {
        "kind": "llm",
        "operation": "chat",
        "input_tokens": whole.input,
        "cache_read_tokens": count(payload, "prompt_cached_tokens"),
        "cache_write_tokens": count(payload, "cache_creation_tokens"),
        "output_tokens": output,
        "output_text_tokens": output,
        "cost_problem": None if whole.is_consistent else PROBLEM,
        "reasoning_tokens": count(payload, "reasoning_tokens"),
        "first_output_ms": _first(payload, "ttft"),
    }


def _decision(payload: Json) -> dict[str, Any]:
    output = count(payload, "output_tokens")
    return {
        "kind": "llm",
        "input_tokens": count(payload, "input_tokens"),
        "output_tokens": output,
        "output_text_tokens": output,
    }


def _realtime(payload: Json) -> dict[str, Any]:
    into, out = "input_token_details.", "output_token_details."
    details_in = section(payload, "input_token_details")
    details_out = section(payload, "output_token_details")
    cached = section(details_in, "cached_tokens_details", into)
    output = count(payload, "output_tokens")
    audio = count(details_out, "audio_tokens", out)
    output_text = count(details_out, "text_tokens", out)
    return {
        "kind": "llm",
        "operation": "realtime",
        "input_tokens": count(payload, "input_tokens"),
        "input_text_tokens": count(details_in, "text_tokens", into),
        "input_audio_tokens": count(details_in, "audio_tokens", into),
        "input_image_tokens": count(details_in, "image_tokens", into),
        "cache_read_image_tokens": count(cached, "image_tokens", f"{into}cached_tokens_details."),
        "output_image_tokens": count(details_out, "image_tokens", out),
        "cache_read_tokens": count(details_in, "cached_tokens", into),
        "cache_read_text_tokens": count(cached, "text_tokens", f"{into}cached_tokens_details."),
        "cache_read_audio_tokens": count(cached, "audio_tokens", f"{into}cached_tokens_details."),
        "output_tokens": output,
        "output_text_tokens": difference(output, audio) if output_text is None else output_text,
        "output_audio_tokens": audio,
        "first_output_ms": _first(payload, "ttft"),
    }


def _tts(payload: Json) -> dict[str, Any]:
    return {
        "kind": "tts",
        "operation": "speech",
        "tts_characters": count(payload, "characters_count"),
        "tts_audio_ms": duration_ms(payload, "audio_duration"),
        "input_tokens": count(payload, "input_tokens"),
        "output_tokens": count(payload, "output_tokens"),
        "first_output_ms": _first(payload, "ttfb"),
    }


def _stt(payload: Json) -> dict[str, Any]:
    return {
        "kind": "stt",
        "operation": "transcription",
        # 0.0: the plugin does not know.
        "stt_audio_ms": duration_ms(payload, "audio_duration") or None,
        "input_tokens": count(payload, "input_tokens"),
        "input_audio_tokens": count(payload, "input_audio_tokens"),
        "output_tokens": count(payload, "output_tokens"),
    }
