"""The names of tenants and series in one generation, read as far as they are needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.store.layout import PageKind, names_list_key, page_key, tenants_list_key
from schemas.store.series_names import series_name, series_values
from streams.rebuild.page_difference import SeriesChunk
from streams.redis.generations import RedisPair


@dataclass
class NameList:
    """One list of names: id to name and back. `ids_of` has, by a name without its added dimensions, the
    ids of all names that begin so."""

    names: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    ids_of: dict[str, list[int]] = field(default_factory=dict)
    indexed: int = 0

    def beginning_with(self, name: str, added: int) -> list[int]:
        if not added:
            return [self.ids[name]] if name in self.ids else []
        for at in range(self.indexed, len(self.names)):
            self.ids_of.setdefault(shortened(self.names[at], added), []).append(at)
        self.indexed = len(self.names)
        return self.ids_of.get(name, [])


def shortened(name: str, added: int) -> str:
    """The name of a series without the last dimensions."""
    return series_name(series_values(name)[:-added]) if added else name


def lengthened(name: str, added: int) -> str:
    """The name of the series that has more dimensions, all of them empty."""
    return series_name((*series_values(name), *[""] * added)) if added else name


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

    async def places(
        self, page_kind: PageKind, unit: SeriesChunk, added: int = 0
    ) -> tuple[tuple[str, int], ...]:
        """Where the chunk of a series lies: the key of a page, and the series' id. Several, if the view has
        `added` dimensions that the name of the series lacks; none without a name."""
        tenant = (await self.tenants()).ids.get(unit.tenant)
        if tenant is None:
            return ()
        found = (await self.series(page_kind, tenant)).beginning_with(unit.name, added)
        return tuple(
            (
                page_key(
                    self.generation,
                    page_kind,
                    unit.tier,
                    unit.chunk,
                    tenant,
                    series // page_kind.page_series,
                ),
                series,
            )
            for series in found
        )

    async def _read(self, key: str) -> NameList:
        known = self._lists.setdefault(key, NameList())
        if key in self._read_now:
            return known
        self._read_now.add(key)
        for name in await self._pair.list_from(key, len(known.names)):
            known.ids[name] = len(known.names)
            known.names.append(name)
        return known
