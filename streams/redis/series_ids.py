"""The ids of series, and a delta's rows in the order of pages.

The store gives an id to each name, once. `Ids` caches these, so that a commit carries ids and whole
pages. Putting rows into pages costs one array operation here, and several microseconds a row in
Lua.

An id is valid for one epoch of the store. A server that was restarted may have come back from an
older copy, and give the same id to another name. So each reply names its epoch, and a commit names
the epoch of its ids. The store writes nothing if its epoch is another one.
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
from schemas.store.layout import PAGE_DTYPE, SLOT_BUCKETS, Int64s, Rows, packed
from schemas.store.series_names import series_name
from streams.core.fold import Delta, DeltaPart

CACHED_NAMES_MAX: Final = 100_000
"""Two-generation cache: after 100,000 new names the older generation is dropped. So it holds at
most twice as many names, and those of one batch, of some 250 B each."""
NO_EPOCH: Final = ""
Scope = tuple[int, str]
"""A table's id and a tenant: ids of series are unique within it."""
_TENANTS: Final[Scope] = (-1, "")


class Named(NamedTuple):
    """The series of one table and tenant. `place`: the index of the first one in the delta's
    list."""

    table: Table
    tenant: int
    place: int
    names: Sequence[str]


class Resolved(NamedTuple):
    """For each series of a delta: the tenant's id and the series' id. `over`: how many tenants, and
    series of each view, are beyond a limit and so counted as OTHER."""

    tenants: Int64s
    series: Int64s
    over: Counter[str]


class _IdCache:
    """Ids by scope and name, in two generations. A name that occurs once (a user with a model) is
    evicted soon; a name that occurs in every generation never is."""

    def __init__(self) -> None:
        self._now: dict[Scope, dict[str, int]] = {}
        self._before: dict[Scope, dict[str, int]] = {}
        self._count = 0

    def rotate(self) -> None:
        """Starts a new generation if this one is full. Call it between batches only: the names of a
        batch must stay."""
        if self._count > CACHED_NAMES_MAX:
            self._before, self._now, self._count = self._now, {}, 0

    def missing(self, scope: Scope, names: Sequence[str]) -> list[str]:
        """The names that are not cached. The others move to the current generation."""
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
        """The ids of names that are in the current generation."""
        known = self._now.get(scope, {})
        return np.fromiter(map(known.__getitem__, names), np.int64, len(names))

    def __len__(self) -> int:
        return sum(len(names) for turn in (self._now, self._before) for names in turn.values())


@dataclass
class Ids:
    """The ids that the store has given in this epoch: -1 - id for a name beyond a limit, which
    shares the id of OTHER. `names`: the store has given ids to at least so many names."""

    epoch: str = NO_EPOCH
    names: int = 0
    _cache: _IdCache = field(default_factory=_IdCache)

    def missing(self, delta: Delta) -> list[Named]:
        """The series whose ids are not cached."""
        self._cache.rotate()
        self._cache.missing(_TENANTS, delta.tenants)  # cached as long as any of their series
        found = []
        for one in named(delta):
            scope = one.table.id, delta.tenants[one.tenant]
            if names := self._cache.missing(scope, one.names):
                found.append(one._replace(names=names))
        return found

    def learn(
        self, epoch: str, names: int, delta: Delta, asked: Sequence[Named], ids: Sequence[int]
    ) -> None:
        """Caches ids. `ids`: those of the delta's tenants, then those of the names asked for."""
        self.epoch, self.names = epoch, names
        said = iter(ids)
        self._cache.learn(_TENANTS, delta.tenants, said)
        for one in asked:
            self._cache.learn((one.table.id, delta.tenants[one.tenant]), one.names, said)

    def forget(self) -> None:
        self.epoch, self.names, self._cache = NO_EPOCH, 0, _IdCache()

    def resolved(self, delta: Delta) -> Resolved:
        """The ids of a delta. All of its names must be cached."""
        tenants = np.empty(len(delta.series), np.int64)
        series = np.empty(len(delta.series), np.int64)
        over: Counter[str] = Counter()
        if not delta.series:
            return Resolved(tenants, series, over)
        of_tenants = self._cache.ids(_TENANTS, delta.tenants)
        if beyond := int(np.count_nonzero(of_tenants < 0)):
            over["over:tenant"] += beyond
        id_of = np.where(of_tenants < 0, -1 - of_tenants, of_tenants)
        for one in named(delta):
            tenant = delta.tenants[one.tenant]
            at = slice(one.place, one.place + len(one.names))
            given = self._cache.ids((one.table.id, tenant), one.names)
            beyond = int(np.count_nonzero(given < 0))
            if beyond:
                over[f"over:{one.table.view.name}"] += beyond
            series[at] = np.where(given < 0, -1 - given, given)
            tenants[at] = id_of[one.tenant]
        return Resolved(tenants, series, over)


def named(delta: Delta) -> Iterator[Named]:
    """The delta's series, grouped by table and tenant."""
    place = 0
    for (table, tenant), members in groupby(delta.series, key=itemgetter(0, 1)):
        names = [name for _, _, name in members]
        yield Named(table, tenant, place, names)
        place += len(names)


def other_of(table: Table) -> str:
    """The name of the series that counts all series beyond the table's limit."""
    return series_name([OTHER] * len(table.dimensions))


def paged(parts: Sequence[DeltaPart], resolved: Resolved) -> list[tuple[Rows, bytes]]:
    """Of each part: its pages (PAGE_DTYPE in schemas/store/layout.py), and its rows in their order,
    with complete slots."""
    ordered = [_ordered(part, resolved) for part in parts]
    kinds = [part.page_kind for part in parts]
    made = packed([(kind, rows) for kind, (_, rows) in zip(kinds, ordered, strict=True)])
    found = []
    for (pages, _), (data, lengths) in zip(ordered, made, strict=True):
        ends = np.cumsum(lengths)[np.cumsum(pages["bytes"]) - 1]  # so far they count rows
        pages["bytes"] = np.diff(ends, prepend=0)
        found.append((pages, data))
    return found


def _ordered(part: DeltaPart, resolved: Resolved) -> tuple[Rows, Rows]:
    """The pages of a part, with the number of their rows in place of their bytes, and its rows."""
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
    pages["bytes"] = np.add.reduceat(count_ordered, starts)
    rows = part.rows[_places(np.cumsum(count) - count, order, count_ordered)]
    rows["slot"] += np.repeat(series[order] % size * SLOT_BUCKETS, count_ordered).astype(np.uint16)
    return pages, rows


def _places(begins: Int64s, order: Int64s, counts: Int64s) -> Int64s:
    """The index of each row, for runs in another order."""
    shift = begins[order] - (np.cumsum(counts) - counts)
    return np.repeat(shift, counts) + np.arange(int(counts.sum()))
