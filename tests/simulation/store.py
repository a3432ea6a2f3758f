"""The fake store of the simulation: `streams.core.ports.CounterStore` in dicts, with faults.

It passes the same contract suite as the real one (tests/streams/redis/test_store_contract.py). Every
method is a request and a reply, with a turn of the scheduler before each. Either may be lost. Bugs can
be planted (`Bugs`); the simulation must catch every one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.views import DEFAULT, SLICE_MS
from schemas.errors import StoreUnavailable
from schemas.event.identity import CallKey, IdSecret
from schemas.limits import MINUTE_MS
from schemas.prices.price_list import Prices
from schemas.prices.stored_lists import CountedPrices
from schemas.store import chats as chat_words
from schemas.store.chats import CHAT_MODELS_MAX, CHATS_MAX, Chat
from schemas.store.chunk_version import ChunkVersion
from schemas.store.directory import USERS_MAX, merged
from schemas.store.generation import describe
from schemas.store.layout import (
    LIVE,
    Meta,
    PartitionMeta,
    prefix,
)
from schemas.store.series_names import series_values
from schemas.tiers import ALL_CLOSED, Closed
from streams.core.calls import StoredCall
from streams.core.fold import Delta
from streams.core.ports import Commit, Outcome, RefusalReason, Reply
from streams.redis.closing import closing_pages, may_be_closed
from streams.redis.compaction import ReadPage, compact_forms, unpack_queued_page
from streams.redis.series_ids import Resolved, paged
from tests.oracles.redis_counters import Cell, counters_in, named_chunk_versions
from tests.simulation.closing import append_rows, close, is_half_closed, read_open
from tests.simulation.state import Bugs, FakeRedis, State, fresh_partition, not_evicted

TOPIC = "simulated"
MORE_VIEWS = parse_catalog(
    b"""
    [dimensions.source]
    field = "source"
    [views.by_source]
    dimensions = ["source"]
    measures = ["usage", "booked"]
    histograms = ["latency"]
    """,
    "catalog.toml",
)
"""What some workers of a simulation add."""

TALLIES_MAX = 1000
TENANT_TALLIES_MAX = 100
"""Names of one kind of tallies, and those of one tenant; as in commit.lua."""
NEIGHBOURS = 2
ROOM_BYTES, ROOM_ROWS = 24, 2
"""Bytes by which a page of counters may grow before it is queued for compaction, and rows of another
page: a simulation has short pages."""
COMPACT_PAGES_MAX = 20
TURNS_OF_MERGING = 8
"""Between reading pages and writing them: enough for others to commit, and to do the same."""


async def no_turn(_what: str) -> None:
    """Of a store outside the simulation: nothing happens between request and reply."""


class FakeStore:
    """One client of a fake Redis that several share; `turn` is where the simulation may intervene."""

    def __init__(
        self,
        turn: Callable[[str], Awaitable[None]] = no_turn,
        bugs: Bugs = Bugs(),  # noqa: B008  frozen
        fake_redis: FakeRedis | None = None,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self.fake_redis = fake_redis or FakeRedis()
        self.generation = self.fake_redis.current
        self._turn = turn
        self._bugs = bugs
        self._now_ms = now_ms
        self._life = (0, 0)
        self.catalog = DEFAULT
        """Of a generation that this client opens."""

    @property
    def shared(self) -> tuple[Any, ...]:
        """The arguments of another client of the same fake Redis."""
        return self._turn, self._bugs, self.fake_redis, self._now_ms

    def client(self) -> FakeStore:
        """Another one of the same fake Redis."""
        return FakeStore(*self.shared)

    @property
    def state(self) -> State:
        """Of the generation that answers."""
        return self.fake_redis.states[self.fake_redis.current]

    @property
    def own(self) -> State:
        """Of the generation that this client knows of; an empty one where it was dropped."""
        return self.fake_redis.states.get(self.generation) or State()

    def counters(self) -> dict[Cell, tuple[int, ...]]:
        """The sums of the pages. Compact pages begin with a row that adds nothing."""
        state = self.state
        tenants = list(state.tenants)
        names = {
            (table, state.tenants[tenant]): [series_values(name) for name in ids]
            for (table, tenant), ids in state.names.items()
        }
        closed = state.meta.closed if state.meta else ALL_CLOSED
        return counters_in(state.pages.items(), tenants, names, MORE_VIEWS, closed)

    def chunk_versions(self) -> dict[tuple[str, str], ChunkVersion]:
        head = f"{prefix(self.fake_redis.current)}v"
        chunk_versions = (
            (head + at, chunk_version) for at, chunk_version in self.state.chunk_versions.items()
        )
        return named_chunk_versions(chunk_versions, list(self.state.tenants))

    def chats(self) -> dict[tuple[str, str], Chat]:
        return {
            (tenant, chat.id): chat
            for tenant, chats in self.state.chats.items()
            for chat in chats.values()
        }

    async def open(
        self,
        digest: bytes,
        count: int,
        now_ms: int,
        secret: IdSecret,
        closed: Closed = ALL_CLOSED,
    ) -> None:
        await self._turn("store request")
        if self.own.meta is None:
            parts = tuple(fresh_partition() for _ in range(count))
            self.own.meta = Meta(LIVE, digest, 0, 0, 0, 0, 0, now_ms, 0, parts, closed, closed)
            self.own.secret = secret
            self.own.about = describe(TOPIC, self.catalog)
        await self._turn("store reply")

    async def meta(self) -> Meta | None:
        await self._turn("store request")
        self.generation = self.fake_redis.current
        meta = self.own.meta
        await self._turn("store reply")
        return meta

    async def secret(self) -> IdSecret:
        await self._turn("store request")
        secret = self.own.secret
        if secret is None:
            raise StoreUnavailable("the generation has no secret")
        await self._turn("store reply")
        return secret

    async def price_lists(self, own: Prices) -> Sequence[CountedPrices]:  # noqa: ARG002
        """Without a turn: all workers of a simulation have the same list."""
        return tuple(self.own.price_lists)

    async def keep_prices(self, prices: Prices) -> None:
        if not self.own.price_lists:
            self.own.price_lists.append(CountedPrices(0, prices.version, prices))

    async def about(self) -> str:
        await self._turn("store request")
        about = self.own.about
        await self._turn("store reply")
        return about

    async def add_views(self, digest: bytes, new: bytes, about: str, ids: Sequence[int]) -> int:
        await self._turn("store request")
        state, from_ms = self.own, -1
        meta = state.meta
        if meta is not None and meta.state == LIVE and meta.digest == digest:
            from_ms = state.newest_ms + MINUTE_MS if state.newest_ms else 0
            if self._bugs.forgets_newest:
                from_ms = self._now_ms() // MINUTE_MS * MINUTE_MS
            if from_ms:
                state.view_starts |= dict.fromkeys(ids, from_ms)
            if not self._bugs.adds_views_beside:
                state.about, state.meta = about, replace(meta, digest=new)
        await self._turn("store reply")
        return from_ms

    async def bookings(
        self, secret: str, calls: Sequence[tuple[CallKey, int]]
    ) -> Mapping[CallKey, StoredCall | None]:
        await self._turn("store request")
        found: dict[CallKey, StoredCall | None] = {}
        for call, slice_ in calls:
            found[call] = None
            for near in self._window(slice_) if self._has_secret(secret) else ():
                data = self.own.calls.get(near, {}).get(call)
                if data is not None:
                    found[call] = StoredCall(near, data)
        await self._turn("store reply")
        return found

    async def commit(self, commit: Commit) -> Reply:
        await self._turn("store request")
        refusal = (
            self._refusal(commit)
            or self._mismatch(commit)
            or self._closed_meanwhile(commit)
            or self._remembered(commit)
            or self._moved_calls(commit)
        )
        if self._bugs.dedupe_outside_the_step:
            await self._turn("between check and write")
        if refusal is None:
            if self._bugs.position_before_counters:
                self._move(commit)
                await self._turn("between position and counters")
            self._write(commit)
        await self._turn("store reply")
        return refusal or Reply(Outcome.COMMITTED)

    async def compact_pages(self) -> None:
        """Anything may happen between reading pages and writing their compact forms."""
        if self._life != (self.fake_redis.life, self.generation) or not self.own.compaction_queue:
            return
        await self._turn("store request")
        read = self._read_queued()
        await self._turn("store reply")
        made = compact_forms(read)
        for _ in range(TURNS_OF_MERGING):
            await self._turn("between reading and writing")
        await self._turn("store request")
        if self._life == (self.fake_redis.life, self.generation):
            self._replace(read, made)
        await self._turn("store reply")

    def _read_queued(self) -> list[ReadPage]:
        state = self.own
        queued = {
            entry: unpack_queued_page(entry) for entry in state.compaction_queue[:COMPACT_PAGES_MAX]
        }
        return [
            ReadPage(entry, one, state.pages.get(one.page, b""), state.compactions(one.page))
            for entry, one in queued.items()
        ]

    def _replace(self, read: Sequence[ReadPage], made: Sequence[bytes]) -> None:
        state = self.own
        before = {one.queued.page: state.compactions(one.queued.page) for one in read}
        written = set()
        for one, rows in zip(read, made, strict=True):
            page, was = state.pages.get(one.queued.page, b""), one.page
            is_as_read = before[one.queued.page] == one.compactions and len(page) >= len(was)
            is_as_read = is_as_read and one.queued.page not in written
            is_as_read = is_as_read and not is_half_closed(state, one.queued.page)
            if is_as_read or not was or self._bugs.compacts_unseen:
                if page and rows != was:  # the real one only where that is shorter
                    tail = b"" if self._bugs.forgets_what_was_appended else page[len(was) :]
                    state.pages[one.queued.page] = rows + tail
                    written.add(one.queued.page)
                    chunk = one.queued.chunk_version_key[1:]
                    at = before[one.queued.page] + 1
                    state.chunk_versions[chunk] = state.chunk_versions[chunk]._replace(
                        compactions=at
                    )
                if one.entry in state.compaction_queue:
                    state.compaction_queue.remove(one.entry)

    async def close_pages(self, digest: bytes, now_ms: int, epoch: bytes) -> None:  # noqa: ARG002
        """Anything may happen between reading pages and closing them."""
        life = (self.fake_redis.life, self.generation)
        await self._turn("store request")
        meta = self.own.meta
        if meta is None or meta.digest != digest:
            return
        closing = may_be_closed(meta, now_ms)
        read = read_open(self.own, meta, closing)
        await self._turn("store reply")
        if not read and closing == meta.closing == meta.closed:
            return
        made = closing_pages(read)
        for _ in range(TURNS_OF_MERGING):
            await self._turn("between reading and closing")
        await self._turn("store request")
        if life == (self.fake_redis.life, self.generation) and self.own.meta is not None:
            close(self.own, made, closing, self._bugs)
        await self._turn("store reply")

    async def refuse(self, partition: int, position: int, why: RefusalReason, detail: str) -> None:
        await self._turn("store request")
        meta = self.own.meta
        if meta is not None:
            if 0 <= partition < len(meta.partitions):
                if meta.partitions[partition].position != position:
                    return
                self._set(partition, refused=int(why))
            else:
                self.own.meta = replace(meta, refused=int(why))
            self.own.refusals[partition] = detail
        await self._turn("store reply")

    async def accept(
        self, partition: int, position: int, new_position: int, history_from_ms: int
    ) -> bool:
        await self._turn("store request")
        accepted = self.accept_now(partition, position, new_position, history_from_ms)
        await self._turn("store reply")
        return accepted

    def accept_now(
        self, partition: int, position: int, new_position: int, history_from_ms: int
    ) -> bool:
        """The same without a turn: an operator's word comes between any two."""
        self.generation = self.fake_redis.current
        meta = self.own.meta
        if meta is None or partition >= len(meta.partitions):
            return False
        if meta.partitions[partition].position != position:
            return False
        self._set(
            partition,
            position=new_position,
            commit_id=bytes(16),
            last_offset=-1,
            last_append_ms=0,
            refused=0,
        )
        assert self.own.meta is not None
        self.own.meta = replace(
            self.own.meta, history_from_ms=max(meta.history_from_ms, history_from_ms)
        )
        self.own.refusals.pop(partition, None)
        return True

    # -- the checks ----------------------------------------------------------------------------

    def _refusal(self, commit: Commit) -> Reply | None:
        meta = self.own.meta
        if meta is None:
            return Reply(Outcome.MISSING)
        if meta.state != LIVE and not self._bugs.commits_to_retired:
            return Reply(Outcome.RETIRED)
        return Reply(Outcome.DIGEST) if meta.digest != commit.generation_digest else None

    def _mismatch(self, commit: Commit) -> Reply | None:
        meta = self.own.meta
        assert meta is not None
        stored = {p.partition: self._stored(p.partition) for p in commit.partitions}
        if any(one.commit_id == commit.id for one in stored.values()):
            return Reply(Outcome.ALREADY_APPLIED)
        stale = [p.partition for p in commit.partitions if stored[p.partition].position != p.start]
        if stale and not self._bugs.no_fence:
            return Reply(Outcome.STALE, stale)
        if not self._has_secret(commit.secret) and not self._bugs.any_secret:
            return Reply(Outcome.STALE)
        if (
            self.generation == self.fake_redis.current
            and self._now_ms() < self.fake_redis.held_until_ms
        ):
            return Reply(Outcome.PAUSED)
        return None

    def _closed_meanwhile(self, commit: Commit) -> Reply | None:
        meta = self.own.meta
        assert meta is not None
        is_same = not commit.delta.parts or commit.closed == meta.closed
        return (
            None
            if is_same or self._bugs.folds_before_closing
            else Reply(Outcome.CLOSED, meta.closed)
        )

    def _has_secret(self, name: str) -> bool:
        return self.own.secret is not None and self.own.secret.name == name

    def _window(self, slice_: int) -> range:
        meta = self.own.meta
        if meta is None:
            return range(0)
        return range(
            max(slice_ - NEIGHBOURS, meta.slice_low), min(slice_ + NEIGHBOURS, meta.slice_high) + 1
        )

    def _remembered(self, commit: Commit) -> Reply | None:
        hits = [
            digest
            for digest, slice_ in zip(commit.digests.tolist(), commit.slices.tolist(), strict=True)
            for near in self._window(slice_)
            if digest in self.own.ids.get(near, ())
        ]
        return Reply(Outcome.DUPLICATE_IDS, hits) if hits else None

    def _moved_calls(self, commit: Commit) -> Reply | None:
        moved = []
        for call in commit.delta.calls:
            if call.old is not None:
                same = self.own.calls.get(call.old.slice, {}).get(call.call) == call.old.data
            else:
                near = self._window(call.new.slice)
                same = not any(call.call in self.own.calls.get(n, {}) for n in near)
            if not same:
                moved.append(call.call.digest)
        return Reply(Outcome.CALLS_CHANGED, moved) if moved else None

    # -- the writes ----------------------------------------------------------------------------

    def _write(self, commit: Commit) -> None:
        state = self.own
        self._append(commit.delta)
        minute_ms = commit.delta.newest_ms // MINUTE_MS * MINUTE_MS
        state.newest_ms = max(state.newest_ms, minute_ms)
        for digest, slice_ in zip(commit.digests.tolist(), commit.slices.tolist(), strict=True):
            state.ids.setdefault(slice_, set()).add(digest)
            self._note_slice(slice_)
        for slice_, tenant, count in commit.id_counts:
            state.id_counts.setdefault(slice_, Counter())[tenant] += count
        for call in commit.delta.calls:
            if call.old is not None:
                del state.calls[call.old.slice][call.call]
            state.calls.setdefault(call.new.slice, {})[call.call] = call.new.data
            self._note_slice(call.new.slice)
        for tenant, chats in commit.delta.chats:
            _note_chats(state.chats.setdefault(tenant, {}), chats)
        for name, count in commit.tallies.items():
            self._note_tally(name, count, "")
        for (tenant, name), count in commit.named.items():
            self._note_tally(name, count, tenant)
        self._note_users(commit)
        self._move(commit)
        self._drop_slices()
        assert state.meta is not None
        names = len(state.tenants) + sum(map(len, state.names.values()))
        state.meta = replace(
            state.meta,
            commits=state.meta.commits + 1,
            names=names,
            refused=0,
        )

    def _append(self, delta: Delta) -> None:
        """Appends rows to their pages, and queues pages for compaction."""
        state = self.own
        assert state.meta is not None
        self._life = (self.fake_redis.life, self.generation)
        resolved = self._named(delta)
        for part, (pages, rows) in zip(delta.parts, paged(delta.parts, resolved), strict=True):
            page_kind, at = part.page_kind, 0
            room = ROOM_BYTES if page_kind.sketch is None else ROOM_ROWS * page_kind.dtype.itemsize
            for chunk, tenant, page, n in pages.tolist():
                stem = f"{page_kind.head}.{part.tier.id}.{chunk}.{tenant}"
                append_rows(
                    self.own,
                    stem,
                    part.tier,
                    page,
                    rows[at : at + n],
                    page_kind.form,
                    room,
                    self._bugs,
                )
                at += n

    def _named(self, delta: Delta) -> Resolved:
        state = self.own
        tenants, series = [], []
        for table, tenant, name in delta.series:
            text = delta.tenants[tenant]
            tenants.append(state.tenants.setdefault(text, len(state.tenants)))
            names = state.names.setdefault((table.id, text), {})
            series.append(names.setdefault(name, len(names)))
        return Resolved(np.array(tenants, np.int64), np.array(series, np.int64), Counter())

    def _note_users(self, commit: Commit) -> None:
        state = self.own
        for tenant, words in commit.delta.users:
            for word in words:
                known = state.users.get((tenant, word.key))
                if known is None and sum(t == tenant for t, _ in state.users) >= USERS_MAX:
                    state.tallies["directory_full"] = state.tallies.get("directory_full", 0) + 1
                    continue
                state.users[tenant, word.key] = word if known is None else merged(known, word)
        assert state.meta is not None
        for tenant, records in commit.delta.recent:
            added = [(one.at_ms, one.member(state.meta.commits + 1)) for one in records]
            state.recent[tenant] = not_evicted([*state.recent.get(tenant, ()), *added])

    def _note_tally(self, name: str, count: int, tenant: str) -> None:
        tallies, of_kind = self.own.tallies, self.own.tally_tenants
        kind, is_named, _ = name.partition(":")
        if is_named and name not in tallies:
            tenants = of_kind.setdefault(kind, [])
            if len(tenants) >= TALLIES_MAX or (
                tenant and tenants.count(tenant) >= TENANT_TALLIES_MAX
            ):
                name = f"{kind}:other"
            else:
                tenants.append(tenant)
        tallies[name] = tallies.get(name, 0) + count

    def _move(self, commit: Commit) -> None:
        meta = self.own.meta
        assert meta is not None
        known = len(meta.partitions)
        added = tuple(
            replace(fresh_partition(), complete_ms=commit.absent_ms.get(p, 0))
            for p in range(known, commit.count)
        )
        self.own.meta = replace(meta, partitions=meta.partitions + added)
        for p in commit.partitions:
            stored = self._stored(p.partition)
            self._set(
                p.partition,
                position=p.end,
                commit_id=commit.id,
                complete_ms=max(stored.complete_ms, p.complete_ms),
                refused=0,
            )
            if p.end != stored.position:
                self._set(p.partition, committed_ms=commit.now_ms)
            if p.last_offset >= 0:
                self._set(
                    p.partition,
                    last_offset=p.last_offset,
                    last_append_ms=p.last_append_ms,
                )
            self.own.refusals.pop(p.partition, None)

    def _note_slice(self, slice_: int) -> None:
        meta = self.own.meta
        assert meta is not None
        low = slice_ if meta.slice_low == 0 else min(meta.slice_low, slice_)
        self.own.meta = replace(meta, slice_low=low, slice_high=max(meta.slice_high, slice_))

    def _drop_slices(self) -> None:
        meta = self.own.meta
        assert meta is not None
        if not meta.partitions or meta.slice_low == 0:
            return
        if meta.slice_low + NEIGHBOURS < meta.complete_through_ms // SLICE_MS:
            self.own.ids.pop(meta.slice_low, None)
            self.own.calls.pop(meta.slice_low, None)
            self.own.id_counts.pop(meta.slice_low, None)
            self.own.meta = replace(meta, slice_low=meta.slice_low + 1)

    def _stored(self, partition: int) -> PartitionMeta:
        meta = self.own.meta
        if meta is not None and partition < len(meta.partitions):
            return meta.partitions[partition]
        return fresh_partition()

    def _set(self, partition: int, **changes: int | bytes) -> None:
        meta = self.own.meta
        assert meta is not None
        parts = list(meta.partitions)
        parts[partition] = replace(parts[partition], **changes)  # type: ignore[arg-type]
        self.own.meta = replace(meta, partitions=tuple(parts))


def _note_chats(known: dict[str, Chat], said: Sequence[Chat]) -> None:
    for chat in said:
        before = known.get(chat.id)
        models = list(before.models if before else ())
        models += [model for model in chat.models if model not in models]
        after = chat if before is None else chat_words.merged(before, chat)
        kept = models[:CHAT_MODELS_MAX]
        known[chat.id] = msgspec.structs.replace(
            after,
            models=tuple(sorted(kept)),
            days=tuple((model, days) for model, days in after.days if model in kept),
        )
    resting = sorted(known.values(), key=lambda chat: (chat.last_ms, chat.id.encode()))
    for chat in resting[: max(0, len(known) - CHATS_MAX)]:
        del known[chat.id]
