"""Cohere's chat, embeddings and reranking to events. Pure.

`billed_units` are what is paid for; `tokens` also has the prompt that Cohere adds, which is free.
Source: schemas/contracts/producers.md, cohere 7.3.
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.vendors.usage import Known, unknown_fields

START: Final = "message-start"
END: Final = "message-end"
JOINED: Final = frozenset({START, END})
STARTED: Final = "odometer.started"
"""Set on a `message-end` by schemas.formats.joining: the event that began the answer."""
STREAM: Final = frozenset(
    {
        "content-start",
        "content-delta",
        "content-end",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "citation-start",
        "citation-end",
    }
)
IMAGES: Final = "images are billed beside the tokens, which no price has"
_KNOWN: Final[Known] = {
    "billed_units": dict.fromkeys(
        ("input_tokens", "output_tokens", "search_units", "images", "image_tokens")
    ),
    "tokens": dict.fromkeys(("input_tokens", "output_tokens")),
    "cached_tokens": None,
    **dict.fromkeys(("api_version", "warnings")),
}


def is_own(payload: Json) -> bool:
    kind = payload.get("type")
    if isinstance(kind, str) and kind in STREAM | JOINED:
        return True
    if str(payload.get("event_type")) in {"stream-start", "text-generation", "stream-end"}:
        return True
    return _billed(payload) is not None


def read(payload: Json) -> list[ReaderResult]:
    """One answer, or one event of a stream (of API version 1 or 2)."""
    kind = payload.get("type")
    if "event_type" in payload:
        if payload["event_type"] != "stream-end":
            return [Uncounted("an event of a stream carries no usage, stream-end does")]
        payload = section(payload, "response")
    elif kind == END:
        started = section(payload, STARTED)
        delta = section(payload, "delta")
        payload = {"id": payload.get("id") or started.get("id"), **delta}
    elif isinstance(kind, str) and (kind == START or kind in STREAM):
        return [Uncounted(f"the stream event {kind} carries no usage, {END} does")]
    found = _billed(payload)
    if found is None:
        raise invalid("usage.billed_units", "is missing: this is no answer of Cohere's API")
    name, usage = found
    path = f"{name}.billed_units."
    billed = section(usage, "billed_units", f"{name}.")
    output = count(billed, "output_tokens", path)
    images = count(billed, "images", path)
    image_tokens = count(billed, "image_tokens", path)
    unknown = unknown_fields(usage, _KNOWN, f"{name}.")
    ended = payload.get("finish_reason")
    fields = {
        "kind": "llm",
        "operation": _operation(payload),
        "finish_reason": ended if isinstance(ended, str) else None,
        "rerank_searches": count(billed, "search_units", path),
        "model": text(payload, "model"),
        "input_tokens": count(billed, "input_tokens", path),
        "cache_read_tokens": count(usage, "cached_tokens", f"{name}."),
        "output_tokens": output,
        "output_text_tokens": output,
        "images": images,
        "input_image_tokens": image_tokens,
        "cost_problem": IMAGES if images or image_tokens else None,
    }
    ids = ("id", "response_id", "generation_id")
    response_id = next((text(payload, key) for key in ids if payload.get(key)), None)
    return [Draft(fields, response_id, IdSource.RESPONSE, unknown=tuple(unknown))]


def _operation(payload: Json) -> str:
    if "embeddings" in payload:
        return "embeddings"
    return "rerank" if "results" in payload else "chat"


def _billed(payload: Json) -> tuple[str, Json] | None:
    """`usage` of version 2, `meta` of version 1 and of embeddings."""
    for name in ("usage", "meta"):
        found = payload.get(name)
        if isinstance(found, dict) and isinstance(found.get("billed_units"), dict):
            return name, found
    return None
