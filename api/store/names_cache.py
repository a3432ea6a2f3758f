"""The names of series that this process has read, by tenant, and how they are brought up to date.

Redis lists the names of a table's series, and the lists only grow. So a cached index is a prefix of
the list for ever, and reading the rest of the list brings it up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache

from api.query.series_index import SeriesIndex, empty_index, extended
from api.store.connection import Command, ReadConnection
from api.store.slots import Priority
from schemas.catalog.views import Table
from schemas.errors import StoreCorrupt
from schemas.store.layout import names_list_key, tenants_list_key

NAMES_BYTES_MAX: Final = 512 * 1024 * 1024
"""A tenant with 300 series of models has 0.2 MB, so 2,500 such tenants fit. A million users of one
tenant, the most that a view may have, are 216 MB (2 x 8 bytes a series, 200 a user)."""

NAMES_AT_ONCE: Final = 5000
"""Names of one piece of a list: 20 ms of this process. A view has up to a million, which take 4 s."""


@dataclass(eq=False)
class TenantNames:
    """Of one tenant: the index of each table, and the `Meta.names` at which it was complete."""

    indexes: dict[int, SeriesIndex] = field(default_factory=dict)
    complete_at: dict[int, int] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(index.size_bytes for index in self.indexes.values())


class NamesCache:
    """At most NAMES_BYTES_MAX. Evicts the least recently used tenant as a whole.

    One tenant is always cached, even if it is larger alone: a question is about one tenant, and needs
    the indexes of several of its tables at once.
    """

    def __init__(self, on_evict: Callable[[str], None], bytes_max: int = NAMES_BYTES_MAX) -> None:
        """`on_evict` gets the tenant, so that what was made of its names can be dropped too."""
        self._tenants = _Tenants(on_evict, bytes_max)

    def index(self, table: Table, tenant: str) -> SeriesIndex:
        """The cached index, or the empty one."""
        names = self._tenants.get(tenant)
        return (names and names.indexes.get(table.id)) or empty_index(table)

    def complete_at(self, table: Table, tenant: str) -> int:
        """The `Meta.names` at which the cached index was complete; -1 if nothing is cached."""
        names = self._tenants.get(tenant)
        return -1 if names is None else names.complete_at.get(table.id, -1)

    def put(self, index: SeriesIndex, tenant: str, complete_at: int) -> None:
        names = self._tenants.get(tenant) or TenantNames()
        names.indexes[index.table.id] = index
        names.complete_at[index.table.id] = complete_at
        self._tenants[tenant] = names


class _Tenants(LRUCache[str, TenantNames]):
    def __init__(self, on_evict: Callable[[str], None], bytes_max: int) -> None:
        super().__init__(bytes_max, getsizeof=lambda names: min(names.size_bytes, bytes_max))
        self._on_evict = on_evict

    def popitem(self) -> tuple[str, TenantNames]:
        tenant, names = super().popitem()
        self._on_evict(tenant)
        return tenant, names


@dataclass(eq=False)
class NamesReader:
    """Brings the cached names of one generation up to date. `learned` counts the names that this process
    has read."""

    connection: ReadConnection
    bulk: ReadConnection
    generation: int
    priority: Priority
    cache: NamesCache
    learned: int = 0
    _tenants: dict[str, int] = field(default_factory=dict)
    _tenants_whole_at: int = -1

    def known_tenant_id(self, tenant: str) -> int | None:
        """Its id, if it was read."""
        return self._tenants.get(tenant)

    async def tenant_id(self, tenant: str, at: int) -> int | None:
        if tenant not in self._tenants:
            await self.tenants(at)
        return self._tenants.get(tenant)

    async def tenants(self, at: int) -> tuple[str, ...]:
        if self._tenants_whole_at < at:
            have = len(self._tenants)
            more = await self._list_from(tenants_list_key(self.generation), have)
            for place, name in enumerate(more, have):
                self._tenants.setdefault(text_of(name), place)
                self.learned += 1
            self._tenants_whole_at = max(self._tenants_whole_at, at)
        return tuple(self._tenants)

    async def complete(
        self, selected: Mapping[int, SeriesIndex], tenant: str, tenant_id: int, at: int
    ) -> tuple[dict[int, SeriesIndex], list[SeriesIndex]]:
        """The indexes of these tables as of `at`, or later, and those among them that are cut: their
        lists go on. Another task may evict them meanwhile, so an index that a selection has is not
        read again from the start."""
        complete: dict[int, SeriesIndex] = {}
        behind: list[SeriesIndex] = []
        for table_id, names in selected.items():
            known = self.cache.index(names.table, tenant)
            complete[table_id] = known if known.count >= names.count else names
            if self.cache.complete_at(names.table, tenant) < at:
                behind.append(complete[table_id])
        if not behind:
            return complete, []
        lists: list[list[bytes]] = await self.connection.read(
            *[self._next_names(own, tenant_id) for own in behind]
        )
        for names, more in zip(behind, lists, strict=True):
            complete[names.table.id] = self._with_names(names, more, tenant, at)
        cut = [
            complete[names.table.id]
            for names, more in zip(behind, lists, strict=True)
            if len(more) == NAMES_AT_ONCE
        ]
        return complete, cut

    async def rest(self, names: SeriesIndex, tenant: str, tenant_id: int, at: int) -> SeriesIndex:
        """The index as of `at`, or later, from pieces of the list. What was read stays cached if this
        is cut off."""
        more: list[bytes]
        while self.cache.complete_at(names.table, tenant) < at:
            (more,) = await self.bulk.read(self._next_names(names, tenant_id))
            names = self._with_names(names, more, tenant, at)
            await self.priority.give_way()
        return names

    def _next_names(self, names: SeriesIndex, tenant_id: int) -> Command:
        key = names_list_key(self.generation, names.table, tenant_id)
        return "LRANGE", key, names.count, names.count + NAMES_AT_ONCE - 1

    def _with_names(
        self, names: SeriesIndex, more: Sequence[bytes], tenant: str, at: int
    ) -> SeriesIndex:
        """The index with the next names, which becomes the cached one."""
        known = self.cache.index(names.table, tenant)
        if known is not names and known.count >= names.count:  # another task was quicker
            return known
        new = extended(names, more) if more else names
        if new is not known:
            self.learned += 1
        is_whole = len(more) < NAMES_AT_ONCE
        self.cache.put(new, tenant, at if is_whole else self.cache.complete_at(names.table, tenant))
        return new

    async def _list_from(self, key: str, start: int) -> list[bytes]:
        found: list[bytes]
        (found,) = await self.connection.read(("LRANGE", key, start, -1))
        return found


def text_of(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("a tenant's name is not UTF-8") from error
