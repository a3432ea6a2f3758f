"""The cost of a batch's events that came without one: `schemas.prices.cost.price` on arrays. Pure.

A price in force is a `PriceFormula`: a sum of integer rates times the numbers of the event, over a
common denominator. It is rounded half-even at the end, so the result equals the scalar calculation to
the last digit. Formulas of one `Shape` (the same fields and checks; a few dozen exist) are evaluated
together, whatever their rates. So a batch with a thousand models costs about as much as with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.catalog.measures import COST_EVENTS, COST_NANO_USD, MEASURES
from schemas.event.event_struct import EventStruct
from schemas.event.kinds import USAGE_KINDS
from schemas.limits import COST_NANO_USD_MAX, COUNT_MAX, DAY_MS
from schemas.prices.cost import uses_anything
from schemas.prices.price_list import Prices
from schemas.prices.tariffs import MODELS_MAX, Tariff, Why, edges, tariff
from schemas.prices.terms import STANDARD_TERMS, Terms, terms_of
from schemas.store.layout import Int64s
from schemas.units import EPOCH, instant_to_ms, ms_to_instant
from streams.core.price_formula import Absence, PriceFormula, Shape, formula_of

_COST_AT: Final = MEASURES.index(COST_NANO_USD)
_COST_EVENTS_AT: Final = MEASURES.index(COST_EVENTS)

CostSources = npt.NDArray[np.int8]


class CostSource(IntEnum):
    """Where the cost of an event comes from, or why it has none."""

    NONE = 0  # no usage, or no billed usage
    GIVEN = 1  # by its producer
    OWN = 2  # the operator's prices file
    BUNDLED = 3  # the list of genai-prices
    UNKNOWN = 4  # there is usage, and no list has a price
    INCOMPLETE = 5  # there is a price, and its input numbers are missing or inconsistent


COMPUTED: Final = {CostSource.OWN: "cost:own_prices", CostSource.BUNDLED: "cost:bundled_prices"}
UNPRICED: Final = {CostSource.UNKNOWN: "unpriced:", CostSource.INCOMPLETE: "incomplete:"}


class PricingInput(NamedTuple):
    """The events of a batch. `codes`: kinds, providers, models and tenants as indexes into `words`."""

    wires: Sequence[EventStruct]
    at_ms: Int64s
    codes: Mapping[str, Int64s]
    words: Mapping[str, Sequence[str]]


def add_costs(prices: Prices, asked: PricingInput, values: Int64s) -> CostSources:
    """Writes the cost of every usage event that has none into `values` (n x measures). Returns the
    source of each event's cost."""
    kinds = np.array([kind in USAGE_KINDS for kind in asked.words["kind"]], bool)
    is_usage = kinds[asked.codes["kind"]]
    is_given = values[:, _COST_EVENTS_AT] > 0
    cost_source = np.where(is_given, np.int8(CostSource.GIVEN), np.int8(CostSource.NONE))
    rows = np.flatnonzero(is_usage & ~is_given)
    if len(rows):
        nano_usd, cost_source[rows] = _priced(prices, asked, rows)
        values[rows, _COST_AT] = nano_usd
        values[rows, _COST_EVENTS_AT] = np.isin(cost_source[rows], list(COMPUTED))
    return cost_source


# -- which price -----------------------------------------------------------------------------------


def _priced(prices: Prices, asked: PricingInput, rows: Int64s) -> tuple[Int64s, CostSources]:
    wires = [asked.wires[row] for row in rows.tolist()]
    formulas, which = _formulas(prices, asked, rows, wires)
    nano_usd = np.zeros(len(rows), np.int64)
    cost_source = np.where(
        which == _INCOMPLETE, np.int8(CostSource.INCOMPLETE), np.int8(CostSource.UNKNOWN)
    )
    idle = np.zeros(len(rows), bool)
    shapes: dict[Shape, int] = {}
    numbers = [shapes.setdefault(formula.shape, len(shapes)) for formula in formulas]
    # the last two: rows without a formula
    shape_of = np.array([*numbers, _INCOMPLETE, _UNKNOWN], np.int64)[which]
    for shape, number in shapes.items():
        at = np.flatnonzero(shape_of == number)
        if not len(at):
            continue  # the price of another time than these events have
        evaluated = _evaluated(shape, formulas, which[at], [wires[row] for row in at.tolist()])
        nano_usd[at], cost_source[at], idle[at] = evaluated
    for row in np.flatnonzero(idle | (cost_source >= CostSource.UNKNOWN)).tolist():
        wire = wires[row]
        if not uses_anything(wire) and (wire.error or cost_source[row] >= CostSource.UNKNOWN):
            nano_usd[row], cost_source[row] = 0, CostSource.NONE
    problems = list(map(attrgetter("cost_problem"), wires))
    for row, problem in enumerate(problems) if any(problems) else ():
        if problem and not (wires[row].error and not uses_anything(wires[row])):
            nano_usd[row], cost_source[row] = 0, CostSource.INCOMPLETE
    return nano_usd, cost_source


_UNKNOWN: Final = -1
_INCOMPLETE: Final = -2
"""Instead of the index of a formula."""


def _formulas(
    prices: Prices, asked: PricingInput, rows: Int64s, wires: Sequence[EventStruct]
) -> tuple[list[PriceFormula], Int64s]:
    """The formulas of these rows, and for each row the index of its formula, or why there is none."""
    tenants = [t if t in prices.tenants else "" for t in asked.words["tenant"]]
    tenant_numbers = {tenant: number for number, tenant in enumerate(dict.fromkeys(tenants))}
    tenant = np.array([tenant_numbers[t] for t in tenants], np.int64)[asked.codes["tenant"][rows]]
    key = tenant
    for name in ("kind", "provider", "model"):  # n x n x n x 6 is far from 2^63 with n records
        key = key * len(asked.words[name]) + asked.codes[name][rows]
    terms, terms_at = _terms(wires)
    key = key * len(terms) + terms_at
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    numbers: dict[PriceFormula, int] = {}
    number_of = np.empty(len(first), np.int64)
    over_time: list[tuple[int, PriceTable]] = []
    for group, row in enumerate(first.tolist()):
        at = int(rows[row])
        kind, provider, model = (
            asked.words[name][asked.codes[name][at]] for name in ("kind", "provider", "model")
        )
        table = table_of(
            prices,
            tenants[asked.codes["tenant"][at]],
            kind,
            provider,
            model,
            terms[int(terms_at[row])],
        )
        number_of[group] = _number(table.cells[0], numbers)
        if len(table.cells) > 1:
            over_time.append((group, table))
    which = number_of[inverse]
    if over_time:
        order = np.argsort(inverse, kind="stable")
        starts = np.searchsorted(inverse[order], np.arange(len(first) + 1))
        for group, table in over_time:
            at_rows = order[starts[group] : starts[group + 1]]
            cells = table.cell_of(asked.at_ms[rows[at_rows]])
            which[at_rows] = np.array([_number(c, numbers) for c in table.cells], np.int64)[cells]
    return list(numbers), which


def _terms(wires: Sequence[EventStruct]) -> tuple[list[Terms], Int64s]:
    """The different terms of these events, and the index of each event's."""
    said = list(map(_SAID, wires))
    if said.count(_NOTHING_SAID) == len(said):
        return [STANDARD_TERMS], np.zeros(len(said), np.int64)
    numbers: dict[Terms, int] = {}
    each = [numbers.setdefault(terms_of(*one), len(numbers)) for one in said]
    return list(numbers), np.array(each, np.int64)


_SAID: Final = attrgetter("service_tier", "speed", "region")
_NOTHING_SAID: Final = (None, None, None)


def _number(cell: PriceFormula | Why, numbers: dict[PriceFormula, int]) -> int:
    if isinstance(cell, Why):
        return _INCOMPLETE if cell is Why.INCOMPLETE else _UNKNOWN
    return numbers.setdefault(cell, len(numbers))


class PriceTable(NamedTuple):
    """The price of one model over time: a formula, or why there is none, from each start on (ms since
    1970; a midnight, or when another list took effect) and, within a day, from a time of day on (ms)."""

    starts: Int64s
    times: Int64s
    cells: tuple[PriceFormula | Why, ...]

    def cell_of(self, at_ms: Int64s) -> Int64s:
        since = np.searchsorted(self.starts, at_ms, side="right")
        times = np.searchsorted(self.times, at_ms % DAY_MS, side="right")
        return since * (len(self.times) + 1) + times


@lru_cache(maxsize=MODELS_MAX)
def table_of(  # all that decides a price but the time
    prices: Prices, tenant: str, kind: str, provider: str, model: str, terms: Terms
) -> PriceTable:
    instants, times = edges(prices, tenant, provider, model)
    starts = list(map(instant_to_ms, instants))
    before = starts[0] - DAY_MS if starts else instant_to_ms(EPOCH)
    cells: list[PriceFormula | Why] = []
    for start in (before, *starts):
        listed, midnight = prices.at(start), start - start % DAY_MS
        for time_ms in (0, *times):  # the same day and list, whatever the start's own time of day
            found = tariff(
                listed, tenant, provider, model, ms_to_instant(midnight + time_ms), terms
            )
            cells.append(formula_of(kind, found) if isinstance(found, Tariff) else found.why)
    return PriceTable(np.array(starts, np.int64), np.array(times, np.int64), tuple(cells))


# -- how much --------------------------------------------------------------------------------------


def _evaluated(
    shape: Shape, formulas: Sequence[PriceFormula], which: Int64s, wires: Sequence[EventStruct]
) -> tuple[Int64s, CostSources, npt.NDArray[np.bool_]]:
    """For rows whose formulas have one shape: the cost, its source, and whether all fields of the
    price are 0."""
    raw = {field: _column(wires, field) for field in shape.reads}
    bad = np.zeros(len(wires), bool)
    for field in shape.required:
        bad |= raw[field] < 0
    for field in shape.zeros:
        bad |= raw[field] > 0
    for absence in shape.absences:
        bad |= _is_unclear(absence, raw, len(wires))
    amounts = {field: np.maximum(column, 0) for field, column in raw.items()}
    if shape.least_audio_ms:
        audio = amounts["stt_audio_ms"]
        amounts["stt_audio_ms"] = np.where(audio > 0, np.maximum(audio, shape.least_audio_ms), 0)
    for leaf in shape.leaves:
        bad |= sum((amounts[f] * sign for f, sign in leaf), np.zeros(len(wires), np.int64)) < 0
    used, local = np.unique(which, return_inverse=True)
    total, denominator = _totals(shape, [formulas[i] for i in used], local.reshape(-1), amounts)
    whole, twice = total // denominator, 2 * (total % denominator)
    up = (twice > denominator) | ((twice == denominator) & (whole % 2 == 1))
    bad |= (total > COST_NANO_USD_MAX * denominator).astype(bool)
    nano_usd = np.where(bad, 0, whole + up).astype(np.int64)
    lists = [CostSource.OWN if formulas[i].is_own else CostSource.BUNDLED for i in used]
    priced_as = np.array(lists, np.int8)[local.reshape(-1)]
    idle = np.ones(len(wires), bool)
    for field in shape.fields:
        idle &= amounts[field] == 0
    return nano_usd, np.where(bad, np.int8(CostSource.INCOMPLETE), priced_as), idle


def _column(wires: Sequence[EventStruct], field: str) -> Int64s:
    """A field of each event, -1 where it is not reported."""
    found = list(map(attrgetter(field), wires))
    missing = found.count(None)
    if missing == len(found):
        return np.full(len(found), -1, np.int64)
    if missing:
        found = [-1 if value is None else value for value in found]
    return np.array(found, np.int64)


def _is_unclear(absence: Absence, raw: Mapping[str, Int64s], count: int) -> npt.NDArray[np.bool_]:
    unclear = np.zeros(count, bool)
    for field in absence.parts:
        unclear |= raw[field] > 0
    for one, other in absence.overlaps:
        unclear |= (raw[one] > 0) & (raw[other] > 0)
    return unclear if absence.field is None else unclear & (raw[absence.field] < 0)


def _totals(
    shape: Shape, formulas: Sequence[PriceFormula], local: Int64s, amounts: Mapping[str, Int64s]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The cost of each row times its denominator, and the denominator. `local`: index into `formulas`."""
    number = np.int64 if shape.is_narrow else object
    row = np.cumsum([0, *(len(formula.rates) for formula in formulas)])[:-1][local]
    steps_max = max(len(formula.steps) for formula in formulas)
    for step in range(steps_max):
        above = [f.steps[step] if step < len(f.steps) else COUNT_MAX for f in formulas]
        row += amounts["input_tokens"] > np.array(above, np.int64)[local]
    rates = [one for formula in formulas for one in formula.rates]
    total = np.array([one.per_request for one in rates], number)[row]
    for at, field in enumerate(shape.fields):
        total += np.array([one.per_field[at] for one in rates], number)[row] * amounts[field]
    return total, np.array([formula.denominator for formula in formulas], number)[local]
