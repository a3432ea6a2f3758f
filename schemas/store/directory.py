"""The directory: who users are, which groups they are in, what chats are called. Pure.

It is stored outside of the generations, so a rebuild does not touch it. Per tenant, under `{od0}:d:`:

    u:TENANT           users: hash user key -> record (`Person`, packed as below)
    a:TENANT           addresses: sorted set of "address NUL key", all of score 0
    g:TENANT           groups: hash group id -> i64 mark | i64 created_ms | i64 updated_ms |
                       JSON of name and description, which a deleted group lacks
    m:N:TENANT:GROUP   members of a group: set of user keys; N is the tenant's length in characters
    n:TENANT           members of all its groups together, counted again after an hour
    epoch              a random value: another one after Redis was emptied
    refused            hash TOPIC:PARTITION:OFFSET of a stream's record -> why it was rejected
    c:TENANT           chats: hash chat id -> i64 mark | title, which a deleted chat lacks

Each update has a mark, and the update with the largest mark wins. So events, resends, replays and
rebuilds may come in any order and any number of times. The mark of an event is its time in ms. The
mark of an admin or a stream is its time plus ON_PURPOSE, which is above that of any event. So a user
who was named or deleted on purpose stays so, although producers go on sending the old values.

A user's record: `<i64 first_ms | i64 last_ms | i64 email mark | i64 name mark | u16 n | email |
u16 n | name>`. A mark of 0: never set. An empty text with a mark: deleted.
Only schemas/store/directory.lua writes all this. A test compares it with this module.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from schemas import limits
from schemas.errors import StoreCorrupt
from schemas.store.layout import HASH_TAG

USERS_MAX: Final = 100_000
"""Users of a tenant, deleted ones included: 200 B each with their address, 20 MB. Further users are
counted as usual, but their names and addresses are not kept."""
GROUPS_MAX: Final = 2000
"""Groups of a tenant, deleted ones included. Listing them all is one read of 0.5 MB."""
MEMBERS_MAX: Final = 10_000
"""Members of one group. A filter by group reads all of them, 1 ms."""
TENANT_MEMBERS_MAX: Final = 100_000
"""Members of all groups of a tenant together, each counted once a group: as many as it has users. An id
of 36 characters takes some 70 B, so 7 MB; of 320 characters, of 4 bytes each, 1.3 kB, so 130 MB.
`GROUPS_MAX` full groups of such ids would take 26 GB."""
CHATS_MAX: Final = 100_000
"""Titles of a tenant, deleted ones included: 100 B each, 10 MB."""
KEY_CHARS_MAX: Final = limits.EMAIL_CHARS_MAX
"""Characters of a user's key, which is an id or an address."""
DESCRIPTION_CHARS_MAX: Final = 1024

ON_PURPOSE: Final = 1 << 50
"""Added to the mark of an update that was made on purpose. Times stay below 2^43 ms (the year 2248),
and the sum below 2^53, up to which Lua counts exactly."""

DIRECTORY: Final = HASH_TAG + "d:"
REFUSALS_KEY: Final = DIRECTORY + "refused"
EPOCH_KEY: Final = DIRECTORY + "epoch"


def users_key(tenant: str) -> str:
    return f"{DIRECTORY}u:{tenant}"


def addresses_key(tenant: str) -> str:
    return f"{DIRECTORY}a:{tenant}"


def groups_key(tenant: str) -> str:
    return f"{DIRECTORY}g:{tenant}"


def members_key(tenant: str, group_id: str) -> str:
    return f"{DIRECTORY}m:{len(tenant)}:{tenant}:{group_id}"


def group_keys(tenant: str, group_id: str) -> list[str]:
    """The keys of an update of a group, in the order of the function `group`."""
    return [
        groups_key(tenant),
        members_key(tenant, group_id),
        f"{DIRECTORY}n:{tenant}",
    ]


def chats_key(tenant: str) -> str:
    return f"{DIRECTORY}c:{tenant}"


# -- users -----------------------------------------------------------------------------------------


class UserUpdate(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An update of one user. A mark of 0 leaves a text as it is. An empty text with a mark deletes
    it."""

    key: str
    first_ms: int
    last_ms: int
    email_mark: int = 0
    email: str = ""
    name_mark: int = 0
    name: str = ""


@dataclass(frozen=True)
class Person:
    """What is known of one user; None is unknown. `first_ms` and `last_ms` are the earliest and the
    latest time of its updates."""

    key: str
    email: str | None
    name: str | None
    first_ms: int
    last_ms: int


_RECORD: Final = struct.Struct("<qqqqH")
_LENGTH: Final = struct.Struct("<H")


def pack_user_update(update: UserUpdate) -> bytes:
    """The record of a user that has no record yet."""
    email, name = update.email.encode(), update.name.encode()
    head = _RECORD.pack(
        update.first_ms, update.last_ms, update.email_mark, update.name_mark, len(email)
    )
    return head + email + _LENGTH.pack(len(name)) + name


def unpack_user_update(key: str, record: bytes) -> UserUpdate:
    """A user's record as an update; StoreCorrupt if the record is damaged."""
    try:
        first_ms, last_ms, email_mark, name_mark, count = _RECORD.unpack_from(record)
        at = _RECORD.size + count
        email = record[_RECORD.size : at].decode()
        (count,) = _LENGTH.unpack_from(record, at)
        name = record[at + _LENGTH.size :].decode()
        if len(record) != at + _LENGTH.size + count:
            raise StoreCorrupt(f"the record of the user {key!r} is damaged")
    except (struct.error, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"the record of the user {key!r} is damaged") from error
    return UserUpdate(key, first_ms, last_ms, email_mark, email, name_mark, name)


def person_of(update: UserUpdate) -> Person:
    return Person(
        update.key, update.email or None, update.name or None, update.first_ms, update.last_ms
    )


def merged(one: UserUpdate, other: UserUpdate) -> UserUpdate:
    """Two updates of a user as one. The order does not matter, and repeating one changes nothing."""
    email_mark, email = max((one.email_mark, one.email), (other.email_mark, other.email))
    name_mark, name = max((one.name_mark, one.name), (other.name_mark, other.name))
    return UserUpdate(
        one.key,
        min(one.first_ms, other.first_ms),
        max(one.last_ms, other.last_ms),
        email_mark,
        email,
        name_mark,
        name,
    )


# -- groups and chats ------------------------------------------------------------------------------

_GROUP_HEAD: Final = struct.Struct("<qqq")
_MARK: Final = struct.Struct("<q")
_GROUP_TEXT: Final = msgspec.json.Decoder(tuple[str, str])


@dataclass(frozen=True)
class Group:
    """A group without its members."""

    id: str
    name: str
    description: str
    created_ms: int
    updated_ms: int


class GroupUpdate(msgspec.Struct, frozen=True):
    """An update of a group, for the function `group` of directory.lua. `members`: None keeps them."""

    id: str
    mark: int
    at_ms: int
    is_last: bool = False
    is_new: bool = False
    is_first: bool = False
    is_deleted: bool = False
    text: str | None = None
    members: Sequence[str] | None = None
    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    groups_max: int = GROUPS_MAX
    members_max: int = MEMBERS_MAX
    tenant_members_max: int = TENANT_MEMBERS_MAX


def group_text(name: str, description: str) -> str:
    return msgspec.json.encode((name, description)).decode()


def unpack_group(group_id: str, record: bytes) -> Group | None:
    """A group from its record; None if it is deleted, StoreCorrupt if the record is damaged."""
    try:
        _, created_ms, updated_ms = _GROUP_HEAD.unpack_from(record)
        if len(record) == _GROUP_HEAD.size:
            return None
        name, description = _GROUP_TEXT.decode(record[_GROUP_HEAD.size :])
    except (struct.error, msgspec.MsgspecError) as error:
        raise StoreCorrupt(f"the record of the group {group_id!r} is damaged") from error
    return Group(group_id, name, description, created_ms, updated_ms)


def unpack_title(record: bytes) -> str:
    """A chat's title; "" if it is deleted."""
    return record[_MARK.size :].decode(errors="replace")


# -- the functions that write ----------------------------------------------------------------------

LUA: Final = (Path(__file__).parent / "directory.lua").read_text()
VERSION: Final = hashlib.sha256(LUA.encode()).hexdigest()[:12]
LIBRARY: Final = f"#!lua name=odometer_directory_{VERSION}\n{LUA}" + "".join(
    f"redis.register_function('odometer_{name}_{VERSION}', {name})\n"
    for name in ("users", "group", "chat")
)
"""Loaded by the process that finds a function missing. A library is never replaced in place."""


def function_name(name: str) -> str:
    return f"odometer_{name}_{VERSION}"
