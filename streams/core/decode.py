"""Decodes the bytes of records to typed events, many at once and fast. Pure.

The fast path is `EventStruct` (schemas/event/event_struct.py). The full model reads every record that
the fast path does not accept. It either explains the rejection, or it accepts the record because it
is more lenient (unknown fields, CloudEvents). A test compares the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import repeat
from operator import attrgetter, itemgetter, mul
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec.structs import astuple

from schemas.errors import InvalidEvent, Reason
from schemas.event.age import OLDEST_MS, check_age
from schemas.event.envelope import Headers
from schemas.event.event_struct import USUAL, EventStruct
from schemas.event.kinds import DEFAULT_TENANT
from schemas.event.usage_event import UsageEvent, parse_record
from schemas.limits import AHEAD_MS_MAX, COST_NANO_USD_MAX, EVENT_BYTES_MAX, NANO_PER_USD
from schemas.store.layout import Int64s
from schemas.units import instant_to_ms, usd_to_nano

READ_AT_ONCE: Final = 500
"""Events that are decoded and transposed together. With their texts they take about 500 kB, which fits
the cache of a core. A later read would cost four times as much."""

_WIRE: Final = msgspec.json.Decoder(EventStruct)
_REFUSALS: Final = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
"""The errors of the fast path: TypeError where there is no value, or none that it may read."""
_VALUE, _HEADERS, _TIMESTAMP = attrgetter("value"), attrgetter("headers"), attrgetter("timestamp")
_TIME, _STARTED, _COST = (USUAL.index(n) for n in ("time", "call_started_at", "cost_usd"))
_USUAL_PART: Final = itemgetter(slice(0, len(USUAL)))


class Record(Protocol):
    """One record of the topic. `timestamp` is its append time in ms."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class Unreadable(NamedTuple):
    """An offset that the Kafka client cannot read: a header key that is not UTF-8, or a corrupt batch."""

    offset: int
    timestamp: int
    detail: str
    value: bytes | None = None
    headers: Headers = ()


Undecodable = tuple[Record, InvalidEvent]


class FieldColumns(dict[str, Sequence[Any]]):
    """The columns of a batch by field. One that few events have is made when it is asked for."""

    def __init__(self, wires: Sequence[EventStruct], usual: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(usual)
        self._wires = wires

    def __missing__(self, name: str) -> Sequence[Any]:
        self[name] = column = list(map(attrgetter(name), self._wires))
        return column


@dataclass(frozen=True)
class EventBatch:
    """Events that can be counted, as columns, in order. `fields`: those of `EventStruct`, by name.
    `cost_nano_usd` is -1 without a cost. `started_ms`: by row, the start of the call where the event
    has one. `unknown`: the number of events by tenant and unknown field."""

    wires: Sequence[EventStruct]
    fields: Mapping[str, Sequence[Any]]
    at_ms: Int64s
    append_ms: Int64s
    cost_nano_usd: Int64s
    started_ms: Mapping[int, int]
    unknown: Counter[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.wires)


def decode(record: Record) -> EventBatch:
    """The event of one record. Raises InvalidEvent and no other error, for any bytes."""
    reading = BatchDecoder()
    for _, invalid in reading.add([record]):
        raise invalid
    return reading.events()


class BatchDecoder:
    """Decodes a batch, slice by slice."""

    def __init__(self) -> None:
        self._wires: list[EventStruct] = []
        self._fields: dict[str, list[Any]] = {name: [] for name in USUAL}
        self._numbers: list[tuple[Int64s, Int64s, Int64s]] = []
        self._started_ms: dict[int, int] = {}
        self._unknown: Counter[tuple[str, str]] = Counter()

    def add(self, records: Sequence[Record]) -> list[Undecodable]:
        """Decodes records. Returns those that cannot be counted, in order, each with its reason."""
        refused: list[Undecodable] = []
        for at in range(0, len(records), READ_AT_ONCE):
            refused += self._add(records[at : at + READ_AT_ONCE])
        return refused

    def events(self) -> EventBatch:
        nothing = np.empty(0, np.int64)
        columns = zip(*self._numbers, strict=True) if self._numbers else repeat([nothing], 3)
        at_ms, append_ms, cost = (np.concatenate(column) for column in columns)
        return EventBatch(
            self._wires,
            FieldColumns(self._wires, self._fields),
            at_ms,
            append_ms,
            cost,
            self._started_ms,
            self._unknown,
        )

    def _add(self, records: Sequence[Record]) -> list[Undecodable]:
        refused: dict[int, InvalidEvent] = {}
        unknown: dict[int, Sequence[str]] = {}
        found = _read(records, refused, unknown)
        rows = [place for place, wire in enumerate(found) if wire is not None]
        wires = [wire for wire in found if wire is not None]
        columns = _columns(wires)
        append_ms = np.fromiter(map(_TIMESTAMP, records), np.int64, len(records)).take(rows)
        at_ms = _instants(columns[_TIME])
        cost = _costs(columns[_COST])
        started = _started(columns[_STARTED])
        bad: dict[int, InvalidEvent] = {}
        for row in np.flatnonzero(cost == _UNPAYABLE).tolist():
            bad[row] = _refusal(records[rows[row]])
        _check_ages(at_ms, append_ms, started, bad)
        if bad:
            kept = [row for row in range(len(wires)) if row not in bad]
            wires = [wires[row] for row in kept]
            columns = _columns(wires)
            at_ms, append_ms, cost = (column.take(kept) for column in (at_ms, append_ms, cost))
            started = {new: started[row] for new, row in enumerate(kept) if row in started}
            refused |= {rows[row]: invalid for row, invalid in bad.items()}
        self._started_ms |= {len(self._wires) + row: at for row, at in started.items()}
        self._wires += wires
        self._numbers.append((at_ms, append_ms, cost))
        for known, column in zip(self._fields.values(), columns, strict=True):
            known.extend(column)
        for place, names in unknown.items():
            if place not in refused:
                wire = found[place]
                tenant = (wire and wire.tenant) or DEFAULT_TENANT
                self._unknown.update((tenant, name) for name in names)
        return [(records[place], refused[place]) for place in sorted(refused)]


def _read(
    records: Sequence[Record], refused: dict[int, InvalidEvent], unknown: dict[int, Sequence[str]]
) -> list[EventStruct | None]:
    """The event of each record, None where it is rejected. Fills `refused` (reasons) and `unknown`
    (names of unknown fields), both by index."""
    values = list(map(_VALUE, records))
    if any(map(_HEADERS, records)):
        for place, record in enumerate(records):
            if _has_attributes(record.headers):
                values[place] = None
    if max(map(len, filter(None, values)), default=0) > EVENT_BYTES_MAX:
        values = [None if v and len(v) > EVENT_BYTES_MAX else v for v in values]
    found: list[EventStruct | None] = []
    rest = map(_WIRE.decode, values)
    while len(found) < len(values):
        try:
            found.extend(rest)  # up to the record that raises
        except _REFUSALS:
            place = len(found)
            try:
                wire, names = _read_fully(records[place])
            except InvalidEvent as invalid:
                refused[place] = invalid
                found.append(None)
            else:
                found.append(wire)
                unknown[place] = names
    return found


def _has_attributes(headers: Headers) -> bool:
    """Whether the record may be a CloudEvent in binary mode."""
    return bool(headers) and any(name.startswith("ce_") for name, _ in headers)


def _read_fully(record: Record) -> tuple[EventStruct, tuple[str, ...]]:
    """The event and its unknown fields, by the full model."""
    if isinstance(record, Unreadable):
        raise InvalidEvent(Reason.UNREADABLE, record.detail)
    usage, unknown = parse_record(record.value, record.headers, record.timestamp)
    return EventStruct(**{name: getattr(usage, name) for name in UsageEvent.model_fields}), unknown


def _refusal(record: Record) -> InvalidEvent:
    """The error of the full model for a record with an invalid cost."""
    try:
        _read_fully(record)
    except InvalidEvent as invalid:
        return invalid
    raise AssertionError("the full model accepts an invalid cost")


# -- many at once ----------------------------------------------------------------------------------

_UNPAYABLE: Final = -2
_SECONDS_MAX: Final = 2**32
"""Up to the year 2106. Until then the error of seconds as a double (2^-22 s, and half as much after the
multiplication by 10^6) is below half a microsecond, so rounding gives the exact microsecond."""
_NANO: Final = Decimal(NANO_PER_USD)
_USD_MAX: Final = Decimal(COST_NANO_USD_MAX) / NANO_PER_USD


def _columns(wires: Sequence[EventStruct]) -> list[Sequence[Any]]:
    """One column per usual field, for all events."""
    if not wires:
        return [()] * len(USUAL)
    return list(zip(*map(_USUAL_PART, map(astuple, wires)), strict=True))


def _instants(times: Sequence[datetime]) -> Int64s:
    """`schemas.units.instant_to_ms` of each."""
    seconds = np.fromiter(map(datetime.timestamp, times), np.float64, len(times))
    if not len(times) or np.abs(seconds).max() < _SECONDS_MAX:
        return np.rint(seconds * 1e6).astype(np.int64) // 1000
    return np.array(list(map(instant_to_ms, times)), np.int64)


def _started(times: Sequence[datetime | None]) -> dict[int, int]:
    if times.count(None) == len(times):
        return {}
    return {row: instant_to_ms(at) for row, at in enumerate(times) if at is not None}


def _check_ages(
    at_ms: Int64s, append_ms: Int64s, started_ms: Mapping[int, int], bad: dict[int, InvalidEvent]
) -> None:
    age_ms = append_ms - at_ms
    rows = np.flatnonzero((age_ms > OLDEST_MS) | (age_ms < -AHEAD_MS_MAX)).tolist()
    times = [("time", row, int(at_ms[row])) for row in rows]
    times += [("call_started_at", row, at) for row, at in started_ms.items()]
    for field, row, at in times:
        try:
            check_age(field, at, int(append_ms[row]))
        except InvalidEvent as invalid:
            bad.setdefault(row, invalid)


def _costs(costs: Sequence[Decimal | None]) -> Int64s:
    """`schemas.units.usd_to_nano` of each; -1 for None, _UNPAYABLE for an invalid cost."""
    if any(costs):
        try:
            # `usd_to_nano` handles values at the bounds and those with more than nine decimal places.
            if min(costs) > 0 and max(costs) < _USD_MAX:  # type: ignore[type-var,operator]
                scaled = list(map(mul, costs, repeat(_NANO)))
                whole = list(map(int, scaled))
                if whole == scaled:
                    return np.array(whole, np.int64)
        except (ArithmeticError, TypeError):
            pass  # one is not a number, or is None
    return np.array(list(map(_cost, costs)), np.int64)


def _cost(usd: Decimal | None) -> int:
    if usd is None:
        return -1
    try:
        return usd_to_nano(usd)
    except (ValueError, ArithmeticError):
        return _UNPAYABLE
