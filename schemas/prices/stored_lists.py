"""A whole price list as bytes: counters keep each list that they were made with. Pure.

About 70 kB each. An event that arrives late is priced by the list of its own time, also by a worker
whose package no longer has that list.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NamedTuple

from schemas.errors import StoreCorrupt
from schemas.prices.genai_list import GenaiList, encoded_providers
from schemas.prices.price_list import EarlierPrices, OwnPrice, Prices

FORM: Final = 1
"""Of the bytes. A reader rejects another one."""
JSON_BYTES_MAX: Final = 16 << 20
"""Decompressed. An operator's file of 1 MB makes 4 MB, the bundled list 0.7 MB."""


class CountedPrices(NamedTuple):
    """A list that counters were made with: it holds for events from `from_ms` on, until the next."""

    from_ms: int
    version: str
    prices: Prices


def encode_prices(prices: Prices) -> bytes:
    said = {
        "form": FORM,
        "version": prices.version,
        "own": [
            one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in prices.own
        ],
        "listed": prices.listed_toml,
        "genai_version": prices.genai.version,
        "genai": encoded_providers(prices.genai),
    }
    return zlib.compress(json.dumps(said).encode(), 9)


def decode_prices(data: bytes) -> Prices:
    """Raises StoreCorrupt for anything else than `encode_prices` writes."""
    unzip = zlib.decompressobj()
    try:
        said: Any = json.loads(unzip.decompress(data, JSON_BYTES_MAX))
        if said["form"] != FORM:
            raise StoreCorrupt(f"the stored price list has form {said['form']}")
        own = tuple(_entry(one) for one in said["own"])
        genai = GenaiList(said["genai_version"], said["genai"])
        len(genai.providers)  # raises here, and not at the first event
        prices = Prices(own, said["listed"], genai)
    except (ValueError, ArithmeticError, KeyError, TypeError, zlib.error) as error:
        raise StoreCorrupt("the stored price list is not whole") from error
    if prices.version != said["version"]:
        raise StoreCorrupt(f"the stored price list is not the one that it says: {said['version']}")
    return prices


def since(prices: Prices, counted: Sequence[CountedPrices]) -> Prices:
    """A worker's own list, with the lists that the counters had before it. `counted`: all of them,
    oldest first; the last one is the worker's."""
    earlier = tuple(EarlierPrices(later.from_ms, one.prices) for one, later in pairwise(counted))
    return prices if earlier == prices.earlier else replace(prices, earlier=earlier)


def _entry(said: dict[str, str]) -> OwnPrice:
    fields: dict[str, object] = dict(said)
    for name, value in said.items():
        if name in {"from", "to", "read"}:
            fields[name] = date.fromisoformat(value)
        elif name.startswith(("usd_per_", "times_")):
            fields[name] = Decimal(value)
    return OwnPrice.model_validate(fields, by_alias=True, by_name=False)
