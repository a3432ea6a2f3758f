"""Dead letters: how one is written, read, corrected, and sent again so that it counts once. Pure.

A dead letter is the rejected record (value, headers) under the key `topic:partition:offset`, with
five headers that give the reason. A reader that keeps one record per key sees each once, however
often it was written.

A replay is an ordinary record of the events' topic, with its origin in a header. Three things make it
count once:
- Its identity. An event with an id keeps it, so the replay and a resend by its producer count
  once. An event without an id gets its origin as id, the same in every replay.
- Its mark. The dead letter is written again under its key, with a header that says `sending` before
  the send and `sent` after it. A dead letter with `sent` is never sent again, even when its id is
  no longer stored.
- Where a replay died in between, the mark says `sending`. While ids of that time are stored, it is
  sent again under the same identity. After that, it is sent only with --again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from schemas.catalog.views import REMEMBERED_MS
from schemas.errors import InvalidConfig, InvalidEvent, Reason
from schemas.event.envelope import Headers, load_object, read_content
from schemas.event.event_struct import FIELDS
from schemas.event.kinds import DEFAULT_TENANT
from schemas.event.partition_key import partition_key
from schemas.limits import HOUR_MS
from schemas.units import iso
from streams.core.decode import decode

ORIGIN: Final = "odometer-origin"
APPEND_MS: Final = "odometer-append-ms"
REASON: Final = "odometer-reason"
FIELD: Final = "odometer-field"
DETAIL: Final = "odometer-detail"
WHY: Final = (ORIGIN, APPEND_MS, REASON, FIELD, DETAIL)
"""In this order, after the record's own headers."""
REPLAY: Final = "odometer-replay"
"""Header of a dead letter with its mark, after the five."""
REPLAY_OF: Final = "odometer-replay-of"
"""Header of a replayed record with the origin of its dead letter."""
SURE_MS: Final = REMEMBERED_MS - HOUR_MS
"""A replay can be repeated for this long after its mark. Ids are stored from their append, which comes
later, and clocks differ by less than an hour."""

KeyedRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]


class EventIdentity(NamedTuple):
    """The identity of an event: all input of its digest."""

    tenant: str
    source: str
    id: str


class ReplayState(StrEnum):
    SENDING = "sending"
    SENT = "sent"


class ReplayMark(msgspec.Struct, frozen=True):
    """The mark of a dead letter, as JSON in its header."""

    state: ReplayState
    at_ms: int
    identity: EventIdentity


@dataclass(frozen=True)
class DeadLetter:
    """`origin` is topic:partition:offset; `headers` are those of the rejected record."""

    origin: str
    append_ms: int
    reason: str
    field: str
    detail: str
    value: bytes | None
    headers: Headers
    replay: ReplayMark | None = None

    @property
    def topic(self) -> str:
        return self.origin.rsplit(":", 2)[0]


def tenant_of(letter: DeadLetter) -> str:
    """The tenant that the rejected record names; "" if it cannot be read."""
    try:
        content = read_content(letter.value, letter.headers, letter.append_ms)
    except InvalidEvent:
        return ""
    tenant = content.get("tenant", DEFAULT_TENANT)
    return tenant if isinstance(tenant, str) else ""


def dead_letter_record(letter: DeadLetter) -> KeyedRecord:
    """Key, value and headers of the record in the dead-letter topic."""
    origin = letter.origin.encode()
    why = (
        origin,
        str(letter.append_ms).encode(),
        letter.reason.encode(),
        letter.field.encode(),
        letter.detail.encode(errors="replace"),
    )
    mark = [] if letter.replay is None else [(REPLAY, msgspec.json.encode(letter.replay))]
    return origin, letter.value, [*letter.headers, *zip(WHY, why, strict=True), *mark]


def read_dead_letter(value: bytes | None, headers: Headers) -> DeadLetter | None:
    """Reads a record of the dead-letter topic. None where it is not a dead letter of ours."""
    own = list(headers)
    replay = None
    try:
        if own and own[-1][0] == REPLAY:
            replay = msgspec.json.decode(own.pop()[1], type=ReplayMark)
        why = own[-len(WHY) :]
        if tuple(name for name, _ in why) != WHY:
            return None
        origin, append_ms, reason, about, detail = (text.decode() for _, text in why)
        return DeadLetter(
            origin, int(append_ms), reason, about, detail, value, own[: -len(WHY)], replay
        )
    except (ValueError, msgspec.MsgspecError):
        return None


# -- sent again ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A correction before a dead letter is sent again: another value, or some of its fields (None
    removes a field)."""

    value: bytes | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.fields) - FIELDS)
        if unknown:
            raise InvalidConfig(
                f"{unknown[0]!r} is not a field of an event; the fields are {', '.join(sorted(FIELDS))}"
            )


NO_CHANGE: Final = Change()
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class ReplayRecord(NamedTuple):
    """A record for the events' topic."""

    identity: EventIdentity
    record: KeyedRecord


class _AppendedNow(NamedTuple):
    """The record as the fold will see it, appended now."""

    offset: int
    timestamp: int
    value: bytes
    headers: Headers


def resend(letter: DeadLetter, change: Change, now_ms: int) -> ReplayRecord:
    """The record that makes the dead letter count. Raises InvalidEvent where it would be rejected again.

    A neutral event without a correction is sent with the same bytes. A corrected event and a
    CloudEvent become a neutral event. Without a time, the event gets that of its first append.
    """
    value = letter.value if change.value is None else change.value
    headers = letter.headers if change.value is None else ()
    if value is None:
        raise InvalidEvent(Reason.EMPTY, "the record had no value")
    changed = {**read_content(value, headers, letter.append_ms), **change.fields}
    if not changed.get("id"):
        changed["id"] = letter.origin
    if not changed.get("time"):
        changed["time"] = iso(letter.append_ms)
    if changed != load_object(value):
        value = _encoded({name: given for name, given in changed.items() if given is not None})
        headers = [(name, text) for name, text in headers if not _is_envelope(name)]
    (event,) = decode(_AppendedNow(0, now_ms, value, headers)).wires
    tenant = event.tenant or DEFAULT_TENANT
    key = partition_key(tenant, event.source, event.id, event.call_id)
    origin = (REPLAY_OF, letter.origin.encode())
    kept = [(name, text) for name, text in headers if name != REPLAY_OF]
    return ReplayRecord(
        EventIdentity(tenant, event.source, event.id), (key, value, [*kept, origin])
    )


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(fields)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidEvent(Reason.NOT_JSON, f"the value cannot be written: {error}") from error


def _is_envelope(name: str) -> bool:
    return name.startswith("ce_") or name == "content-type"


def marked(
    letter: DeadLetter, state: ReplayState, identity: EventIdentity, now_ms: int
) -> DeadLetter:
    return replace(letter, replay=ReplayMark(state, now_ms, identity))


def already_sent(letter: DeadLetter) -> str:
    """A sentence that the dead letter was replayed, or ""."""
    mark = letter.replay
    if mark is None or mark.state is not ReplayState.SENT:
        return ""
    return f"was replayed at {iso(mark.at_ms)} as {'|'.join(mark.identity)}"


def doubt(letter: DeadLetter, identity: EventIdentity, now_ms: int) -> str:
    """Why a dead letter whose replay was cut off must not be sent again as this event, or ""."""
    mark = letter.replay
    if mark is None or mark.state is not ReplayState.SENDING:
        return ""
    maybe = f"may have been replayed at {iso(mark.at_ms)} as {'|'.join(mark.identity)}"
    if mark.identity != identity:
        return f"{maybe}: send it under that id, or check whether it was counted and use --again"
    if now_ms - mark.at_ms > SURE_MS:
        return f"{maybe}, and ids of that time have expired: check whether it was counted and use --again"
    return ""


def prospect(letter: DeadLetter, change: Change, now_ms: int) -> str:
    """What a replay would do: the end of the sentence "a replay would ..."."""
    if sent := already_sent(letter):
        return f"not send it: it {sent}"
    try:
        identity = resend(letter, change, now_ms).identity
    except InvalidEvent as invalid:
        return f"be rejected: {invalid}"
    kept = doubt(letter, identity, now_ms)
    return f"not send it: it {kept}" if kept else f"count it as {'|'.join(identity)}"
