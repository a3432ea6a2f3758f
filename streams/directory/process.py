"""The directory's process: a Faust App whose agents read the streams of names, groups and titles.

These are low-rate, keyed streams of idempotent upserts, so at least once is enough: each record is
written to Redis, where the later word wins, and remembered in a table. The tables are what Redis is
filled from at each start, and whenever another Redis answers than before (it may be empty, or an
older copy): they outlive both, in their changelogs. What is deleted stays in them as deleted.

Redis away: an agent waits with its record in hand, and says so. A record that says nothing that can
be written is noted under its topic, partition and offset, logged, and stepped over; `odometer
status` tells. Who sends the key again mends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple, TypeVar, cast

import faust
from faust.types import EventT

from schemas.errors import StoreFull, StoreUnavailable
from streams.directory.records import InvalidEntry, Stream, Upsert, read_entry, topic_of
from streams.directory.settings import DirectorySettings, changelogs
from streams.directory.store import RedisDirectory
from streams.kafka.topics import ensure_directory_topics
from streams.worker.clock import ProcessClock
from streams.worker.faust_process import run_process
from streams.worker.settings import PARTITIONS

T = TypeVar("T")

LOOK_S: Final = 2.0
"""How often it is asked which Redis answers: so long are names away after it was emptied."""
SESSION_S: Final = 6.0
"""A takeover after a kill takes this long; Faust's own minute would keep names back that long."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.05, 1.0

log = logging.getLogger("odometer.directory")


class Remembered(NamedTuple):
    """A row of a table: what was last said, as it came; None where it is deleted."""

    append_ms: int
    value: str | None


class _App(faust.App):
    def _create_directories(self) -> None:
        """None: the tables lie in memory and in their changelogs."""


Table = MutableMapping[str, dict[str, Any]]
"""A table of Faust's: key of a record -> `Remembered` as a dict."""


class Writer:
    """Writes upserts, patiently. `filled`: which history of which Redis was last filled from the
    tables."""

    def __init__(self, store: RedisDirectory) -> None:
        self._store = store
        self.filled = ""

    async def write(self, upsert: Upsert) -> None:
        """InvalidEntry where a limit of the directory leaves no room."""
        refusal = await patiently(lambda: self._store.say(upsert.tenant, upsert.said))
        if refusal:
            raise InvalidEntry(refusal)

    async def note(self, place: str, refusal: str) -> None:
        await patiently(lambda: self._store.note_refusal(place, refusal))

    async def is_another(self) -> str | None:
        """The history of a Redis that was not filled yet, or None."""
        proposed = ProcessClock().commit_id().hex()
        found = await patiently(lambda: self._store.history(proposed))
        return None if found == self.filled else found


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks until Redis answers; an agent that is cancelled meanwhile stops here."""
    backoff_s, said = FIRST_BACKOFF_S, ""
    while True:
        try:
            answer = await ask()
        except (StoreUnavailable, StoreFull) as away:
            if str(away) != said:
                said = str(away)
                log.warning("waiting: %s", said)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
        else:
            if said:
                log.warning("going on: Redis answers again")
            return answer


def build(settings: DirectorySettings, partitions: Mapping[str, int]) -> faust.App:
    """The App with an agent and a table a stream. `partitions`: how many each topic has."""
    app = _App(
        settings.group,
        broker=f"kafka://{settings.kafka}",
        autodiscover=False,
        store="memory://",
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=SESSION_S,
        broker_rebalance_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 3,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    resources = AsyncExitStack()
    store = RedisDirectory(settings.redis)
    writer = Writer(store)
    tables: dict[Stream, Table] = {}
    for stream in Stream:
        name = topic_of(settings.prefix, stream)
        table = app.Table(str(stream), partitions=partitions[name])
        tables[stream] = cast("Table", table)
        topic = app.topic(
            name,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        app.agent(topic, name=f"directory-{stream}")(_reader(app, stream, tables[stream], writer))

    @app.task  # type: ignore[untyped-decorator]
    async def connect() -> None:
        await resources.enter_async_context(store)

    @app.timer(LOOK_S)  # type: ignore[untyped-decorator]
    async def look() -> None:
        await _fill(app, tables, writer)

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(_app: faust.App, _partitions: object, **_more: object) -> None:
        writer.filled = ""  # others may have filled another Redis than this one with them

    return app


def _reader(
    app: faust.App, stream: Stream, table: Table, writer: Writer
) -> Callable[[Any], Awaitable[None]]:
    async def read(records: Any) -> None:  # noqa: ANN401  a stream; Faust asks for no type
        async for event in records.events():
            try:
                await _take(stream, event, table, writer)
            except Exception as error:  # a defect of ours: the process ends, and the record waits
                await app.crash(error)
                raise

    return read


async def _take(stream: Stream, event: EventT[Any], table: Table, writer: Writer) -> None:
    message = event.message
    append_ms = round(message.timestamp * 1000)
    try:
        upsert = read_entry(stream, message.key, message.value, append_ms)
        await writer.write(upsert)
    except InvalidEntry as invalid:
        place = f"{message.topic}:{message.partition}:{message.offset}"
        log.warning("%s is not taken: %s", place, invalid)
        await writer.note(place, str(invalid))
        return
    key, value = (None if part is None else part.decode() for part in (message.key, message.value))
    assert key is not None  # or it would say nothing
    table[key] = Remembered(append_ms, value)._asdict()


async def _fill(app: faust.App, tables: Mapping[Stream, Table], writer: Writer) -> None:
    """Writes all rows of the tables, where another Redis answers than was filled last."""
    if _are_whole(app):
        history = await writer.is_another()
        if history is None:
            return
        count = 0
        for upsert in _rows(tables):
            await writer.write(upsert)
            count += 1
        writer.filled = history
        log.info("wrote %d rows to the Redis that answers now", count)


def _are_whole(app: faust.App) -> bool:
    """Whether the tables hold what their changelogs do."""
    recovery = cast("Any", app.tables).recovery
    return not app.rebalancing and not recovery.in_recovery and recovery.completed.is_set()


def _rows(tables: Mapping[Stream, Table]) -> Iterator[Upsert]:
    for stream, table in tables.items():
        for key, row in list(table.items()):
            value = None if row["value"] is None else row["value"].encode()
            yield read_entry(stream, key.encode(), value, row["append_ms"])


def run_directory(settings: DirectorySettings) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code. Blocking. Makes the topics that are
    missing; LogUnavailable where Kafka does not answer at the start."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    topics = ensure_directory_topics(settings.kafka, changelogs(settings), PARTITIONS)
    partitions = loop.run_until_complete(topics)
    return run_process(build(settings, partitions), loop=loop)
