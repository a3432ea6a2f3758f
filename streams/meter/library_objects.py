"""The objects of a library to events, with schemas/formats, inside the app.

So the texts of an answer never leave the app: only the fields of the contract are sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.event_struct import EventStruct
from schemas.event.kinds import DEFAULT_TENANT
from schemas.formats.body import load
from schemas.formats.context import Context, with_given
from schemas.formats.joining import Joiner
from schemas.formats.objects import parse_with
from schemas.formats.parsed import ParsedEvent
from schemas.units import usd_to_nano
from streams.meter.queued import LibraryObject
from streams.meter.transport import Outgoing

_PATH: Final = " - at `$."
"""Before the name of a field in msgspec's messages."""


def events_of(
    item: LibraryObject, common: Mapping[str, object], joiner: Joiner | None = None
) -> tuple[list[Outgoing], list[str]]:
    """The events of an object, and one sentence for each part that cannot be counted.

    `joiner`: what came before it, because the events of a stream come one by one.
    InvalidEvent if its format is unknown; TypeError if it cannot be written as JSON.
    """
    context = with_given(
        Context(received_ms=item.at_ms, id_seed=item.id_seed), {**common, **item.context}
    )
    parsed = parse_with(_validate, load(_json(item.answer)), item.format, context, joiner=joiner)
    refusals = [str(refused.error) for refused in parsed.refused]
    return [_outgoing(event) for event in parsed.events], refusals


def _validate(fields: dict[str, Any]) -> EventStruct:
    """The event, with the limits that the server's model has; InvalidEvent names the field."""
    try:
        event = msgspec.convert(fields, EventStruct)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(_PATH)
        raise InvalidEvent(Reason.INVALID_FIELD, detail, path.rstrip("`")) from error
    if event.cost_usd is not None:
        try:
            usd_to_nano(event.cost_usd)
        except ValueError as error:
            raise InvalidEvent(Reason.INVALID_FIELD, str(error), "cost_usd") from error
    return event


def _outgoing(event: ParsedEvent[EventStruct]) -> Outgoing:
    usage = event.usage
    tenant = usage.tenant or DEFAULT_TENANT
    return Outgoing(tenant, usage.source, usage.id, usage.call_id, event.record)


def _json(answer: object) -> bytes:
    """JSON of a pydantic model, a dataclass, another structure or a dict."""
    as_plain: Any = getattr(answer, "model_dump", None)
    if callable(as_plain):
        return json.dumps(as_plain(mode="json")).encode()
    return json.dumps(msgspec.to_builtins(answer)).encode()
