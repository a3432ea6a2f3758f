"""The views: the sets of dimensions that are kept. Data. Pure.

A series is one combination of a view's dimensions within a tenant; a view keeps its measures for
each series and bucket of its tiers. kind is in every view, and each kind of a view is a table of
its own with the measures that its events can have. A question is answered by the cheapest view
that holds its dimensions and measures.

`Catalog` is all of it as one value: ours, and what an operator's file adds (schemas/catalog/catalog_file.py).
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
from schemas.tiers import DAY, QUARTER, TIERS, Tier

DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "kind": ("kind",),
    "provider": ("provider",),
    "model": ("model",),
    "agent": ("agent_id",),
    "user": ("user_id", "user_email"),
    "service": ("service",),
    "phone": ("phone_number",),
    "voice": ("voice",),
}
"""Each with the event's fields that it is read from: the first that is reported."""

LABEL: Final = "labels."
"""Begins a field that is read from an event's labels."""
OTHER: Final = "(other)"
"""What every dimension of the series is called that counts what goes over a view's limit."""

SERIES_MAX: Final = 10_000
"""Series of a table and tenant, unless its view says more: what one screen or report lists. Names
of 60 B cost 200 B each."""
TENANTS_MAX: Final = 10_000
"""Tenants of a store; what comes after is counted under the tenant OTHER. A tenant costs some 30
keys even where it sends one event an hour: 10,000 are 30 MB."""


@dataclass(frozen=True, eq=False)
class View:
    """`id` stands in keys and never changes its meaning. `tiers`: finest first, the last is always
    the oldest that there is; of `fine_sketches` only they are kept in all of them. `page_series`: how many neighbouring series share a page."""

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
        """Those of its counters, or of a sketch."""
        if sketch is None or sketch in self.fine_sketches:
            return self.tiers
        return tuple(tier for tier in self.tiers if tier in COARSE)

    @cached_property
    def holds(self) -> frozenset[str]:
        """Names of all that it keeps."""
        return frozenset(measure.name for measure in self.measures + self.sketches)


@dataclass(frozen=True, eq=False)
class Table:
    """One kind of a view: a name space of series, with rows of one width."""

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
"""What the views with the most series keep: 8 B less a row for each measure left out."""
COARSE: Final = (QUARTER, DAY)
"""Tiers of the views with the most series, of whose minutes nearly each would hold one event, and
of most sketches."""

TOTAL: Final = View(1, "total", ("kind",), USAGE + BOOKED + RATED)
MODEL: Final = View(
    2,
    "model",
    ("kind", "provider", "model"),
    USAGE + RATED,
    (LATENCY, FIRST_OUTPUT, CHATS),
    fine_sketches=(LATENCY, FIRST_OUTPUT),
    page_series=8,
)
AGENT: Final = View(3, "agent", ("kind", "agent"), USAGE + BOOKED, page_series=8)
AGENT_MODEL: Final = View(
    4,
    "agent_model",
    ("kind", "agent", "provider", "model"),
    USAGE,
    (LATENCY, FIRST_OUTPUT),
    page_series=32,
    series_max=100_000,
)
"""Neighbouring series share a page: a commit touches most of them, and each page is a command to
Redis. A question about one agent reads more than it needs, some MB at most, the first time."""
USER: Final = View(
    5, "user", ("kind", "user"), USAGE + BOOKED, page_series=32, series_max=1_000_000
)
USER_AGENT: Final = View(
    6,
    "user_agent",
    ("kind", "user", "agent"),
    BOOKED,
    tiers=COARSE,
    page_series=32,
    series_max=1_000_000,
)
USER_AGENT_MODEL: Final = View(
    7,
    "user_agent_model",
    ("kind", "user", "agent", "provider", "model"),
    WIDE,
    (CHATS,),
    tiers=COARSE,
    page_series=32,
    series_max=1_000_000,
)
"""Usage of users by agent and by model in one: nearly every agent has one model of a kind, so this
has hardly more rows than either alone (of 81,000 sample events of two days, by quarter-hour: 20,795;
by agent only 20,795, by model only 19,450), and half of what both would write."""
SERVICE: Final = View(8, "service", ("kind", "service"), BOOKED)
PHONE: Final = View(
    9, "phone", ("kind", "service", "phone"), BOOKED, page_series=32, series_max=1_000_000
)
"""With the service: a call over the web has no number, and is told from one whose number is not
known by that."""
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
"""Cheapest first: the first that holds a question's dimensions and measures answers it."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """Everything that is counted: ours, and what an operator adds."""

    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: DIMENSIONS)
    measures: tuple[Measure, ...] = MEASURES
    views: tuple[View, ...] = VIEWS

    @cached_property
    def kept_dimensions(self) -> tuple[str, ...]:
        """Those of some view: what can be grouped and filtered by."""
        return tuple(
            name for name in self.dimensions if any(name in view.dimensions for view in self.views)
        )

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for view in self.views for table in view.tables.values())


DEFAULT: Final = Catalog()
"""Without an operator's file."""

REMEMBERED_MS: Final = 24 * limits.HOUR_MS
"""W: an event's id, and a call's booking, is remembered for at least this long after its first
record was appended. 9 B an id (a set of integers): 1,000 events/s for 24 to 36 h is 0.8 to 1.2 GB.
Ids are 64-bit digests: with n remembered, an event is taken for one of them with odds of n / 2^64
(1.3e8 remembered: 7e-12 an event, one event in 4,500 years of 1,000 a second)."""
SLICE_MS: Final = REMEMBERED_MS // 2
"""What is remembered is dropped in slices of append time: fewer slices are fewer look-ups an id,
more slices hold less beyond W. Two in W: three look-ups, at most 1.5 W held."""
ID_BUCKETS: Final = 1 << 13
"""Sets of one slice. A set of integers stays compact up to `set-max-intset-entries` of them: with
4,096 (as our Valkey is set) 33M ids a slice, 776 events/s; with the servers' default of 512 an
eighth of that. Beyond that ids cost 40 B instead of 9, nothing else. More buckets are more commands
a commit: of 20,000 ids, two or three share one."""
CALL_BUCKETS: Final = 1 << 12
"""Hashes of call bookings of one slice."""


def booking_dimensions(catalog: Catalog) -> tuple[str, ...]:
    """What a booking remembers of its first event: the dimensions of the views that count calls."""
    kept = {name for v in catalog.views if {*BOOKED} & {*v.measures} for name in v.dimensions}
    return tuple(name for name in catalog.dimensions if name in kept - {"kind"})
