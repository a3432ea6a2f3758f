"""What the buckets that are still stored can answer: which ranges, and which steps of a zone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from api.query.time_buckets import fits
from schemas.store.layout import Int64s
from schemas.tiers import TIERS, Tier, boundary, floor_to, kept_from


def covering(
    from_ms: int, to_ms: int, now_ms: int, tiers: Sequence[Tier] = TIERS
) -> tuple[int, int]:
    """The smallest range of whole stored buckets that contains [from_ms, to_ms), which has time."""
    return _floor(from_ms, now_ms, tiers), boundary(to_ms, now_ms, tiers)


def _floor(at_ms: int, now_ms: int, tiers: Sequence[Tier]) -> int:
    """The last boundary at or before an instant, of the grid that is kept at its age."""
    for tier, coarser in pairwise(tiers):
        if at_ms > kept_from(tier, coarser, now_ms):
            return floor_to(at_ms, tier.bucket_ms)
    return floor_to(at_ms, tiers[-1].bucket_ms)


def longest_fit_ms(starts_ms: Int64s, tiers: Sequence[Tier]) -> int:
    """The longest stored bucket that crosses none of these starts."""
    return max([t.bucket_ms for t in tiers if fits(starts_ms, t.bucket_ms)], default=0)


def last_misfit_ms(starts_ms: Int64s, now_ms: int, tiers: Sequence[Tier] = TIERS) -> int | None:
    """The last of these starts, ascending, that lies inside of a stored bucket: the buckets that are kept
    at its age cannot make a series that begins a bucket there. None: all can begin."""
    before_ms = None
    for tier, coarser in [*pairwise(tiers), (tiers[-1], None)]:
        edge_ms = None if coarser is None else kept_from(tier, coarser, now_ms)
        own = starts_ms if edge_ms is None else starts_ms[starts_ms > edge_ms]
        if before_ms is not None:
            own = own[own <= before_ms]
        wrong = own[np.flatnonzero(own % tier.bucket_ms)]
        if len(wrong):
            return int(wrong[-1])
        before_ms = edge_ms
    return None
