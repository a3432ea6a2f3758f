"""A price as integers, for `streams.core.pricing` to evaluate on many events at once. Pure.

The bundled list has three rules. It prices a count without those of its parts that have their own
price (input tokens without the cached ones). It rejects parts that exceed their whole. It rejects a
count that is not reported where a part of it is. All of that is linear in the numbers of the event, so
it is worked out once per price, not once per event.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.limits import (
    COST_NANO_USD_MAX,
    COUNT_MAX,
    DURATION_MS_MAX,
    NANO_PER_USD,
    SECOND_MS,
)
from schemas.prices.billing import needs, unrated, unreported, usage_keys
from schemas.prices.tariffs import Tariff, Why

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices

_NARROW_MAX: Final = 1 << 62
"""Sums below this, and twice their remainders, are exact in 64 bits."""
_REQUESTS: Final = "requests_kcount"
"""The key of the price per request: every event is one request."""


class Absence(NamedTuple):
    """A rule for a count that has a price. Where `field` is not reported (None: no event reports it),
    all of `parts` must be 0, and in each pair of `overlaps` at least one must be 0."""

    field: str | None
    parts: tuple[str, ...]
    overlaps: tuple[tuple[str, str], ...]


class Shape(NamedTuple):
    """The common part of formulas. `fields`: the event's fields in the sum. `required`: fields that
    must be reported. `zeros`: fields that must be 0, because the price has no rate for them. `leaves`:
    signed sums of fields that must not be below 0. `is_narrow`: every sum fits 64 bits."""

    fields: tuple[str, ...]
    required: tuple[str, ...]
    zeros: tuple[str, ...]
    absences: tuple[Absence, ...]
    leaves: tuple[tuple[tuple[str, int], ...], ...]
    least_audio_ms: int
    has_steps: bool
    is_narrow: bool

    @property
    def reads(self) -> set[str]:
        """Every field that the formula reads."""
        found = {*self.fields, *self.required, *self.zeros}
        for field, parts, overlaps in self.absences:
            found |= {*parts, *(one for pair in overlaps for one in pair)}
            found |= {field} if field else set()
        found |= {field for leaf in self.leaves for field, _ in leaf}
        return found | ({"input_tokens"} if self.has_steps else set())


class Rates(NamedTuple):
    """Nano-USD times the denominator: of one of each of the shape's fields, and of a request."""

    per_field: tuple[int, ...]
    per_request: int


@dataclass(frozen=True, eq=False)
class PriceFormula:
    """With more input tokens than `steps[n]`, `rates[n + 1]` price the whole event. `is_own`: the price
    is from the operator's file."""

    shape: Shape
    is_own: bool
    denominator: int
    steps: tuple[int, ...]
    rates: tuple[Rates, ...]


def formula_of(kind: str, found: Tariff) -> PriceFormula | Why:
    """The formula of a price for events of a kind; why there is none, where it needs a number that no
    event reports."""
    required, others = needs(kind, found)
    if others:
        return Why.UNKNOWN
    if unreported(found):
        return Why.INCOMPLETE
    prices = {key: value for key, value in vars(found.rates).items() if value is not None}
    fields_of = usage_keys(kind)
    units = [_units()[key] for key in prices if key != _REQUESTS]
    leaves = _leaves(units, fields_of)
    steps = sorted({start for price in prices.values() for start in _starts(price)})
    levels = [
        _linear({key: _at_step(price, floor) for key, price in prices.items()}, leaves)
        | {field: Fraction(usd) * NANO_PER_USD for field, usd in found.extras.items()}
        for floor in (-1, *steps)
    ]
    denominator = math.lcm(*(f.denominator for level in levels for f in level.values()))
    fields = tuple(sorted({field for level in levels for field in level} - {_REQUESTS}))
    largest = max(
        sum(abs(amount) * denominator * _most_of(field) for field, amount in level.items())
        for level in levels
    )
    shape = Shape(
        fields,
        tuple(sorted(set(required))),
        tuple(sorted(unrated(kind, found))),
        _absences(units, fields_of, required),
        tuple(
            tuple(sorted(leaf.items()))
            for leaf in leaves.values()
            if min(leaf.values(), default=0) < 0
        ),
        found.least_audio_ms,
        bool(steps),
        max(largest, COST_NANO_USD_MAX * denominator) < _NARROW_MAX,
    )
    rates = tuple(
        Rates(
            tuple(int(level.get(field, 0) * denominator) for field in fields),
            int(level.get(_REQUESTS, 0) * denominator),
        )
        for level in levels
    )
    return PriceFormula(shape, found.is_own, denominator, tuple(steps), rates)


# -- a price in parts ------------------------------------------------------------------------------


class _PriceUnit(NamedTuple):
    """One unit that a price can refer to, in the terms of the bundled list: `usage_key` divided by `per`."""

    usage_key: str
    price_key: str
    per: int
    dimensions: Mapping[str, str]

    def holds(self, other: _PriceUnit) -> bool:
        """Whether this unit includes everything that `other` counts."""
        return self.dimensions.items() <= other.dimensions.items()

    def joins(self, one: _PriceUnit, other: _PriceUnit) -> bool:
        """Whether this unit is the overlap of two units, neither of which includes the other."""
        apart = not one.holds(other) and not other.holds(one)
        both = {**one.dimensions, **other.dimensions}
        return apart and both == {**other.dimensions, **one.dimensions} == dict(self.dimensions)


@cache
def _units() -> dict[str, _PriceUnit]:
    """All units of the bundled list, by price key."""
    from genai_prices.data_units import unit_data  # noqa: PLC0415  read when prices are

    units = (
        _PriceUnit(usage_key, unit["price_key"], unit["per"], unit["dimensions"])
        for usage_key, unit in unit_data.items()
    )
    return {unit.price_key: unit for unit in units}


def _leaves(units: list[_PriceUnit], fields_of: Mapping[str, str]) -> dict[str, Counter[str]]:
    """By price key: the signed sum of fields that is billed at that price, which is the count less
    its parts with their own prices. A field that no event reports counts as 0."""
    leaves: dict[str, Counter[str]] = {}
    for unit in sorted(units, key=lambda unit: -len(unit.dimensions)):
        field = fields_of.get(unit.usage_key)
        leaf = Counter({field: 1} if field else {})
        for part in units:
            if part is not unit and unit.holds(part):
                leaf.subtract(leaves[part.price_key])
        leaves[unit.price_key] = Counter({name: n for name, n in leaf.items() if n})
    return leaves


def _absences(
    units: list[_PriceUnit], fields_of: Mapping[str, str], required: list[str]
) -> tuple[Absence, ...]:
    reported = [unit for unit in _units().values() if unit.usage_key in fields_of]
    found = set()
    for unit in units:
        field = fields_of.get(unit.usage_key)
        if field in required:
            continue
        parts = {
            fields_of[one.usage_key]
            for one in reported
            if one.usage_key != unit.usage_key and unit.holds(one)
        }
        overlaps = {
            (fields_of[one.usage_key], fields_of[other.usage_key])
            for one, other in combinations(reported, 2)
            if unit.joins(one, other)
        }
        if parts or overlaps:
            found.add(Absence(field, tuple(sorted(parts)), tuple(sorted(overlaps))))
    return tuple(sorted(found, key=repr))


def _linear(
    prices: Mapping[str, Decimal], leaves: Mapping[str, Counter[str]]
) -> dict[str, Fraction]:
    """Nano-USD of one of each field, and of a request."""
    total: dict[str, Fraction] = {}
    for key, usd in prices.items():
        each = Fraction(usd) * NANO_PER_USD / _units()[key].per
        if key == _REQUESTS:
            total[_REQUESTS] = each
            continue
        for field, count in leaves[key].items():
            of_field = each / SECOND_MS if field.endswith("_ms") else each
            total[field] = total.get(field, Fraction(0)) + count * of_field
    return total


def _starts(price: Decimal | TieredPrices) -> list[int]:
    return [] if isinstance(price, Decimal) else [tier.start for tier in price.tiers]


def _at_step(price: Decimal | TieredPrices, floor: int) -> Decimal:
    """The price with more than `floor` input tokens, and no more than the next step."""
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if tier.start <= floor]
    return reached[-1] if reached else price.base


def _most_of(field: str) -> int:
    if field == _REQUESTS:
        return 1
    return DURATION_MS_MAX if field.endswith("_ms") else COUNT_MAX
