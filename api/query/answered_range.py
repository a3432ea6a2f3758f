"""The range of a dialect's answer where the asked one contains time but no whole bucket. Pure.

Both bounds move up to the next boundary of the buckets that are kept at their age, so three hours of a day
of which only the day is kept contain nothing. Zeros would be wrong there. The native API refuses such a
range; the dialects answer the bucket that it lies in, and state it.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.query.kept_range import covering
from api.query.plan import covered_range
from schemas.tiers import TIERS, Tier


def answered_range(
    from_ms: int, to_ms: int, now_ms: int, tiers: Sequence[Tier] = TIERS
) -> tuple[int, int]:
    """The range [start, end) that a dialect's answer covers, on boundaries of these tiers.

    It is that of `covered_range`, unless that is empty although the range contains time that is kept:
    then it is the bucket that the range lies in.
    """
    start_ms, end_ms = covered_range(from_ms, to_ms, now_ms, tiers)
    oldest_ms, newest_ms = covered_range(0, 2 * now_ms, now_ms, tiers)
    low_ms, high_ms = max(from_ms, oldest_ms), min(to_ms, newest_ms)
    if start_ms < end_ms or low_ms >= high_ms:
        return start_ms, end_ms
    return covering(low_ms, high_ms, now_ms, tiers)
