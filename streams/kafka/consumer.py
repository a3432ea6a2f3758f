"""The log: the worker's consumer of the events' topic, and a rebuild's.

Traps of the client, all seen on Kafka 4.3 with aiokafka 0.14:
- The worker must set a position before anything is fetched. So the listener's first statement
  pauses the new partitions and seeks to 0, without an await. The worker then seeks to the stored
  position and resumes.
- aiokafka logs an exception of a listener and continues. So the listener keeps it, and the next
  poll raises it.
- The end of a batch is `position()`, read in the same step in which `getmany` returns.
- A record that the client cannot read makes `getmany` raise forever at its offset. It also loses
  what the same call took from other partitions, and withholds the good records of its batch. So
  all positions go back, the records before it are read one by one, and streams/kafka/salvage.py
  gives those behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from schemas.errors import ConsumerBroken
from streams.core.dead_letters import DeadLetter, KeyedRecord, dead_letter_record
from streams.core.decode import Record, Unreadable
from streams.core.ports import LastRecord, OffsetBounds, PartitionBatch, Polled, RejectedRecord
from streams.kafka.batch_fetch import as_fetched, install, refresh_metadata
from streams.kafka.deadlines import ANSWER_S, SEND_S, close_client, within_deadline
from streams.kafka.offsets import METADATA_AGE_MS, bounds_of, find_record_at, metadata_consumer
from streams.kafka.producer import aiokafka_producer, send_records
from streams.kafka.salvage import RECORD_ERRORS, failed_batch, records_of

SESSION_MS: Final = 6000
"""A takeover after a kill takes this long. Members are unique, without static ids: those would not
shorten it, and two workers with one id evict each other forever."""
PARTITION_FETCH_BYTES: Final = 1 << 20
LETTERS_AT_ONCE: Final = 1000
ADVICE_S: Final = 2.0
"""aiokafka retries a commit for up to 50 s while a broker is away."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    def __init__(self, log: KafkaLog) -> None:
        self._log = log

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Does nothing: the store rejects what is still in flight."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._log.take_assignment(frozenset(assigned))


class KafkaLog:
    """`Log` of streams/core/ports.py on a topic and a consumer group. Made by `open_log`."""

    def __init__(
        self,
        topic: str,
        dead_letter_topic: str,
        consumer: AIOKafkaConsumer,
        metadata: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        producer: AIOKafkaProducer | None,
    ) -> None:
        self._topic = topic
        self._dead_letter_topic = dead_letter_topic
        self._consumer = consumer
        self._metadata = metadata
        self._admin = admin
        self._producer = producer
        self._assignment = 0
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._resumed: dict[TopicPartition, int] = {}  # to the position last returned
        self._fatal: BaseException | None = None

    def take_assignment(self, assigned: frozenset[TopicPartition]) -> None:
        """What the listener does. It has no await: nothing may be fetched before it is done."""
        try:
            self._consumer.pause(*assigned)
            for tp in assigned:
                self._consumer.seek(tp, 0)
            self._assigned = assigned
            self._resumed = {}
            self._assignment += 1
        except Exception as error:  # noqa: BLE001  aiokafka logs any error and continues
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
            self.take_assignment(self._assigned)  # the worker checks the log's bounds again
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
        """The resumed partitions, those with records first."""
        return [*(tp for tp in found if tp in self._resumed)] + [
            tp for tp in self._resumed if tp not in found
        ]

    async def _batch(self, tp: TopicPartition, records: Sequence[Record]) -> PartitionBatch:
        # This returns without waiting, as every resumed partition has a position.
        end = await self._consumer.position(tp)
        self._resumed[tp] = end
        return PartitionBatch(tp.partition, end, records)

    async def _step_over(self, error: Exception, records_max: int) -> PartitionBatch:
        """The records up to the end of the batch that aiokafka cannot read."""
        tp, _ = failed_batch(error)
        if tp not in self._resumed:
            raise ConsumerBroken(f"the consumer raised {error!r}") from error
        # The call also lost what it had taken from other partitions: read all of them again.
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
        """The readable rest of the batch, or its first record as Unreadable; and the position
        after."""
        _, failed = failed_batch(error)
        salvaged = None if failed is None else records_of(failed)
        if salvaged is not None:
            return salvaged
        # `position` may lie before aborted records and markers, `next_fetch_offset` does not.
        at = await self._consumer.position(tp) if failed is None else failed.next_fetch_offset
        if isinstance(error, kafka_errors.RecordTooLargeError):
            at -= 1  # aiokafka has already skipped it
        return [Unreadable(at, 0, f"the client cannot read it: {error}")], at + 1

    def seek(self, positions: Mapping[int, int]) -> None:
        for partition, position in positions.items():
            tp = TopicPartition(self._topic, partition)
            if tp in self._assigned:
                self._consumer.seek(tp, position)
                self._consumer.resume(tp)
                self._resumed[tp] = position

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        found = await bounds_of(self._topic, self._admin, self._metadata)
        if len(found) != len(self._consumer.partitions_for_topic(self._topic) or ()):
            refresh_metadata(self._consumer)  # if this member leads the group, the group rebalances
        return found

    async def advise(self, positions: Mapping[int, int]) -> None:
        """Commits these positions to the consumer group, so that lag tools see them. Nothing of ours reads
        them: the next worker resumes at the positions in Redis. So a failure does no harm, and a broker
        that hangs costs ADVICE_S of a task that does nothing else."""
        offsets = {
            tp: positions[tp.partition]
            for tp in self._assigned
            if positions.get(tp.partition, -1) >= 0
        }
        if offsets:
            with suppress(TimeoutError, kafka_errors.KafkaError):
                async with asyncio.timeout(ADVICE_S):
                    await self._consumer.commit(offsets)

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:
        return await find_record_at(self._metadata, TopicPartition(self._topic, partition), offset)

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        for at in range(0, len(rejected), LETTERS_AT_ONCE):
            records = [
                _dead_letter_record(self._topic, one) for one in rejected[at : at + LETTERS_AT_ONCE]
            ]
            await send_records(self._producer, self._dead_letter_topic, records)


def _dead_letter_record(topic: str, letter: RejectedRecord) -> KeyedRecord:
    """The key makes the dead letter unique, however often it is written."""
    origin = f"{topic}:{letter.partition}:{letter.offset}"
    return dead_letter_record(DeadLetter(origin, *letter[2:]))


@asynccontextmanager
async def open_log(
    kafka: str, topic: str, dead_letter_topic: str, group: str, *, whole_batches: bool = True
) -> AsyncIterator[KafkaLog]:
    """Joins the group. Raises LogUnavailable if no broker answers in time.

    `whole_batches`: read records as streams/kafka/batch_fetch.py does, else with aiokafka's own
    `getmany`."""
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
    metadata = metadata_consumer(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-admin")
    producer = aiokafka_producer(kafka, "odometer-dead-letters", is_idempotent=False)
    log = KafkaLog(topic, dead_letter_topic, consumer, metadata, admin, producer)
    clients = [consumer, metadata, producer, admin]
    try:
        for client in clients:
            await within_deadline(SEND_S, client.start(), "accept a connection")
        consumer.subscribe([topic], listener=_Listener(log))
        yield log
    finally:
        await asyncio.gather(*(close_client(client) for client in clients))


class WholeLog(KafkaLog):
    """`Log` of streams/core/ports.py on all partitions of a topic, without a group.

    It sends no dead letters: a worker has sent them before. Made by `open_whole_log`."""

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        found = await super().bounds()
        partitions = frozenset(TopicPartition(self._topic, partition) for partition in found)
        if partitions != self._assigned:
            self._consumer.assign(list(partitions))
            self.take_assignment(partitions)
        return found

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        """Does nothing: the worker that counted these records has sent their dead letters."""


@asynccontextmanager
async def open_whole_log(kafka: str, topic: str) -> AsyncIterator[WholeLog]:
    """Reads beside the group. Raises LogUnavailable if no broker answers in time."""
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
    metadata = metadata_consumer(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-admin")
    log = WholeLog(topic, "", consumer, metadata, admin, None)
    clients = [consumer, metadata, admin]
    try:
        for client in clients:
            await within_deadline(SEND_S, client.start(), "accept a connection")
        await log.bounds()
        yield log
    finally:
        await asyncio.gather(*(close_client(client) for client in clients))
