"""`POST /v1/traces`: OTLP over HTTP, in protobuf and in JSON, with OTLP's answers and errors.

Spans of calls to models are counted; other spans are accepted but not counted. Invalid spans make
the answer a partial success, so the exporter does not send the valid ones again.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
from api.ingest.records import ValidatedRecords, shown, validate
from api.ingest.request_body import share_of
from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import Poll, load
from schemas.formats.otel.protobuf import answer_protobuf, load_protobuf
from schemas.formats.otel.spans import answer_json
from schemas.formats.parse import parse

PROTOBUF: Final = ("application/x-protobuf", "application/protobuf")
JSON: Final = "application/json"
CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 429: 8, 503: 14}
"""HTTP status -> code of google.rpc.Status; any other status is INTERNAL (13)."""


def otlp(deps: IngestDeps | None) -> Starlette:
    """`/v1/traces` as an application; without `deps` the path is not found."""
    if deps is None:
        return application([], error_response)
    route = Route("/v1/traces", partial(traces, deps=deps), methods=["POST"])
    return application([route], error_response)


async def traces(request: Request, deps: IngestDeps) -> Response:
    """`POST /v1/traces`: 200 after Kafka has the events."""
    headers = headers_of(request)
    key = await writer(headers, deps)
    options = parse_options(request, headers, key, deps)
    if options.format not in {None, "otel"}:
        raise BadParameter("format", "/v1/traces takes the format otel only.", ("otel",))
    media_type = media_type_of(headers)
    if media_type not in {*PROTOBUF, JSON}:
        raise InvalidBody(
            415, "unsupported-media-type", f"Send content-type {PROTOBUF[0]} or {JSON}."
        )
    with await deps.body_budget.body(request.receive, headers, share_of(key)) as body:
        reading = partial(_take, media_type, body, options)
        try:
            validated = await deps.reader.read(len(body), request.receive, reading)
        except InvalidEvent as error:
            raise unreadable(error) from error
        finally:
            del body, reading  # a large body is not kept while Kafka answers
    await deps.send(validated, headers, options.context.received_ms)
    rejected, message = _partial_success(validated)
    if media_type == JSON:
        return Response(to_json(answer_json(rejected, message)), media_type=JSON)
    return Response(answer_protobuf(rejected, message), media_type=media_type)


def _take(media_type: str, body: bytes, options: IngestOptions, poll: Poll) -> ValidatedRecords:
    content = (load if media_type == JSON else load_protobuf)(body, poll)
    if isinstance(content, list):
        raise InvalidEvent(
            Reason.NOT_JSON, "the body is not an ExportTraceServiceRequest: an array"
        )
    return validate(parse(content, "otel", options.context, poll), options.context.received_ms)


def _partial_success(validated: ValidatedRecords) -> tuple[int, str]:
    if not validated.refused:
        return 0, ""
    first = validated.refused[0]
    return len(validated.refused), shown(f"span {first.index}: {first.error}")


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
