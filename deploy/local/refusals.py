"""What `odometer up` prints while workers refuse to count: each reason once, and when it is over."""

import asyncio
from collections.abc import Iterator

from schemas.errors import StoreError
from schemas.responses.status import RefusalStatus
from streams.operations.status import refusals_by_reason
from streams.operations.verdict import refusal_sentence, repair
from streams.redis.store import RedisStore

# A worker checks its refusals every 2 s.
LOOK_EVERY_S = 3.0


class Refusals:
    """Looks at the refusals in Redis from time to time."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._due_s = 0.0
        self._said: dict[str, int] = {}

    def news(self, now_s: float) -> Iterator[str]:
        """Yield a line for each new reason, and one when nothing is refused any more."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + LOOK_EVERY_S
        try:
            found = asyncio.run(_read(self._redis_url))
        except StoreError:
            return  # its supervisor reports it
        now = {one.reason: len(one.partitions or ()) for one in found}
        for one in found:
            if self._said.get(one.reason, -1) < now[one.reason]:
                yield f"{refusal_sentence(one)} Next: {repair(one.reason)}"
        if self._said and not now:
            yield "All partitions are counted again."
        self._said = now


async def _read(redis_url: str) -> list[RefusalStatus]:
    async with RedisStore(redis_url) as store:
        await store.meta()
        return refusals_by_reason(await store.refusals(), None)
