"""The end offsets of the topic, as the worker polled them last. `complete_through` rests on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.core.ports import OffsetBounds


class EndOffsets(NamedTuple):
    """One poll of the end offsets. Every record that was acknowledged before `started_ms` lies
    before them. `absent_ms`: for partitions that an earlier poll did not see, the start of the last
    such poll; no record was acknowledged there before it."""

    started_ms: int
    bounds: Mapping[int, OffsetBounds]
    absent_ms: Mapping[int, int]

    def known_until_ms(self, clock_skew_ms: int) -> int:
        """The time until which the worker knows all partitions. A partition that was added later may
        hold older records than those that are counted now, so no partition may say more."""
        return max(0, self.started_ms - clock_skew_ms)

    def lag(self, positions: Mapping[int, int]) -> int:
        """Records between these positions and the ends."""
        return sum(
            self.bounds[p].lag(position) for p, position in positions.items() if p in self.bounds
        )


def next_end_offsets(
    before: EndOffsets | None, started_ms: int, bounds: Mapping[int, OffsetBounds]
) -> EndOffsets:
    if before is None:
        return EndOffsets(started_ms, bounds, {})
    absent_ms = dict(before.absent_ms)
    for partition in bounds:
        if partition not in before.bounds:
            absent_ms[partition] = before.started_ms
    return EndOffsets(started_ms, bounds, absent_ms)
