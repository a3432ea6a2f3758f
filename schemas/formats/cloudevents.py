"""CloudEvents over HTTP to the neutral event: structured, batch, and binary (in headers). Pure.

schemas/event/envelope.py reads them, as it reads CloudEvents in the topic. So an event is the same
both ways. Source: schemas/contracts/producers.md; CloudEvents 1.0.2, HTTP binding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.envelope import read_content
from schemas.event.event_struct import FIELDS, EventStruct
from schemas.formats.body import Json
from schemas.formats.draft import Draft, ReaderResult

_HTTP_PREFIX: Final = "ce-"


@dataclass(frozen=True)
class BinaryCloudEvent:
    """One event in binary mode: the request's headers are its attributes, the body its data."""

    headers: Sequence[tuple[str, str]]
    body: bytes


def read(
    payload: Json | BinaryCloudEvent,
    received_ms: int,
    validate: Callable[[dict[str, Any]], object],
) -> list[ReaderResult]:
    """An event that has no time gets `received_ms`.

    `validate` takes the known fields, and raises InvalidEvent. It runs before the context completes
    the event: a CloudEvent must be complete by itself.
    """
    headers: list[tuple[str, bytes]] = [("content-type", b"application/cloudevents+json")]
    if isinstance(payload, BinaryCloudEvent):
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
    content = read_content(value, headers, received_ms)
    event = validate({name: content[name] for name in content.keys() & FIELDS})
    fields = {**dict.fromkeys(sorted(content.keys() - FIELDS)), **neutral_fields(event)}
    return [Draft(fields=fields, id=fields["id"])]


def neutral_fields(event: object) -> dict[str, Any]:
    """The JSON of a validated event, without the fields that are not reported."""
    fields = {name: getattr(event, name) for name in EventStruct.__struct_fields__}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
        if value is not None
    }
