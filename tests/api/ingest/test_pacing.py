"""The window of history against a line of workers that is simulated record by record."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest

from api.ingest.pacing import FORGET_MS, WINDOW_FIRST, WINDOW_MIN, Pacing

SLICE = 500


@dataclass
class Line:
    """Workers that count `per_ms` records a ms, in batches of up to `batch`; `live_per_ms` come from
    elsewhere. Every ms the sender sends what it may."""

    pacing: Pacing
    per_ms: float
    batch: int
    live_per_ms: float = 0.0
    end: int = 0
    position: int = 0
    history: int = 0
    now_ms: int = 0
    live: float = 0.0
    busy_until_ms: float = 0.0
    taken: int = 0
    arrivals: deque[tuple[int, int]] = field(default_factory=deque)
    waits_ms: list[int] = field(default_factory=list)

    def run(self, until_ms: int) -> None:
        while self.now_ms < until_ms:
            self.now_ms += 1
            self.live += self.live_per_ms
            while self.live >= 1:
                self.live -= 1
                self.end += 1
                self.arrivals.append((self.end, self.now_ms))
            self._count()
            if self.now_ms % 10 == 0:
                self._send()

    def _count(self) -> None:
        if self.now_ms < self.busy_until_ms:
            return
        self.position += self.taken
        while self.arrivals and self.arrivals[0][0] <= self.position:
            self.waits_ms.append(self.now_ms - self.arrivals.popleft()[1])
        self.taken = min(self.batch, self.end - self.position)
        self.busy_until_ms = self.now_ms + self.taken / self.per_ms

    def _send(self) -> None:
        while self.pacing.looked([self.position], self.now_ms).has_room:
            self.end += SLICE
            self.history += SLICE
            self.pacing.sent(SLICE, {0: self.end}, self.now_ms)


@pytest.mark.parametrize("per_ms", [5.0, 20.0, 80.0])
def test_the_line_stays_busy_and_short_however_fast_it_is(per_ms: float) -> None:
    line = Line(Pacing(200), per_ms, batch=int(60 * per_ms), live_per_ms=0.2)
    line.run(10_000)
    before, line.waits_ms = line.history, []
    line.run(30_000)
    assert (line.history - before) / 20_000 > 0.9 * per_ms
    waits = sorted(line.waits_ms)
    assert waits[len(waits) * 99 // 100] < 300


def test_history_gives_way_to_live_events() -> None:
    line = Line(Pacing(200), per_ms=20.0, batch=1200, live_per_ms=16.0)
    line.run(10_000)
    before, line.waits_ms = line.history, []
    line.run(30_000)
    assert 2 < (line.history - before) / 20_000 <= 4  # what live events leave
    assert sorted(line.waits_ms)[len(line.waits_ms) * 99 // 100] < 400


def test_nothing_is_sent_while_nothing_is_counted_and_it_is_forgotten_in_time() -> None:
    pacing = Pacing(200)
    pacing.sent(WINDOW_FIRST, {0: 10}, 0)
    assert not pacing.looked([9], 100).has_room
    standing = pacing.looked([9], FORGET_MS - 1)
    assert (standing.has_room, standing.behind_ms) == (False, FORGET_MS - 1)
    assert pacing.looked([9], FORGET_MS).has_room
    pacing.sent(WINDOW_MIN, {0: 20}, FORGET_MS)  # as slow as that is, the window is small by now
    pacing.sent(WINDOW_MIN, {0: 30}, FORGET_MS)
    assert not pacing.looked([9], FORGET_MS).has_room


def test_a_partition_that_nobody_has_counted_yet_counts_as_not_counted() -> None:
    pacing = Pacing(200)
    pacing.sent(WINDOW_FIRST, {0: 10, 3: 5}, 0)
    assert not pacing.looked([10], 1).has_room
    assert not pacing.looked([10, 0, 0, -1], 1).has_room
    assert pacing.looked([10, 0, 0, 5], 1).has_room


def test_a_topic_made_anew_is_not_waited_for() -> None:
    pacing = Pacing(200)
    pacing.sent(WINDOW_FIRST, {0: 10_000}, 0)
    pacing.sent(1, {0: 1}, 1)
    assert pacing.looked([0], 2).has_room
