"""OTLP's binary encoding: a request to spans, and the answer. Pure.

The only module of the formats that needs protobuf; `spans` reads the spans themselves. Two bytes of a
request can be a span, which takes hundreds of bytes as an object. So the parts of a large request are
counted first, by tags and lengths alone, up to the first limit that is exceeded.
Source: the protobuf wire format; opentelemetry-proto, trace.proto and common.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import (
    BODY_BYTES_MAX,
    ITEMS_MAX,
    BodyTooLarge,
    Json,
    Poll,
    check_items,
    never,
    short,
)
from schemas.formats.otel.spans import READ, SERVICE, STATUS_ERROR, OtelSpan, OtelSpans

SMALL_BYTES_MAX: Final = 64 * 1024
"""A smaller body has at most 32,000 messages, whatever they are: its parts need not be counted."""
ATTRIBUTES_MAX: Final = 350_000
"""Attributes of a body, and their values: 100 B each as objects. As many as JSON may have
(`schemas.formats.body.CONTAINERS_MAX`), where an attribute is two objects."""
PARTS_MAX: Final = 100_000
"""Events, links and other parts of spans: 100 B each as objects, none of which is counted."""
FIELDS_MAX: Final = 2_000_000
"""Fields of all messages: four for each attribute, and ten for each of 10,000 spans."""
WIRE_DEPTH_MAX: Final = 64
"""Messages within messages. Values of attributes may be arrays of arrays."""
POLL_FIELDS: Final = 50_000
"""Fields between two polls: 10 ms."""
_VARINT_BYTES_MAX: Final = 10


class _Message(NamedTuple):
    """A type of message: how many a body may have, and the types of its fields by number."""

    name: str
    count_max: int
    parts: dict[int, int]


(
    _REQUEST,
    _RESOURCE_SPANS,
    _RESOURCE,
    _ENTITY,
    _SCOPE_SPANS,
    _SCOPE,
    _SPAN,
    _EVENT,
    _LINK,
    _ATTRIBUTE,
    _VALUE,
    _ARRAY,
    _MAP,
) = range(13)
_MESSAGES: Final = (
    _Message("requests", 1, {1: _RESOURCE_SPANS}),
    _Message("resourceSpans", ITEMS_MAX, {1: _RESOURCE, 2: _SCOPE_SPANS}),
    _Message("resources", ITEMS_MAX, {1: _ATTRIBUTE, 3: _ENTITY}),
    _Message("entities", PARTS_MAX, {}),
    _Message("scopeSpans", ITEMS_MAX, {1: _SCOPE, 2: _SPAN}),
    _Message("scopes", ITEMS_MAX, {3: _ATTRIBUTE}),
    _Message("spans", ITEMS_MAX, {9: _ATTRIBUTE, 11: _EVENT, 13: _LINK}),
    _Message("events", PARTS_MAX, {3: _ATTRIBUTE}),
    _Message("links", PARTS_MAX, {4: _ATTRIBUTE}),
    _Message("attributes", ATTRIBUTES_MAX, {2: _VALUE}),
    _Message("values of attributes", ATTRIBUTES_MAX, {5: _ARRAY, 6: _MAP}),
    _Message("arrays", PARTS_MAX, {1: _VALUE}),
    _Message("maps", PARTS_MAX, {1: _ATTRIBUTE}),
)


def load_protobuf(body: bytes, poll: Poll = never) -> OtelSpans:
    """The spans of a binary ExportTraceServiceRequest; InvalidEvent for anything else. Errors of `poll`
    are passed on."""
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge(f"{len(body)} bytes, the limit is {BODY_BYTES_MAX}")
    if len(body) > SMALL_BYTES_MAX:
        check_request(body, poll)
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise InvalidEvent(
            Reason.INVALID_FIELD, f"the body is not an ExportTraceServiceRequest: {error}"
        ) from error
    spans: list[OtelSpan] = []
    for resource_spans in request.resource_spans:
        service = _plain_attributes(resource_spans.resource.attributes).get(SERVICE)
        service = short(service, SERVICE) if isinstance(service, str) else None
        for scope_spans in resource_spans.scope_spans:
            poll()
            check_items(len(spans) + len(scope_spans.spans), "spans")
            spans += [
                OtelSpan(
                    service=service,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == STATUS_ERROR,
                    attributes=_plain_attributes(span.attributes),
                )
                for span in scope_spans.spans
            ]
    return OtelSpans(tuple(spans))


def answer_protobuf(rejected: int, message: str) -> bytes:
    """A binary ExportTraceServiceResponse: empty if every span was accepted, else partial success."""
    answer = ExportTraceServiceResponse()
    if rejected:
        answer.partial_success.rejected_spans = rejected
        answer.partial_success.error_message = message
    return answer.SerializeToString()


def _plain_attributes(attributes: Iterable[KeyValue]) -> Json:
    return {key: _plain(pair.value) for pair in attributes if (key := pair.key) in READ}


def _plain(value: AnyValue) -> object:
    """A plain value; a double as its shortest decimal text. None for arrays and maps."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return Decimal(repr(value.double_value))
        case _:
            return None


# -- the parts, before they are built ----------------------------------------------------------------


def check_request(body: bytes, poll: Poll = never) -> dict[str, int]:  # noqa: C901, PLR0912  one loop: a call per field costs half as much again
    """How many the body has of each type of message, by name. Raises InvalidEvent if a limit is exceeded,
    or if the bytes are not messages. Errors of `poll` are passed on."""
    counts = [0] * len(_MESSAGES)
    outer: list[tuple[int, dict[int, int]]] = []
    end, parts = len(body), _MESSAGES[_REQUEST].parts
    at = fields = 0
    try:
        while True:
            if at >= end:
                if at > end:
                    raise _broken("a field is longer than its message")
                if not outer:
                    return {each.name: n for each, n in zip(_MESSAGES, counts, strict=True)}
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
                    message = _MESSAGES[part]
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
    return InvalidEvent(
        Reason.INVALID_FIELD, f"the body is not an ExportTraceServiceRequest: {why}"
    )
