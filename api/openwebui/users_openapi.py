"""The OpenAPI entries of users and groups (Open WebUI's), of the latest calls and agents. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from api.agentlens.events import AGENTS_MS, LIMIT_DEFAULT, LIMIT_MAX
from api.openwebui.users import PAGE_USERS
from schemas.limits import DAY_MS
from schemas.responses.agentlens import (
    Agent,
    AgentLensEvent,
    AgentLensEvents,
    AgentLensProblem,
    Agents,
)
from schemas.responses.openwebui import OpenWebUiProblem
from schemas.responses.openwebui_users import (
    AddUserForm,
    GroupExport,
    GroupForm,
    GroupInfo,
    GroupShown,
    GroupUpdateForm,
    UserAdded,
    UserCard,
    UserIdsForm,
    UserInfo,
    UserInfoList,
    UserList,
    UserNameList,
    UserShown,
    UserUpdateForm,
)
from schemas.store.recent_calls import RECENT_MAX

Object = dict[str, Any]
Refs = Mapping[type[BaseModel], Object]


class Endpoint(NamedTuple):
    """`parameters`: of the query, each with what it means. No `answer`: the body is true."""

    method: str
    path: str
    operation: str
    summary: str
    answer: type[BaseModel] | None
    form: type[BaseModel] | None = None
    parameters: Mapping[str, str] = {}
    is_list: bool = False


_GROUP: Final = "/api/v1/groups/id/{id}"
_EVENT_PARAMETERS: Final = {
    "eventType": "Types, separated by commas; only llm_response is kept.",
    "severity": "`info`, or `error` where a call failed; several separated by commas.",
    "agentId": "Only this agent.",
    "sessionId": "Only this chat, or call where there is no chat.",
    "search": "Only where the payload holds this text, whatever the case.",
    "from": "ISO 8601, inclusive.",
    "to": "ISO 8601, inclusive.",
    "limit": f"How many; {LIMIT_DEFAULT} where none is given, at most {LIMIT_MAX}.",
    "offset": "How many of the first to leave out.",
    "order": "`desc`, the default, or `asc`.",
}
_USER_PARAMETERS: Final = {
    "query": "Only those whose name or address holds this text, whatever the case.",
    "order_by": "`name`, `email`, `created_at`, `last_active_at` or `updated_at`.",
    "direction": "`desc` or `asc`.",
    "page": f"{PAGE_USERS} users each, from 1.",
}
AGENTLENS: Final = (
    Endpoint("get", "/api/events", "getEvents", f"The latest {RECENT_MAX} calls", AgentLensEvents,
             parameters=_EVENT_PARAMETERS),
    Endpoint("get", "/api/events/{id}", "getEvent", "One of the latest calls", AgentLensEvent),
    Endpoint("get", "/api/agents", "getAgents", f"Agents of {AGENTS_MS // DAY_MS} days", Agents),
    Endpoint("get", "/api/agents/{id}", "getAgent", "One agent", Agent),
)  # fmt: skip
OPENWEBUI: Final = (
    Endpoint("get", "/api/v1/groups/", "getGroups", "All groups", GroupShown, is_list=True),
    Endpoint("post", "/api/v1/groups/create", "createGroup", "A new group", GroupShown, GroupForm),
    Endpoint("get", _GROUP, "getGroup", "One group", GroupShown),
    Endpoint("get", f"{_GROUP}/info", "getGroupInfo", "One group, in short", GroupInfo),
    Endpoint("get", f"{_GROUP}/export", "exportGroup", "A group and its members", GroupExport),
    Endpoint("post", f"{_GROUP}/update", "updateGroup", "Another name", GroupShown,
             GroupUpdateForm),
    Endpoint("post", f"{_GROUP}/users", "getGroupUsers", "A group's members", UserInfo,
             is_list=True),
    Endpoint("post", f"{_GROUP}/users/add", "addMembers", "More members", GroupShown, UserIdsForm),
    Endpoint("post", f"{_GROUP}/users/remove", "removeMembers", "Fewer members", GroupShown,
             UserIdsForm),
    Endpoint("delete", f"{_GROUP}/delete", "deleteGroup", "The end of a group", None),
    Endpoint("get", "/api/v1/users/", "getUsers", "A page of users", UserList,
             parameters=_USER_PARAMETERS),
    Endpoint("get", "/api/v1/users/all", "getAllUsers", "All users, in short", UserInfoList),
    Endpoint("get", "/api/v1/users/search", "searchUsers", "The first users that match",
             UserNameList, parameters={"query": _USER_PARAMETERS["query"]}),
    Endpoint("get", "/api/v1/users/{id}", "getUser", "One user", UserCard),
    Endpoint("post", "/api/v1/users/{id}/update", "updateUser", "A user's name and address",
             UserShown, UserUpdateForm),
    Endpoint("delete", "/api/v1/users/{id}", "deleteUser",
             "A user without name and address, whatever events carry", None),
    Endpoint("post", "/api/v1/auths/add", "addUser", "A user by hand", UserAdded, AddUserForm),
)  # fmt: skip
MODELS: Final[tuple[type[BaseModel], ...]] = tuple(
    dict.fromkeys(one.answer for one in (*AGENTLENS, *OPENWEBUI) if one.answer is not None)
)
FORMS: Final[tuple[type[BaseModel], ...]] = tuple(
    dict.fromkeys(one.form for one in OPENWEBUI if one.form is not None)
)


def paths(ref: Refs, forms: Refs) -> Object:
    """By path and method. `ref`, `forms`: the schema of each of MODELS (and of the two problems of
    the dialects), and of FORMS."""
    found: Object = {}
    for endpoints, problem, described in (
        (AGENTLENS, AgentLensProblem, "as AgentLens answers"),
        (OPENWEBUI, OpenWebUiProblem, "as Open WebUI answers; for admins"),
    ):
        for one in endpoints:
            entry = _entry(one, f"{one.summary}, {described}", ref, forms, ref[problem])
            found.setdefault(one.path, {})[one.method] = entry
    return found


def _entry(one: Endpoint, summary: str, ref: Refs, forms: Refs, problem: Object) -> Object:
    answer: Object = {"type": "boolean"} if one.answer is None else ref[one.answer]
    if one.is_list:
        answer = {"type": "array", "items": answer}
    statuses = ("400", "401", "403", "404", "422", "429", "503")
    entry: Object = {
        "operationId": one.operation,
        "summary": summary,
        "parameters": _parameters(one),
        "responses": {
            "200": _of(f"{one.summary}.", answer),
            **{status: _of("An error, in the dialect's shape.", problem) for status in statuses},
        },
    }
    if one.form is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": forms[one.form]}},
        }
    return entry


def _parameters(one: Endpoint) -> list[Object]:
    text = {"type": "string"}
    of_path = [{"name": "id", "in": "path", "required": True, "schema": text}]
    of_query = [
        {"name": name, "in": "query", "description": about, "schema": text}
        for name, about in one.parameters.items()
    ]
    return [*(of_path if "{id}" in one.path else []), *of_query]


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
