"""What the feeds of a process hold: nothing of one that is over, and all of one that runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count
from types import ModuleType
from typing import Any

import pytest

from api.app.main import build
from api.errors import TooManyStreams, UnanswerableQuestion
from api.http.arrivals import A_ROUND
from api.store.reader import Store
from api.stream import endpoints, feeds
from api.stream import feed as feed_module
from api.stream.feed import PushedQuestion
from api.stream.feeds import READS, Feeds
from api.usage import several
from api.usage.groups.people import PeopleCache
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS, TOPIC, Event, pack
from tests.api.stream.streaming import WAIT_S, streaming

BY_MODEL = b"group_by=model"
BY_AGENT = b"group_by=agent"
LOG = [
    Event(NOW_MS - 1, tenant=tenant, model=f"m{n}", agent=f"a{n}")
    for tenant in ("acme", "beta")
    for n in range(3)
]


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Feeds]:
    pack(LOG).write(redis_url)
    store, names = Store(redis_url, TOPIC), map(str, count())
    found = Feeds(store, PeopleCache(store), lambda: NOW_MS, lambda: next(names))
    yield found
    await found.close()
    await store.close()


def of(tenant: str, text: bytes) -> tuple[PushedQuestion, ...]:
    return (PushedQuestion(text, (tenant,)),)


async def test_a_feed_that_is_over_gives_its_rows_back_when_the_next_begins(opened: Feeds) -> None:
    async with opened.feed("acme", of("acme", BY_MODEL)) as first:
        first._end(UnanswerableQuestion("too many rows"))
        async with opened.feed("acme", of("acme", BY_MODEL)) as second:
            assert second is not first
            assert opened._cells == {second: 3 * 6}
            _, running = await asyncio.wait(first._tasks, timeout=WAIT_S)
            assert not running


async def test_feeds_go_on_when_another_tenant_takes_what_is_left(
    opened: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "CELLS_MAX", 9 * 6)
    async with (
        opened.feed("acme", of("acme", BY_MODEL)) as first,
        opened.feed("acme", of("acme", BY_AGENT)) as second,
        opened.feed("beta", of("beta", BY_MODEL)) as other,
    ):
        for one in (first, second, other):
            for _second in range(2):
                await one.wait(one.version, one.beat)
            assert one.over is None
        with pytest.raises(TooManyStreams):
            async with opened.feed("beta", of("beta", BY_AGENT)):
                pass


async def test_a_feed_that_is_dropped_while_it_reads_holds_nothing(opened: Feeds) -> None:
    async with opened.feed("acme", of("acme", BY_MODEL)) as feed:
        pass
    opened._drop(("acme", of("acme", BY_MODEL), ()), feed)
    await asyncio.gather(*feed._tasks, return_exceptions=True)
    assert (opened._cells, opened._cell_shares.total, opened._feed_shares.total) == ({}, 0, 0)


async def test_others_are_answered_between_the_questions_of_streams(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, clock: Clock, key: str
) -> None:
    """A tenant opens many streams of many questions. In one round of the event loop few of them are parsed,
    of requests and of feeds, and few are summed."""
    pack(LOG).write(redis_url)
    app = build(redis_url, clock=clock)
    loop, rounds, done = asyncio.get_running_loop(), Counter[tuple[str, int]](), asyncio.Event()
    now = 0

    def next_round() -> None:
        nonlocal now
        now += 1
        if not done.is_set():
            loop.call_soon(next_round)

    def counted(module: ModuleType, name: str, what: str) -> None:
        run: Callable[..., Any] = getattr(module, name)

        def noted(*args: Any, **options: Any) -> Any:
            rounds[what, now] += 1
            return run(*args, **options)

        monkeypatch.setattr(module, name, noted)

    counted(endpoints, "parse_question", "parsed by requests")
    counted(feed_module, "parse_question", "parsed by feeds")
    counted(several, "sections_of", "made by feeds")
    questions = [
        {"question": [f"user=u{n}-{m}&measures=requests" for m in range(16)]} for n in range(6)
    ]
    async with app.router.lifespan_context(app), AsyncExitStack() as stack:
        loop.call_soon(next_round)
        streams = [streaming(app, one, {"x-api-key": key}) for one in questions]
        for stream in await asyncio.gather(*map(stack.enter_async_context, streams)):
            assert stream.status == 200
        done.set()
    assert sum(rounds.values()) >= 3 * 6 * 16
    assert max(rounds[one] for one in rounds if one[0] == "parsed by requests") <= A_ROUND
    assert max(rounds[one] for one in rounds if one[0] != "parsed by requests") <= READS.of_tenant
