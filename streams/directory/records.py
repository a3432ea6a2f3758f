"""The streams of the directory: a keyed record to what it says of a user, group or chat. Pure.

Each record is the whole of what its source says of one thing: key `TENANT|ID` in UTF-8 (the tenant
ends at the first `|`; an empty one is the default), value a JSON object, and no value where the
thing is deleted. Unknown fields are ignored. The record's append time is the time of the word.

    PREFIX.users    {"email": text | null, "name": text | null}: what is left out is not spoken of,
                    null is known no more
    PREFIX.groups   {"name": text, "description": text, "members": [user key, ...]}: without
                    members those that it has stay
    PREFIX.chats    {"title": text}
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.errors import OdometerError
from schemas.event.kinds import DEFAULT_TENANT
from schemas.limits import EMAIL_CHARS_MAX, ID_CHARS_MAX, TENANT_CHARS_MAX, TITLE_CHARS_MAX
from schemas.store.directory import (
    DESCRIPTION_CHARS_MAX,
    KEY_CHARS_MAX,
    MEMBERS_MAX,
    ON_PURPOSE,
    GroupUpdate,
    UserUpdate,
    group_text,
)

Name = Annotated[str, Meta(min_length=1, max_length=ID_CHARS_MAX)]
UserKey = Annotated[str, Meta(min_length=1, max_length=KEY_CHARS_MAX)]


T = TypeVar("T")


class Stream(StrEnum):
    """What a stream tells of; its topic is the prefix and this word."""

    USERS = "users"
    GROUPS = "groups"
    CHATS = "chats"


ID_CHARS: Final = {
    Stream.USERS: KEY_CHARS_MAX,
    Stream.GROUPS: ID_CHARS_MAX,
    Stream.CHATS: ID_CHARS_MAX,
}
"""How long an id may be."""


class InvalidEntry(OdometerError):
    """A record of a stream that says nothing that can be written; the text names the field."""


class UserEntry(msgspec.Struct, frozen=True):
    email: Annotated[str, Meta(max_length=EMAIL_CHARS_MAX)] | UnsetType | None = UNSET
    name: Annotated[str, Meta(max_length=ID_CHARS_MAX)] | UnsetType | None = UNSET


class GroupEntry(msgspec.Struct, frozen=True):
    name: Name
    description: Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)] = ""
    members: Annotated[Sequence[UserKey], Meta(max_length=MEMBERS_MAX)] | UnsetType = UNSET


class ChatEntry(msgspec.Struct, frozen=True):
    title: Annotated[str, Meta(min_length=1, max_length=TITLE_CHARS_MAX)]


class Title(NamedTuple):
    """What is said of a chat; "" is known no more."""

    chat_id: str
    mark: int
    title: str


class Upsert(NamedTuple):
    """What one record says, of whose tenant."""

    tenant: str
    said: UserUpdate | GroupUpdate | Title


def topic_of(prefix: str, stream: Stream) -> str:
    return f"{prefix}.{stream}"


def read_entry(stream: Stream, key: bytes | None, value: bytes | None, append_ms: int) -> Upsert:
    """What a record says; InvalidEntry where it is none of ours."""
    tenant, thing = _address(stream, key)
    mark = ON_PURPOSE + append_ms
    match stream:
        case Stream.USERS:
            return Upsert(tenant, _user_update(thing, value, append_ms, mark))
        case Stream.GROUPS:
            return Upsert(tenant, _group(thing, value, append_ms, mark))
        case Stream.CHATS:
            entry = None if value is None else _decoded(value, ChatEntry)
            return Upsert(tenant, Title(thing, mark, entry.title if entry else ""))


def _address(stream: Stream, key: bytes | None) -> tuple[str, str]:
    try:
        tenant, bar, thing = (key or b"").decode().partition("|")
    except UnicodeDecodeError:
        raise InvalidEntry("the key is not UTF-8; it must be TENANT|ID") from None
    if not bar or not thing:
        raise InvalidEntry("the key must be TENANT|ID, with an id that is not empty")
    for part, text, limit in (
        ("tenant", tenant, TENANT_CHARS_MAX),
        ("id", thing, ID_CHARS[stream]),
    ):
        if len(text) > limit:
            raise InvalidEntry(f"the key's {part} has {len(text)} characters, the limit is {limit}")
    return tenant or DEFAULT_TENANT, thing


def _user_update(key: str, value: bytes | None, at_ms: int, mark: int) -> UserUpdate:
    entry = UserEntry(None, None) if value is None else _decoded(value, UserEntry)
    return UserUpdate(
        key,
        at_ms,
        at_ms,
        0 if entry.email is UNSET else mark,
        entry.email or "",
        0 if entry.name is UNSET else mark,
        entry.name or "",
    )


def _group(group_id: str, value: bytes | None, at_ms: int, mark: int) -> GroupUpdate:
    if value is None:
        return GroupUpdate(group_id, mark, at_ms, is_deleted=True)
    entry = _decoded(value, GroupEntry)
    members = None if isinstance(entry.members, UnsetType) else list(dict.fromkeys(entry.members))
    text = group_text(entry.name, entry.description)
    return GroupUpdate(group_id, mark, at_ms, is_new=True, text=text, members=members)


def _decoded(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidEntry(f"the value is not what it must be: {error}") from error
