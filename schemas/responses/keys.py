"""The bodies of `/v1/keys`: requests that make or change keys, and what is shown of keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.store.keys import ONLY_VALUES_MAX, Bound, Key, Role, Tenants
from schemas.units import iso

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")

Only = Annotated[
    dict[str, str | list[str]],
    Field(
        min_length=1,
        max_length=ONLY_VALUES_MAX,
        examples=[{"user": "u-17"}, {"agent": ["support", "sales"]}],
    ),
]
"""Dimension -> its only value, or its only values."""


class KeyWanted(BaseModel):
    """`POST /v1/keys`."""

    model_config = _STRICT

    name: str = Field(description="What the key is for.")
    tenants: Tenants | None = Field(
        default=None,
        description="The tenants that the key may see: some of your own, or `all` for a super-admin or a"
        " monitor. Default: the tenant of the request, and of a monitor `all`.",
    )
    role: Role = Field(
        default="viewer",
        description="At most your own role. A viewer reads. A member also sends events. An admin also"
        " manages keys. write-only sends events and does nothing else. A monitor reads `/metrics` and"
        " `/v1/status`, of all tenants, and nothing else.",
    )
    expires: str | None = Field(default=None, description="An ISO 8601 instant. Default: never.")
    requests_per_s: float | None = Field(
        default=None,
        description="Rate limit, in requests a second: 0.00001 to 100000. Default: none.",
    )
    burst: int | None = Field(
        default=None,
        description="Requests at once under a rate limit. Default: those of one second.",
    )
    only: Only | None = Field(
        default=None,
        description="Filters of everything that the key may read; it must be a viewer. Default: none.",
    )


class KeyHeld(KeyWanted):
    """One of `POST /v1/keys/import`: a key that its client already has."""

    key: str = Field(repr=False, description="16 to 512 visible ASCII characters.")


class KeysHeld(BaseModel):
    """`POST /v1/keys/import`: all keys are imported, or none."""

    model_config = _STRICT

    keys: Annotated[list[KeyHeld], Field(min_length=1)]


class Rotation(BaseModel):
    """`POST /v1/keys/{id}/rotate`."""

    model_config = _STRICT

    grace_s: int = Field(
        default=24 * 3600,
        description="How many seconds the old secret stays valid: 0 to 30 days.",
    )


class TokenWanted(BaseModel):
    """`POST /v1/tokens`."""

    model_config = _STRICT

    only: Only = Field(
        description="Filters of everything that the token may read, beside those of the key: dimensions"
        f" with 1 to {ONLY_VALUES_MAX} values in all, of 1 to 256 characters."
    )
    ttl_s: int = Field(
        default=3600, ge=1, le=86_400, description="How many seconds it is valid: up to 24 hours."
    )


class TokenMade(BaseModel):
    """A token. It is shown this once only, and not stored."""

    model_config = _STRICT

    token: str = Field(repr=False, description="Send it like a key.")
    tenant: str
    only: dict[str, list[str]] = Field(description="The filters of this token.")
    expires: str = Field(description="When it ends, at the latest: it also ends with its key.")


class KeyShown(BaseModel):
    """What is shown of a key, which never includes its secret. Instants are ISO 8601."""

    model_config = _STRICT

    id: str
    serial: int = Field(description="Starts at 1 and grows by one with each rotation.")
    name: str
    tenants: Tenants
    role: Role
    state: Literal["active", "expired", "revoked"]
    created: str = Field(description="When this secret was created.")
    last_used: str | None = Field(description="The last use, to the minute.")
    expires: str | None
    revoked: str | None
    requests_per_s: float | None
    burst: int | None
    shares_limit_of: str | None = Field(
        description="The admin's key that created it. Its rate limit is for both together, and for"
        " all other keys that it created."
    )
    only: Annotated[
        dict[str, list[str]] | None,
        Field(
            exclude_if=lambda only: only is None, description="Filters of what the key may read."
        ),
    ] = None


class KeyMade(KeyShown):
    """A key that was created or rotated. The secret is shown this once only."""

    key: str = Field(repr=False)


class KeysAnswer(BaseModel):
    """`GET /v1/keys`."""

    model_config = _STRICT

    keys: list[KeyShown] = Field(
        description="The keys that you may manage. A rotated key is listed twice."
    )


class AuditLine(BaseModel):
    """One entry of the audit log: who did what to which key."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    at: str
    action: str = Field(description="create, import, rotate, revoke or restore.")
    key_id: str
    key_name: str
    key_role: Role
    key_tenants: list[str] | Literal["all"]
    serial: int
    by_id: str = Field(
        description="The id of the caller's key, or `operator` for the command line."
    )
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
        shares_limit_of=None if record.shared_limit is None else record.shared_limit.id,
        only=shown_bound(record.only) if record.only else None,
    )


def bound_of(only: Mapping[str, str | list[str]] | None) -> Bound:
    """The filters as they are stored: each value once."""
    values = {name: [of] if isinstance(of, str) else of for name, of in (only or {}).items()}
    return tuple((name, tuple(dict.fromkeys(values[name]))) for name in sorted(values))


def shown_bound(bound: Bound) -> dict[str, list[str]]:
    return {name: [*values] for name, values in bound}
