"""Open WebUI's users and groups: `/api/v1/groups`, `/api/v1/users` and `/api/v1/auths/add`, for admins.

Its clients read and write our directory with its own paths. A user is anyone whom events or an admin
named; its id is the user key of events. What an admin writes is used before what events carry: a
deleted user has no name or address any more, and keeps its counters. Fields that its server has and we
do not store (passwords, roles, pictures) are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import authenticate, check_role, tenant_of
from api.auth.key_cache import KeyCache
from api.errors import InvalidBody
from api.http.json_body import received
from api.http.json_encoding import to_json
from api.openwebui.errors import NOT_FOUND, PRIVATE, Refused
from api.store import directory
from api.store.reader import Store
from schemas.errors import InvalidEvent, Reason
from schemas.formats.structure import check_structure
from schemas.responses.openwebui_users import (
    CHANGED_MAX,
    AddUserForm,
    GroupExport,
    GroupForm,
    GroupInfo,
    GroupUpdateForm,
    UserAdded,
    UserCard,
    UserIdsForm,
    UserInfo,
    UserInfoList,
    UserList,
    UserName,
    UserNameList,
    UserUpdateForm,
    group_shown,
    name_of,
    user_info,
    user_shown,
)
from schemas.store.directory import (
    KEY_CHARS_MAX,
    ON_PURPOSE,
    GroupUpdate,
    Person,
    group_text,
)

Clock = Callable[[], int]
Endpoint = Callable[[Request, Store, str, int], Awaitable[Response]]
Form = TypeVar("Form", bound=BaseModel)

PAGE_USERS: Final = 30
"""As at its server."""
_INTEGER: Final = re.compile(r"[+-]?\d{1,9}", re.ASCII)
"""A page number: no list has that many pages."""
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
"""A thousand user keys (`CHANGED_MAX`) of 320 characters, escaped: 1.9 MB."""
COMMAS_MAX: Final = 2 * CHANGED_MAX
"""Commas of a body outside its texts. Up to here, too many user keys are named as such."""
SHOWN_BYTES_MAX: Final = 16 * 1024
"""A larger body is not repeated in the answer that says what is wrong with it."""
DONE: Final = True
"""The whole body of an answer to a deletion."""


def routes(
    store: Store, key_cache: KeyCache, clock: Clock, new_id: Callable[[], str]
) -> list[Route]:
    """The paths of users and groups."""

    def to(method: str, path: str, endpoint: Endpoint) -> Route:
        handler = partial(
            _allowed, endpoint=endpoint, store=store, key_cache=key_cache, clock=clock
        )
        return Route(path, handler, methods=[method])

    group = "/api/v1/groups/id/{id:path}"
    return [
        to("GET", "/api/v1/groups/", groups),
        to("GET", "/api/v1/groups", groups),
        to("POST", "/api/v1/groups/create", partial(create_group, new_id=new_id)),
        to("GET", f"{group}/info", group_info),
        to("GET", f"{group}/export", export_group),
        to("POST", f"{group}/users/add", add_members),
        to("POST", f"{group}/users/remove", remove_members),
        to("POST", f"{group}/users", group_users),
        to("POST", f"{group}/update", update_group),
        to("DELETE", f"{group}/delete", delete_group),
        to("GET", group, one_group),
        to("GET", "/api/v1/users/", users),
        to("GET", "/api/v1/users", users),
        to("GET", "/api/v1/users/all", all_users),
        to("GET", "/api/v1/users/search", search_users),
        to("POST", "/api/v1/users/{id:path}/update", update_user),
        to("DELETE", "/api/v1/users/{id:path}", delete_user),
        to("GET", "/api/v1/users/{id:path}", one_user),
        to("POST", "/api/v1/auths/add", add_user),
    ]


async def _allowed(
    request: Request, endpoint: Endpoint, store: Store, key_cache: KeyCache, clock: Clock
) -> Response:
    """Check the key before the request, as its server does."""
    now_ms = clock()
    key = await authenticate(key_cache, request.headers, now_ms)
    check_role(key, "admin")
    tenant = tenant_of(key, request.headers)
    return await endpoint(request, store, tenant, now_ms)


# -- groups ----------------------------------------------------------------------------------------


async def groups(_request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    """`GET /groups/`: all groups, by name."""
    found = await directory.groups(store, tenant)
    return _sent([group_shown(one, count) for one, count in found])


async def one_group(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    return await _group(store, tenant, request.path_params["id"])


async def group_info(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    one, count = await directory.group(store, tenant, request.path_params["id"])
    shown = group_shown(one, count)
    return _sent(GroupInfo(**{name: getattr(shown, name) for name in GroupInfo.model_fields}))


async def export_group(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    one, count = await directory.group(store, tenant, request.path_params["id"])
    members = await directory.members(store, tenant, one.id)
    shown = group_shown(one, count)
    return _sent(GroupExport(**shown.model_dump(), user_ids=sorted(members)))


async def group_users(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    """`POST /groups/id/{id}/users`: its members; a user who is not in the directory is shown by its key."""
    one, _ = await directory.group(store, tenant, request.path_params["id"])
    members = sorted(await directory.members(store, tenant, one.id))
    known = await directory.people(store, tenant, members)
    nothing = UserInfo(id="", name="", email="")
    return _sent(
        [
            user_info(known[key])
            if key in known
            else nothing.model_copy(update={"id": key, "name": key})
            for key in members
        ]
    )


async def create_group(
    request: Request, store: Store, tenant: str, now_ms: int, new_id: Callable[[], str]
) -> Response:
    form = await _form(GroupForm, request, tenant)
    group_id = form.id or new_id()
    said = GroupUpdate(
        group_id,
        ON_PURPOSE + now_ms,
        now_ms,
        is_last=True,
        is_new=True,
        is_first=True,
        text=group_text(form.name, form.description),
        members=[],
    )
    await directory.say_group(store, tenant, said)
    return await _group(store, tenant, group_id)


async def update_group(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    form = await _form(GroupUpdateForm, request, tenant)
    text = group_text(form.name, form.description)
    return await _change(request, store, tenant, now_ms, text=text)


async def add_members(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    form = await _form(UserIdsForm, request, tenant)
    add = list(dict.fromkeys(form.user_ids or ()))
    return await _change(request, store, tenant, now_ms, add=add)


async def remove_members(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    form = await _form(UserIdsForm, request, tenant)
    return await _change(request, store, tenant, now_ms, remove=form.user_ids or ())


async def delete_group(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    group_id = request.path_params["id"]
    await directory.group(store, tenant, group_id)
    said = GroupUpdate(group_id, ON_PURPOSE + now_ms, now_ms, is_last=True, is_deleted=True)
    await directory.say_group(store, tenant, said)
    return _answer(DONE)


async def _change(
    request: Request,
    store: Store,
    tenant: str,
    now_ms: int,
    *,
    text: str | None = None,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> Response:
    group_id = request.path_params["id"]
    said = GroupUpdate(
        group_id, ON_PURPOSE + now_ms, now_ms, is_last=True, text=text, add=add, remove=remove
    )
    await directory.say_group(store, tenant, said)
    return await _group(store, tenant, group_id)


async def _group(store: Store, tenant: str, group_id: str) -> Response:
    return _sent(group_shown(*await directory.group(store, tenant, group_id)))


# -- users -----------------------------------------------------------------------------------------


async def users(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    """`GET /users/`: a page of the users that match, with their groups."""
    params = request.query_params
    page = max(1, _whole_number(params.get("page", "1")))
    query, order_by = params.get("query", ""), params.get("order_by", "")
    direction = params.get("direction", "")
    async with directory.turn_of(store, tenant) as turn:
        every = await directory.everybody(store, tenant)
        found = await turn.run(lambda: _ordered(_matching(every, query), order_by, direction))
    shown = found[(page - 1) * PAGE_USERS : page * PAGE_USERS]
    listed = [one for one, _ in await directory.groups(store, tenant)] if shown else []
    of = await directory.groups_of(store, tenant, [person.key for person in shown], listed)
    rows = [user_shown(person, of[person.key]) for person in shown]
    return _sent(UserList(users=rows, total=len(found)))


async def all_users(_request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    def body() -> bytes:
        found = [user_info(person) for person in _ordered(every, "", "")]
        return to_json(UserInfoList(users=found, total=len(found)).model_dump())

    async with directory.turn_of(store, tenant) as turn:
        every = await directory.everybody(store, tenant)
        return Response(await turn.run(body), 200, PRIVATE, media_type="application/json")


async def search_users(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    """`GET /users/search`: the first page of the users that match."""
    query = request.query_params.get("query", "")
    async with directory.turn_of(store, tenant) as turn:
        every = await directory.everybody(store, tenant)
        found = await turn.run(lambda: _ordered(_matching(every, query), "name", "asc"))
    shown = [UserName(id=person.key, name=name_of(person)) for person in found[:PAGE_USERS]]
    return _sent(UserNameList(users=shown, total=len(found)))


async def one_user(request: Request, store: Store, tenant: str, _now_ms: int) -> Response:
    person = await _person(store, tenant, request.path_params["id"])
    listed = [one for one, _ in await directory.groups(store, tenant)]
    of = await directory.groups_of(store, tenant, [person.key], listed)
    return _sent(UserCard(name=name_of(person), groups=of[person.key]))


async def update_user(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    """`POST /users/{id}/update`: also for a user that events name only by its key."""
    form = await _form(UserUpdateForm, request, tenant)
    key = request.path_params["id"]
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        raise Refused(400, f"A user's id has 1 to {KEY_CHARS_MAX} characters.")
    await directory.name_user(store, tenant, key, now_ms, email=form.email, name=form.name)
    person = await _person(store, tenant, key)
    listed = [one for one, _ in await directory.groups(store, tenant)]
    of = await directory.groups_of(store, tenant, [key], listed)
    return _sent(user_shown(person, of[key]))


async def delete_user(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    """`DELETE /users/{id}`: remove name and address, also if later events carry them."""
    person = await _person(store, tenant, request.path_params["id"])
    await directory.forget_user(store, tenant, person.key, now_ms)
    return _answer(DONE)


async def add_user(request: Request, store: Store, tenant: str, now_ms: int) -> Response:
    form = await _form(AddUserForm, request, tenant)
    key = form.id or form.email
    await directory.name_user(store, tenant, key, now_ms, email=form.email, name=form.name)
    return _sent(UserAdded(id=key, name=form.name, email=form.email))


async def _person(store: Store, tenant: str, key: str) -> Person:
    found = await directory.people(store, tenant, [key])
    if key not in found:
        raise Refused(400, NOT_FOUND)
    return found[key]


def _matching(people: Sequence[Person], query: str) -> list[Person]:
    """The users whose name or address contains the text. Case does not matter."""
    text = query.casefold()
    return [
        person
        for person in people
        if text in (person.name or "").casefold() or text in (person.email or "").casefold()
    ]


def _ordered(people: Sequence[Person], order_by: str, direction: str) -> list[Person]:
    """Order by a field; without one, the newest user first. Equal users are ordered by key."""
    by_key = sorted(people, key=lambda person: person.key)
    is_down = direction != "asc"
    match order_by:
        case "name":
            return sorted(by_key, key=lambda person: name_of(person).casefold(), reverse=is_down)
        case "email":
            return sorted(by_key, key=lambda person: person.email or "", reverse=is_down)
        case "last_active_at" | "updated_at":
            return sorted(by_key, key=lambda person: person.last_ms, reverse=is_down)
        case "created_at":
            return sorted(by_key, key=lambda person: person.first_ms, reverse=is_down)
        case _:
            return sorted(by_key, key=lambda person: person.first_ms, reverse=True)


# -- requests and answers --------------------------------------------------------------------------


async def _form(model: type[Form], request: Request, tenant: str) -> Form:
    """The parsed body. Raises Refused with a 422 of its server if it is invalid, and TooBusy."""
    try:
        body = await received(request, BODY_BYTES_MAX, tenant)
    except InvalidBody as error:
        raise Refused(error.status, str(error)) from error
    _check_commas(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        is_shown = len(body) <= SHOWN_BYTES_MAX
        raise Refused(422, _invalid("body", error, is_shown=is_shown)) from None


def _check_commas(body: bytes) -> None:
    """Raises Refused if the JSON has more entries than any valid one: a million zeros take 100 MB."""
    try:
        commas = check_structure(body, COMMAS_MAX).commas
    except InvalidEvent as error:
        status = 413 if error.reason is Reason.TOO_LARGE else 422
        raise Refused(status, error.detail) from None
    if commas > COMMAS_MAX:
        raise Refused(413, f"The body has more than {COMMAS_MAX} commas outside its texts.")


def _invalid(where: str, error: ValidationError, *, is_shown: bool = True) -> list[dict[str, Any]]:
    """What is wrong, with the input unless it is large: each missing field repeats all of it."""
    return [
        {"input": None, **one, "loc": [where, *one["loc"]]}
        for one in error.errors(include_url=False, include_context=False, include_input=is_shown)
    ]


def _whole_number(text: str) -> int:
    if _INTEGER.fullmatch(text):
        return int(text)
    raise Refused(
        422,
        [
            {
                "type": "int_parsing",
                "loc": ["query", "page"],
                "msg": "Input should be a valid integer, unable to parse string as an integer",
                "input": text,
            }
        ],
    )


def _sent(value: BaseModel | Sequence[BaseModel]) -> Response:
    if isinstance(value, BaseModel):
        return _answer(value.model_dump())
    return _answer([one.model_dump() for one in value])


def _answer(body: Any) -> Response:  # noqa: ANN401  any JSON
    return Response(to_json(body), 200, PRIVATE, media_type="application/json")
