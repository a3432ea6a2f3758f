"""`odometer accept`: an operator allows paused partitions to continue without lost records."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from schemas.units import iso
from streams.core.ports import RefusalReason
from streams.kafka.offsets import read_bounds, read_record_at
from streams.redis.store import RedisStore


class Accepted(BaseModel):
    """A partition that was paused, its new position, and the start of its complete history (ms since
    1970). `done` is False where the position moved meanwhile."""

    model_config = ConfigDict(frozen=True)

    partition: int
    reason: str
    position_before: int
    position: int
    history_from_ms: int
    done: bool

    def sentence(self) -> str:
        if not self.done:
            return f"partition {self.partition}: its position moved meanwhile, nothing was changed"
        return (
            f"partition {self.partition}: was paused ({self.reason}), continues at offset "
            f"{self.position}; answers report history_from {iso(self.history_from_ms)}"
        )


async def accept_losses(
    kafka: str, redis_url: str, topic: str, now_ms: Callable[[], int], *, dry_run: bool
) -> list[Accepted]:
    """Moves every paused partition to the first record of the topic. Counters stay as they are.

    Raises StoreError and LogUnavailable. Then no partition was changed, or only the first ones.
    """
    bounds = await read_bounds(kafka, topic)
    accepted = []
    async with RedisStore(redis_url) as store:
        meta = await store.meta()
        for partition, stored in enumerate(meta.partitions if meta else ()):
            if not stored.refused or partition not in bounds:
                continue
            start = bounds[partition].start
            first = await read_record_at(kafka, topic, partition, start)
            history_from_ms = first.append_ms if first else now_ms()
            done = dry_run or await store.accept(partition, stored.position, start, history_from_ms)
            accepted.append(
                Accepted(
                    partition=partition,
                    reason=RefusalReason(stored.refused).name.lower(),
                    position_before=stored.position,
                    position=start,
                    history_from_ms=history_from_ms,
                    done=done,
                )
            )
    return accepted
