"""OpenTelemetry spans to events. Pure.

Only spans of a model call count (`model_calls`): agents and workflows repeat the usage of the calls
below them. The GenAI conventions are still in development, and other libraries have names of their
own, so all of them are accepted (`attributes`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from schemas.event.event_struct import parse_instant
from schemas.formats.body import AT_MS_MAX, Json, duration_ms, invalid, milliseconds
from schemas.formats.draft import Draft, Uncounted
from schemas.formats.otel import attributes as names
from schemas.formats.otel.costs import cost_of
from schemas.formats.otel.encoding import OtelSpan
from schemas.formats.otel.model_calls import carries_usage, kind_of
from schemas.formats.otel.reads import (
    first_count,
    first_number,
    first_text,
    json_object,
    unknown_usage,
)
from schemas.formats.otel.usage import SpanUsage, terms_of_metadata, usage_of
from schemas.formats.vendors.usage import TOTAL_ALONE
from schemas.limits import DAY_MS, DURATION_MS_MAX
from schemas.prices.names import names as names_of
from schemas.prices.terms import tier_of
from schemas.units import instant_to_ms, iso

NS_PER_MS: Final = 10**6
CONTRADICTS: Final = "the reported total is not that of its parts"
EARLIEST_MS: Final = 1_420_070_400_000
"""2015. A call to a model is later: an earlier time is in another unit, or was never set."""
URL_CHARS_MAX: Final = 512
"""Enough for a host; the rest of a URL may hold anything."""
KINDS: Final = {"speech": "tts", "transcription": "stt"}
_CACHE: Final = ("cache_read_tokens", "cache_creation_tokens")
_UNFINISHED: Final = frozenset({"queued", "in_progress"})
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_PREFIX: Final = re.compile(r"(?:[A-Za-z]+[-_])+")
"""`chatcmpl-`, `msg_`: what is before the part of an id that differs."""
_ID_CHARS_MIN: Final = 16
_ID_KINDS_MIN: Final = 8
"""A response id that identifies the answer alone has so many characters, of so many kinds, and not only
digits. 16 of base 62 are 95 bits. Ollama's have three digits, other servers' are constant or a time."""


@dataclass(frozen=True)
class ModelCall:
    """A span that counts. `draft` has its fields; `usage` as it was read."""

    span: OtelSpan
    draft: Draft
    usage: SpanUsage
    response_id: str | None


def read(span: OtelSpan) -> ModelCall | Uncounted:
    """Raises InvalidEvent for a span whose ids or counts cannot be read."""
    if span.attributes.get(names.CLAUDE_CODE_TYPE) == "llm_request":
        if not is_unique(first_text(span.attributes, ("request_id",)) or ""):
            return Uncounted("a span of Claude Code without a request_id: its log record counts")
        span = _of_claude_code(span)
    kind = kind_of(span.attributes, span.scope)
    if kind.operation is None:
        return _uncounted(span.attributes, kind.word)
    about = json_object(span.attributes, names.BRAINTRUST_METADATA)
    provider, model = names_of(
        first_text(span.attributes, names.PROVIDER) or first_text(about, ("provider",)),
        first_text(span.attributes, names.MODEL) or first_text(about, ("model",)),
        url_of(span.attributes),
    )
    if first_text(span.attributes, names.STATUS) in _UNFINISHED:
        return Uncounted("the answer is not final yet: a later span reports it")
    usage = usage_of(span.attributes, span.scope, provider, model)
    if usage.is_total_alone and kind.operation == "embeddings":
        usage.input = usage.total
    response_id = first_text(span.attributes, names.RESPONSE_ID)
    cost, no_numbers = cost_of(span.attributes)
    fields = {
        "source": span.service,
        "kind": KINDS.get(kind.operation, "llm"),
        "operation": kind.operation,
        "provider": provider,
        "model": model,
        **_context(span.attributes),
        **usage.fields(),
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_image_tokens": first_count(span.attributes, names.INPUT_IMAGE),
        "output_image_tokens": first_count(span.attributes, names.OUTPUT_IMAGE),
        "web_searches": first_count(span.attributes, names.WEB_SEARCHES) or None,
        "finish_reason": first_text(span.attributes, names.FINISH),
        "cost_problem": _problem(usage),
        **_times(span),
        "cost_usd": cost,
        "error": first_text(span.attributes, names.ERROR) or ("_OTHER" if span.failed else None),
    }
    for name, value in terms_of_metadata(span.attributes, model).items():
        fields[name] = fields.get(name) or value
    unknown = (*no_numbers, *unknown_usage(span.attributes))
    identity = identity_of(span.trace_id, span.span_id, response_id, usage)
    return ModelCall(span, Draft(fields=fields, id=identity, unknown=unknown), usage, response_id)


def _problem(usage: SpanUsage) -> str | None:
    if usage.is_total_alone:
        return TOTAL_ALONE
    return CONTRADICTS if usage.contradicts else None


def _of_claude_code(span: OtelSpan) -> OtelSpan:
    """The same in the words of the conventions. Its log record has the same request_id, so that the two
    are one event."""
    said = span.attributes
    parts = [first_count(said, (name,)) for name in ("input_tokens", *_CACHE)]
    attributes = {
        "gen_ai.provider.name": "anthropic",
        **said,
        **{name: said[own] for own, name in names.CLAUDE_CODE.items() if own in said},
        names.OPERATION: "chat",
    }
    if parts[0] is not None:
        attributes[names.INPUT[0]] = sum(part or 0 for part in parts)
    return replace(span, attributes=attributes)


def url_of(attributes: Json) -> str | None:
    """The beginning of the URL that was called, or its host."""
    found = (attributes.get(name) for name in names.URL)
    return next((one[:URL_CHARS_MAX] for one in found if isinstance(one, str) and one), None)


def _uncounted(attributes: Json, word: str) -> Uncounted:
    has_usage = carries_usage(attributes)
    if not word:
        return Uncounted("the span does not say that it is a call to a model", has_usage=has_usage)
    return Uncounted(f"a span of {word[:64]} is no call to a model", has_usage=has_usage)


def _context(attributes: Json) -> dict[str, str | None]:
    return {
        "agent_id": first_text(attributes, names.AGENT),
        "call_id": first_text(attributes, names.CALL),
        "chat_id": first_text(attributes, names.CHAT),
        "user_id": first_text(attributes, names.USER),
        "user_email": first_text(attributes, names.EMAIL),
        "user_name": first_text(attributes, names.USER_NAME),
        "service_tier": tier_of(first_text(attributes, names.SERVICE_TIER)),
    }


# -- identity ----------------------------------------------------------------------------------------


def identity_of(
    trace_id: str, span_id: str, response_id: str | None, usage: SpanUsage
) -> str | None:
    """The answer's own id, which all spans of one answer share, if they report it; else the span's.

    A short response id identifies an answer only with its trace and its counts: Ollama has 999 ids.
    None if there is neither: trace and span ids of zeros mean none.
    """
    trace_id, span_id = trace_id.strip(), span_id.strip()
    if usage.output is None:
        response_id = None  # a report without usage must not take the place of one that has it
    if response_id and is_unique(response_id):
        return response_id
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    if not _TRACE_ID.fullmatch(trace_id):
        raise invalid("traceId", "must be 32 hexadecimal digits")
    if not _SPAN_ID.fullmatch(span_id):
        raise invalid("spanId", "must be 16 hexadecimal digits")
    if response_id:
        return f"{trace_id}-{response_id[:64]}-{usage.input or 0}-{usage.output}"
    return f"{trace_id}-{span_id}"


def is_unique(response_id: str) -> bool:
    """Whether no other answer has this id."""
    drawn = _PREFIX.sub("", response_id, count=1)
    plain = [char for char in drawn if char.isalnum()]
    return (
        len(plain) >= _ID_CHARS_MIN
        and len(set(plain)) >= _ID_KINDS_MIN
        and not all(char.isdigit() for char in plain)
    )


# -- times -------------------------------------------------------------------------------------------


def _times(span: OtelSpan) -> dict[str, Any]:
    return {
        **time_of(span.end_ns),
        "latency_ms": _latency(span),
        "first_output_ms": _first_output(span),
    }


def time_of(at_ns: int) -> dict[str, str]:
    """The time, where it is given. One that cannot be right is replaced, and reported, later
    (`schemas.formats.complete`)."""
    return {"time": iso(min(max(at_ns // NS_PER_MS, 0), AT_MS_MAX))} if at_ns else {}


def is_possible(at_ms: int, received_ms: int) -> bool:
    return EARLIEST_MS <= at_ms <= received_ms + DAY_MS


def _latency(span: OtelSpan) -> int | None:
    if not span.start_ns or not span.end_ns:
        return None
    elapsed = Decimal(span.end_ns - span.start_ns) / NS_PER_MS
    if not 0 <= elapsed <= DURATION_MS_MAX:
        return None
    return int(elapsed.to_integral_value(ROUND_HALF_EVEN))


def _first_output(span: OtelSpan) -> int | None:
    attributes = span.attributes
    for name in names.FIRST_OUTPUT_S:
        seconds = first_number(attributes, (name,))
        if seconds is not None and seconds >= 0:
            return duration_ms({name: seconds}, name)
    for name in names.FIRST_OUTPUT_MS:
        found = first_number(attributes, (name,))
        if found is not None and found >= 0:
            return milliseconds({name: found}, name)
    said = first_text(attributes, (names.FIRST_OUTPUT_AT,))
    if said is None or not span.start_ns:
        return None
    at_ms = instant_of(said.strip('"'))
    elapsed = -1 if at_ms is None else at_ms - span.start_ns // NS_PER_MS
    return elapsed if 0 <= elapsed <= DURATION_MS_MAX else None


def instant_of(said: str) -> int | None:
    """RFC 3339 to ms since 1970; None for any other text."""
    try:
        at = parse_instant(said)
    except ValueError:
        return None
    return instant_to_ms(at) if isinstance(at, datetime) else None
