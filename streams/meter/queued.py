"""What waits in a meter's queue: events, and objects of a library that are not read yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class RecordedEvent(NamedTuple):
    """An event with the fields that the app gave; `at_ms` is its time unless a field says another."""

    id: str
    at_ms: int
    kind: str
    fields: dict[str, Any]


class LibraryObject(NamedTuple):
    """What a library gave to the app.

    `id_seed` makes the id of an event that has no other. `place` is the thread or task that gave it: the
    events of a stream come from one. `session` names the session of running totals. `marks` are fields
    that the meter adds to each event.
    """

    id_seed: str
    at_ms: int
    answer: object
    format: str | None
    context: Mapping[str, str | int]
    place: object = None
    session: object = None
    marks: Mapping[str, object] = {}


class WireBody(NamedTuple):
    """An answer as it came over HTTP, in JSON. `is_whole`: its format reads it as it is."""

    json: bytes
    is_whole: bool = False
