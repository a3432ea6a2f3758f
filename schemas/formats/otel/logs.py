"""OpenTelemetry log records of calls to models, to events. Pure.

Coding agents report each call as a log record: Claude Code (`claude_code.api_request`), Codex
(`codex.sse_event` of a completed response), Gemini CLI and those made from it (`....api_response`).
Other records are no calls. The GenAI conventions have an event for a call too
(`gen_ai.client.inference.operation.details`); it has the identity of the span that it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from schemas.formats.body import Json, milliseconds
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.otel import attributes as names
from schemas.formats.otel.encoding import JsonPart, OtelLog, OtelSpan, log_of_json
from schemas.formats.otel.reads import first_count, first_number, first_text
from schemas.formats.otel.spans import (
    CONTRADICTS,
    NS_PER_MS,
    ModelCall,
    instant_of,
    is_possible,
    is_unique,
    read,
    time_of,
)
from schemas.formats.otel.usage import SpanUsage
from schemas.prices.names import names as names_of
from schemas.units import iso

DETAILS: Final = "gen_ai.client.inference.operation.details"
CLAUDE_CODE: Final = "claude_code"
_TOKENS: Final = ("input_tokens", "output_tokens", "input_token_count", "output_token_count")


def read_log(unread: OtelLog | JsonPart, received_ms: int) -> list[ReaderResult]:
    """Raises InvalidEvent for a record whose counts cannot be read."""
    log = unread if isinstance(unread, OtelLog) else log_of_json(unread)
    word = log.name.rpartition(".")[2]
    has_tokens = _has_tokens(log)
    if log.name == DETAILS:
        return [_details(log)]
    if word == "api_error" and _is_claude_code(log):
        return [_claude_code(log, received_ms, is_error=True)]
    if has_tokens and (reader := _READERS.get(word)) is not None:
        return [reader(log, received_ms)]
    reason = "the log record does not say that it is a call to a model"
    return [Uncounted(reason, has_usage=has_tokens)]


def _has_tokens(log: OtelLog) -> bool:
    return any(log.attributes.get(name) not in (None, "") for name in _TOKENS)


def _is_claude_code(log: OtelLog) -> bool:
    return log.name.startswith(CLAUDE_CODE) or log.scope.startswith("com.anthropic.claude_code")


def _details(log: OtelLog) -> ReaderResult:
    if log.scope.startswith("gemini") or (log.service or "").startswith(
        ("gemini-cli", "qwen-code")
    ):
        return Uncounted("the record repeats the api_response of the same call")
    span = OtelSpan(
        service=log.service,
        trace_id=log.trace_id,
        span_id=log.span_id,
        start_ns=0,
        end_ns=log.time_ns,
        failed=False,
        attributes=log.attributes,
        scope=log.scope,
    )
    made = read(span)
    return made.draft if isinstance(made, ModelCall) else made


def _claude_code(log: OtelLog, received_ms: int, *, is_error: bool = False) -> ReaderResult:
    attributes = log.attributes
    usage = SpanUsage() if is_error else _claude_usage(attributes)
    provider, model = names_of(None, _model(attributes), None, "anthropic")
    fields = {
        **_shared(log, received_ms),
        "provider": provider,
        "model": model,
        **usage.fields(),
        "cost_usd": _text_of(first_number(attributes, ("cost_usd",))),
        "speed": first_text(attributes, ("speed",)),
        "first_output_ms": _ms(attributes, "ttft_ms"),
        "error": _error(attributes) if is_error else None,
    }
    request_id = first_text(attributes, ("request_id",))
    if request_id and is_unique(request_id) and not is_error:
        return Draft(fields=fields, id=request_id)
    sequence = attributes.get("event.sequence", "")
    return Draft(fields=fields, id=_digest(log, request_id or "", str(sequence)))


def _claude_usage(attributes: Json) -> SpanUsage:
    """Anthropic's input leaves out the cache."""
    usage = SpanUsage(
        input=first_count(attributes, ("input_tokens",)),
        output=first_count(attributes, ("output_tokens",)),
        cache_read=first_count(attributes, ("cache_read_tokens", "cache_read_input_tokens")),
        cache_write=first_count(
            attributes, ("cache_creation_tokens", "cache_creation_input_tokens")
        ),
    )
    if usage.input is not None:
        usage.input += (usage.cache_read or 0) + (usage.cache_write or 0)
    return usage


def _codex(log: OtelLog, received_ms: int) -> ReaderResult:
    """OpenAI's totals, which include cached and reasoning tokens."""
    attributes = log.attributes
    usage = SpanUsage(
        input=first_count(attributes, ("input_token_count",)),
        output=first_count(attributes, ("output_token_count",)),
        cache_read=first_count(attributes, ("cached_token_count",)),
        cache_write=first_count(attributes, ("cache_write_token_count",)),
        reasoning=first_count(attributes, ("reasoning_token_count",)),
    )
    said = first_text(attributes, ("model_provider", "provider_name"))
    provider, model = names_of(said, _model(attributes), None, "openai")
    fields = {
        **_shared(log, received_ms),
        "provider": provider,
        "model": model,
        **usage.fields(),
        "cost_usd": _text_of(first_number(attributes, ("cost_usd",))),
    }
    response_id = first_text(attributes, ("response.id", "response_id"))
    if response_id and is_unique(response_id):
        return Draft(fields=fields, id=response_id)
    return Draft(fields=fields, id=_digest(log))


def _gemini_cli(log: OtelLog, received_ms: int) -> ReaderResult:
    """Gemini's counts: thoughts and the prompts of its tools stand beside output and input."""
    attributes = log.attributes
    thoughts = first_count(attributes, ("thoughts_token_count",))
    tools = first_count(attributes, ("tool_token_count",)) or 0
    prompt = first_count(attributes, ("input_token_count",))
    output = first_count(attributes, ("output_token_count",))
    total = first_count(attributes, ("total_token_count",))
    usage = SpanUsage(
        input=None if prompt is None else prompt + tools,
        output=None if output is None else output + (thoughts or 0),
        cache_read=first_count(attributes, ("cached_content_token_count",)),
        reasoning=thoughts,
    )
    if total and prompt is not None and output is not None:
        if total == prompt + output:  # of a provider whose counts are inclusive
            usage.input, usage.output = prompt, output
        elif total != (usage.input or 0) + (usage.output or 0):
            usage.contradicts = True
    default = "google" if log.name.startswith("gemini_cli") else None
    provider, model = names_of(None, _model(attributes), None, default)
    fields = {
        **_shared(log, received_ms),
        "provider": provider,
        "model": model,
        **usage.fields(),
        "cost_problem": CONTRADICTS if usage.contradicts else None,
        "cost_usd": _text_of(first_number(attributes, ("cost_usd",))),
    }
    response_id = first_text(attributes, ("response_id", "response.id"))
    if response_id and is_unique(response_id):
        return Draft(fields=fields, id=response_id)
    return Draft(fields=fields, id=_digest(log))


_READERS: Final[Mapping[str, Callable[[OtelLog, int], ReaderResult]]] = {
    "api_request": _claude_code,
    "sse_event": _codex,
    "api_response": _gemini_cli,
}
"""The last word of an event's name -> its reader; the record has tokens too."""


# -- what all of them have ---------------------------------------------------------------------------


def _shared(log: OtelLog, received_ms: int) -> dict[str, Any]:
    attributes = log.attributes
    return {
        "source": log.service,
        "kind": "llm",
        "operation": "chat",
        **_time(log, received_ms),
        "agent_id": first_text(attributes, (*names.AGENT, "agent.name")),
        "call_id": first_text(attributes, names.CALL),
        "chat_id": first_text(attributes, (*names.CHAT, "conversation.id")),
        "user_id": first_text(attributes, ("user.account_uuid", *names.USER, "user.account_id")),
        "user_email": first_text(attributes, names.EMAIL),
        "latency_ms": _ms(attributes, "duration_ms"),
    }


def _time(log: OtelLog, received_ms: int) -> dict[str, Any]:
    """The record's time, else the one that the agent writes into it."""
    at_ms = log.time_ns // NS_PER_MS
    if is_possible(at_ms, received_ms):
        return {"time": iso(at_ms)}
    said = first_text(log.attributes, ("event.timestamp",))
    if said is not None:
        at_ms = instant_of(said) or 0
        if is_possible(at_ms, received_ms):
            return {"time": iso(at_ms)}
    return time_of(log.time_ns)


def _model(attributes: Json) -> str | None:
    return first_text(attributes, ("model", "slug", *names.MODEL))


def _error(attributes: Json) -> str:
    """A class, never the message: that may hold private data."""
    status = attributes.get("status_code")
    return str(status)[:64] if status not in (None, "", "undefined") else "_OTHER"


def _ms(attributes: Json, name: str) -> int | None:
    found = first_number(attributes, (name,))
    return None if found is None or found < 0 else milliseconds({name: found}, name)


def _text_of(value: object) -> str | None:
    return None if value is None else str(value)


def _digest(log: OtelLog, *more: str) -> str:
    """A name of the record, which every export of it repeats: of all that it says."""
    parts = [log.name, str(log.time_ns), log.trace_id, log.span_id, *more]
    parts += [f"{name}={value}" for name, value in sorted(log.attributes.items())]
    return f"log-{digest_of(parts)}"


def digest_of(parts: Iterable[str]) -> str:
    """128 bits of texts, as hexadecimal digits."""
    content = "\0".join(parts).encode(errors="replace")
    return hashlib.blake2b(content, digest_size=16).hexdigest()
