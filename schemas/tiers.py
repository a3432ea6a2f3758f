"""Time: tiers of buckets, and the one rule that moves a bound to a bucket boundary. Pure.

A tier keeps buckets of one length up to one age. The tiers that an event is written to depend on
its age when Kafka *appended* it, so that a replay decides the same. The tiers that a query reads
depend on the age of each part of its range at the time of the query.

Live, an event is written to one tier only. The buckets of a coarser tier are made from those of a
finer one (`SOURCES`), once, when their time is over: the finer ones are *closed*. `Closed` says until
when. An event that comes later is written to the coarser tier too.

A tier has an index and an id. The index is its place in `TIERS`, and orders the tiers by length. The id
is stored in keys and never changes: hours came later, so they have the highest id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS


@dataclass(frozen=True)
class Tier:
    """Buckets of `bucket_ms`, kept for `kept_ms`. One key holds `chunk_buckets` of them."""

    id: int
    name: str
    bucket_ms: int
    kept_ms: int
    chunk_buckets: int

    @property
    def chunk_ms(self) -> int:
        return self.bucket_ms * self.chunk_buckets


# A chunk is one key of a series: long enough that the key's own 100 B spread over many buckets,
# short enough that adding to it copies little (60 x 12 B = 0.7 kB, 96 x 12 B = 1.2 kB, 240 x 12 B =
# 2.9 kB, 32 x 12 B = 0.4 kB for each series of a page).
MINUTE: Final = Tier(0, "1m", MINUTE_MS, 48 * HOUR_MS, 60)
QUARTER: Final = Tier(1, "15m", 15 * MINUTE_MS, 90 * DAY_MS, 96)
HOUR: Final = Tier(3, "1h", HOUR_MS, 400 * DAY_MS, 240)
DAY: Final = Tier(2, "1d", DAY_MS, 5 * 366 * DAY_MS, 32)
TIERS: Final = (MINUTE, QUARTER, HOUR, DAY)
"""Finest first. Each bucket length divides the next, and each tier is kept longer."""

SOURCES: Final = {QUARTER: MINUTE, HOUR: QUARTER, DAY: QUARTER}
"""For each tier the finer one that its buckets are made from. A closed day of quarter-hours gives its
hours and its day in one step. So days need no hours, which a generation may lack (`Meta.hours_from_ms`)."""
CLOSING: Final = TIERS[:2]
"""The tiers that are closed, in the order of `Closed`: the index of each is the same in both. A chunk of each lies in one bucket of the next
chunk: so `Closed` is on boundaries of every coarser tier."""

SLACK_MS: Final = HOUR_MS
"""How much longer than `kept_ms` a tier is written and kept. The clocks of broker, worker and API
may differ by this much, so a query never misses a chunk that it is allowed to read."""


class Span(NamedTuple):
    """Half-open [start_ms, end_ms), both on the tier's boundaries."""

    tier: Tier
    start_ms: int
    end_ms: int


class Closed(NamedTuple):
    """Until when the buckets of each tier of `CLOSING` are closed, in ms; never beyond that of the
    finer tier. Before it, the buckets of the coarser tiers are whole."""

    minutes_ms: int
    quarters_ms: int

    def whole_before(self, tier: Tier, tiers: Sequence[Tier]) -> int | None:
        """The instant before which the buckets of `tier` are whole, where a page kind has `tiers`; None:
        always."""
        source = SOURCES.get(tier)
        return self[CLOSING.index(source)] if source is not None and source in tiers else None


ALL_CLOSED: Final = Closed(1 << 52, 1 << 52)
"""Of counters that were written to every tier at once."""


def first_closed(now_ms: int) -> Closed:
    """Of a new generation: what is too old to be written to the finer tiers, and the rest of that chunk."""
    return Closed(*(max(0, ceil_to(now_ms - t.kept_ms - SLACK_MS, t.chunk_ms)) for t in CLOSING))


def whole_spans(spans: Sequence[Span], tiers: Sequence[Tier], closed: Closed) -> list[Span]:
    """The same time in buckets that are whole: of finer tiers from where on they are not closed."""
    found: list[Span] = []
    for span in spans:
        edge_ms = closed.whole_before(span.tier, tiers)
        if edge_ms is None or span.end_ms <= edge_ms:
            _add_span(found, span)
            continue
        if span.start_ms < edge_ms:
            _add_span(found, span._replace(end_ms=edge_ms))
        open_ms = max(span.start_ms, edge_ms)
        finer = [Span(SOURCES[span.tier], open_ms, span.end_ms)]
        for one in whole_spans(finer, tiers, closed):
            _add_span(found, one)
    return found


def _add_span(spans: list[Span], span: Span) -> None:
    if spans and spans[-1].tier is span.tier and spans[-1].end_ms == span.start_ms:
        spans[-1] = spans[-1]._replace(end_ms=span.end_ms)
    else:
        spans.append(span)


def floor_to(at_ms: int, step_ms: int) -> int:
    return at_ms - at_ms % step_ms


def ceil_to(at_ms: int, step_ms: int) -> int:
    return -(-at_ms // step_ms) * step_ms


def finest_written(age_ms: int) -> int:
    """The index of the finest tier that an event of this age at append is written to. All coarser
    tiers are written too. (An event older than the oldest tier is a dead letter; a call that was
    booked before is still corrected.)"""
    for index, tier in enumerate(TIERS):
        if age_ms <= tier.kept_ms + SLACK_MS:
            return index
    return len(TIERS) - 1


def boundary(at_ms: int, now_ms: int, tiers: Sequence[Tier] = TIERS) -> int:
    """The next boundary, at or after `at_ms`, of the grid that is kept at that age.

    `tiers`: finest first. The function is monotone in `at_ms`: the edge of each tier lies on the
    next tier's grid, so an instant before the edge never rounds to one after it. So adjacent ranges
    add up.
    """
    for tier, coarser in pairwise(tiers):
        if at_ms > kept_from(tier, coarser, now_ms):
            return ceil_to(at_ms, tier.bucket_ms)
    return ceil_to(at_ms, tiers[-1].bucket_ms)


def kept_from(tier: Tier, coarser: Tier, now_ms: int) -> int:
    """The first instant from which `tier` may be read, on the grid of the next coarser tier."""
    return ceil_to(now_ms - tier.kept_ms, coarser.bucket_ms)


def cover(
    start_ms: int,
    end_ms: int,
    now_ms: int,
    step_ms: int = DAY_MS,
    tiers: Sequence[Tier] = TIERS,
) -> list[Span]:
    """The fewest buckets that make up [start_ms, end_ms), in order of time.

    Both bounds come from `boundary` at the same `now_ms` and `tiers`. Buckets longer than `step_ms`
    are used only at an age at which no shorter ones are kept.
    """
    if start_ms >= end_ms:
        return []
    *finer, tier = tiers
    if not finer:
        return [Span(tier, start_ms, end_ms)]
    if tier.bucket_ms > step_ms:
        edge = min(max(start_ms, kept_from(finer[-1], tier, now_ms)), end_ms)
        old = [Span(tier, start_ms, edge)] if start_ms < edge else []
        return old + cover(edge, end_ms, now_ms, step_ms, finer)
    first, last = ceil_to(start_ms, tier.bucket_ms), floor_to(end_ms, tier.bucket_ms)
    if first >= last:
        return cover(start_ms, end_ms, now_ms, step_ms, finer)
    return [
        *cover(start_ms, first, now_ms, step_ms, finer),
        Span(tier, first, last),
        *cover(last, end_ms, now_ms, step_ms, finer),
    ]
