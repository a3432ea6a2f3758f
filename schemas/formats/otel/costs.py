"""What the attributes of a span say that its call costs, in USD, under any name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Final

from schemas.errors import InvalidEvent
from schemas.formats.body import Json, number, usd
from schemas.formats.otel import attributes as names
from schemas.formats.otel.reads import first_number, json_object

NO_NUMBER: Final = " (no number)"
"""Ends the name of a cost that is reported as not understood."""


def cost_of(attributes: Json) -> tuple[str | None, tuple[str, ...]]:
    """The first cost that is said; and the name of a cost that is no number."""
    for name, read in _readers(attributes):
        try:
            cost = read()
        except InvalidEvent:
            return None, (f"{name}{NO_NUMBER}",)
        if cost is not None:
            return str(cost), ()
    return None, ()


def _readers(attributes: Json) -> Iterator[tuple[str, Callable[[], Decimal | str | None]]]:
    for name in names.COST:
        yield name, partial(first_number, attributes, (name,))
    yield names.LANGFUSE_COST, partial(_in_parts, attributes, names.LANGFUSE_COST, "total")
    yield names.MLFLOW_COST, partial(_in_parts, attributes, names.MLFLOW_COST, "total_cost")
    yield names.VERCEL_METADATA, partial(_of_gateways, attributes)
    yield names.COST_PARTS[0], partial(_of_openinference, attributes)


def _in_parts(attributes: Json, name: str, total: str) -> Decimal | None:
    """The total of a text that is an object, or the sum of its parts."""
    told = json_object(attributes, name)
    path = f"{name}."
    if told.get(total) is not None:
        return number(told, total, path)
    parts = [one for part in told if (one := number(told, part, path)) is not None]
    return sum(parts, Decimal(0)) if parts else None


def _of_gateways(attributes: Json) -> str | None:
    """The bill of a gateway, which Vercel's AI SDK passes on: Vercel's own, or OpenRouter's.

    A bill of 0 beside a price of the market is none: the vendor bills the owner of the key.
    """
    if names.VERCEL_METADATA not in attributes:
        return None
    facts = json_object(attributes, names.VERCEL_METADATA)
    path = f"{names.VERCEL_METADATA}."
    gateway, router = _dict(facts.get("gateway")), _dict(facts.get("openrouter"))
    cost = usd(gateway, "cost", f"{path}gateway.")
    if cost is not None:
        market = usd(gateway, "marketCost", f"{path}gateway.")
        return None if not Decimal(cost) and Decimal(market or 0) else cost
    return usd(_dict(router.get("usage")), "cost", f"{path}openrouter.usage.")


def _of_openinference(attributes: Json) -> Decimal | None:
    parts = [first_number(attributes, (name,)) for name in names.COST_PARTS]
    told = [part for part in parts if part is not None]
    return sum(told, Decimal(0)) if len(told) == len(parts) else None


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}
