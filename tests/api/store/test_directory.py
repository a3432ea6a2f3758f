"""The directory on a real Redis: the latest word wins, an admin's above events', within its limits."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.store import directory
from api.store.directory import DirectoryFull, NoSuchGroup
from api.store.reader import Store
from schemas.errors import StoreCorrupt
from schemas.store.directory import (
    LIBRARY,
    ON_PURPOSE,
    GroupUpdate,
    Person,
    UserUpdate,
    addresses_key,
    chats_key,
    function_name,
    group_keys,
    group_text,
    members_key,
    merged,
    pack_user_update,
    unpack_user_update,
    users_key,
)

pytestmark = pytest.mark.servers

TENANT = "acme"
TEXTS = st.sampled_from(["", "a", "b", "ä", "z\0", "Ünïcode@example.com"])
WORDS = st.builds(
    UserUpdate,
    st.just("u1"),
    st.integers(1, 5),
    st.integers(5, 9),
    st.sampled_from([0, 1, 2, ON_PURPOSE, ON_PURPOSE + 1]),
    TEXTS,
    st.sampled_from([0, 1, 2, ON_PURPOSE, ON_PURPOSE + 1]),
    TEXTS,
)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = Store(redis_url, "")
    yield store
    await store.close()


async def say(
    store: Store, *words: UserUpdate, users_max: int = 100, tenant: str = TENANT
) -> list[int]:
    """As the stream and the commit say it: not above what is stored with a larger mark."""
    keys = [users_key(tenant), addresses_key(tenant)]
    arguments: list[str | int] = [msgspec.json.encode(words).decode(), users_max, "0"]
    found: list[int] = await store.call(function_name("users"), LIBRARY, keys, arguments)
    return found


def word(key: str, at_ms: int, email: str = "", name: str = "") -> UserUpdate:
    return UserUpdate(key, at_ms, at_ms, at_ms if email else 0, email, at_ms if name else 0, name)


# -- the record ------------------------------------------------------------------------------------


@given(WORDS)
def test_a_record_is_what_was_packed(said: UserUpdate) -> None:
    assert unpack_user_update("u1", pack_user_update(said)) == said


@given(st.binary(max_size=80))
def test_a_record_of_any_bytes_is_read_or_is_corrupt(record: bytes) -> None:
    try:
        said = unpack_user_update("u1", record)
    except StoreCorrupt:
        return
    assert pack_user_update(said) == record


@given(WORDS, WORDS, WORDS)
def test_words_merge_in_any_order_and_twice_is_once(
    one: UserUpdate, two: UserUpdate, three: UserUpdate
) -> None:
    assert merged(one, two) == merged(two, one)
    assert merged(merged(one, two), three) == merged(one, merged(two, three))
    assert merged(one, one) == one


async def test_the_function_merges_as_the_schema_says(store: Store) -> None:
    texts, marks = ["", "a", "b", "ä", "aa"], [0, 1, ON_PURPOSE]
    said = [
        UserUpdate("u1", 3 + n % 3, 7 + n % 2, email_mark, email, name_mark, name)
        for n, (email_mark, email, name_mark, name) in enumerate(
            itertools.product(marks, texts, marks, texts[::2])
        )
    ]
    for one, other in itertools.product(said[::3], said[::5]):
        await store.ask("DEL", users_key(TENANT), addresses_key(TENANT))
        await say(store, one)
        await say(store, other)
        record = await store.ask("HGET", users_key(TENANT), "u1")
        assert unpack_user_update("u1", record) == merged(one, other), (one, other)
        email = merged(one, other).email
        index = await store.ask("ZRANGE", addresses_key(TENANT), 0, -1)
        assert index == ([f"{email}\0u1".encode()] if email else [])


async def test_what_is_no_record_counts_as_nothing_known(store: Store) -> None:
    await store.ask("HSET", users_key(TENANT), "u1", "not a record")
    await say(store, word("u1", 5, "a@x"))
    found = await directory.people(store, TENANT, ["u1"])
    assert found == {"u1": Person("u1", "a@x", None, 5, 5)}


# -- users -----------------------------------------------------------------------------------------


async def test_the_latest_address_is_the_one_that_finds_a_user(store: Store) -> None:
    await say(store, word("u1", 10, "old@x", "Ann"), word("u2", 10, "old@x"))
    await say(store, word("u1", 20, "new@x"))
    await say(store, word("u1", 15, "late@x"))
    assert await directory.keys_of_address(store, TENANT, "new@x") == {"u1"}
    assert await directory.keys_of_address(store, TENANT, "old@x") == {"u2"}
    for nobody in ("late@x", "", "old@", "old@xx", "OLD@x"):
        assert await directory.keys_of_address(store, TENANT, nobody) == set()
    assert await directory.keys_of_address(store, "other", "new@x") == set()
    assert await directory.people(store, TENANT, ["u1", "u3"]) == {
        "u1": Person("u1", "new@x", "Ann", 10, 20)
    }


async def test_an_address_with_a_nul_finds_its_own_user_only(store: Store) -> None:
    await say(store, word("b\0u", 1, "a"), word("u", 1, "a\0b"))
    assert await directory.keys_of_address(store, TENANT, "a") == {"b\0u"}
    assert await directory.keys_of_address(store, TENANT, "a\0b") == {"u"}


async def test_what_an_admin_says_stands_whatever_events_carry_later(store: Store) -> None:
    await say(store, word("u1", 10, "ann@x", "Ann"))
    await directory.name_user(store, TENANT, "u1", 20, email=None, name="Anna")
    await say(store, word("u1", 30, "ann@y", "Ann"))
    found = await directory.people(store, TENANT, ["u1"])
    assert found["u1"] == Person("u1", "ann@y", "Anna", 10, 30)
    await directory.forget_user(store, TENANT, "u1", 40)
    await say(store, word("u1", 50, "ann@z", "Ann"))
    assert await directory.people(store, TENANT, ["u1"]) == {}
    assert await directory.everybody(store, TENANT) == []
    for address in ("ann@x", "ann@y", "ann@z"):
        assert await directory.keys_of_address(store, TENANT, address) == set()
    await directory.name_user(store, TENANT, "u1", 30, email="ann@w", name="Ann")  # a slow clock
    assert await directory.keys_of_address(store, TENANT, "ann@w") == {"u1"}


async def test_a_full_directory_keeps_hearing_of_those_it_knows(store: Store) -> None:
    assert await say(store, *(word(f"u{n}", 1, "a@x") for n in range(5)), users_max=3) == [3, 2]
    assert await say(store, word("u0", 2, "b@x"), word("u9", 2, "c@x"), users_max=3) == [1, 1]
    assert await directory.keys_of_address(store, TENANT, "b@x") == {"u0"}
    assert len(await directory.everybody(store, TENANT)) == 3


async def test_everybody_is_read_in_pieces(store: Store) -> None:
    for at in range(0, 3000, 500):
        await say(store, *(word(f"u{n}", 1, f"{n}@x") for n in range(at, at + 500)), users_max=9999)
    found = await directory.everybody(store, TENANT)
    assert {person.email for person in found} == {f"{n}@x" for n in range(3000)}
    assert len(found) == 3000
    assert len(await directory.people(store, TENANT, [f"u{n}" for n in range(4000)])) == 3000


# -- groups ----------------------------------------------------------------------------------------


def said(group_id: str = "g1", at_ms: int = 10, **changes: object) -> GroupUpdate:
    fields = {"id": group_id, "mark": ON_PURPOSE + at_ms, "at_ms": at_ms, **changes}
    return msgspec.convert(fields, GroupUpdate)


async def test_a_group_is_made_changed_and_deleted(store: Store) -> None:
    text = group_text("Sales", "who sells")
    await directory.say_group(store, TENANT, said(is_new=True, text=text, members=["a", "b"]))
    await directory.say_group(store, TENANT, said(at_ms=20, add=["c", "a"], remove=["b", "zz"]))
    one, count = await directory.group(store, TENANT, "g1")
    assert (one.name, one.description, one.created_ms, one.updated_ms) == (
        "Sales",
        "who sells",
        10,
        20,
    )
    assert count == 2
    assert await directory.members(store, TENANT, "g1") == {"a", "c"}
    assert await directory.groups(store, TENANT) == [(one, 2)]
    assert await directory.groups_of(store, TENANT, ["a", "b"], [one]) == {"a": ["g1"], "b": []}
    await directory.say_group(store, TENANT, said(at_ms=30, is_deleted=True))
    assert await directory.groups(store, TENANT) == []
    assert await directory.members(store, TENANT, "g1") == set()
    with pytest.raises(NoSuchGroup):
        await directory.group(store, TENANT, "g1")
    for change in (said(at_ms=40, add=["a"]), said("g2", text=text), said("g2", is_deleted=True)):
        with pytest.raises(NoSuchGroup):
            await directory.say_group(store, TENANT, change)


async def test_groups_of_tenants_whose_names_run_together_are_apart(store: Store) -> None:
    for tenant, group_id in (("a", "b:c"), ("a:b", "c")):
        change = said(group_id, is_new=True, text=group_text("g", ""), members=[tenant])
        await directory.say_group(store, tenant, change)
    assert await directory.members(store, "a", "b:c") == {"a"}
    assert await directory.members(store, "a:b", "c") == {"a:b"}


async def test_a_group_over_its_limit_is_left_as_it_was(store: Store) -> None:
    text = group_text("Sales", "")
    await directory.say_group(
        store, TENANT, said(is_new=True, text=text, members=["a", "b"], members_max=3)
    )
    for change in (
        said(add=["c", "d"], members_max=3),
        said(members=list("abcd"), members_max=3),
        said("g2", is_new=True, text=text, groups_max=1),
    ):
        with pytest.raises(DirectoryFull):
            await directory.say_group(store, TENANT, change)
    assert await directory.members(store, TENANT, "g1") == {"a", "b"}
    await directory.say_group(store, TENANT, said(add=["a", "b", "c"], members_max=3))
    assert await directory.members(store, TENANT, "g1") == {"a", "b", "c"}


async def test_all_groups_of_a_tenant_together_have_a_limit(store: Store) -> None:
    text = group_text("Sales", "")
    for group_id, members in (("g1", ["a", "b"]), ("g2", ["a"])):
        made = said(group_id, is_new=True, text=text, members=members, tenant_members_max=4)
        await directory.say_group(store, TENANT, made)
    for change in (
        said("g1", add=["c", "d"], tenant_members_max=4),
        said("g2", members=["b", "c", "d"], tenant_members_max=4),
        said("g3", is_new=True, text=text, members=["b", "c"], tenant_members_max=4),
    ):
        with pytest.raises(DirectoryFull, match="at most 4 members together"):
            await directory.say_group(store, TENANT, change)
    assert [(one.id, n) for one, n in await directory.groups(store, TENANT)] == [
        ("g1", 2),
        ("g2", 1),
    ]
    await directory.say_group(store, TENANT, said("g2", add=["a", "b"], tenant_members_max=4))
    with pytest.raises(DirectoryFull):
        await directory.say_group(store, TENANT, said("g2", add=["c"], tenant_members_max=4))
    other = said("g1", is_new=True, text=text, members=list("abcd"), tenant_members_max=4)
    await directory.say_group(store, "other", other)
    await directory.say_group(store, TENANT, said("g1", is_deleted=True))
    await directory.say_group(store, TENANT, said("g2", add=["c", "d"], tenant_members_max=4))
    assert await directory.members(store, TENANT, "g2") == {"a", "b", "c", "d"}


async def test_the_total_of_members_is_that_of_the_groups(store: Store) -> None:
    """Through every kind of change, and after another process wrote members without counting them."""
    text = group_text("Sales", "")
    *_, total = group_keys(TENANT, "")
    for n, change in enumerate(
        (
            said("g1", is_new=True, text=text, members=["a", "b", "c"]),
            said("g2", is_new=True, text=text, members=[]),
            said("g2", add=["a", "z", "z"]),
            said("g1", remove=["a", "none"]),
            said("g1", members=["x"]),
            said("g1", add=["x", "y"], remove=["z"]),
            said("g1", is_deleted=True),
            said("g1", is_deleted=True),
            said("g1", is_new=True, text=text, members=["a", "b"]),
            said("g1", 9, members=list("abcdef")),
        )
    ):
        with suppress(DirectoryFull):
            await directory.say_group(store, TENANT, msgspec.structs.replace(change, mark=10 + n))
        counts = [count for _, count in await directory.groups(store, TENANT)]
        assert int(await store.ask("GET", total)) == sum(counts), change
    assert 0 < await store.ask("TTL", total) <= 3600
    await store.ask("SADD", members_key(TENANT, "g1"), "of an older process")
    await store.ask("DEL", total)  # as after an hour
    await directory.say_group(store, TENANT, said("g2", add=["b"], mark=100))
    assert int(await store.ask("GET", total)) == 10


async def test_groups_over_the_limit_from_before_can_shrink_and_change(store: Store) -> None:
    text = group_text("Sales", "")
    before = said(is_new=True, text=text, members=list("abcd"))
    await directory.say_group(store, TENANT, before)
    for change in (
        said(text=group_text("Buyers", ""), tenant_members_max=2),
        said(members=list("abcd"), tenant_members_max=2),
        said(members=list("abe"), tenant_members_max=2),
        said(add=["a"], remove=["e"], tenant_members_max=2),
    ):
        await directory.say_group(store, TENANT, change)
    assert await directory.members(store, TENANT, "g1") == {"a", "b"}


# -- chats -----------------------------------------------------------------------------------------


async def test_the_latest_title_of_a_chat_stands(store: Store) -> None:
    async def say_title(mark: int, title: str, chat_id: str = "c1") -> object:
        arguments: list[str | int] = [chat_id, mark, title, 1]
        return await store.call(function_name("chat"), LIBRARY, [chats_key(TENANT)], arguments)

    assert await say_title(10, "") == b"done"
    assert await say_title(10, "Hello") == b"done"
    assert await say_title(9, "Old") == b"stale"
    assert await say_title(10, "Other", "c2") == b"chats"
    assert await directory.titles(store, TENANT, ["c1", "c2"]) == {"c1": "Hello"}
    assert await say_title(11, "") == b"done"
    assert await say_title(10, "Late") == b"stale"
    assert await directory.titles(store, TENANT, ["c1"]) == {}
    assert await directory.titles(store, TENANT, []) == {}
