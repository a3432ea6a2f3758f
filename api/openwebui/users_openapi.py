"""OpenAPI of Open WebUI's users and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from api.openwebui.users import PAGE_USERS
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

Object = dict[str, Any]
Refs = Mapping[type[BaseModel], Object]


class UsersEndpoint(NamedTuple):
    """`parameters`: of the query, each with its meaning. Without `answer` the body is `true`."""

    method: str
    path: str
    operation: str
    summary: str
    answer: type[BaseModel] | None
    form: type[BaseModel] | None = None
    parameters: Mapping[str, str] = {}
    is_list: bool = False


_GROUP: Final = "/api/v1/groups/id/{id}"
_USER_PARAMETERS: Final = {
    "query": "Only users whose name or address contains this text. Case does not matter.",
    "order_by": "`name`, `email`, `created_at`, `last_active_at` or `updated_at`.",
    "direction": "`desc` or `asc`.",
    "page": f"Page number from 1; a page has {PAGE_USERS} users.",
}
ENDPOINTS: Final = (
    UsersEndpoint("get", "/api/v1/groups/", "getGroups", "All groups", GroupShown, is_list=True),
    UsersEndpoint("post", "/api/v1/groups/create", "createGroup", "Create a group", GroupShown, GroupForm),
    UsersEndpoint("get", _GROUP, "getGroup", "One group", GroupShown),
    UsersEndpoint("get", f"{_GROUP}/info", "getGroupInfo", "One group without its permissions", GroupInfo),
    UsersEndpoint("get", f"{_GROUP}/export", "exportGroup", "A group and its members", GroupExport),
    UsersEndpoint("post", f"{_GROUP}/update", "updateGroup", "Rename a group", GroupShown,
             GroupUpdateForm),
    UsersEndpoint("post", f"{_GROUP}/users", "getGroupUsers", "A group's members", UserInfo,
             is_list=True),
    UsersEndpoint("post", f"{_GROUP}/users/add", "addMembers", "Add members", GroupShown, UserIdsForm),
    UsersEndpoint("post", f"{_GROUP}/users/remove", "removeMembers", "Remove members", GroupShown,
             UserIdsForm),
    UsersEndpoint("delete", f"{_GROUP}/delete", "deleteGroup", "Delete a group", None),
    UsersEndpoint("get", "/api/v1/users/", "getUsers", "A page of users", UserList,
             parameters=_USER_PARAMETERS),
    UsersEndpoint("get", "/api/v1/users/all", "getAllUsers", "All users: ids, names and addresses", UserInfoList),
    UsersEndpoint("get", "/api/v1/users/search", "searchUsers", "The first users that match a text",
             UserNameList, parameters={"query": _USER_PARAMETERS["query"]}),
    UsersEndpoint("get", "/api/v1/users/{id}", "getUser", "One user", UserCard),
    UsersEndpoint("post", "/api/v1/users/{id}/update", "updateUser", "Set a user's name and address",
             UserShown, UserUpdateForm),
    UsersEndpoint("delete", "/api/v1/users/{id}", "deleteUser",
             "Delete a user's name and address; its counters remain", None),
    UsersEndpoint("post", "/api/v1/auths/add", "addUser", "Add a user", UserAdded, AddUserForm),
)  # fmt: skip
MODELS: Final[tuple[type[BaseModel], ...]] = tuple(
    dict.fromkeys(one.answer for one in ENDPOINTS if one.answer is not None)
)
FORMS: Final[tuple[type[BaseModel], ...]] = tuple(
    dict.fromkeys(one.form for one in ENDPOINTS if one.form is not None)
)


def paths(ref: Refs, forms: Refs) -> Object:
    """`ref`, `forms`: the schema of each of MODELS (and of OpenWebUiProblem), and of FORMS."""
    found: Object = {}
    for one in ENDPOINTS:
        entry = _entry(one, ref, forms)
        found.setdefault(one.path, {})[one.method] = entry
    return found


def _entry(one: UsersEndpoint, ref: Refs, forms: Refs) -> Object:
    answer: Object = {"type": "boolean"} if one.answer is None else ref[one.answer]
    if one.is_list:
        answer = {"type": "array", "items": answer}
    of_body = ("413", "415") if one.form is not None else ()
    statuses = ("400", "401", "403", "404", *of_body, "422", "429", "503")
    entry: Object = {
        "operationId": one.operation,
        "summary": f"{one.summary}, as Open WebUI answers; needs an admin's key",
        "parameters": _parameters(one),
        "responses": {
            "200": _of(f"{one.summary}.", answer),
            **{
                status: _of("An error, as Open WebUI reports it.", ref[OpenWebUiProblem])
                for status in statuses
            },
        },
    }
    if one.form is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": forms[one.form]}},
        }
    return entry


def _parameters(one: UsersEndpoint) -> list[Object]:
    text = {"type": "string"}
    of_path = [{"name": "id", "in": "path", "required": True, "schema": text}]
    of_query = [
        {"name": name, "in": "query", "description": about, "schema": text}
        for name, about in one.parameters.items()
    ]
    return [*(of_path if "{id}" in one.path else []), *of_query]


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
