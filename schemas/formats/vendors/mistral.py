"""Mistral's OCR and transcriptions to events; its chat has OpenAI's format. Pure.

OCR is billed by the page. A transcription is billed by the seconds of its audio, which `usage` has beside
its tokens. Neither answer has an id or a time.
Source: schemas/contracts/producers.md, "Mistral".
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, count, duration_ms, invalid, section, text
from schemas.formats.draft import Draft, ReaderResult, Uncounted

SECONDS: Final = "prompt_audio_seconds"
DONE: Final = "transcription.done"
PARTS: Final = frozenset(
    {"transcription.text.delta", "transcription.language", "transcription.segment"}
)
ANNOTATED: Final = "annotated pages have a price of their own"


def is_own(payload: Json) -> bool:
    kind = payload.get("type")
    return (
        _is_ocr(payload)
        or _is_transcription(payload)
        or (isinstance(kind, str) and (kind == DONE or kind in PARTS))
    )


def read(payload: Json) -> list[ReaderResult]:
    """The pages of a document, a transcription, or an event of its stream."""
    if _is_ocr(payload):
        return [_ocr(payload)]
    kind = text(payload, "type")
    if kind in PARTS:
        return [Uncounted(f"a part of a transcription carries no usage, {DONE} does")]
    if not (_is_transcription(payload) or kind == DONE):
        raise invalid(
            "usage_info", "is missing: this is no answer of Mistral's OCR or transcription"
        )
    usage = section(payload, "usage")
    fields = {
        "kind": "stt",
        "operation": "transcription",
        "model": text(payload, "model"),
        "stt_audio_ms": duration_ms(usage, SECONDS, "usage."),
        "input_tokens": count(usage, "prompt_tokens", "usage."),
        "output_tokens": count(usage, "completion_tokens", "usage."),
    }
    return [Draft(fields)]


def _is_ocr(payload: Json) -> bool:
    usage = payload.get("usage_info")
    return isinstance(usage, dict) and "pages_processed" in usage


def _is_transcription(payload: Json) -> bool:
    usage = payload.get("usage")
    return isinstance(payload.get("text"), str) and isinstance(usage, dict) and SECONDS in usage


def _ocr(payload: Json) -> Draft:
    usage = section(payload, "usage_info")
    fields = {
        "kind": "llm",
        "operation": "ocr",
        "model": text(payload, "model"),
        "pages": count(usage, "pages_processed", "usage_info."),
        "cost_problem": None if payload.get("document_annotation") is None else ANNOTATED,
    }
    return Draft(fields)
