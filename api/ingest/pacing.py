"""Decides how much history may be sent but not yet counted: a window that follows the delay.

A topic is a queue. History that is appended as fast as Kafka accepts it delays every later live
event by the time that the workers need for it. History that trickles leaves the workers idle.
Between both lies a window: the number of records of history that may be appended but not counted.

The sender (`api.ingest.backfill`, `odometer send --to-kafka`) measures the delay from Kafka's
acknowledgement to the counters, live events included. It keeps the delay at a target, as LEDBAT
(RFC 6817) does for a network link: below the target the window grows in proportion to the records
that were counted, above it the window shrinks. So history slows down under live load, and speeds up
with more workers, and nobody has to configure a rate.

The target must cover two batches of a worker (one being counted, one waiting), or the worker runs
dry between two slices. A higher target only delays live events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

TARGET_MS: Final = 200
"""A worker's batch of history takes 60 to 100 ms."""
WINDOW_MIN: Final = 500
"""Records. Counting them takes at most 50 ms, so even busy workers need not stop history."""
WINDOW_FIRST: Final = 2000
WINDOW_MAX: Final = 100_000
"""What ten or more workers count in 200 ms."""
GAIN: Final = 0.5
"""A change is visible one delay later, so from 1 on the window would oscillate."""
FORGET_MS: Final = 60_000
"""Stop waiting for records that were not counted within this time: their partition is paused, or no
worker runs. History is then slow, but it never stops for ever."""


class _Slice(NamedTuple):
    records: int
    acked_ms: int
    ends: Mapping[int, int]


@dataclass(frozen=True)
class CountingDelay:
    """`has_room`: whether more may be sent. `behind_ms`: how long the oldest slice has waited to be
    counted."""

    has_room: bool
    behind_ms: int


class Pacing:
    """The invariant: `_slices` are what was sent and is not known to be counted, oldest first, and
    `_under_way` is how many records they are. Times are those of one steady clock."""

    def __init__(self, target_ms: int = TARGET_MS) -> None:
        self._target_ms = target_ms
        self._window = float(WINDOW_FIRST)
        self._slices: deque[_Slice] = deque()
        self._under_way = 0

    def sent(self, records: int, ends: Mapping[int, int], now_ms: int) -> None:
        """The broker has them; `ends`: up to where the log is known to go, by partition."""
        last = self._slices[-1].ends if self._slices else {}
        if any(ends.get(partition, end) < end for partition, end in last.items()):
            self._slices.clear()  # the topic was created again: its offsets start over
            self._under_way = 0
        self._slices.append(_Slice(records, now_ms, dict(ends)))
        self._under_way += records

    def looked(self, positions: Sequence[int], now_ms: int) -> CountingDelay:
        """What the counters said at `now_ms`: by partition, the next record to count."""
        was_full = self._under_way >= self._window / 2
        counted = delay_ms = 0
        while self._slices:
            part = self._slices[0]
            if not _is_counted(part, positions) and now_ms - part.acked_ms < FORGET_MS:
                break
            self._slices.popleft()
            counted += part.records
            delay_ms = max(delay_ms, now_ms - part.acked_ms)
        self._under_way -= counted
        if counted:
            self._adapt(counted, max(delay_ms, self._behind_ms(now_ms)), was_full=was_full)
        return CountingDelay(self._under_way < self._window, self._behind_ms(now_ms))

    def _adapt(self, counted: int, delay_ms: int, *, was_full: bool) -> None:
        error = max(-1.0, (self._target_ms - delay_ms) / self._target_ms)
        if error < 0 or was_full:  # a window that was not used says nothing of a larger one
            window = self._window + GAIN * error * counted
            self._window = min(WINDOW_MAX, max(WINDOW_MIN, window))

    def _behind_ms(self, now_ms: int) -> int:
        return now_ms - self._slices[0].acked_ms if self._slices else 0


def _is_counted(part: _Slice, positions: Sequence[int]) -> bool:
    return all(
        partition < len(positions) and positions[partition] >= end
        for partition, end in part.ends.items()
    )
