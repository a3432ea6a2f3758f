"""AgentLens's `POST /api/events`, for its producers: all events of a request are accepted, or none.

Only `llm_response` is a call and goes to Kafka. Events of every other type are checked and answered as
its server does. Id and hash are made of the event, so the same event gets the same ones again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.auth.authenticate import share_of
from api.errors import InvalidBody, RefusedEvents
from api.http.json_encoding import to_json
from api.ingest.endpoints import IngestDeps, context_of, headers_of, writer
from api.ingest.records import LISTED_MAX, ValidatedRecords, more, shown, validate
from schemas.errors import InvalidEvent, Reason
from schemas.event.event_struct import parse_instant
from schemas.formats.body import Json, load
from schemas.formats.context import Context
from schemas.formats.frameworks.agentlens import problems, without_messages
from schemas.formats.parse import parse
from schemas.formats.structure import Poll

EVENTS_MAX: Final = 1000
PROBLEMS_MAX: Final = 10_000
"""Of a request, found and counted. A call may have any number of wrong messages."""
EMPTY: Final = "must not be empty, unless the llm_response of the call is in the same request"
ID_CHARS: Final = 26
"""Length of its server's ids: 104 bits of the hash."""
REQUIRED: Final = ("sessionId", "agentId", "eventType")
SEVERITIES: Final = ("debug", "info", "warn", "error", "critical")
OBJECTS: Final = ("payload", "metadata")
PATHS: Final = {
    "id": "payload.callId",
    "time": "timestamp",
    "agent_id": "agentId",
    "chat_id": "sessionId",
    "provider": "payload.provider",
    "model": "payload.model",
    "cost_usd": "payload.costUsd",
    "latency_ms": "payload.latencyMs",
}
"""Field of our event -> path of its value in AgentLens's event."""


@dataclass(frozen=True)
class _Taken:
    validated: ValidatedRecords
    answers: list[dict[str, str]]


async def post_events(request: Request, deps: IngestDeps) -> Response:
    """`POST /api/events`: 201 after Kafka has the calls."""
    headers = headers_of(request)
    key = await writer(headers, deps)
    context = context_of(key, headers, {}, deps)
    with await deps.body_budget.body(request.receive, headers, share_of(key)) as body:
        reading = partial(_take, body, context)
        taken = await deps.reader.read(len(body), share_of(key), request.receive, reading)
        del body, reading  # a large body is not kept while Kafka answers
    await deps.send(taken.validated, key, headers, context.received_ms, is_atomic=True)
    answer = {"ingested": len(taken.answers), "events": taken.answers}
    return Response(to_json(answer), 201, media_type="application/json")


def _take(body: bytes, context: Context, poll: Poll) -> _Taken:
    try:
        content = load(body, poll)
    except InvalidEvent as error:
        if error.reason is Reason.TOO_LARGE:
            raise InvalidBody(413, "too-large", "Request body too large") from error
        raise _invalid([_problem("", error.detail)]) from error
    sent = content.get("events") if isinstance(content, dict) else None
    if not isinstance(sent, list) or not 1 <= len(sent) <= EVENTS_MAX:
        raise _invalid([_problem("events", f"must be an array of 1 to {EVENTS_MAX} events")])
    found = (problem for index, event in enumerate(sent) for problem in _check(event, index))
    unsaid = (_problem(_path(index, "payload.messages"), EMPTY) for index in without_messages(sent))
    wrong = [*islice(chain(found, unsaid), PROBLEMS_MAX)]
    if wrong:
        raise _invalid(wrong)
    validated = validate(parse({"events": sent}, "agentlens", context, poll), context.received_ms)
    if validated.refused:
        raise _invalid(
            [
                _problem(_path(one.index, one.error.field), one.error.detail)
                for one in validated.refused
            ]
        )
    return _Taken(validated, [_answer(event) for event in sent])


def _check(event: Any, index: int) -> Iterator[Mapping[str, str]]:  # noqa: ANN401  any JSON
    """The checks that its server makes on events."""
    if not isinstance(event, dict):
        yield _problem(_path(index, ""), "must be an object")
        return
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            yield _problem(_path(index, name), "must be a text that is not empty")
    if event.get("severity", "info") not in SEVERITIES:
        yield _problem(_path(index, "severity"), f"must be one of {', '.join(SEVERITIES)}")
    for name in OBJECTS:
        if not isinstance(event.get(name, {}), dict):
            yield _problem(_path(index, name), "must be an object")
    for path, message in problems(event):
        yield _problem(_path(index, path), message)
    if event.get("timestamp") is not None:
        try:
            parse_instant(event["timestamp"])
        except ValueError as error:
            yield _problem(_path(index, "timestamp"), str(error))


def _path(index: int, field: str) -> str:
    return f"events.{index}.{PATHS.get(field, field)}".rstrip(".")


def _problem(path: str, message: str) -> dict[str, str]:
    return {"path": shown(path), "message": shown(message)}


def _invalid(details: Sequence[Mapping[str, str]]) -> RefusedEvents:
    return RefusedEvents(details[:LISTED_MAX], is_atomic=True, more=more(details))


def _answer(event: Json) -> dict[str, str]:
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"id": digest[:ID_CHARS], "hash": digest}
