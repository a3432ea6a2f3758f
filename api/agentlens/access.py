"""Which keys AgentLens's paths accept: any role may read, members may also write. Filters of a key apply
to each question, or it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from api.auth.authenticate import authenticate, check_role
from api.auth.key_cache import KeyCache
from api.errors import FilterNotApplied, UnanswerableQuestion
from api.query.series_index import Filter
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


@contextmanager
def within(only: Sequence[Filter]) -> Iterator[None]:
    """Around the plans of a question within the filters of a key. Raises FilterNotApplied if no view has
    them too."""
    try:
        yield
    except UnanswerableQuestion as error:
        if not only:
            raise
        raise FilterNotApplied(
            f"no view has {', '.join(one.dimension for one in only)} beside what this path shows"
        ) from error
