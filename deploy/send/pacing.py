"""`odometer send --to-kafka` sends no faster than the workers count.

The sender reads the counted positions itself. Over HTTP the API does this (`api.ingest.backfill`);
nothing else could slow down a file that goes straight to Kafka.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from api.ingest.pacing import Pacing
from deploy.settings import hide_password
from schemas.errors import InvalidConfig, StoreError, StoreUnavailable
from streams.meter.transport import KafkaTarget, NotDelivered, Outgoing, RefusedEvent
from streams.redis.store import RedisStore

POLL_S: Final = 0.01
TURN_S: Final = 3.0
"""Wait this long for the workers to come near enough. After that the sender reports it and retries."""


class PacedTarget:
    """A topic that takes no more than the workers keep up with, as `api.ingest.pacing` decides."""

    def __init__(self, target: KafkaTarget, counted: CountedPositions, target_ms: int) -> None:
        self._target = target
        self._counted = counted
        self._pacing = Pacing(target_ms)

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[RefusedEvent]:
        until_s = time.monotonic() + min(TURN_S, within_s)
        while not self._has_room(until_s):
            time.sleep(POLL_S)
        refusals = self._target.send(batch, within_s)
        self._pacing.sent(len(batch), self._target.reached, _now_ms())
        return refusals

    def close(self) -> None:
        self._target.close()
        self._counted.close()

    def _has_room(self, until_s: float) -> bool:
        asked_ms = _now_ms()
        positions = self._counted.read()
        if positions is None:
            return True
        standing = self._pacing.looked(positions, asked_ms)
        if not standing.has_room and time.monotonic() >= until_s:
            raise NotDelivered(f"counting is {standing.behind_ms / 1000:.1f} s behind")
        return standing.has_room


class CountedPositions:
    """The positions of the generation that answers, read from Redis by a blocking call."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            self._store = RedisStore(url)
        except ValueError as error:
            raise InvalidConfig(f"the Redis URL cannot be used: {error}") from error
        self._runner = asyncio.Runner()

    def read(self) -> Sequence[int] | None:
        """Return the next offset to count of each partition, None where nothing is counted yet.

        Raises NotDelivered where Redis does not answer or holds something else.
        """
        try:
            meta = self._runner.run(self._store.meta())
        except StoreUnavailable as error:
            raise NotDelivered(
                "send reads from Redis how far counting is, and"
                f" {hide_password(self._url)} does not answer ({error});"
                " name your Redis (--redis) or send at full speed (--unpaced)"
            ) from error
        except StoreError as error:
            raise NotDelivered(str(error)) from error
        return None if meta is None else [part.position for part in meta.partitions]

    def close(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        async with self._store:
            pass


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
