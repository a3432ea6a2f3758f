"""From a delta to what Redis appends: the ids of its series, and the rows of each page. Pure.

The store gives ids to names once and for all, so what it has said is kept here (`Ids`) and a commit
carries ids and whole pages: putting rows into pages costs an array operation here and several
microseconds a row there. What was said holds for one history of the store: a server that began anew
may have come back from an older copy and give an id to another name. So each answer names its epoch,
a commit names the epoch that its ids are of, and where the store is in another one it writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np

from schemas.catalog.views import OTHER, Table
from schemas.store.layout import PAGE_DTYPE, SLOT_BUCKETS, Int64s, Rows, series_name
from streams.core.fold import Delta, DeltaPart

KNOWN_MAX: Final = 100_000
"""Names that are met before those of the turn before are forgotten: so up to twice as many, and those
of one batch, are kept, some 250 B each."""
NO_EPOCH: Final = ""
Scope = tuple[int, str]
"""A table's id and a tenant: series have their ids within it."""
_TENANTS: Final[Scope] = (-1, "")


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


class _Known:
    """Ids by scope and name, of what was met lately. What is met once and never again (a user with a
    model) takes no room for long, and what is met in every turn is never forgotten."""

    def __init__(self) -> None:
        self._now: dict[Scope, dict[str, int]] = {}
        self._before: dict[Scope, dict[str, int]] = {}
        self._count = 0

    def turn(self) -> None:
        """Call between batches only: what a batch met stays until the next call."""
        if self._count > KNOWN_MAX:
            self._before, self._now, self._count = self._now, {}, 0

    def missing(self, scope: Scope, names: Sequence[str]) -> list[str]:
        """Those of which nothing is known; the others are met."""
        now = self._now.get(scope, {})
        left = [name for name in names if name not in now]
        before = self._before.get(scope)
        if not left or before is None:
            return left
        met = [name for name in left if name in before]
        if met:
            self.learn(scope, met, [before[name] for name in met])
            left = [name for name in left if name not in before]
        return left

    def learn(self, scope: Scope, names: Sequence[str], ids: Iterable[int]) -> None:
        known = self._now.setdefault(scope, {})
        before = len(known)
        known.update(zip(names, ids, strict=False))
        self._count += len(known) - before

    def ids(self, scope: Scope, names: Sequence[str]) -> Int64s:
        """Of names that were met since the last turn."""
        known = self._now.get(scope, {})
        return np.fromiter(map(known.__getitem__, names), np.int64, len(names))

    def __len__(self) -> int:
        return sum(len(names) for turn in (self._now, self._before) for names in turn.values())


@dataclass
class Ids:
    """What the store has said since the epoch began: ids, with -1 - id for what is beyond a limit
    and shares the id of OTHER. `names`: how many it had named by then, at least."""

    epoch: str = NO_EPOCH
    names: int = 0
    _known: _Known = field(default_factory=_Known)

    def missing(self, delta: Delta) -> list[Named]:
        """Series of which nothing is known."""
        self._known.turn()
        self._known.missing(_TENANTS, delta.tenants)  # known as long as any of their series is
        found = []
        for one in named(delta):
            scope = one.table.id, delta.tenants[one.tenant]
            if names := self._known.missing(scope, one.names):
                found.append(one._replace(names=names))
        return found

    def learn(
        self, epoch: str, names: int, delta: Delta, asked: Sequence[Named], ids: Sequence[int]
    ) -> None:
        """`ids`: of the delta's tenants, then of the names that were asked for."""
        self.epoch, self.names = epoch, names
        said = iter(ids)
        self._known.learn(_TENANTS, delta.tenants, said)
        for one in asked:
            self._known.learn((one.table.id, delta.tenants[one.tenant]), one.names, said)

    def forget(self) -> None:
        self.epoch, self.names, self._known = NO_EPOCH, 0, _Known()

    def resolved(self, delta: Delta) -> Resolved:
        """Of a delta of which nothing is missing."""
        tenants = np.empty(len(delta.series), np.int64)
        series = np.empty(len(delta.series), np.int64)
        over: Counter[str] = Counter()
        if not delta.series:
            return Resolved(tenants, series, over)
        of_tenants = self._known.ids(_TENANTS, delta.tenants)
        if beyond := int(np.count_nonzero(of_tenants < 0)):
            over["over:tenant"] += beyond
        id_of = np.where(of_tenants < 0, -1 - of_tenants, of_tenants)
        for one in named(delta):
            tenant = delta.tenants[one.tenant]
            at = slice(one.place, one.place + len(one.names))
            given = self._known.ids((one.table.id, tenant), one.names)
            beyond = int(np.count_nonzero(given < 0))
            if beyond:
                over[f"over:{one.table.view.name}"] += beyond
            series[at] = np.where(given < 0, -1 - given, given)
            tenants[at] = id_of[one.tenant]
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


def paged(part: DeltaPart, resolved: Resolved) -> tuple[Rows, Rows]:
    """The part's rows in the order of its pages (layout.PAGE_DTYPE), their slots whole."""
    size = part.page_kind.page_series
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
    rows["slot"] += np.repeat(series[order] % size * SLOT_BUCKETS, count_ordered).astype(np.uint16)
    return pages, rows


def _places(begins: Int64s, order: Int64s, counts: Int64s) -> Int64s:
    """Where each row stands, of runs in another order."""
    shift = begins[order] - (np.cumsum(counts) - counts)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))
