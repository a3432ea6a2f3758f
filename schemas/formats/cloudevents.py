"""CloudEvents over HTTP to the neutral event: structured, batch, and binary (headers). Pure.

The reading is the topic's own (schemas/event/envelope.py), so that an event is the same on both ways.
Source: schemas/contracts/producers.md; CloudEvents 1.0.2, HTTP binding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.usage_event import UsageEvent, parse_record
from schemas.formats.body import Json
from schemas.formats.draft import Draft, Made

_HTTP_PREFIX: Final = "ce-"


@dataclass(frozen=True)
class Binary:
    """One event in binary mode: the request's headers are its attributes, the body its data."""

    headers: Sequence[tuple[str, str]]
    body: bytes


def read(payload: Json | Binary, received_ms: int) -> list[Made]:
    """`received_ms` stands in for the time of an event that has none."""
    headers: list[tuple[str, bytes]] = [("content-type", b"application/cloudevents+json")]
    if isinstance(payload, Binary):
        value = payload.body
        headers = [
            (f"ce_{name.lower().removeprefix(_HTTP_PREFIX)}", text.encode())
            for name, text in payload.headers
            if name.lower().startswith(_HTTP_PREFIX)
        ]
    else:
        try:
            value = msgspec.json.encode(payload)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise InvalidEvent(
                Reason.UNSUPPORTED_CLOUDEVENT, f"cannot be written as UTF-8 JSON: {error}"
            ) from error
    usage, unknown = parse_record(value, headers, received_ms)
    fields = {**dict.fromkeys(unknown), **neutral_fields(usage)}
    return [Draft(fields=fields, id=usage.id)]


def neutral_fields(usage: UsageEvent) -> dict[str, Any]:
    """A parsed event back to the JSON that it came from, fields that are not reported left out."""
    fields = usage.model_dump(exclude_none=True)
    for name in ("time", "call_started_at"):
        if name in fields:
            fields[name] = fields[name].isoformat()
    return fields
