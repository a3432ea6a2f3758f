"""A record's bytes to a typed event, the quick way. Pure.

`Wire` has the fields of the contract (schemas/event.py) with the same limits, decoded by msgspec in
about 2 us where the full model takes 9. What it does not accept is read again by the full model,
which either explains the refusal or was merely more patient (unknown fields, CloudEvents). So the
contract is the full model, and this module is only its speed; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from schemas.envelope import Headers, parse_record
from schemas.errors import InvalidEvent, Reason
from schemas.event import Kind, Usage
from schemas.grid import TIERS
from schemas.limits import (
    AHEAD_MS_MAX,
    COUNT_MAX,
    DURATION_MS_MAX,
    EMAIL_CHARS_MAX,
    ERROR_CHARS_MAX,
    EVENT_BYTES_MAX,
    ID_CHARS_MAX,
    LABEL_KEY_CHARS_MAX,
    LABEL_VALUE_CHARS_MAX,
    LABELS_MAX,
    PHONE_CHARS_MAX,
    PREVIEW_CHARS_MAX,
    TAG_CHARS_MAX,
    TAGS_MAX,
    TENANT_CHARS_MAX,
    TITLE_CHARS_MAX,
)
from schemas.units import instant_to_ms, usd_to_nano

Instant = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
DurationMs = Annotated[int, Meta(ge=0, le=DURATION_MS_MAX)]
Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARS_MAX)]
Name = Annotated[str, Meta(max_length=ID_CHARS_MAX)]
LabelKey = Annotated[str, Meta(min_length=1, max_length=LABEL_KEY_CHARS_MAX)]
LabelValue = Annotated[str, Meta(max_length=LABEL_VALUE_CHARS_MAX)]
Tag = Annotated[str, Meta(min_length=1, max_length=TAG_CHARS_MAX)]


class Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `schemas.event.Usage`, one to one."""

    id: Id
    source: Id
    time: Instant
    kind: Kind
    tenant: Annotated[str, Meta(max_length=TENANT_CHARS_MAX)] | None = None
    provider: Name | None = None
    model: Name | None = None
    agent_id: Name | None = None
    user_id: Name | None = None
    user_email: Annotated[str, Meta(max_length=EMAIL_CHARS_MAX)] | None = None
    user_name: Name | None = None
    phone_number: Annotated[str, Meta(max_length=PHONE_CHARS_MAX)] | None = None
    service: Name | None = None
    voice: Name | None = None
    call_id: Name | None = None
    call_started_at: Instant | None = None
    duration_ms: DurationMs | None = None
    chat_id: Name | None = None
    chat_title: Annotated[str, Meta(max_length=TITLE_CHARS_MAX)] | None = None
    message_preview: Annotated[str, Meta(max_length=PREVIEW_CHARS_MAX)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=TAGS_MAX)] | None = None
    rating: Literal[1, -1] | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    input_text_tokens: Count | None = None
    input_audio_tokens: Count | None = None
    cache_read_text_tokens: Count | None = None
    cache_read_audio_tokens: Count | None = None
    output_text_tokens: Count | None = None
    output_audio_tokens: Count | None = None
    tts_characters: Count | None = None
    tts_audio_ms: DurationMs | None = None
    stt_audio_ms: DurationMs | None = None
    cost_usd: Decimal | None = None
    latency_ms: DurationMs | None = None
    first_output_ms: DurationMs | None = None
    error: Annotated[str, Meta(max_length=ERROR_CHARS_MAX)] | None = None
    labels: Annotated[dict[LabelKey, LabelValue], Meta(max_length=LABELS_MAX)] | None = None


_WIRE: Final = msgspec.json.Decoder(Wire)
_OLDEST_MS: Final = TIERS[-1].kept_ms


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
    _check_age("time", at_ms, record.timestamp)
    started_ms = None
    if event.call_started_at is not None:
        started_ms = instant_to_ms(event.call_started_at)
        _check_age("call_started_at", started_ms, record.timestamp)
    return Decoded(event, at_ms, started_ms, cost, unknown)


def _has_attributes(headers: Headers) -> bool:
    """Whether the record may be a CloudEvent in binary mode."""
    return any(name.startswith("ce_") for name, _ in headers)


def _read_fully(record: Record) -> tuple[Wire, tuple[str, ...]]:
    usage, unknown = parse_record(record.value, record.headers, record.timestamp)
    return Wire(**{name: getattr(usage, name) for name in Usage.model_fields}), unknown


def _check_age(field: str, at_ms: int, append_ms: int) -> None:
    age_ms = append_ms - at_ms
    if age_ms > _OLDEST_MS:
        raise InvalidEvent(
            Reason.TOO_OLD,
            f"lies {age_ms} ms before the record's append, the limit is {_OLDEST_MS}",
            field,
        )
    if -age_ms > AHEAD_MS_MAX:
        raise InvalidEvent(
            Reason.TOO_FAR_AHEAD,
            f"lies {-age_ms} ms after the record's append, the limit is {AHEAD_MS_MAX}",
            field,
        )


def decode_many(records: Sequence[Record]) -> list[Decoded | InvalidEvent]:
    """Each record's event, or why there is none, in order."""
    results: list[Decoded | InvalidEvent] = []
    for record in records:
        try:
            results.append(decode(record))
        except InvalidEvent as invalid:
            results.append(invalid)
    return results
