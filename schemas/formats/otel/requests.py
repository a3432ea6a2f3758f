"""An OTLP request of any signal to what its parts become. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import InvalidEvent
from schemas.formats.body import Json, bare
from schemas.formats.draft import ReaderResult
from schemas.formats.otel.answers import read_spans
from schemas.formats.otel.encoding import (
    LOGS,
    METRICS,
    SIGNALS,
    TRACES,
    JsonPart,
    OtelLog,
    OtelLogs,
    OtelPoints,
    OtelSpans,
    json_parts,
    points_of_json,
)
from schemas.formats.otel.logs import read_log
from schemas.formats.otel.metrics import read_points
from schemas.formats.structure import Poll, never

Reading = list[ReaderResult] | InvalidEvent
"""What one span, log record or data point becomes; an InvalidEvent refuses it alone."""
OtelRequest = OtelSpans | OtelLogs | OtelPoints


def is_request(payload: Json) -> bool:
    """Whether an object is an OTLP request in JSON."""
    return any(signal.resources in payload for signal in SIGNALS)


def read_request(
    request: OtelRequest | Json, received_ms: int, poll: Poll = never
) -> list[Reading]:
    """What each part becomes, in order. InvalidEvent if the request as a whole is wrong."""
    if isinstance(request, OtelSpans):
        return read_spans(request.spans, poll)
    if isinstance(request, OtelLogs):
        return _read_logs(request.logs, received_ms, poll)
    if isinstance(request, OtelPoints):
        return read_points(request.points)
    found: list[Reading] = []
    if TRACES.resources in request or not is_request(request):
        found += read_spans(json_parts(request, TRACES), poll)
    if LOGS.resources in request:
        found += _read_logs(json_parts(request, LOGS), received_ms, poll)
    if METRICS.resources in request:
        found += read_points(points_of_json(request).points)
    return found


def _read_logs(logs: Sequence[OtelLog | JsonPart], received_ms: int, poll: Poll) -> list[Reading]:
    found: list[Reading] = []
    for log in logs:
        poll()
        try:
            found.append(read_log(log, received_ms))
        except InvalidEvent as error:
            found.append(bare(error))
    return found
