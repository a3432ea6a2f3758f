"""Completes what a format's module read from one object: identity, context, time and validation. Pure.

The request's context fills in what the object lacks. A time that cannot be right becomes the time of
receipt, and a field that no event has is reported by its name. This module needs msgspec alone, because
the meter runs it. Source: schemas/contracts/producers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.answer_id import is_wrapped, plain_answer_id
from schemas.event.envelope import ENVELOPE_FIELDS
from schemas.event.event_struct import FIELDS, EventStruct
from schemas.formats import neutral
from schemas.formats.body import invalid
from schemas.formats.context import GIVEN, NOT_OURS, ONCE, OTHER_TENANT, Context
from schemas.formats.detect import Format
from schemas.formats.draft import Draft, IdSource, ReaderResult
from schemas.formats.parsed import EXPLICIT, ParsedEvent
from schemas.formats.times import NO_TIME, is_possible
from schemas.limits import EVENT_BYTES_MAX
from schemas.prices.names import names, plain_model
from schemas.prices.providers import canonical
from schemas.units import iso

EVENT_FIELDS_MAX: Final = 256
"""Fields of one event, unknown ones included: an event has 62. They are counted before they are read."""
UNKNOWN_MAX: Final = 16
"""Unknown fields of one event whose names are passed on, so that the worker counts them."""
UNKNOWN_CHARS_MAX: Final = 64
_FILLED: Final = tuple(name for name in GIVEN if name not in {"id", "source", "time", "tenant"})
_FILLED_PARTS: Final = tuple(name for name in _FILLED if name not in ONCE)
_PROTOCOLS: Final = {
    "openai": "openai",
    "openai_agents": "openai",
    "anthropic": "anthropic",
    "claude_code": "anthropic",
    "codex": "openai",
}
"""Formats of a protocol that others speak too (an Azure deployment answers in OpenAI's), with the
provider if neither the request nor the model names another."""
_VENDORS: Final = {
    "gemini": "google",
    "gemini_interactions": "google",
    "bedrock": "aws",
    **{
        name: name
        for name in (
            "cohere",
            "mistral",
            "ollama",
            "deepgram",
            "elevenlabs",
            "cartesia",
            "assemblyai",
        )
    },
}
"""Formats of one vendor."""
_NAMED: Final = frozenset({"langchain", "langfuse", *_PROTOCOLS, *_VENDORS})
"""Formats whose provider and model get their names here. The others name them as they read."""
_TAKEN: Final = FIELDS | ENVELOPE_FIELDS
_ORDER: Final = EventStruct.__struct_fields__
E = TypeVar("E")
Validate = Callable[[dict[str, Any]], E]
"""Takes the known fields of an event; raises InvalidEvent."""


class FormatObject(NamedTuple):
    """One object of a known format, with the context that applies to it."""

    payload: Any
    format: Format
    context: Context


def complete(
    results: list[ReaderResult],
    one: FormatObject,
    index: int,
    validate: Validate[E],
    *,
    alone: bool,
) -> list[ParsedEvent[E]]:
    """The drafts, completed from the context and validated."""
    events: list[ParsedEvent[E]] = []
    for part, draft in enumerate(_with_plain_ids(results, one.format)):
        if len(draft.fields) > EVENT_FIELDS_MAX:
            raise InvalidEvent(
                Reason.TOO_LARGE,
                f"the event has {len(draft.fields)} fields, the limit is {EVENT_FIELDS_MAX}",
            )
        place = f"{index}" if part == 0 else f"{index}-{part}"
        id_source, event_id = _identify(draft, one.context, place, alone=alone and part == 0)
        given = _fill(draft, one, first=part == 0)
        given["id"] = event_id
        unknown = (*sorted(given.keys() - FIELDS), *draft.unknown)
        if one.format not in EXPLICIT and not is_possible(given["time"], one.context.received_ms):
            given["time"] = iso(one.context.received_ms)
            unknown = (*unknown, NO_TIME)
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
        events.append(ParsedEvent(index, one.format, id_source, usage, record, unknown, draft.call))
    return events


def _with_plain_ids(results: list[ReaderResult], format: Format) -> list[Draft]:  # noqa: A002
    """The drafts. A provider's id is without what a proxy puts around it, unless the producer named it."""
    drafts = [result for result in results if isinstance(result, Draft)]
    if format in EXPLICIT:
        return drafts
    return [
        replace(draft, id=plain_answer_id(draft.id))
        if draft.id is not None and is_wrapped(draft.id)
        else draft
        for draft in drafts
    ]


def _record(fields: dict[str, Any]) -> bytes:
    """The event's JSON. The model limits texts, but no digits of a cost or a time given as text."""
    record = msgspec.json.encode(fields)
    if len(record) > EVENT_BYTES_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"the event has {len(record)} bytes, the limit is {EVENT_BYTES_MAX}"
        )
    return record


def _fill(draft: Draft, one: FormatObject, *, first: bool) -> dict[str, Any]:
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
    if one.format == "neutral":  # the contract requires source and time, so they get no default
        given["time"] = given.get("time") or context.time
        return given
    given["source"] = given["source"] or one.format
    if one.format in _NAMED:
        _name(given, draft.fields.get("provider"), one)
    given["time"] = given.get("time") or context.time or iso(context.received_ms)
    return given


def _name(given: dict[str, Any], said: str | None, one: FormatObject) -> None:
    """Sets provider and model. A provider that the request names counts."""
    asked = canonical(one.context.provider)
    said = said or _VENDORS.get(one.format)
    named = names(said, given.get("model"), default=_PROTOCOLS.get(one.format))
    given["provider"] = asked or named.provider
    given["model"] = plain_model(given["provider"], given.get("model"))


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
    return len(name) <= UNKNOWN_CHARS_MAX and name.isprintable() and name not in _TAKEN
