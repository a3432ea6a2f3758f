"""How much history may be on its way to the counters: a window that follows the delay. Pure.

A topic is a queue. History that is appended as fast as Kafka takes it stands before every live event
that comes after it, for as long as the workers need to count it; history that trickles leaves them
idle. In between lies a window: so many records of history may be appended and not counted yet. Who
sends history (`api.ingest.backfill`, `odometer send --to-kafka`) measures how long what it sent took from
the broker's word to the counters, live events before it included, and keeps that delay at a target,
as LEDBAT (RFC 6817) keeps the delay of a line: counted sooner, the window grows by that much of what
was counted, later, it shrinks. Live load makes the delay longer, and so history gives way to it; more
workers make it shorter, and history goes faster. Nobody needs to know any rate.

The target decides both: two batches of a worker must fit (one that it counts, one that waits), or it
runs dry between two of ours; all beyond that is only a longer wait for live events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

TARGET_MS: Final = 200
"""A worker's batch of history takes 60 to 100 ms."""
WINDOW_MIN: Final = 500
"""Records. So few take 50 ms to count at most: no reason to stop where live load fills the workers."""
WINDOW_FIRST: Final = 2000
WINDOW_MAX: Final = 100_000
"""200 ms of ten workers and more."""
GAIN: Final = 0.5
"""What changes now is seen one delay later: from 1 on the window would swing."""
FORGET_MS: Final = 60_000
"""What was not counted for so long is not waited for any longer: its partition is refused, or no
worker is there. So what is held back is slow then, and never stands for ever."""


class _Flight(NamedTuple):
    records: int
    acked_ms: int
    ends: Mapping[int, int]


@dataclass(frozen=True)
class Standing:
    """`has_room`: whether more may be sent. `behind_ms`: for how long the oldest that we sent has
    waited to be counted."""

    has_room: bool
    behind_ms: int


class Pacing:
    """The invariant: `_flights` are what was sent and is not known to be counted, oldest first, and
    `_under_way` is how many records they are. Times are those of one steady clock."""

    def __init__(self, target_ms: int = TARGET_MS) -> None:
        self._target_ms = target_ms
        self._window = float(WINDOW_FIRST)
        self._flights: deque[_Flight] = deque()
        self._under_way = 0

    def sent(self, records: int, ends: Mapping[int, int], now_ms: int) -> None:
        """The broker has them; `ends`: up to where the log is known to go, by partition."""
        last = self._flights[-1].ends if self._flights else {}
        if any(ends.get(partition, end) < end for partition, end in last.items()):
            self._flights.clear()  # the topic was made anew: its offsets say nothing of the old ones
            self._under_way = 0
        self._flights.append(_Flight(records, now_ms, dict(ends)))
        self._under_way += records

    def looked(self, positions: Sequence[int], now_ms: int) -> Standing:
        """What the counters said at `now_ms`: by partition, the next record to count."""
        was_full = self._under_way >= self._window / 2
        counted = delay_ms = 0
        while self._flights:
            flight = self._flights[0]
            if not _is_counted(flight, positions) and now_ms - flight.acked_ms < FORGET_MS:
                break
            self._flights.popleft()
            counted += flight.records
            delay_ms = max(delay_ms, now_ms - flight.acked_ms)
        self._under_way -= counted
        if counted:
            self._adapt(counted, max(delay_ms, self._behind_ms(now_ms)), was_full=was_full)
        return Standing(self._under_way < self._window, self._behind_ms(now_ms))

    def _adapt(self, counted: int, delay_ms: int, *, was_full: bool) -> None:
        error = max(-1.0, (self._target_ms - delay_ms) / self._target_ms)
        if error < 0 or was_full:  # a window that was not used says nothing of a larger one
            window = self._window + GAIN * error * counted
            self._window = min(WINDOW_MAX, max(WINDOW_MIN, window))

    def _behind_ms(self, now_ms: int) -> int:
        return now_ms - self._flights[0].acked_ms if self._flights else 0


def _is_counted(flight: _Flight, positions: Sequence[int]) -> bool:
    return all(
        partition < len(positions) and positions[partition] >= end
        for partition, end in flight.ends.items()
    )
