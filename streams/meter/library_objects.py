"""What a library gave to an app, as events: `schemas.formats`, applied where the app runs.

So the texts of an answer never leave the app: only what the contract holds is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.event.kinds import DEFAULT_TENANT
from schemas.formats.body import load
from schemas.formats.context import Context, with_given
from schemas.formats.parse import Event, parse
from streams.meter.queue import Taken
from streams.meter.transport import Outgoing


def events_of(one: Taken, common: Mapping[str, object]) -> tuple[list[Outgoing], list[str]]:
    """The events of an answer, and a sentence for each part of it that cannot count. InvalidEvent
    where it is nothing that we know; TypeError where it is no data."""
    context = with_given(
        Context(received_ms=one.at_ms, id_seed=one.seed), {**common, **one.context}
    )
    parsed = parse(load(_json(one.answer)), one.format, context)
    return [outgoing(event) for event in parsed.events], [str(r.error) for r in parsed.refused]


def outgoing(event: Event) -> Outgoing:
    usage = event.usage
    tenant = usage.tenant or DEFAULT_TENANT
    return Outgoing(tenant, usage.source, usage.id, usage.call_id, event.record)


def _json(answer: object) -> bytes:
    """Of what libraries give: models of pydantic, dataclasses and other structures, dicts."""
    as_plain: Any = getattr(answer, "model_dump", None)
    if callable(as_plain):
        return json.dumps(as_plain(mode="json")).encode()
    return json.dumps(msgspec.to_builtins(answer)).encode()
