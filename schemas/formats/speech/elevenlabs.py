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
from schemas.formats.vendors.usage import items_of

UNTOLD: Final = "the end of the last word is known, and not the length of the audio"
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
    channels = items_of(payload, "transcripts")
    if channels and len(channels) == len(payload["transcripts"]):
        return all(map(_is_transcript, channels))
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
    """Each channel that is transcribed apart is billed."""
    channels = items_of(payload, "transcripts") or [payload]
    told = [duration_ms(one, "audio_duration_secs") for one in channels]
    heard = [_last_word(one) if ms is None else ms for one, ms in zip(channels, told, strict=True)]
    fields = {
        "kind": "stt",
        "operation": "transcription",
        "model": text(payload, "model_id"),
        "stt_audio_ms": None if None in heard else sum(ms or 0 for ms in heard),
        "cost_problem": UNTOLD if None in told and None not in heard else None,
    }
    return Draft(fields, text(payload, "transcription_id"), IdSource.RESPONSE)


def _last_word(transcript: Json) -> int | None:
    words = items_of(transcript, "words")
    return duration_ms(words[-1], "end", "words.") if words else None
