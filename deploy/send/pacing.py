"""`odometer send --to-kafka`, as fast as the workers count: the sender looks at the counters itself.

Over HTTP the API does this (`api.ingest.backfill`); past it nobody else could.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.ingest.pacing import Pacing
from deploy.local.valkey import hide_password
from schemas.errors import InvalidConfig, StoreCorrupt
from schemas.store.layout import CURRENT_KEY, meta_key, unpack_meta
from streams.meter.transport import KafkaTarget, NotDelivered, Outgoing, Refusal

LOOK_S: Final = 0.01
TURN_S: Final = 3.0
"""For counting to come near enough; then the sender is told, and asks again."""
ANSWER_S: Final = 1.0


class Counted(Protocol):
    """How far the counters are."""

    def positions(self) -> Sequence[int] | None:
        """By partition, the next record to count; None where nothing counts yet. NotDelivered where
        nobody can say."""

    def close(self) -> None: ...


class PacedTarget:
    """A topic to which no more is sent than the workers keep up with, as `api.ingest.pacing` has it."""

    def __init__(self, target: KafkaTarget, counted: Counted, target_ms: int) -> None:
        self._target = target
        self._counted = counted
        self._pacing = Pacing(target_ms)

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[Refusal]:
        until_s = time.monotonic() + min(TURN_S, within_s)
        while not self._has_room(until_s):
            time.sleep(LOOK_S)
        refusals = self._target.send(batch, within_s)
        self._pacing.sent(len(batch), self._target.reached, _now_ms())
        return refusals

    def close(self) -> None:
        self._target.close()
        self._counted.close()

    def _has_room(self, until_s: float) -> bool:
        asked_ms = _now_ms()
        positions = self._counted.positions()
        if positions is None:
            return True
        standing = self._pacing.looked(positions, asked_ms)
        if not standing.has_room and time.monotonic() >= until_s:
            raise NotDelivered(f"counting is {standing.behind_ms / 1000:.1f} s behind")
        return standing.has_room


class CountedInRedis:
    """The state of the generation that answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=ANSWER_S,
                socket_connect_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise InvalidConfig(f"the Redis URL cannot be used: {error}") from error

    def positions(self) -> Sequence[int] | None:
        try:
            current = self._client.get(CURRENT_KEY)
            record = self._client.get(meta_key(int(current))) if current else None
        except (redis.RedisError, OSError) as error:
            raise NotDelivered(
                "to go no faster than events are counted, send reads how far they are, and"
                f" {hide_password(self._url)} does not answer: name it (--redis) or go without"
                f" (--unpaced): {error}"
            ) from error
        if not isinstance(record, bytes):
            return None
        try:
            return [part.position for part in unpack_meta(record).partitions]
        except StoreCorrupt as error:
            raise NotDelivered(str(error)) from error

    def close(self) -> None:
        self._client.close()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
