"""The views: the sets of dimensions that counters are kept for. Data. Pure.

A series is one combination of a view's dimensions within a tenant. A view keeps its measures for
each series and for each bucket of its tiers. `kind` is in every view, and each kind of a view is a
table of its own, with the measures that its events can have. The cheapest view that has all
dimensions and measures of a query answers it.

`Catalog` is all of it as one value: the built-in part, and what an operator's file adds
(schemas/catalog/catalog_file.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from schemas import limits
from schemas.catalog.measures import (
    BOOKED,
    CHATS,
    FACTS,
    FIRST_OUTPUT,
    FIRST_OUTPUT_EVENTS,
    FIRST_OUTPUT_MS,
    LATENCY,
    MEASURES,
    RATED,
    REASONING_TOKENS,
    USAGE,
    Measure,
)
from schemas.event.kinds import KINDS, Kind
from schemas.tiers import TIERS, Tier

DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "kind": ("kind",),
    "provider": ("provider",),
    "model": ("model",),
    "agent": ("agent_id",),
    "user": ("user_id", "user_email"),
    "service": ("service",),
    "phone": ("phone_number",),
    "voice": ("voice",),
    "operation": ("operation",),
    "service_tier": ("service_tier",),
    "error_class": ("error_class",),
}
"""Each dimension with the event's fields that it is read from: the first one that is reported. Where
`error_class` is not, `error` tells it (schemas/event/error_class.py)."""

LABEL: Final = "labels."
"""Prefix of a field that is read from an event's labels."""
OTHER: Final = "(other)"
"""The value of every dimension in the series that counts what exceeds a view's limit."""

SERIES_MAX: Final = 10_000
"""Series of a table and tenant, unless its view allows more: as many as one screen or report lists.
Names of 60 B cost 200 B each."""
TENANTS_MAX: Final = 10_000
"""Tenants of a store. Events of further tenants are counted under the tenant OTHER. A tenant costs
some 30 keys even if it sends one event an hour: 10,000 tenants are 30 MB."""


@dataclass(frozen=True, eq=False)
class View:
    """One set of dimensions, with the measures and sketches that are kept for it.

    `id` is part of keys and never changes its meaning. `tiers`: finest first; the last one is always
    the coarsest that exists. Counters and `fine_sketches` are kept in all of them, other sketches
    only in the coarse ones. `page_series`: how many neighbouring series share a page.
    """

    id: int
    name: str
    dimensions: tuple[str, ...]
    measures: tuple[Measure, ...]
    sketches: tuple[Measure, ...] = ()
    fine_sketches: tuple[Measure, ...] = ()
    tiers: tuple[Tier, ...] = TIERS
    page_series: int = 1
    series_max: int = SERIES_MAX

    @cached_property
    def tables(self) -> Mapping[Kind, Table]:
        """One for each kind that has a measure here."""
        found = {kind: Table(self, kind) for kind in KINDS}
        return {kind: table for kind, table in found.items() if table.measures or table.sketches}

    def tiers_of(self, sketch: Measure | None) -> tuple[Tier, ...]:
        """The tiers of the counters (None), or of a sketch."""
        if sketch is None or sketch in self.fine_sketches:
            return self.tiers
        return tuple(tier for tier in self.tiers if tier in COARSE)

    @cached_property
    def holds(self) -> frozenset[str]:
        """The names of all measures and sketches of the view."""
        return frozenset(measure.name for measure in self.measures + self.sketches)


@dataclass(frozen=True, eq=False)
class Table:
    """One kind of a view. It has its own names of series, and its rows have one width."""

    view: View
    kind: Kind
    id: int = field(init=False)
    dimensions: tuple[str, ...] = field(init=False)
    measures: tuple[Measure, ...] = field(init=False)
    sketches: tuple[Measure, ...] = field(init=False)

    def __post_init__(self) -> None:
        def of_kind(measures: Sequence[Measure]) -> tuple[Measure, ...]:
            return tuple(measure for measure in measures if self.kind in measure.kinds)

        set_once = object.__setattr__
        set_once(self, "id", self.view.id * 8 + KINDS.index(self.kind))  # there are six kinds
        set_once(self, "dimensions", tuple(d for d in self.view.dimensions if d != "kind"))
        set_once(self, "measures", of_kind(self.view.measures))
        set_once(self, "sketches", of_kind(self.view.sketches))


WIDE: Final = tuple(
    measure
    for measure in USAGE
    if measure not in {REASONING_TOKENS, FIRST_OUTPUT_MS, FIRST_OUTPUT_EVENTS}
)
"""The measures of the views with the most series. Each measure left out saves 8 B a row."""
COARSE: Final = TIERS[1:]
"""Tiers of percentiles by agent, and of an operator's view that needs no minutes. By minute, nearly every
bucket of a view with many series holds one event: 20 B of memory in each, for 48 hours. In Redis' file an
event takes as much either way, because it is written to the finest tier only."""

ASKED: Final = ("operation", "service_tier", "error_class")
"""How a model was asked, and how that failed. A model nearly always has one operation and one tier, so
these dimensions add no rows to a view by model except those of errors. A view of their own would add
a row an event to each tier. They come last: the older history of a view has them empty."""

TOTAL: Final = View(1, "total", ("kind",), USAGE + FACTS + BOOKED + RATED)
MODEL: Final = View(
    2,
    "model",
    ("kind", "provider", "model", *ASKED),
    USAGE + FACTS + RATED,
    (LATENCY, FIRST_OUTPUT, CHATS),
    fine_sketches=(LATENCY, FIRST_OUTPUT, CHATS),
    page_series=8,
    series_max=2 * SERIES_MAX,
)
AGENT: Final = View(
    3,
    "agent",
    ("kind", "agent"),
    USAGE + BOOKED,
    (CHATS,),
    fine_sketches=(CHATS,),
    page_series=8,
)
"""Its chats are what AgentLens calls the sessions of an agent."""
AGENT_MODEL: Final = View(
    4,
    "agent_model",
    ("kind", "agent", "provider", "model", *ASKED),
    USAGE + FACTS,
    (LATENCY, FIRST_OUTPUT),
    page_series=32,
    series_max=100_000,
)
"""Neighbouring series share a page, because a commit touches most of them and each page is a command
to Redis. The first query about one agent reads more than it needs, some MB at most."""
USER: Final = View(
    5, "user", ("kind", "user"), USAGE + BOOKED, page_series=32, series_max=1_000_000
)
USER_AGENT: Final = View(
    6,
    "user_agent",
    ("kind", "user", "agent"),
    BOOKED,
    page_series=32,
    series_max=1_000_000,
)
USER_AGENT_MODEL: Final = View(
    7,
    "user_agent_model",
    ("kind", "user", "agent", "provider", "model", "operation", "service_tier"),
    WIDE + FACTS,
    (CHATS,),
    fine_sketches=(CHATS,),
    page_series=32,
    series_max=1_000_000,
)
"""The usage of users by agent and by model in one view. Nearly every agent has one model of a kind,
so this view has hardly more rows than either alone, and half of what both would write. (81,000
sample events of two days, by quarter-hour: 20,795 rows; by agent only 20,795, by model only 19,450.)"""
SERVICE: Final = View(8, "service", ("kind", "service"), BOOKED)
PHONE: Final = View(
    9, "phone", ("kind", "service", "phone"), BOOKED, page_series=32, series_max=1_000_000
)
"""With the service, because a call over the web has no number: the service tells it from a call
whose number is unknown."""
USER_PHONE: Final = View(
    10,
    "user_phone",
    ("kind", "user", "service", "phone"),
    BOOKED,
    page_series=32,
    series_max=1_000_000,
)
VIEWS: Final = (
    TOTAL,
    SERVICE,
    MODEL,
    AGENT,
    PHONE,
    AGENT_MODEL,
    USER,
    USER_PHONE,
    USER_AGENT,
    USER_AGENT_MODEL,
)
"""Cheapest first: the first view that has a query's dimensions and measures answers it."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """Everything that is counted: the built-in part, and what an operator adds."""

    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: DIMENSIONS)
    measures: tuple[Measure, ...] = MEASURES
    views: tuple[View, ...] = VIEWS

    @cached_property
    def kept_dimensions(self) -> tuple[str, ...]:
        """The dimensions of any view: a query can group and filter by them."""
        return tuple(
            name for name in self.dimensions if any(name in view.dimensions for view in self.views)
        )

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for view in self.views for table in view.tables.values())


DEFAULT: Final = Catalog()
"""The catalog without an operator's file."""

REMEMBERED_MS: Final = 24 * limits.HOUR_MS
"""W: how long an event's id, and a call's booking, are remembered after the first record was
appended, at least. An id takes 9 B (a set of integers) up to 776 events/s: 0.9 GB for 36 h. Beyond, see
`ID_BUCKETS`. Ids are 64-bit digests. With n of them remembered, a new event is mistaken for a duplicate
with odds of n / 2^64 (1.3e8 remembered: 7e-12 per event, one event in 4,500 years of 1,000 a second)."""
SLICE_MS: Final = REMEMBERED_MS // 2
"""Ids are dropped in slices of append time. Fewer slices mean fewer look-ups per id; more slices keep
less beyond W. Two slices in W: three look-ups, and ids are kept for at most 1.5 W."""
ID_BUCKETS: Final = 1 << 13
"""Sets of one slice. A set of integers stays compact up to `set-max-intset-entries` entries: with
4,096 (as our Valkey is set) that is 33M ids a slice, 776 events/s; with the servers' default of 512
an eighth of that. Beyond that an id costs 40 B instead of 9, nothing else. More buckets mean more
commands a commit: of 20,000 ids, two or three share one bucket."""
CALL_BUCKETS: Final = 1 << 12
"""Hashes of call bookings of one slice."""


def booking_dimensions(catalog: Catalog) -> tuple[str, ...]:
    """The dimensions that a booking keeps of its first event: those of the views that count calls.

    First those of the built-in views, then what each view of a file adds, in the order of their ids. So
    where views are added, what is stored stays the beginning of it.
    """
    built_in = {view.id for view in VIEWS}
    booked = sorted(
        (view for view in catalog.views if {*BOOKED} & {*view.measures}), key=lambda view: view.id
    )
    ours = {name for view in booked if view.id in built_in for name in view.dimensions}
    kept = dict.fromkeys(name for name in catalog.dimensions if name in ours)
    for view in booked:
        kept |= dict.fromkeys(view.dimensions)
    return tuple(name for name in kept if name != "kind")
