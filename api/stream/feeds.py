"""The feeds of this process, and how many streams, feeds and cells there may be. No I/O of its own.

A tenant may have as many of each as are left for others (`api.http.tenant_shares`), and its feeds take turns to be read.
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
from api.http.tenant_shares import TenantShares
from api.http.tenant_turns import TenantTurns, TurnLimits
from api.query.series_index import Filter
from api.store.reader import Store
from api.stream.changes import Size
from api.stream.feed import Feed, PushedQuestion
from api.usage.groups.people import PeopleCache

STREAMS_MAX: Final = 2000
"""Streams of a process. A stream takes 40 kB, and each change of its rows 0.1 ms."""
STREAMS_OF_KEY_MAX: Final = 100
"""Streams of one key: a wall of screens, each with a tab or two."""
FEEDS_MAX: Final = 500
"""Feeds of a process, so different sets of questions that it reads four times a second."""
ROWS_OF_FEED_MAX: Final = 10_000
"""Rows of one feed, with those of the ranges that its questions are compared with. Use `limit`, longer
buckets or a shorter range."""
CELLS_OF_FEED_MAX: Final = 200_000
"""Cells (rows x columns) of one feed: 10,000 rows of 20 columns."""
CELLS_MAX: Final = 2_000_000
"""Cells of all feeds, some 50 B each: 100 MB."""
READS: Final = TurnLimits(at_once=8, of_tenant=2)
"""Feeds that are read at once. A tenant with many feeds waits for itself: each read takes the event loop up
to 16 times (QUESTIONS_MAX) as long as one question."""
FIRST_READ_S: Final = 3.0
"""How long a new feed waits for its turn."""
LINGER_S: Final = 10.0
"""A feed without streams goes on for so long. A stream that reconnects resumes where it was."""
RETRY_AFTER_S: Final = 5

Key = tuple[str, tuple[PushedQuestion, ...], tuple[Filter, ...]]
"""Whose turn it is to read, the questions, and the filters that the API key is bound to."""


class Feeds:
    """`draw` makes a name that no other feed has."""

    def __init__(
        self, store: Store, people: PeopleCache, clock: Callable[[], int], draw: Callable[[], str]
    ) -> None:
        self._store = store
        self._people = people
        self._clock = clock
        self._draw = draw
        self._feeds: dict[Key, Feed] = {}
        self._feed_shares = TenantShares()
        self._cells: dict[Feed, int] = {}
        self._cell_shares = TenantShares()
        self._streams: Counter[str] = Counter()
        self._stream_shares = TenantShares()
        self._turns = TenantTurns(READS, _late)
        self._begins: Singleflight[Feed] = Singleflight()

    @property
    def reads(self) -> int:
        """How many feeds are read."""
        return len(self._feeds)

    @property
    def open_streams(self) -> int:
        return self._stream_shares.total

    @contextmanager
    def place(self, key_id: str, turn: str) -> Iterator[None]:
        """One stream of a key, in the share of a tenant. Raises TooManyStreams."""
        if self._streams[key_id] >= STREAMS_OF_KEY_MAX:
            raise TooManyStreams(
                f"the key has {STREAMS_OF_KEY_MAX} streams, the limit (STREAMS_OF_KEY_MAX): close"
                " some, or carry several questions in one",
                RETRY_AFTER_S,
            )
        if not self._stream_shares.has_room(turn, STREAMS_MAX):
            raise TooManyStreams(
                f"this tenant has {self._stream_shares.of(turn)} streams and the process"
                f" {self.open_streams}, of {STREAMS_MAX} (STREAMS_MAX): a tenant may have as many as are"
                " left for others",
                RETRY_AFTER_S,
            )
        self._streams[key_id] += 1
        self._stream_shares.add(turn)
        try:
            yield
        finally:
            self._stream_shares.add(turn, -1)
            self._streams[key_id] -= 1
            if not self._streams[key_id]:
                del self._streams[key_id]

    @asynccontextmanager
    async def feed(
        self, turn: str, questions: Sequence[PushedQuestion], only: tuple[Filter, ...] = ()
    ) -> AsyncIterator[Feed]:
        """The feed of these questions, within the filters `only`, read at least once. `turn`: the tenant whose turn
        it is to read. Raises TooManyStreams, what the questions raise, and StoreError."""
        key = turn, tuple(questions), only
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
        turn, questions, only = key
        if not self._feed_shares.has_room(turn, FEEDS_MAX):
            raise TooManyStreams(
                f"the streams of this tenant have {self._feed_shares.of(turn)} different sets of questions"
                f" and those of the process {self._feed_shares.total}, of {FEEDS_MAX} (FEEDS_MAX): a tenant"
                " may have as many as are left for others",
                RETRY_AFTER_S,
            )
        draw = self._draw()
        feed = Feed(turn, questions, draw, self._clock, self._store, self._people, only)
        self._feed_shares.add(turn)
        try:
            until_s = asyncio.get_running_loop().time() + FIRST_READ_S
            await feed.begin(self._turns, until_s, partial(self._count, feed))
        except BaseException:
            self._release(feed)
            raise
        self._feeds[key] = feed  # not before: other streams may use it now
        asyncio.get_running_loop().call_later(LINGER_S, self._leave, key, feed, feed.left)
        return feed

    def _count(self, feed: Feed, size: Size) -> None:
        for count, most, what in (
            (size.rows, ROWS_OF_FEED_MAX, "rows, more than the limit of {} (ROWS_OF_FEED_MAX)"),
            (size.cells, CELLS_OF_FEED_MAX, "cells, more than the limit of {} (CELLS_OF_FEED_MAX)"),
        ):
            if count > most:
                raise UnanswerableQuestion(
                    f"The stream has {count} {what.format(most)}. Use `limit`, fewer dimensions or"
                    " measures, longer buckets or a shorter range."
                )
        before = self._cells.pop(feed, 0)
        self._cell_shares.add(feed.turn, -before)
        # What runs goes on when other tenants begin.
        fits = size.cells <= before or self._cell_shares.has_room(feed.turn, CELLS_MAX, size.cells)
        self._cells[feed] = size.cells if fits else before
        self._cell_shares.add(feed.turn, self._cells[feed])
        if not fits:
            raise TooManyStreams(
                f"the streams of this process would have {self._cell_shares.total - before + size.cells}"
                f" cells (rows x columns); all may have {CELLS_MAX}, and a tenant as many as are left for"
                " others (CELLS_MAX): use `limit`, or close other streams",
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
            feed.cancel()
            self._release(feed)

    def _release(self, feed: Feed) -> None:
        self._feed_shares.add(feed.turn, -1)
        self._cell_shares.add(feed.turn, -self._cells.pop(feed, 0))


def _late(own: int) -> Exception:
    return TooManyStreams(
        f"streams are read in turns, {READS.of_tenant} at once for a tenant; {own} others of this tenant"
        f" were before it, and its turn did not come within {FIRST_READ_S:g} s",
        RETRY_AFTER_S,
    )
