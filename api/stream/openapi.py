"""OpenAPI of /v1/stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from api.stream.endpoints import QUESTIONS_MAX
from api.usage.openapi import problems, question_parameters
from schemas.catalog.views import Catalog
from schemas.responses.usage import Problem

Object = dict[str, Any]

EXAMPLE: Final = """retry: 2000
id: 5f1c9b2e7a40.1
event: snapshot
data: {"answers":[{"question":0,"range":{"from":"2026-02-07T12:03:00Z","to":"2026-02-08T12:03:00Z"},"granularity":"none","group_by":["model"],"measures":{"requests":"events"},"rows":[{"model":"gpt-4o","requests":7}],"totals":{"requests":7}}],"now":"2026-02-08T12:02:03.456Z","complete_through":"2026-02-08T12:02:02.456Z","refused":[],"unavailable":null}

event: state
data: {"now":"2026-02-08T12:02:04.456Z","complete_through":"2026-02-08T12:02:03.456Z","history_from":null,"refused":[],"generation":1,"unavailable":null}

"""


def paths(ref: Mapping[type[BaseModel], Object], catalog: Catalog) -> Object:
    question = {
        "name": "question",
        "in": "query",
        "description": "The query string of a question of /v1/usage, percent-encoded. Repeat it for several"
        f" questions, {QUESTIONS_MAX} at most. Beside it only `tenant` is allowed, for all of them.",
        "schema": {"type": "array", "items": {"type": "string"}, "maxItems": QUESTIONS_MAX},
        "style": "form",
        "explode": True,
    }
    last = {
        "name": "last-event-id",
        "in": "header",
        "description": "The id of the last event that the client has. It then gets only what changed since.",
        "schema": {"type": "string"},
    }
    stream = {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}}
    return {
        "/v1/stream": {
            "get": {
                "operationId": "streamUsage",
                "x-endless": True,
                "summary": "Answers of /v1/usage that are pushed when they change",
                "description": _ABOUT,
                "parameters": [*question_parameters(catalog), question, last],
                "responses": {
                    "200": {
                        "description": "Server-sent events, without end.",
                        "content": stream,
                    },
                    **problems(ref[Problem]),
                },
            }
        }
    }


_ABOUT: Final = (
    "The event `snapshot` has all answers, `rows` the rows that changed, with absolute values, and"
    " `removed` the labels of rows that are gone. All answers of an event are of one atomic read. `state`"
    " comes every second and says how fresh they are. `end` says why the server ends the stream."
)
