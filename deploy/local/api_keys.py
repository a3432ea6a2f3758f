"""Creates an API key, or looks one up, for programs that have no store open."""

from __future__ import annotations

import time

from api.auth.audit import operator
from api.auth.authenticate import digest_of
from api.auth.key_cache import KeyCache
from api.auth.keys import KeySpec, create_keys, opened
from api.auth.sessions import create_link
from schemas.store.keys import Key


async def create_key(
    redis_url: str, *, name: str, tenant: str, role: str, expires_ms: int | None = None
) -> str:
    """Create a key of one tenant, and return its secret.

    Raises InvalidKey, TooManyKeys, StoreError.
    """
    spec = KeySpec(name, (tenant,), role, expires_ms)
    now_ms = time.time_ns() // 1_000_000
    async with opened(redis_url) as store:
        (made,) = await create_keys(store, [spec], operator(), now_ms)
    return made.secret


async def find_key(redis_url: str, key: str) -> Key | None:
    """Return the record of the key if it is not revoked, whatever its role and expiry."""
    async with opened(redis_url) as store:
        empty = KeyCache(store.ask, lambda: 0)  # asks Redis once, so it needs no clock
        known = await empty.find(digest_of(key))
    if known is None or known.record.revoked_ms is not None:
        return None
    return known.record


async def sign_in_link(redis_url: str, key: str) -> str:
    """Return the token of a sign-in link for the page, which works once."""
    async with opened(redis_url) as store:
        return await create_link(store, digest_of(key))
