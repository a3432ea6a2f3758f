"""A record's bytes to a typed event, the quick way (schemas/wire.py). Pure.

What `Wire` does not accept is read again by the full model, which either explains the refusal or was
merely more patient (unknown fields, CloudEvents); a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from schemas.envelope import Headers, parse_record
from schemas.errors import InvalidEvent, Reason
from schemas.event import Usage
from schemas.limits import EVENT_BYTES_MAX
from schemas.units import instant_to_ms, usd_to_nano
from schemas.wire import Wire, check_age

_WIRE: Final = msgspec.json.Decoder(Wire)


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
    """An offset that the Kafka client cannot read: a header key that is not UTF-8, a rotted batch."""

    offset: int
    timestamp: int
    detail: str
    value: bytes | None = None
    headers: Headers = ()


class Decoded(NamedTuple):
    """An event that can be counted."""

    event: Wire
    at_ms: int
    started_ms: int | None
    cost_nano_usd: int | None
    unknown: tuple[str, ...]


def decode(record: Record) -> Decoded:
    """The event of a record, or InvalidEvent: the only error, whatever the bytes are."""
    if isinstance(record, Unreadable):
        raise InvalidEvent(Reason.UNREADABLE, record.detail)
    unknown: tuple[str, ...] = ()
    value = record.value
    try:
        if not value or len(value) > EVENT_BYTES_MAX or _has_attributes(record.headers):
            event, unknown = _read_fully(record)
        else:
            event = _WIRE.decode(value)
        cost = None if event.cost_usd is None else usd_to_nano(event.cost_usd)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        event, unknown = _read_fully(record)
        cost = None if event.cost_usd is None else usd_to_nano(event.cost_usd)
    at_ms = instant_to_ms(event.time)
    check_age("time", at_ms, record.timestamp)
    started_ms = None
    if event.call_started_at is not None:
        started_ms = instant_to_ms(event.call_started_at)
        check_age("call_started_at", started_ms, record.timestamp)
    return Decoded(event, at_ms, started_ms, cost, unknown)


def _has_attributes(headers: Headers) -> bool:
    """Whether the record may be a CloudEvent in binary mode."""
    return bool(headers) and any(name.startswith("ce_") for name, _ in headers)


def _read_fully(record: Record) -> tuple[Wire, tuple[str, ...]]:
    usage, unknown = parse_record(record.value, record.headers, record.timestamp)
    return Wire(**{name: getattr(usage, name) for name in Usage.model_fields}), unknown


def decode_many(records: Sequence[Record]) -> list[Decoded | InvalidEvent]:
    """Each record's event, or why there is none, in order."""
    results: list[Decoded | InvalidEvent] = []
    for record in records:
        try:
            results.append(decode(record))
        except InvalidEvent as invalid:
            results.append(invalid)
    return results
