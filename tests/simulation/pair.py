"""The fake store of a rebuild: the generation that answers, and the one that is filled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from schemas.errors import RebuildRefused
from schemas.event.identity import IdSecret
from schemas.store.layout import (
    LIVE,
    RETIRED,
    Meta,
)
from schemas.tiers import first_closed
from streams.core.ports import PairState
from tests.simulation.state import State, fresh_partition
from tests.simulation.store import FakeStore


class FakePair(FakeStore):
    """`streams.core.ports.Pair` and, of the generation that is filled, `streams.core.ports.CounterStore`."""

    def __init__(self, origin: int, number: int, *shared: Any) -> None:
        super().__init__(*shared)
        self.origin = origin
        self.generation = number

    async def begin(self, digest: bytes, count: int, secret: IdSecret) -> bool:
        await self._turn("store request")
        fake_redis = self.fake_redis
        is_free = fake_redis.current == self.origin and self.generation not in fake_redis.states
        if is_free:
            parts = (fresh_partition(),) * count
            closed = first_closed(self._now_ms())
            meta = Meta(LIVE, digest, 0, 0, 0, 0, 0, self._now_ms(), 0, parts, closed, closed)
            fake_redis.states[self.generation] = State(meta, secret)
            fake_redis.last = max(fake_redis.last, self.generation)
        await self._turn("store reply")
        return is_free

    async def meta(self) -> Meta | None:
        await self._turn("store request")
        meta = self.own.meta
        await self._turn("store reply")
        return meta

    async def look(self) -> PairState:
        await self._turn("store request")
        old, new = (self.fake_redis.states.get(number) for number in (self.origin, self.generation))
        if self.fake_redis.current != self.origin:
            raise RebuildRefused("another one answers")
        if old is None or new is None or old.meta is None or new.meta is None:
            raise RebuildRefused("one of the two is gone")
        look = PairState(old.meta, new.meta)
        await self._turn("store reply")
        return look

    async def hold(self, for_ms: int) -> None:
        await self._turn("store request")
        self.fake_redis.held_until_ms = self._now_ms() + for_ms

    async def switch(self, now_ms: int, kept_ms: int) -> bool:  # noqa: ARG002
        await self._turn("store request")
        fake_redis = self.fake_redis
        if fake_redis.current == self.generation:
            return True
        old, new = (fake_redis.states.get(number) for number in (self.origin, self.generation))
        if fake_redis.current != self.origin or not old or not new or not old.meta or not new.meta:
            raise RebuildRefused("another one answers, or one is gone")
        fresh = (fresh_partition(),) * max(0, len(old.meta.partitions) - len(new.meta.partitions))
        parts = new.meta.partitions + fresh
        behind = any(
            b.position < a.position for a, b in zip(old.meta.partitions, parts, strict=False)
        )
        if behind and not self._bugs.switch_too_soon:
            return False
        known = [part.complete_ms for part in old.meta.partitions] + [0] * len(parts)
        parts = tuple(
            replace(part, complete_ms=max(part.complete_ms, known[p]))
            for p, part in enumerate(parts)
        )
        new.meta = replace(new.meta, partitions=parts)
        old.meta = replace(old.meta, state=RETIRED)
        fake_redis.retired[self.origin] = old.meta.commits
        fake_redis.current = self.generation
        await self._turn("store reply")
        return True


def pair_of(store: FakeStore, number: int) -> FakePair:
    """A client of `store` that fills the generation `number`."""
    return FakePair(store.fake_redis.current, number, *store.shared)
