"""The OpenAPI entries of Open WebUI's analytics, out of the models of parameters and bodies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from api.openwebui.parameters import (
    STEPS,
    OfChats,
    OfDays,
    OfGroup,
    OfMessages,
    OfModel,
    OfUsers,
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


class Endpoint(NamedTuple):
    path: str
    operation: str
    summary: str
    parameters: type[BaseModel]
    body: type[BaseModel]
    is_list: bool = False


ENDPOINTS: Final = (
    Endpoint("/summary", "getSummary", "Messages, chats, models, users", OfGroup, Summary),
    Endpoint("/models", "getModelAnalytics", "Messages by model", OfGroup, Models),
    Endpoint("/users", "getUserAnalytics", "Messages and tokens by user", OfUsers, Users),
    Endpoint("/tokens", "getTokenUsage", "Tokens by model", OfGroup, Tokens),
    Endpoint("/daily", "getDailyStats", "Messages or tokens by model and time", OfDays, Daily),
    Endpoint("/messages", "getMessages", "The latest requests", OfMessages, Message, is_list=True),
    Endpoint("/models/{id}/chats", "getModelChats", "Chats of a model", OfChats, ModelChats),
    Endpoint(
        "/models/{id}/overview", "getModelOverview", "Ratings and tags", OfModel, ModelOverview
    ),
)
MODELS: Final[tuple[type[BaseModel], ...]] = (*(one.body for one in ENDPOINTS), OpenWebUiProblem)

_ABOUT: Final = {
    "start_date": "Seconds since 1970; 0 or absent: from the oldest that is kept.",
    "end_date": "Seconds since 1970; 0 or absent: up to the newest.",
    "group_id": "Only the users who are members of this group now. Empty: all.",
    "limit": "How many at most.",
    "skip": "How many of the first to leave out.",
    "metric": "`messages` or `tokens`.",
    "granularity": f"{', '.join(STEPS)}.",
    "compare": "With the window of equal length directly before, in `previous`.",
    "tz": "Ours: the IANA zone of days and hours.",
    "order_by": "`updated_at`, `title` or `user_name`.",
    "direction": "`desc` or `asc`.",
    "model_id": "Only this model.",
    "user_id": "Only this user.",
    "chat_id": "Only this chat; wins over model_id, that over user_id. None of them: no messages.",
    "days": "So many days before today; 0: since the first rating that is kept.",
}
_ERRORS: Final = {
    "400": "The range cannot be answered as it was asked.",
    "401": "No key, one that is not known, or one that is no admin's.",
    "422": "Parameters that are not what they may be, each with its place.",
    "429": "The key asks too often; see retry-after.",
    "503": "The counters cannot be read right now; never zeros instead.",
}


def paths(ref: Mapping[type[BaseModel], Object]) -> Object:
    """`ref`: the schema of each of MODELS."""
    errors = {status: _of(about, ref[OpenWebUiProblem]) for status, about in _ERRORS.items()}
    return {
        ROOT + one.path: {
            "get": {
                "operationId": one.operation,
                "summary": f"{one.summary}, as Open WebUI answers",
                "description": "Needs a key of an admin. Both bounds go up to the next boundary of"
                " the grid that is kept at their age; headers say what was covered.",
                "parameters": _parameters(one),
                "responses": {"200": _of(one.summary + ".", _schema(one, ref)), **errors},
            }
        }
        for one in ENDPOINTS
    }


def _parameters(one: Endpoint) -> list[Object]:
    found: list[Object] = []
    if "{id}" in one.path:
        about = "The model's id; slashes may stand for themselves."
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


def _schema(one: Endpoint, ref: Mapping[type[BaseModel], Object]) -> Object:
    return {"type": "array", "items": ref[one.body]} if one.is_list else ref[one.body]


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
