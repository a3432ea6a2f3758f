"""From a delta to what Redis appends: the ids of its series, and the rows of each page. Pure.

The store gives ids to names once and for all, so what it has said is kept here (`Ids`) and a commit
carries ids and whole pages: putting rows into pages costs an array operation here and several
microseconds a row there. What was said holds for one history of the store: a server that began anew
may have come back from an older copy and give an id to another name. So each answer names its epoch,
a commit names the epoch that its ids are of, and where the store is in another one it writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np

from schemas.layout import PAGE_DTYPE, SLOT, Int64s, Rows, series_name
from schemas.views import OTHER, Table
from streams.fold import Delta, Part

KNOWN_MAX: Final = 500_000
"""Names whose ids are kept, some 200 B each: 100 MB. Beyond it all are asked for again."""
NO_EPOCH: Final = ""


class Named(NamedTuple):
    """The series of one table and tenant: `place` is where they begin in the delta's list."""

    table: Table
    tenant: int
    place: int
    names: Sequence[str]


class Resolved(NamedTuple):
    """Beside a delta's series: the tenant's id and the series' id. `over`: how many tenants, and
    series of each view, are beyond a limit and counted as OTHER."""

    tenants: Int64s
    series: Int64s
    over: Counter[str]


@dataclass
class Ids:
    """What the store has said since the epoch began: ids, with -1 - id for what is beyond a limit
    and shares the id of OTHER. `names`: how many it had named by then, at least."""

    epoch: str = NO_EPOCH
    names: int = 0
    tenants: dict[str, int] = field(default_factory=dict)
    series: dict[tuple[int, str], dict[str, int]] = field(default_factory=dict)
    count: int = 0

    def missing(self, delta: Delta) -> list[Named]:
        """Series of which nothing is known."""
        if self.count > KNOWN_MAX:
            self.forget()
        found = []
        for one in named(delta):
            tenant = delta.tenants[one.tenant]
            known = self.series.get((one.table.id, tenant), {}) if tenant in self.tenants else {}
            if names := [name for name in one.names if name not in known]:
                found.append(one._replace(names=names))
        return found

    def learn(
        self, epoch: str, names: int, delta: Delta, asked: Sequence[Named], ids: Sequence[int]
    ) -> None:
        """`ids`: of the delta's tenants, then of the names that were asked for."""
        self.epoch, self.names = epoch, names
        said = iter(ids)
        self.tenants.update(zip(delta.tenants, said, strict=False))
        for one in asked:
            known = self.series.setdefault((one.table.id, delta.tenants[one.tenant]), {})
            known.update(zip(one.names, said, strict=False))
            self.count += len(one.names)

    def forget(self) -> None:
        self.epoch, self.names, self.count = NO_EPOCH, 0, 0
        self.tenants.clear()
        self.series.clear()

    def resolved(self, delta: Delta) -> Resolved:
        """Of a delta of which nothing is missing."""
        tenants = np.empty(len(delta.series), np.int64)
        series = np.empty(len(delta.series), np.int64)
        over: Counter[str] = Counter()
        for one in named(delta):
            tenant = delta.tenants[one.tenant]
            at = slice(one.place, one.place + len(one.names))
            known = self.series[one.table.id, tenant]
            given = np.fromiter(map(known.__getitem__, one.names), np.int64, len(one.names))
            beyond = int(np.count_nonzero(given < 0))
            if beyond:
                over[f"over:{one.table.view.name}"] += beyond
            series[at] = np.where(given < 0, -1 - given, given)
            id_ = self.tenants[tenant]
            tenants[at] = id_ if id_ >= 0 else -1 - id_
        beyond = sum(self.tenants[tenant] < 0 for tenant in delta.tenants) if delta.series else 0
        if beyond:
            over["over:tenant"] += beyond
        return Resolved(tenants, series, over)


def named(delta: Delta) -> Iterator[Named]:
    """The delta's series, those of one table and tenant together."""
    place = 0
    for (table, tenant), members in groupby(delta.series, key=itemgetter(0, 1)):
        names = [name for _, _, name in members]
        yield Named(table, tenant, place, names)
        place += len(names)


def other_of(table: Table) -> str:
    """The name of the series that counts what is beyond the table's limit."""
    return series_name([OTHER] * len(table.dimensions))


def paged(part: Part, resolved: Resolved) -> tuple[Rows, Rows]:
    """The part's rows in the order of its pages (layout.PAGE_DTYPE), their cells whole."""
    size = part.family.page_series
    at = part.runs["series"]
    series, tenant = resolved.series[at], resolved.tenants[at]
    chunk, count = part.runs["chunk"].astype(np.int64), part.runs["rows"].astype(np.int64)
    page = series // size
    order = np.lexsort((page, chunk, tenant))
    ordered = [column[order] for column in (tenant, chunk, page)]
    changes = np.zeros(max(0, len(order) - 1), bool)
    for column in ordered:
        changes |= column[1:] != column[:-1]
    starts = np.flatnonzero(np.concatenate(([True], changes)))
    pages = np.empty(len(starts), PAGE_DTYPE)
    for name, column in zip(("tenant", "chunk", "page"), ordered, strict=True):
        pages[name] = column[starts]
    count_ordered = count[order]
    pages["rows"] = np.add.reduceat(count_ordered, starts)
    rows = part.rows[_places(np.cumsum(count) - count, order, count_ordered)]
    rows["cell"] += np.repeat(series[order] % size * SLOT, count_ordered).astype(np.uint16)
    return pages, rows


def _places(begins: Int64s, order: Int64s, counts: Int64s) -> Int64s:
    """Where each row stands, of runs in another order."""
    shift = begins[order] - (np.cumsum(counts) - counts)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))
