"""Which keys AgentLens's paths accept: any role may read, members may also write."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from api.auth.authenticate import authenticate, check_role
from api.auth.key_cache import KeyCache
from schemas.store.keys import Key, Role

READING_METHODS: Final = ("GET", "HEAD", "OPTIONS")


async def authorize(
    request: Request, key_cache: KeyCache, now_ms: int, *, filters: bool = False
) -> Key:
    """The key of the request, as `authenticate`. Raises RoleTooLow if its role must not use this method."""
    key = await authenticate(key_cache, request.headers, now_ms, filters=filters)
    required: Role = "viewer" if request.method in READING_METHODS else "member"
    check_role(key, required)
    return key
