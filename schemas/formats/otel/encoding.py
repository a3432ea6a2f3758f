"""OTLP's requests as plain values, and OTLP's JSON encoding. Pure.

`protobuf` reads the binary encoding into the same values. The parts of a JSON request are read one by
one, so that an invalid span is refused alone. Source: opentelemetry-proto 1.x.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from schemas.formats.body import Json, check_items, invalid, section, text
from schemas.formats.otel.attributes import SERVICE

STATUS_ERROR: Final = 2
DELTA: Final = 1
CUMULATIVE: Final = 2
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True)
class OtelSpan:
    """The parts of a span that are counted. `attributes` has no arrays and no maps."""

    service: str | None
    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Json
    parent_id: str = ""
    scope: str = ""


@dataclass(frozen=True)
class OtelLog:
    """The parts of a log record that are counted. `name`: of the event, as it is given."""

    service: str | None
    scope: str
    name: str
    trace_id: str
    span_id: str
    time_ns: int
    attributes: Json


@dataclass(frozen=True)
class OtelPoint:
    """One data point of a sum or a histogram. `value`: a sum, int or Decimal; None where it has none."""

    service: str | None
    scope: str
    metric: str
    temporality: int
    start_ns: int
    time_ns: int
    value: Any
    attributes: Json


@dataclass(frozen=True)
class OtelSpans:
    """The spans of one protobuf request, in order."""

    spans: tuple[OtelSpan, ...]


@dataclass(frozen=True)
class OtelLogs:
    """The log records of one protobuf request, in order."""

    logs: tuple[OtelLog, ...]


@dataclass(frozen=True)
class OtelPoints:
    """The data points of one request for metrics, in order."""

    points: tuple[OtelPoint, ...]


class JsonPart(NamedTuple):
    """A span, a log record or a metric of a JSON request, not read yet."""

    service: str | None
    scope: str
    part: Any
    path: str


@dataclass(frozen=True)
class Signal:
    """The names of one signal in OTLP's JSON."""

    resources: str
    scopes: str
    items: str
    rejected: str


TRACES: Final = Signal("resourceSpans", "scopeSpans", "spans", "rejectedSpans")
LOGS: Final = Signal("resourceLogs", "scopeLogs", "logRecords", "rejectedLogRecords")
METRICS: Final = Signal("resourceMetrics", "scopeMetrics", "metrics", "rejectedDataPoints")
SIGNALS: Final = (TRACES, LOGS, METRICS)


def answer_json(signal: Signal, rejected: int, message: str) -> Json:
    """An Export...ServiceResponse as OTLP's JSON, where 64-bit integers are texts. A message without
    rejected parts is a warning."""
    if not rejected and not message:
        return {}
    return {"partialSuccess": {signal.rejected: str(rejected), "errorMessage": message}}


def json_parts(payload: Json, signal: Signal) -> list[JsonPart]:
    """The parts of a JSON Export...ServiceRequest, in order, not read yet."""
    found: list[JsonPart] = []
    scopes = 0
    resources = _objects(payload, signal.resources, "")
    check_items(len(resources), signal.resources)
    for r, of_resource in enumerate(resources):
        at = f"{signal.resources}.{r}."
        resource = section(of_resource, "resource", at)
        attributes = json_attributes(resource, f"{at}resource.")
        service = text(attributes, SERVICE, f"{at}resource.attributes.")
        scope_items = _objects(of_resource, signal.scopes, at)
        scopes += len(scope_items)
        check_items(scopes, signal.scopes)
        for s, of_scope in enumerate(scope_items):
            path = f"{at}{signal.scopes}.{s}."
            scope = text(section(of_scope, "scope", path), "name", f"{path}scope.") or ""
            parts = _array(of_scope, signal.items, path)
            check_items(len(found) + len(parts), signal.items)
            found += [
                JsonPart(service, scope, part, f"{path}{signal.items}.{i}.")
                for i, part in enumerate(parts)
            ]
    return found


def span_of_json(unread: JsonPart) -> OtelSpan:
    span, path = _object(unread)
    status = section(span, "status", path)
    return OtelSpan(
        service=unread.service,
        trace_id=(text(span, "traceId", path) or "").lower(),
        span_id=(text(span, "spanId", path) or "").lower(),
        start_ns=_integer(span, "startTimeUnixNano", path),
        end_ns=_integer(span, "endTimeUnixNano", path),
        failed=status.get("code") in (STATUS_ERROR, "STATUS_CODE_ERROR"),
        attributes=json_attributes(span, path),
        parent_id=(text(span, "parentSpanId", path) or "").lower(),
        scope=unread.scope,
    )


def log_of_json(unread: JsonPart) -> OtelLog:
    record, path = _object(unread)
    attributes = json_attributes(record, path)
    body = _value(section(record, "body", path), f"{path}body.")
    named = text(record, "eventName", path) or attributes.get("event.name") or body
    return OtelLog(
        service=unread.service,
        scope=unread.scope,
        name=named if isinstance(named, str) else "",
        trace_id=(text(record, "traceId", path) or "").lower(),
        span_id=(text(record, "spanId", path) or "").lower(),
        time_ns=_integer(record, "timeUnixNano", path)
        or _integer(record, "observedTimeUnixNano", path),
        attributes=attributes,
    )


def points_of_json(payload: Json) -> OtelPoints:
    """The data points of all sums and histograms; other kinds of metrics have no sum."""
    found: list[OtelPoint] = []
    for unread in json_parts(payload, METRICS):
        metric, path = _object(unread)
        name = text(metric, "name", path) or ""
        for kind in ("sum", "histogram", "exponentialHistogram"):
            data = section(metric, kind, path)
            points = _objects(data, "dataPoints", f"{path}{kind}.")
            check_items(len(found) + len(points), "dataPoints")
            temporality = data.get("aggregationTemporality")
            for i, point in enumerate(points):
                at = f"{path}{kind}.dataPoints.{i}."
                found.append(
                    OtelPoint(
                        service=unread.service,
                        scope=unread.scope,
                        metric=name,
                        temporality=_temporality(temporality),
                        start_ns=_integer(point, "startTimeUnixNano", at),
                        time_ns=_integer(point, "timeUnixNano", at),
                        value=_point_value(point, at),
                        attributes=json_attributes(point, at),
                    )
                )
    return OtelPoints(tuple(found))


def _temporality(value: object) -> int:
    named = {
        "AGGREGATION_TEMPORALITY_DELTA": DELTA,
        "AGGREGATION_TEMPORALITY_CUMULATIVE": CUMULATIVE,
    }
    if isinstance(value, str):
        return named.get(value, 0)
    return value if isinstance(value, int) else 0


def _point_value(point: Json, path: str) -> object:
    if "asInt" in point:
        return _integer(point, "asInt", path)
    return point.get("asDouble", point.get("sum"))


def _object(unread: JsonPart) -> tuple[Json, str]:
    if not isinstance(unread.part, dict):
        raise invalid(unread.path.removesuffix("."), "must be an object")
    return unread.part, unread.path


def _array(holder: Json, key: str, path: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(path + key, "must be an array")
    return value


def _objects(holder: Json, key: str, path: str) -> list[Json]:
    items = _array(holder, key, path)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise invalid(f"{path}{key}.{index}", "must be an object")
    return items


def json_attributes(holder: Json, path: str) -> Json:
    return dict(_pairs(holder, path))


def _pairs(holder: Json, path: str) -> Iterator[tuple[str, object]]:
    for index, pair in enumerate(_objects(holder, "attributes", path)):
        at = f"{path}attributes.{index}."
        key = text(pair, "key", at)
        if key:
            yield key, _value(section(pair, "value", at), f"{at}value.")


def _value(value: Json, path: str) -> object:
    """A plain value; None for arrays and maps."""
    if "intValue" in value:
        return _integer(value, "intValue", path)
    for name in ("stringValue", "doubleValue", "boolValue"):
        if name in value:
            return value[name]
    return None


def _integer(holder: Json, key: str, path: str) -> int:
    """OTLP's JSON has 64-bit integers as texts; numbers are accepted too. Missing is 0."""
    value = holder.get(key) or 0
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise invalid(path + key, "must be an integer, as a text or a number")
