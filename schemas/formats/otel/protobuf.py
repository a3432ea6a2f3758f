"""OTLP's binary encoding: a request to its spans, log records or data points, and the answer. Pure.

The only module of the formats that needs protobuf. `wire` counts the parts of a large request first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import BODY_BYTES_MAX, Json, check_items, short
from schemas.formats.otel import wire
from schemas.formats.otel.attributes import (
    SERVICE,
    is_read,
)
from schemas.formats.otel.encoding import (
    LOGS,
    STATUS_ERROR,
    TRACES,
    OtelLog,
    OtelLogs,
    OtelPoint,
    OtelPoints,
    OtelSpan,
    OtelSpans,
    Signal,
)
from schemas.formats.structure import BodyTooLarge, Poll, never

SMALL_BYTES_MAX: Final = 64 * 1024
"""A smaller body has at most 32,000 messages, whatever they are: its parts need not be counted."""

Request = TypeVar("Request", bound=Message)


def load_traces(body: bytes, poll: Poll = never) -> OtelSpans:
    """The spans of a binary ExportTraceServiceRequest; InvalidEvent for anything else. Errors of `poll`
    are passed on."""
    request = _parsed(ExportTraceServiceRequest, body, poll, wire.TRACES)
    spans: list[OtelSpan] = []
    for of_resource in request.resource_spans:
        service = _service(of_resource)
        for of_scope in of_resource.scope_spans:
            poll()
            check_items(len(spans) + len(of_scope.spans), "spans")
            spans += [
                OtelSpan(
                    service=service,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == STATUS_ERROR,
                    attributes=_read_attributes(span.attributes),
                    parent_id=span.parent_span_id.hex(),
                    scope=short(of_scope.scope.name, "scope.name"),
                )
                for span in of_scope.spans
            ]
    return OtelSpans(tuple(spans))


def load_logs(body: bytes, poll: Poll = never) -> OtelLogs:
    """The log records of a binary ExportLogsServiceRequest, as `load_traces`."""
    request = _parsed(ExportLogsServiceRequest, body, poll, wire.LOGS)
    logs: list[OtelLog] = []
    for of_resource in request.resource_logs:
        service = _service(of_resource)
        for of_scope in of_resource.scope_logs:
            poll()
            check_items(len(logs) + len(of_scope.log_records), "logRecords")
            for record in of_scope.log_records:
                attributes = _plain_attributes(record.attributes)
                named = record.event_name or attributes.get("event.name") or _plain(record.body)
                logs.append(
                    OtelLog(
                        service=service,
                        scope=short(of_scope.scope.name, "scope.name"),
                        name=named if isinstance(named, str) else "",
                        trace_id=record.trace_id.hex(),
                        span_id=record.span_id.hex(),
                        time_ns=record.time_unix_nano or record.observed_time_unix_nano,
                        attributes=attributes,
                    )
                )
    return OtelLogs(tuple(logs))


def load_metrics(body: bytes, poll: Poll = never) -> OtelPoints:
    """The data points of sums and histograms of a binary ExportMetricsServiceRequest, as
    `load_traces`."""
    request = _parsed(ExportMetricsServiceRequest, body, poll, wire.METRICS)
    points: list[OtelPoint] = []
    for of_resource in request.resource_metrics:
        service = _service(of_resource)
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                poll()
                points += _points(service, short(of_scope.scope.name, "scope.name"), metric)
                check_items(len(points), "dataPoints")
    return OtelPoints(tuple(points))


def _points(service: str | None, scope: str, metric: Metric) -> Iterator[OtelPoint]:
    kind = metric.WhichOneof("data")
    if kind not in ("sum", "histogram", "exponential_histogram"):
        return
    data = getattr(metric, kind)
    for point in data.data_points:
        yield OtelPoint(
            service=service,
            scope=scope,
            metric=metric.name,
            temporality=data.aggregation_temporality,
            start_ns=point.start_time_unix_nano,
            time_ns=point.time_unix_nano,
            value=_point_value(point),
            attributes=_plain_attributes(point.attributes),
        )


def _point_value(point: Any) -> int | Decimal | None:  # noqa: ANN401  a data point of any kind
    if not isinstance(point, NumberDataPoint):
        return Decimal(repr(point.sum)) if point.HasField("sum") else None
    if point.WhichOneof("value") == "as_int":
        return point.as_int
    return Decimal(repr(point.as_double)) if point.WhichOneof("value") else None


def _parsed(kind: type[Request], body: bytes, poll: Poll, messages: wire.Messages) -> Request:
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge(f"{len(body)} bytes, the limit is {BODY_BYTES_MAX}")
    if len(body) > SMALL_BYTES_MAX:
        wire.check_request(body, poll, messages)
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise InvalidEvent(
            Reason.INVALID_FIELD, f"the body is not an {kind.DESCRIPTOR.name}: {error}"
        ) from error


def _service(of_resource: Any) -> str | None:  # noqa: ANN401  the resource part of any signal
    service = _plain_attributes(of_resource.resource.attributes).get(SERVICE)
    return short(service, SERVICE) if isinstance(service, str) else None


def answer_protobuf(signal: Signal, rejected: int, message: str) -> bytes:
    """A binary Export...ServiceResponse: empty if all parts were accepted and there is nothing to say,
    else partial success."""
    if not rejected and not message:
        return b""
    if signal is TRACES:
        traces = ExportTraceServiceResponse()
        traces.partial_success.rejected_spans = rejected
        traces.partial_success.error_message = message
        return traces.SerializeToString()
    if signal is LOGS:
        logs = ExportLogsServiceResponse()
        logs.partial_success.rejected_log_records = rejected
        logs.partial_success.error_message = message
        return logs.SerializeToString()
    metrics = ExportMetricsServiceResponse()
    metrics.partial_success.rejected_data_points = rejected
    metrics.partial_success.error_message = message
    return metrics.SerializeToString()


def _read_attributes(attributes: Iterable[KeyValue]) -> Json:
    return {key: _plain(pair.value) for pair in attributes if is_read(key := pair.key)}


def _plain_attributes(attributes: Iterable[KeyValue]) -> Json:
    return {pair.key: _plain(pair.value) for pair in attributes}


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
