"""Usage of OpenAI's Agents SDK to events: a run's usage, and exported spans of its tracing. Pure.

A run's usage is the sum of several requests. Its `request_usage_entries` become one event each.
Without all of them the first event has the tokens, and the others only count as requests.
Source: schemas/contracts/producers.md, openai-agents 0.24.
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors.openai_usage import tokens_of
from schemas.prices.providers import known

REQUESTS_MAX: Final = 1000
"""Of one run. Real runs end after some ten turns."""
SPAN: Final = "trace.span"
TRACE: Final = "trace"
ENTRIES: Final = "request_usage_entries"


def is_span(payload: Json) -> bool:
    return payload.get("object") in (SPAN, TRACE)


def is_own(payload: Json) -> bool:
    if is_span(payload):
        return True
    return "requests" in payload and "input_tokens" in payload and "output_tokens" in payload


def read(payload: Json) -> list[ReaderResult]:
    """The usage of a run, or one exported span."""
    if is_span(payload):
        return [_span(payload)]
    entries, requests = payload.get(ENTRIES), count(payload, "requests")
    if requests is None:
        raise invalid("requests", "is missing: this is no usage of the Agents SDK")
    if isinstance(entries, list) and entries:
        if len(entries) > REQUESTS_MAX or not all(isinstance(one, dict) for one in entries):
            raise invalid(ENTRIES, f"must be an array of at most {REQUESTS_MAX} objects")
        if requests == len(entries) and _is_sum(payload, entries):
            return [_draft(one, f"{ENTRIES}.") for one in entries]
    if requests == 0:
        return [Uncounted("the run made no request")]
    if requests > REQUESTS_MAX:
        raise invalid("requests", f"must be at most {REQUESTS_MAX}")
    others: list[ReaderResult] = [
        Draft({"kind": "llm", "operation": "chat"}) for _ in range(requests - 1)
    ]
    return [_draft(payload, "usage."), *others]


def _is_sum(usage: Json, entries: list[Json]) -> bool:
    """Whether the entries are all of a run: those of an older part of it may be missing."""
    names = ("input_tokens", "output_tokens")
    return all(
        count(usage, name) == sum(count(one, name, f"{ENTRIES}.") or 0 for one in entries)
        for name in names
    )


def _draft(usage: Json, path: str, **about: str | None) -> Draft:
    known = {name: value for name, value in usage.items() if name not in {"requests", ENTRIES}}
    model = text(usage, "model_name", path) or text(usage, "model", path)
    counts = {name: value for name, value in known.items() if name not in {"model_name", "model"}}
    tokens, unknown = tokens_of(counts, path, model)
    return Draft(
        {"kind": "llm", "operation": "chat", "model": model, **tokens, **about}, unknown=unknown
    )


def _span(payload: Json) -> ReaderResult:
    data = section(payload, "span_data")
    kind = text(data, "type", "span_data.")
    failed = bool(payload.get("error"))
    if kind != "generation" or not (isinstance(data.get("usage"), dict) or failed):
        return Uncounted(f"a span of type {(kind or TRACE)[:64]} repeats no usage of a model call")
    usage = {**section(data, "usage", "span_data."), "model": data.get("model")}
    settings = section(data, "model_config", "span_data.")
    made = _draft(
        usage,
        "span_data.usage.",
        time=instant(payload, "ended_at"),
        provider=known(text(settings, "base_url", "span_data.model_config.")),
        error="failed" if failed else None,
    )
    return Draft(made.fields, text(payload, "id"), unknown=made.unknown)
