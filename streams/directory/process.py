"""The process of the directory: a Faust App whose agents read the topics of users, groups and
chats.

These topics have few records, and a record may be written twice without harm. So at least once is
enough. Each record is written to Redis, where the later update wins, and into a table. At each
start the process writes all tables to Redis. It does this again when another Redis answers than
before: that one may be empty, or an older copy. The tables survive both, in their changelogs. A
deleted user, group or chat stays in its table as deleted.

While Redis does not answer, an agent keeps its record, logs the reason and retries. A record that
cannot be written is rejected: the reason is stored under its topic, partition and offset, logged,
and shown by `odometer status`. Sending a valid record with the same key fixes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple, TypeVar, cast

import faust
from faust.types import EventT

from schemas.errors import StoreFull, StoreUnavailable
from schemas.terminal import escaped
from streams.directory.metrics import DirectoryMetrics
from streams.directory.records import InvalidRecord, Stream, Upsert, read_record, topic_of
from streams.directory.settings import DirectorySettings, changelogs
from streams.directory.store import RedisDirectory
from streams.kafka.topics import ensure_directory_topics
from streams.worker.clock import ProcessClock
from streams.worker.faust_process import Monitor, run_process
from streams.worker.settings import PARTITIONS

T = TypeVar("T")

CHECK_S: Final = 2.0
"""How often the process checks which Redis answers. After Redis was emptied, names are missing for
this long."""
SESSION_S: Final = 6.0
"""A takeover after a kill takes this long. Faust's default of a minute would delay names that
long."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.05, 1.0

log = logging.getLogger("odometer.directory")


class TableRow(NamedTuple):
    """A row of a table: the value of the last record of a key; None if it is deleted."""

    append_ms: int
    value: str | None


class _DirectoryApp(faust.App):
    def _create_directories(self) -> None:
        """Creates none: the tables are in memory and in their changelogs."""


Table = MutableMapping[str, dict[str, Any]]
"""A table of Faust: key of a record -> `TableRow` as a dict."""


class Writer:
    """Writes updates, and retries until Redis answers. `filled`: the history of the Redis that was
    last filled from the tables (`RedisDirectory.history`)."""

    def __init__(self, store: RedisDirectory, metrics: DirectoryMetrics) -> None:
        self._store = store
        self.metrics = metrics
        self.filled = ""

    async def write(self, upsert: Upsert) -> None:
        """Raises InvalidRecord if a limit of the directory is reached."""
        refusal = await retrying(
            lambda: self._store.write(upsert.tenant, upsert.update), self.metrics
        )
        if refusal:
            raise InvalidRecord(refusal)

    async def note(self, place: str, refusal: str) -> None:
        await retrying(lambda: self._store.note_refusal(place, refusal), self.metrics)

    async def unfilled(self) -> str | None:
        """The history of a Redis that is not filled yet, or None."""
        proposed = ProcessClock().commit_id().hex()
        found = await retrying(lambda: self._store.history(proposed), self.metrics)
        return None if found == self.filled else found


async def retrying(ask: Callable[[], Awaitable[T]], metrics: DirectoryMetrics) -> T:
    """Retries until Redis answers. An agent that is cancelled meanwhile stops here."""
    backoff_s, said = FIRST_BACKOFF_S, ""
    while True:
        try:
            answer = await ask()
        except (StoreUnavailable, StoreFull) as away:
            if str(away) != said:
                said = metrics.store_away = str(away)
                log.warning("waiting: %s", said)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
        else:
            if said:
                metrics.store_away = ""
                log.warning("continuing: Redis answers again")
            return answer


def build(
    settings: DirectorySettings,
    partitions: Mapping[str, int],
    metrics: DirectoryMetrics | None = None,
) -> faust.App:
    """The App, with an agent and a table for each topic. `partitions`: how many each topic has."""
    metrics = metrics or DirectoryMetrics()
    app = _DirectoryApp(
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
    writer = Writer(store, metrics)
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

    @app.timer(CHECK_S)  # type: ignore[untyped-decorator]
    async def check() -> None:
        await _fill(app, settings.prefix, tables, writer)

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(_app: faust.App, _partitions: object, **_more: object) -> None:
        writer.filled = ""  # another process may have filled another Redis with these partitions

    @app.on_rebalance_complete.connect(weak=False)
    async def recovered(_app: faust.App, **_more: object) -> None:
        """Stops reading until Faust has sought the committed offsets. Faust empties the queues of the
        agents after that. A record that is read before then would be lost."""
        app.consumer.stop_flow()

    return app


def _reader(
    app: faust.App, stream: Stream, table: Table, writer: Writer
) -> Callable[[Any], Awaitable[None]]:
    async def read(records: Any) -> None:  # noqa: ANN401  a stream; Faust needs no type
        async for event in records.events():
            try:
                await _take(stream, event, table, writer)
            except (
                Exception
            ) as error:  # a bug of ours: the process ends, and the record is read again
                await app.crash(error)
                raise

    return read


async def _take(stream: Stream, event: EventT[Any], table: Table, writer: Writer) -> None:
    message = event.message
    append_ms = round(message.timestamp * 1000)
    try:
        upsert = read_record(stream, message.key, message.value, append_ms)
        await writer.write(upsert)
    except InvalidRecord as invalid:
        place = f"{message.topic}:{message.partition}:{message.offset}"
        log.warning("rejected the record %s: %s", place, escaped(str(invalid)))
        await writer.note(place, str(invalid))
        writer.metrics.note(stream, "rejected")
        return
    writer.metrics.note(stream, "written")
    key, value = (None if part is None else part.decode() for part in (message.key, message.value))
    assert key is not None  # or the record would be invalid
    table[key] = TableRow(append_ms, value)._asdict()


async def _fill(
    app: faust.App, prefix: str, tables: Mapping[Stream, Table], writer: Writer
) -> None:
    """Writes all rows of the tables if another Redis answers than the one that was filled last."""
    writer.metrics.is_recovering = not _are_whole(app)
    if not writer.metrics.is_recovering:
        history = await writer.unfilled()
        if history is None:
            return
        count = await write_rows(prefix, tables, writer)
        writer.filled, writer.metrics.is_filled = history, True
        log.info("wrote %d rows to a Redis that did not have them", count)


async def write_rows(prefix: str, tables: Mapping[Stream, Table], writer: Writer) -> int:
    """Writes all rows of the tables, and returns how many were written. A row that does not fit into
    the tenant's directory is rejected like a record; its place is TOPIC:KEY. Others may have filled
    the directory since the row was first written."""
    count = 0
    for stream, table in tables.items():
        for key, row in list(table.items()):
            try:
                await writer.write(_upsert(stream, key, row))
                count += 1
            except InvalidRecord as invalid:
                place = f"{topic_of(prefix, stream)}:{key}"
                log.warning("rejected the row %s: %s", escaped(place), escaped(str(invalid)))
                await writer.note(place, str(invalid))
    return count


def _are_whole(app: faust.App) -> bool:
    """Whether the tables have read all of their changelogs."""
    recovery = cast("Any", app.tables).recovery
    return not app.rebalancing and not recovery.in_recovery and recovery.completed.is_set()


def _upsert(stream: Stream, key: str, row: Mapping[str, Any]) -> Upsert:
    value = None if row["value"] is None else row["value"].encode()
    return read_record(stream, key.encode(), value, row["append_ms"])


def run_directory(
    settings: DirectorySettings,
    monitor: Monitor | None = None,
    logs: dict[str, Any] | None = None,
) -> int:
    """Runs until SIGTERM or SIGINT, and returns the exit code of the process. Blocking. Creates the
    topics that are missing. Raises LogUnavailable if Kafka does not answer at the start. `monitor`
    serves metrics and probes; `logs` as `run_process` has it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    metrics = DirectoryMetrics()
    if monitor is not None:
        monitor(loop, metrics.registry, metrics.ready)
    topics = ensure_directory_topics(settings.kafka, changelogs(settings), PARTITIONS)
    partitions = loop.run_until_complete(topics)
    return run_process(build(settings, partitions, metrics), loop=loop, logs=logs)
