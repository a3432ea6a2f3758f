"""OpenAPI of Open WebUI's analytics, built from the models of parameters and bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from api.openwebui.parameters import (
    STEPS,
    ChatsParameters,
    DailyParameters,
    GroupParameters,
    MessagesParameters,
    OverviewParameters,
    UsersParameters,
)
from schemas.responses.openwebui import (
    Daily,
    Message,
    ModelChats,
    ModelOverview,
    Models,
    OpenWebUiProblem,
    Summary,
    Tokens,
    Users,
)

Object = dict[str, Any]

ROOT: Final = "/api/v1/analytics"


class OpenWebUiEndpoint(NamedTuple):
    path: str
    operation: str
    summary: str
    parameters: type[BaseModel]
    body: type[BaseModel]
    is_list: bool = False


ENDPOINTS: Final = (
    OpenWebUiEndpoint(
        "/summary", "getSummary", "Messages, chats, models, users", GroupParameters, Summary
    ),
    OpenWebUiEndpoint("/models", "getModelAnalytics", "Messages by model", GroupParameters, Models),
    OpenWebUiEndpoint(
        "/users", "getUserAnalytics", "Messages and tokens by user", UsersParameters, Users
    ),
    OpenWebUiEndpoint("/tokens", "getTokenUsage", "Tokens by model", GroupParameters, Tokens),
    OpenWebUiEndpoint(
        "/daily", "getDailyStats", "Messages or tokens by model and time", DailyParameters, Daily
    ),
    OpenWebUiEndpoint(
        "/messages", "getMessages", "The latest requests", MessagesParameters, Message, is_list=True
    ),
    OpenWebUiEndpoint(
        "/models/{id}/chats", "getModelChats", "Chats of a model", ChatsParameters, ModelChats
    ),
    OpenWebUiEndpoint(
        "/models/{id}/overview",
        "getModelOverview",
        "Ratings and tags",
        OverviewParameters,
        ModelOverview,
    ),
)
MODELS: Final[tuple[type[BaseModel], ...]] = (*(one.body for one in ENDPOINTS), OpenWebUiProblem)

_ABOUT: Final = {
    "start_date": "Seconds since 1970. 0 or absent: from the oldest data.",
    "end_date": "Seconds since 1970. 0 or absent: up to the newest data.",
    "group_id": "Only users who are members of this group now. Empty: all users.",
    "limit": "Entries in the answer, at most.",
    "skip": "How many entries to skip.",
    "metric": "`messages` or `tokens`.",
    "granularity": f"{', '.join(STEPS)}.",
    "compare": "If true, `previous` has the range before: moved by its local days, or within a day by its"
    " length.",
    "tz": "IANA time zone of days and hours. Open WebUI itself has no such parameter.",
    "order_by": "`updated_at`, `title` or `user_name`.",
    "direction": "`desc` or `asc`.",
    "model_id": "Only this model.",
    "user_id": "Only this user.",
    "chat_id": "Only this chat. It is used before model_id, and model_id before user_id. Without any of them the list is empty.",
    "days": "Number of days before today. 0: since the first rating.",
}
_ERRORS: Final = {
    "400": "The range cannot be answered with these parameters.",
    "401": "The API key is missing, unknown, expired or revoked, or does not have the role admin.",
    "422": "Invalid parameters; `detail` lists each.",
    "429": "The rate limit of the key is exceeded; see retry-after.",
    "503": "The counters cannot be read at the moment; see retry-after.",
}


def paths(ref: Mapping[type[BaseModel], Object]) -> Object:
    """`ref`: the schema of each of MODELS."""
    errors = {status: _of(about, ref[OpenWebUiProblem]) for status, about in _ERRORS.items()}
    return {
        ROOT + one.path: {
            "get": {
                "operationId": one.operation,
                "summary": f"{one.summary}, as Open WebUI answers",
                "description": "Needs a key of an admin. Both bounds are rounded up to the bucket"
                " size that is kept at their age; a range without a whole bucket gets the buckets that"
                " cover it. Headers state the covered range.",
                "parameters": _parameters(one),
                "responses": {"200": _of(one.summary + ".", _schema(one, ref)), **errors},
            }
        }
        for one in ENDPOINTS
    }


def _parameters(one: OpenWebUiEndpoint) -> list[Object]:
    found: list[Object] = []
    if "{id}" in one.path:
        about = "The id of the model. Slashes need no escaping."
        of_path = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        found.append({**of_path, "description": about})
    for name, schema in one.parameters.model_json_schema()["properties"].items():
        found.append(
            {
                "name": name,
                "in": "query",
                "description": _ABOUT[name],
                "schema": {key: value for key, value in schema.items() if key != "title"},
            }
        )
    return found


def _schema(one: OpenWebUiEndpoint, ref: Mapping[type[BaseModel], Object]) -> Object:
    return {"type": "array", "items": ref[one.body]} if one.is_list else ref[one.body]


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
