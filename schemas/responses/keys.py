"""Bodies of `/v1/keys`: what a key is to be, and what is told of those that are. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.store.keys import Key, Role, Tenants
from schemas.units import iso

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")


class KeyWanted(BaseModel):
    """`POST /v1/keys`."""

    model_config = _STRICT

    name: str = Field(description="What the key is for.")
    tenants: Tenants | None = Field(
        default=None,
        description="Whose usage it is for: some of your own; a super-admin's may be `all`."
        " Default: the tenant of the request.",
    )
    role: Role = Field(
        default="viewer",
        description="Up to your own. A viewer reads, a member also sends events, write-only does"
        " nothing else, an admin also manages keys.",
    )
    expires: str | None = Field(default=None, description="ISO 8601. Default: never.")
    requests_per_s: float | None = Field(default=None, description="Default: no limit.")
    burst: int | None = Field(
        default=None, description="Requests at once. Default: a second's worth."
    )


class KeyHeld(KeyWanted):
    """One of `POST /v1/keys/import`: a key that its client holds already."""

    key: str = Field(repr=False, description="16 to 512 visible ASCII characters.")


class KeysHeld(BaseModel):
    """`POST /v1/keys/import`: all are taken in, or none."""

    model_config = _STRICT

    keys: Annotated[list[KeyHeld], Field(min_length=1)]


class Rotation(BaseModel):
    """`POST /v1/keys/{id}/rotate`."""

    model_config = _STRICT

    grace_s: int = Field(
        default=24 * 3600,
        description="How long the secret before goes on; 0: ends at once. At most 30 days.",
    )


class KeyShown(BaseModel):
    """What is told of a key: never its secret. Instants are ISO 8601."""

    model_config = _STRICT

    id: str
    serial: int = Field(description="1, and one more with each rotation.")
    name: str
    tenants: Tenants
    role: Role
    state: Literal["active", "expired", "revoked"]
    created: str = Field(description="When this secret was made.")
    last_used: str | None = Field(description="To the minute.")
    expires: str | None
    revoked: str | None
    requests_per_s: float | None
    burst: int | None


class KeyMade(KeyShown):
    """A key that was made or rotated: this is the only time that it can be seen."""

    key: str = Field(repr=False)


class KeysAnswer(BaseModel):
    """`GET /v1/keys`."""

    model_config = _STRICT

    keys: list[KeyShown] = Field(description="Those that you manage; a rotated one twice.")


class AuditLine(BaseModel):
    """Who did what to which key."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    at: str
    action: str = Field(description="create, import, rotate, revoke or restore.")
    key_id: str
    key_name: str
    key_role: Role
    key_tenants: list[str] | Literal["all"]
    serial: int
    by_id: str = Field(description="The id of a key, or `operator` for the command line.")
    by_name: str


class AuditAnswer(BaseModel):
    """`GET /v1/keys/audit`."""

    model_config = _STRICT

    lines: list[AuditLine] = Field(description="Newest first.")


def shown(record: Key, last_used_ms: int | None, now_ms: int) -> KeyShown:
    def instant(at_ms: int | None) -> str | None:
        return None if at_ms is None else iso(at_ms)

    return KeyShown(
        id=record.id,
        serial=record.serial,
        name=record.name,
        tenants=record.tenants,
        role=record.role,
        state=record.state(now_ms),
        created=iso(record.created_ms),
        last_used=instant(last_used_ms),
        expires=instant(record.expires_ms),
        revoked=instant(record.revoked_ms),
        requests_per_s=record.requests_per_s,
        burst=None if record.requests_per_s is None else record.limit_burst,
    )
