"""What this process has read of one generation of the counters: names, pages, sums and state.

`Meta.names` counts the names in Redis, so it tells when the cached ones are behind. All of this is
dropped together when Redis holds another history.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from cachetools import LRUCache

from api.errors import CountersMissing
from api.query.bounds import weighed
from api.query.counted_views import CountedViews
from api.query.plan import Owned, Plan
from api.query.selection import Selection, check_pages, select, work_of
from api.query.series_index import SeriesIndex
from api.query.sums import Sums
from api.store.connection import ReadConnection
from api.store.large_answers import (
    SMALL_BYTES_MAX,
    SMALL_PAGES_MAX,
    UNSEEN_BYTES_MAX,
    AnswerIsLarge,
    LargeRead,
)
from api.store.names_cache import NamesCache, NamesReader
from api.store.page_cache import Missing, PageCache
from api.store.picks_cache import PicksCache
from api.store.slots import Priority
from api.store.snapshot import Snapshot, SnapshotReader, lengths_of
from api.store.sums_cache import (
    OF_ONE_BYTES_MAX,
    CachedSums,
    Renew,
    Step,
    SumsKey,
    are_of,
    list_behind,
    new_sums_cache,
    pages_of,
    renewed_by,
    sum_all,
    summing_of,
)
from schemas.errors import StoreCorrupt
from schemas.store.layout import (
    CURRENT_KEY,
    Meta,
    unpack_meta,
)
from schemas.tiers import ALL_CLOSED

SELECT_AT_ONCE: Final = 40_000
"""The work (`work_of`) of a selection that is one step: 20 ms. More is a large answer."""
SELECT_FEW: Final = 4_000
"""The work of a selection that needs no thread: 2 ms."""


@dataclass(eq=False)
class GenerationState:
    """The caches of one generation. `is_over`: Redis holds another history now, so they are invalid."""

    connection: ReadConnection
    bulk: ReadConnection
    generation: int
    views: CountedViews
    threads: Executor
    priority: Priority
    _snapshots: SnapshotReader = field(init=False)
    _large_snapshots: SnapshotReader = field(init=False)
    is_over: bool = False
    _record: bytes = b""
    _meta: Meta | None = None
    _names: NamesReader = field(init=False)
    _page_cache: PageCache = field(default_factory=PageCache)
    _picks: PicksCache = field(default_factory=PicksCache)
    _large_pages: PageCache = field(default_factory=PageCache)
    _sums_cache: LRUCache[SumsKey, CachedSums] = field(default_factory=new_sums_cache)

    def __post_init__(self) -> None:
        self._snapshots = SnapshotReader(self.connection, self.generation, self._check)
        self._large_snapshots = SnapshotReader(self.bulk, self.generation, self._check)
        self._names = NamesReader(
            self.connection, self.bulk, self.generation, self.priority, NamesCache(self._drop_sums)
        )

    async def unchanged(
        self, all_cached: Sequence[CachedSums], owners: Sequence[str]
    ) -> tuple[tuple[Sums, ...], Meta] | Snapshot | None:
        """These sums, and the state of now, if they are those of now. Else the snapshot that shows that
        they have changed, or None if Redis holds another history. `owners`: the tenant of each."""
        chunks = [chunk for one in all_cached for chunk in one.selection.chunk_versions]
        snapshot = await self._snapshots.read(chunks)
        if snapshot is None or self.is_over:
            return None
        meta = snapshot.meta
        for one in all_cached:
            if not one.selection.is_of(meta):
                return snapshot
            if one.meta is not meta:
                if one.chunk_versions != snapshot.chunk_versions(one.selection.chunk_versions):
                    return snapshot
                one.meta = meta
        sums = tuple(one.sums for one in all_cached if one.sums is not None)
        return (sums, meta) if await self.has_all_names(owners, all_cached, meta.names) else None

    async def refresh(
        self,
        all_cached: Sequence[CachedSums],
        reads_max: int,
        renew: Renew,
        step: Step,
        first: Snapshot | None = None,
    ) -> tuple[Sequence[CachedSums], Meta] | None:
        """Bring all of these sums to one instant, and return them and the state at that instant. Sums of
        many bytes are made by `step`. `first`: a snapshot that may spare one. `renew` gives sums with the
        series that were named until a snapshot: most of their rows are in its pages.

        None if Redis holds another history, if more is closed than was, or if pages changed under each
        of `reads_max` snapshots. Raises AnswerIsLarge if that would read too much at once.
        """
        chunks = [chunk for one in all_cached for chunk in one.selection.chunk_versions]
        missing = Missing()
        for cached in all_cached:
            cached.list_missing(self._page_cache, missing)
        seen: Snapshot | None = None
        asked: dict[str, str] = {}
        of_asked: dict[str, int] = {}
        for number in range(reads_max):
            if number > 1:
                # Commits come as fast as snapshots. One snapshot of all that is needed is consistent.
                missing.chunk_of |= asked
                missing.whole |= dict.fromkeys(asked)
                missing.bytes_max |= of_asked
            asked |= missing.chunk_of
            of_asked |= missing.bytes_max
            await self._check_small(missing, all_cached)
            check_pages(len(missing.whole) + len(missing.tails), "The answer's parts together")
            tails = [(key, len(page.data or b"")) for key, page in missing.tails.items()]
            bytes_max = {key: missing.bytes_max[key] for key in missing.whole}
            keys = (*chunks, *missing.whole)
            snapshot = first if first is not None and first.has(keys) else None
            first = None
            if snapshot is None:
                snapshot = await self._snapshots.read(keys, tails, bytes_max)
            if snapshot is None or self.is_over or not are_of(all_cached, snapshot.meta):
                return None
            fresh = pages_of(missing, snapshot, seen, self._page_cache)
            seen = snapshot
            of_snapshot = snapshot, fresh, self._page_cache
            missing, to_sum = summing_of(all_cached, *of_snapshot, by_tails=number < 1)
            if not missing:
                renewed = await renewed_by(renew, all_cached, snapshot.meta)
                if renewed is None:
                    return None
                if renewed is not all_cached:
                    all_cached = renewed
                    missing, to_sum = summing_of(all_cached, *of_snapshot, by_tails=False)
                    list_behind(all_cached, missing, number)
            if not missing:
                return all_cached, await sum_all(all_cached, to_sum, snapshot.meta, step)
        return None

    async def refresh_large(
        self, all_cached: Sequence[CachedSums], renew: Renew, large: LargeRead
    ) -> tuple[Sequence[CachedSums], Meta] | None:
        """The same in pieces."""
        found = await large.refresh(self._large_snapshots, all_cached, renew)
        return None if self.is_over else found

    async def _check_small(self, missing: Missing, all_cached: Sequence[CachedSums]) -> None:
        """Raise AnswerIsLarge if reading and summing these pages would take too long at once."""
        if not missing and not missing.cached_bytes:
            return
        if any(
            one.is_large or (one.sums is None and one.selection.has_many_sketches)
            for one in all_cached
        ):
            raise AnswerIsLarge
        if missing.most_bytes <= UNSEEN_BYTES_MAX:
            return
        if len(missing.whole) > SMALL_PAGES_MAX:
            raise AnswerIsLarge
        lengths = await lengths_of(self.bulk, [*missing.whole])
        size = weighed(
            [one.selection for one in all_cached], zip(missing.whole, lengths, strict=True)
        )
        if missing.cached_bytes + size > SMALL_BYTES_MAX:
            raise AnswerIsLarge

    def large_read(self) -> LargeRead:
        """For one large question. Its pages are cached beside those of small ones, not among them."""
        caches = self._page_cache, self._large_pages
        return LargeRead(self.bulk, caches, self.threads, self.priority)

    # -- names --------------------------------------------------------------------------------

    def cached(self, plans: Sequence[Owned]) -> list[CachedSums] | None:
        """The cached sums of all plans. None if one of them is to be made."""
        found = [self._cached(plan, tenant)[0] for tenant, plan in plans]
        cached = [one for one in found if one is not None and one.sums is not None]
        return cached if len(cached) == len(plans) else None

    async def cached_sums(self, plan: Plan, tenant: str, step: Step) -> CachedSums:
        """The cached sums of this plan, or new ones without sums, with the names read so far.

        Raises AnswerIsLarge if to select its pages takes long.
        """
        cached, names = self._cached(plan, tenant)
        if cached is not None:
            return cached
        question = plan.question
        is_picked = self._picks.has(names, question.filters, question.group_by)
        work = work_of(plan, names, is_picked=is_picked)
        if work > SELECT_AT_ONCE:
            raise AnswerIsLarge
        selecting = self._selecting(plan, tenant, names)
        named_at = self._names.learned
        selection = selecting() if work <= SELECT_FEW else await step(selecting)
        return self._new_sums(plan, tenant, selection, named_at)

    async def cached_large(self, plan: Plan, tenant: str) -> CachedSums:
        """The same, however long that takes."""
        cached, names = self._cached(plan, tenant)
        if cached is not None:
            return cached
        selecting = self._selecting(plan, tenant, names)
        named_at = self._names.learned
        selection = await asyncio.get_running_loop().run_in_executor(self.threads, selecting)
        return self._new_sums(plan, tenant, selection, named_at)

    def _selecting(
        self, plan: Plan, tenant: str, names: tuple[SeriesIndex, ...]
    ) -> Callable[[], Selection]:
        tenant_id = self._names.known_tenant_id(tenant) or 0
        closed, hours_from_ms = ALL_CLOSED, 0
        if self._meta is not None:
            closed, hours_from_ms = self._meta.closed, self._meta.hours_from_ms
        pick, since_ms = self._picks.pick, self.views.since_ms(plan.view)
        at = self.generation, tenant_id, closed, pick, hours_from_ms, since_ms
        return partial(select, plan, names, *at)

    def _cached(self, plan: Plan, tenant: str) -> tuple[CachedSums | None, tuple[SeriesIndex, ...]]:
        """The cached sums of this plan, if they have all names, and the names."""
        cached = self._sums_cache.get((plan.number, tenant))
        if cached and self._meta and not cached.selection.is_of(self._meta):
            cached = None
        if cached is not None and cached.named_at == self._names.learned:
            return cached, cached.selection.names
        names = tuple(self._names.cache.index(table, tenant) for table in plan.tables)
        if cached is None or cached.selection.names != names:
            return None, names
        cached.named_at = self._names.learned
        return cached, names

    def _new_sums(self, plan: Plan, tenant: str, selection: Selection, named_at: int) -> CachedSums:
        cached = CachedSums(selection, named_at=named_at)
        self._sums_cache[plan.number, tenant] = cached
        return cached

    def weigh(self, plans: Sequence[Owned], all_cached: Sequence[CachedSums]) -> None:
        """Cache these sums by their size of now. Sums that would evict many others are not cached."""
        for (tenant, plan), cached in zip(plans, all_cached, strict=True):
            if cached.sums is cached.weighed:
                continue
            cached.weighed = cached.sums
            key = plan.number, tenant
            if self._sums_cache.pop(key, None) is cached and cached.size_bytes <= OF_ONE_BYTES_MAX:
                self._sums_cache[key] = cached

    async def has_all_names(
        self,
        owners: Sequence[str],
        all_cached: Sequence[CachedSums],
        at: int,
        *,
        is_large: bool = False,
    ) -> bool:
        """The same of sums of several tenants. `owners`: the tenant of each."""
        own: dict[str, list[CachedSums]] = defaultdict(list)
        for tenant, cached in zip(owners, all_cached, strict=True):
            own[tenant].append(cached)
        found = [
            await self._has_names_of(tenant, of_tenant, at, is_large=is_large)
            for tenant, of_tenant in own.items()
        ]
        return all(found)

    async def tenants(self, at: int) -> tuple[str, ...]:
        """Those that had counters when `Meta.names` was `at`, or have since."""
        return await self._names.tenants(at)

    async def _has_names_of(
        self, tenant: str, all_cached: Sequence[CachedSums], at: int, *, is_large: bool
    ) -> bool:
        """Whether these sums contain all series that had a name when `Meta.names` was `at`.

        If not, read the missing names, so that the next try finds them. Raises AnswerIsLarge if they
        are many, unless it is known that the answer is.
        """
        if all(cached.whole_at >= at for cached in all_cached):
            return True
        selected = {
            names.table.id: names for cached in all_cached for names in cached.selection.names
        }
        tenant_id = await self._names.tenant_id(tenant, at)
        complete = selected
        if tenant_id is not None:
            complete, cut = await self._names.complete(selected, tenant, tenant_id, at)
            if cut and not is_large:
                raise AnswerIsLarge
            for names in cut:
                whole = await self._names.rest(names, tenant, tenant_id, at)
                complete[names.table.id] = whole
        if self.is_over or any(
            names is not complete[names.table.id]
            for cached in all_cached
            for names in cached.selection.names
        ):
            return False
        for cached in all_cached:
            cached.whole_at = at
        return True

    async def renewed(
        self,
        plans: Sequence[Owned],
        all_cached: Sequence[CachedSums],
        at: int,
        *,
        step: Step | None,
    ) -> Sequence[CachedSums] | None:
        """These sums, or those of new selections, with all series that had a name when `Meta.names` was
        `at`. `step`: None of a large question. None: Redis holds another history."""
        owners = [tenant for tenant, _ in plans]
        if await self.has_all_names(owners, all_cached, at, is_large=step is None):
            return all_cached
        found = []
        for tenant, plan in plans:
            # No other task runs until the selection has taken its names.
            whole_at = min(self._names.cache.complete_at(table, tenant) for table in plan.tables)
            making = (
                self.cached_large(plan, tenant)
                if step is None
                else self.cached_sums(plan, tenant, step)
            )
            cached = await making
            cached.whole_at = max(cached.whole_at, whole_at)
            found.append(cached)
        return None if self.is_over or any(one.whole_at < at for one in found) else found

    @property
    def names_at(self) -> int:
        """How many names Redis had when it was asked last."""
        return -1 if self._meta is None else self._meta.names

    def _drop_sums(self, tenant: str) -> None:
        """The selections hold the names of the tenant that was evicted."""
        for key in [key for key in self._sums_cache if key[1] == tenant]:
            del self._sums_cache[key]

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
        # With another digest it has other views by now.
        if not meta.digest.startswith(self.views.digest) or (
            before is not None
            and (meta.created_ms != before.created_ms or meta.commits < before.commits)
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
