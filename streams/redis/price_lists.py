"""The price lists of a generation in Redis, oldest first.

    N:prices       when each took effect, in ms (0: from the beginning), and its version, as JSON
    N:prices.I     the list at place I (schemas/prices/stored_lists.py)

An event has the price of the list of its own time. `adopt` in lua/generations.lua adds a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import redis.asyncio as redis

from schemas.errors import StoreCorrupt
from schemas.prices.price_list import Prices
from schemas.prices.stored_lists import CountedPrices, decode_prices, encode_prices
from schemas.store.layout import prefix
from streams.redis.client import ask

LISTS_MAX: Final = 64
"""Of one generation: a new one each week for a year, 4 MB. `odometer rebuild` makes one of all."""


def prices_key(generation: int) -> str:
    return prefix(generation) + "prices"


def price_list_key(generation: int, place: int) -> str:
    return f"{prices_key(generation)}.{place}"


async def list_starts(client: redis.Redis, generation: int) -> list[tuple[int, str]]:
    """When each list took effect, in ms (0: from the beginning), and its version; oldest first."""
    data = await ask(client.get(prices_key(generation)))
    if data is None:
        return []
    try:
        return msgspec.json.decode(data, type=list[tuple[int, str]], strict=False)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"{prices_key(generation)} holds {data[:100]!r}") from error


async def read_lists(
    client: redis.Redis, generation: int, known: dict[str, Prices]
) -> Sequence[CountedPrices]:
    """All lists of a generation. `known` has lists by version; those that are read are added."""
    found = []
    for place, (from_ms, version) in enumerate(await list_starts(client, generation)):
        if version not in known:
            data = await ask(client.get(price_list_key(generation, place)))
            if data is None:
                raise StoreCorrupt(f"{price_list_key(generation, place)} is gone: odometer rebuild")
            known[version] = await asyncio.to_thread(decode_prices, data)
        found.append(CountedPrices(from_ms, version, known[version]))
    return found


async def keep_list(client: redis.Redis, generation: int, prices: Prices) -> None:
    data = await asyncio.to_thread(encode_prices, prices)
    index = msgspec.json.encode([(0, prices.version)])
    pipe = client.pipeline(transaction=True)
    pipe.set(price_list_key(generation, 0), data, nx=True)
    pipe.set(prices_key(generation), index, nx=True)
    await ask(pipe.execute())
