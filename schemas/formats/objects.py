"""The objects of a decoded body to events, by whatever model validates their fields. Pure.

`parse_with` reads each object with its format's module, completes it from the request's context and
validates it. Each object becomes events, is skipped with a reason, or is refused with field,
problem and limit. This module and its imports need msgspec alone, because the meter runs them.
Source: schemas/contracts/producers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.envelope import ENVELOPE_FIELDS
from schemas.event.event_struct import FIELDS, EventStruct
from schemas.formats import agentlens, cloudevents, neutral
from schemas.formats.body import (
    BODY_BYTES_MAX,
    BodyTooLarge,
    Json,
    Poll,
    bare,
    check_items,
    invalid,
    never,
)
from schemas.formats.context import GIVEN, NOT_OURS, ONCE, OTHER_TENANT, Context, with_given
from schemas.formats.detect import Format, checked, detect
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.frameworks import litellm, livekit
from schemas.formats.otel import spans as otel
from schemas.formats.vendors import anthropic, openai
from schemas.limits import EVENT_BYTES_MAX
from schemas.prices.names import names, plain_model
from schemas.prices.providers import canonical
from schemas.units import iso

EVENT_FIELDS_MAX: Final = 256
"""Fields of one event, unknown ones included: an event has 43. They are counted before they are read."""
RECORD_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
"""Of all events of a body. A context adds its fields to each event, so the events may be many times as
large as the body."""
UNKNOWN_MAX: Final = 16
"""Unknown fields of one event whose names are passed on, so that the worker counts them."""
UNKNOWN_CHARS_MAX: Final = 64
_ENVELOPE: Final = {"format", "context", "payload"}
_FILLED: Final = tuple(name for name in GIVEN if name not in {"id", "source", "time", "tenant"})
_FILLED_PARTS: Final = tuple(name for name in _FILLED if name not in ONCE)
_PROVIDERS: Final = ("openai", "anthropic")
"""Formats named after a provider: the default provider of their objects. A request may name another
(an Azure deployment answers in OpenAI's format)."""
_ORDER: Final = EventStruct.__struct_fields__


E = TypeVar("E")
"""What the caller's model makes of an event's fields: UsageEvent, or EventStruct in the meter."""
Validate = Callable[[dict[str, Any]], E]
"""Takes the known fields of an event; raises InvalidEvent."""


class ParsedEvent(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """One event: `record` is its JSON for the topic, `usage` is the same after validation.

    `unknown` names the fields that the contract does not have. The worker counts these names; their
    values are dropped.
    """

    index: int
    format: Format
    id_source: IdSource
    usage: E | EventStruct
    record: bytes
    unknown: tuple[str, ...]

    @property
    def is_seeded(self) -> bool:
        """Whether its id comes from the seed: if the seed was generated, a retry counts twice."""
        return self.id_source is IdSource.SEED

    @property
    def fields(self) -> dict[str, Any]:
        """The decoded record."""
        return msgspec.json.decode(self.record, type=dict[str, Any])


@dataclass(frozen=True)
class SkippedObject:
    """A valid object that counts nothing."""

    index: int
    format: Format
    reason: str


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


class _FormatObject(NamedTuple):
    """One object of a known format, with the context that applies to it."""

    payload: Any
    format: Format
    context: Context


def parse_with(
    validate: Validate[E],
    body: object,
    format: str | None,  # noqa: A002
    context: Context,
    poll: Poll = never,
) -> Parsed[E]:
    """The events of a decoded body; `format` None: each object's format is detected.

    InvalidEvent if the whole body is wrong. An item of the body that could not be decoded is an
    InvalidEvent in the list, and becomes a refused object. Errors of `poll` are passed on.
    """
    named = None if format is None else checked(format)
    events: list[ParsedEvent[E]] = []
    skipped: list[SkippedObject] = []
    refused: list[InvalidObject] = []
    items = _items(body, named)
    is_fast = neutral.adds_nothing(named, context)
    index = record_bytes = 0
    for item in items:
        poll()
        fast = neutral.read_fast(item, context) if is_fast else None
        if fast is not None:
            usage, record = fast
            check_items(index + 1)
            events.append(ParsedEvent(index, "neutral", IdSource.EVENT, usage, record, ()))
            index += 1
            continue
        try:
            opened: list[_FormatObject] = list(_open(item, named, context))
        except BodyTooLarge:
            raise
        except InvalidEvent as error:
            refused.append(InvalidObject(index, bare(error)))
            index += 1
            continue
        for one in opened:
            poll()
            check_items(max(index, len(events)) + 1)
            try:
                results = _read(one, validate)
                alone = len(items) == len(opened) == 1
                made = _complete(results, one, index, validate, alone=alone)
                record_bytes += sum(len(event.record) for event in made)
                events += made
                skipped += [
                    SkippedObject(index, one.format, result.reason)
                    for result in results
                    if isinstance(result, Uncounted)
                ]
            except InvalidEvent as error:
                refused.append(InvalidObject(index, bare(error)))
            index += 1
            if record_bytes > RECORD_BYTES_MAX:
                raise BodyTooLarge(f"events of more than {RECORD_BYTES_MAX} bytes in all")
    return Parsed(tuple(events), tuple(skipped), tuple(refused))


def _items(body: object, named: Format | None) -> list[Any]:
    if not isinstance(body, list):
        return [body]
    check_items(len(body))
    return anthropic.join_streams(body) if named in {None, "anthropic"} else body


def _open(item: object, named: Format | None, context: Context) -> Iterator[_FormatObject]:
    """The objects of one item, without our envelope and without their format's own wrapper."""
    if isinstance(item, InvalidEvent):
        raise item
    if isinstance(item, dict) and "payload" in item and item.keys() <= _ENVELOPE:
        given = item.get("context") or {}
        if not isinstance(given, dict):
            raise invalid("context", "must be an object")
        context = with_given(context, given, "context.")
        named = checked(item["format"]) if item.get("format") is not None else named
        item = item["payload"]
    if isinstance(item, otel.OtelSpans):
        yield from (_FormatObject(span, "otel", context) for span in item.spans)
        return
    if isinstance(item, cloudevents.BinaryCloudEvent):
        yield _FormatObject(item, "cloudevents", context)
        return
    if not isinstance(item, dict):
        raise invalid("", "must be an object")
    events = item.get("events")
    if named in {None, "agentlens"} and isinstance(events, list) and "eventType" not in item:
        check_items(len(events))
        yield from (_FormatObject(event, "agentlens", context) for event in events)
        return
    named = named or detect(item)
    if named == "otel":
        yield from (_FormatObject(span, "otel", context) for span in otel.json_spans(item))
        return
    yield _FormatObject(item, named, context)


_READERS: Final[Mapping[Format, Callable[[Json], list[ReaderResult]]]] = {
    "openai": openai.read,
    "anthropic": anthropic.read,
    "litellm": litellm.read,
    "livekit": livekit.read,
    "agentlens": agentlens.read,
    "neutral": neutral.read,
}


def _read(one: _FormatObject, validate: Validate[E]) -> list[ReaderResult]:
    if one.format == "otel":
        return otel.read(one.payload)
    if one.format == "cloudevents":
        return cloudevents.read(one.payload, one.context.received_ms, validate)
    if not isinstance(one.payload, dict):
        raise invalid("", "must be an object")
    return _READERS[one.format](one.payload)


def _complete(
    results: list[ReaderResult],
    one: _FormatObject,
    index: int,
    validate: Validate[E],
    *,
    alone: bool,
) -> list[ParsedEvent[E]]:
    """The drafts, completed from the context and validated."""
    drafts = [result for result in results if isinstance(result, Draft)]
    events: list[ParsedEvent[E]] = []
    for part, draft in enumerate(drafts):
        if len(draft.fields) > EVENT_FIELDS_MAX:
            raise InvalidEvent(
                Reason.TOO_LARGE,
                f"the event has {len(draft.fields)} fields, the limit is {EVENT_FIELDS_MAX}",
            )
        place = f"{index}" if part == 0 else f"{index}-{part}"
        id_source, event_id = _identify(draft, one.context, place, alone=alone and part == 0)
        given = _fill(draft, one, first=part == 0)
        given["id"] = event_id
        unknown = tuple(sorted(given.keys() - FIELDS))
        known = {name: given[name] for name in _ORDER if given.get(name) is not None}
        if isinstance(known.get("cost_usd"), Decimal):
            known["cost_usd"] = str(known["cost_usd"])  # decimal text: exact in any JSON
        for name, value in known.items():
            if neutral.is_long(value):
                raise InvalidEvent(
                    Reason.TOO_LARGE,
                    f"has {len(value)} characters, an event has at most {EVENT_BYTES_MAX} bytes",
                    name,
                )
        passed_on = {name: None for name in unknown[:UNKNOWN_MAX] if _is_passable(name)}
        usage = validate(known)
        record = _record({**known, **passed_on})
        events.append(ParsedEvent(index, one.format, id_source, usage, record, unknown))
    return events


def _record(fields: dict[str, Any]) -> bytes:
    """The event's JSON. The model limits texts, but no digits of a cost or a time given as text."""
    record = msgspec.json.encode(fields)
    if len(record) > EVENT_BYTES_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"the event has {len(record)} bytes, the limit is {EVENT_BYTES_MAX}"
        )
    return record


def _fill(draft: Draft, one: _FormatObject, *, first: bool) -> dict[str, Any]:
    """The draft's fields, and the context's for those that it lacks.

    One answer may make several events: the first gets the numbers, so that they are added once.
    """
    context = one.context
    given = dict(draft.fields)
    for name in _FILLED if first else _FILLED_PARTS:
        if given.get(name) in (None, ""):  # a producer's value may be unhashable
            given[name] = getattr(context, name)
    given["tenant"] = _tenant(given.get("tenant"), context)
    given["source"] = given.get("source") or context.source
    given["time"] = given.get("time") or context.time
    if one.format != "neutral":  # the contract requires both, so they get no default
        given["source"] = given["source"] or one.format
        if one.format in _PROVIDERS:
            asked = canonical(context.provider)
            named = names(draft.fields.get("provider"), given.get("model"), default=one.format)
            given["provider"] = asked or named.provider
            given["model"] = plain_model(given["provider"], given.get("model"))
        given["time"] = given["time"] or iso(context.received_ms)
    return given


def _tenant(said: object, context: Context) -> object:
    """The one tenant of an event; the model refuses a tenant that is no text."""
    if context.tenant is not None:
        if said not in (None, "", context.tenant):
            raise invalid("tenant", OTHER_TENANT)
        return context.tenant
    if context.writes is not None:
        if not isinstance(said, str) or not said:
            raise invalid(
                "tenant", "is missing: the key has several tenants, so each event must name its own"
            )
        if not context.writes(said):
            raise invalid("tenant", NOT_OURS)
    return said


def _identify(draft: Draft, context: Context, place: str, *, alone: bool) -> tuple[IdSource, str]:
    """The strongest id that there is; see IdSource."""
    if draft.id is not None and draft.id_source is IdSource.EVENT:
        return IdSource.EVENT, draft.id
    if context.id is not None:
        return IdSource.CONTEXT, context.id if alone else f"{context.id}-{place}"
    if draft.id is not None:
        return IdSource.RESPONSE, f"{draft.id}/{draft.part}" if draft.part else draft.id
    return IdSource.SEED, f"{context.id_seed}-{place}"


def _is_passable(name: str) -> bool:
    """Whether the record may have an unknown field of this name, with null as its value."""
    return len(name) <= UNKNOWN_CHARS_MAX and name.isprintable() and name not in ENVELOPE_FIELDS
