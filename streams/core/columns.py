"""A batch's events as arrays, one row an event: the input of the fold. Pure.

Made once per batch. When Redis answers that some ids are duplicates, the fold runs again on the same
columns without those events, and nothing is decoded again. Each field becomes an array once, however
many measures read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.catalog.measures import MEASURES, SKETCHES, How, Measure
from schemas.catalog.sketches import MARK, bins_of, chat_digest
from schemas.catalog.views import DEFAULT, LABEL, SLICE_MS, Catalog, booking_dimensions
from schemas.event.error_class import error_class_of
from schemas.event.identity import CallKey, IdSecret, call_keys, event_digests, sources_of
from schemas.event.kinds import DEFAULT_TENANT
from schemas.limits import COUNT_MAX
from schemas.prices.billing import BILLED
from schemas.prices.price_list import BUNDLED, Prices
from schemas.store.layout import Int64s
from schemas.tiers import finest_written
from streams.core.decode import EventBatch
from streams.core.pricing import CostSources, PricingInput, add_costs
from streams.core.rollup import duplicates

Codes = npt.NDArray[np.int64]
Items = npt.NDArray[np.uint64]
NOTHING: Final = MARK
"""Marks an event that adds nothing to a sketch, in the column of that sketch."""


NUMBERS: Final = frozenset(
    {measure.field for measure in MEASURES if measure.how is How.SUM} | {"cost_nano_usd"}
)
"""Numeric fields: 0 counts as reported, an empty text does not."""


class CallEvent(NamedTuple):
    """One event of a call, in log order."""

    row: int
    call: CallKey
    tenant: int
    kind: str
    duration_ms: int | None
    booked_ms: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """A batch's accepted events in log order of each partition: one row an event.

    secret: the name of the secret of all digests; digests: uint64; at_ms, append_ms: int64; finest_tier: index of the finest tier; codes: for each
    dimension one int64 column of indexes into `words`; values: n x measures, int64; cost_source: how
    the cost of each event is known; sketched: for each sketch the bin or digest to add (NOTHING for
    none); misread: by field, labels that should be numbers and are not; calls: in log order; origin:
    the row of each event in `events`, which also holds the events that do not count; differs: how many
    events were left out that are equal to an earlier one and have other billed numbers.
    """

    catalog: Catalog
    secret: str
    digests: npt.NDArray[np.uint64]
    at_ms: Int64s
    append_ms: Int64s
    finest_tier: Int64s
    tenants: Codes
    codes: Mapping[str, Codes]
    words: Mapping[str, Sequence[str]]
    values: Int64s
    cost_source: CostSources
    sketched: Mapping[str, Items]
    misread: Mapping[str, int]
    calls: Sequence[CallEvent]
    events: EventBatch
    origin: Int64s
    differs: int = 0

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def booked_calls(self) -> list[tuple[CallKey, int]]:
        """Each call once, and the slice of its first record in this batch."""
        first: dict[CallKey, int] = {}
        for call in self.calls:
            first.setdefault(call.call, int(self.append_ms[call.row]) // SLICE_MS)
        return list(first.items())

    @property
    def id_counts(self) -> list[tuple[int, str, int]]:
        """How many events belong to each slice of append time and tenant."""
        tenants = self.words["tenant"]
        places = self.append_ms // SLICE_MS * len(tenants) + self.tenants
        found = zip(*(one.tolist() for one in np.unique(places, return_counts=True)), strict=True)
        return [
            (place // len(tenants), tenants[place % len(tenants)], count) for place, count in found
        ]

    def without(self, digests: npt.NDArray[np.uint64]) -> Columns:
        """The batch without the events of these digests."""
        return self._keep(~np.isin(self.digests, digests))

    def first_of_each(self) -> Columns:
        """The batch with only the first of equal events."""
        again = duplicates(self.digests)
        if not len(again):
            return self
        ids, first = np.unique(self.digests, return_index=True)
        numbers = billed_values(self)
        was = numbers[first[np.searchsorted(ids, self.digests[again])]]
        differs = int(np.count_nonzero((numbers[again] != was).any(axis=1)))
        keep = np.ones(len(self.digests), dtype=bool)
        keep[again] = False
        return replace(self._keep(keep), differs=differs)

    def _keep(self, keep: npt.NDArray[np.bool_]) -> Columns:
        new_row = np.cumsum(keep) - 1
        return replace(
            self,
            digests=self.digests[keep],
            at_ms=self.at_ms[keep],
            append_ms=self.append_ms[keep],
            finest_tier=self.finest_tier[keep],
            tenants=self.tenants[keep],
            codes={name: column[keep] for name, column in self.codes.items()},
            values=self.values[keep],
            origin=self.origin[keep],
            cost_source=self.cost_source[keep],
            sketched={name: items[keep] for name, items in self.sketched.items()},
            calls=[c._replace(row=int(new_row[c.row])) for c in self.calls if keep[c.row]],
        )


def billed_values(rows: Columns) -> Int64s:
    """The numbers that two reports of one answer must have in common: what is billed, and the cost."""
    return rows.values[:, _billed_at(rows.catalog)]


@cache
def _billed_at(catalog: Catalog) -> list[int]:
    return [
        place
        for place, measure in enumerate(catalog.measures)
        if measure.how is How.SUM and measure.field in {*BILLED, "cost_nano_usd"}
    ]


class _Interner(dict[str | None, int]):
    """Maps texts to small integers, in order of appearance. None is the empty text."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def __missing__(self, value: str | None) -> int:
        if value is None:
            code = self[""]
        else:
            code = len(self.words)
            self.words.append(value)
        self[value] = code
        return code

    def encode(self, values: Sequence[str | None]) -> Codes:
        return np.fromiter(map(self.__getitem__, values), np.int64, len(values))


def columns(
    events: EventBatch, prices: Prices = BUNDLED, catalog: Catalog = DEFAULT, *, secret: IdSecret
) -> Columns:
    """The batch as arrays, with the first of equal events; digests are made under `secret`. A usage event without a cost gets its cost
    from `prices`."""
    misread: Counter[str] = Counter()
    fields = _Fields(events, misread)
    tenants = [tenant or DEFAULT_TENANT for tenant in fields.of("tenant")]
    tenant_words = _Interner()
    tenant_codes = tenant_words.encode(tenants)
    at, append = events.at_ms, events.append_ms
    codes: dict[str, Codes] = {}
    words: dict[str, Sequence[str]] = {"tenant": tenant_words.words}
    for name in catalog.kept_dimensions:
        interned = _Interner()
        codes[name] = interned.encode(_values_of(fields, catalog.dimensions[name]))
        words[name] = interned.words
    booked = (
        [_values_of(fields, catalog.dimensions[name]) for name in booking_dimensions(catalog)]
        if any(fields.of("call_id"))
        else []
    )
    has_kind = _has_kind(codes["kind"], words["kind"])
    values = _matrix(fields, catalog, has_kind)
    asked = PricingInput(events.wires, at, {**codes, "tenant": tenant_codes}, words)
    cost_source = add_costs(prices, asked, values)
    return Columns(
        catalog=catalog,
        secret=secret.name,
        digests=event_digests(
            secret,
            tenants,
            sources_of(fields.of("kind"), fields.of("source"), fields.of("id")),
            fields.of("id"),
        ),
        at_ms=at,
        append_ms=append,
        finest_tier=_finest_tiers(append - at),
        tenants=tenant_codes,
        codes=codes,
        words=words,
        values=values,
        cost_source=cost_source,
        sketched={
            sketch.name: np.where(has_kind(sketch), _items(fields, tenants, sketch), NOTHING)
            for sketch in SKETCHES
        },
        misread=misread,
        calls=_call_events(fields, secret, tenants, tenant_codes, booked),
        events=events,
        origin=np.arange(len(events)),
    ).first_of_each()


def _values_of(fields: _Fields, names: Sequence[str]) -> Sequence[str | None]:
    """One dimension of each event: the first of these fields that is reported."""
    first, *others = names
    values: Sequence[str | None] = fields.of(first)
    for field in others:
        if None not in values and "" not in values:
            break
        values = [v or other for v, other in zip(values, fields.of(field), strict=True)]
    return values


def _has_kind(codes: Codes, words: Sequence[str]) -> Callable[[Measure], npt.NDArray[np.bool_]]:
    """Returns a function: for a measure, whether the kind of each event has it."""

    @cache
    def of_kinds(kinds: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        return np.array([word in kinds for word in words], bool)[codes]

    return lambda measure: of_kinds(measure.kinds)


def _finest_tiers(age_ms: Int64s) -> Int64s:
    """`schemas.tiers.finest_written` of many ages."""
    oldest = int(age_ms.max(initial=0))
    if finest_written(oldest) == 0:
        return np.zeros(len(age_ms), np.int64)
    return np.array([finest_written(age) for age in age_ms.tolist()], np.int64)


class _Fields:
    """The events of a batch, field by field."""

    def __init__(self, events: EventBatch, misread: Counter[str]) -> None:
        self.events = events
        self._misread = misread
        self._numbers: dict[str, Int64s] = {"cost_nano_usd": events.cost_nano_usd}

    def of(self, field: str) -> Sequence[Any]:
        """The value of each event, None where it is not reported."""
        if field.startswith(LABEL):
            key = field.removeprefix(LABEL)
            found = self.events.fields["labels"]
            return [None if labels is None else labels.get(key) for labels in found]
        if field == "error_class":
            return self._error_classes()
        return self.events.fields[field]

    def _error_classes(self) -> Sequence[str | None]:
        """As reported, else read from the error."""
        found, errors = self.events.fields["error_class"], self.events.fields["error"]
        if not any(errors):
            return found
        return [
            own or (error_class_of(error) if error else None)
            for own, error in zip(found, errors, strict=True)
        ]

    def numbers(self, field: str) -> Int64s:
        """The same for a numeric field, as an array: -1 where it is not reported."""
        known = self._numbers.get(field)
        if known is None:
            known = self._numbers[field] = self._as_numbers(field)
        return known

    def _as_numbers(self, field: str) -> Int64s:
        found = self.of(field)
        if field.startswith(LABEL):
            found = [_whole_number(text, field, self._misread) for text in found]
        if not any(found) and found.count(None) == len(found):
            return np.full(len(found), -1, np.int64)
        try:
            return np.array(found, np.int64)
        except TypeError:  # at the first that is None
            return np.array([-1 if value is None else value for value in found], np.int64)


def _matrix(
    fields: _Fields, catalog: Catalog, has_kind: Callable[[Measure], npt.NDArray[np.bool_]]
) -> Int64s:
    # Column-major: each column is written and read as a whole.
    matrix = np.zeros((len(fields.events), len(catalog.measures)), np.int64, order="F")
    for index, measure in enumerate(catalog.measures):
        if measure.how is How.COUNT:
            matrix[:, index] = 1
        elif measure.how is not How.BOOKED:
            np.multiply(_measured(fields, measure), has_kind(measure), out=matrix[:, index])
    return matrix


def _measured(fields: _Fields, measure: Measure) -> npt.NDArray[Any]:
    """One measure of each event: the value of its field, whether it is reported, or whether it equals a value."""
    if measure.how is How.SUM:
        own = fields.numbers(measure.field)
        if measure.rest is None:
            return np.maximum(own, 0)
        whole, part = (np.maximum(fields.numbers(name), 0) for name in measure.rest)
        return np.where(own < 0, np.maximum(whole - part, 0), own)
    if measure.field in NUMBERS:
        return fields.numbers(measure.field) >= 0
    found = fields.of(measure.field)
    if not any(found):
        return np.zeros(len(found), bool)
    if measure.how is How.IS:
        return np.array([value == measure.equals for value in found], bool)
    return np.array(list(map(bool, found)), bool)


def _whole_number(text: str | None, field: str, misread: Counter[str]) -> int | None:
    """The number in a label: decimal digits, 0 to COUNT_MAX. None where the label is something else."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and int(text) <= COUNT_MAX:  # labels are 256 long at most
        return int(text)
    misread[field] += 1
    return None


def _items(fields: _Fields, tenants: Sequence[str], sketch: Measure) -> Items:
    """The bin or digest that each event adds to a sketch; NOTHING where it reports none."""
    if sketch.how is How.HISTOGRAM:
        values = fields.numbers(sketch.field)
        return np.where(values < 0, np.uint64(NOTHING), bins_of(values).astype(np.uint64))
    found = fields.of(sketch.field)
    if not any(found):
        return np.full(len(found), NOTHING, np.uint64)
    return np.fromiter(
        (
            chat_digest(tenant, value) if value else NOTHING
            for tenant, value in zip(tenants, found, strict=True)
        ),
        np.uint64,
        len(found),
    )


def _call_events(
    fields: _Fields,
    secret: IdSecret,
    tenants: Sequence[str],
    tenant_codes: Codes,
    values: Sequence[Sequence[str | None]],
) -> list[CallEvent]:
    """`values`: the dimensions of bookings, each with the value of every event; empty without calls."""
    if not values:
        return []
    call_ids = fields.of("call_id")
    rows = [row for row, call_id in enumerate(call_ids) if call_id]
    keys = call_keys(secret, [tenants[row] for row in rows], [call_ids[row] for row in rows])
    events = fields.events
    calls: list[CallEvent] = []
    for row, key in zip(rows, keys, strict=True):
        wire = events.wires[row]
        calls.append(
            CallEvent(
                row,
                key,
                int(tenant_codes[row]),
                wire.kind,
                wire.duration_ms if wire.kind == "call" else None,
                events.started_ms.get(row, int(events.at_ms[row])),
                tuple([column[row] or "" for column in values]),
            )
        )
    return calls
