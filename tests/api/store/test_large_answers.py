"""Large answers: refused before they are read, read in pieces at one instant, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
from starlette.requests import Request

from api.agentlens import errors as agentlens_errors
from api.errors import (
    LargeAnswersBusy,
    TooManyLargeQuestions,
    TooManyQuestions,
    UnanswerableQuestion,
)
from api.http import problems
from api.livekit import errors as livekit_errors
from api.openwebui import errors as openwebui_errors
from api.query.bounds import ANSWER_BYTES_MAX
from api.query.plan import Question, Term, plan
from api.query.selection import COUNTER_WEIGHT
from api.store import large_answers, slots
from api.store.connection import Command, ReadConnection
from api.store.large_answers import (
    PIECE_BYTES_MAX,
    ROUNDS_MAX,
    SMALL_BYTES_MAX,
)
from api.store.reader import Store
from api.store.slots import LARGE as LARGE_TURNS
from api.store.slots import ROUNDS, Priority, large_turns
from schemas.catalog.measures import LATENCY
from schemas.limits import HOUR_MS
from schemas.store.layout import page_key, sketch_of
from schemas.tiers import MINUTE
from tests.api.counters import NOW_MS, read_pure
from tests.api.store.busy import LLM, MINUTELY, PAGE_KIND, Busy

LARGE = Busy(320, 4)
"""1 MB of pages, which are worth 16 MB (`COUNTER_WEIGHT`)."""
SPARSE = Busy(640, 4)
"""More cells than are kept as one array."""
REQUEST = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


class Watched(ReadConnection):
    """Calls `between` after each read of pages, and counts the bytes of each."""

    def __init__(self, inner: ReadConnection, between: Callable[[int], None]) -> None:
        super().__init__(inner._make)
        self._between, self.sizes = between, list[int]()

    async def read(self, *commands: Command) -> list[Any]:
        replies = await super().read(*commands)
        if commands[0][0] == "MGET" and len(commands) > 1:
            self.sizes.append(sum(len(reply) for reply in replies[1:-1]))
            self._between(len(self.sizes))
        return replies


def watch(store: Store, between: Callable[[int], None] = lambda _n: None) -> Watched:
    watched = Watched(store._bulk, between)
    store._bulk = watched
    return watched


def expected(busy: Busy) -> list[Any]:
    return read_pure(busy.counters(), "acme", [busy.plan()])[0]


@pytest.mark.servers
@pytest.mark.parametrize("busy", [LARGE, SPARSE])
async def test_an_answer_in_pieces_is_that_of_one_read(
    redis_url: str, store: Store, busy: Busy
) -> None:
    counters, asked = busy.counters(), busy.plan()
    counters.write(redis_url)
    watched = watch(store)
    reading = await store.read("acme", (asked,))
    assert list(reading.rows) == read_pure(counters, "acme", [asked])
    assert sum(watched.sizes) == busy.page_bytes > SMALL_BYTES_MAX // COUNTER_WEIGHT
    assert max(watched.sizes) <= PIECE_BYTES_MAX
    again = await store.read("acme", (asked,))
    assert again.sums[0] is reading.sums[0], "nothing was read or summed again"


@pytest.mark.servers
async def test_a_small_answer_costs_no_look(redis_url: str, store: Store) -> None:
    Busy(30, 1).counters().write(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        await store.read("acme", (Busy(30, 1).plan(),))
        assert not {"cmdstat_strlen", "cmdstat_getrange"} & set(client.info("commandstats"))


@pytest.mark.servers
async def test_what_is_too_large_is_refused_before_a_page_is_read(
    redis_url: str, store: Store
) -> None:
    """Redis holds 9.6 MB of counters, which is 153 MiB decoded."""
    busy = Busy(320, 48)
    pages = len(busy.pages) * busy.hours
    busy.write_pages(redis_url, bytes((153 << 20) // COUNTER_WEIGHT // pages + 1))
    assert ANSWER_BYTES_MAX < 153 << 20 < ANSWER_BYTES_MAX * COUNTER_WEIGHT
    watched = watch(store)
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("stats")["total_net_output_bytes"]
        with pytest.raises(UnanswerableQuestion, match=r"153 MiB.*128 MiB.*range.*granul.*filters"):
            await store.read("acme", (busy.plan(),))
        sent = client.info("stats")["total_net_output_bytes"] - before
    assert not watched.sizes
    assert sent < 200_000, "names, versions of chunks, and lengths of pages"


@pytest.mark.servers
async def test_too_many_sketches_are_refused_before_a_page_is_read(
    redis_url: str, store: Store
) -> None:
    """A row of 8 B can make a histogram of 2.7 kB."""
    busy = Busy(100, 24)
    busy.frame().write(redis_url)
    sketch = sketch_of(PAGE_KIND.table, LATENCY)
    with redis.Redis.from_url(redis_url) as client:
        client.mset(
            {
                version.replace(f":v{PAGE_KIND.head}.", f":v{sketch.head}."): data
                for version, data in busy.frame().texts.items()
                if f":v{PAGE_KIND.head}." in version
            }
        )
        for chunk in busy.chunks:
            client.setrange(page_key(1, sketch, MINUTE, chunk, 0, 0), 8 * 6000 - 1, b"\0")
    asked = plan(
        Question(
            (Term(LATENCY),), busy.chunks.start * HOUR_MS, busy.chunks.stop * HOUR_MS, NOW_MS, LLM,
            ("model",), MINUTELY,
        )
    )  # fmt: skip
    watched = watch(store)
    with pytest.raises(UnanswerableQuestion, match="SKETCH_CELLS_MAX"):
        await store.read("acme", (asked,))
    assert not watched.sizes


@pytest.mark.servers
@pytest.mark.parametrize("compactions", [0, 1])
@pytest.mark.parametrize("at", [1, 2, 4])
async def test_a_commit_between_two_pieces_is_noticed(
    redis_url: str, store: Store, at: int, compactions: int
) -> None:
    """It appends to every page: to those that were read, and to those that were not yet."""
    LARGE.counters().write(redis_url)
    later = LARGE.after(extra=1, compactions=compactions)

    def commit(pieces: int) -> None:
        if pieces == at:
            later.counters().write(redis_url)

    watched = watch(store, commit)
    reading = await store.read("acme", (LARGE.plan(),))
    assert reading.rows[0] == expected(later)
    assert reading.meta.commits == later.commits
    if not compactions:
        assert sum(watched.sizes) == later.page_bytes, "each byte once"


@pytest.mark.servers
async def test_later_only_what_was_appended_is_read(redis_url: str, store: Store) -> None:
    LARGE.counters().write(redis_url)
    watched = watch(store)
    assert (await store.read("acme", (LARGE.plan(),))).rows[0] == expected(LARGE)
    later = LARGE.after(extra=2)
    later.counters().write(redis_url)
    watched.sizes.clear()
    assert (await store.read("acme", (LARGE.plan(),))).rows[0] == expected(later)
    assert sum(watched.sizes) == later.page_bytes - LARGE.page_bytes


@pytest.mark.servers
async def test_counters_that_change_under_each_read_are_read_with_the_snapshot(
    redis_url: str, store: Store
) -> None:
    """A worker commits ten times a second, and a busy machine needs longer to read what has changed."""
    LARGE.counters().write(redis_url)
    states = [LARGE]

    class Changing(ReadConnection):
        async def read(self, *commands: Command) -> list[Any]:
            replies = await super().read(*commands)
            if commands[0][0] == "MGET":  # pieces, and snapshots
                states.append(states[-1].after(extra=1))
                states[-1].counters().write(redis_url)
            return replies

    store._bulk = Changing(store._bulk._make)
    reading = await store.read("acme", (LARGE.plan(),))
    (of_reading,) = [one for one in states if one.commits == reading.meta.commits]
    assert reading.rows[0] == expected(of_reading)


@pytest.mark.servers
async def test_more_that_changes_under_each_read_is_a_503(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_answers, "TOGETHER_BYTES_MAX", LARGE.page_bytes // 2)
    LARGE.counters().write(redis_url)
    now = [LARGE]

    def commit(_pieces: int) -> None:
        now[0] = now[0].after(extra=1)
        now[0].counters().write(redis_url)

    watched = watch(store, commit)
    with pytest.raises(LargeAnswersBusy):
        await store.read("acme", (LARGE.plan(),))
    assert len(watched.sizes) < ROUNDS_MAX * 20
    assert store._state is not None, "the caches of others are still good"


async def test_a_tenant_waits_for_itself_and_the_process_has_few_at_once() -> None:
    turns, log, go = large_turns(), list[str](), asyncio.Event()

    async def ask(tenant: str) -> None:
        async with turns.turn(tenant):
            log.append(tenant)
            await go.wait()

    busy = [asyncio.create_task(ask("a")) for _ in range(LARGE_TURNS.of_tenant_max or 0)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(ask(tenant)) for tenant in "bc"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["a", "b"]
    assert len(log) == LARGE_TURNS.at_once
    with pytest.raises(TooManyLargeQuestions):
        await ask("a")
    go.set()
    await asyncio.gather(*busy, *others)
    assert log[2:4] == ["c", "a"] or log[2:4] == ["a", "c"]
    assert turns.of("a") == 0
    assert not turns._queues


async def test_a_few_tenants_do_not_keep_others_out() -> None:
    turns, go = large_turns(), asyncio.Event()
    most = LARGE_TURNS.most or 0

    async def ask(tenant: int) -> None:
        async with turns.turn(str(tenant)):
            await go.wait()

    asked = [asyncio.create_task(ask(tenant)) for tenant in range(5) for _ in range(most)]
    await asyncio.sleep(0)
    assert turns.of("0") == LARGE_TURNS.of_tenant_max
    last = asyncio.create_task(ask(5))
    await asyncio.sleep(0)
    assert not last.done()
    go.set()
    results = await asyncio.gather(*asked, last, return_exceptions=True)
    assert {type(one) for one in results} == {type(None), TooManyLargeQuestions}


@pytest.mark.parametrize(
    "response",
    [
        problems.error_response,
        agentlens_errors.error_response,
        livekit_errors.error_response,
        openwebui_errors.error_response,
    ],
)
def test_every_dialect_says_when_to_try_again(response: Callable[..., Any]) -> None:
    for error, status in (
        (TooManyLargeQuestions(4, 2), 429),
        (TooManyQuestions(4, 2), 429),
        (LargeAnswersBusy("the counters changed"), 503),
    ):
        answer = response(REQUEST, error)
        assert answer.status_code == status
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.servers
async def test_pages_of_small_questions_stay_cached(redis_url: str, store: Store) -> None:
    LARGE.counters().write(redis_url)
    await store.read("acme", (LARGE.plan(),))
    assert store._state is not None
    assert store._state._page_cache._chunks.currsize == 0


async def test_a_large_answer_pauses_while_a_small_question_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "PAUSE_MAX_S", 120.0)
    priority, steps = Priority(), list[int]()

    async def large() -> None:
        for step in range(5):
            steps.append(step)
            await priority.give_way()

    making = asyncio.create_task(large())
    await asyncio.sleep(0)
    with priority.small():
        for _ in range(20 * ROUNDS):
            await asyncio.sleep(0)
        assert steps == [0], "in many rounds"
    await making
    monkeypatch.setattr(slots, "PAUSE_MAX_S", 0.0)
    with priority.small():
        await large()
    assert len(steps) == 10, "small questions do not stop it for ever"


@pytest.mark.servers
async def test_a_small_question_is_answered_between_two_steps(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "PAUSE_MAX_S", 120.0)
    small, large = Busy(320, 1), Busy(320, 8)
    large.counters().write(redis_url)
    has_begun = asyncio.Event()
    watched = watch(store, lambda _pieces: has_begun.set())
    await store.read("acme", (small.plan(),))  # so that the connection and the names are there
    reading = asyncio.create_task(store.read("acme", (large.plan(),)))
    await asyncio.wait(
        [reading, asyncio.create_task(has_begun.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    before = len(watched.sizes)
    assert (await store.read("acme", (small.plan(),))).rows[0]
    assert not reading.done()
    assert len(watched.sizes) <= before + 1
    assert (await reading).rows[0] == expected(large)


@pytest.mark.servers
async def test_what_was_read_of_an_answer_that_took_too_long_is_not_read_again(
    redis_url: str, store: Store
) -> None:
    LARGE.counters().write(redis_url)

    def end(pieces: int) -> None:
        if pieces == 3:
            raise LargeAnswersBusy("it took too long")

    watched = watch(store, end)
    with pytest.raises(LargeAnswersBusy):
        await store.read("acme", (LARGE.plan(),))
    assert (await store.read("acme", (LARGE.plan(),))).rows[0] == expected(LARGE)
    assert sum(watched.sizes) == LARGE.page_bytes + watched.sizes[2]
