"""The names of series that this process has read, by tenant.

Redis lists the names of a table's series, and the lists only grow. So a cached index is a prefix of
the list for ever, and reading the rest of the list brings it up to date.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cachetools import LRUCache

from api.query.series_index import SeriesIndex, empty_index
from schemas.catalog.views import Table
from schemas.errors import StoreCorrupt

NAMES_BYTES_MAX: Final = 512 * 1024 * 1024
"""A tenant with 300 series of models has 0.2 MB, so 2,500 such tenants fit. A million users of one
tenant, the most that a view may have, are 216 MB (2 x 8 bytes a series, 200 a user)."""


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


def text_of(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("a tenant's name is not UTF-8") from error
