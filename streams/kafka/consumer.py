"""Kafka: the log, the producer, the topics. With `streams.kafka.batch_fetch` and `streams.kafka.salvage`, which
hold what is aiokafka's own business, all of streams that imports aiokafka.

Its traps (design: "Known traps"), all seen on Kafka 4.3 with aiokafka 0.14:
- A position is set before anything can be fetched: the listener's first statement pauses what is
  new and puts it at 0 without awaiting; the worker seeks where the store says, then resumes.
- An exception in a listener is logged and swallowed: it is kept here and raised by the next poll.
- A batch's end is `position()`, taken in the same step in which `getmany` returns.
- A record that the client cannot read makes `getmany` raise for ever at its offset, drop what the
  same call took from other partitions, and withhold the good ones of its batch: all positions go
  back, those before it are read one by one, and `streams.kafka.salvage` gives those behind it.
- An idempotent producer that gives up a batch for want of a leader has used up its sequence numbers:
  every later batch to that partition is refused, for ever. Letters, which readers see once however
  often they are written, go without; whoever sends events makes the producer anew.
- Everything that waits for a broker has a deadline of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.consumer.fetcher import PartitionRecords

from schemas.errors import ConsumerBroken, InvalidConfig, LogUnavailable
from streams.core.dead_letters import DeadLetter, KeyedRecord, letter_record
from streams.core.decode import Record, Unreadable
from streams.core.ports import Bounds, Letter, PartitionBatch, Polled, Witness
from streams.kafka.batch_fetch import as_fetched, install, refresh_metadata
from streams.kafka.salvage import RECORD_ERRORS, records_of

ANSWER_S: Final = 5.0
"""A broker answers in milliseconds; after a restart it takes some seconds to lead again."""
SEND_S: Final = 10.0
"""For a batch of records to be acknowledged. The client itself would wait for ever."""
CLOSE_S: Final = 2.0
"""A client's `stop` hangs on a frozen broker. Nothing is lost by leaving: positions are in Redis."""
SESSION_MS: Final = 6000
"""A takeover after a kill takes this long. Unique members, no static ids: they would not shorten
it, and two workers with one id evict each other for ever."""
METADATA_AGE_MS: Final = 10_000
"""How soon a consumer notices new partitions by itself. A worker, which looks at the ends of the log
all the time, tells it sooner."""
PARTITION_FETCH_BYTES: Final = 1 << 20
LETTERS_AT_ONCE: Final = 1000
SCAN_RECORDS: Final = 500
"""At once, where a topic is read beside the group: 32 MB of the largest events."""
T = TypeVar("T")


async def _within(seconds: float, asked: Awaitable[T], what: str) -> T:
    """Awaits one exchange with the broker under our own deadline, in our own errors."""
    try:
        async with asyncio.timeout(seconds):
            return await asked
    except TimeoutError as error:
        raise LogUnavailable(f"Kafka did not {what} within {seconds:g} s") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka did not {what}: {error!r}") from error


async def _closed(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Closes a client, or leaves it after the deadline."""
    stop = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    await asyncio.wait([asyncio.ensure_future(stop)], timeout=CLOSE_S)


# -- the log ---------------------------------------------------------------------------------------


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, log: KafkaLog) -> None:
        self._log = log

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing: what is in flight is fenced by the store."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._log.take_assignment(frozenset(assigned))


class KafkaLog:
    """`streams.core.ports.Log` on a topic and consumer group. Made by `open_log`."""

    def __init__(
        self,
        topic: str,
        dead_letter_topic: str,
        consumer: AIOKafkaConsumer,
        looker: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        producer: AIOKafkaProducer | None,
    ) -> None:
        self._topic = topic
        self._dead_letter_topic = dead_letter_topic
        self._consumer = consumer
        self._looker = looker
        self._admin = admin
        self._producer = producer
        self._assignment = 0
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._resumed: dict[TopicPartition, int] = {}  # to the position last handed over
        self._fatal: BaseException | None = None

    def take_assignment(self, assigned: frozenset[TopicPartition]) -> None:
        """The listener's work. Without an await: nothing may be fetched before it is done."""
        try:
            self._consumer.pause(*assigned)
            for tp in assigned:
                self._consumer.seek(tp, 0)
            self._assigned = assigned
            self._resumed = {}
            self._assignment += 1
        except Exception as error:  # noqa: BLE001  whatever it is, aiokafka logs it and goes on
            self._fatal = error

    async def poll(self, records_max: int, wait_ms: int) -> Polled:
        self._raise_fatal()
        try:
            # Longer than the wait: `getmany` does not return while the group is rebalancing.
            async with asyncio.timeout(wait_ms / 1000 + ANSWER_S):
                found = await self._consumer.getmany(timeout_ms=wait_ms, max_records=records_max)
        except TimeoutError:
            found = {}
        except RECORD_ERRORS as error:
            return self._polled([await self._step_over(error, records_max)])
        except (kafka_errors.OffsetOutOfRangeError, kafka_errors.NoOffsetForPartitionError):
            self.take_assignment(self._assigned)  # the worker looks at the log's bounds anew
            found = {}
        except kafka_errors.KafkaError as error:
            raise ConsumerBroken(f"the consumer raised {error!r}") from error
        self._raise_fatal()
        return self._polled([await self._batch(tp, found.get(tp, ())) for tp in self._moved(found)])

    def _polled(self, batches: Sequence[PartitionBatch]) -> Polled:
        partitions = frozenset(tp.partition for tp in self._assigned)
        return Polled(self._assignment, partitions, batches)

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise ConsumerBroken(f"the listener failed: {self._fatal!r}") from self._fatal

    def _moved(self, found: Mapping[TopicPartition, Sequence[Record]]) -> list[TopicPartition]:
        """Resumed partitions, those with records first."""
        return [*(tp for tp in found if tp in self._resumed)] + [
            tp for tp in self._resumed if tp not in found
        ]

    async def _batch(self, tp: TopicPartition, records: Sequence[Record]) -> PartitionBatch:
        # Of a partition with a position, as every resumed one has, this returns without waiting.
        end = await self._consumer.position(tp)
        self._resumed[tp] = end
        return PartitionBatch(tp.partition, end, records)

    async def _step_over(self, error: Exception, records_max: int) -> PartitionBatch:
        """The records up to the end of the batch that aiokafka cannot read."""
        tp, _ = _place_of(error)
        if tp not in self._resumed:
            raise ConsumerBroken(f"the consumer raised {error!r}") from error
        # What the same call had taken from other partitions is lost with it: all are read again.
        for resumed, position in self._resumed.items():
            self._consumer.seek(resumed, position)
        records: list[Record] = []
        while len(records) < records_max:
            try:
                async with asyncio.timeout(ANSWER_S):
                    one = await self._consumer.getmany(tp, timeout_ms=1000, max_records=1)
            except TimeoutError:
                break
            except RECORD_ERRORS as again:
                found, end = await self._salvaged(tp, again)
                records.extend(found)
                self._consumer.seek(tp, end)
                break
            if tp not in one:
                break
            records.extend(one[tp])
        return await self._batch(tp, records)

    async def _salvaged(self, tp: TopicPartition, error: Exception) -> tuple[Sequence[Record], int]:
        """What can be had of the batch, or its first record as Unreadable; the position after."""
        _, failed = _place_of(error)
        salvaged = None if failed is None else records_of(failed)
        if salvaged is not None:
            return salvaged
        # `position` may stand before aborted records and markers, `next_fetch_offset` does not.
        at = await self._consumer.position(tp) if failed is None else failed.next_fetch_offset
        if isinstance(error, kafka_errors.RecordTooLargeError):
            at -= 1  # aiokafka has stepped over it by itself
        return [Unreadable(at, 0, f"the client cannot read it: {error}")], at + 1

    def seek(self, positions: Mapping[int, int]) -> None:
        for partition, position in positions.items():
            tp = TopicPartition(self._topic, partition)
            if tp in self._assigned:
                self._consumer.seek(tp, position)
                self._consumer.resume(tp)
                self._resumed[tp] = position

    async def bounds(self) -> Mapping[int, Bounds]:
        found = await _bounds(self._topic, self._admin, self._looker)
        if len(found) != len(self._consumer.partitions_for_topic(self._topic) or ()):
            refresh_metadata(self._consumer)  # where this member leads the group, it joins anew
        return found

    async def witness(self, partition: int, offset: int) -> Witness | None:
        return await _witness(self._looker, TopicPartition(self._topic, partition), offset)

    async def bury(self, letters: Sequence[Letter]) -> None:
        for at in range(0, len(letters), LETTERS_AT_ONCE):
            records = [
                _letter_record(self._topic, one) for one in letters[at : at + LETTERS_AT_ONCE]
            ]
            await _send(self._producer, self._dead_letter_topic, records)


async def _bounds(
    topic: str, admin: AIOKafkaAdminClient, looker: AIOKafkaConsumer
) -> dict[int, Bounds]:
    described = await _within(ANSWER_S, _describe(admin, topic), "describe the topic")
    tps = [TopicPartition(topic, partition) for partition in sorted(described)]
    # The ends first: what is appended meanwhile lies after them.
    ends = await _within(ANSWER_S, looker.end_offsets(tps), "say where the log ends")
    starts = await _within(ANSWER_S, looker.beginning_offsets(tps), "say where the log starts")
    return {tp.partition: Bounds(starts[tp], ends[tp]) for tp in tps}


async def _describe(admin: AIOKafkaAdminClient, name: str) -> list[int]:
    (topic,) = await admin.describe_topics([name])
    if topic["error_code"]:
        raise kafka_errors.for_code(topic["error_code"])(name)
    return [partition["partition"] for partition in topic["partitions"]]


async def read_bounds(kafka: str, topic: str) -> dict[int, Bounds]:
    """Each partition's first offset and end, once, over connections of its own."""
    looker = _looker(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-admin")
    try:
        for client in (looker, admin):
            await _within(SEND_S, client.start(), "take a connection")
        return await _bounds(topic, admin, looker)
    finally:
        await asyncio.gather(_closed(looker), _closed(admin))


async def _witness(looker: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> Witness | None:
    looker.assign([tp])
    looker.seek(tp, offset)
    try:
        found = await _within(
            ANSWER_S,
            looker.getmany(tp, timeout_ms=int(ANSWER_S * 500), max_records=1),
            "hand over the witness",
        )
    except RECORD_ERRORS as error:
        _, failed = _place_of(error)
        salvaged = None if failed is None else records_of(failed)
        readable = [r for r in salvaged[0] if not isinstance(r, Unreadable)] if salvaged else []
        return Witness(readable[0].offset, readable[0].timestamp) if readable else None
    except LogUnavailable as error:
        if isinstance(error.__cause__, (kafka_errors.OffsetOutOfRangeError, *RECORD_ERRORS)):
            return None  # the log that stands there now is shorter, or has rotted
        raise
    finally:
        looker.unsubscribe()
    return next((Witness(r.offset, r.timestamp) for r in found.get(tp, ())), None)


async def read_witness(kafka: str, topic: str, partition: int, offset: int) -> Witness | None:
    """The first record from an offset on, once, over a connection of its own."""
    looker = _looker(kafka)
    try:
        await _within(SEND_S, looker.start(), "take a connection")
        return await _witness(looker, TopicPartition(topic, partition), offset)
    finally:
        await _closed(looker)


async def scan(kafka: str, topic: str) -> AsyncIterator[Sequence[Record]]:
    """What a topic holds now, in order of each partition, beside any group; LogUnavailable where a
    broker is silent, ConsumerBroken at a record that cannot be read."""
    try:
        bounds = await read_bounds(kafka, topic)
    except LogUnavailable as error:
        if isinstance(error.__cause__, kafka_errors.UnknownTopicOrPartitionError):
            raise InvalidConfig(
                f"there is no topic {topic!r}: `odometer topics` makes it"
            ) from error
        raise
    looker = _looker(kafka)
    try:
        await _within(SEND_S, looker.start(), "take a connection")
        for partition, held in sorted(bounds.items()):
            tp = TopicPartition(topic, partition)
            looker.assign([tp])
            looker.seek(tp, held.start)
            while (position := await looker.position(tp)) < held.end:
                asked = looker.getmany(tp, timeout_ms=int(ANSWER_S * 500), max_records=SCAN_RECORDS)
                try:
                    found = await _within(ANSWER_S, asked, f"hand over records of {topic}")
                except RECORD_ERRORS as error:
                    place = f"{topic}:{tp.partition}:{position}"
                    raise ConsumerBroken(f"a record from {place} on cannot be read") from error
                if await looker.position(tp) == position:
                    raise LogUnavailable(
                        f"Kafka hands over no record of {topic} from {position} on"
                    )
                yield found.get(tp, ())
    finally:
        await _closed(looker)


def _looker(kafka: str) -> AIOKafkaConsumer:
    """A consumer beside the group, for the ends of the log: on a consumer that polls, asking for
    them takes half a second."""
    install()
    return AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="odometer-looker",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted",
        metadata_max_age_ms=METADATA_AGE_MS,
    )


def _place_of(error: BaseException) -> tuple[TopicPartition | None, PartitionRecords | None]:
    """Where `getmany` failed: aiokafka does not say, but its frames do."""
    tp, failed = None, None
    trace = error.__traceback__
    while trace is not None:
        names = trace.tb_frame.f_locals
        if isinstance(names.get("tp"), TopicPartition):
            tp = names["tp"]
        if isinstance(names.get("self"), PartitionRecords):
            failed = names["self"]
        trace = trace.tb_next
    return tp, failed


def _letter_record(topic: str, letter: Letter) -> KeyedRecord:
    """The key makes the letter one, however often it is written."""
    origin = f"{topic}:{letter.partition}:{letter.offset}"
    return letter_record(DeadLetter(origin, *letter[2:]))


@asynccontextmanager
async def open_log(
    kafka: str, topic: str, dead_letter_topic: str, group: str, *, whole_batches: bool = True
) -> AsyncIterator[KafkaLog]:
    """Joins the group. Raises LogUnavailable where no broker answers in time. `whole_batches`: as
    streams/kafka/batch_fetch.py reads them; else by aiokafka's `getmany` as it is."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="odometer-worker",
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 6,
        metadata_max_age_ms=METADATA_AGE_MS,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        fetch_max_wait_ms=100,
        check_crcs=True,
        value_deserializer=as_fetched if install() and whole_batches else None,
    )
    looker = _looker(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-admin")
    producer = _producer(kafka, "odometer-dead-letters", is_idempotent=False)
    log = KafkaLog(topic, dead_letter_topic, consumer, looker, admin, producer)
    clients = [consumer, looker, producer, admin]
    try:
        for client in clients:
            await _within(SEND_S, client.start(), "take a connection")
        consumer.subscribe([topic], listener=_Listener(log))
        yield log
    finally:
        await asyncio.gather(*(_closed(client) for client in clients))


class WholeLog(KafkaLog):
    """`streams.core.ports.Log` on all partitions of a topic, without a group. It buries nothing: what is
    read again here was judged before. Made by `open_whole_log`."""

    async def bounds(self) -> Mapping[int, Bounds]:
        found = await super().bounds()
        partitions = frozenset(TopicPartition(self._topic, partition) for partition in found)
        if partitions != self._assigned:
            self._consumer.assign(list(partitions))
            self.take_assignment(partitions)
        return found

    async def bury(self, letters: Sequence[Letter]) -> None:
        """Nothing: a rebuild only reads what was counted, and its letters buried, before."""


@asynccontextmanager
async def open_whole_log(kafka: str, topic: str) -> AsyncIterator[WholeLog]:
    """Reads beside the group. Raises LogUnavailable where no broker answers in time."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="odometer-rebuild",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        metadata_max_age_ms=METADATA_AGE_MS,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        fetch_max_wait_ms=100,
        check_crcs=True,
        value_deserializer=as_fetched if install() else None,
    )
    looker = _looker(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-admin")
    log = WholeLog(topic, "", consumer, looker, admin, None)
    clients = [consumer, looker, admin]
    try:
        for client in clients:
            await _within(SEND_S, client.start(), "take a connection")
        await log.bounds()
        yield log
    finally:
        await asyncio.gather(*(_closed(client) for client in clients))


# -- the producer ----------------------------------------------------------------------------------


class Producer:
    """Sends records and waits for the broker's word. Made by `open_producer`."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> dict[int, int]:
        """When the broker has acknowledged all (key, value) records: where each of their partitions
        goes on. LogUnavailable past the deadline: some may have arrived, so send them again."""
        return await _send(self._producer, topic, [(key, value, ()) for key, value in records])

    async def send_records(self, topic: str, records: Sequence[KeyedRecord]) -> None:
        """`send` for records with headers, or without a value."""
        await _send(self._producer, topic, records)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """Where each partition of a topic ends."""
        partitions = await _within(
            ANSWER_S, self._producer.partitions_for(topic), "describe the topic"
        )
        looker = AIOKafkaConsumer(
            bootstrap_servers=self._producer.client._bootstrap_servers,  # noqa: SLF001
            group_id=None,
        )
        try:
            await _within(SEND_S, looker.start(), "take a connection")
            tps = [TopicPartition(topic, partition) for partition in partitions]
            ends = await _within(ANSWER_S, looker.end_offsets(tps), "say where the log ends")
        finally:
            await _closed(looker)
        return {tp.partition: end for tp, end in ends.items()}


def _producer(kafka: str, client_id: str, *, is_idempotent: bool = True) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=kafka,
        client_id=client_id,
        acks="all",
        enable_idempotence=is_idempotent,
        linger_ms=2,
        max_batch_size=256 << 10,
        request_timeout_ms=int(ANSWER_S * 1000),
    )


async def _send(
    producer: AIOKafkaProducer, topic: str, records: Sequence[KeyedRecord]
) -> dict[int, int]:
    async def all_sent() -> dict[int, int]:
        acknowledged = [
            await producer.send(topic, value, key=key, headers=list(headers))
            for key, value, headers in records
        ]
        found = await asyncio.gather(*acknowledged)
        # No offset: the broker had the batch before, and forgot where.
        return {one.partition: one.offset + 1 for one in found if one.offset >= 0}

    return await _within(SEND_S, all_sent(), f"acknowledge {len(records)} records")


@asynccontextmanager
async def open_producer(kafka: str) -> AsyncIterator[Producer]:
    """An idempotent producer, acks=all. Raises LogUnavailable where no broker answers in time."""
    producer = _producer(kafka, "odometer-producer")
    try:
        await _within(SEND_S, producer.start(), "take a connection")
        yield Producer(producer)
    finally:
        await _closed(producer)


# -- the topics ------------------------------------------------------------------------------------

REPLICAS_MAX: Final = 3
"""Of a topic that we make, where there are so many brokers: one may be lost while one is away."""
RETENTION_MS: Final = 90 * 24 * 3600 * 1000
"""Of a topic that we make: what a rebuild can fold again event by event. As long as quarter-hours
are kept: 90 days at 1,000 events/s of 600 B are 4.7 TB, so a busy operator sets less."""


APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}
COMPACTED: Final = {"cleanup.policy": "compact"}


async def ensure_topics(kafka: str, *, events: str, dead_letter: str, partitions: int) -> list[str]:
    """Makes the topics that are missing; a line for each of what was made or found.

    Raises InvalidConfig where a topic stamps its records with the producer's time: which tiers an
    event counts in is decided by its append time, so that a replay decides the same.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-topics")
    try:
        await _within(SEND_S, admin.start(), "take a connection")
        lines = []
        for name, count in ((events, partitions), (dead_letter, 1)):
            lines.append(await _within(SEND_S, _ensure(admin, name, count), f"make topic {name}"))
            await _check_append_time(admin, name)
        return lines
    finally:
        await _closed(admin)


async def ensure_directory_topics(
    kafka: str, changelogs: Mapping[str, str], partitions: int
) -> dict[str, int]:
    """Makes the compacted topics of the directory that are missing, and beside each the changelog
    of its table with as many partitions; how many each has. Raises LogUnavailable, InvalidConfig.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-topics")
    found: dict[str, int] = {}
    try:
        await _within(SEND_S, admin.start(), "take a connection")
        for name, changelog in changelogs.items():
            made = _made(admin, name, partitions, COMPACTED | APPEND_TIME)
            found[name], _ = await _within(SEND_S, made, f"make topic {name}")
            await _check_append_time(admin, name)
            made = _made(admin, changelog, found[name], COMPACTED)
            await _within(SEND_S, made, f"make topic {changelog}")
    finally:
        await _closed(admin)
    return found


async def _ensure(admin: AIOKafkaAdminClient, name: str, partitions: int) -> str:
    configs = {**APPEND_TIME, "cleanup.policy": "delete", "retention.ms": str(RETENTION_MS)}
    count, is_new = await _made(admin, name, partitions, configs)
    return f"{name}: {count} partitions, {'made' if is_new else 'found'}"


async def _made(
    admin: AIOKafkaAdminClient, name: str, partitions: int, configs: Mapping[str, str]
) -> tuple[int, bool]:
    """How many partitions the topic has, and whether it was made just now."""
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = min(REPLICAS_MAX, brokers)
    response = await admin.create_topics(
        [NewTopic(name, partitions, replicas, None, dict(configs))]
    )
    code = response.topic_errors[0][1]
    if code == kafka_errors.TopicAlreadyExistsError.errno:
        (topic,) = await admin.describe_topics([name])
        return len(topic["partitions"]), False
    if code:
        raise kafka_errors.for_code(code)(name)
    return partitions, True


async def _check_append_time(admin: AIOKafkaAdminClient, name: str) -> None:
    wanted: Mapping[str, Any] = {"message.timestamp.type": None}
    resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=dict(wanted))
    (response,) = await _within(
        ANSWER_S, admin.describe_configs([resource]), "say how the topic is set up"
    )
    for _code, _message, _type, _name, entries in response.resources:
        for entry in entries:
            if entry[0] == "message.timestamp.type" and entry[1] != "LogAppendTime":
                raise InvalidConfig(
                    f"topic {name} has message.timestamp.type={entry[1]}, it must be LogAppendTime:"
                    f" kafka-configs --alter --topic {name}"
                    " --add-config message.timestamp.type=LogAppendTime"
                )
