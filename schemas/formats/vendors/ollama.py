"""Ollama's own chat, generate and embed answers to events. Pure.

They have no id. Their time, to the nanosecond, and their durations tell two answers apart, so they
are the identity. Lines of a stream before `done` count nothing.
Source: schemas/contracts/producers.md, ollama 0.6.
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, checked_ms, count, invalid, number, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant

_MARKS: Final = frozenset(
    {"prompt_eval_count", "eval_count", "total_duration", "load_duration", "done_reason"}
)
_LOADS: Final = ("load", "unload")
_NS: Final = 1_000_000_000


def is_own(payload: Json) -> bool:
    if payload.get("done") is False:
        return "created_at" in payload and bool(payload.keys() & {"message", "response"})
    return bool(payload.keys() & _MARKS) and "model" in payload and "object" not in payload


def read(payload: Json) -> list[ReaderResult]:
    """One answer, or one line of a stream."""
    if payload.get("done") is False:
        return [Uncounted("a line of a stream before done carries no usage")]
    if not payload.keys() & _MARKS:
        raise invalid("eval_count", "is missing: this is no answer of Ollama's API")
    if payload.get("done_reason") in _LOADS:
        return [Uncounted("a model was only loaded or unloaded")]
    output = count(payload, "eval_count")
    model, created = text(payload, "model"), text(payload, "created_at")
    told = (model, created, payload.get("total_duration"), payload.get("eval_duration"))
    fields = {
        "kind": "llm",
        "time": instant(payload, "created_at"),
        "model": model,
        "operation": "embeddings" if "embeddings" in payload else "chat",
        "finish_reason": text(payload, "done_reason"),
        "input_tokens": count(payload, "prompt_eval_count"),
        "output_tokens": output,
        "output_text_tokens": output,
        "latency_ms": _ms(payload, "total_duration"),
    }
    name = "/".join(str(part) for part in told) if created and told[2] else None
    return [Draft(fields, name, IdSource.RESPONSE)]


def _ms(payload: Json, key: str) -> int | None:
    ns = number(payload, key)
    return None if ns is None else checked_ms(ns / _NS, key)
