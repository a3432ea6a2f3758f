"""What this process has read of one generation of the counters: names, pages, sums and state.

Names come from lists in Redis that only grow. `Meta.names` counts them, so it tells when a cached list
is behind. All of this is dropped together when Redis holds another history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache

from api.errors import CountersMissing
from api.query.plan import Plan
from api.query.selection import check_pages, select
from api.query.series_index import SeriesIndex, extended
from api.store.connection import ReadConnection
from api.store.names_cache import NamesCache
from api.store.page_cache import Missing, Page, PageCache
from api.store.snapshot import Snapshot, SnapshotReader
from api.store.sums_cache import CachedSums, SumsKey, new_sums_cache
from schemas.errors import StoreCorrupt
from schemas.store.layout import (
    CURRENT_KEY,
    Meta,
    names_list_key,
    tenants_list_key,
    unpack_meta,
)


@dataclass(eq=False)
class GenerationState:
    """The caches of one generation. `is_over`: Redis holds another history now, so they are invalid.

    `_named_at` counts the names that this process has learned.
    """

    connection: ReadConnection
    generation: int
    digest: bytes
    _snapshots: SnapshotReader = field(init=False)
    is_over: bool = False
    _record: bytes = b""
    _meta: Meta | None = None
    _tenants: dict[str, int] = field(default_factory=dict)
    _tenants_whole_at: int = -1
    _named_at: int = 0
    _names: NamesCache = field(init=False)
    _page_cache: PageCache = field(default_factory=PageCache)
    _sums_cache: LRUCache[SumsKey, CachedSums] = field(default_factory=new_sums_cache)

    def __post_init__(self) -> None:
        self._snapshots = SnapshotReader(self.connection, self.generation, self._check)
        self._names = NamesCache(self._drop_sums)

    async def refresh(self, all_cached: Sequence[CachedSums], reads_max: int) -> Meta | None:
        """Bring all of these sums to one instant, and return the state at that instant.

        None if Redis holds another history, or if pages changed under each of `reads_max` snapshots.
        """
        chunks = [chunk for one in all_cached for chunk in one.selection.chunk_versions]
        missing = Missing()
        for cached in all_cached:
            cached.list_missing(self._page_cache, missing)
        seen: Snapshot | None = None
        asked: dict[str, str] = {}
        for number in range(reads_max):
            if number > 1:
                # Commits come as fast as snapshots. One snapshot of all that is needed is consistent.
                missing.chunk_of |= asked
                missing.whole |= dict.fromkeys(asked)
            asked |= missing.chunk_of
            check_pages(len(missing.whole) + len(missing.tails), "The answer's parts together")
            tails = [(key, len(page.data or b"")) for key, page in missing.tails.items()]
            snapshot = await self._snapshots.read((*chunks, *missing.whole), tails)
            if snapshot is None or self.is_over:
                return None
            fresh = self._taken(missing, snapshot, seen)
            seen, missing = snapshot, Missing()
            for cached in all_cached:
                if cached.meta is not snapshot.meta:
                    chunk_versions = snapshot.chunk_versions(cached.selection.chunk_versions)
                    cached.refresh(
                        chunk_versions, fresh, self._page_cache, missing, by_tails=number < 1
                    )
            if not missing:
                for cached in all_cached:
                    cached.meta = snapshot.meta
                return snapshot.meta
        return None

    def _taken(
        self, missing: Missing, snapshot: Snapshot, before: Snapshot | None
    ) -> dict[str, Page]:
        """The pages in a snapshot, by key. They are added to the page cache.

        A tail is valid only if the version of its chunk did not change since the snapshot before.
        """
        fresh: dict[str, dict[str, Page]] = defaultdict(dict)
        for key in missing.whole:
            chunk = missing.chunk_of[key]
            fresh[chunk][key] = Page(snapshot.chunk_version(chunk), snapshot.found[key] or None)
        for key, page in missing.tails.items():
            chunk = missing.chunk_of[key]
            chunk_version = snapshot.chunk_version(chunk)
            if before is not None and before.chunk_version(chunk) == chunk_version:
                known = page.data or b""
                tail = snapshot.tails[key, len(known)]
                fresh[chunk][key] = Page(chunk_version, known + tail or None)
        for chunk, pages in fresh.items():
            self._page_cache.keep(chunk, pages)
        return {key: page for pages in fresh.values() for key, page in pages.items()}

    # -- names --------------------------------------------------------------------------------

    def cached_sums(self, plan: Plan, tenant: str) -> CachedSums:
        """The cached sums of this plan, or new ones without sums, with the names read so far."""
        question = plan.number, tenant
        cached = self._sums_cache.get(question)
        if cached is None or cached.named_at != self._named_at:
            names = tuple(self._names.index(table, tenant) for table in plan.tables)
            if cached is None or cached.selection.names != names:
                tenant_id = self._tenants.get(tenant, 0)
                cached = CachedSums(select(plan, names, self.generation, tenant_id))
                self._sums_cache[question] = cached
            cached.named_at = self._named_at
        return cached

    async def has_all_names(self, tenant: str, all_cached: Sequence[CachedSums], at: int) -> bool:
        """Whether these sums contain all series that had a name when `Meta.names` was `at`.

        If not, read the missing names, so that the next try finds them.
        """
        if all(cached.whole_at >= at for cached in all_cached):
            return True
        selected = {
            names.table.id: names for cached in all_cached for names in cached.selection.names
        }
        tenant_id = await self._tenant_id(tenant, at)
        complete = selected
        if tenant_id is not None:
            complete = await self._complete_names(selected, tenant, tenant_id, at)
        if self.is_over or any(
            names is not complete[names.table.id]
            for cached in all_cached
            for names in cached.selection.names
        ):
            return False
        for cached in all_cached:
            cached.whole_at = at
        return True

    def _drop_sums(self, tenant: str) -> None:
        """The selections hold the names of the tenant that was evicted."""
        for key in [key for key in self._sums_cache if key[1] == tenant]:
            del self._sums_cache[key]

    async def _tenant_id(self, tenant: str, at: int) -> int | None:
        if tenant not in self._tenants and self._tenants_whole_at < at:
            have = len(self._tenants)
            more = await self._list_from(tenants_list_key(self.generation), have)
            for place, name in enumerate(more, have):
                self._tenants.setdefault(_text(name), place)
                self._named_at += 1
            self._tenants_whole_at = max(self._tenants_whole_at, at)
        return self._tenants.get(tenant)

    async def _complete_names(
        self, selected: Mapping[int, SeriesIndex], tenant: str, tenant_id: int, at: int
    ) -> dict[int, SeriesIndex]:
        """The indexes of these tables as of `at`, or later. Another task may evict them meanwhile,
        so an index that a selection has is not read again from the start."""
        complete: dict[int, SeriesIndex] = {}
        behind: list[SeriesIndex] = []
        for table_id, names in selected.items():
            known = self._names.index(names.table, tenant)
            complete[table_id] = known if known.count >= names.count else names
            if self._names.complete_at(names.table, tenant) < at:
                behind.append(complete[table_id])
        if not behind:
            return complete
        lists: list[list[bytes]] = await self.connection.read(
            *[
                ("LRANGE", names_list_key(self.generation, own.table, tenant_id), own.count, -1)
                for own in behind
            ]
        )
        for names, more in zip(behind, lists, strict=True):
            known = self._names.index(names.table, tenant)
            if known is not names and known.count >= names.count:  # another task was quicker
                complete[names.table.id] = known
                continue
            new = extended(names, more) if more else names
            if new is not known:
                self._named_at += 1
            complete[names.table.id] = new
            self._names.put(new, tenant, at)
        return complete

    async def _list_from(self, key: str, start: int) -> list[bytes]:
        found: list[bytes]
        (found,) = await self.connection.read(("LRANGE", key, start, -1))
        return found

    # -- state --------------------------------------------------------------------------------

    def _check(self, current: bytes | None, record: bytes | None) -> Meta | None:
        if generation_of(current) != self.generation:
            self.is_over = True
            return None
        if record is None:
            raise CountersMissing("the current generation has no meta record")
        before = self._meta
        if before is not None and record == self._record:
            return before
        meta = unpack_meta(record)
        if not meta.digest.startswith(self.digest):
            raise CountersMissing(
                "the counters in Redis were counted with other limits, views or topic than this API"
                " uses. Run the API and the workers in one version, on one topic, with one catalog"
                " file; or count again from the log with odometer rebuild"
            )
        if before is not None and (
            meta.created_ms != before.created_ms or meta.commits < before.commits
        ):
            self.is_over = True
            return None
        self._record, self._meta = record, meta
        return meta


def generation_of(current: bytes | None) -> int:
    if current is None:
        raise CountersMissing("Redis holds no counters yet: no worker has started on it")
    if not current.isdigit():
        raise StoreCorrupt(f"the value of {CURRENT_KEY} is not a number")
    return int(current)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("a tenant's name is not UTF-8") from error
