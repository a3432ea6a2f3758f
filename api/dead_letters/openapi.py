"""OpenAPI of `/v1/dead-letters`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from api.dead_letters.endpoints import LIMIT_DEFAULT, LIMIT_MAX
from schemas.errors import Reason
from schemas.responses.dead_letters import (
    ORIGIN_PATTERN,
    DeadLetterDetail,
    DeadLettersAnswer,
    ReplayAnswer,
    ReplayAuditAnswer,
    ReplayWish,
)

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (
    DeadLettersAnswer,
    DeadLetterDetail,
    ReplayAnswer,
    ReplayAuditAnswer,
)
_ORIGIN: Final = "usage.events:0:4711"


def paths(ref: Mapping[type[BaseModel], Object], errors: Object) -> Object:
    """The paths; `errors`: the responses that each of them can have."""

    def answer(about: str, model: type[BaseModel]) -> Object:
        return {"description": about, "content": {"application/json": {"schema": ref[model]}}}

    def like(about: str) -> Object:
        return {"description": about, "content": errors["401"]["content"]}

    def parameter(name: str, about: str, **schema: Any) -> Object:  # noqa: ANN401
        return {"name": name, "in": "query", "description": about, "schema": schema}

    errors = errors | {"403": like("The role of the key is too low, or it has no such tenant.")}
    missing = {"404": like("There is no such dead letter among those that you may see.")}
    _, forms = msgspec.json.schema_components([ReplayWish])
    example = {"origins": [_ORIGIN], "set": {"model": "gpt-4o"}, "dry_run": True}
    return {
        "/v1/dead-letters": {
            "get": {
                "operationId": "listDeadLetters",
                "summary": "Records of your tenants that could not be counted, newest first",
                "parameters": [
                    parameter("reason", "Only this reason.", type="string", enum=[*Reason]),
                    parameter("field", "Only those about this field.", type="string"),
                    parameter("tenant", "Only this tenant.", type="string"),
                    parameter("since", "Appended at or after this time.", type="string"),
                    parameter("until", "Appended before this time.", type="string"),
                    parameter(
                        "limit",
                        "How many are listed.",
                        type="integer",
                        minimum=1,
                        maximum=LIMIT_MAX,
                        default=LIMIT_DEFAULT,
                    ),
                ],
                "responses": {"200": answer("The dead letters.", DeadLettersAnswer), **errors},
            }
        },
        "/v1/dead-letters/{origin}": {
            "get": {
                "operationId": "getDeadLetter",
                "summary": "One dead letter with its record, and what a replay would do",
                "parameters": [
                    {
                        "name": "origin",
                        "in": "path",
                        "required": True,
                        "description": "TOPIC:PARTITION:OFFSET, as `GET /v1/dead-letters` lists it.",
                        "schema": {"type": "string", "pattern": ORIGIN_PATTERN},
                        "example": _ORIGIN,
                    }
                ],
                "responses": {
                    "200": answer("The dead letter.", DeadLetterDetail),
                    **errors,
                    **missing,
                },
            }
        },
        "/v1/dead-letters/replay": {
            "post": {
                "operationId": "replayDeadLetters",
                "summary": "Send dead letters again, after a correction if you like. Each counts once",
                "description": "An event keeps its id; one without an id gets its origin as id. What would"
                " be rejected again is not sent. Each replay is in the audit.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": forms["ReplayWish"],
                            "examples": {"one": {"value": example}},
                        }
                    },
                },
                "responses": {
                    "200": answer("What was done with each.", ReplayAnswer),
                    **errors,
                    **missing,
                    "413": like("The body is too large."),
                    "415": like("The body is not JSON in UTF-8, or it is compressed."),
                },
            }
        },
        "/v1/dead-letters/audit": {
            "get": {
                "operationId": "auditReplays",
                "summary": "The latest replays of your tenants' dead letters",
                "responses": {"200": answer("Who replayed what.", ReplayAuditAnswer), **errors},
            }
        },
    }
