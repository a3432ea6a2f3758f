"""The first event of a tenant: a range without a start begins there.

Otherwise such a range covers five years, so that a tenant with many models could not be asked at all:
each model has pages in each chunk of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from api.query.plan import Plan, Question, Term, plan
from api.query.sums import Row
from api.query.time_buckets import DAILY
from api.store.reader import Reading, Store
from schemas.catalog.measures import EVENTS
from schemas.errors import StoreUnavailable
from schemas.limits import AHEAD_MS_MAX

READS_MAX: Final = 4
"""Each further one needs an event of an earlier day than all others, between two reads."""


async def read_from_first_event(
    store: Store, tenant: str, now_ms: int, plans_from: Callable[[int], Sequence[Plan]]
) -> tuple[tuple[Plan, ...], Reading]:
    """Plans that begin at the tenant's first event, and their reading. The first event is of the same
    instant as the sums.

    `plans_from` makes the plans, from the start of the UTC day of the first event; 0: there is none.
    """
    by_day = plan(
        Question((Term(EVENTS),), 0, now_ms + 2 * AHEAD_MS_MAX, now_ms, step=DAILY), store.catalog
    )
    first_ms = _first_ms((await store.read(tenant, (by_day,))).sums[0].rows)
    for _read in range(READS_MAX):
        planned = tuple(plans_from(first_ms))
        reading = await store.read(tenant, (*planned, by_day))
        # Not `reading.rows`: those of the answer may be many, and are made in a turn.
        found_ms = _first_ms(reading.sums[-1].rows)
        if found_ms >= first_ms:
            return planned, reading
        first_ms = found_ms
    raise StoreUnavailable(f"the first event changed under each of {READS_MAX} reads")


def _first_ms(rows: Sequence[Row]) -> int:
    return rows[0].at_ms if rows else 0
