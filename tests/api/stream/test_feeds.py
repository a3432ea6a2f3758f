"""What the feeds of a process hold: nothing of one that is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from api.errors import UnanswerableQuestion
from api.store.reader import Store
from api.stream.feeds import Feeds
from schemas.store.generation import generation_digest
from tests.api.counters import NOW_MS, TOPIC, Event, pack
from tests.api.stream.streaming import WAIT_S

BY_MODEL = [b"group_by=model"]
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
