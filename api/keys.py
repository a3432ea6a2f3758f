"""API keys: made once, shown once, kept only as SHA-256, looked up at each request.

`{od0}:keys` is a hash: hex digest of the key -> JSON of what it may do. It lies beside the
generations: a rebuild leaves it alone. What is looked up is a digest of what was sent, 256 random
bits at its source, so the time that a look-up takes says nothing about any key.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers

from api.errors import ExpiredKey, NoCredentials, RoleTooLow, UnknownKey
from api.store import Store
from schemas.errors import InvalidConfig, StoreCorrupt
from schemas.layout import LANE
from schemas.limits import ID_CHARS_MAX, TENANT_CHARS_MAX
from schemas.units import instant_to_ms

KEYS_KEY: Final = LANE + "keys"
KEY_PREFIX: Final = "als_"
KEY_RANDOM_BYTES: Final = 32
"""43 URL-safe characters: 2^256 keys cannot be tried."""

Role = Literal["viewer", "member", "admin", "super-admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Least first; each may do what those before it may."""


class Key(BaseModel):
    """What a key may do, as it is kept. A key sees its own tenant only."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX)]
    tenant: Annotated[str, Field(min_length=1, max_length=TENANT_CHARS_MAX)]
    role: Role
    created_ms: Annotated[int, Field(ge=0)]
    expires_ms: Annotated[int, Field(ge=0)] | None = None
    revoked: bool = False


async def create_key(
    redis_url: str, *, name: str, tenant: str, role: str, expires_ms: int | None = None
) -> str:
    """Make a key and return it: this is the only time that it can be seen."""
    now_ms = instant_to_ms(datetime.now(UTC))
    try:
        record = Key.model_validate(
            {"name": name, "tenant": tenant, "role": role, "created_ms": now_ms}
            | {"expires_ms": expires_ms}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise InvalidConfig(f"{first['loc'][0]} of a key: {first['msg']}") from error
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)
    store = Store(redis_url, b"")
    try:
        await store.set_hash_value(KEYS_KEY, digest_of(key), record.model_dump_json().encode())
    finally:
        await store.close()
    return key


async def key_is_known(redis_url: str, key: str) -> bool:
    """Whether `key` was made here and is not revoked, whatever its role and expiry."""
    store = Store(redis_url, b"")
    try:
        record = await _look_up(store, key)
    finally:
        await store.close()
    return record is not None and not record.revoked


async def revoke_key(redis_url: str, key: str) -> bool:
    """End a key for good, from the next request on; False where there is none such."""
    store = Store(redis_url, b"")
    try:
        record = await _look_up(store, key)
        if record is not None:
            revoked = record.model_copy(update={"revoked": True})
            await store.set_hash_value(KEYS_KEY, digest_of(key), revoked.model_dump_json().encode())
    finally:
        await store.close()
    return record is not None


async def authenticate(store: Store, headers: Headers, now_ms: int) -> Key:
    """Who asks: `Authorization: Bearer KEY`, or `x-api-key: KEY`; or why that is not known."""
    key = _sent_key(headers)
    if not key:
        raise NoCredentials("no API key was sent")
    record = await _look_up(store, key) if key.startswith(KEY_PREFIX) else None
    if record is None or record.revoked:
        raise UnknownKey("the API key is not known, or revoked")
    if record.expires_ms is not None and now_ms >= record.expires_ms:
        raise ExpiredKey("the API key's time is over")
    return record


def check_role(key: Key, required: Role) -> None:
    if ROLES.index(key.role) < ROLES.index(required):
        raise RoleTooLow(required, key.role)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _sent_key(headers: Headers) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme == "Bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key", "").strip()


async def _look_up(store: Store, key: str) -> Key | None:
    record = await store.hash_value(KEYS_KEY, digest_of(key))
    if record is None:
        return None
    try:
        return Key.model_validate_json(record)
    except ValidationError as error:
        raise StoreCorrupt("the record of an API key is not one") from error
