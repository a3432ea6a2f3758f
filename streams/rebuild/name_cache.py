"""The names of tenants and series in one generation, read as far as they are needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.store.layout import (
    PageKind,
    names_list_key,
    page_key,
    tenants_list_key,
)
from streams.rebuild.page_difference import SeriesChunk
from streams.redis.generations import RedisPair


@dataclass
class NameList:
    """One list of names: id to name and back."""

    names: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)


class NameCache:
    """The names of one generation. Dropped as a whole on every doubt: a Redis that went back to an
    older copy may give an id to another name."""

    def __init__(self, pair: RedisPair, generation: int) -> None:
        self._pair = pair
        self._lists: dict[str, NameList] = {}
        self._read_now: set[str] = set()
        self.generation = generation

    def drop(self) -> None:
        self._lists.clear()

    def reread(self) -> None:
        """Reads every list once more when it is needed next: names may have been added."""
        self._read_now.clear()

    async def tenants(self) -> NameList:
        return await self._read(tenants_list_key(self.generation))

    async def series(self, page_kind: PageKind, tenant: int) -> NameList:
        return await self._read(names_list_key(self.generation, page_kind.table, tenant))

    async def key(self, page_kind: PageKind, unit: SeriesChunk) -> tuple[str, int]:
        """The key of the page that holds the chunk of a series, and the id of the series; "" without a name."""
        tenant = (await self.tenants()).ids.get(unit.tenant)
        if tenant is None:
            return "", 0
        series = (await self.series(page_kind, tenant)).ids.get(unit.name)
        if series is None:
            return "", 0
        page = series // page_kind.page_series
        return page_key(self.generation, page_kind, unit.tier, unit.chunk, tenant, page), series

    async def _read(self, key: str) -> NameList:
        known = self._lists.setdefault(key, NameList())
        if key in self._read_now:
            return known
        self._read_now.add(key)
        for name in await self._pair.list_from(key, len(known.names)):
            known.ids[name] = len(known.names)
            known.names.append(name)
        return known
