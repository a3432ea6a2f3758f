"""Deepgram's transcripts to events. Pure.

`metadata.duration` is the audio in seconds; each channel that is transcribed apart is billed. Parts of
a live transcript (`Results`) count nothing; the `Metadata` at its end has the duration of all.
Source: schemas/contracts/producers.md, deepgram-sdk 7.17.
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, count, duration_ms, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors.usage import items_of

PARTS: Final = frozenset({"Results", "SpeechStarted", "UtteranceEnd", "Connected", "TurnInfo"})
END: Final = "Metadata"
ADD_ONS: Final = ("summary_info", "sentiment_info", "topics_info", "intents_info")
"""In the metadata of a recording whose text was analysed, which is billed by tokens."""
_GENERAL: Final = "general-"


def is_own(payload: Json) -> bool:
    kind = payload.get("type")
    if isinstance(kind, str) and (kind in PARTS or (kind == END and "request_id" in payload)):
        return True
    metadata = payload.get("metadata")
    return (
        isinstance(metadata, dict)
        and "request_id" in metadata
        and bool(metadata.keys() & {"duration", "model_info", "models"})
    )


def read(payload: Json) -> list[ReaderResult]:
    """One transcript, or one message of a live one."""
    kind = payload.get("type")
    if isinstance(kind, str) and kind in PARTS:
        return [Uncounted(f"{kind} is a part of a live transcript, {END} at its end has the audio")]
    path = "" if kind == END else "metadata."
    metadata = payload if kind == END else section(payload, "metadata")
    if "duration" not in metadata and "model_name" not in metadata:
        raise invalid(f"{path}duration", "is missing: this is no transcript of Deepgram's API")
    audio_ms = duration_ms(metadata, "duration", path)
    channels = count(metadata, "channels", path)
    fields = {
        "kind": "stt" if audio_ms is not None else "tts",
        "operation": "transcription" if audio_ms is not None else "speech",
        # A recording has another price than a stream.
        "service_tier": "prerecorded" if audio_ms is not None and kind != END else None,
        "time": instant(metadata, "created"),
        "model": _model(metadata),
        "cost_problem": _problem(payload, metadata),
        "stt_audio_ms": None if audio_ms is None else audio_ms * max(1, channels or 1),
    }
    return [Draft(fields, text(metadata, "request_id", path), IdSource.RESPONSE)]


def _problem(payload: Json, metadata: Json) -> str | None:
    """What has a price beside that of the audio, or another one."""
    more = next((name for name in ADD_ONS if metadata.get(name)), None)
    if more is not None:
        return f"{more.removesuffix('_info')} has a price of its own"
    spoken = [
        heard
        for channel in items_of(section(payload, "results"), "channels")
        for heard in items_of(channel, "alternatives")
    ]
    if any(heard.get("languages") for heard in spoken):
        return "transcripts of several languages have a price of their own"
    return None


def _model(metadata: Json) -> str | None:
    """The architecture (`nova-3`), or the model's name without `general-`."""
    information = metadata.get("model_info")
    for one in information.values() if isinstance(information, dict) else []:
        if isinstance(one, dict):
            name = one.get("arch") or one.get("name")
            return str(name).removeprefix(_GENERAL) if name else None
    return text(metadata, "model_name")
