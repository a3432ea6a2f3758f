"""Who asks, and for which tenant: the one door of every endpoint.

A key is any text that a client sends as `Authorization: Bearer KEY` or `x-api-key: KEY`; ours begin
with `als_`, imported ones with whatever they have. Only the SHA-256 is kept and looked up, so no
secret is ever compared with what was sent: what a look-up's time could tell is how the digest of a
guess begins, which the guesser knows anyway and cannot steer towards the digest of a key. That is
what a comparison in constant time would be for, and it holds for the hash in Redis and for the
dict of this process alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from api.auth.key_cache import KeyCache
from api.errors import (
    ExpiredKey,
    NoCredentials,
    NoSuchTenant,
    RoleTooLow,
    TenantNotNamed,
    UnknownKey,
)
from schemas.store.keys import ALL, ROLES, WRITERS, Key, Role

KEY_CHARS_MAX: Final = 512
"""Of a key that is imported; a signed token of 400 characters fits."""
TENANT_HEADER: Final = "x-odometer-tenant"


async def authenticate(key_cache: KeyCache, headers: Mapping[str, str], now_ms: int) -> Key:
    """Who asks, if the key is good and within its limit; each call is one request of the limit.

    Raises NoCredentials, UnknownKey, ExpiredKey, RateLimited, StoreError.
    """
    key = _sent_key(headers)
    if not key:
        raise NoCredentials("no API key was sent")
    known = await key_cache.find(digest_of(key)) if len(key) <= KEY_CHARS_MAX else None
    state = "unknown" if known is None else known.record.state(now_ms)
    if known is None or state == "revoked":
        raise UnknownKey("the API key is not known, or revoked")
    if state == "expired":
        raise ExpiredKey("the API key's time is over")
    key_cache.take(known)
    return known.record


async def reader(key_cache: KeyCache, headers: Mapping[str, str], now_ms: int) -> Key:
    """Who asks, if the key may read at all."""
    key = await authenticate(key_cache, headers, now_ms)
    check_role(key, "viewer")
    return key


def check_role(key: Key, required: Role) -> None:
    """RoleTooLow where the key may not do what `required` may."""
    if ROLES.index(key.role) < ROLES.index(required):
        raise RoleTooLow(required, key.role)


def check_writer(key: Key) -> None:
    """RoleTooLow where the key may not send events."""
    if key.role not in WRITERS:
        raise RoleTooLow("member", key.role)


def tenant_of(key: Key, headers: Mapping[str, str], named: str | None = None) -> str:
    """The tenant that a request is about: `named` by it, or by its header, or the key's only one.

    `named` is what the dialect itself has for it, such as the parameter `tenant` of /v1; it and the
    header must not disagree. Raises TenantNotNamed, NoSuchTenant.
    """
    by_header = _tenant_of_header(headers)
    if named is not None and by_header is not None and named != by_header:
        raise TenantNotNamed(f"the parameter tenant and the header {TENANT_HEADER} disagree")
    wanted = named if named is not None else by_header
    if wanted is None:
        if key.tenants == ALL or len(key.tenants) > 1:
            raise TenantNotNamed(
                f"this key has several tenants: name one, in the header {TENANT_HEADER}"
                " or, under /v1, as the parameter tenant"
            )
        return key.tenants[0]
    if not key.sees(wanted):
        raise NoSuchTenant("this key has no tenant of that name")
    return wanted


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _sent_key(headers: Mapping[str, str]) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme == "Bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key", "").strip()


def _tenant_of_header(headers: Mapping[str, str]) -> str | None:
    """Headers are bytes that arrive as Latin-1; a tenant is UTF-8."""
    text = headers.get(TENANT_HEADER)
    if text is None:
        return None
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise NoSuchTenant("this key has no tenant of that name") from None
