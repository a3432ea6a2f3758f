"""What a body is parsed to: events, and the objects that were skipped or refused. Pure.

`LastReports` finds the reports of one answer: of several in a body, a file or a meter the last counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import msgspec

from schemas.errors import InvalidEvent
from schemas.event.event_struct import EventStruct
from schemas.formats.detect import Format
from schemas.formats.draft import IdSource

E = TypeVar("E")
"""What the caller's model makes of an event's fields: UsageEvent, or EventStruct in the meter."""
EXPLICIT: Final = frozenset({"neutral", "cloudevents", "agentlens"})
"""Formats whose producers name the event itself: the first one counts, as in the topic."""
_usage = attrgetter(
    "input_tokens", "output_tokens", "tts_characters", "tts_audio_ms", "stt_audio_ms", "cost_usd"
)


class ParsedEvent(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """One event: `record` is its JSON for the topic, `usage` is the same after validation.

    `unknown` names the fields that the contract does not have. The worker counts these names; their
    values are dropped. `call` names the call if its reports may have several ids.
    """

    index: int
    format: Format
    id_source: IdSource
    usage: E | EventStruct
    record: bytes
    unknown: tuple[str, ...]
    call: str | None = None

    @property
    def is_seeded(self) -> bool:
        """Whether its id comes from the seed: if the seed was generated, a retry counts twice."""
        return self.id_source is IdSource.SEED

    @property
    def fields(self) -> dict[str, Any]:
        """The decoded record."""
        return msgspec.json.decode(self.record, type=dict[str, Any])

    @property
    def names(self) -> Iterator[tuple[str, ...]]:
        """What identifies its answer; nothing where the producer names the event."""
        if self.format in EXPLICIT or self.is_seeded:
            return
        tenant, source, event_id = _identity(self.usage)
        yield (tenant or "", source, event_id)
        if self.call is not None:
            yield ("call", tenant or "", source, self.call)


_identity = attrgetter("tenant", "source", "id")


@dataclass(frozen=True)
class SkippedObject:
    """A valid object that counts nothing."""

    index: int
    format: Format
    reason: str
    has_usage: bool = False


@dataclass(frozen=True)
class InvalidObject:
    index: int
    error: InvalidEvent


@dataclass(frozen=True)
class Parsed(Generic[E]):
    """`index` is an object's position in the body: in its array, or among its spans."""

    events: tuple[ParsedEvent[E], ...]
    skipped: tuple[SkippedObject, ...]
    refused: tuple[InvalidObject, ...]


class LastReports(Generic[E]):
    """The newest report of each answer so far."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, ...], ParsedEvent[E]] = {}

    def replaced(self, event: ParsedEvent[E]) -> ParsedEvent[E] | None:
        """The report that does not count because `event` came: an earlier one of the same answer, or
        `event` itself if it says less (no usage, or no cost). None if there is none."""
        names = list(event.names)
        earlier = next((self._newest[name] for name in names if name in self._newest), None)
        if earlier is not None and _says(earlier) > _says(event):
            return event
        for name in names:
            self._newest[name] = event
        return earlier

    def forget(self, event: ParsedEvent[E]) -> None:
        """A later report does not replace this one any more."""
        for name in event.names:
            if self._newest.get(name) is event:
                del self._newest[name]


def _says(event: ParsedEvent[E]) -> tuple[bool, bool]:
    """Whether it has usage, and a cost: LiteLLM's hit of its cache repeats an id at no cost."""
    *counts, cost = _usage(event.usage)
    return any(counts), bool(cost)


def superseded(event: ParsedEvent[E]) -> SkippedObject:
    """The skip of a report that a later one replaces."""
    _, _, event_id = _identity(event.usage)
    return SkippedObject(
        event.index, event.format, f"another report of the answer {event_id} counts"
    )


def without(parsed: Parsed[E], event: ParsedEvent[E]) -> Parsed[E]:
    """The same with one event as a skip, because another report of its answer counts."""
    kept = tuple(one for one in parsed.events if one is not event)
    return Parsed(kept, (*parsed.skipped, superseded(event)), parsed.refused)


def last_only(
    events: list[ParsedEvent[E]],
) -> tuple[list[ParsedEvent[E]], list[SkippedObject]]:
    """The events without those that a later report of the same answer replaces, and these as skips."""
    reports: LastReports[E] = LastReports()
    replaced = [found for event in events if (found := reports.replaced(event)) is not None]
    if not replaced:
        return events, []
    left_out = {id(event) for event in replaced}
    kept = [event for event in events if id(event) not in left_out]
    return kept, [superseded(event) for event in replaced]
