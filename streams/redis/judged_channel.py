"""Tells who watches (`odometer tail`) which events were judged, over Redis' publish and subscribe.

Nothing is stored. Without a subscriber nothing is sent, and a message that nobody reads is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from redis.exceptions import RedisError

from schemas.errors import StoreUnavailable
from schemas.store.layout import HASH_TAG
from streams.redis.client import RedisOwner, ask

CHANNEL: Final = HASH_TAG + "judged"


class JudgedChannel(RedisOwner):
    """Every method raises StoreError."""

    async def has_listeners(self) -> bool:
        found = await ask(self._redis.pubsub_numsub(CHANNEL))
        return any(count for _, count in found)

    async def send(self, message: bytes) -> None:
        await ask(self._redis.publish(CHANNEL, message))

    async def messages(self) -> AsyncIterator[bytes]:
        """Messages from now on, without end."""
        async with self._redis.pubsub() as listening:
            try:
                await listening.subscribe(CHANNEL)
                while True:
                    found = await listening.get_message(ignore_subscribe_messages=True, timeout=1.0)
                    if found is not None:
                        yield found["data"]
            except (RedisError, OSError) as error:
                raise StoreUnavailable(f"Redis does not send what is judged: {error}") from error
