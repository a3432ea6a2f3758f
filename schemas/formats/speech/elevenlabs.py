"""ElevenLabs' requests and answers to events. Pure.

Speech is billed by the characters of its text: of the request, of the alignment that the answer with
timestamps has, or as the history says. Transcripts have the audio's seconds.
Source: schemas/contracts/producers.md, elevenlabs 2.78.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import Json, count, duration_ms, invalid, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant

_SETTINGS: Final = frozenset(
    {
        "voice_settings",
        "model_id",
        "pronunciation_dictionary_locators",
        "previous_text",
        "next_text",
    }
)


def is_own(payload: Json) -> bool:
    return (
        _is_request(payload)
        or "history_item_id" in payload
        or ("audio_base64" in payload and "alignment" in payload)
        or _is_transcript(payload)
    )


def read(payload: Json) -> list[ReaderResult]:
    """A speech request, speech with timestamps, an item of the history, or a transcript."""
    if "history_item_id" in payload:
        return [_history(payload)]
    if "audio_base64" in payload:
        return [_with_timestamps(payload)]
    if _is_transcript(payload):
        return [_transcript(payload)]
    if isinstance(payload.get("text"), str) and ("model_id" in payload or _is_request(payload)):
        return [Draft(_speech(payload, len(payload["text"])))]
    raise invalid("text", "is missing: this is no request or answer of ElevenLabs' API")


def _is_request(payload: Json) -> bool:
    return (
        isinstance(payload.get("text"), str)
        and bool(payload.keys() & _SETTINGS)
        and "words" not in payload
    )


def _is_transcript(payload: Json) -> bool:
    return (
        "transcription_id" in payload or "language_probability" in payload
    ) and "text" in payload


def _speech(payload: Json, characters: int | None) -> dict[str, Any]:
    return {
        "kind": "tts",
        "operation": "speech",
        "model": text(payload, "model_id"),
        "voice": text(payload, "voice_id"),
        "tts_characters": characters,
    }


def _history(payload: Json) -> ReaderResult:
    before = count(payload, "character_count_change_from")
    after = count(payload, "character_count_change_to")
    used = after - before if before is not None and after is not None else None
    if used is not None and used < 0:
        raise invalid("character_count_change_to", "must not be less than the count before")
    fields = {**_speech(payload, used), "time": instant(payload, "date_unix")}
    return Draft(fields, text(payload, "request_id") or text(payload, "history_item_id"))


def _with_timestamps(payload: Json) -> ReaderResult:
    alignment = payload.get("alignment")
    characters = alignment.get("characters") if isinstance(alignment, dict) else None
    if not isinstance(characters, list):
        return Uncounted("a part of speech without alignment says nothing about its characters")
    return Draft(_speech(payload, len(characters)), text(payload, "request_id"), IdSource.RESPONSE)


def _transcript(payload: Json) -> Draft:
    seconds = duration_ms(payload, "audio_duration_secs")
    if seconds is None:
        words = payload.get("words")
        ends = [one for one in words if isinstance(one, dict)] if isinstance(words, list) else []
        seconds = duration_ms(ends[-1], "end", "words.") if ends else None
    fields = {
        "kind": "stt",
        "operation": "transcription",
        "model": text(payload, "model_id"),
        "stt_audio_ms": seconds,
    }
    return Draft(fields, text(payload, "transcription_id"), IdSource.RESPONSE)
