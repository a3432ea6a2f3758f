"""What INFO says of the Redis server: memory, evictions, and whether it rewrites its file."""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import RedisError

from schemas.errors import StoreError
from streams.redis.client import ask, connect


class RedisServer(NamedTuple):
    """`maxmemory_bytes`: 0 is no limit."""

    memory_bytes: int
    maxmemory_bytes: int
    evicted_keys: int
    is_rewriting: bool


async def read_server(url: str) -> RedisServer | None:
    """None where Redis does not answer, or a service has forbidden INFO or left out what is needed."""
    redis = connect(url)
    try:
        found = await ask(redis.info())
        return RedisServer(
            int(found["used_memory"]),
            int(found["maxmemory"]),
            int(found["evicted_keys"]),
            bool(found.get("aof_rewrite_in_progress", 0)),
        )
    except (StoreError, RedisError, KeyError):
        return None
    finally:
        await redis.aclose()
