"""`POST /api/public/ingestion`: Langfuse's ingestion, for its SDKs before version 3.

Generations and embeddings with usage are counted; all other items are accepted and not counted. As its
own server does, it answers 207 with the status of each item. The SDKs send the key as the password of
Basic authentication.
Source: schemas/contracts/producers.md, "Frameworks and agents".
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import share_of
from api.errors import BadParameter, InvalidBody
from api.http.json_encoding import to_json
from api.ingest.endpoints import (
    IngestDeps,
    IngestOptions,
    headers_of,
    parse_options,
    unreadable,
    writer,
)
from api.ingest.records import ValidatedRecords, shown, validate
from schemas.errors import InvalidEvent
from schemas.formats.body import check_items, load
from schemas.formats.parse import parse
from schemas.formats.structure import Poll

PATH: Final = "/api/public/ingestion"
FORMAT: Final = "langfuse"


class _Taken(NamedTuple):
    """`ids`: of the items, in order; "" for an item without one."""

    validated: ValidatedRecords
    ids: list[str]


def routes(deps: IngestDeps | None) -> list[Route]:
    """Without `deps` the path is not found."""
    if deps is None:
        return []
    return [Route(PATH, partial(ingestion, deps=deps), methods=["POST"])]


async def ingestion(request: Request, deps: IngestDeps) -> Response:
    """207 after Kafka has the events."""
    headers = headers_of(request)
    key = await writer(headers, deps)
    options = parse_options(request, headers, key, deps)
    if options.format not in {None, FORMAT}:
        raise BadParameter("format", f"{PATH} takes the format {FORMAT} only.", (FORMAT,))
    with await deps.body_budget.body(request.receive, headers, share_of(key)) as body:
        reading = partial(_take, body, options)
        try:
            taken = await deps.reader.read(len(body), share_of(key), request.receive, reading)
        except InvalidEvent as error:
            raise unreadable(error) from error
        finally:
            del body, reading  # a large body is not kept while Kafka answers
    await deps.send(taken.validated, key, headers, options.context.received_ms, is_atomic=True)
    return Response(to_json(_answer(taken)), 207, media_type="application/json")


def _take(body: bytes, options: IngestOptions, poll: Poll) -> _Taken:
    content = load(body, poll)
    batch = content.get("batch") if isinstance(content, dict) else None
    if not isinstance(batch, list):
        raise InvalidBody(400, "invalid-body", "The body must be an object with an array `batch`.")
    check_items(len(batch))
    parsed = parse(content, FORMAT, options.context, poll)
    return _Taken(validate(parsed, options.context.received_ms), [_id(item) for item in batch])


def _id(item: object) -> str:
    found = item.get("id") if isinstance(item, dict) else None
    return shown(found) if isinstance(found, str) else ""


def _answer(taken: _Taken) -> dict[str, list[dict[str, Any]]]:
    refused = {one.index: one.error for one in taken.validated.refused}
    errors = [
        {"id": taken.ids[index], "status": 400, "message": shown(str(error)), "error": error.reason}
        for index, error in refused.items()
    ]
    good = [name for index, name in enumerate(taken.ids) if index not in refused]
    return {"successes": [{"id": name, "status": 201} for name in good], "errors": errors}
