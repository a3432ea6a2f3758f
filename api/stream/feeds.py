"""The feeds of this process, and how many streams, feeds and rows there may be. No I/O of its own.

A tenant may have as many feeds and rows as are left: one tenant has half, two have a third each, and the
next one finds as much.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

from api.errors import TooManyStreams, UnanswerableQuestion
from api.http.singleflight import Singleflight
from api.store.reader import Store
from api.stream.feed import Feed

STREAMS_MAX: Final = 2000
"""Streams of a process. A stream takes 40 kB, and each change of its rows 0.1 ms."""
STREAMS_OF_KEY_MAX: Final = 100
"""Streams of one key: a wall of screens, each with a tab or two."""
FEEDS_MAX: Final = 500
"""Feeds of a process, so different sets of questions that it reads four times a second."""
ROWS_MAX: Final = 200_000
"""Rows of all feeds: 130 MB."""
ROWS_OF_FEED_MAX: Final = 10_000
"""Rows of one feed. Use `limit`, longer buckets or a shorter range."""
LINGER_S: Final = 10.0
"""A feed without streams goes on for so long. A stream that reconnects resumes where it was."""
RETRY_AFTER_S: Final = 5

Key = tuple[str, tuple[bytes, ...]]


class Feeds:
    """`draw` makes a name that no other feed has."""

    def __init__(self, store: Store, clock: Callable[[], int], draw: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._draw = draw
        self._feeds: dict[Key, Feed] = {}
        self._rows: dict[Feed, int] = {}
        self._streams: Counter[str] = Counter()
        self._beginning: set[Feed] = set()
        self._begins: Singleflight[Feed] = Singleflight()

    @property
    def reads(self) -> int:
        """How many feeds are read."""
        return len(self._feeds)

    @property
    def open_streams(self) -> int:
        return self._streams.total()

    @contextmanager
    def place(self, key_id: str) -> Iterator[None]:
        """One stream of a key. Raises TooManyStreams."""
        total = self._streams.total()
        if self._streams[key_id] >= STREAMS_OF_KEY_MAX:
            raise TooManyStreams(
                f"the key has {STREAMS_OF_KEY_MAX} streams, the limit (STREAMS_OF_KEY_MAX): close"
                " some, or carry several questions in one",
                RETRY_AFTER_S,
            )
        if total >= STREAMS_MAX:
            raise TooManyStreams(
                f"the process has {STREAMS_MAX} streams, the limit (STREAMS_MAX)", RETRY_AFTER_S
            )
        self._streams[key_id] += 1
        try:
            yield
        finally:
            self._streams[key_id] -= 1
            if not self._streams[key_id]:
                del self._streams[key_id]

    @asynccontextmanager
    async def feed(self, tenant: str, questions: Sequence[bytes]) -> AsyncIterator[Feed]:
        """The feed of these questions, read at least once. Raises TooManyStreams, what the questions
        raise, and StoreError."""
        key = tenant, tuple(questions)
        feed = self._feeds.get(key)
        if feed is not None and feed.over is not None:
            self._drop(key, feed)
            feed = None
        if feed is None:
            feed = await self._begins.once(key, partial(self._begin, key))
        feed.streams += 1
        try:
            yield feed
        finally:
            feed.streams -= 1
            feed.left += 1
            asyncio.get_running_loop().call_later(LINGER_S, self._leave, key, feed, feed.left)

    async def close(self) -> None:
        for key, feed in [*self._feeds.items()]:
            self._forget(key, feed)
            await feed.stop()

    async def _begin(self, key: Key) -> Feed:
        tenant, questions = key
        feeds = [*self._feeds.values(), *self._beginning]
        own = sum(one.tenant == tenant for one in feeds)
        if own >= FEEDS_MAX - len(feeds):
            why = (
                f"streams of this tenant have {own} different sets of questions, its share of the"
                f" {FEEDS_MAX} of a process (FEEDS_MAX)"
                if own
                else f"streams have {FEEDS_MAX} different sets of questions, the limit (FEEDS_MAX)"
            )
            raise TooManyStreams(why, RETRY_AFTER_S)
        feed = Feed(tenant, questions, self._draw(), self._clock)
        self._beginning.add(feed)
        try:
            await feed.begin(self._store, partial(self._count, feed))
        except BaseException:
            self._rows.pop(feed, None)
            raise
        finally:
            self._beginning.discard(feed)
        self._feeds[key] = feed  # not before: other streams may use it now
        asyncio.get_running_loop().call_later(LINGER_S, self._leave, key, feed, feed.left)
        return feed

    def _count(self, feed: Feed, rows: int) -> None:
        if rows > ROWS_OF_FEED_MAX:
            raise UnanswerableQuestion(
                f"The stream has {rows} rows, more than the limit of {ROWS_OF_FEED_MAX}"
                " (ROWS_OF_FEED_MAX). Use `limit`, fewer dimensions, longer buckets or a shorter range."
            )
        if rows > self._rows.get(feed, 0):  # what runs goes on when other tenants begin
            self._check_share(feed, rows)
        self._rows[feed] = rows

    def _check_share(self, feed: Feed, rows: int) -> None:
        others = {one: count for one, count in self._rows.items() if one is not feed}
        total = sum(others.values())
        own = sum(count for one, count in others.items() if one.tenant == feed.tenant)
        if total and own + rows > ROWS_MAX - total:
            raise TooManyStreams(
                f"the streams of this process would have {total + rows} rows; all may have {ROWS_MAX},"
                " and a tenant as many as are left (ROWS_MAX): use `limit`, or close other streams",
                RETRY_AFTER_S,
            )

    def _leave(self, key: Key, feed: Feed, left: int) -> None:
        if not feed.streams and feed.left == left and self._feeds.get(key) is feed:
            self._drop(key, feed)

    def _drop(self, key: Key, feed: Feed) -> None:
        self._forget(key, feed)
        asyncio.ensure_future(feed.stop())  # noqa: RUF006  it ends at once

    def _forget(self, key: Key, feed: Feed) -> None:
        if self._feeds.get(key) is feed:
            del self._feeds[key]
        self._rows.pop(feed, None)
