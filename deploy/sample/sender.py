"""The sample producer: a month of history once, then live traffic, until it is told to stop.

It outlives the broker: what was not acknowledged is sent again over a new connection. An event
keeps its id, so one that had arrived after all counts once.

When is history due? When the topic is empty. A history that was cut off half-way goes on where its
bookmark stands, a small file beside the servers' data, because a topic that is not empty does not
say whose events it holds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

import msgspec

from deploy.sample.cast import cast
from deploy.sample.session import Event
from deploy.sample.traffic import history, live
from schemas.errors import LogUnavailable
from schemas.event.kinds import DEFAULT_TENANT
from schemas.event.partition_key import partition_key
from schemas.limits import DAY_MS, MINUTE_MS, SECOND_MS
from streams.directory.records import Stream, topic_of
from streams.directory.settings import DirectorySettings, changelogs
from streams.kafka.producer import open_producer
from streams.kafka.topics import ensure_directory_topics
from streams.worker.settings import PARTITIONS

T = TypeVar("T")

HISTORY_EVENTS_A_DAY: Final = 5000
"""A month is 150,000 events: seconds to produce, and enough for every chart to have a shape."""
BATCH_EVENTS_MAX: Final = 2000
"""1 MB at 490 B an event: 20 ms of making it up, then one acknowledgement."""
LIVE_TICK_MS: Final = 100
"""How often live events are sent: a display that is refreshed each second sees them flow."""
LIVE_BEHIND_MS_MAX: Final = 10 * MINUTE_MS
"""After a longer outage, or on a machine that slept, what was missed is skipped."""
RETRY_MS_MIN: Final = 250
RETRY_MS_MAX: Final = 5 * SECOND_MS
"""A broker takes seconds to start: more patience would only be a longer gap in live traffic."""


class SampleProducer(Protocol):
    """`send` returns when the broker has acknowledged all; both raise LogUnavailable."""

    async def send(self, topic: str, records: Sequence[tuple[bytes, bytes]], /) -> object: ...

    async def end_offsets(self, topic: str, /) -> Mapping[int, int]: ...


Connect = Callable[[str], AbstractAsyncContextManager[SampleProducer]]


class Bookmark(msgspec.Struct, frozen=True):
    """The first `sent` events of the history of [start_ms, end_ms) are acknowledged."""

    topic: str
    seed: int
    start_ms: int
    end_ms: int
    sent: int
    complete: bool


async def run(
    kafka: str,
    topic: str,
    *,
    seed: int,
    rate_per_s: float,
    history_days: int,
    progress: Callable[[int, int], None] | None,
    stop: asyncio.Event,
    now_ms: Callable[[], int],
    bookmark_path: Path | None = None,
    connect: Connect = open_producer,
) -> None:
    """Sends history where it is due, then about `rate_per_s` live events until `stop` is set.

    A rate of 0 is history only, and returns after it. `progress(sent, total)` is about history;
    its last call has both equal. `bookmark_path` belongs to one Kafka; without it a history that
    was cut off is left as it is.
    """
    with suppress(_Stopped):
        async with _Connection(kafka, topic, stop, connect) as connection:
            due = await _history_due(connection, seed, history_days, now_ms, bookmark_path)
            if due is not None:
                await _send_history(connection, due, progress, bookmark_path)
            if rate_per_s > 0:
                live_from_ms = now_ms() if due is None else due.end_ms
                await _send_live(connection, seed, rate_per_s, live_from_ms, now_ms)


async def name_groups(
    directory: DirectorySettings,
    seed: int,
    stop: asyncio.Event,
    connect: Connect = open_producer,
) -> None:
    """Says on the directory's stream, where that is empty, which teams the sample's users are in."""
    topic = topic_of(directory.prefix, Stream.GROUPS)
    made = ensure_directory_topics
    with suppress(_Stopped):
        async with _Connection(directory.kafka, topic, stop, connect) as connection:
            await connection.ask(lambda _: made(directory.kafka, changelogs(directory), PARTITIONS))
            ends = await connection.ask(lambda producer: producer.end_offsets(topic))
            if not any(ends.values()):
                await connection.ask(lambda producer: producer.send(topic, _group_records(seed)))


def _group_records(seed: int) -> list[tuple[bytes, bytes]]:
    members: dict[str, list[str]] = {}
    for user in cast(seed).users:
        members.setdefault(user.team, []).append(user.id)
    return [
        (
            f"{DEFAULT_TENANT}|{team}".encode(),
            msgspec.json.encode({"name": team.capitalize(), "members": keys}),
        )
        for team, keys in sorted(members.items())
    ]


# -- history ---------------------------------------------------------------------------------------


async def _history_due(
    connection: _Connection,
    seed: int,
    history_days: int,
    now_ms: Callable[[], int],
    path: Path | None,
) -> Bookmark | None:
    """Where to begin, or None where no history is to be sent (any more)."""
    end_offsets = await connection.ask(lambda producer: producer.end_offsets(connection.topic))
    if any(end_offsets.values()):
        bookmark = _read(path)
        if bookmark is None or bookmark.complete or bookmark.topic != connection.topic:
            return None
        return bookmark
    if history_days == 0:
        return None
    end_ms = now_ms()
    return Bookmark(
        connection.topic, seed, end_ms - history_days * DAY_MS, end_ms, 0, complete=False
    )


async def _send_history(
    connection: _Connection,
    bookmark: Bookmark,
    progress: Callable[[int, int], None] | None,
    path: Path | None,
) -> None:
    """The bookmark moves after each acknowledged batch: killed in between, one batch is sent again
    on the next start, with the same ids."""
    about = (bookmark.end_ms - bookmark.start_ms) * HISTORY_EVENTS_A_DAY // DAY_MS
    events = history(bookmark.seed, bookmark.start_ms, bookmark.end_ms, HISTORY_EVENTS_A_DAY)
    deque(islice(events, bookmark.sent), maxlen=0)
    while not bookmark.complete:
        _write(path, bookmark)
        batch = list(islice(events, BATCH_EVENTS_MAX))
        if batch:
            await connection.send(batch)
        sent = bookmark.sent + len(batch)
        complete = len(batch) < BATCH_EVENTS_MAX
        bookmark = msgspec.structs.replace(bookmark, sent=sent, complete=complete)
        if progress is not None:
            progress(sent, sent if complete else max(about, sent + 1))
    _write(path, bookmark)


def _read(path: Path | None) -> Bookmark | None:
    """None also where the machine went down while it was written: then no history is sent twice."""
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bookmark)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path | None, bookmark: Bookmark) -> None:
    if path is not None:
        beside = path.with_name(path.name + ".new")
        beside.write_bytes(msgspec.json.encode(bookmark))
        beside.replace(path)


# -- live ------------------------------------------------------------------------------------------


async def _send_live(
    connection: _Connection, seed: int, rate_per_s: float, from_ms: int, now_ms: Callable[[], int]
) -> None:
    """Each event when its time has come; returns by _Stopped only."""
    events = live(seed, from_ms, rate_per_s)
    # what the ongoing sessions have done already takes up to seconds to make up
    at_ms, event = await asyncio.to_thread(next, events)
    while True:
        now = now_ms()
        if at_ms < now - LIVE_BEHIND_MS_MAX:
            events = live(seed, now, rate_per_s)
            at_ms, event = await asyncio.to_thread(next, events)
        batch: list[Event] = []
        while at_ms <= now and len(batch) < BATCH_EVENTS_MAX:
            batch.append(event)
            at_ms, event = next(events)
        if batch:
            await connection.send(batch)
        if len(batch) < BATCH_EVENTS_MAX:
            await connection.wait(LIVE_TICK_MS)


# -- the way to the broker -------------------------------------------------------------------------


class _Stopped(Exception):
    """`stop` was set."""


class _Connection:
    """A producer that is made anew when it fails; whatever waits ends with _Stopped.

    A failed producer is closed before the next one is made, so what it still held is dropped
    instead of piling up behind a broker that is away.
    """

    def __init__(self, kafka: str, topic: str, stop: asyncio.Event, connect: Connect) -> None:
        self.topic = topic
        self._kafka = kafka
        self._stop = stop
        self._connect = connect
        self._producer: SampleProducer | None = None
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when every event is acknowledged, however long the broker is away."""
        records = [(_key(event), msgspec.json.encode(event)) for event in batch]
        await self.ask(lambda producer: producer.send(self.topic, records))

    async def ask(self, request: Callable[[SampleProducer], Awaitable[T]]) -> T:
        retry_ms = RETRY_MS_MIN
        while True:
            try:
                return await self._or_stop(self._try(request))
            except LogUnavailable:
                await self._close()
                await self.wait(retry_ms)
                retry_ms = min(2 * retry_ms, RETRY_MS_MAX)

    async def wait(self, ms: int) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), ms / SECOND_MS)
        if self._stop.is_set():
            raise _Stopped

    async def _try(self, request: Callable[[SampleProducer], Awaitable[T]]) -> T:
        if self._producer is None:
            self._producer = await self._exits.enter_async_context(self._connect(self._kafka))
        return await request(self._producer)

    async def _or_stop(self, work: Awaitable[T]) -> T:
        """A request to a broker that is away must not keep the process from ending."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _Stopped
            return task.result()
        finally:
            for one in (task, stopped):
                one.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def _close(self) -> None:
        self._producer = None
        with suppress(LogUnavailable):
            await self._exits.aclose()


def _key(event: Event) -> bytes:
    tenant = event.get("tenant") or DEFAULT_TENANT
    return partition_key(tenant, event["source"], event["id"], event.get("call_id"))
