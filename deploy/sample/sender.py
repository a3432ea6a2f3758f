"""The sample producer: a month of history once, then live traffic, until it is stopped.

If the broker is unreachable, it sends unacknowledged events again over a new connection. An event
keeps its id, so an event that arrived before counts once.

History is sent if the topic is empty. History that was interrupted resumes at its bookmark, a small
file, because a topic that is not empty does not show whose events it holds.
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
"""A month is 150,000 events. They take seconds to send, and are enough for every chart."""
BATCH_EVENTS_MAX: Final = 2000
"""1 MB at 490 B per event: 20 ms to generate, then one acknowledgement."""
LIVE_TICK_MS: Final = 100
"""Pause between two batches of live events: a display that refreshes each second shows progress."""
LIVE_BEHIND_MS_MAX: Final = 10 * MINUTE_MS
"""After a longer outage, or after the machine slept, the missed events are skipped."""
RETRY_MS_MIN: Final = 250
RETRY_MS_MAX: Final = 5 * SECOND_MS
"""A broker starts in seconds: a longer pause would only be a longer gap in live traffic."""


class SampleProducer(Protocol):
    """`send` returns when the broker has acknowledged all records. Both raise LogUnavailable."""

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
    """Send history if it is due, then about `rate_per_s` live events until `stop` is set.

    With a rate of 0, return after the history. `progress(sent, total)` reports history; both are
    equal in its last call. `bookmark_path` belongs to one Kafka. Without it, history that was
    interrupted stays incomplete.
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
    """Write the teams of the sample's users to the directory's topic, if it is empty."""
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
    """Return where to start, or None if no history is to be sent."""
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
    """Send the rest of the history. The bookmark moves after each acknowledged batch.

    If the process is killed in between, the next start sends one batch again, with the same ids.
    """
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
    """Return the bookmark, or None if there is none or if a crash damaged it."""
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
    """Send each event at its time. This ends only by _Stopped."""
    events = live(seed, from_ms, rate_per_s)
    # Generating the past of the ongoing sessions takes up to seconds.
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


# -- the connection to the broker ------------------------------------------------------------------


class _Stopped(Exception):
    """`stop` was set."""


class _Connection:
    """A producer that is replaced when it fails. Every wait ends with _Stopped if `stop` is set.

    A failed producer is closed before the next one is created. So its unsent records are dropped and
    do not accumulate while the broker is unreachable.
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
        """Return when every event is acknowledged, however long the broker is unreachable."""
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
        """Await `work`, but end if `stop` is set: the broker may never answer."""
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
