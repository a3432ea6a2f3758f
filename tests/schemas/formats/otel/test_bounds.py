"""The parts of a binary OTLP request are counted, and bounded, before any object is built."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import ITEMS_MAX
from schemas.formats.body import load as body_of
from schemas.formats.otel.attributes import is_read
from schemas.formats.otel.protobuf import SMALL_BYTES_MAX, load_logs, load_metrics, load_traces
from schemas.formats.otel.wire import (
    ATTRIBUTES_MAX,
    FIELDS_MAX,
    LOGS,
    METRICS,
    PARTS_MAX,
    POLL_FIELDS,
    WIRE_DEPTH_MAX,
    Messages,
    check_request,
)
from schemas.formats.structure import BodyTooLarge
from tests.schemas.formats.fixtures import FOLDER
from tests.schemas.formats.fixtures import read as parsed

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
    for read in (check_request, load_traces):
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
        load_traces(span(b"\x50\x00" * POLL_FIELDS), stop)


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
    read = load_traces(many).spans
    assert len(read) == 500 * len(load_traces(whole()).spans)
    assert all(is_read(name) for one in read for name in one.attributes)


# -- logs and metrics --------------------------------------------------------------------------------


def log_request() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "claude-code"
    of_scope = of_resource.scope_logs.add()
    of_scope.scope.name = "com.anthropic.claude_code.events"
    record = of_scope.log_records.add(time_unix_nano=1770544800 * 10**9)
    record.body.string_value = "claude_code.api_request"
    record.attributes.add(key="input_tokens").value.int_value = 8
    record.attributes.add(key="cost_usd").value.double_value = 0.25
    record.attributes.add(key="model").value.string_value = "claude-sonnet-4-5"
    return request


def metric_request() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "claude-code"
    metrics = of_resource.scope_metrics.add().metrics
    tokens = metrics.add(name="claude_code.token.usage")
    tokens.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    point = tokens.sum.data_points.add(time_unix_nano=1770544800 * 10**9, as_int=8)
    point.attributes.add(key="type").value.string_value = "input"
    codex = metrics.add(name="codex.turn.token_usage")
    codex.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    other = codex.histogram.data_points.add(sum=9.0, count=1, bucket_counts=[1, 2])
    other.attributes.add(key="token_type").value.string_value = "output"
    other.exemplars.add(as_int=1).filtered_attributes.add(key="x").value.bool_value = True
    metrics.add(name="a gauge").gauge.data_points.add(as_double=1.5)
    metrics.add(name="a summary").summary.data_points.add().quantile_values.add(value=1.0)
    metrics.add(name="exponential").exponential_histogram.data_points.add(sum=1.0)
    return request


REQUESTS = [(log_request, LOGS), (metric_request, METRICS)]


@pytest.mark.parametrize(("make", "messages"), REQUESTS, ids=["logs", "metrics"])
def test_the_parts_of_logs_and_metrics_are_counted(make: Any, messages: Messages) -> None:
    """Each message that protobuf builds; the request itself is one."""
    request = make()
    counts = check_request(request.SerializeToString(), messages=messages)
    assert 1 + sum(counts.values()) == messages_within(request)


def messages_within(message: Message) -> int:
    total = 1
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else (value,):
                total += messages_within(one)
    return total


def test_logs_and_metrics_are_read_from_both_encodings_alike() -> None:
    (log,) = load_logs(log_request().SerializeToString()).logs
    assert (log.service, log.name, log.attributes["input_tokens"]) == (
        "claude-code",
        "claude_code.api_request",
        8,
    )
    assert str(log.attributes["cost_usd"]) == "0.25"
    tokens, codex, exponential = load_metrics(metric_request().SerializeToString()).points
    assert (tokens.metric, tokens.value, tokens.temporality) == ("claude_code.token.usage", 8, 1)
    assert (codex.metric, codex.value, codex.attributes) == (
        "codex.turn.token_usage",
        9,
        {"token_type": "output"},
    )
    assert exponential.value == 1
    for of, load in ((log_request(), load_logs), (metric_request(), load_metrics)):
        body = MessageToDict(of, use_integers_for_enums=True)
        ours = parsed(body_of(json.dumps(body).encode()))
        theirs = parsed(load(of.SerializeToString()))
        assert [one.record for one in ours.events] == [one.record for one in theirs.events]
        assert ours.events


def test_data_points_and_records_are_bounded_before_they_are_built() -> None:
    many = b"\x12\x00" * (ITEMS_MAX + 1)
    for load in (load_logs, load_metrics):
        with pytest.raises(BodyTooLarge):
            load(part(1, part(2, many)) + part(15, b" " * SMALL_BYTES_MAX))
    points = b"\x0a\x00" * (ITEMS_MAX + 1)
    for number in (7, 9, 10, 11):
        with pytest.raises(BodyTooLarge, match="dataPoints"):
            check_request(part(1, part(2, part(2, part(number, points)))), messages=METRICS)
