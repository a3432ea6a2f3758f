"""OTLP's binary encoding: a request to spans, and the answer. Pure.

The only module of the formats that needs protobuf; `otel` reads the spans themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import BODY_BYTES_MAX, Json
from schemas.formats.otel import STATUS_ERROR, OtelSpan, OtelSpans


def load_protobuf(body: bytes) -> OtelSpans:
    """The spans of a binary ExportTraceServiceRequest; InvalidEvent for anything else."""
    if len(body) > BODY_BYTES_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"the body has {len(body)} bytes, the limit is {BODY_BYTES_MAX}"
        )
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise InvalidEvent(
            Reason.INVALID_FIELD, f"the body is not an ExportTraceServiceRequest: {error}"
        ) from error
    spans: list[OtelSpan] = []
    for resource_spans in request.resource_spans:
        service = _plain_attributes(resource_spans.resource.attributes).get("service.name")
        for scope_spans in resource_spans.scope_spans:
            spans += [
                OtelSpan(
                    service=service if isinstance(service, str) else None,
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
