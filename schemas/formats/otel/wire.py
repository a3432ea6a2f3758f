"""The parts of a binary OTLP request, counted before any object is built. Pure.

Two bytes of a request can be a span, which takes hundreds of bytes as an object. So the parts of a
large request are counted first, by tags and lengths alone, up to the first limit that is exceeded.
Source: the protobuf wire format; opentelemetry-proto: trace, logs, metrics and common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import ITEMS_MAX
from schemas.formats.structure import BodyTooLarge, Poll, never

ATTRIBUTES_MAX: Final = 350_000
"""Attributes of a body, and their values: 100 B each as objects. As many as JSON may have
(`schemas.formats.structure.CONTAINERS_MAX`), where an attribute is two objects."""
PARTS_MAX: Final = 100_000
"""Events, links, exemplars and other parts: 100 B each as objects, none of which is counted."""
FIELDS_MAX: Final = 2_000_000
"""Fields of all messages: four for each attribute, and ten for each of 10,000 spans."""
WIRE_DEPTH_MAX: Final = 64
"""Messages within messages. Values of attributes may be arrays of arrays."""
POLL_FIELDS: Final = 50_000
"""Fields between two polls: 10 ms."""
_VARINT_BYTES_MAX: Final = 10


class WireMessage(NamedTuple):
    """A type of message: how many a body may have, and the types of its fields by number."""

    name: str
    count_max: int
    parts: dict[int, int]


Messages = Sequence[WireMessage]
(
    _REQUEST,
    _OF_RESOURCE,
    _RESOURCE,
    _ENTITY,
    _OF_SCOPE,
    _SCOPE,
    _ATTRIBUTE,
    _VALUE,
    _ARRAY,
    _MAP,
    _ITEM,
) = range(11)


def _messages(
    resources: str, scopes: str, items: str, parts: dict[int, int], *own: WireMessage
) -> Messages:
    """The types of one signal; `own`: those after `_ITEM`, in order."""
    return (
        WireMessage("requests", 1, {1: _OF_RESOURCE}),
        WireMessage(resources, ITEMS_MAX, {1: _RESOURCE, 2: _OF_SCOPE}),
        WireMessage("resources", ITEMS_MAX, {1: _ATTRIBUTE, 3: _ENTITY}),
        WireMessage("entities", PARTS_MAX, {}),
        WireMessage(scopes, ITEMS_MAX, {1: _SCOPE, 2: _ITEM}),
        WireMessage("scopes", ITEMS_MAX, {3: _ATTRIBUTE}),
        WireMessage("attributes", ATTRIBUTES_MAX, {2: _VALUE}),
        WireMessage("values of attributes", ATTRIBUTES_MAX, {5: _ARRAY, 6: _MAP}),
        WireMessage("arrays", PARTS_MAX, {1: _VALUE}),
        WireMessage("maps", PARTS_MAX, {1: _ATTRIBUTE}),
        WireMessage(items, ITEMS_MAX, parts),
        *own,
    )


_EVENT, _LINK = 11, 12
TRACES: Final = _messages(
    "resourceSpans",
    "scopeSpans",
    "spans",
    {9: _ATTRIBUTE, 11: _EVENT, 13: _LINK},
    WireMessage("events", PARTS_MAX, {3: _ATTRIBUTE}),
    WireMessage("links", PARTS_MAX, {4: _ATTRIBUTE}),
)
LOGS: Final = _messages("resourceLogs", "scopeLogs", "logRecords", {5: _VALUE, 6: _ATTRIBUTE})
_NUMBERS, _NUMBER, _HISTOGRAMS, _HISTOGRAM, _EXPONENTIALS, _EXPONENTIAL = range(11, 17)
_SUMMARIES, _SUMMARY, _PART = range(17, 20)
METRICS: Final = _messages(
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    {
        5: _NUMBERS,
        7: _NUMBERS,
        9: _HISTOGRAMS,
        10: _EXPONENTIALS,
        11: _SUMMARIES,
        12: _ATTRIBUTE,
    },
    WireMessage("sums and gauges", ITEMS_MAX, {1: _NUMBER}),
    WireMessage("dataPoints", ITEMS_MAX, {5: _PART, 7: _ATTRIBUTE}),
    WireMessage("histograms", ITEMS_MAX, {1: _HISTOGRAM}),
    WireMessage("dataPoints of histograms", ITEMS_MAX, {8: _PART, 9: _ATTRIBUTE}),
    WireMessage("exponential histograms", ITEMS_MAX, {1: _EXPONENTIAL}),
    WireMessage("dataPoints of exponential histograms", ITEMS_MAX, {1: _ATTRIBUTE, 11: _PART}),
    WireMessage("summaries", ITEMS_MAX, {1: _SUMMARY}),
    WireMessage("dataPoints of summaries", ITEMS_MAX, {6: _PART, 7: _ATTRIBUTE}),
    WireMessage("exemplars and quantiles", PARTS_MAX, {7: _ATTRIBUTE}),
)


def check_request(  # noqa: C901, PLR0912  one loop: a call per field costs half as much again
    body: bytes, poll: Poll = never, messages: Messages = TRACES
) -> dict[str, int]:
    """How many the body has of each type of message, by name. Raises InvalidEvent if a limit is exceeded,
    or if the bytes are not messages. Errors of `poll` are passed on."""
    counts = [0] * len(messages)
    outer: list[tuple[int, dict[int, int]]] = []
    end, parts = len(body), messages[_REQUEST].parts
    at = fields = 0
    try:
        while True:
            if at >= end:
                if at > end:
                    raise _broken("a field is longer than its message")
                if not outer:
                    return {each.name: n for each, n in zip(messages, counts, strict=True)}
                end, parts = outer.pop()
                continue
            fields += 1
            if not fields % POLL_FIELDS:
                poll()
                if fields > FIELDS_MAX:
                    raise BodyTooLarge(f"more than {FIELDS_MAX} fields")
            tag, at = (body[at], at + 1) if body[at] < 0x80 else _varint(body, at)
            match tag & 7:
                case 2:
                    size, at = (body[at], at + 1) if body[at] < 0x80 else _varint(body, at)
                    part = parts.get(tag >> 3)
                    if part is None:
                        at += size
                        continue
                    counts[part] += 1
                    message = messages[part]
                    if counts[part] > message.count_max:
                        raise BodyTooLarge(f"more than {message.count_max} {message.name}")
                    if at + size > end:
                        raise _broken("a message is longer than the one around it")
                    if len(outer) == WIRE_DEPTH_MAX:
                        raise _broken(f"it is nested deeper than {WIRE_DEPTH_MAX} levels")
                    outer.append((end, parts))
                    end, parts = at + size, message.parts
                case 0:
                    _, at = (0, at + 1) if body[at] < 0x80 else _varint(body, at)
                case 1:
                    at += 8
                case 5:
                    at += 4
                case _:
                    raise _broken("it has a field of a type that OTLP does not use")
    except IndexError as error:
        raise _broken("it ends before it is whole") from error


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the place after it."""
    number = 0
    for place in range(_VARINT_BYTES_MAX):
        byte = body[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise _broken("a number has more than 64 bits")


def _broken(why: str) -> InvalidEvent:
    return InvalidEvent(Reason.INVALID_FIELD, f"the body is not an OTLP request: {why}")
