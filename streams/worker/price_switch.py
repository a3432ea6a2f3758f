"""How another price list takes effect without a rebuild.

A list that only adds models, or prices that start later, may. The first worker with it makes the
generation count under it, in one atomic step (`adopt` in streams/redis/lua/generations.lua). From
then on Redis rejects commits of workers with the earlier list, so two workers never price events of
one time differently. Events have the price of the list of their own time: those before the step
have been counted, or arrive late. Only a rebuild prices them by the new list.
"""

from __future__ import annotations

import asyncio
from typing import Final

from schemas.limits import DAY_MS
from schemas.prices.list_changes import difference
from schemas.prices.price_list import Prices
from schemas.store.layout import Meta, PartitionMeta
from streams.redis.price_lists import LISTS_MAX
from streams.redis.store import RedisStore

_WHAT_TO_DO: Final = (
    "start the worker with the genai-prices version and the prices file of the counters, or price all"
    " events by this list: odometer rebuild"
)


class PriceSwitch:
    """Lets a worker's own list take effect. It remembers a comparison, which takes up to some
    seconds, for as long as its answer cannot change."""

    def __init__(self, prices: Prices, digest: bytes) -> None:
        self._prices = prices
        self._digest = digest
        self._compared: tuple[bytes, int] | None = None
        self._problem: str | None = None

    async def take_effect(self, store: RedisStore, meta: Meta) -> str | None:
        """Why the list does not take effect; None if it did, or if the generation has changed
        meanwhile: look again. `meta`: of a generation with other prices than the worker's."""
        lists = await store.price_lists(self._prices)
        if not lists:
            return (
                "the counters were made with other prices than this worker's, and do not hold their"
                f" list: {_WHAT_TO_DO}"
            )
        if len(lists) >= LISTS_MAX:
            return f"the counters have had {LISTS_MAX} price lists, the limit: odometer rebuild"
        last = lists[-1]
        counted_ms = max(_counted_ms(meta), last.from_ms)
        # A price may start at any midnight, so until then the answer stays the same.
        midnight_ms = -(-counted_ms // DAY_MS) * DAY_MS
        if (meta.digest, midnight_ms) != self._compared:
            self._problem = await asyncio.to_thread(
                difference, last.prices, self._prices, last.from_ms, midnight_ms
            )
            self._compared = (meta.digest, midnight_ms)
        if self._problem is not None:
            return (
                f"the counters were made with other prices than this worker's: {self._problem}. An"
                f" other list takes effect only if it adds models or later prices: {_WHAT_TO_DO}"
            )
        await store.adopt(meta.digest, self._digest, self._prices, midnight_ms)
        return None


def _counted_ms(meta: Meta) -> int:
    """All events that are counted were appended before this time; 0 if none is. As in `adopt`."""
    return max((_counted_in_ms(part) for part in meta.partitions), default=0)


def _counted_in_ms(part: PartitionMeta) -> int:
    if part.position <= 0:
        return 0
    # After `odometer accept` the last record is not known.
    return part.last_append_ms + 1 if part.last_offset >= 0 else part.complete_ms
