"""Anthropic's messages to events. Pure.

Anthropic's `input_tokens` exclude tokens that were read from or written to the cache. The neutral
total is the sum of the three. The usage in `message_start` is provisional, and `message_delta`
repeats it complete: so a stream counts once, at its end. Several `message_delta` are running totals.
Source: schemas/contracts/producers.md, anthropic 2.12.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.vendors.usage import Known, has_any, unknown_fields
from schemas.prices.terms import region_of, tier_of

STREAM_TYPES: Final = frozenset(
    {
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "ping",
    }
)
TYPES: Final = STREAM_TYPES | {"message"}
ITERATIONS_MAX: Final = 256
"""Parts of one response. Each call of an advisor becomes an event; real responses have a few."""
STARTED: Final = "odometer.started"
"""Set on a `message_delta` by schemas.formats.joining: the message that it ends."""
_LIFETIMES: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_USAGE_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
COUNTS: Final = (*_USAGE_COUNTS, "output_tokens")
_KNOWN: Final[Known] = {
    **dict.fromkeys(COUNTS),
    "cache_creation": dict.fromkeys(_LIFETIMES),
    "output_tokens_details": dict.fromkeys(("thinking_tokens",)),
    "server_tool_use": dict.fromkeys(
        ("web_search_requests", "web_fetch_requests", "code_execution_requests")
    ),
    **dict.fromkeys(("service_tier", "inference_geo", "speed", "iterations", "type", "model")),
}


def read(payload: Json) -> list[ReaderResult]:
    """One message, one event of its stream, one line of a batch's results, or an error's body."""
    if is_batch_line(payload):
        return _batch_line(payload)
    kind = text(payload, "type")
    if kind == "message_start":
        return [
            Uncounted("usage of message_start is provisional, message_delta carries the final one")
        ]
    if kind in STREAM_TYPES and kind != "message_delta":
        return [Uncounted(f"the stream event {kind} carries no usage")]
    if kind == "error" or isinstance(payload.get("error"), dict):
        return [Uncounted("an error's body names no model and no tokens: it is no answer")]
    if kind == "message_delta":
        if STARTED not in payload:
            raise invalid("type", "is message_delta without its message_start: send both in a body")
        if not is_last_delta(payload):
            return [Uncounted("a message_delta without stop_reason is not the last of its message")]
    if kind in {"message_delta", "message"} or isinstance(payload.get("usage"), dict):
        return message(payload)
    raise invalid(
        "type", "is not an object of Anthropic's API: send a message or the events of its stream"
    )


def is_last_delta(payload: Json) -> bool:
    """Whether a message_delta ends its message. Its usage is complete; that of others is not."""
    delta = payload.get("delta")
    return not isinstance(delta, dict) or bool(delta.get("stop_reason", True))


def is_batch_line(payload: Json) -> bool:
    """A line of the results of a message batch: each has the answer to one request."""
    return "custom_id" in payload and "result" in payload


def _batch_line(payload: Json) -> list[ReaderResult]:
    result = section(payload, "result")
    if text(result, "type", "result.") != "succeeded":
        return [Uncounted("the line of a batch has no answer, so nothing is billed for it")]
    return [
        replace(made, fields={**made.fields, "service_tier": "batch"})
        if isinstance(made, Draft)
        else made
        for made in message(section(result, "message", "result."))
    ]


_CLOUDS: Final = {"msg_bdrk_": "aws", "msg_vrtx_": "google"}
"""The cloud that served a message, by the beginning of its id: it bills it."""
_CLOUD_CHARS: Final = 9


def message(payload: Json) -> list[ReaderResult]:
    """The events of a message: one, and one for each call of an advisor, which is another model."""
    started = section(payload, STARTED)
    usage = section(payload, "usage")
    if usage and not has_any(usage, COUNTS):
        raise invalid("usage", f"has none of Anthropic's counts: {', '.join(COUNTS)}")
    if started:
        usage = final_usage(section(started, "usage", "message."), usage)
    response_id = text(payload, "id") or text(started, "id", "message.")
    model = text(payload, "model") or text(started, "model", "message.")
    iterations = _iterations(usage)
    parts = [usage, *(part for part in iterations if part.get("type") == "compaction")]
    unknown = tuple(unknown_fields(usage, _KNOWN, "usage."))
    delta = payload.get("delta")
    ended = {**payload, **delta} if isinstance(delta, dict) else payload
    first = _draft(model, parts, response_id, "", unknown)
    terms = {
        **_terms(usage),
        "provider": _CLOUDS.get((response_id or "")[:_CLOUD_CHARS]),
        "finish_reason": _word(ended, "stop_reason"),
    }
    made: list[ReaderResult] = [replace(first, fields={**first.fields, **terms})]
    advisors = [part for part in iterations if part.get("type") == "advisor_message"]
    for index, part in enumerate(advisors):
        advisor = text(part, "model", "usage.iterations.")
        made.append(_draft(advisor, [part], response_id, f"advisor-{index}"))
    return made


def final_usage(provisional: Json, last: Json) -> Json:
    """The usage at a stream's end: what `message_delta` says, else what `message_start` said.

    Some servers report no input at the end, but 0 (SGLang, gateways). Then the start has it.
    """
    said = {name: value for name, value in last.items() if value is not None}
    if not any(count(last, name, "usage.") for name in _USAGE_COUNTS):
        said = {name: value for name, value in said.items() if name not in _USAGE_COUNTS}
    return {**provisional, **said}


def _terms(usage: Json) -> Json:
    """What decides the price beside the numbers, and the tools that were run."""
    tools = section(usage, "server_tool_use", "usage.")
    path = "usage.server_tool_use."
    return {
        "service_tier": tier_of(_word(usage, "service_tier")),
        "speed": _word(usage, "speed"),
        "region": region_of(_word(usage, "inference_geo")),
        "web_searches": count(tools, "web_search_requests", path),
        "code_executions": count(tools, "code_execution_requests", path),
    }


def _word(holder: Json, key: str) -> str | None:
    """A word beside the numbers: a wrong one costs no answer its usage."""
    found = holder.get(key)
    return found if isinstance(found, str) else None


def _iterations(usage: Json) -> list[Json]:
    """The parts of a beta response.

    The totals beside them exclude compactions, and calls of an advisor, which is another model. They
    include all other parts.
    """
    iterations = usage.get("iterations")
    if iterations is None:
        return []
    if isinstance(iterations, list) and len(iterations) > ITERATIONS_MAX:
        raise invalid("usage.iterations", f"must be an array of at most {ITERATIONS_MAX} objects")
    if not isinstance(iterations, list) or not all(isinstance(part, dict) for part in iterations):
        raise invalid("usage.iterations", "must be an array of objects")
    return iterations


def _draft(
    model: str | None,
    parts: list[Json],
    response_id: str | None,
    part: str,
    unknown: tuple[str, ...] = (),
) -> Draft:
    usage = _sum([_tokens(one) for one in parts])
    return Draft(
        fields={"kind": "llm", "operation": "chat", "model": model, **usage},
        id=response_id,
        id_source=IdSource.RESPONSE,
        part=part,
        unknown=unknown,
    )


def _tokens(usage: Json) -> dict[str, int | None]:
    reported = {name: count(usage, name, "usage.") for name in _USAGE_COUNTS}
    kept = section(usage, "cache_creation", "usage.")
    if reported["cache_creation_input_tokens"] is None and kept:
        parts = [count(kept, name, "usage.cache_creation.") for name in _LIFETIMES]
        reported["cache_creation_input_tokens"] = sum(part or 0 for part in parts)
    values = [value for value in reported.values() if value is not None]
    complete = reported["input_tokens"] is not None
    inclusive = sum(values) if complete else None
    output = count(usage, "output_tokens", "usage.")
    details = section(usage, "output_tokens_details", "usage.")
    return {
        "input_tokens": inclusive,
        "input_text_tokens": None,
        "input_audio_tokens": None if inclusive is None else 0,
        "cache_read_tokens": reported["cache_read_input_tokens"],
        "cache_write_tokens": reported["cache_creation_input_tokens"],
        "cache_write_1h_tokens": count(
            kept,
            "ephemeral_1h_input_tokens",
            "usage.cache_creation.",
        ),
        "output_tokens": output,
        "output_text_tokens": output,
        "output_audio_tokens": None if output is None else 0,
        "reasoning_tokens": count(details, "thinking_tokens", "usage.output_tokens_details."),
    }


def _sum(parts: list[dict[str, int | None]]) -> dict[str, int | None]:
    """Sums field by field. A field that no part reports stays not reported."""
    totals = dict(parts[0])
    for part in parts[1:]:
        for name, value in part.items():
            if value is not None:
                totals[name] = (totals[name] or 0) + value
    return totals
