"""Reads and writes users, groups and titles of chats, and reads the latest calls of a tenant.

They are stored beside the counters. schemas/store/directory.py defines which update wins: the latest,
and an admin's before those of events. The key of a user is the id, or the address if there is no id.
A user, group or chat that is not stored is left out of the result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from api.errors import FilterNotApplied
from api.query.series_index import Filter
from api.store.reader import Store
from api.store.slots import Turn
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
    group_keys,
    groups_key,
    members_key,
    person_of,
    unpack_group,
    unpack_title,
    unpack_user_update,
    users_key,
)
from schemas.store.layout import Meta
from schemas.store.recent_calls import Recent, count_in, latest_of, recent_key

AT_ONCE: Final = 1000
"""Users per command: 0.2 MB of reply."""
USER_CELLS: Final = 4
"""What a user costs in a list of all users, in cells of a body: 500 are made at once, 2 ms."""
CALL_CELLS: Final = 4
"""What it costs to unpack one of the latest calls."""


class DirectoryFull(OdometerError):
    """A limit of the directory is reached. Nothing was written."""


class GroupExists(OdometerError):
    """A group with this id exists already. Nothing was written."""


class NoSuchGroup(OdometerError):
    """The tenant has no group with this id."""


@dataclass(frozen=True)
class Latest:
    """The latest calls, the oldest first, and the state of the counters at about that time."""

    calls: Sequence[Recent]
    meta: Meta


# -- users -----------------------------------------------------------------------------------------


async def people(store: Store, tenant: str, keys: Collection[str]) -> dict[str, Person]:
    """The users among these keys who have a name or an address, by key."""
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
    """The keys of all users whose current address is exactly this one."""
    if not email:
        return frozenset()
    start = email.encode() + b"\0"
    members: list[bytes] = await store.ask(
        "ZRANGEBYLEX", addresses_key(tenant), b"[" + start, b"(" + email.encode() + b"\1"
    )
    keys = [_text(member[len(start) :]) for member in members]
    # An address may contain a NUL itself, so the records decide.
    found = await people(store, tenant, keys)
    return frozenset(key for key, person in found.items() if person.email == email)


@asynccontextmanager
async def turn_of(store: Store, tenant: str) -> AsyncIterator[Turn]:
    """A turn to read everybody and to make a body of them. Where users are many: one at a time."""
    cells = USER_CELLS * await store.ask("HLEN", users_key(tenant))
    async with store.turn(tenant, cells) as turn:
        yield turn


async def everybody(store: Store, tenant: str) -> list[Person]:
    """All users who have a name or an address. Read in pieces, so that Redis serves others meanwhile."""
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
    """Set name and address of a user, by an admin. None leaves a value as it is, "" removes it."""
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
    """Remove name and address for good: later events do not bring them back. Counters stay."""
    await name_user(store, tenant, key, now_ms, email="", name="")


# -- groups ----------------------------------------------------------------------------------------


async def groups(store: Store, tenant: str) -> list[tuple[Group, int]]:
    """All groups with their number of members, by name, then by id."""
    found: dict[str, Group] = {}
    async for group_id, record in _scan(store, groups_key(tenant)):
        one = unpack_group(group_id, record)
        if one is not None:
            found[group_id] = one
    listed = sorted(found.values(), key=lambda one: (one.name, one.id))
    counts = await store.ask_all([("SCARD", members_key(tenant, one.id)) for one in listed])
    return list(zip(listed, counts, strict=True))


async def group(store: Store, tenant: str, group_id: str) -> tuple[Group, int]:
    """A group with its number of members. Raises NoSuchGroup."""
    record, count = await store.ask_all(
        [("HGET", groups_key(tenant), group_id), ("SCARD", members_key(tenant, group_id))]
    )
    one = None if record is None else unpack_group(group_id, record)
    if one is None:
        raise NoSuchGroup(f"there is no group {group_id!r}")
    return one, count


async def members(store: Store, tenant: str, group_id: str) -> frozenset[str]:
    """The user keys of a group's members; empty if there is no such group."""
    found: list[bytes] = await store.ask("SMEMBERS", members_key(tenant, group_id))
    return frozenset(_text(member) for member in found)


async def groups_of(
    store: Store, tenant: str, keys: Sequence[str], of: Sequence[Group]
) -> dict[str, list[str]]:
    """For each user key, the ids of the groups in `of` that it is a member of."""
    if not keys:
        return {}
    rows = await store.ask_all([("SMISMEMBER", members_key(tenant, one.id), *keys) for one in of])
    return {
        key: [one.id for one, row in zip(of, rows, strict=True) if row[at]]
        for at, key in enumerate(keys)
    }


async def say_group(store: Store, tenant: str, said: GroupUpdate) -> None:
    """Change a group. Raises NoSuchGroup, GroupExists or DirectoryFull if nothing was written."""
    keys = group_keys(tenant, said.id)
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
        case b"tenant_members":
            raise DirectoryFull(
                f"the groups of the directory have at most {said.tenant_members_max} members together"
            )
        case _:
            raise StoreCorrupt(f"the group's function answers {outcome!r}")


# -- chats and calls -------------------------------------------------------------------------------


async def titles(store: Store, tenant: str, chat_ids: Collection[str]) -> dict[str, str]:
    """The titles of these chats, by chat id."""
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


VALUE_OF: Final[Mapping[str, Callable[[Recent], str]]] = {
    "kind": lambda _call: "llm",
    "provider": lambda call: call.provider,
    "model": lambda call: call.model,
    "agent": lambda call: call.agent,
    "user": lambda call: call.user,
}
"""The dimensions that a latest call has, by which it can be filtered."""


async def recent(store: Store, tenant: str, only: Sequence[Filter] = ()) -> Latest:
    """The latest counted calls of kind llm, at most `schemas.store.recent_calls.RECENT_MAX` of the tenant. Calls
    of the oldest minute may be missing. `only`: those that pass the filters of a key. Raises FilterNotApplied
    for a dimension that calls do not have."""
    if lacking := [one.dimension for one in only if one.dimension not in VALUE_OF]:
        raise FilterNotApplied(f"the latest calls are stored without {', '.join(lacking)}")
    reading = await store.state()
    members: list[bytes] = await store.ask("ZRANGE", recent_key(reading.generation, tenant), 0, -1)
    cells = CALL_CELLS * sum(map(count_in, filter(None, members)))
    calls = await store.shape(tenant, cells, partial(latest_of, members))
    if only:
        calls = [
            call for call in calls if all(one.takes(VALUE_OF[one.dimension](call)) for one in only)
        ]
    return Latest(calls, reading.meta)


# -- pieces ----------------------------------------------------------------------------------------


async def _scan(store: Store, key: str) -> AsyncIterator[tuple[str, bytes]]:
    """The fields and values of a hash, in pieces. A field may come more than once."""
    cursor = 0
    while True:
        cursor, found = await store.ask("HSCAN", key, cursor, "COUNT", AT_ONCE)
        for name, value in found.items():  # redis-py makes a dict of the reply
            yield _text(name), value
        if cursor == 0:
            return


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("an id in the directory is not UTF-8") from error
