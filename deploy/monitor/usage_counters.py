"""The counters of usage, which never fall although the sums of the store may. No I/O, no clock.

The store's sums fall when old buckets expire, and when a rebuild counts with other prices or without lost
records. A Prometheus counter that falls has been reset: `increase()` would add its whole value again. So a
row has two numbers for each measure: `seen`, the store's sum when it was last read, and `shown`, what the
counter says. What the sum has grown by is added to `shown`; a fall changes only `seen`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.catalog.views import OTHER

MEASURES: Final = (
    "requests",
    "requests_with_cost",
    "input_tokens",
    "output_tokens",
    "cost_nano_usd",
)
Amounts = tuple[int, ...]
"""A number of each of MEASURES."""
NOTHING: Final[Amounts] = (0,) * len(MEASURES)


class UsageSeries(NamedTuple):
    """The labels of a counter."""

    tenant: str
    kind: str
    provider: str
    model: str


class UsageRow(NamedTuple):
    """`seen`: the sums of the store when they were last read. `shown`: what the counters say."""

    seen: Amounts
    shown: Amounts


Rows = Mapping[UsageSeries, UsageRow]
Sums = Mapping[UsageSeries, Amounts]


def advanced(
    known: Rows, sums: Sums, expired: Sums, series_max: int
) -> dict[UsageSeries, UsageRow]:
    """The rows that change, after the store has these sums. `expired`: what of `seen` was in buckets that
    have expired since."""
    homes = homes_of(known, {**expired, **sums}, series_max)
    now, gone = added_up(sums, homes), added_up(expired, homes)
    changed = {}
    for series, total in now.items():
        before = known.get(series)
        if before is None:
            # A series that leaves (other), because more may have names now, was counted there.
            was_other = any(home in known for home in others_of(series))
            row = UsageRow(total, NOTHING if was_other else total)
        else:
            seen = less(before.seen, gone.get(series, NOTHING))
            grown = tuple(max(0, new - old) for new, old in zip(total, seen, strict=True))
            row = UsageRow(total, tuple(map(sum, zip(before.shown, grown, strict=True))))
        if row != before:
            changed[series] = row
    for series in known.keys() - now.keys():  # all its buckets have expired
        if known[series].seen != NOTHING:
            changed[series] = UsageRow(NOTHING, known[series].shown)
    return changed


def homes_of(known: Rows, sums: Sums, series_max: int) -> dict[UsageSeries, UsageSeries]:
    """For each series, the one that it is counted in: itself, or (other).

    A series that has a name keeps it, so none moves. New names go to the series with most requests. One
    tenant may have half of them. Without a free name, a series is counted in (other) of its tenant, and of
    a tenant without any name, in (other) of all tenants."""
    of_tenant = Counter(one.tenant for one in known if OTHER not in one)
    homes = {}
    for series in sorted(sums, key=lambda one: (-sums[one][0], one)):
        homes[series] = series
        if series in known or OTHER in series:
            continue
        is_full = of_tenant.total() >= series_max
        if is_full or of_tenant[series.tenant] >= max(1, series_max // 2):
            of_own, of_all = others_of(series)
            homes[series] = of_own if of_tenant[series.tenant] else of_all
        else:
            of_tenant[series.tenant] += 1
    return homes


def others_of(series: UsageSeries) -> tuple[UsageSeries, UsageSeries]:
    """(other) of its tenant, and of all tenants."""
    return (
        UsageSeries(series.tenant, series.kind, OTHER, OTHER),
        UsageSeries(OTHER, series.kind, OTHER, OTHER),
    )


def added_up(sums: Sums, homes: Mapping[UsageSeries, UsageSeries]) -> dict[UsageSeries, Amounts]:
    found: dict[UsageSeries, Amounts] = {}
    for series, amounts in sums.items():
        home = homes.get(series, series)
        found[home] = tuple(map(sum, zip(found.get(home, NOTHING), amounts, strict=True)))
    return found


def less(one: Amounts, other: Amounts) -> Amounts:
    return tuple(a - b for a, b in zip(one, other, strict=True))
