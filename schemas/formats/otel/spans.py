"""OpenTelemetry spans to events, and OTLP's JSON encoding. Pure.

Only spans of a model call count: `invoke_agent` and workflow spans repeat the usage of their
children. The GenAI conventions are still in development, so old and new names are accepted.
Source: schemas/contracts/producers.md; OTLP 1.x; gen_ai conventions of semconv 0.66b2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from schemas.formats.body import (
    AT_MS_MAX,
    Json,
    check_items,
    count,
    difference,
    duration_ms,
    invalid,
    section,
    text,
)
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.limits import DURATION_MS_MAX
from schemas.prices.names import names
from schemas.units import iso

OPERATIONS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""gen_ai.operation.name of a call to a model."""
_REQUEST_TYPES: Final = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
"""llm.request.type, which instrumentations wrote before gen_ai.operation.name existed."""
_NS_PER_MS: Final = 10**6
STATUS_ERROR: Final = 2
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")

AGENT: Final = "gen_ai.agent.id"
CALL: Final = "session.id"
CHAT: Final = "gen_ai.conversation.id"
EMAIL: Final = "user.email"
ERROR: Final = "error.type"
FIRST_OUTPUT: Final = "gen_ai.response.time_to_first_chunk"
OPERATION: Final = "gen_ai.operation.name"
REQUEST_TYPE: Final = "llm.request.type"
PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system")
MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model")
URL: Final = ("server.address", "url.full", "gen_ai.openai.api_base", "llm.openai.api_base")
USER: Final = ("user.id", "enduser.id")
USER_NAME: Final = ("user.full_name", "user.name")
INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
INPUT_TEXT: Final = ("gen_ai.usage.text.input_tokens",)
INPUT_AUDIO: Final = ("gen_ai.usage.audio.input_tokens",)
OUTPUT_TEXT: Final = ("gen_ai.usage.text.output_tokens",)
OUTPUT_AUDIO: Final = ("gen_ai.usage.audio.output_tokens",)
CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
)
CACHE_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
)
REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
)


SERVICE: Final = "service.name"
READ: Final = frozenset(
    {
        *PROVIDER,
        *MODEL,
        *URL,
        *USER,
        *USER_NAME,
        *INPUT,
        *OUTPUT,
        *INPUT_TEXT,
        *INPUT_AUDIO,
        *OUTPUT_TEXT,
        *OUTPUT_AUDIO,
        *CACHE_READ,
        *CACHE_WRITE,
        *REASONING,
        SERVICE,
        AGENT,
        CALL,
        CHAT,
        EMAIL,
        ERROR,
        FIRST_OUTPUT,
        OPERATION,
        REQUEST_TYPE,
    }
)
"""Every attribute that is read: of a binary request no other is kept."""


@dataclass(frozen=True)
class OtelSpan:
    """The parts of a span that are counted. `attributes` has no arrays and no maps."""

    service: str | None
    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Json


@dataclass(frozen=True)
class OtelSpans:
    """The spans of one protobuf request, in order."""

    spans: tuple[OtelSpan, ...]


@dataclass(frozen=True)
class JsonSpan:
    """A span of a JSON request, not read yet, so that an invalid span is refused alone."""

    service: str | None
    span: Any
    path: str


# -- JSON ------------------------------------------------------------------------------------------


def answer_json(rejected: int, message: str) -> Json:
    """An ExportTraceServiceResponse as OTLP's JSON, where 64-bit integers are texts."""
    if not rejected:
        return {}
    return {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": message}}


def json_spans(payload: Json) -> list[JsonSpan]:
    """The spans of a JSON ExportTraceServiceRequest, in order, not read yet."""
    found: list[JsonSpan] = []
    scopes = 0
    resources = _objects(payload, "resourceSpans", "")
    check_items(len(resources), "resourceSpans")
    for r, resource_spans in enumerate(resources):
        at = f"resourceSpans.{r}."
        resource = section(resource_spans, "resource", at)
        attributes = _json_attributes(resource, f"{at}resource.")
        service = text(attributes, SERVICE, f"{at}resource.attributes.")
        scope_items = _objects(resource_spans, "scopeSpans", at)
        scopes += len(scope_items)
        check_items(scopes, "scopeSpans")
        for s, scope_spans in enumerate(scope_items):
            path = f"{at}scopeSpans.{s}."
            spans = _array(scope_spans, "spans", path)
            check_items(len(found) + len(spans), "spans")
            found += [JsonSpan(service, span, f"{path}spans.{i}.") for i, span in enumerate(spans)]
    return found


def _array(holder: Json, key: str, path: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(path + key, "must be an array")
    return value


def _objects(holder: Json, key: str, path: str) -> list[Json]:
    items = _array(holder, key, path)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise invalid(f"{path}{key}.{index}", "must be an object")
    return items


def _json_attributes(holder: Json, path: str) -> Json:
    read: Json = {}
    for index, pair in enumerate(_objects(holder, "attributes", path)):
        at = f"{path}attributes.{index}."
        key = text(pair, "key", at)
        if key:
            read[key] = _json_value(section(pair, "value", at), f"{at}value.")
    return read


def _json_value(value: Json, path: str) -> object:
    if "intValue" in value:
        return _json_integer(value, "intValue", path)
    for name in ("stringValue", "doubleValue", "boolValue"):
        if name in value:
            return value[name]
    return None


def _json_integer(holder: Json, key: str, path: str) -> int:
    """OTLP's JSON has 64-bit integers as texts; numbers are accepted too. Missing is 0."""
    value = holder.get(key, 0)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise invalid(path + key, "must be an integer, as a text or a number")


def span_of_json(unread: JsonSpan) -> OtelSpan:
    span, path = unread.span, unread.path
    if not isinstance(span, dict):
        raise invalid(path.removesuffix("."), "must be an object")
    status = section(span, "status", path)
    return OtelSpan(
        service=unread.service,
        trace_id=(text(span, "traceId", path) or "").lower(),
        span_id=(text(span, "spanId", path) or "").lower(),
        start_ns=_json_integer(span, "startTimeUnixNano", path),
        end_ns=_json_integer(span, "endTimeUnixNano", path),
        failed=status.get("code") == STATUS_ERROR,
        attributes=_json_attributes(span, path),
    )


# -- a span to its event ---------------------------------------------------------------------------


def read(unread: OtelSpan | JsonSpan) -> list[ReaderResult]:
    span = unread if isinstance(unread, OtelSpan) else span_of_json(unread)
    attributes = span.attributes
    operation = _first_text(attributes, (OPERATION,))
    if operation is None:
        request_type = _first_text(attributes, (REQUEST_TYPE,)) or ""
        operation = _REQUEST_TYPES.get(request_type.lower())
    if operation is None:
        return [Uncounted("the span names no gen_ai operation: it is not a call to a model")]
    if operation not in OPERATIONS:
        return [Uncounted(f"the operation {operation[:64]} is not a call to a model")]
    return [Draft(fields=_fields(span), id=_span_identity(span))]


def _fields(span: OtelSpan) -> dict[str, Any]:
    attributes = span.attributes
    output = _first_count(attributes, OUTPUT)
    output_audio = _first_count(attributes, OUTPUT_AUDIO)
    output_text = _first_count(attributes, OUTPUT_TEXT)
    error = _first_text(attributes, (ERROR,))
    named = names(
        _first_text(attributes, PROVIDER),
        _first_text(attributes, MODEL),
        _first_text(attributes, URL),
    )
    return {
        "source": span.service,
        "time": _span_end(span),
        "kind": "llm",
        "provider": named.provider,
        "model": named.model,
        "agent_id": _first_text(attributes, (AGENT,)),
        "call_id": _first_text(attributes, (CALL,)),
        "chat_id": _first_text(attributes, (CHAT,)),
        "user_id": _first_text(attributes, USER),
        "user_email": _first_text(attributes, (EMAIL,)),
        "user_name": _first_text(attributes, USER_NAME),
        "input_tokens": _first_count(attributes, INPUT),
        "input_text_tokens": _first_count(attributes, INPUT_TEXT),
        "input_audio_tokens": _first_count(attributes, INPUT_AUDIO),
        "cache_read_tokens": _first_count(attributes, CACHE_READ),
        "cache_write_tokens": _first_count(attributes, CACHE_WRITE),
        "output_tokens": output,
        "output_text_tokens": difference(output, output_audio)
        if output_text is None
        else output_text,
        "output_audio_tokens": output_audio,
        "reasoning_tokens": _first_count(attributes, REASONING),
        "latency_ms": _span_ms(span),
        "first_output_ms": duration_ms(attributes, FIRST_OUTPUT),
        "error": error or ("_OTHER" if span.failed else None),
    }


def _first_text(attributes: Json, names: tuple[str, ...]) -> str | None:
    for name in names:
        found = text(attributes, name)
        if found is not None:
            return found
    return None


def _first_count(attributes: Json, names: tuple[str, ...]) -> int | None:
    for name in names:
        found = count(attributes, name)
        if found is not None:
            return found
    return None


def _span_identity(span: OtelSpan) -> str | None:
    """Trace id and span id, which every export of a span repeats. All zeros mean none."""
    if not span.trace_id.strip("0") or not span.span_id.strip("0"):
        return None
    if not _TRACE_ID.fullmatch(span.trace_id):
        raise invalid("traceId", "must be 32 hexadecimal digits")
    if not _SPAN_ID.fullmatch(span.span_id):
        raise invalid("spanId", "must be 16 hexadecimal digits")
    return f"{span.trace_id}-{span.span_id}"


def _span_end(span: OtelSpan) -> str | None:
    if not span.end_ns:
        return None
    if not 0 <= span.end_ns // _NS_PER_MS <= AT_MS_MAX:
        raise invalid("endTimeUnixNano", "must be nanoseconds since 1970, up to the year 9999")
    return iso(span.end_ns // _NS_PER_MS)


def _span_ms(span: OtelSpan) -> int | None:
    if not span.start_ns or not span.end_ns:
        return None
    elapsed = Decimal(span.end_ns - span.start_ns) / _NS_PER_MS
    if not 0 <= elapsed <= DURATION_MS_MAX:
        raise invalid("endTimeUnixNano", f"must be from 0 to {DURATION_MS_MAX} ms after the start")
    return int(elapsed.to_integral_value(ROUND_HALF_EVEN))
