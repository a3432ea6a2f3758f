"""What a parser makes of one foreign object, before the request's context completes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Identity(StrEnum):
    """Where an event's id comes from, strongest first."""

    EVENT = "event"  # the object names the event: what is sent again is recognised
    CONTEXT = "context"  # the request names it
    RESPONSE = "response"  # the model's answer has an id, and makes one event
    SEED = "seed"  # the request's key or a generated one, and the place in the body


@dataclass(frozen=True)
class Draft:
    """An event's neutral fields as far as the object tells; None is "not reported".

    `id` is of the kind that `identity` says; where it is None, the context or the seed names the
    event. `part` tells apart several events of one response: it is put behind the response's id.
    """

    fields: dict[str, Any]
    id: str | None = None
    identity: Identity = Identity.EVENT
    part: str = ""


@dataclass(frozen=True)
class Skip:
    """An object that is fine and counts nothing."""

    reason: str


Made = Draft | Skip
