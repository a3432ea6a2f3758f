"""The objects of a decoded body to events, by whatever model validates their fields. Pure.

`parse_with` reads each object with its format's module, completes it from the request's context and
validates it. Each object becomes events, is skipped with a reason, or is refused with field,
problem and limit. This module and its imports need msgspec alone, because the meter runs them.
Source: schemas/contracts/producers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Final, TypeVar

from schemas.errors import InvalidEvent
from schemas.formats import cloudevents, neutral
from schemas.formats.body import BODY_BYTES_MAX, Json, bare, check_items, invalid
from schemas.formats.complete import FormatObject, Validate, complete
from schemas.formats.context import Context, with_given
from schemas.formats.detect import Format, check_named, checked, detect
from schemas.formats.draft import IdSource, ReaderResult, Uncounted
from schemas.formats.frameworks import (
    agentlens,
    claude_code,
    codex,
    helicone,
    langchain,
    langfuse,
    litellm,
    livekit,
    openai_agents,
)
from schemas.formats.joining import Joiner
from schemas.formats.otel.encoding import OtelLogs, OtelPoints, OtelSpans
from schemas.formats.otel.requests import OtelRequest, read_request
from schemas.formats.parsed import (
    InvalidObject,
    Parsed,
    ParsedEvent,
    SkippedObject,
    last_only,
)
from schemas.formats.speech import assemblyai, cartesia, deepgram, elevenlabs
from schemas.formats.structure import BodyTooLarge, Poll, never
from schemas.formats.vendors import (
    anthropic,
    bedrock,
    cohere,
    gemini,
    gemini_interactions,
    mistral,
    ollama,
    openai,
)

E = TypeVar("E")
RECORD_BYTES_MAX: Final = 2 * BODY_BYTES_MAX
"""Of all events of a body. A context adds its fields to each event, so the events may be many times as
large as the body."""
_ENVELOPE: Final = {"format", "context", "payload"}


def parse_with(
    validate: Validate[E],
    body: object,
    format: str | None,  # noqa: A002
    context: Context,
    poll: Poll = never,
    joiner: Joiner | None = None,
) -> Parsed[E]:
    """The events of a decoded body; `format` None: each object's format is detected.

    InvalidEvent if the whole body is wrong. An item of the body that could not be decoded is an
    InvalidEvent in the list, and becomes a refused object. Errors of `poll` are passed on. `joiner`:
    what was read before, where a stream goes on over several bodies. Of several reports of one answer
    the last counts.
    """
    joiner = Joiner() if joiner is None else joiner
    named = None if format is None else checked(format)
    events: list[ParsedEvent[E]] = []
    skipped: list[SkippedObject] = []
    refused: list[InvalidObject] = []
    items = _items(body)
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
            opened: list[FormatObject] = list(_open(item, named, context, joiner, poll))
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
                made = complete(results, one, index, validate, alone=alone)
                record_bytes += sum(len(event.record) for event in made)
                events += made
                skipped += [
                    SkippedObject(index, one.format, result.reason, result.has_usage)
                    for result in results
                    if isinstance(result, Uncounted)
                ]
            except InvalidEvent as error:
                refused.append(InvalidObject(index, bare(error)))
            index += 1
            if record_bytes > RECORD_BYTES_MAX:
                raise BodyTooLarge(f"events of more than {RECORD_BYTES_MAX} bytes in all")
    events, replaced = last_only(events)
    if replaced:
        skipped = sorted([*skipped, *replaced], key=attrgetter("index"))
    return Parsed(tuple(events), tuple(skipped), tuple(refused))


def _items(body: object) -> list[object]:
    if not isinstance(body, list):
        return [body]
    check_items(len(body))
    return body


def _open(
    item: object, named: Format | None, context: Context, joiner: Joiner, poll: Poll
) -> Iterator[FormatObject]:
    """The objects of one item, without our envelope and without their format's own wrapper."""
    if isinstance(item, InvalidEvent):
        raise item
    if isinstance(item, dict) and "payload" in item and item.keys() <= _ENVELOPE:
        item, named, context = _unwrapped(item, named, context)
    if isinstance(item, OtelSpans | OtelLogs | OtelPoints):
        yield from _open_otel(item, context, poll)
        return
    if isinstance(item, cloudevents.BinaryCloudEvent):
        yield FormatObject(item, "cloudevents", context)
        return
    if isinstance(item, dict) and named in {None, "helicone"} and helicone.is_own(item):
        context = with_given(context, helicone.given(item))
        outcome = helicone.outcome(item)
        if outcome is not None:
            yield FormatObject(outcome, "helicone", context)
            return
        found = helicone.answers(item)
        check_items(len(found))
        for one in found:
            poll()
            yield from _open_object(one, None, context, joiner, poll)
        return
    yield from _open_object(item, named, context, joiner, poll)


def _open_object(
    item: object, named: Format | None, context: Context, joiner: Joiner, poll: Poll
) -> Iterator[FormatObject]:
    """The objects of an item that no log and no envelope is around."""
    if not isinstance(item, dict):
        raise invalid("", "must be an object")
    opened = _inside(item, named)
    if opened is not None:
        format, items = opened  # noqa: A001
        check_items(len(items))
        yield from (FormatObject(one, format, context) for one in items)
        return
    item = joiner.join(item)
    if named is None:
        named = detect(item)
    else:
        check_named(item, named)
    if named == "otel":
        yield from _open_otel(item, context, poll)
        return
    yield FormatObject(item, named, context)


def _open_otel(request: OtelRequest | Json, context: Context, poll: Poll) -> Iterator[FormatObject]:
    """Each span, log record or data point: what it becomes."""
    for reading in read_request(request, context.received_ms, poll):
        yield FormatObject(reading, "otel", context)


def _unwrapped(
    envelope: Json, named: Format | None, context: Context
) -> tuple[object, Format | None, Context]:
    """What our envelope has: the object, its format and its context."""
    given = envelope.get("context") or {}
    if not isinstance(given, dict):
        raise invalid("context", "must be an object")
    context = with_given(context, given, "context.")
    named = checked(envelope["format"]) if envelope.get("format") is not None else named
    return envelope["payload"], named, context


def _inside(item: Json, named: Format | None) -> tuple[Format, list[object]] | None:
    """The objects of an item that has nothing but several of them, and their format."""
    events = item.get("events")
    if named in {None, "agentlens"} and isinstance(events, list) and "eventType" not in item:
        return "agentlens", events
    is_batch = named == "langfuse" and isinstance(item.get("batch"), list)
    if is_batch or (named is None and langfuse.is_own(item)):
        return "langfuse", langfuse.opened(item)
    data = item.get("data")
    if named in {None, "openai_agents"} and isinstance(data, list) and "object" not in item:
        spans = [one for one in data if isinstance(one, dict) and openai_agents.is_span(one)]
        if spans and len(spans) == len(data):
            return "openai_agents", data
    history = item.get("history")
    if (
        named in {None, "elevenlabs"}
        and isinstance(history, list)
        and "last_history_item_id" in item
    ):
        return "elevenlabs", history
    return None


_READERS: Final[Mapping[Format, Callable[[Json], list[ReaderResult]]]] = {
    "openai": openai.read,
    "anthropic": anthropic.read,
    "gemini": gemini.read,
    "gemini_interactions": gemini_interactions.read,
    "bedrock": bedrock.read,
    "cohere": cohere.read,
    "mistral": mistral.read,
    "ollama": ollama.read,
    "deepgram": deepgram.read,
    "elevenlabs": elevenlabs.read,
    "cartesia": cartesia.read,
    "assemblyai": assemblyai.read,
    "litellm": litellm.read,
    "livekit": livekit.read,
    "langchain": langchain.read,
    "openai_agents": openai_agents.read,
    "claude_code": claude_code.read,
    "codex": codex.read,
    "langfuse": langfuse.read,
    "agentlens": agentlens.read,
    "neutral": neutral.read,
}


def _read(one: FormatObject, validate: Validate[E]) -> list[ReaderResult]:
    if one.format == "otel" or isinstance(one.payload, list):  # read already
        if isinstance(one.payload, InvalidEvent):
            raise one.payload
        found: list[ReaderResult] = one.payload
        return found
    if one.format == "cloudevents":
        return cloudevents.read(one.payload, one.context.received_ms, validate)
    if not isinstance(one.payload, dict):
        raise invalid("", "must be an object")
    if one.format == "bedrock":  # only the request names the model
        return bedrock.read(one.payload, one.context.model)
    if one.format not in _READERS:  # helicone: its answer has the format of a vendor
        raise invalid("format", f"is {one.format}, but the object has no providerResponse")
    return _READERS[one.format](one.payload)
