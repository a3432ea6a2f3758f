"""The parts of a binary OTLP request are counted, and bounded, before any object is built."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import ITEMS_MAX, BodyTooLarge
from schemas.formats.otel.protobuf import (
    ATTRIBUTES_MAX,
    FIELDS_MAX,
    PARTS_MAX,
    POLL_FIELDS,
    SMALL_BYTES_MAX,
    WIRE_DEPTH_MAX,
    check_request,
    load_protobuf,
)
from schemas.formats.otel.spans import READ
from tests.schemas.formats.fixtures import FOLDER

NAMES = {
    "ResourceSpans": "resourceSpans",
    "Resource": "resources",
    "EntityRef": "entities",
    "ScopeSpans": "scopeSpans",
    "InstrumentationScope": "scopes",
    "Span": "spans",
    "Event": "events",
    "Link": "links",
    "KeyValue": "attributes",
    "AnyValue": "values of attributes",
    "ArrayValue": "arrays",
    "KeyValueList": "maps",
}


def whole() -> bytes:
    return base64.b64decode(json.loads((FOLDER / "otel/protobuf.json").read_text())["body"])


def part(number: int, content: bytes) -> bytes:
    """A message or a text under a number, as protobuf writes it."""
    size, left = bytearray(), len(content)
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([number << 3 | 2, *size, left]) + content


def spans(content: bytes) -> bytes:
    return part(1, part(2, content))


def span(content: bytes) -> bytes:
    return spans(part(2, content))


def attribute(value: bytes) -> bytes:
    return span(part(9, part(1, b"a") + part(2, value)))


def nested(levels: int) -> bytes:
    value = b""
    for _ in range(levels):
        value = part(5, part(1, value))
    return attribute(value)


MANY: list[tuple[str, bytes, str]] = [
    ("spans", spans(b"\x12\x00" * ((8 << 20) - 16)), f"{ITEMS_MAX} spans"),
    ("scopes", part(1, b"\x12\x00" * ((8 << 20) - 16)), f"{ITEMS_MAX} scopeSpans"),
    ("resources", b"\x0a\x00" * ((8 << 20) - 16), f"{ITEMS_MAX} resourceSpans"),
    ("attributes", span(b"\x4a\x00" * (ATTRIBUTES_MAX + 1)), f"{ATTRIBUTES_MAX} attributes"),
    ("of the resource", part(1, part(1, b"\x0a\x00" * (ATTRIBUTES_MAX + 1))), "attributes"),
    ("of the scope", spans(part(1, b"\x1a\x00" * (ATTRIBUTES_MAX + 1))), "attributes"),
    ("events", span(b"\x5a\x00" * (PARTS_MAX + 1)), f"{PARTS_MAX} events"),
    ("links", span(b"\x6a\x00" * (PARTS_MAX + 1)), f"{PARTS_MAX} links"),
    ("of an event", span(part(11, b"\x1a\x00" * (ATTRIBUTES_MAX + 1))), "attributes"),
    ("entities", part(1, part(1, b"\x1a\x00" * (PARTS_MAX + 1))), f"{PARTS_MAX} entities"),
    ("array", attribute(part(5, b"\x0a\x00" * (ATTRIBUTES_MAX + 1))), "values of attributes"),
    ("map", attribute(part(6, b"\x0a\x00" * (ATTRIBUTES_MAX + 1))), "attributes"),
    ("numbers", span(b"\x50\x00" * (FIELDS_MAX + POLL_FIELDS)), f"{FIELDS_MAX} fields"),
    ("unknown", b"\x7a\x00" * (FIELDS_MAX + POLL_FIELDS), f"{FIELDS_MAX} fields"),
]


@pytest.mark.parametrize(("body", "said"), [pytest.param(b, s, id=name) for name, b, s in MANY])
def test_parts_are_bounded_before_they_are_built(body: bytes, said: str) -> None:
    for read in (check_request, load_protobuf):
        with pytest.raises(BodyTooLarge, match=f"^the body has more than .*{said}"):
            read(body)


def test_reading_stops_at_the_first_limit() -> None:
    """Of eight million spans it reads the tags of ten thousand."""
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1

    with pytest.raises(BodyTooLarge):
        check_request(MANY[0][1], poll)
    assert polls <= ITEMS_MAX // POLL_FIELDS


def test_work_ends_when_nobody_waits() -> None:
    def stop() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        load_protobuf(span(b"\x50\x00" * POLL_FIELDS), stop)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (part(1, b"")[:1], "before it is whole"),
        (b"\x0a\x05\x12", "longer than the one around it"),
        (part(1, b"\x12\x05"), "longer than the one around it"),
        (part(1, b"\x19\x00"), "longer than its message"),
        (b"\x0b", "type that OTLP does not use"),
        (b"\xff" * 11, "more than 64 bits"),
        (nested(WIRE_DEPTH_MAX), "nested deeper than"),
    ],
)
def test_bytes_that_are_no_messages(body: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent, match=said) as caught:
        check_request(body)
    assert caught.value.reason is Reason.INVALID_FIELD


def found(message: Message) -> Counter[str]:
    """Every message within, by the name of its type."""
    counts: Counter[str] = Counter()
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else (value,):
                name = NAMES.get(field.message_type.name)
                counts += found(one) + Counter([name] if name else [])
    return counts


def test_the_counts_are_those_of_protobuf_or_more() -> None:
    """More where a message that may be there once is there twice: protobuf merges the two."""
    rng = random.Random(1)
    accepted = 0
    for _ in range(4000):
        data = bytearray(whole())
        for _ in range(rng.choice((0, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            built = found(ExportTraceServiceRequest.FromString(bytes(data)))
        except DecodeError:
            continue
        try:
            counted: dict[str, Any] = check_request(bytes(data))
        except InvalidEvent:
            continue
        accepted += 1
        assert all(counted[name] >= count for name, count in built.items())
    assert accepted > 200
    assert Counter(check_request(whole())) == found(ExportTraceServiceRequest.FromString(whole()))


def test_a_real_request_of_many_spans_is_read() -> None:
    many = whole() * 500
    assert len(many) > SMALL_BYTES_MAX
    read = load_protobuf(many).spans
    assert len(read) == 500 * len(load_protobuf(whole()).spans)
    assert {name for one in read for name in one.attributes} <= READ
