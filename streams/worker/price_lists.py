"""The price list of a worker, with those that its generation had before."""

from __future__ import annotations

from schemas.prices.price_list import Prices
from schemas.prices.stored_lists import since
from streams.core.ports import CounterStore


async def counted_prices(store: CounterStore, own: Prices) -> Prices:
    """`own`: of the digest of the generation. It is stored with the generation if no list is."""
    lists = await store.price_lists(own)
    if not lists:
        await store.keep_prices(own)
    return since(own, lists)
