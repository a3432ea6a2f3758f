"""Cartesia's speech requests and transcripts to events. Pure.

Speech is billed by the characters of its transcript. Of a live transcript, each final part has the
seconds of its audio. Source: schemas/contracts/producers.md, cartesia 4.2.
"""

from __future__ import annotations

from schemas.formats.body import Json, duration_ms, invalid, text
from schemas.formats.draft import Draft, ReaderResult, Uncounted


def is_own(payload: Json) -> bool:
    return _is_request(payload) or (
        payload.get("type") == "transcript" and isinstance(payload.get("text"), str)
    )


def read(payload: Json) -> list[ReaderResult]:
    """A speech request, a transcript, or a part of a live one."""
    if _is_request(payload):
        return [_speech(payload)]
    if not isinstance(payload.get("text"), str):
        raise invalid("transcript", "is missing: this is no request or answer of Cartesia's API")
    if payload.get("is_final") is False:
        return [Uncounted("a part of a live transcript that is not final counts nothing")]
    fields = {
        "kind": "stt",
        "operation": "transcription",
        "model": text(payload, "model_id") or text(payload, "model"),
        "stt_audio_ms": duration_ms(payload, "duration"),
    }
    return [Draft(fields)]


def _is_request(payload: Json) -> bool:
    return isinstance(payload.get("transcript"), str) and "model_id" in payload


def _speech(payload: Json) -> Draft:
    voice = payload.get("voice")
    name = text(voice, "id", "voice.") if isinstance(voice, dict) else None
    return Draft(
        fields={
            "kind": "tts",
            "operation": "speech",
            "model": text(payload, "model_id"),
            "voice": name or text(payload, "voice_id"),
            "tts_characters": len(payload["transcript"]),
        }
    )
