"""The objects of a library to events, with schemas/formats, inside the app.

So the texts of an answer never leave the app: only the fields of the contract are sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import InvalidEvent, Reason
from schemas.event.event_struct import EventStruct
from schemas.event.kinds import DEFAULT_TENANT
from schemas.formats.body import Json, load
from schemas.formats.context import Context, with_given
from schemas.formats.frameworks import langchain, livekit
from schemas.formats.joining import Joiner
from schemas.formats.objects import parse_with
from schemas.formats.parsed import Parsed, ParsedEvent
from schemas.formats.vendors import anthropic, gemini, gemini_interactions, openai
from schemas.limits import EVENT_BYTES_MAX
from schemas.units import iso, usd_to_nano
from streams.meter.clients.reduced import plain
from streams.meter.queued import LibraryObject, RecordedEvent, WireBody
from streams.meter.running_totals import RunningTotals
from streams.meter.transport import Outgoing

_PATH: Final = " - at `$."
"""Before the name of a field in msgspec's messages."""
PLACES_MAX: Final = 1000
"""Threads and tasks whose streams are joined at once. The oldest is dropped."""
OPEN_MAX: Final = 1000
"""Streams that have ended and not reported their usage yet."""
USAGE_MS_MAX: Final = 10_000
"""From the end of a stream to its usage. OpenAI sends both in one packet."""
WITHOUT_USAGE: Final = (
    "a stream of OpenAI's API ended without usage: pass stream_options={'include_usage': True}, or"
    " let meter.wrap(client) do it"
)
REPEATED: Final = "another report of the same answer counts"
_SUPERSEDED: Final = "another report of the answer "
"""How the reason of `schemas.formats.parsed.superseded` begins, which goes on with the answer's id."""


_GOES_ON: Final = ("message_delta", "message_stop")
"""Events of a message of Anthropic's that began before."""


class SkippedReport(NamedTuple):
    """`is_part`: a part of a stream, whose end says whether it counts."""

    reason: str
    is_part: bool = False


class ObjectRead(NamedTuple):
    """What became of an object: its events, one sentence for each part that cannot be counted, what was
    skipped, and the fields that no event has."""

    events: list[tuple[ParsedEvent[EventStruct], Outgoing]] = []  # noqa: RUF012  never changed
    refused: list[str] = []  # noqa: RUF012
    skipped: list[SkippedReport] = []  # noqa: RUF012
    unknown: list[str] = []  # noqa: RUF012


class ObjectReader:
    """Reads the objects of one meter in their order. Used by one thread.

    The events of a stream complete each other where they came from one thread or task (`place`), and
    running totals become differences.
    """

    def __init__(self, common: Mapping[str, object]) -> None:
        self._common = common
        self._joiners: dict[object, Joiner] = {}
        self._totals = RunningTotals()
        self._ended: dict[
            str, int
        ] = {}  # id of an OpenAI stream without usage so far: its end in ms

    def read(self, item: LibraryObject) -> ObjectRead:
        """InvalidEvent if it is wrong as a whole; TypeError if it is no object, or has no JSON."""
        context = with_given(
            Context(received_ms=item.at_ms, id_seed=item.id_seed), {**self._common, **item.context}
        )
        body = load(_json(item.answer))
        if not isinstance(body, dict | list):
            raise TypeError("it is no object")
        skipped = self.expire(item.at_ms - USAGE_MS_MAX)
        if isinstance(body, dict):
            if body.get("type") == livekit.CUMULATIVE or body.keys() == {"model_usage"}:
                body = body if "usage" in body else {"usage": body}
                body, same = self._totals.differences(self._session(item), body)
                skipped += [SkippedReport(reason, is_part=True) for reason in same]
            else:
                self._totals.see(self._session(item), body)
        joiner = self._joiner(item.place, body)
        parsed = parse_with(_validate, body, item.format, context, joiner=joiner)
        skipped += self._skips(parsed, body, item.at_ms)
        return ObjectRead(
            [(event, _outgoing(event, item.marks)) for event in parsed.events],
            [str(refused.error) for refused in parsed.refused],
            skipped,
            [name for event in parsed.events for name in event.unknown],
        )

    def expire(self, before_ms: int | None = None) -> list[SkippedReport]:
        """The streams that ended before then (None: ever) and have not reported their usage."""
        late = [name for name, at in self._ended.items() if before_ms is None or at < before_ms]
        for name in late:
            del self._ended[name]
        return [SkippedReport(WITHOUT_USAGE) for _ in late]

    def _joiner(self, place: object, body: object) -> Joiner:
        """That of the object's thread or task. A server may read one stream in several threads: then the
        only message that is open goes on."""
        joiner = self._joiners.pop(place, None) or Joiner()
        self._joiners[place] = joiner
        if len(self._joiners) > PLACES_MAX:
            del self._joiners[next(iter(self._joiners))]
        if isinstance(body, dict) and body.get("type") in _GOES_ON and not joiner.is_open:
            others = [one for one in self._joiners.values() if one.is_open]
            return others[0] if len(others) == 1 else joiner
        return joiner

    @staticmethod
    def _session(item: LibraryObject) -> object:
        """What names the session of a running total: the meter's own name, or the context."""
        said = {name: text for name, text in item.context.items() if isinstance(text, str)}
        return item.session or tuple(sorted(said.items()))

    def _skips(self, parsed: Parsed[EventStruct], body: object, at_ms: int) -> list[SkippedReport]:
        if isinstance(body, dict) and body.get("object") == "chat.completion.chunk":
            return self._skipped_chunk(parsed, body, at_ms)
        is_part = isinstance(body, dict) and _is_part(body)
        return [
            SkippedReport(
                REPEATED if one.reason.startswith(_SUPERSEDED) else one.reason,
                is_part=(is_part and not one.has_usage) or one.reason == langchain.PART_SKIPPED,
            )
            for one in parsed.skipped
        ]

    def _skipped_chunk(
        self, parsed: Parsed[EventStruct], chunk: Json, at_ms: int
    ) -> list[SkippedReport]:
        """The last chunk is remembered: the usage may come in one more."""
        name = str(chunk.get("id"))
        if parsed.events:
            self._ended.pop(name, None)
        elif chunk.get("choices") and openai.is_last_chunk(chunk):
            self._ended[name] = at_ms
        skipped = [SkippedReport(one.reason, is_part=True) for one in parsed.skipped]
        if len(self._ended) > OPEN_MAX:
            del self._ended[next(iter(self._ended))]
            skipped.append(SkippedReport(WITHOUT_USAGE))
        return skipped


def _is_part(body: Json) -> bool:
    if gemini.is_live(body) or gemini_interactions.is_event(body):
        return True
    kind = body.get("type")
    return isinstance(kind, str) and (
        kind in anthropic.STREAM_TYPES or kind.startswith(openai.STREAM_PREFIXES)
    )


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


def _outgoing(event: ParsedEvent[EventStruct], marks: Mapping[str, object]) -> Outgoing:
    """`marks` are fields that the meter itself adds, such as the problem of a stream that was closed."""
    usage = event.usage
    record = event.record
    if marks:
        record = msgspec.json.encode({**event.fields, **marks})
    tenant = usage.tenant or DEFAULT_TENANT
    return Outgoing(tenant, usage.source, usage.id, usage.call_id, record)


def outgoing_of(one: RecordedEvent, common: Mapping[str, object]) -> Outgoing:
    """The event's JSON; TypeError if a value has no JSON, ValueError if the event is too large."""
    fields: dict[str, Any] = {
        "id": one.id, "time": iso(one.at_ms), "kind": one.kind, **common, **one.fields
    }  # fmt: skip
    value = msgspec.json.encode(fields)
    if len(value) > EVENT_BYTES_MAX:
        raise ValueError(f"the event has {len(value)} bytes, the limit is {EVENT_BYTES_MAX}")
    return Outgoing(
        str(fields.get("tenant") or ""),
        str(fields.get("source") or ""),
        one.id,
        str(fields["call_id"]) if fields.get("call_id") else None,
        value,
    )


def _json(answer: object) -> bytes:
    """JSON of a pydantic model, a dataclass, another structure or a dict; a body is JSON already."""
    if isinstance(answer, WireBody):
        return answer.json
    if isinstance(answer, dict):
        return json.dumps(answer, default=_plain).encode()
    return json.dumps(_plain(answer)).encode()


def _plain(value: object) -> Any:  # noqa: ANN401  any JSON
    if callable(getattr(value, "model_dump", None)):
        return plain(value)
    return msgspec.to_builtins(value)
