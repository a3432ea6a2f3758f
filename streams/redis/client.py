"""The client of Redis or Valkey: connection, one exchange, function calls, errors.

Only the modules of streams/redis import the package `redis`. streams/directory/store.py uses this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from schemas.store.redis_errors import FunctionMissing, LibraryExists, store_error

CONNECT_S: Final = 2.0
"""A store on the same network answers a connect in milliseconds."""
ANSWER_S: Final = 5.0
"""The largest commit takes a tenth of a second; an AOF rewrite or a swap-in may add seconds."""


def connect(url: str) -> redis.Redis:
    """A client that connects when it is first used."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        # The worker retries a commit under the same commit id; the client never does.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
    )


class RedisOwner:
    """Has a client of its own. Use as `async with`, which closes it."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._redis.aclose()


async def ask(command: object) -> Any:  # noqa: ANN401  as RESP has it
    """Awaits one command. Raises StoreError for every error of the client."""
    try:
        return await cast("Awaitable[Any]", command)
    except (RedisError, OSError) as error:
        raise store_error(error) from error


async def call_function(
    client: redis.Redis,
    function: str,
    library: str,
    keys: Sequence[str],
    arguments: Sequence[Any],
    *,
    is_read_only: bool = False,
) -> Any:  # noqa: ANN401  as RESP has it
    """Calls a function. Loads its library first if the server does not have it yet."""
    call: Callable[..., object] = client.fcall_ro if is_read_only else client.fcall
    try:
        return await ask(call(function, len(keys), *keys, *arguments))
    except FunctionMissing:
        await _load(client, library)
    return await ask(call(function, len(keys), *keys, *arguments))


async def _load(client: redis.Redis, library: str) -> None:
    with suppress(LibraryExists):  # another process was first
        await ask(client.function_load(library))
