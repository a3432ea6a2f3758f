"""Which buckets a question gets, and whether what is stored can make them.

The names of limits in errors are those of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import pairwise
from typing import Final

from api.errors import BadParameter
from api.http.parameters import nearest
from api.query.kept_range import covering, last_misfit_ms
from api.query.measures import Offered
from api.query.plan import (
    axis_end_ms,
    covered_range,
    finest_kept,
    newest_ms,
    tiers_of,
    views_that_hold,
)
from api.query.time_buckets import STEPS, WEEKLY, WEEKLY_FROM_SUNDAY, Step, starts_of
from api.query.time_range import AskedRange
from schemas.catalog.views import Catalog
from schemas.tiers import TIERS, Tier, kept_from
from schemas.units import iso

BUCKETS_MAX: Final = 10_000
"""Buckets of a series. 90 days of quarter-hours are 8,640, more than a screen has pixels."""
AUTO_BUCKETS_MAX: Final = 200
"""`auto` takes the shortest step with at most so many buckets: 4 pixels each on a chart of 800."""
GRANULARITIES: Final = (*(step.name for step in STEPS), "auto", "none")
WEEK_STARTS: Final = ("monday", "sunday")


@dataclass(frozen=True)
class Grid:
    """The stored buckets that a question may use, and the zone in which its own begin. `first_day`: of a
    week, after Monday."""

    now_ms: int
    zone: tzinfo
    zone_name: str
    tiers: tuple[Tier, ...]
    first_day: int = 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """Shortest first."""
        week = WEEKLY_FROM_SUNDAY if self.first_day else WEEKLY
        return tuple(week if step is WEEKLY else step for step in STEPS)

    def covered(self, asked: AskedRange) -> tuple[int, int]:
        """The range that is answered, with the empty buckets ahead of now."""
        start_ms, end_ms = covered_range(asked.from_ms, asked.to_ms, self.now_ms, self.tiers)
        return start_ms, max(end_ms, axis_end_ms(asked.to_ms, self.now_ms, self.tiers))


def tiers_for(
    measures: Sequence[Offered], dimensions: set[str], catalog: Catalog
) -> tuple[Tier, ...]:
    """The tiers of the view with the shortest buckets, of those that can answer. All tiers if no view
    can: the plan rejects the question then."""
    terms = [term for measure in measures for term in measure.terms]
    counted = {measure.distinct for measure in measures if measure.distinct}
    holding = views_that_hold(dimensions | counted, [term.measure for term in terms], catalog)
    kept = [tiers_of(view, terms) for view in holding]
    return min(kept, key=lambda tiers: tiers[0].bucket_ms, default=TIERS)


def check_range(asked: AskedRange, grid: Grid, parameter: str = "from") -> None:
    """Raise BadParameter if the range contains time, but no stored bucket begins in it: its answer would be
    zeros, whatever was counted."""
    start_ms, end_ms = covered_range(asked.from_ms, asked.to_ms, grid.now_ms, grid.tiers)
    if asked.from_ms >= asked.to_ms or start_ms < end_ms or asked.to_ms > newest_ms(grid.now_ms):
        return
    coarsest = grid.tiers[-1]
    if end_ms <= covered_range(0, 0, grid.now_ms, grid.tiers)[0]:
        near = [(end_ms, end_ms + coarsest.bucket_ms)]
        why = f"Before {iso(end_ms)} nothing is stored any more."
    else:
        first_ms, last_ms = covering(asked.from_ms, asked.to_ms, grid.now_ms, grid.tiers)
        length_ms = last_ms - first_ms
        near = [(first_ms, last_ms)]
        if last_ms + length_ms <= grid.now_ms:
            near.append((first_ms, last_ms + length_ms))
        why = (
            f"No stored bucket begins in this range: those of its time begin at {iso(first_ms)} and"
            f" {iso(last_ms)}. Bounds go up to the next of them, so the range is empty."
        )
    allowed = [f"{iso(low)}/{iso(high)}" for low, high in near]
    raise BadParameter(
        parameter,
        f"{why} The nearest ranges with an answer: {', '.join(allowed)}.",
        allowed,
        allowed[0],
    )


def chosen_step(name: str, points_max: int, asked: AskedRange, grid: Grid) -> Step | None:
    """The step of this name. `points_max`: the most buckets of `auto`. Raises BadParameter if the range has no
    buckets of it."""
    if name not in GRANULARITIES:
        near = nearest(name, GRANULARITIES)
        raise BadParameter(
            "granularity",
            f"{name!r} is not a granularity. Use: {', '.join(GRANULARITIES)}.",
            GRANULARITIES,
            near,
        )
    if name == "none":
        return None
    start_ms, end_ms = grid.covered(asked)
    finest = finest_kept(start_ms, grid.now_ms, grid.tiers)
    kept = [step for step in grid.steps if step.length_ms >= finest.bucket_ms]
    if name == "auto":
        return _shortest(kept, points_max, start_ms, end_ms, grid)
    step = next(step for step in grid.steps if step.name == name)
    if step not in kept:
        why = (
            f"The views with these dimensions and measures have no buckets of {name}. The shortest is"
            f" {finest.name}."
            if step.length_ms < grid.tiers[0].bucket_ms
            else f"Buckets of {name} have expired at {iso(start_ms)}, where the range begins. The"
            f" shortest there is {finest.name}."
        )
        allowed = (*(one_.name for one_ in kept), "auto", "none")
        raise BadParameter("granularity", why, allowed)
    if (end_ms - start_ms) // step.length_ms > BUCKETS_MAX:
        raise BadParameter(
            "granularity",
            f"The series would have {(end_ms - start_ms) // step.length_ms} buckets, more than the"
            f" limit of {BUCKETS_MAX} (BUCKETS_MAX). Use a shorter range or longer buckets.",
            (*(s.name for s in kept if (end_ms - start_ms) // s.length_ms <= BUCKETS_MAX), "auto"),
        )
    check_begins(step, start_ms, end_ms, grid)
    return step


def check_kept(step: Step, asked: AskedRange, grid: Grid, parameter: str) -> None:
    """Raise BadParameter if the range of a comparison has no such buckets."""
    start_ms, end_ms = grid.covered(asked)
    finest = finest_kept(start_ms, grid.now_ms, grid.tiers)
    if step.length_ms < finest.bucket_ms:
        raise BadParameter(
            parameter,
            f"The range to compare with begins at {iso(start_ms)}, where the shortest buckets that are"
            f" still stored are {finest.name}. Use longer buckets (in UTC), or a later or shorter range.",
        )
    if (end_ms - start_ms) // step.length_ms > BUCKETS_MAX:
        raise BadParameter(
            parameter,
            f"The series to compare with would have {(end_ms - start_ms) // step.length_ms} buckets,"
            f" more than the limit of {BUCKETS_MAX} (BUCKETS_MAX). Use a shorter range or longer buckets.",
        )
    check_begins(step, start_ms, end_ms, grid, parameter)


def check_begins(step: Step, start_ms: int, end_ms: int, grid: Grid, parameter: str = "tz") -> None:
    """Raise BadParameter if buckets of the zone begin inside of stored ones."""
    at_ms = _misfit_ms(step, start_ms, end_ms, grid)
    if at_ms is None:
        return
    kept = finest_kept(at_ms, grid.now_ms, grid.tiers)
    edges_ms = {
        coarser: kept_from(tier, coarser, grid.now_ms) for tier, coarser in pairwise(grid.tiers)
    }
    raise BadParameter(
        parameter,
        f"Before {iso(edges_ms.get(kept, grid.now_ms))} only buckets of {kept.name} in UTC are stored, and buckets of {step.name}"
        f" in {grid.zone_name} begin inside of them, at {iso(at_ms)}. Use tz=UTC, a later `from`, or"
        " granularity=none.",
        ("UTC",),
    )


def _misfit_ms(step: Step, start_ms: int, end_ms: int, grid: Grid) -> int | None:
    starts_ms = starts_of(step, grid.zone, start_ms, end_ms)
    return last_misfit_ms(starts_ms[starts_ms > start_ms], grid.now_ms, grid.tiers)


def _shortest(
    steps: Sequence[Step], points_max: int, start_ms: int, end_ms: int, grid: Grid
) -> Step:
    """The shortest of these steps with at most so many buckets that the stored ones make, else the
    longest."""
    for step in steps:
        if (end_ms - start_ms) // step.longest_ms > points_max:
            continue
        if len(starts_of(step, grid.zone, start_ms, end_ms)) > points_max:
            continue
        if _misfit_ms(step, start_ms, end_ms, grid) is None:
            return step
    check_begins(steps[-1], start_ms, end_ms, grid)
    return steps[-1]
