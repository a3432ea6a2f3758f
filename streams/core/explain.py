"""Explains what one event would be counted as, for people: the fold itself, run on one event. Pure.

Nothing here decides anything. `decode`, `columns` and `fold` do, as in the worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from schemas.catalog.measures import COST_EVENTS, COST_NANO_USD
from schemas.catalog.views import DEFAULT, Catalog, booking_dimensions
from schemas.errors import InvalidEvent
from schemas.event.envelope import Headers
from schemas.event.event_struct import EventStruct
from schemas.event.identity import NO_SECRET, CallKey
from schemas.event.kinds import DEFAULT_TENANT, USAGE_KINDS
from schemas.event.partition_key import partition_key
from schemas.prices.cost import facts, price
from schemas.prices.price_list import BUNDLED, Prices
from schemas.prices.tariffs import Unpriced
from schemas.store.series_names import series_values
from schemas.tiers import TIERS
from schemas.units import iso
from streams.core.calls import Booking, CallUpdate, StoredCall
from streams.core.columns import columns
from streams.core.decode import decode
from streams.core.fold import Delta, fold
from streams.core.ports import NO_DELTA


@dataclass(frozen=True)
class AddedRow:
    """The amounts that one series in one bucket gets. `bucket` is its start."""

    view: str
    tier: str
    bucket: str
    series: dict[str, str]
    measures: dict[str, int]


@dataclass(frozen=True)
class BookedCall:
    """The bucket where the call of the event is booked, and whether this event booked it."""

    call_id: str
    digest: str
    at: str
    is_new: bool
    duration_ms: int | None
    dimensions: dict[str, str]


@dataclass(frozen=True)
class EventCost:
    """The cost that is counted (None: no cost), and its price or the reason for none. `facts`: what
    decides it, or would: the numbers that are billed, and tier, speed and region."""

    nano_usd: int | None
    by: str
    facts: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class CountedEvent:
    """One event that counts. `digest` is the same for events that are the same; stored digests are made
    under a secret. `duplicate`: an earlier event has the same digest, so this one adds nothing."""

    id: str
    source: str
    tenant: str
    kind: str
    at: str
    digest: str
    partition_key: str
    tiers: list[str]
    duplicate: bool
    measures: dict[str, int]
    cost: EventCost
    rows: list[AddedRow]
    call: BookedCall | None
    unknown_fields: list[str]
    misread: list[str]


@dataclass(frozen=True)
class RejectedEvent:
    """An event that would become a dead letter."""

    reason: str
    field: str
    detail: str


@dataclass
class Explainer:
    """Explains events one after the other, as if nothing had been counted before the first."""

    append_ms: int
    prices: Prices = BUNDLED
    catalog: Catalog = DEFAULT
    _digests: set[int] = field(default_factory=set)
    _stored_calls: dict[CallKey, StoredCall | None] = field(default_factory=dict)

    def explain(self, value: bytes | None, headers: Headers = ()) -> CountedEvent | RejectedEvent:
        """Explains one record of the events' topic, appended at `append_ms`."""
        try:
            events = decode(_Record(0, self.append_ms, value, headers))
        except InvalidEvent as invalid:
            return RejectedEvent(invalid.reason, invalid.field, invalid.detail)
        (event,) = events.wires
        tenant = event.tenant or DEFAULT_TENANT
        batch = columns(events, self.prices, self.catalog, secret=NO_SECRET)
        values = zip(self.catalog.measures, batch.values[0].tolist(), strict=True)
        measures = {measure.name: value for measure, value in values if value}
        digest = int(batch.digests[0])
        duplicate = digest in self._digests
        self._digests.add(digest)
        delta = NO_DELTA if duplicate else fold(batch, self._stored_calls)
        call = _booked(event.call_id, delta.calls, booking_dimensions(self.catalog))
        self._stored_calls |= {update.call: update.new for update in delta.calls}
        return CountedEvent(
            event.id,
            event.source,
            tenant,
            event.kind,
            iso(int(events.at_ms[0])),
            f"{digest:016x}",
            partition_key(tenant, event.source, event.id, event.call_id).decode(),
            [tier.name for tier in TIERS[int(batch.finest_tier[0]) :]],
            duplicate,
            measures,
            _cost(event, measures, self.prices),
            list(_rows(delta)),
            call,
            [name for _, name in events.unknown],
            list(batch.misread),
        )


class _Record(NamedTuple):
    offset: int
    timestamp: int
    value: bytes | None
    headers: Headers


def _cost(event: EventStruct, measures: Mapping[str, int], prices: Prices) -> EventCost:
    """The amount comes from the fold, the price from `schemas.prices.cost`. A test compares the two."""
    nano_usd = measures.get(COST_NANO_USD.name, 0) if COST_EVENTS.name in measures else None
    if event.kind not in USAGE_KINDS:
        return EventCost(None, f"an event of kind {event.kind} has none")
    if event.cost_usd is not None:
        return EventCost(nano_usd, "as its producer sent it", facts(event))
    found = price(event, prices)
    if isinstance(found, Unpriced):
        return EventCost(nano_usd, found.reason, facts(event))
    return EventCost(nano_usd, found.tariff.sentence(), facts(event))


def _rows(delta: Delta) -> Iterator[AddedRow]:
    """The rows of counters. Rows of sketches are left out: they repeat the latencies and the chat."""
    for page_kind, tier, runs, rows in delta.parts:
        if page_kind.sketch is not None:
            continue
        place = 0
        for slot, chunk, count in runs.tolist():
            table, _, name = delta.series[slot]
            values = dict(zip(table.dimensions, series_values(name), strict=True))
            for row in rows[place : place + count]:
                start_ms = chunk * tier.chunk_ms + int(row["slot"]) * tier.bucket_ms
                added = zip(table.measures, row["values"].tolist(), strict=True)
                yield AddedRow(
                    table.view.name,
                    tier.name,
                    iso(start_ms),
                    {"kind": table.kind, **values},
                    {measure.name: value for measure, value in added if value},
                )
            place += count


def _booked(
    call_id: str | None, updates: Sequence[CallUpdate], dimensions: Sequence[str]
) -> BookedCall | None:
    """An event belongs to at most one call."""
    for update in updates:
        booking = msgspec.json.decode(update.new.data, type=Booking)
        return BookedCall(
            call_id or "",
            f"{update.call.digest:016x}",
            iso(booking.booked_ms),
            update.old is None,
            None if booking.duration_ms < 0 else booking.duration_ms,
            dict(zip(dimensions, booking.values, strict=True)),
        )
    return None
