"""Anthropic's messages to events. Pure.

Anthropic's `input_tokens` exclude tokens that were read from or written to the cache. The neutral
total is the sum of the three. The usage in `message_start` is provisional, and `message_delta`
repeats it complete: so a stream counts once, at its end.
Source: schemas/contracts/producers.md, anthropic 2.12.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted

STREAM_TYPES: Final = frozenset(
    {"content_block_start", "content_block_delta", "content_block_stop", "message_stop", "ping"}
)
TYPES: Final = STREAM_TYPES | {"message", "message_start", "message_delta"}
ITERATIONS_MAX: Final = 256
"""Parts of one response. Each call of an advisor becomes an event; real responses have a few."""
_STARTED: Final = "started_by"
_USAGE_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def read(payload: Json) -> list[ReaderResult]:
    """One message, one event of its stream, or an error's body."""
    kind = text(payload, "type")
    if kind == "message_start":
        return [
            Uncounted("usage of message_start is provisional, message_delta carries the final one")
        ]
    if kind in STREAM_TYPES:
        return [Uncounted(f"the stream event {kind} carries no usage")]
    if kind == "error" or isinstance(payload.get("error"), dict):
        error = section(payload, "error")
        fields = {"kind": "llm"}
        return [Draft({**fields, "error": text(error, "type", "error.") or "error"})]
    if kind == "message_delta" or isinstance(payload.get("usage"), dict) or kind == "message":
        return _message(payload)
    raise invalid(
        "type", "is not an object of Anthropic's API: send a message, message_delta or error"
    )


def join_streams(items: list[Any]) -> list[Any]:
    """Adds to each `message_delta` of a body the message that it ends, which has id and model.

    Two messages started at once can't be told apart: then none is given.
    """
    joined: list[Any] = []
    started: list[Json] = []
    for item in items:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "message_start" and isinstance(item.get("message"), dict):
            started.append(item["message"])
        elif kind == "message_delta":
            if len(started) == 1:
                joined.append({**item, _STARTED: started[0]})
                started.clear()
                continue
        elif kind == "message_stop":
            started.clear()
        joined.append(item)
    return joined


def _message(payload: Json) -> list[ReaderResult]:
    started = section(payload, _STARTED)
    usage = section(payload, "usage")
    if started:
        provisional = section(started, "usage", "message.")
        final = {name: value for name, value in usage.items() if value is not None}
        usage = {**provisional, **final}
    response_id = text(payload, "id") or text(started, "id", "message.")
    model = text(payload, "model") or text(started, "model", "message.")
    iterations = _iterations(usage)
    parts = [usage, *(part for part in iterations if part.get("type") == "compaction")]
    made: list[ReaderResult] = [_draft(model, parts, response_id, "")]
    advisors = [part for part in iterations if part.get("type") == "advisor_message"]
    for index, part in enumerate(advisors):
        advisor = text(part, "model", "usage.iterations.")
        made.append(_draft(advisor, [part], response_id, f"advisor-{index}"))
    return made


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


def _draft(model: str | None, parts: list[Json], response_id: str | None, part: str) -> Draft:
    usage = _sum([_tokens(one) for one in parts])
    return Draft(
        fields={"kind": "llm", "model": model, **usage},
        id=response_id,
        id_source=IdSource.RESPONSE,
        part=part,
    )


def _tokens(usage: Json) -> dict[str, int | None]:
    reported = {name: count(usage, name, "usage.") for name in _USAGE_COUNTS}
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
