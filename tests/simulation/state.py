"""The state of the fake store, and the bugs that can be planted in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from schemas.event.identity import CallKey, IdSecret
from schemas.prices.stored_lists import CountedPrices
from schemas.store.chats import Chat
from schemas.store.chunk_version import ChunkVersion
from schemas.store.directory import UserUpdate
from schemas.store.layout import (
    FIRST_GENERATION,
    NO_POSITION,
    Meta,
    PartitionMeta,
)
from schemas.store.recent_calls import RECENT_HELD, RECENT_MAX, Recent, count_in, latest_of

Place = str
"""Of a page: head, tier, chunk, tenant and page; of all pages of a tenant and chunk without the last."""


@dataclass(frozen=True)
class Bugs:
    """Each is a way to lose or double events that the simulation has to find."""

    position_before_counters: bool = False
    no_fence: bool = False
    dedupe_outside_the_step: bool = False
    switch_too_soon: bool = False
    commits_to_retired: bool = False
    forgets_what_was_appended: bool = False
    compacts_unseen: bool = False
    any_secret: bool = False
    closes_unseen: bool = False
    forgets_late_rows: bool = False
    closes_half: bool = False
    folds_before_closing: bool = False
    adds_views_beside: bool = False
    forgets_newest: bool = False


@dataclass
class State:
    """Everything that goes back together when the store does."""

    meta: Meta | None = None
    secret: IdSecret | None = None
    pages: dict[Place, bytes] = field(default_factory=dict)
    chunk_versions: dict[Place, ChunkVersion] = field(default_factory=dict)
    compaction_queue: list[bytes] = field(default_factory=list)
    open_pages: dict[tuple[int, int], dict[Place, str]] = field(default_factory=dict)
    tenants: dict[str, int] = field(default_factory=dict)
    names: dict[tuple[int, str], dict[str, int]] = field(default_factory=dict)
    ids: dict[int, set[int]] = field(default_factory=dict)
    calls: dict[int, dict[CallKey, bytes]] = field(default_factory=dict)
    id_counts: dict[int, Counter[str]] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)
    tally_tenants: dict[str, list[str]] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    users: dict[tuple[str, str], UserUpdate] = field(default_factory=dict)
    recent: dict[str, tuple[tuple[int, bytes], ...]] = field(default_factory=dict)
    chats: dict[str, dict[str, Chat]] = field(default_factory=dict)
    price_lists: list[CountedPrices] = field(default_factory=list)
    about: str = ""
    newest_ms: int = 0
    view_starts: dict[int, int] = field(default_factory=dict)

    def latest_calls(self) -> dict[str, list[Recent]]:
        """Of each tenant, as readers see them."""
        return {
            tenant: latest_of(member for _, member in records)
            for tenant, records in self.recent.items()
        }

    def compactions(self, page: Place) -> int:
        """Of its chunk."""
        return self.chunk_versions.get(page.rpartition(".")[0], ChunkVersion(0, 0)).compactions

    def copy(self) -> State:
        """What is inside the containers never changes."""
        return State(
            self.meta,
            self.secret,
            dict(self.pages),
            dict(self.chunk_versions),
            list(self.compaction_queue),
            {chunk: dict(pages) for chunk, pages in self.open_pages.items()},
            dict(self.tenants),
            {scope: dict(names) for scope, names in self.names.items()},
            {slice_: set(ids) for slice_, ids in self.ids.items()},
            {slice_: dict(calls) for slice_, calls in self.calls.items()},
            {slice_: Counter(counts) for slice_, counts in self.id_counts.items()},
            dict(self.tallies),
            {kind: list(tenants) for kind, tenants in self.tally_tenants.items()},
            dict(self.refusals),
            dict(self.users),
            dict(self.recent),
            {tenant: dict(chats) for tenant, chats in self.chats.items()},
            list(self.price_lists),
            self.about,
            self.newest_ms,
            dict(self.view_starts),
        )


@dataclass
class FakeRedis:
    """All generations, and which of them answers. `retired`: how many commits each of those had
    taken that are retired. `life`: another one whenever the store went back."""

    states: dict[int, State] = field(default_factory=lambda: {FIRST_GENERATION: State()})
    current: int = FIRST_GENERATION
    last: int = FIRST_GENERATION
    held_until_ms: int = 0
    retired: dict[int, int] = field(default_factory=dict)
    life: int = 0

    def copy(self) -> FakeRedis:
        states = {number: state.copy() for number, state in self.states.items()}
        return FakeRedis(states, self.current, self.last, self.held_until_ms, dict(self.retired))

    def become(self, other: FakeRedis) -> None:
        """What every client sees from now on."""
        life = self.life + 1
        for name, value in vars(other.copy()).items():
            setattr(self, name, value)
        self.life = life


def fresh_partition() -> PartitionMeta:
    return PartitionMeta(NO_POSITION, bytes(16), -1, 0, 0, 0, 0)


def not_evicted(records: list[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    """If they have too many of the latest calls: without the oldest records."""
    records.sort()
    total, evicted = sum(count_in(member) for _, member in records), 0
    while (evicted or total > RECENT_HELD) and total - count_in(records[evicted][1]) >= RECENT_MAX:
        total -= count_in(records[evicted][1])
        evicted += 1
    return tuple(records[evicted:])
