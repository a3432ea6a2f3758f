"""The bodies of Open WebUI's users and groups: what its clients send and read. Pure.

Times are whole seconds since 1970. Values that Open WebUI keeps and we do not (pictures, settings,
permissions) are null, or the default that its clients expect. Fields of its forms that we do not
keep (role, password) are ignored.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.limits import EMAIL_CHARS_MAX, ID_CHARS_MAX, SECOND_MS
from schemas.store.directory import DESCRIPTION_CHARS_MAX, KEY_CHARS_MAX, Group, Person

CHANGED_MAX: Final = 1000
"""Members that one request may add or remove. They go to Redis in one command."""
ROLE: Final = "user"
PICTURE: Final = "/user.png"

Id = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX)]
UserKey = Annotated[str, Field(min_length=1, max_length=KEY_CHARS_MAX)]
Name = Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX)]
Email = Annotated[str, Field(min_length=1, max_length=EMAIL_CHARS_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_CHARS_MAX)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class GroupForm(_Form):
    """`POST /groups/create`. `id` is our addition: the id of the new group. A taken id is a
    conflict."""

    name: Name
    description: Description
    id: Id | None = None


class GroupUpdateForm(_Form):
    name: Name
    description: Description


class UserIdsForm(_Form):
    user_ids: Annotated[list[UserKey], Field(max_length=CHANGED_MAX, fail_fast=True)] | None = None


class UserUpdateForm(_Form):
    name: Name
    email: Email


class AddUserForm(_Form):
    """`POST /auths/add`. `id` is our addition: the user's key in events. Default: the address."""

    name: Name
    email: Email
    id: UserKey | None = None


class GroupInfo(BaseModel):
    """`GET /groups/id/{id}/info`."""

    id: str
    user_id: str
    name: str
    description: str
    member_count: int
    created_at: int
    updated_at: int


class GroupShown(GroupInfo):
    """A group, in all other answers."""

    data: None = None
    meta: None = None
    permissions: None = None


class GroupExport(GroupShown):
    """`GET /groups/id/{id}/export`."""

    user_ids: list[str]


class UserShown(BaseModel):
    """One row of `GET /users/`, and what an update answers."""

    id: str
    name: str
    email: str
    role: str = ROLE
    profile_image_url: str = PICTURE
    last_active_at: int
    updated_at: int
    created_at: int
    group_ids: list[str]


class UserList(BaseModel):
    """`GET /users/`: one page. `total` counts all users that match."""

    users: list[UserShown]
    total: int


class UserInfo(BaseModel):
    """One row of `GET /users/all`, or of a group's members."""

    id: str
    name: str
    email: str
    role: str = ROLE
    groups: list[str] = []
    is_active: bool = False


class UserInfoList(BaseModel):
    users: list[UserInfo]
    total: int


class UserName(BaseModel):
    id: str
    name: str


class UserNameList(BaseModel):
    """`GET /users/search`."""

    users: list[UserName]
    total: int


class UserCard(BaseModel):
    """`GET /users/{id}`."""

    name: str
    profile_image_url: str = PICTURE
    is_active: bool = False
    groups: list[str]


class UserAdded(BaseModel):
    """`POST /auths/add`. Users do not sign in here, so the token is empty."""

    token: str = ""
    token_type: str = "Bearer"  # noqa: S105  a scheme, no secret
    id: str
    name: str
    email: str
    role: str = ROLE
    profile_image_url: str = PICTURE


def group_shown(group: Group, member_count: int) -> GroupShown:
    return GroupShown(
        id=group.id,
        user_id="",
        name=group.name,
        description=group.description,
        member_count=member_count,
        created_at=group.created_ms // SECOND_MS,
        updated_at=group.updated_ms // SECOND_MS,
    )


def name_of(person: Person) -> str:
    """The name, else the address, else the key: clients require a text."""
    return person.name or person.email or person.key


def user_shown(person: Person, group_ids: list[str]) -> UserShown:
    return UserShown(
        id=person.key,
        name=name_of(person),
        email=person.email or "",
        last_active_at=person.last_ms // SECOND_MS,
        updated_at=person.last_ms // SECOND_MS,
        created_at=person.first_ms // SECOND_MS,
        group_ids=group_ids,
    )


def user_info(person: Person) -> UserInfo:
    return UserInfo(id=person.key, name=name_of(person), email=person.email or "")
