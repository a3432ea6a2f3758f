"""How long a call's booking lives: it moves on with the call's events, and never back."""

from __future__ import annotations

import pytest

from schemas.catalog.views import SLICE_MS
from schemas.units import iso
from streams.core.calls import StoredCall
from streams.core.columns import Columns, columns
from streams.core.fold import fold
from tests.oracles.event_logs import NOW_MS, SECRET, countable, encode, event
from tests.simulation.log import PolledRecord

SLICE = NOW_MS // SLICE_MS


def rows_at(*append_ms: int) -> Columns:
    """Events of one call, appended then."""
    records = [
        PolledRecord(n, at, encode(event(id=f"evt-{n}", time=iso(at), call_id="c")), ())
        for n, at in enumerate(append_ms)
    ]
    return columns(countable(records), secret=SECRET)


def booked(rows: Columns, held: StoredCall | None) -> StoredCall:
    ((digest, _),) = rows.booked_calls
    (update,) = fold(rows, {digest: held}).calls
    assert update.old == held
    return update.new


@pytest.mark.parametrize(
    ("append_ms", "slice_"),
    [
        (NOW_MS, SLICE),
        (NOW_MS + SLICE_MS, SLICE + 1),  # found by what comes within W of it
        (NOW_MS + 2 * SLICE_MS, SLICE + 2),
        (NOW_MS - SLICE_MS, SLICE),  # of a partition that is behind
    ],
)
def test_a_booking_stands_in_the_slice_of_the_calls_latest_event(
    append_ms: int, slice_: int
) -> None:
    first = booked(rows_at(NOW_MS), None)
    assert first.slice == SLICE
    again = booked(rows_at(append_ms), first)
    assert (again.slice, again.data) == (slice_, first.data)


def test_a_call_is_looked_for_around_its_first_record_and_booked_at_its_last() -> None:
    rows = rows_at(NOW_MS, NOW_MS + SLICE_MS)
    assert [slice_ for _, slice_ in rows.booked_calls] == [SLICE]
    assert booked(rows, None).slice == SLICE + 1
