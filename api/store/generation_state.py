"""What was learnt of one history of the counters: names of tenants and series, pages, sums.

Names come from lists that only grow, so what is known stays true; `Meta.names` tells when more are
there. All of it is dropped with the history that it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api.errors import CountersMissing
from api.query.plan import Plan
from api.query.selection import check_pages, select
from api.query.series_index import Names, grown, no_names
from api.store.connection import Line
from api.store.page_cache import Held, Lack, Page, Standing, Standings
from api.store.snapshot import Look, Looks
from schemas.catalog.views import Table
from schemas.errors import StoreCorrupt
from schemas.store.layout import (
    CURRENT_KEY,
    Meta,
    names_list_key,
    tenants_list_key,
    unpack_meta,
)


@dataclass(eq=False)
class Known:
    """Of one generation. `whole_at` is the `Meta.names` at which a list was complete; `is_over`:
    Redis holds another history by now."""

    line: Line
    generation: int
    digest: bytes
    looks: Looks = field(init=False)
    is_over: bool = False
    _record: bytes = b""
    _meta: Meta | None = None
    _tenants: dict[str, int] = field(default_factory=dict)
    _tenants_whole_at: int = -1
    _named_at: int = 0
    _names: dict[tuple[int, str], Names] = field(default_factory=dict)
    _names_whole_at: dict[tuple[int, str], int] = field(default_factory=dict)
    _held: Held = field(default_factory=Held)
    _standings: Standings = field(default_factory=Standings)

    def __post_init__(self) -> None:
        self.looks = Looks(self.line, self.generation, self._check)

    def let_go(self) -> None:
        """Drop what is kept of pages and sums."""
        self._held, self._standings = Held(), Standings()

    async def bring(self, standings: Sequence[Standing], looks_max: int) -> Meta | None:
        """The sums of all of them as of one instant, and the state then; None where Redis holds
        another history, or where each of so many looks found the pages changed."""
        chunks = [chunk for one in standings for chunk in one.selection.stamps]
        lack = Lack()
        for standing in standings:
            standing.begin(self._held, lack)
        seen: Look | None = None
        asked: dict[str, str] = {}
        for number in range(looks_max):
            if number > 1:
                # Commits come as fast as looks: all that was asked for, in one, is of one instant.
                lack.chunk_of |= asked
                lack.whole |= dict.fromkeys(asked)
            asked |= lack.chunk_of
            check_pages(len(lack.whole) + len(lack.tails), "The answer's parts together")
            tails = [(key, len(page.data or b"")) for key, page in lack.tails.items()]
            look = await self.looks.look((*chunks, *lack.whole), tails)
            if look is None or self.is_over:
                return None
            fresh = self._taken(lack, look, seen)
            seen, lack = look, Lack()
            for standing in standings:
                if standing.meta is not look.meta:
                    stamps = look.stamps(standing.selection.stamps)
                    standing.bring(stamps, fresh, self._held, lack, by_tails=number < 1)
            if not lack:
                for standing in standings:
                    standing.meta = look.meta
                return look.meta
        return None

    def _taken(self, lack: Lack, look: Look, before: Look | None) -> dict[str, Page]:
        """The pages that a look gave, by key; they are kept."""
        fresh = {}
        for key in lack.whole:
            stamp = look.stamp(lack.chunk_of[key])
            fresh[key] = Page(stamp, look.found[key] or None)
        for key, page in lack.tails.items():
            chunk = lack.chunk_of[key]
            stamp = look.stamp(chunk)
            if before is not None and before.stamp(chunk) == stamp:
                known = page.data or b""
                fresh[key] = Page(stamp, known + look.tails[key, len(known)] or None)
        for key, page in fresh.items():
            self._held.keep(lack.chunk_of[key], key, page)
        return fresh

    # -- names --------------------------------------------------------------------------------

    def standing_of(self, plan: Plan, tenant: str) -> Standing:
        """With the names known so far."""
        question = plan.number, tenant
        standing = self._standings.get(question)
        if standing is None or standing.named_at != self._named_at:
            names = tuple(self._names_of(table, tenant) for table in plan.tables)
            if standing is None or standing.selection.names != names:
                tenant_id = self._tenants.get(tenant, 0)
                standing = Standing(select(plan, names, self.generation, tenant_id))
                self._standings.put(question, standing)
            standing.named_at = self._named_at
        return standing

    async def is_whole(self, tenant: str, standings: Sequence[Standing], at: int) -> bool:
        """Whether no series of these was new to us when there were `at` names; what is new is
        learnt."""
        if all(standing.whole_at >= at for standing in standings):
            return True
        tenant_id = await self._tenant_id(tenant, at)
        if tenant_id is not None:
            tables = {table: None for one in standings for table in one.selection.plan.tables}
            await self._learn_names(list(tables), tenant, tenant_id, at)
        is_whole = not self.is_over and all(
            names is self._names_of(names.table, tenant)
            for standing in standings
            for names in standing.selection.names
        )
        if is_whole:
            for standing in standings:
                standing.whole_at = at
        return is_whole

    def _names_of(self, table: Table, tenant: str) -> Names:
        return self._names.get((table.id, tenant)) or no_names(table)

    async def _tenant_id(self, tenant: str, at: int) -> int | None:
        if tenant not in self._tenants and self._tenants_whole_at < at:
            have = len(self._tenants)
            more = await self._list_from(tenants_list_key(self.generation), have)
            for place, name in enumerate(more, have):
                self._tenants.setdefault(_text(name), place)
                self._named_at += 1
            self._tenants_whole_at = max(self._tenants_whole_at, at)
        return self._tenants.get(tenant)

    async def _learn_names(
        self, tables: Sequence[Table], tenant: str, tenant_id: int, at: int
    ) -> None:
        behind = [t for t in tables if self._names_whole_at.get((t.id, tenant), -1) < at]
        if not behind:
            return
        known = [self._names_of(table, tenant) for table in behind]
        lists: list[list[bytes]] = await self.line.read(
            *[
                ("LRANGE", names_list_key(self.generation, own.table, tenant_id), own.count, -1)
                for own in known
            ]
        )
        for names, more in zip(known, lists, strict=True):
            which = (names.table.id, tenant)
            if self._names_of(names.table, tenant) is names:  # nobody else was quicker
                if more:
                    self._names[which] = grown(names, more)
                    self._named_at += 1
                self._names_whole_at[which] = at

    async def _list_from(self, key: str, start: int) -> list[bytes]:
        found: list[bytes]
        (found,) = await self.line.read(("LRANGE", key, start, -1))
        return found

    # -- state --------------------------------------------------------------------------------

    def _check(self, current: bytes | None, record: bytes | None) -> Meta | None:
        if generation_of(current) != self.generation:
            self.is_over = True
            return None
        if record is None:
            raise CountersMissing("the generation that should answer has no meta record")
        before = self._meta
        if before is not None and record == self._record:
            return before
        meta = unpack_meta(record)
        if not meta.digest.startswith(self.digest):
            raise CountersMissing(
                "the counters in Redis were made with other limits, views or topic than this API's:"
                " run the API and the workers of one version on one topic with one catalog file, or"
                " make the counters anew under this one: odometer rebuild"
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
        raise StoreCorrupt(f"{CURRENT_KEY} is no number")
    return int(current)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("a tenant's name is not UTF-8") from error
