"""Calls: each is booked once, at its first event; its duration is added to the same bucket. Pure.

A call is booked at its first event in log order, in the bucket of that event's time (or of
`call_started_at`), with the agent and user of that event. Later events add to the same bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from schemas.catalog.measures import BOOKED
from schemas.catalog.views import SLICE_MS
from schemas.event.identity import CallKey
from schemas.event.kinds import USAGE_KINDS
from schemas.tiers import finest_written
from streams.core.columns import Columns

_CALLS, _DURATION, _WITH_USAGE, _USAGE_DURATION = range(len(BOOKED))


class Booking(msgspec.Struct, array_like=True, frozen=True):
    """The bucket where a call was booked, stored as a JSON array. `duration_ms` is -1 until one is
    reported; `values` are those of the booking's dimensions."""

    booked_ms: int
    duration_ms: int
    with_usage: bool
    values: tuple[str, ...]


class StoredCall(NamedTuple):
    """A booking as Redis stores it: its slice and its exact bytes."""

    slice: int
    data: bytes


class CallUpdate(NamedTuple):
    """The change of one call in a commit. It applies only while the call is as in `old` (None: not booked)."""

    call: CallKey
    old: StoredCall | None
    new: StoredCall


class CallDelta(NamedTuple):
    """What one event of a call adds to the bucket of its booking."""

    tenant: int
    booked_ms: int
    finest_tier: int
    values: tuple[str, ...]
    amounts: tuple[int, int, int, int]  # in the order of measures.BOOKED


def book(
    batch: Columns, stored_calls: Mapping[CallKey, StoredCall | None]
) -> tuple[list[CallDelta], list[CallUpdate]]:
    """The deltas of the batch's calls, and the new booking of each call."""
    bookings = {
        call: msgspec.json.decode(one.data, type=Booking)
        for call, one in stored_calls.items()
        if one is not None
    }
    latest_slice: dict[CallKey, int] = {}
    call_deltas: list[CallDelta] = []
    for event in batch.calls:
        append_ms = int(batch.append_ms[event.row])
        before = bookings.get(event.call)
        booking = before or Booking(event.booked_ms, -1, False, event.values)
        # It was booked before a view was added that books by more dimensions.
        lacking = len(event.values) - len(booking.values)
        values = (*booking.values, *[""] * lacking)
        with_usage = booking.with_usage or event.kind in USAGE_KINDS
        duration = booking.duration_ms if event.duration_ms is None else event.duration_ms
        amounts = [0, 0, 0, 0]
        amounts[_CALLS] = int(before is None)
        amounts[_DURATION] = max(duration, 0) - max(booking.duration_ms, 0)
        amounts[_WITH_USAGE] = int(with_usage) - int(booking.with_usage)
        was_in_usage = max(booking.duration_ms, 0) if booking.with_usage else 0
        amounts[_USAGE_DURATION] = (max(duration, 0) if with_usage else 0) - was_in_usage
        if any(amounts):
            finest_tier = finest_written(append_ms - booking.booked_ms)
            call_deltas.append(
                CallDelta(
                    event.tenant,
                    booking.booked_ms,
                    finest_tier,
                    values,
                    (*amounts,),  # type: ignore[arg-type]
                )
            )
        bookings[event.call] = Booking(booking.booked_ms, duration, with_usage, values)
        slice_ = append_ms // SLICE_MS
        latest_slice[event.call] = max(latest_slice.get(event.call, slice_), slice_)
    updates = []
    for call, slice_ in latest_slice.items():
        old = stored_calls.get(call)
        new_slice = slice_ if old is None else max(slice_, old.slice)
        new = StoredCall(new_slice, msgspec.json.encode(bookings[call]))
        # Also where nothing changes: "nothing to book" holds only while `old` is stored. (If Redis
        # went back to an older copy before the commit, the booking would be lost.)
        updates.append(CallUpdate(call, old, new))
    return call_deltas, updates
