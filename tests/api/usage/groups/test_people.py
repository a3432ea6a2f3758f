"""Names, addresses and groups of users in rows and as filters, over a real Valkey."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.auth.keys import opened
from api.query.rows import RowColumns, regrouped
from api.query.series_index import Filter
from api.store import directory
from api.usage.groups import people as module
from api.usage.groups.people import People
from schemas.limits import HOUR_MS
from schemas.store.directory import ON_PURPOSE, GroupUpdate, group_text
from tests.api.counters import NOW_MS, Event, pack
from tests.api.usage.asking import PATH, ask

PEOPLE = People(
    {"u1": "Ann", "u2": "Ben", "u3": ""},
    {"u1": "Ann@Example.com", "u2": "ann@example.com", "u3": ""},
    {"u1": (("g1", "Sales"), ("g2", "Ops")), "u2": (("g1", "Sales"),), "u9": (("g3", "Sales"),)},
)


def event(user: str, **more: Any) -> Event:
    return Event(NOW_MS - HOUR_MS, user=user, **more)


async def keep(redis_url: str, people: People, tenant: str = "acme") -> None:
    async with opened(redis_url) as store:
        for user, name in people.names.items():
            email = people.emails[user]
            await directory.name_user(store, tenant, user, NOW_MS, email=email, name=name)
        members: dict[tuple[str, str], list[str]] = {}
        for user, groups in people.groups.items():
            for one in groups:
                members.setdefault(one, []).append(user)
        for (group_id, name), users in members.items():
            said = GroupUpdate(
                group_id, ON_PURPOSE + NOW_MS, NOW_MS, is_last=True, is_new=True, is_first=True,
                text=group_text(name, ""), members=users,
            )  # fmt: skip
            await directory.say_group(store, tenant, said)


@pytest.fixture
async def known(redis_url: str, client: httpx.AsyncClient) -> httpx.AsyncClient:
    await keep(redis_url, PEOPLE)
    await keep(redis_url, People({"u1": "Other", "u7": "Eve"}, {"u1": "o@x", "u7": "e@x"}, {}), "b")
    log = [event("u1"), event("u1", model="m2"), event("u2"), event("u3"), event("u7"), event("")]
    pack([*log, event("u9"), event("u7", tenant="b")]).write(redis_url)
    return client


async def table(client: httpx.AsyncClient, **params: Any) -> list[tuple[Any, ...]]:
    answer = await ask(client, measures="requests", **params)
    rows = [tuple(row.values()) for row in answer["rows"]]
    return sorted(rows, key=lambda row: [str(cell) for cell in row])


@pytest.mark.servers
async def test_rows_are_by_what_the_directory_says(known: httpx.AsyncClient) -> None:
    assert await table(known, group_by="user_name") == [("Ann", 2), ("Ben", 1), (None, 4)]
    assert await table(known, group_by="user,user_name,user_email") == [
        ("", None, None, 1),
        ("u1", "Ann", "Ann@Example.com", 2),
        ("u2", "Ben", "ann@example.com", 1),
        ("u3", None, None, 1),
        ("u7", None, None, 1),
        ("u9", None, None, 1),
    ]
    by_group = await ask(known, group_by="user_group", measures="requests,users")
    assert {(row["user_group"], row["requests"], row["users"]) for row in by_group["rows"]} == {
        ("Sales", 4, 3),
        ("Ops", 2, 1),
        (None, 3, 2),
    }
    assert by_group["totals"] == {"requests": 7, "users": 5}  # Ann's events are in two groups


@pytest.mark.servers
@pytest.mark.parametrize(
    ("filters", "users"),
    [
        ({"user_name": "Ann"}, ["u1"]),
        ({"user_name": "ann"}, []),
        ({"user_name": "ann", "ignore_case": "true"}, ["u1"]),
        ({"user_name!": "A*"}, ["", "u2", "u3", "u7", "u9"]),
        ({"user_name": ""}, ["", "u3", "u7", "u9"]),
        ({"user_name": ",Ben"}, ["", "u2", "u3", "u7", "u9"]),
        ({"user_email": "ANN@EXAMPLE.COM"}, ["u1", "u2"]),
        ({"user_email!": "*@example.com"}, ["", "u3", "u7", "u9"]),
        ({"user_email": "e@x"}, []),  # of another tenant
        ({"user_group": "Ops"}, ["u1"]),
        ({"user_group": "g1"}, ["u1", "u2"]),
        ({"user_group!": "Sales"}, ["", "u3", "u7"]),
        ({"user_group": ""}, ["", "u3", "u7"]),
        ({"user_group": "Sales", "user_email": "ann@example.com", "user!": "u2"}, ["u1"]),
    ],
)
async def test_filters_select_users(
    known: httpx.AsyncClient, filters: dict[str, str], users: list[str]
) -> None:
    assert [user for user, _ in await table(known, group_by="user", **filters)] == users
    whole = await ask(known, measures="requests", **filters)
    assert whole["totals"]["requests"] == sum(2 if user == "u1" else 1 for user in users)


@pytest.mark.servers
async def test_leaderboards_comparisons_and_series_have_names_too(known: httpx.AsyncClient) -> None:
    asked = {"group_by": "user_name,model", "measures": "requests", "limit": 1}
    rows: list[tuple[Any, ...]] = []
    cursor: dict[str, Any] = {}
    for _ in range(3):
        page = await ask(known, **asked, **cursor)
        rows += [tuple(row.values()) for row in page["rows"] if not row["other"]]
        cursor = {"cursor": page["next_cursor"]}
    assert rows == [
        (None, "gpt-4o", False, 4),
        ("Ann", "gpt-4o", False, 1),
        ("Ann", "m2", False, 1),
    ]
    compared = await ask(known, group_by="user_email", compare="previous", measures="requests")
    first = compared["comparison"]["rows"][0]
    assert (first["user_email"], first["requests"]["change"]) == (None, 4)
    wide = {"layout": "wide", "granularity": "1h", "order_by": "user_name"}
    found = await ask(known, group_by="user_name", measures="requests", **wide)
    assert [[*row.values()][1:4] for row in found["rows"]] == [[2, 1, 4]]
    assert [(one["name"], one["group"]) for one in found["columns"]] == [
        ("Ann", {"user_name": "Ann"}),
        ("Ben", {"user_name": "Ben"}),
        ("(unknown)", {"user_name": None}),
    ]
    several = await known.post(
        PATH, json={"questions": [{"group_by": "user_name"}, {"user_group": "Ops"}]}
    )
    named, of_ops = several.json()["answers"]
    assert (len(named["rows"]), of_ops["totals"]["requests"]) == (3, 2)


@pytest.mark.servers
@pytest.mark.parametrize(("fresh_s", "name"), [(3600.0, "Ben"), (0.0, "Benno")])
async def test_a_changed_name_is_seen_after_the_directory_is_read_again(
    known: httpx.AsyncClient,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    fresh_s: float,
    name: str,
) -> None:
    monkeypatch.setattr(module, "FRESH_S", fresh_s)
    monkeypatch.setattr(module, "PAUSE_SHARE", 0)

    async def names() -> set[Any]:
        return {row[0] for row in await table(known, group_by="user_name")}

    assert await names() == {"Ann", "Ben", None}
    await keep(redis_url, People({"u2": "Benno"}, {"u2": "ann@example.com"}, {}))
    assert await names() == {"Ann", name, None}


@pytest.mark.servers
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("user_name", [("Ann", 2), ("Ben", 1)]),
        ("user_email", [("Ann@Example.com", 2), ("ann@example.com", 1)]),
        ("user_group", [("Sales", 4), ("Ops", 2)]),
        ("user_name?search=EN", [("Ben", 1)]),
        ("user_name?user_group=Ops", [("Ann", 2)]),
        ("user?user_email=ANN@example.com", [("u1", 2), ("u2", 1)]),
        ("model?user_name=Ann", [("gpt-4o", 1), ("m2", 1)]),
        ("user_name?user!=u1", [("Ben", 1)]),
    ],
)
async def test_what_the_directory_says_has_values_too(
    known: httpx.AsyncClient, path: str, values: list[tuple[str, int]]
) -> None:
    answer = await known.get(f"/v1/dimensions/{path}")
    assert answer.status_code == 200, answer.text
    found = [(one["value"], one["events"]) for one in answer.json()["values"]]
    assert (found, answer.json()["found"]) == (values, len(values))


@pytest.mark.servers
async def test_a_token_of_one_user_lists_that_name_only(known: httpx.AsyncClient) -> None:
    made = await known.post("/v1/tokens", json={"only": {"user": "u2"}})
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    answer = await known.get("/v1/dimensions/user_name", headers=headers)
    assert [one["value"] for one in answer.json()["values"]] == ["Ben"]


# -- laws ------------------------------------------------------------------------------------------

USERS = st.sampled_from(["u1", "u2", "u3", "u9", "nobody", ""])


@given(
    st.sampled_from(["user_name", "user_email", "user_group"]),
    st.frozensets(st.sampled_from(["Ann", "ann@example.com", "Sales", "g2", ""]), max_size=2),
    st.sampled_from([(), ("A",)]),
    st.tuples(st.booleans(), st.booleans()),
    USERS,
)
def test_a_filter_by_user_takes_whom_the_filter_of_the_directory_takes(
    dimension: str,
    values: frozenset[str],
    prefixes: tuple[str, ...],
    flags: tuple[bool, bool],
    user: str,
) -> None:
    is_negated, ignores_case = flags
    if ignores_case:
        values = frozenset(value.casefold() for value in values)
        prefixes = tuple(prefix.casefold() for prefix in prefixes)
    wanted = Filter(dimension, values, prefixes, ignores_case=ignores_case)
    own = {
        "user_name": [PEOPLE.names.get(user, "")],
        "user_email": [PEOPLE.emails.get(user, "")],
        "user_group": [text for one in PEOPLE.groups.get(user, ()) for text in one] or [""],
    }[dimension]
    expected = any(map(wanted.takes, own)) is not is_negated
    found = PEOPLE.as_filter(Filter(dimension, values, prefixes, is_negated, (), (), ignores_case))
    assert (found.dimension, found.takes(user)) == ("user", expected)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9)), max_size=20),
    st.lists(st.lists(st.sampled_from("xyz"), min_size=1, unique=True), min_size=4, max_size=4),
)
def test_regrouped_rows_are_the_sums_of_their_rows(
    cells: list[tuple[int, int, int]], names: list[list[str]]
) -> None:
    groups = tuple((str(n),) for n in range(4))
    numbers = np.array(cells, np.int64).reshape(len(cells), 3).T
    rows = RowColumns(groups, numbers[0], numbers[1], numbers[2:])
    found = regrouped(rows, lambda group: [(name,) for name in names[int(group[0])]])
    expected: Counter[tuple[str, int]] = Counter()
    for group, bucket, value in cells:
        for name in names[group]:
            expected[name, bucket] += value
    keys = [
        (found.groups[g][0], b) for g, b in zip(found.group, found.bucket.tolist(), strict=True)
    ]
    assert len({*keys}) == len(keys)
    assert dict(zip(keys, found.sums[0].tolist(), strict=True)) == dict(expected)
