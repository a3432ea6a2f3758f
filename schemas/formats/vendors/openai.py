"""OpenAI's objects to events: chat, responses, realtime, transcription, speech, embeddings. Pure.

None of them has an event id, so the response's id is used, if it makes one event. A stream event
counts if it has the usage of the whole response. Texts are never stored; the text of a speech request
is measured, because its length is billed. Source: schemas/contracts/producers.md, openai 3.54.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import (
    Json,
    count,
    difference,
    duration_ms,
    instant,
    invalid,
    section,
    text,
)
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted

OBJECTS: Final = frozenset(
    {"chat.completion", "chat.completion.chunk", "text_completion", "response", "list"}
)
STREAM_PREFIXES: Final = (
    "response.",
    "conversation.",
    "input_audio_buffer.",
    "output_audio_buffer.",
    "rate_limits.",
    "session.",
    "transcript.text.",
    "transcription_session.",
    "speech.audio.",
)
ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.done"}
)
"""Stream events that contain the whole response. The last is Realtime's."""
TRANSCRIBED: Final = frozenset(
    {
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
        "transcript.text.done",
    }
)


def read(payload: Json) -> list[ReaderResult]:
    """One object of the API, or one event of its streams."""
    kind = text(payload, "type") or ""
    if kind.startswith(STREAM_PREFIXES):
        return [_stream_event(payload, kind)]
    named = payload.get("object")
    if isinstance(named, str) and named in OBJECTS:
        return [_response(payload)]
    if is_speech_request(payload):
        return [_speech(payload)]
    if is_transcription(payload):
        return [_transcription(payload)]
    if isinstance(payload.get("usage"), dict) or isinstance(payload.get("error"), dict):
        return [_with_usage(payload, "llm")]
    raise invalid(
        "", "is not an object of OpenAI's API: it has none of object, type, usage and error"
    )


def _stream_event(payload: Json, kind: str) -> ReaderResult:
    if kind in ENDS:
        return _response(section(payload, "response"))
    if kind in TRANSCRIBED:
        return _transcription(payload)
    if kind == "speech.audio.done":
        return _with_usage(payload, "tts")
    return Uncounted(f"the stream event {kind[:64]} carries no usage")


def is_speech_request(payload: Json) -> bool:
    return isinstance(payload.get("input"), str) and "voice" in payload and "usage" not in payload


def is_transcription(payload: Json) -> bool:
    """`text` with usage by tokens or duration, or the verbose form with `duration`."""
    usage = payload.get("usage")
    kind = usage.get("type") if isinstance(usage, dict) else None
    billed = kind == "tokens" or kind == "duration"  # noqa: PLR1714  # it may be unhashable
    return isinstance(payload.get("text"), str) and (billed or "duration" in payload)


def _response(payload: Json) -> ReaderResult:
    """Chat completions, responses, realtime responses and embeddings have the same usage."""
    if payload.get("object") == "chat.completion.chunk" and payload.get("usage") is None:
        return Uncounted("a chunk of a stream carries no usage, only the last one may")
    return _with_usage(payload, "llm")


def _with_usage(payload: Json, kind: str) -> Draft:
    time = instant(payload, "created") or instant(payload, "created_at")
    return Draft(
        fields={
            "kind": kind,
            "time": time,
            "model": text(payload, "model"),
            "error": _error(payload),
            **tokens(section(payload, "usage"), "usage."),
        },
        id=text(payload, "id"),
        id_source=IdSource.RESPONSE,
    )


def tokens(usage: Json, path: str) -> dict[str, int | None]:
    """Token counts under any name of OpenAI's APIs. All totals are inclusive."""
    details_in, path_in = _first_section(
        usage, ("prompt_tokens_details", "input_tokens_details", "input_token_details"), path
    )
    details_out, path_out = _first_section(
        usage,
        ("completion_tokens_details", "output_tokens_details", "output_token_details"),
        path,
    )
    cached = section(details_in, "cached_tokens_details", path_in)
    path_cached = f"{path_in}cached_tokens_details."
    output = _first_count(usage, ("completion_tokens", "output_tokens"), path)
    audio = count(details_out, "audio_tokens", path_out)
    output_text = count(details_out, "text_tokens", path_out)
    return {
        "input_tokens": _first_count(usage, ("prompt_tokens", "input_tokens"), path),
        "output_tokens": output,
        "input_text_tokens": count(details_in, "text_tokens", path_in),
        "input_audio_tokens": count(details_in, "audio_tokens", path_in),
        "cache_read_tokens": count(details_in, "cached_tokens", path_in),
        "cache_read_text_tokens": count(cached, "text_tokens", path_cached),
        "cache_read_audio_tokens": count(cached, "audio_tokens", path_cached),
        "cache_write_tokens": count(details_in, "cache_write_tokens", path_in),
        "output_text_tokens": difference(output, audio) if output_text is None else output_text,
        "output_audio_tokens": audio,
        "reasoning_tokens": count(details_out, "reasoning_tokens", path_out),
    }


def _first_section(holder: Json, names: tuple[str, ...], path: str) -> tuple[Json, str]:
    """The first section that is not empty, and its path."""
    for name in names:
        found = section(holder, name, path)
        if found:
            return found, f"{path}{name}."
    return {}, path


def _first_count(holder: Json, names: tuple[str, ...], path: str) -> int | None:
    for name in names:
        found = count(holder, name, path)
        if found is not None:
            return found
    return None


def _error(payload: Json) -> str | None:
    """The error code of a failed response. Incomplete and cancelled responses are no errors."""
    holders: list[tuple[Any, str]] = [(payload.get("error"), "error.")]
    details = payload.get("status_details")  # Realtime
    if isinstance(details, dict):
        holders.append((details.get("error"), "status_details.error."))
    for error, path in holders:
        if isinstance(error, dict):
            return text(error, "code", path) or text(error, "type", path) or "failed"
    return "failed" if payload.get("status") == "failed" else None


def _transcription(payload: Json) -> Draft:
    """Tokens or seconds, whichever is billed. Only Realtime's has an id, that of its event."""
    usage = section(payload, "usage")
    seconds = duration_ms(usage, "seconds", "usage.")
    if seconds is None and not usage:
        seconds = duration_ms(payload, "duration")
    return Draft(
        fields={
            "kind": "stt",
            "model": text(payload, "model"),
            "stt_audio_ms": seconds,
            "error": _error(payload),
            **tokens(usage, "usage."),
        },
        id=text(payload, "event_id"),
        id_source=IdSource.RESPONSE,
    )


def _speech(payload: Json) -> Draft:
    voice = payload.get("voice")
    name = text(voice, "id", "voice.") if isinstance(voice, dict) else text(payload, "voice")
    return Draft(
        fields={
            "kind": "tts",
            "model": text(payload, "model"),
            "voice": name,
            "tts_characters": len(payload["input"]),
        }
    )
