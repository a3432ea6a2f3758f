"""What producers already emit, as it is, to neutral events. Pure: no I/O, no clock, no randomness.

`body.load` (or `otel.load_protobuf`) reads the bytes, `parse` makes of them events that the
contract accepts, skips with their reason, and refusals that name field, problem and limit. The only
error is InvalidEvent. One module a format; how a format is told from a body: `detect`.
Source: schemas/contracts/producers.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.event_struct import FIELDS, EventStruct
from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats import (
    agentlens,
    anthropic,
    cloudevents,
    litellm,
    livekit,
    neutral,
    openai,
    otel,
    quick,
)
from schemas.formats.body import invalid, load, load_lines
from schemas.formats.context import GIVEN, NOT_OURS, OTHER_TENANT, Context, with_given
from schemas.formats.detect import FORMATS, Format, checked, detect
from schemas.formats.draft import Draft, Identity, Made, Skip
from schemas.limits import EVENT_BYTES_MAX
from schemas.prices.providers import canonical
from schemas.units import iso

__all__ = [
    "FORMATS",
    "Context",
    "Event",
    "Format",
    "Identity",
    "Parsed",
    "Refused",
    "Skipped",
    "load",
    "load_lines",
    "parse",
    "partial_success",
    "with_given",
]

ITEMS_MAX: Final = 10_000
"""Objects of one body: bounds the answer, and the time until the first of them is with Kafka."""
UNKNOWN_MAX: Final = 16
"""Unknown fields of one event that are passed on by name, so that the fold counts them."""
UNKNOWN_CHARS_MAX: Final = 64
_ENVELOPE: Final = {"format", "context", "payload"}
_FILLED: Final = tuple(name for name in GIVEN if name not in {"id", "source", "time", "tenant"})
_FILLED_PARTS: Final = tuple(name for name in _FILLED if not name.endswith("_ms"))
_PROVIDERS: Final = ("openai", "anthropic")
"""Formats that are named for a provider: it is meant where the request names no other (an Azure
deployment answers in OpenAI's format)."""
_ORDER: Final = tuple(UsageEvent.model_fields)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event: `record` is its JSON for the topic, `usage` the same as the contract reads it,
    fully or quickly. `unknown` names the fields that the contract does not know (the fold counts
    the names; values are not passed on)."""

    index: int
    format: Format
    identity: Identity
    usage: UsageEvent | EventStruct
    record: bytes
    unknown: tuple[str, ...]

    @property
    def is_seeded(self) -> bool:
        """Whether only the seed names it: where that was generated, a resend counts again."""
        return self.identity is Identity.SEED

    @property
    def fields(self) -> dict[str, Any]:
        """The object in the record."""
        return msgspec.json.decode(self.record, type=dict[str, Any])


@dataclass(frozen=True)
class Skipped:
    index: int
    format: Format
    reason: str


@dataclass(frozen=True)
class Refused:
    index: int
    error: InvalidEvent


@dataclass(frozen=True)
class Parsed:
    """`index` is an object's place in the body: in its array, or among its spans."""

    events: tuple[Event, ...]
    skipped: tuple[Skipped, ...]
    refused: tuple[Refused, ...]

    @property
    def seeded(self) -> int:
        """How many events only the seed names: where it was generated, a resend counts again."""
        return sum(event.is_seeded for event in self.events)


def partial_success(parsed: Parsed) -> tuple[int, str]:
    """What OTLP calls it: how many spans were rejected, and why the first was. A span that is
    skipped is accepted, and counts nothing."""
    if not parsed.refused:
        return 0, ""
    first = parsed.refused[0]
    return len(parsed.refused), f"span {first.index}: {first.error}"


class _Unit(NamedTuple):
    """One object to read, or why there is none."""

    payload: Any
    format: Format
    context: Context


def parse(body: object, format: str | None, context: Context) -> Parsed:  # noqa: A002
    """The events of a decoded body; InvalidEvent where it is no list of anything. An item that
    could not be decoded stands in the list as its InvalidEvent."""
    named = None if format is None else checked(format)
    events: list[Event] = []
    skipped: list[Skipped] = []
    refused: list[Refused] = []
    items = _items(body, named)
    is_quick = quick.applies(named, context)
    index = 0
    for item in items:
        read = quick.read(item, context) if is_quick else None
        if read is not None:
            wire, record = read
            _check_items(index + 1)
            events.append(Event(index, "neutral", Identity.EVENT, wire, record, ()))
            index += 1
            continue
        try:
            units: list[_Unit] = list(_open(item, named, context))
        except InvalidEvent as error:
            refused.append(Refused(index, error))
            index += 1
            continue
        for unit in units:
            _check_items(index + 1)
            try:
                made = _read(unit)
                alone = len(items) == len(units) == 1
                events += _complete(made, unit, index, alone=alone)
                skipped += [
                    Skipped(index, unit.format, one.reason) for one in made if isinstance(one, Skip)
                ]
            except InvalidEvent as error:
                refused.append(Refused(index, error))
            index += 1
    return Parsed(tuple(events), tuple(skipped), tuple(refused))


def _items(body: object, named: Format | None) -> list[Any]:
    if not isinstance(body, list):
        return [body]
    _check_items(len(body))
    return anthropic.join_streams(body) if named in {None, "anthropic"} else body


def _check_items(count: int) -> None:
    if count > ITEMS_MAX:
        raise InvalidEvent(Reason.TOO_LARGE, f"the body has more than {ITEMS_MAX} objects")


def _open(item: object, named: Format | None, context: Context) -> Iterator[_Unit]:
    """The objects in one item, out of its envelope and of what its format wraps around them."""
    if isinstance(item, InvalidEvent):
        raise item
    if isinstance(item, dict) and "payload" in item and item.keys() <= _ENVELOPE:
        given = item.get("context") or {}
        if not isinstance(given, dict):
            raise invalid("context", "must be an object")
        context = with_given(context, given, "context.")
        named = checked(item["format"]) if item.get("format") is not None else named
        item = item["payload"]
    if isinstance(item, otel.Spans):
        yield from (_Unit(span, "otel", context) for span in item.spans)
        return
    if isinstance(item, cloudevents.Binary):
        yield _Unit(item, "cloudevents", context)
        return
    if not isinstance(item, dict):
        raise invalid("", "must be an object")
    events = item.get("events")
    if named in {None, "agentlens"} and isinstance(events, list) and "eventType" not in item:
        yield from (_Unit(event, "agentlens", context) for event in events)
        return
    named = named or detect(item)
    if named == "otel":
        yield from (_Unit(span, "otel", context) for span in otel.json_spans(item))
        return
    yield _Unit(item, named, context)


def _read(unit: _Unit) -> list[Made]:
    if unit.format == "otel":
        return otel.read(unit.payload)
    if unit.format == "cloudevents":
        return cloudevents.read(unit.payload, unit.context.received_ms)
    if not isinstance(unit.payload, dict):
        raise invalid("", "must be an object")
    readers = {
        "openai": openai.read,
        "anthropic": anthropic.read,
        "litellm": litellm.read,
        "livekit": livekit.read,
        "agentlens": agentlens.read,
        "neutral": neutral.read,
    }
    return readers[unit.format](unit.payload)


def _complete(made: list[Made], unit: _Unit, index: int, *, alone: bool) -> list[Event]:
    """The drafts with what the context knows, as the contract reads them."""
    drafts = [one for one in made if isinstance(one, Draft)]
    events: list[Event] = []
    for part, draft in enumerate(drafts):
        place = f"{index}" if part == 0 else f"{index}-{part}"
        identity, event_id = _identify(draft, unit.context, place, alone=alone and part == 0)
        given = _fill(draft, unit, first=part == 0)
        given["id"] = event_id
        unknown = tuple(sorted(given.keys() - FIELDS))
        known = {name: given[name] for name in _ORDER if given.get(name) is not None}
        if isinstance(known.get("cost_usd"), Decimal):
            known["cost_usd"] = str(known["cost_usd"])  # decimal text: exact in any JSON
        passed_on = {name: None for name in unknown[:UNKNOWN_MAX] if _is_passable(name)}
        usage = parse_usage(known)
        record = _record({**known, **passed_on})
        events.append(Event(index, unit.format, identity, usage, record, unknown))
    return events


def _record(fields: dict[str, Any]) -> bytes:
    """The contract bounds texts, but not the digits of a number or of a time that are texts."""
    record = msgspec.json.encode(fields)
    if len(record) > EVENT_BYTES_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"the event has {len(record)} bytes, the limit is {EVENT_BYTES_MAX}"
        )
    return record


def _fill(draft: Draft, unit: _Unit, *, first: bool) -> dict[str, Any]:
    """The draft's fields, and the context's where it has none. Of several events of one answer the
    first has the answer's times, so that they are added once."""
    context = unit.context
    given = dict(draft.fields)
    for name in _FILLED if first else _FILLED_PARTS:
        if given.get(name) in (None, ""):  # a producer's value may be unhashable
            given[name] = getattr(context, name)
    given["tenant"] = _tenant(given.get("tenant"), context)
    given["source"] = given.get("source") or context.source
    given["time"] = given.get("time") or context.time
    if unit.format != "neutral":  # the contract requires both, so they are not made up for it
        given["source"] = given["source"] or unit.format
        if unit.format in _PROVIDERS:
            given["provider"] = canonical(context.provider) or unit.format
        given["time"] = given["time"] or iso(context.received_ms)
    return given


def _tenant(said: object, context: Context) -> object:
    """The one tenant of an event; the contract judges what is no text."""
    if context.tenant is not None:
        if said not in (None, "", context.tenant):
            raise invalid("tenant", OTHER_TENANT)
        return context.tenant
    if context.writes is not None:
        if not isinstance(said, str) or not said:
            raise invalid("tenant", "must be named: the key may write to several")
        if not context.writes(said):
            raise invalid("tenant", NOT_OURS)
    return said


def _identify(draft: Draft, context: Context, place: str, *, alone: bool) -> tuple[Identity, str]:
    """The strongest name that there is; see Identity."""
    if draft.id is not None and draft.identity is Identity.EVENT:
        return Identity.EVENT, draft.id
    if context.id is not None:
        return Identity.CONTEXT, context.id if alone else f"{context.id}-{place}"
    if draft.id is not None:
        return Identity.RESPONSE, f"{draft.id}/{draft.part}" if draft.part else draft.id
    return Identity.SEED, f"{context.id_seed}-{place}"


def _is_passable(name: str) -> bool:
    return len(name) <= UNKNOWN_CHARS_MAX and name.isprintable()
