"""What a format's module makes of one object, before the request's context completes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class IdSource(StrEnum):
    """Where an event's id comes from, strongest first."""

    EVENT = "event"  # the object names the event: a retry is recognised as a duplicate
    CONTEXT = "context"  # the request names it
    RESPONSE = "response"  # the model's answer has an id, and makes one event
    SEED = "seed"  # the idempotency key or a generated seed, and the position in the body


@dataclass(frozen=True)
class Draft:
    """The neutral fields that the object itself tells; None is "not reported".

    `id_source` says what `id` is. If `id` is None, the context or the seed names the event. `part`
    separates several events of one response: it is appended to the response's id. `call` names the
    call where its reports may have several ids: the last report in a body counts. `unknown` names
    the parts of the object that could not be counted, so that `odometer status` lists them.
    """

    fields: dict[str, Any]
    id: str | None = None
    id_source: IdSource = IdSource.EVENT
    part: str = ""
    call: str | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Uncounted:
    """The result for a valid object that counts nothing. `has_usage`: it reports tokens or a cost, so
    the producer has to learn of it."""

    reason: str
    has_usage: bool = False


ReaderResult = Draft | Uncounted
