"""Who users are, which groups they are in, what chats are called, and the latest calls of a tenant.

Read and written beside the counters, through the store's connection; schemas/store/directory.py says
which update wins: the latest, and what an admin says above what events carry. A user's key is its id,
or its address where there is none. What a tenant does not know is left out, never an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from api.store.reader import Store
from schemas.errors import OdometerError, StoreCorrupt
from schemas.store.directory import (
    GROUPS_MAX,
    LIBRARY,
    ON_PURPOSE,
    USERS_MAX,
    Group,
    GroupUpdate,
    Person,
    UserUpdate,
    addresses_key,
    chats_key,
    function_name,
    groups_key,
    members_key,
    person_of,
    unpack_group,
    unpack_title,
    unpack_user_update,
    users_key,
)
from schemas.store.layout import Meta
from schemas.store.recent_calls import Recent, recent_key, unpack_recent

AT_ONCE: Final = 1000
"""Users that one command asks for: 0.2 MB of an answer."""


class DirectoryFull(OdometerError):
    """A limit of the directory is reached: what was said has no room, and nothing was written."""


class GroupExists(OdometerError):
    """There is a group of that id already, and nothing was written."""


class NoSuchGroup(OdometerError):
    """The tenant has no group of that id."""


@dataclass(frozen=True)
class Latest:
    """The latest calls, oldest first, and the state of the counters at about that moment."""

    calls: Sequence[Recent]
    meta: Meta


# -- users -----------------------------------------------------------------------------------------


async def people(store: Store, tenant: str, keys: Collection[str]) -> dict[str, Person]:
    """Of these user keys, those of whom a name or an address is known, by key."""
    asked = list(keys)
    found: dict[str, Person] = {}
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        records: list[bytes | None] = await store.ask("HMGET", users_key(tenant), *some)
        for key, record in zip(some, records, strict=True):
            person = _person(key, record)
            if person is not None:
                found[key] = person
    return found


async def keys_of_address(store: Store, tenant: str, email: str) -> frozenset[str]:
    """The keys of all users whose latest known address is this one, character by character."""
    if not email:
        return frozenset()
    start = email.encode() + b"\0"
    members: list[bytes] = await store.ask(
        "ZRANGEBYLEX", addresses_key(tenant), b"[" + start, b"(" + email.encode() + b"\1"
    )
    keys = [_text(member[len(start) :]) for member in members]
    # An address may hold a NUL itself: what the records say decides.
    found = await people(store, tenant, keys)
    return frozenset(key for key, person in found.items() if person.email == email)


async def everybody(store: Store, tenant: str) -> list[Person]:
    """All users of whom a name or an address is known; read in pieces, so that nobody waits."""
    found: dict[str, Person] = {}
    async for key, record in _scan(store, users_key(tenant)):
        person = _person(key, record)
        if person is not None:
            found[key] = person
    return list(found.values())


def _person(key: str, record: bytes | None) -> Person | None:
    if record is None:
        return None
    person = person_of(unpack_user_update(key, record))
    return person if person.email or person.name else None


async def name_user(
    store: Store, tenant: str, key: str, now_ms: int, *, email: str | None, name: str | None
) -> None:
    """An admin's update about a user; what is None is left as it is, "" is known no more."""
    mark = ON_PURPOSE + now_ms
    update = UserUpdate(
        key,
        now_ms,
        now_ms,
        0 if email is None else mark,
        email or "",
        0 if name is None else mark,
        name or "",
    )
    keys = [users_key(tenant), addresses_key(tenant)]
    arguments: list[str | int] = [msgspec.json.encode([update]).decode(), USERS_MAX, "1"]
    _, turned_away = await store.call(function_name("users"), LIBRARY, keys, arguments)
    if turned_away:
        raise DirectoryFull(f"the directory has {USERS_MAX} users, its limit")


async def forget_user(store: Store, tenant: str, key: str, now_ms: int) -> None:
    """Name and address become unknown, whatever producers go on sending; counters stay."""
    await name_user(store, tenant, key, now_ms, email="", name="")


# -- groups ----------------------------------------------------------------------------------------


async def groups(store: Store, tenant: str) -> list[tuple[Group, int]]:
    """All groups with the number of their members, by name, then by id."""
    found: dict[str, Group] = {}
    async for group_id, record in _scan(store, groups_key(tenant)):
        one = unpack_group(group_id, record)
        if one is not None:
            found[group_id] = one
    listed = sorted(found.values(), key=lambda one: (one.name, one.id))
    counts = await store.ask_all([("SCARD", members_key(tenant, one.id)) for one in listed])
    return list(zip(listed, counts, strict=True))


async def group(store: Store, tenant: str, group_id: str) -> tuple[Group, int]:
    """One group with the number of its members, or NoSuchGroup."""
    record, count = await store.ask_all(
        [("HGET", groups_key(tenant), group_id), ("SCARD", members_key(tenant, group_id))]
    )
    one = None if record is None else unpack_group(group_id, record)
    if one is None:
        raise NoSuchGroup(f"there is no group {group_id!r}")
    return one, count


async def members(store: Store, tenant: str, group_id: str) -> frozenset[str]:
    """The user keys of a group's members now; none where there is no such group."""
    found: list[bytes] = await store.ask("SMEMBERS", members_key(tenant, group_id))
    return frozenset(_text(member) for member in found)


async def groups_of(
    store: Store, tenant: str, keys: Sequence[str], of: Sequence[Group]
) -> dict[str, list[str]]:
    """Of each user key, the ids of those of the groups `of` that it is a member of."""
    if not keys:
        return {}
    rows = await store.ask_all([("SMISMEMBER", members_key(tenant, one.id), *keys) for one in of])
    return {
        key: [one.id for one, row in zip(of, rows, strict=True) if row[at]]
        for at, key in enumerate(keys)
    }


async def say_group(store: Store, tenant: str, said: GroupUpdate) -> None:
    """One change of a group; NoSuchGroup, GroupExists or DirectoryFull where nothing was written."""
    keys = [groups_key(tenant), members_key(tenant, said.id)]
    arguments = [msgspec.json.encode(said).decode()]
    outcome = await store.call(function_name("group"), LIBRARY, keys, arguments)
    match outcome:
        case b"done":
            return
        case b"unknown":
            raise NoSuchGroup(f"there is no group {said.id!r}")
        case b"exists":
            raise GroupExists(f"there is a group {said.id!r} already")
        case b"groups":
            raise DirectoryFull(f"the directory has {GROUPS_MAX} groups, its limit")
        case b"members":
            raise DirectoryFull(f"a group has at most {said.members_max} members")
        case _:
            raise StoreCorrupt(f"the group's function answers {outcome!r}")


# -- chats and calls -------------------------------------------------------------------------------


async def titles(store: Store, tenant: str, chat_ids: Collection[str]) -> dict[str, str]:
    """Of these chats, the titles that the stream of titles gave, by chat id."""
    asked = list(chat_ids)
    if not asked:
        return {}
    records: list[bytes | None] = await store.ask("HMGET", chats_key(tenant), *asked)
    found = zip(asked, records, strict=True)
    return {
        chat_id: title
        for chat_id, record in found
        if record is not None and (title := unpack_title(record))
    }


async def recent(store: Store, tenant: str) -> Latest:
    """The latest calls of kind llm that were counted, at most `schemas.store.recent_calls.RECENT_MAX`."""
    reading = await store.state()
    members: list[bytes] = await store.ask("ZRANGE", recent_key(reading.generation, tenant), 0, -1)
    return Latest([unpack_recent(member) for member in members], reading.meta)


# -- pieces ----------------------------------------------------------------------------------------


async def _scan(store: Store, key: str) -> AsyncIterator[tuple[str, bytes]]:
    """Fields and values of a hash, in pieces; one may come twice."""
    cursor = 0
    while True:
        cursor, found = await store.ask("HSCAN", key, cursor, "COUNT", AT_ONCE)
        for name, value in found.items():  # as the client makes it of the reply
            yield _text(name), value
        if cursor == 0:
            return


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("an id in the directory is not UTF-8") from error
