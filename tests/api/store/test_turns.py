"""The questions of a tenant take turns, and none of their steps holds up the questions of others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from api.errors import LargeAnswersBusy, TooManyQuestions
from api.http.tenant_turns import TenantTurns
from api.query.bounds import CELLS_FEW, CELLS_MANY
from api.query.plan import plan
from api.store import generation_state, sums_cache
from api.store.reader import Store
from api.store.slots import QUESTIONS, body_turns, large_turns, question_turns, step_turns
from tests.api.counters import read_pure
from tests.api.store.busy import PAGE_KIND, Busy

pytestmark = pytest.mark.servers

BUSY = Busy(PAGE_KIND.page_series, 1)


@asynccontextmanager
async def asking(store: Store, tenant: str) -> AsyncIterator[None]:
    """The tenant has as many questions under way as it may have."""
    go = asyncio.Event()

    async def ask() -> None:
        async with store._questions.turn(tenant):
            await go.wait()

    asked = [asyncio.create_task(ask()) for _ in range(QUESTIONS.of_tenant_max or 0)]
    await asyncio.sleep(0)
    assert store._questions.of(tenant) == len(asked)
    yield
    go.set()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_a_tenant_that_asks_much_waits_for_itself_only(redis_url: str, store: Store) -> None:
    BUSY.counters().write(redis_url)
    async with asking(store, "acme"):
        with pytest.raises(TooManyQuestions, match=f"{QUESTIONS.of_tenant_max} other questions"):
            await store.read("acme", (BUSY.plan(),))
        await store.read("beta", (BUSY.plan(),))
        await store.state()  # this needs no turn
    assert (await store.read("acme", (BUSY.plan(),))).rows[0]


async def test_an_answer_from_the_caches_needs_no_turn(redis_url: str, store: Store) -> None:
    counters = BUSY.counters()
    counters.write(redis_url)
    first = await store.read("acme", (BUSY.plan(),))
    async with asking(store, "acme"):
        again = await store.read("acme", (BUSY.plan(),))
        assert again.sums == first.sums
        BUSY.after(extra=1).counters().write(redis_url)
        with pytest.raises(TooManyQuestions):
            await store.read("acme", (BUSY.plan(),))


@pytest.mark.parametrize("turns", [question_turns, step_turns, large_turns, body_turns])
async def test_only_a_tenant_that_asks_much_is_told_to_ask_less(
    turns: Callable[[], TenantTurns],
) -> None:
    made = turns()
    for refused in (made._late, made._full):
        assert isinstance(refused(1), TooManyQuestions)
        assert isinstance(refused(0), LargeAnswersBusy)


async def test_selections_and_sums_of_many_bytes_are_made_in_a_thread(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = BUSY.counters()
    counters.write(redis_url)
    places: list[tuple[str, bool]] = []

    def watch(module: Any, name: str) -> None:
        make: Callable[..., Any] = getattr(module, name)

        def watched(*arguments: Any) -> Any:
            places.append((name, threading.current_thread() is threading.main_thread()))
            return make(*arguments)

        monkeypatch.setattr(module, name, watched)

    watch(generation_state, "select")
    watch(sums_cache, "summed")
    monkeypatch.setattr(generation_state, "SELECT_FEW", -1)
    monkeypatch.setattr(sums_cache, "SUM_FEW", -1)
    reading = await store.read("acme", (BUSY.plan(),))
    assert list(reading.rows) == read_pure(counters, "acme", [BUSY.plan()])
    assert set(places) == {("select", False), ("summed", False)}


async def test_sums_from_threads_are_of_one_instant(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the second sums of an answer are made, another task brings the first ones to a later instant."""
    monkeypatch.setattr(sums_cache, "SUM_FEW", -1)
    events = replace(BUSY.plan().question, terms=BUSY.plan().question.terms[:1])
    plans = BUSY.plan(), plan(events)
    BUSY.counters().write(redis_url)
    await store.read("acme", plans)
    later = BUSY.after(extra=1)
    later.counters().write(redis_url)
    step, steps = store._step, list[int]()

    async def stepping(tenant: str, make: Callable[[], Any]) -> Any:
        steps.append(1)
        if len(steps) == len(plans):
            later.after(extra=1).counters().write(redis_url)
            await store.read("acme", plans[:1])
        return await step(tenant, make)

    monkeypatch.setattr(store, "_step", stepping)
    reading = await store.read("acme", plans)
    assert len(steps) > len(plans), "the other task has made sums meanwhile"
    assert reading.sums[0].totals[:1] == reading.sums[1].totals
    newest = await store.read("acme", plans)
    assert newest.sums[0].totals[:1] == newest.sums[1].totals > reading.sums[1].totals


async def test_a_body_of_some_cells_is_made_in_the_thread_of_steps(store: Store) -> None:
    names = [
        (await store.shape("acme", cells, threading.current_thread)).name.rpartition("_")[0]
        for cells in (CELLS_FEW, CELLS_FEW + 1, CELLS_MANY + 1)
    ]
    assert names == ["", "odometer_steps", "odometer_bodies"]
