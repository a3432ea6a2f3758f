"""AssemblyAI's transcripts to events. Pure.

A transcript is asked for until it is completed: before that it counts nothing. A live one is billed by
the duration of its session, which `Termination` has.
Source: schemas/contracts/producers.md, assemblyai 1.8.
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, duration_ms, invalid, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted

END: Final = "Termination"
PARTS: Final = frozenset({"Begin", "Turn", "SpeechStarted"})
ADD_ONS: Final = (
    *("speaker_labels", "sentiment_analysis", "entity_detection", "auto_chapters", "summarization"),
    *("iab_categories", "content_safety", "auto_highlights", "redact_pii", "redact_pii_audio"),
    *("multichannel", "dual_channel", "keyterms_prompt", "prompt", "speech_understanding"),
)
"""What a transcript says that was asked for beside its text, each at a price of its own."""
PENDING: Final = frozenset({"queued", "processing"})


def is_own(payload: Json) -> bool:
    kind = payload.get("type")
    if kind == END and "session_duration_seconds" in payload:
        return True
    if (kind == "Turn" and "turn_order" in payload) or (
        kind == "Begin" and "expires_at" in payload
    ):
        return True
    return "audio_url" in payload and "status" in payload


def read(payload: Json) -> list[ReaderResult]:
    """One transcript, or one message of a live one."""
    kind = payload.get("type")
    if kind == END:
        seconds = duration_ms(payload, "session_duration_seconds")
        if seconds is None:
            seconds = duration_ms(payload, "audio_duration_seconds")
        fields = {
            "kind": "stt",
            "operation": "transcription",
            "model": text(payload, "speech_model"),
            "stt_audio_ms": seconds,
        }
        return [Draft(fields, text(payload, "session_id") or text(payload, "id"))]
    if isinstance(kind, str) and kind in PARTS:
        return [Uncounted(f"{kind} is a part of a live transcript, {END} has its duration")]
    status = text(payload, "status")
    if status is None or "audio_url" not in payload:
        raise invalid("status", "is missing: this is no transcript of AssemblyAI's API")
    if status in PENDING:
        return [Uncounted(f"the transcript is {status}: only its last report counts")]
    failed = status == "error"
    more = [name for name in ADD_ONS if payload.get(name)]
    fields = {
        "kind": "stt",
        "operation": "transcription",
        "model": text(payload, "speech_model_used") or text(payload, "speech_model"),
        "stt_audio_ms": None if failed else duration_ms(payload, "audio_duration"),  # not billed
        "cost_problem": f"{more[0]} has a price of its own" if more else None,
        "error": "error" if failed else None,
    }
    return [Draft(fields, text(payload, "id"), IdSource.RESPONSE)]
