"""The topics of the directory: what a record says of a user, a group or a chat.

Each record holds all that its source says of one user, group or chat. Its key is `TENANT|ID` in
UTF-8. The tenant ends at the first `|`; an empty one is the default tenant. Its value is a JSON
object, or missing if the user, group or chat is deleted. Unknown fields are ignored. The record's
append time is the time of the update.

    PREFIX.users    {"email": text | null, "name": text | null}: a missing field keeps its value,
                    null removes it
    PREFIX.groups   {"name": text, "description": text, "members": [user key, ...]}: without
                    members, the group keeps its members
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
    """A topic of the directory; its name is the prefix, a dot and this word."""

    USERS = "users"
    GROUPS = "groups"
    CHATS = "chats"


ID_CHARS: Final = {
    Stream.USERS: KEY_CHARS_MAX,
    Stream.GROUPS: ID_CHARS_MAX,
    Stream.CHATS: ID_CHARS_MAX,
}
"""The longest id, in characters."""


class InvalidRecord(OdometerError):
    """A record that cannot be written; the text names the field."""


class UserRecord(msgspec.Struct, frozen=True):
    email: Annotated[str, Meta(max_length=EMAIL_CHARS_MAX)] | UnsetType | None = UNSET
    name: Annotated[str, Meta(max_length=ID_CHARS_MAX)] | UnsetType | None = UNSET


class GroupRecord(msgspec.Struct, frozen=True):
    name: Name
    description: Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)] = ""
    members: Annotated[Sequence[UserKey], Meta(max_length=MEMBERS_MAX)] | UnsetType = UNSET


class ChatRecord(msgspec.Struct, frozen=True):
    title: Annotated[str, Meta(min_length=1, max_length=TITLE_CHARS_MAX)]


class ChatTitle(NamedTuple):
    """The title of a chat; "" removes it."""

    chat_id: str
    mark: int
    title: str


class Upsert(NamedTuple):
    """The update of one record, and its tenant."""

    tenant: str
    update: UserUpdate | GroupUpdate | ChatTitle


def topic_of(prefix: str, stream: Stream) -> str:
    return f"{prefix}.{stream}"


def read_record(stream: Stream, key: bytes | None, value: bytes | None, append_ms: int) -> Upsert:
    """The update of a record. Raises InvalidRecord."""
    tenant, thing = _address(stream, key)
    mark = ON_PURPOSE + append_ms
    match stream:
        case Stream.USERS:
            return Upsert(tenant, _user_update(thing, value, append_ms, mark))
        case Stream.GROUPS:
            return Upsert(tenant, _group(thing, value, append_ms, mark))
        case Stream.CHATS:
            record = None if value is None else _decoded(value, ChatRecord)
            return Upsert(tenant, ChatTitle(thing, mark, record.title if record else ""))


def _address(stream: Stream, key: bytes | None) -> tuple[str, str]:
    try:
        tenant, bar, thing = (key or b"").decode().partition("|")
    except UnicodeDecodeError:
        raise InvalidRecord("the key is not UTF-8; it must be TENANT|ID") from None
    if not bar or not thing:
        raise InvalidRecord("the key must be TENANT|ID, with an id that is not empty")
    for part, text, limit in (
        ("tenant", tenant, TENANT_CHARS_MAX),
        ("id", thing, ID_CHARS[stream]),
    ):
        if len(text) > limit:
            raise InvalidRecord(
                f"the key's {part} has {len(text)} characters, the limit is {limit}"
            )
    return tenant or DEFAULT_TENANT, thing


def _user_update(key: str, value: bytes | None, at_ms: int, mark: int) -> UserUpdate:
    record = UserRecord(None, None) if value is None else _decoded(value, UserRecord)
    return UserUpdate(
        key,
        at_ms,
        at_ms,
        0 if record.email is UNSET else mark,
        record.email or "",
        0 if record.name is UNSET else mark,
        record.name or "",
    )


def _group(group_id: str, value: bytes | None, at_ms: int, mark: int) -> GroupUpdate:
    if value is None:
        return GroupUpdate(group_id, mark, at_ms, is_deleted=True)
    record = _decoded(value, GroupRecord)
    members = None if isinstance(record.members, UnsetType) else list(dict.fromkeys(record.members))
    text = group_text(record.name, record.description)
    return GroupUpdate(group_id, mark, at_ms, is_new=True, text=text, members=members)


def _decoded(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRecord(f"the value is invalid: {error}") from error
