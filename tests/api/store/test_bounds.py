"""What one question may cost: names, selections, sums, rows and bodies, each bounded or in small steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from api.errors import UnanswerableQuestion
from api.query import bounds, selection, sliced_sums, sums
from api.query.plan import Plan, Question, Term, plan
from api.query.selection import select
from api.query.series_index import Filter, empty_index, extended
from api.store import directory, generation_state
from api.store.connection import Command, ReadConnection
from api.store.names_cache import NAMES_AT_ONCE
from api.store.picks_cache import PICKS_BYTES_MAX, PicksCache
from api.store.reader import Store
from api.store.snapshot import NOTHING, SHARED_BYTES_MAX, Snapshot, SnapshotReader, Tail
from api.store.sums_cache import CachedSums
from schemas.catalog.measures import EVENTS
from schemas.limits import HOUR_MS
from tests.api.counters import NOW_MS, name_of, read_pure
from tests.api.store.busy import CROWD_KIND, LLM, MINUTELY, PAGE_KIND, TENANTS, TERMS, Busy, Crowd

CROWD = Crowd(3 * NAMES_AT_ONCE + 7, 1)
LARGE = Busy(320, 4)


class Recording(ReadConnection):
    """Keeps the commands and the length of each reply."""

    def __init__(self, inner: ReadConnection) -> None:
        super().__init__(inner._make)
        self.replies: list[tuple[Command, int]] = []

    async def read(self, *commands: Command) -> list[Any]:
        replies = await super().read(*commands)
        self.replies += [
            (command, len(reply))
            for command, reply in zip(commands, replies, strict=True)
            if isinstance(reply, list)
        ]
        return replies


def record(store: Store) -> Recording:
    """On all connections for reads."""
    recording = Recording(store._connection)
    store._connection = store._bulk = store._evictions._connection = recording
    return recording


def of_users(*filters: Filter) -> Plan:
    start_ms, end_ms = CROWD.range_ms
    return plan(Question((Term(EVENTS),), start_ms, end_ms, NOW_MS, (*LLM, *filters), ("user",)))


def not_user(number: int) -> Filter:
    return Filter("user", frozenset((CROWD.names[number],)), is_negated=True)


@pytest.mark.servers
async def test_many_names_are_read_in_pieces(redis_url: str, store: Store) -> None:
    Busy(8, 1).frame().write(redis_url)
    CROWD.write(redis_url)
    recording = record(store)
    reading = await store.read("acme", (of_users(),))
    assert len(reading.rows[0]) == CROWD.users
    names = [count for command, count in recording.replies if command[0] == "LRANGE"]
    assert max(names) == NAMES_AT_ONCE
    assert sum(names) == CROWD.users + len(TENANTS), "each once"
    pages = [c for c, _ in recording.replies if any(":p" in str(word) for word in c[1:])]
    first = recording.replies.index((pages[0], len(pages[0]) - 1)) if pages else 0
    lists = [at for at, (c, _) in enumerate(recording.replies) if c[0] == "LRANGE"]
    assert not pages or first > lists[-1], "no page is read before all names"


@pytest.mark.servers
async def test_a_selection_of_many_is_made_in_a_thread(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Busy(8, 1).counters().write(redis_url)
    CROWD.write(redis_url)
    seen: list[tuple[bool, int]] = []

    def selected(*arguments: Any) -> selection.Selection:
        found = select(*arguments)
        seen.append((threading.current_thread() is threading.main_thread(), len(found.groups)))
        return found

    monkeypatch.setattr(generation_state, "select", selected)
    monkeypatch.setattr(generation_state, "SELECT_AT_ONCE", CROWD.users)
    await store.read("acme", (of_users(not_user(1)),))
    assert [is_main for is_main, groups in seen if groups > NAMES_AT_ONCE] == [False]
    seen.clear()
    one = Filter("user", frozenset((CROWD.names[4],)))
    reading = await store.read("acme", (of_users(one),))
    assert reading.rows[0][0].values == (1,)
    assert seen == [(True, 1)], "a page of one user of many is selected at once"


async def test_looks_for_parts_of_values_are_bounded(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 parts in each of a million users took minutes of the thread of all large questions."""
    busy = Busy(8, 1)
    busy.counters().write(redis_url)
    question = busy.plan().question
    for parts, most, is_refused in ((2, 15, True), (2, 16, False), (1, 8, False)):
        monkeypatch.setattr(selection, "LOOKS_MAX", most)
        part = Filter("model", frozenset(), parts=tuple(f"m{n}" for n in range(parts)))
        asked = plan(replace(question, filters=(*question.filters, part)))
        if is_refused:
            with pytest.raises(UnanswerableQuestion, match=r"16 times.*15.*LOOKS_MAX"):
                await store.read("acme", (asked,))
        else:
            assert (await store.read("acme", (asked,))).rows[0]


@pytest.mark.servers
async def test_sums_of_many_cells_are_added_in_a_thread(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of cells that are not kept as one array: 640 models in each of 240 minutes."""
    sparse = Busy(640, 4)
    sparse.counters().write(redis_url)
    threads: list[threading.Thread] = []
    together = sliced_sums._together

    def added(*arguments: Any) -> sums.Sums:
        threads.append(threading.current_thread())
        return together(*arguments)

    monkeypatch.setattr(sliced_sums, "_together", added)
    reading = await store.read("acme", (sparse.plan(),))
    assert len(reading.rows[0]) == sparse.models * sparse.hours * 60
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.servers
async def test_sums_are_cached_by_their_size(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    LARGE.counters().write(redis_url)
    await store.read("acme", (LARGE.plan(),))
    assert store._state is not None
    cache = store._state._sums_cache
    (cached,) = cache.values()
    assert cached.sums is not None
    assert cache.currsize == cached.size_bytes > cached.sums.low.nbytes
    monkeypatch.setattr(generation_state, "OF_ONE_BYTES_MAX", cached.sums.low.nbytes)
    other = Busy(319, 4)
    reading = await store.read("acme", (plan(_without(other, 1)),))
    assert reading.rows[0]
    assert [*cache.values()] == [cached], "larger sums evict nobody"


def _without(busy: Busy, model: int) -> Question:
    return Question(
        TERMS, busy.chunks.start * HOUR_MS, busy.chunks.stop * HOUR_MS, NOW_MS,
        (*LLM, Filter("model", frozenset((f"m{model}",)), is_negated=True)), ("model",), MINUTELY,
    )  # fmt: skip


def test_selected_series_are_cached_by_bytes() -> None:
    names = extended(
        empty_index(CROWD_KIND.table),
        [name_of(CROWD_KIND.table, name).encode() for name in CROWD.names],
    )
    own_bytes = (selection.GROUP_BYTES + 24 + 8) * (CROWD.users - 1)
    picks = PicksCache()
    for number in range(PICKS_BYTES_MAX // own_bytes + 5):
        select(of_users(not_user(number)), (names,), 1, 0, pick=picks.pick)
    assert len(picks) == PICKS_BYTES_MAX // (own_bytes + 8)
    assert PICKS_BYTES_MAX - 2 * own_bytes < picks.size_bytes <= PICKS_BYTES_MAX


@pytest.mark.servers
async def test_questions_that_share_a_snapshot_read_no_more_than_its_bytes(
    redis_url: str, store: Store
) -> None:
    busy = Busy(320, 24)
    busy.write_pages(redis_url, PAGE_KIND.packed(np.zeros(1, PAGE_KIND.dtype)))
    await store.read("acme", (_of_model(busy, 0),))
    assert store._state is not None
    recording = store._state._snapshots._connection = Recording(store._connection)
    plans = [_of_model(busy, page * 8) for page in busy.pages]
    await asyncio.gather(*[store.read("acme", (one,)) for one in plans])
    (most,) = {
        page_set.page_bytes_max
        for one in store._state._sums_cache.values()
        for page_set in one.selection.page_sets
    }
    await recording.close()
    counts = [sum(":p" in str(word) for word in command[1:]) for command, _ in recording.replies]
    assert max(counts) * most <= SHARED_BYTES_MAX < sum(counts) * most
    assert sum(counts) == len(busy.pages[1:]) * busy.hours


def _of_model(busy: Busy, model: int) -> Plan:
    question = _without(busy, model)
    return plan(
        Question(
            TERMS, question.from_ms, question.to_ms, NOW_MS,
            (*LLM, Filter("model", frozenset((f"m{model}",)))), ("model",), MINUTELY,
        )
    )  # fmt: skip


@pytest.mark.servers
async def test_the_cells_of_all_sections_count_together(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    LARGE.counters().write(redis_url)
    cells = LARGE.models * LARGE.hours * 60 * len(TERMS)
    monkeypatch.setattr(bounds, "CELLS_MAX", cells * 3 // 2)
    assert (await store.read("acme", (LARGE.plan(),))).rows[0]
    both = [plan(_without(LARGE, model)) for model in (1, 2)]
    with pytest.raises(UnanswerableQuestion, match="CELLS_MAX"):
        await store.read("acme", both)


class Moving(SnapshotReader):
    """Calls `move` soon after the second snapshot: while the sums are made."""

    def __init__(self, inner: SnapshotReader, move: Callable[[], None]) -> None:
        self._inner, self._move, self._count = inner, move, 0

    async def read(
        self,
        keys: Iterable[str],
        tails: Iterable[Tail] = (),
        bytes_max: Mapping[str, int] = NOTHING,
    ) -> Snapshot | None:
        snapshot = await self._inner.read(keys, tails, bytes_max)
        self._count += 1
        if self._count == 2:
            asyncio.get_running_loop().call_soon(self._move)
        return snapshot


async def all_named(all_cached: Sequence[CachedSums], _at: int) -> Sequence[CachedSums]:
    return all_cached


@pytest.mark.servers
async def test_another_question_does_not_move_a_section_to_a_later_instant(
    redis_url: str, store: Store
) -> None:
    """While the large section is summed, another task brings the sums of the small one, which are
    cached, to the state after a commit."""
    LARGE.counters().write(redis_url)
    await store.read("acme", (_of_model(LARGE, 0),))
    state = store._state
    assert state is not None
    step = partial(store._step, "acme")
    small = await state.cached_sums(_of_model(LARGE, 0), "acme", step)
    large = await state.cached_sums(LARGE.plan(), "acme", step)
    before, versions, moves = small.sums, small.chunk_versions, list[bool]()
    assert before is not None

    def move() -> None:
        moves.append(large.sums is None)
        later = [version[:-1] + b"\7" for version in small.chunk_versions]
        small.put(later, replace(before, bound=before.bound + 1), small.lengths)

    await state.large_read().refresh(Moving(state._snapshots, move), (small, large), all_named)
    assert moves == [True], "it came before the large section was summed"
    assert small.sums is before
    assert small.chunk_versions == versions


@pytest.mark.servers
async def test_rows_are_refused_before_they_are_made(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = Busy(30, 1)
    counters = busy.counters()
    counters.write(redis_url)
    reading = await store.read("acme", (busy.plan(),))
    monkeypatch.setattr(sums, "ROWS_MAX", 30 * 60 - 1)
    with pytest.raises(UnanswerableQuestion, match=r"1800 rows.*1799.*ROWS_MAX"):
        _ = reading.rows
    monkeypatch.setattr(sums, "ROWS_MAX", 30 * 60)
    assert list(reading.rows) == read_pure(counters, "acme", [busy.plan()])


@pytest.mark.servers
async def test_a_body_of_many_rows_is_made_while_others_are_answered(
    redis_url: str, store: Store
) -> None:
    LARGE.counters().write(redis_url)
    large = await store.read("acme", (LARGE.plan(),))
    small = await store.read("acme", (_of_model(LARGE, 0),))
    answered = threading.Event()
    making = asyncio.create_task(store.shape("acme", large.cells, lambda: answered.wait(60)))
    await asyncio.sleep(0)
    thread = await store.shape("acme", small.cells, threading.current_thread)
    assert thread is threading.main_thread(), "few rows need no thread"
    assert (await store.read("acme", (_of_model(LARGE, 0),))).rows
    answered.set()
    assert await making


@pytest.mark.servers
async def test_the_users_of_a_large_directory_are_shown_in_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "USER_CELLS", bounds.CELLS_FEW)
    for number, is_large in ((1, False), (2, True)):
        await directory.name_user(store, "acme", f"u{number}", NOW_MS, email=None, name="Ann")
        async with directory.turn_of(store, "acme") as turn:
            assert (turn.threads is not None) is is_large
            assert len(await directory.everybody(store, "acme")) == number
