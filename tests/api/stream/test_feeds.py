"""What the feeds of a process hold: nothing of one that is over, and all of one that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from api.errors import TooManyStreams, UnanswerableQuestion
from api.store.reader import Store
from api.stream import feeds
from api.stream.feeds import Feeds
from schemas.store.generation import generation_digest
from tests.api.counters import NOW_MS, TOPIC, Event, pack
from tests.api.stream.streaming import WAIT_S

BY_MODEL = [b"group_by=model"]
BY_AGENT = [b"group_by=agent"]
LOG = [
    Event(NOW_MS - 1, tenant=tenant, model=f"m{n}", agent=f"a{n}")
    for tenant in ("acme", "beta")
    for n in range(3)
]


@pytest.fixture
async def opened(redis_url: str) -> AsyncIterator[Feeds]:
    pack(LOG).write(redis_url)
    store, names = Store(redis_url, generation_digest(TOPIC)), map(str, count())
    found = Feeds(store, lambda: NOW_MS, lambda: next(names))
    yield found
    await found.close()
    await store.close()


async def test_a_feed_that_is_over_gives_its_rows_back_when_the_next_begins(opened: Feeds) -> None:
    async with opened.feed("acme", BY_MODEL) as first:
        first._end(UnanswerableQuestion("too many rows"))
        async with opened.feed("acme", BY_MODEL) as second:
            assert second is not first
            assert opened._rows == {second: 3}
            _, running = await asyncio.wait(first._tasks, timeout=WAIT_S)
            assert not running


async def test_feeds_go_on_when_another_tenant_takes_what_is_left(
    opened: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "ROWS_MAX", 9)
    async with (
        opened.feed("acme", BY_MODEL) as first,
        opened.feed("acme", BY_AGENT) as second,
        opened.feed("beta", BY_MODEL) as other,
    ):
        for one in (first, second, other):
            for _second in range(2):
                await one.wait(one.version, one.beat)
            assert one.over is None
        with pytest.raises(TooManyStreams):
            async with opened.feed("beta", BY_AGENT):
                pass
