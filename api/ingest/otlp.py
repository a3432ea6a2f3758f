"""OTLP over HTTP: `POST /v1/traces`, `/v1/logs` and `/v1/metrics`, in protobuf and in JSON.

Calls to models are counted; other spans, records and data points are accepted and count nothing.
Invalid ones make the answer a partial success, so the exporter does not send the valid ones again. The
message of a partial success also names usage that was not counted. Exporters put paths of their own
before these (`/api/public/otel/v1/traces`), so any path that ends so is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import share_of
from api.errors import BadParameter, InvalidBody
from api.http import problems
from api.http.application import application
from api.http.json_encoding import to_json
from api.ingest.endpoints import (
    IngestDeps,
    IngestOptions,
    headers_of,
    media_type_of,
    parse_options,
    unreadable,
    writer,
)
from api.ingest.otlp_sources import OtlpSources
from api.ingest.records import ValidatedRecords, shown, validate
from schemas.errors import InvalidEvent, Reason
from schemas.event.kinds import DEFAULT_TENANT
from schemas.formats.body import load
from schemas.formats.otel.encoding import LOGS, METRICS, TRACES, Signal, answer_json
from schemas.formats.otel.protobuf import answer_protobuf, load_logs, load_metrics, load_traces
from schemas.formats.parse import Parsed, parse, partial_success
from schemas.formats.parsed import SkippedObject
from schemas.formats.structure import Poll

PROTOBUF: Final = ("application/x-protobuf", "application/protobuf")
JSON: Final = "application/json"
CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 429: 8, 503: 14}
"""HTTP status -> code of google.rpc.Status; any other status is INTERNAL (13)."""
CHOICE: Final = "ODOMETER_METRICS_SOURCES"
NOT_BY_LOGS: Final = f"the metrics of this service count, as {CHOICE} says"
NOT_BY_METRICS: Final = f"the logs of this service count; {CHOICE} can choose its metrics instead"


@dataclass(frozen=True)
class OtlpPath:
    """One signal. `load` reads a binary body; `part` is a word for messages."""

    end: str
    signal: Signal
    load: Callable[[bytes, Poll], object]
    part: str


PATHS: Final = (
    OtlpPath("/v1/traces", TRACES, load_traces, "span"),
    OtlpPath("/v1/logs", LOGS, load_logs, "log record"),
    OtlpPath("/v1/metrics", METRICS, load_metrics, "data point"),
)
ENDS: Final = tuple(path.end for path in PATHS)


def is_otlp(method: str, path: str) -> bool:
    """Whether a request goes to one of the signals, whatever its path begins with."""
    return path.endswith(ENDS) and (method == "POST" or path in ENDS)


def otlp(deps: IngestDeps | None, sources: OtlpSources) -> Starlette:
    """The signals as an application; without `deps` the paths are not found."""
    if deps is None:
        return application([], error_response)
    routes = [
        Route(
            start + path.end, partial(take, path=path, deps=deps, sources=sources), methods=["POST"]
        )
        for path in PATHS
        for start in ("", "/{before:path}")
    ]
    return application(routes, error_response)


async def take(
    request: Request, path: OtlpPath, deps: IngestDeps, sources: OtlpSources
) -> Response:
    """200 after Kafka has the events."""
    headers = headers_of(request)
    key = await writer(headers, deps)
    options = parse_options(request, headers, key, deps)
    if options.format not in {None, "otel"}:
        raise BadParameter("format", f"{path.end} takes the format otel only.", ("otel",))
    media_type = media_type_of(headers)
    if media_type not in {*PROTOBUF, JSON}:
        raise InvalidBody(
            415, "unsupported-media-type", f"Send content-type {PROTOBUF[0]} or {JSON}."
        )
    tenant = options.context.tenant or DEFAULT_TENANT
    uncounted = await _uncounted(path, tenant, sources)
    with await deps.body_budget.body(request.receive, headers, share_of(key)) as body:
        reading = partial(_take, path, media_type, body, options, uncounted)
        try:
            validated, services = await deps.reader.read(
                len(body), share_of(key), request.receive, reading
            )
        except InvalidEvent as error:
            raise unreadable(error) from error
        finally:
            del body, reading  # a large body is not kept while Kafka answers
    if path.signal is LOGS:
        await sources.note_logs(tenant, services)
    await deps.send(validated, key, headers, options.context.received_ms, is_atomic=True)
    sources.note_skipped(tenant, validated.skipped)
    rejected, message = partial_success(validated.refused, validated.skipped, path.part)
    message = shown(message)
    if media_type == JSON:
        return Response(to_json(answer_json(path.signal, rejected, message)), media_type=JSON)
    return Response(answer_protobuf(path.signal, rejected, message), media_type=media_type)


async def _uncounted(path: OtlpPath, tenant: str, sources: OtlpSources) -> frozenset[str]:
    """The services whose usage this signal does not count, because another one does."""
    if path.signal is LOGS:
        return sources.by_metrics
    if path.signal is METRICS:
        return await sources.that_send_logs(tenant)
    return frozenset()


def _take(
    path: OtlpPath,
    media_type: str,
    body: bytes,
    options: IngestOptions,
    uncounted: frozenset[str],
    poll: Poll,
) -> tuple[ValidatedRecords, frozenset[str]]:
    """The records, and the services that they are of."""
    content = (load if media_type == JSON else path.load)(body, poll)
    if isinstance(content, list):
        raise InvalidEvent(Reason.NOT_JSON, f"the body is not a request for {path.end}: an array")
    if isinstance(content, dict) and content and path.signal.resources not in content:
        raise InvalidEvent(
            Reason.NOT_JSON,
            f"the body is not a request for {path.end}: it has no {path.signal.resources}",
        )
    parsed = parse(content, "otel", options.context, poll)
    if uncounted:
        parsed = _without(parsed, uncounted, NOT_BY_LOGS if path.signal is LOGS else NOT_BY_METRICS)
    services = frozenset(event.usage.source for event in parsed.events)
    return validate(parsed, options.context.received_ms), services


def _without(parsed: Parsed, services: frozenset[str], reason: str) -> Parsed:
    left = [event for event in parsed.events if event.usage.source in services]
    skipped = [SkippedObject(event.index, "otel", reason, has_usage=True) for event in left]
    counted = tuple(event for event in parsed.events if event.usage.source not in services)
    return replace(parsed, events=counted, skipped=(*parsed.skipped, *skipped))


def error_response(request: Request, error: Exception) -> Response:
    """Any error as google.rpc.Status, in the encoding of the request."""
    said = problems.error_response(request, error)
    detail = str(msgspec.json.decode(bytes(said.body))["detail"])
    code = CODES.get(said.status_code, 13)
    headers = {
        name: value
        for name, value in said.headers.items()
        if name not in {"content-type", "content-length"}
    }
    media_type = request.headers.get("content-type", "").lower().partition(";")[0].strip()
    if media_type in PROTOBUF:
        return Response(_status(code, detail), said.status_code, headers, media_type=media_type)
    body = to_json({"code": code, "message": detail})
    return Response(body, said.status_code, headers, media_type=JSON)


def _status(code: int, message: str) -> bytes:
    """google.rpc.Status: field 1 the code, field 2 the message."""
    text = message.encode()
    return b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
