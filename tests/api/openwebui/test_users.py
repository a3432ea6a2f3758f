"""Users and groups on Open WebUI's paths: what its clients read, and what an admin may change."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from api.auth.key_cache import KeyCache
from api.openwebui.errors import NOT_FOUND
from api.openwebui.users import DONE, PAGE_USERS, routes
from api.store import directory
from api.store.reader import Store
from schemas.limits import SECOND_MS
from schemas.responses.openwebui_users import CHANGED_MAX
from schemas.store.directory import (
    GROUPS_MAX,
    LIBRARY,
    UserUpdate,
    addresses_key,
    function_name,
    group_keys,
    groups_key,
    members_key,
    users_key,
)
from tests.api.auth.test_endpoints import made, sends
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS

pytestmark = pytest.mark.servers

NOW_S = NOW_MS // SECOND_MS
GROUP = {"id": "sales", "name": "Sales", "description": "who sells"}
SHOWN = {
    **GROUP,
    "user_id": "",
    "data": None,
    "meta": None,
    "permissions": None,
    "created_at": NOW_S,
    "updated_at": NOW_S,
    "member_count": 0,
}
ANN = {"name": "Ann", "email": "ann@example.com"}


@pytest.fixture
async def admin(redis_url: str, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(redis_url, clock, (await made(redis_url)).secret) as client:
        yield client


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = Store(redis_url, "")
    yield store
    await store.close()


async def events_said(store: Store, *words: UserUpdate, tenant: str = "acme") -> None:
    """As the commit of events does."""
    keys = [users_key(tenant), addresses_key(tenant)]
    arguments: list[str | int] = [msgspec.json.encode(words).decode(), 100_000, "0"]
    await store.call(function_name("users"), LIBRARY, keys, arguments)


def word(key: str, at_ms: int, email: str = "", name: str = "") -> UserUpdate:
    return UserUpdate(key, at_ms, at_ms, at_ms if email else 0, email, at_ms if name else 0, name)


async def got(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    response = await client.get(f"/api/v1{path}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def posted(client: httpx.AsyncClient, path: str, body: object = None) -> Any:
    response = await client.post(f"/api/v1{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


# -- groups ----------------------------------------------------------------------------------------


async def test_a_group_from_its_making_to_its_end(admin: httpx.AsyncClient, clock: Clock) -> None:
    assert await got(admin, "/groups/") == []
    assert await posted(admin, "/groups/create", GROUP) == SHOWN
    clock.now_ms += 5 * SECOND_MS
    ids = ["u1", "u2", "nobody/knows"]
    added = await posted(admin, "/groups/id/sales/users/add", {"user_ids": ids})
    assert added == {**SHOWN, "updated_at": NOW_S + 5, "member_count": 3}
    assert await posted(admin, "/groups/id/sales/users/add", {"user_ids": ["u1", "u1"]}) == added
    await posted(admin, "/auths/add", {**ANN, "id": "u1"})
    assert await posted(admin, "/groups/id/sales/users") == [
        {"id": "nobody/knows", "name": "nobody/knows", "email": "", **INFO},
        {"id": "u1", **ANN, **INFO},
        {"id": "u2", "name": "u2", "email": "", **INFO},
    ]
    removed = await posted(admin, "/groups/id/sales/users/remove", {"user_ids": ["u2", "u9"]})
    assert removed["member_count"] == 2
    changed = {"name": "Field sales", "description": ""}
    updated = await posted(admin, "/groups/id/sales/update", changed)
    assert updated == {**added, **changed, "member_count": 2}
    assert await got(admin, "/groups/") == await got(admin, "/groups") == [updated]
    assert await got(admin, "/groups/id/sales") == updated
    assert (await got(admin, "/groups/id/sales/export"))["user_ids"] == ["nobody/knows", "u1"]
    assert await got(admin, "/groups/id/sales/info") == {
        "id": "sales",
        "user_id": "",
        **changed,
        "member_count": 2,
        "created_at": NOW_S,
        "updated_at": NOW_S + 5,
    }
    ended = await admin.delete("/api/v1/groups/id/sales/delete")
    assert ended.json() is DONE
    assert await got(admin, "/groups/") == []
    gone = await admin.get("/api/v1/groups/id/sales")
    assert (gone.status_code, gone.json()) == (401, {"detail": NOT_FOUND})


INFO: dict[str, object] = {"role": "user", "groups": [], "is_active": False}


async def test_a_group_without_an_id_gets_one(admin: httpx.AsyncClient) -> None:
    one = await posted(admin, "/groups/create", {"name": "B", "description": "", "data": None})
    other = await posted(admin, "/groups/create", {"name": "A", "description": ""})
    assert one["id"] != other["id"]
    assert [group["name"] for group in await got(admin, "/groups/")] == ["A", "B"]


async def test_of_two_who_make_a_group_at_once_one_does(admin: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(admin.post("/api/v1/groups/create", json={**GROUP, "name": str(n)}) for n in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    refused = [answer.json() for answer in answers if answer.status_code == 400]
    assert refused[0] == {"detail": "there is a group 'sales' already."}


async def test_members_that_are_added_at_once_are_all_there(admin: httpx.AsyncClient) -> None:
    await posted(admin, "/groups/create", GROUP)
    path = "/groups/id/sales/users/add"
    await asyncio.gather(*(posted(admin, path, {"user_ids": [f"u{n}"]}) for n in range(20)))
    assert (await got(admin, "/groups/id/sales"))["member_count"] == 20


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/groups/id/none", None),
        ("GET", "/groups/id/none/info", None),
        ("GET", "/groups/id/none/export", None),
        ("POST", "/groups/id/none/users", None),
        ("POST", "/groups/id/none/update", {"name": "n", "description": ""}),
        ("POST", "/groups/id/none/users/add", {"user_ids": ["u"]}),
        ("POST", "/groups/id/none/users/remove", {"user_ids": ["u"]}),
        ("DELETE", "/groups/id/none/delete", None),
    ],
)
async def test_a_group_that_is_not_there(
    admin: httpx.AsyncClient, method: str, path: str, body: object
) -> None:
    response = await admin.request(method, f"/api/v1{path}", json=body)
    assert (response.status_code, response.json()) == (401, {"detail": NOT_FOUND})


async def test_over_a_limit_nothing_is_written(admin: httpx.AsyncClient, store: Store) -> None:
    await posted(admin, "/groups/create", GROUP)
    for at in range(0, 10_000, CHANGED_MAX):
        ids = [f"u{n}" for n in range(at, at + CHANGED_MAX)]
        await posted(admin, "/groups/id/sales/users/add", {"user_ids": ids})
    over = await admin.post("/api/v1/groups/id/sales/users/add", json={"user_ids": ["one more"]})
    assert (over.status_code, over.json()) == (
        400,
        {"detail": "a group has at most 10000 members."},
    )
    assert (await got(admin, "/groups/id/sales"))["member_count"] == 10_000
    *_, total = group_keys("acme", "")
    await store.ask("DEL", total)  # or it would not count what is written here past the API
    members = [f"u{n}" for n in range(10_000)]
    await store.ask(
        "HSET", groups_key("acme"), *(w for n in range(9) for w in (f"g{n}", "\0" * 24))
    )
    for n in range(9):
        await store.ask("SADD", members_key("acme", f"g{n}"), *members)
    await posted(admin, "/groups/create", {**GROUP, "id": "more"})
    over = await admin.post("/api/v1/groups/id/more/users/add", json={"user_ids": ["one more"]})
    assert (over.status_code, over.json()) == (
        400,
        {"detail": "the groups of the directory have at most 100000 members together."},
    )
    assert (await got(admin, "/groups/id/more"))["member_count"] == 0
    many = [part for n in range(GROUPS_MAX) for part in (f"g{n}", "\0" * 24)]
    await store.ask("HSET", groups_key("acme"), *many)
    over = await admin.post("/api/v1/groups/create", json={"name": "n", "description": ""})
    assert (over.status_code, over.json()) == (
        400,
        {"detail": f"the directory has {GROUPS_MAX} groups, its limit."},
    )


# -- users -----------------------------------------------------------------------------------------


async def test_users_are_listed_in_pages_searched_and_ordered(
    admin: httpx.AsyncClient, store: Store
) -> None:
    names = ["Zoë", "ann", "Bob"]
    await events_said(
        store,
        *(
            word(f"u{n:02}", NOW_MS + n * SECOND_MS, f"{n}@example.com", names[n % 3])
            for n in range(70)
        ),
        word("u99", NOW_MS, "x@other.org"),
    )
    await posted(admin, "/groups/create", GROUP)
    await posted(admin, "/groups/id/sales/users/add", {"user_ids": ["u69", "u00"]})
    first = await got(admin, "/users/")
    assert first["total"] == 71
    assert len(first["users"]) == PAGE_USERS
    assert first["users"][0] == {
        "id": "u69",
        "name": "Zoë",
        "email": "69@example.com",
        "role": "user",
        "profile_image_url": "/user.png",
        "last_active_at": NOW_S + 69,
        "updated_at": NOW_S + 69,
        "created_at": NOW_S + 69,
        "group_ids": ["sales"],
    }
    pages = [await got(admin, "/users/", page=page) for page in (1, 2, 3, 4)]
    assert [len(page["users"]) for page in pages] == [30, 30, 11, 0]
    assert len({row["id"] for page in pages for row in page["users"]}) == 71
    assert await got(admin, "/users/", page=0) == await got(admin, "/users/", page=-3) == first
    found = await got(admin, "/users/", query="OTHER.org")
    assert [(row["id"], row["name"], row["email"]) for row in found["users"]] == [
        ("u99", "x@other.org", "x@other.org")
    ]
    by_name = await got(admin, "/users/", order_by="name", direction="asc", query="z")
    assert [row["id"] for row in by_name["users"]][:2] == ["u00", "u03"]
    by_email = await got(admin, "/users/", order_by="email")
    assert by_email["users"][0]["email"] == "x@other.org"
    for order in ("last_active_at", "updated_at", "created_at"):
        oldest = await got(admin, "/users/", order_by=order, direction="asc")
        assert oldest["users"][0]["id"] == "u00"
    listed = await got(admin, "/users/all")
    assert (len(listed["users"]), listed["total"]) == (71, 71)
    searched = await got(admin, "/users/search", query="ann")
    assert searched["total"] == 23
    assert searched["users"][0] == {"id": "u01", "name": "ann"}
    assert await got(admin, "/users/u69") == {
        "name": "Zoë",
        "profile_image_url": "/user.png",
        "is_active": False,
        "groups": ["sales"],
    }


async def test_a_deleted_user_stays_unknown_whatever_events_say(
    admin: httpx.AsyncClient, store: Store, clock: Clock
) -> None:
    await events_said(store, word("a/b", NOW_MS, "ann@example.com", "Ann"))
    ended = await admin.delete("/api/v1/users/a%2Fb")
    assert (ended.status_code, ended.json()) == (200, True)
    await events_said(store, word("a/b", NOW_MS + SECOND_MS, "ann@example.com", "Ann"))
    assert await got(admin, "/users/") == {"users": [], "total": 0}
    assert await directory.keys_of_address(store, "acme", "ann@example.com") == set()
    for again in (
        await admin.delete("/api/v1/users/a%2Fb"),
        await admin.get("/api/v1/users/a%2Fb"),
    ):
        assert (again.status_code, again.json()) == (400, {"detail": NOT_FOUND})
    clock.now_ms += SECOND_MS
    form = {**ANN, "role": "user", "profile_image_url": "/x.png", "password": "p"}
    back = await posted(admin, "/users/a/b/update", form)
    assert (back["id"], back["name"], back["email"]) == ("a/b", "Ann", "ann@example.com")
    assert await directory.keys_of_address(store, "acme", "ann@example.com") == {"a/b"}


async def test_an_added_user_without_an_id_is_known_by_its_address(
    admin: httpx.AsyncClient,
) -> None:
    added = await posted(admin, "/auths/add", {**ANN, "password": "p", "role": "user"})
    assert added == {
        "token": "",
        "token_type": "Bearer",
        "id": "ann@example.com",
        **ANN,
        "role": "user",
        "profile_image_url": "/user.png",
    }
    assert (await got(admin, "/users/"))["users"][0]["id"] == "ann@example.com"


async def test_tenants_do_not_see_each_other(admin: httpx.AsyncClient, redis_url: str) -> None:
    other = sends((await made(redis_url, tenants=("other",))).secret)
    await posted(admin, "/groups/create", GROUP)
    await posted(admin, "/auths/add", ANN)
    for path in ("/groups/", "/users/"):
        answer = await admin.get(f"/api/v1{path}", headers=other)
        assert answer.json() in ([], {"users": [], "total": 0})
    taken = await admin.delete("/api/v1/groups/id/sales/delete", headers=other)
    assert taken.status_code == 401
    assert len(await got(admin, "/groups/")) == 1


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/groups/create", {"name": "n"}, ("missing", ["body", "description"])),
        ("/groups/create", {**GROUP, "name": ""}, ("string_too_short", ["body", "name"])),
        ("/groups/create", {**GROUP, "name": "n" * 257}, ("string_too_long", ["body", "name"])),
        ("/groups/create", {**GROUP, "id": 5}, ("string_type", ["body", "id"])),
        ("/groups/create", [], ("model_type", ["body"])),
        ("/groups/id/g/users/add", {"user_ids": "u"}, ("list_type", ["body", "user_ids"])),
        (
            "/groups/id/g/users/add",
            {"user_ids": ["u", ""]},
            ("string_too_short", ["body", "user_ids", 1]),
        ),
        (
            "/groups/id/g/users/add",
            {"user_ids": ["u"] * (CHANGED_MAX + 1)},
            ("too_long", ["body", "user_ids"]),
        ),
        ("/users/u/update", {"name": "n"}, ("missing", ["body", "email"])),
        (
            "/auths/add",
            {**ANN, "email": "e" * 321},
            ("string_too_long", ["body", "email"]),
        ),
    ],
)
async def test_a_body_that_is_not_the_form_names_the_field(
    admin: httpx.AsyncClient, path: str, body: object, found: tuple[str, list[object]]
) -> None:
    response = await admin.post(f"/api/v1{path}", json=body)
    assert response.status_code == 422
    (first,) = response.json()["detail"]
    assert (first["type"], first["loc"]) == found
    assert first.keys() == {"type", "loc", "msg", "input"}


async def test_a_body_that_is_no_json_or_too_large(admin: httpx.AsyncClient) -> None:
    response = await admin.post("/api/v1/groups/create", content=b"{")
    assert response.status_code == 422
    assert response.json()["detail"][0]["type"] == "json_invalid"
    response = await admin.post("/api/v1/groups/create", content=b" " * (2 << 20) + b"{}")
    assert response.status_code == 413


async def test_what_a_body_builds_is_bounded(admin: httpx.AsyncClient) -> None:
    for wrong in (b"0," * 500_000, b"{}," * 500_000, b"0," * 900_000):
        content = b'{"user_ids":[' + wrong + b"0]}"
        response = await admin.post("/api/v1/groups/id/x/users/add", content=content)
        assert (response.status_code, "commas" in response.json()["detail"]) == (413, True)
    response = await admin.post("/api/v1/groups/create", content=b"[" * 500_000)
    assert (response.status_code, "deeper" in response.json()["detail"]) == (422, True)
    response = await admin.post("/api/v1/groups/id/x/users/add", json={"user_ids": [0] * 1001})
    (found,) = response.json()["detail"]
    assert (response.status_code, found["loc"]) == (422, ["body", "user_ids", 0])
    response = await admin.post("/api/v1/groups/create", json={"x": "y" * 20_000})
    assert {one["type"]: one["input"] for one in response.json()["detail"]} == {"missing": None}


@pytest.mark.parametrize("page", ["", "x", "1.5", "--1", "1e3", "9" * 40, "\u0661"])
async def test_a_page_that_is_no_number(admin: httpx.AsyncClient, page: str) -> None:
    response = await admin.get("/api/v1/users/", params={"page": page})
    assert response.status_code == 422
    assert response.json() == {
        "detail": [
            {
                "type": "int_parsing",
                "loc": ["query", "page"],
                "msg": "Input should be a valid integer, unable to parse string as an integer",
                "input": page,
            }
        ]
    }


async def test_every_path_is_for_admins(
    admin: httpx.AsyncClient, store: Store, redis_url: str, clock: Clock
) -> None:
    member = sends((await made(redis_url, role="member")).secret)
    for route in routes(store, KeyCache(store.ask, clock), clock, str):
        (method,) = set(route.methods or ()) - {"HEAD"}
        path = route.path.replace("{id:path}", "x")
        refused = await admin.request(method, path, headers=member)
        assert refused.status_code in {401, 403}, path
        nobody = await admin.request(method, path, headers={"authorization": ""})
        assert nobody.status_code == 401, path


async def test_the_description_has_every_path(
    admin: httpx.AsyncClient, store: Store, clock: Clock
) -> None:
    described = (await admin.get("/openapi.json")).json()["paths"]
    for route in routes(store, KeyCache(store.ask, clock), clock, str):
        (method,) = set(route.methods or ()) - {"HEAD"}
        path = route.path.replace("{id:path}", "{id}")
        if not path.endswith(("/groups", "/users")) or "{id}" in path:
            assert method.lower() in described[path], path


# -- whatever is sent ------------------------------------------------------------------------------

ODD_TEXTS = ("", "u", "a/b", "é\U0001f600", "\0", "x" * 400, "%2F", "\\ud800", "id", "users")
FORM_FIELDS = ("id", "name", "email", "description", "user_ids", "role")
PARAMETER_NAMES = ("page", "query", "order_by", "direction")


async def test_no_request_breaks_it(admin: httpx.AsyncClient, store: Store, clock: Clock) -> None:
    rng = random.Random(5)
    methods = [
        (route.path, *(set(route.methods or ()) - {"HEAD"}))
        for route in routes(store, KeyCache(store.ask, clock), clock, str)
    ]
    for _ in range(400):
        path, method = rng.choice(methods)
        path = path.replace("{id:path}", quote(rng.choice(ODD_TEXTS), safe=""))
        params = {name: rng.choice(ODD_TEXTS) for name in rng.sample(PARAMETER_NAMES, 2)}
        content = (
            json.dumps(odd_body(rng)).replace("\\\\ud", "\\ud")
            if rng.random() < 0.8
            else rng.choice(ODD_TEXTS)
        )
        response = await admin.request(method, path, params=params, content=content.encode())
        assert response.status_code in {200, 400, 401, 404, 405, 422}, (method, path, content)
        if response.status_code != 200:
            assert response.json().keys() == {"detail"}


def odd_body(rng: random.Random) -> object:
    """A form, more or less."""
    fields = {name: odd_value(rng) for name in rng.sample(FORM_FIELDS, rng.randint(0, 5))}
    return rng.choice([fields, fields, fields, odd_value(rng)])


def odd_value(rng: random.Random) -> object:
    texts = [rng.choice(ODD_TEXTS) for _ in range(rng.randint(0, 3))]
    return rng.choice([None, True, -1, 1.5, 10**40, [], {}, texts, texts, *ODD_TEXTS])
