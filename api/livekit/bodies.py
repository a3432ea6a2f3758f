"""Turns rows of counters into the `data` of the LiveKit dialect's answers.

A figure is one key of an answer: the sum of its terms, in the unit that is shown. Durations are
rounded once, half-even, from exact sums of milliseconds: 945.3 min is 15.76 h, where binary fractions
would give 15.75. Rows that are shown under one name are added up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, NamedTuple

from api.query.plan import Term
from api.query.sums import Row
from schemas.catalog.measures import BOOKED
from schemas.responses.livekit import Envelope

Object = dict[str, Any]
Addresses = Mapping[str, str]
"""User key -> latest known address. Users without a known address are not in it."""
Labels = tuple[str, ...]

UNKNOWN: Final = "unknown"
WEB_SERVICE: Final = "web"
WEB_CALL: Final = "WEB_CALL"
UNKNOWN_PLATFORM: Final = "UNKNOWN_PLATFORM"
"""The platform's names for calls without a number: over the web, and others."""
PLACES: Final = 2


@dataclass(frozen=True)
class Figure:
    """`unit`: the sum of the terms is divided by it. `per`: the number that an average is taken over.
    A figure without either is an integer. `is_exact`: not rounded."""

    name: str
    terms: tuple[Term, ...]
    unit: int = 1
    per: Term | None = None
    is_exact: bool = False


class Counted(NamedTuple):
    """One row of an answer: its names, and its sums in the order of the endpoint's terms."""

    labels: Labels
    sums: tuple[int, ...]


class Placed(NamedTuple):
    """A figure, and the positions of its terms among the sums."""

    figure: Figure
    terms: tuple[int, ...]
    per: int | None


class Bounds(NamedTuple):
    """The range as the request has it."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class AnalyticsEndpoint:
    """One path under /admin/analytics.

    `group_by` are dimensions, `label` makes the names of a row of them, in the order of `labels`;
    rows stand by `rank`, most first, and by name. `also`: a row is listed where only this happened.
    """

    path: str
    message: str
    body: type[Envelope]
    figures: tuple[Figure, ...]
    data: Callable[[AnalyticsEndpoint, Bounds, Sequence[Counted]], Object]
    label: Callable[[Labels, Addresses], Labels]
    section: str = ""
    group_by: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    rank: tuple[Term, ...] = ()
    also: tuple[Term, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()

    @cached_property
    def questions(self) -> tuple[tuple[Term, ...], ...]:
        """The terms of usage and those of bookings, apart: no view of users has both by agent."""
        shown = (term for one in self.figures for term in (*one.terms, one.per) if term)
        terms = dict.fromkeys((*shown, *self.rank, *self.also))
        usage = tuple(term for term in terms if term.measure not in BOOKED)
        booked = tuple(term for term in terms if term.measure in BOOKED)
        return tuple(some for some in (usage, booked) if some)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The terms of all questions, in order."""
        return tuple(itertools.chain(*self.questions))

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        at = self.terms.index
        return tuple(
            Placed(one, tuple(map(at, one.terms)), None if one.per is None else at(one.per))
            for one in self.figures
        )


def data_of(
    endpoint: AnalyticsEndpoint,
    bounds: Bounds,
    answers: Iterable[Iterable[Row]],
    addresses: Addresses,
) -> Object:
    """The `data` of the answer, from the rows of each question of the endpoint."""
    return endpoint.data(endpoint, bounds, counted(endpoint, answers, addresses))


def counted(
    endpoint: AnalyticsEndpoint, answers: Iterable[Iterable[Row]], addresses: Addresses
) -> list[Counted]:
    """The rows of the answer in their order; rows of one name are added up."""
    added: dict[Labels, tuple[int, ...]] = {}
    for group, values in _widened(endpoint, answers):
        labels = endpoint.label(group, addresses)
        before = added.get(labels)
        added[labels] = values if before is None else _sum([before, values])
    rank = [endpoint.terms.index(term) for term in endpoint.rank]
    return sorted(
        itertools.starmap(Counted, added.items()),
        key=lambda one: (-sum(one.sums[place] for place in rank), one.labels),
    )


def _widened(
    endpoint: AnalyticsEndpoint, answers: Iterable[Iterable[Row]]
) -> Iterator[tuple[Labels, tuple[int, ...]]]:
    """The group of each row, and its values, with zeros for the terms of the other questions."""
    before = 0
    for terms, rows in zip(endpoint.questions, answers, strict=True):
        zeros = (0,) * before, (0,) * (len(endpoint.terms) - before - len(terms))
        for row in rows:
            yield row.group, zeros[0] + row.values + zeros[1]
        before += len(terms)


def amount(placed: Placed, sums: tuple[int, ...]) -> Decimal:
    """The value of a figure; 0 if there is nothing to divide by."""
    figure, terms, per = placed
    total = sum([sums[place] for place in terms])
    if figure.is_exact:
        return Decimal(total) / figure.unit
    count = 1 if per is None else sums[per]
    return rounded(total, figure.unit * count) if count else Decimal(0)


def rounded(total: int, of: int) -> Decimal:
    """The quotient, half-even to two places, without trailing zeros."""
    if of == 1:
        return Decimal(total)
    number, rest = divmod(total * 10**PLACES, of)
    number += 2 * rest > of or (2 * rest == of and number % 2)
    return Decimal(number) / 10**PLACES


def _sum(rows: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True)))


# -- shapes of data --------------------------------------------------------------------------------


def listed(endpoint: AnalyticsEndpoint, _bounds: Bounds, rows: Sequence[Counted]) -> Object:
    return {
        endpoint.section: [
            {**dict(zip(endpoint.labels, row.labels, strict=True)), **_figures(endpoint, row.sums)}
            for row in rows
        ]
    }


def single(endpoint: AnalyticsEndpoint, _bounds: Bounds, rows: Sequence[Counted]) -> Object:
    return _figures(endpoint, rows[0].sums)


def dashboard(endpoint: AnalyticsEndpoint, bounds: Bounds, rows: Sequence[Counted]) -> Object:
    """The totals, summed from the rows by user, so that both agree."""
    nothing = (0,) * len(endpoint.terms)
    return {
        **_figures(endpoint, _sum([nothing, *(row.sums for row in rows)])),
        "total_active_users": Decimal(sum(row.labels != (UNKNOWN,) for row in rows)),
        "date_range": {
            "start_date": bounds.start.isoformat(),
            "end_date": bounds.end.isoformat(),
        },
    }


def _figures(endpoint: AnalyticsEndpoint, sums: tuple[int, ...]) -> dict[str, Decimal]:
    return {placed.figure.name: amount(placed, sums) for placed in endpoint.placed}


# -- names of rows ---------------------------------------------------------------------------------


def or_unknown(group: Labels, _addresses: Addresses) -> Labels:
    return tuple(value or UNKNOWN for value in group)


def address(group: Labels, addresses: Addresses) -> Labels:
    (key,) = group
    return (addresses.get(key) or key or UNKNOWN,)


def number(group: Labels, _addresses: Addresses) -> Labels:
    service, number = group
    return (WEB_CALL if service == WEB_SERVICE else number or UNKNOWN_PLATFORM,)


def model(group: Labels, _addresses: Addresses) -> Labels:
    kind, provider, model = group
    return f"{kind}_usage", provider or UNKNOWN, model or UNKNOWN
