"""What a topic holds now, read beside the consumer group: its offsets, its last counted record, all
its records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from schemas.errors import ConsumerBroken, InvalidConfig, LogUnavailable
from streams.core.decode import Record, Unreadable
from streams.core.ports import LastRecord, OffsetBounds
from streams.kafka.batch_fetch import install
from streams.kafka.deadlines import ANSWER_S, SEND_S, close_client, within_deadline
from streams.kafka.salvage import RECORD_ERRORS, failed_batch, records_of

METADATA_AGE_MS: Final = 10_000
"""How often a consumer refreshes its metadata by itself, and so notices new partitions. A worker
polls the end offsets all the time, and refreshes the metadata of its consumer sooner."""
SCAN_RECORDS: Final = 500
"""In one poll of `scan`: 32 MB of the largest events."""


class ScannedRecord(Record, Protocol):
    """A record, and the partition that it is in."""

    @property
    def partition(self) -> int: ...


def metadata_consumer(kafka: str) -> AIOKafkaConsumer:
    """A consumer outside the group, for offsets: asking the consumer that polls takes 0.5 s."""
    install()
    return AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="odometer-metadata",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted",
        metadata_max_age_ms=METADATA_AGE_MS,
    )


@asynccontextmanager
async def _clients(kafka: str) -> AsyncIterator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
    """An administrator and a consumer outside the group, over connections of their own."""
    consumer = metadata_consumer(kafka)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka, client_id="odometer-admin")
    try:
        for client in (consumer, admin):
            await within_deadline(SEND_S, client.start(), "accept a connection")
        yield admin, consumer
    finally:
        await asyncio.gather(close_client(consumer), close_client(admin))


async def read_bounds(kafka: str, topic: str) -> dict[int, OffsetBounds]:
    """The first and the end offset of each partition, over connections of its own."""
    async with _clients(kafka) as (admin, consumer):
        return await bounds_of(topic, admin, consumer)


async def read_group_lag(kafka: str, group: str, topics: Sequence[str]) -> dict[str, int]:
    """Records of each topic after the committed offsets of a group. A partition without an offset counts
    from its first record; a topic that does not exist is left out."""
    lags: dict[str, int] = {}
    async with _clients(kafka) as (admin, consumer):
        asked = admin.list_consumer_group_offsets(group)
        committed = await within_deadline(ANSWER_S, asked, "return the offsets of a group")
        for topic in topics:
            try:
                bounds = await bounds_of(topic, admin, consumer)
            except LogUnavailable as error:
                if isinstance(error.__cause__, kafka_errors.UnknownTopicOrPartitionError):
                    continue
                raise
            lags[topic] = sum(
                held.lag(_committed(committed, TopicPartition(topic, partition)))
                for partition, held in bounds.items()
            )
    return lags


def _committed(offsets: Mapping[TopicPartition, OffsetAndMetadata], tp: TopicPartition) -> int:
    found = offsets.get(tp)
    return 0 if found is None else int(found.offset)


async def bounds_of(
    topic: str, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer
) -> dict[int, OffsetBounds]:
    described = await within_deadline(ANSWER_S, _describe(admin, topic), "describe the topic")
    tps = [TopicPartition(topic, partition) for partition in sorted(described)]
    # The ends first: records appended meanwhile lie after them.
    ends = await within_deadline(ANSWER_S, consumer.end_offsets(tps), "return the end offsets")
    starts = await within_deadline(
        ANSWER_S, consumer.beginning_offsets(tps), "return the first offsets"
    )
    return {tp.partition: OffsetBounds(starts[tp], ends[tp]) for tp in tps}


async def _describe(admin: AIOKafkaAdminClient, name: str) -> list[int]:
    (topic,) = await admin.describe_topics([name])
    if topic["error_code"]:
        raise kafka_errors.for_code(topic["error_code"])(name)
    return [partition["partition"] for partition in topic["partitions"]]


async def read_record_at(kafka: str, topic: str, partition: int, offset: int) -> LastRecord | None:
    """The first record at or after an offset, over a connection of its own."""
    consumer = metadata_consumer(kafka)
    try:
        await within_deadline(SEND_S, consumer.start(), "accept a connection")
        return await find_record_at(consumer, TopicPartition(topic, partition), offset)
    finally:
        await close_client(consumer)


async def find_record_at(
    consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int
) -> LastRecord | None:
    """The first record at or after an offset; None if there is none, or it cannot be read."""
    consumer.assign([tp])
    consumer.seek(tp, offset)
    try:
        found = await within_deadline(
            ANSWER_S,
            consumer.getmany(tp, timeout_ms=int(ANSWER_S * 500), max_records=1),
            "return the last counted record",
        )
    except RECORD_ERRORS as error:
        _, failed = failed_batch(error)
        salvaged = None if failed is None else records_of(failed)
        readable = [r for r in salvaged[0] if not isinstance(r, Unreadable)] if salvaged else []
        return LastRecord(readable[0].offset, readable[0].timestamp) if readable else None
    except LogUnavailable as error:
        if isinstance(error.__cause__, (kafka_errors.OffsetOutOfRangeError, *RECORD_ERRORS)):
            return None  # the log is shorter now, or damaged
        raise
    finally:
        consumer.unsubscribe()
    return next((LastRecord(r.offset, r.timestamp) for r in found.get(tp, ())), None)


async def read_bounds_of_existing(kafka: str, topic: str) -> dict[int, OffsetBounds]:
    """The same as `read_bounds`. Raises InvalidConfig if there is no such topic."""
    try:
        return await read_bounds(kafka, topic)
    except LogUnavailable as error:
        if isinstance(error.__cause__, kafka_errors.UnknownTopicOrPartitionError):
            raise InvalidConfig(
                f"topic {topic!r} does not exist; create it with `odometer topics`"
            ) from error
        raise


async def scan(
    kafka: str,
    topic: str,
    since_ms: int | None = None,
    newest: int | None = None,
    after: Mapping[int, int] | None = None,
) -> AsyncIterator[Sequence[ScannedRecord]]:
    """All records that a topic holds now, partition by partition, in order; with `since_ms`, those that
    were appended since then; with `newest`, at most so many of each partition, the last ones; with `after`,
    those from an offset of each partition on, and none of other partitions.

    Raises InvalidConfig if there is no such topic, LogUnavailable if a broker does not answer, and
    ConsumerBroken at a record that cannot be read.
    """
    bounds = await read_bounds_of_existing(kafka, topic)
    consumer = metadata_consumer(kafka)
    try:
        await within_deadline(SEND_S, consumer.start(), "accept a connection")
        for partition, held in sorted(bounds.items()):
            tp = TopicPartition(topic, partition)
            consumer.assign([tp])
            start = held.start
            if since_ms is not None:
                asked = consumer.offsets_for_times({tp: since_ms})
                found = await within_deadline(ANSWER_S, asked, "return offsets of a time")
                start = held.end if found[tp] is None else max(start, found[tp].offset)
            if newest is not None:
                start = max(start, held.end - newest)
            if after is not None:
                start = max(start, after.get(partition, held.end))
            consumer.seek(tp, start)
            while (position := await consumer.position(tp)) < held.end:
                yield await _next_records(consumer, tp, position)
    finally:
        await close_client(consumer)


async def _next_records(
    consumer: AIOKafkaConsumer, tp: TopicPartition, position: int
) -> Sequence[ScannedRecord]:
    """The records from a position on; none if only transaction markers follow."""
    polled = consumer.getmany(tp, timeout_ms=int(ANSWER_S * 500), max_records=SCAN_RECORDS)
    try:
        found = await within_deadline(ANSWER_S, polled, f"return records of {tp.topic}")
    except RECORD_ERRORS as error:
        place = f"{tp.topic}:{tp.partition}:{position}"
        raise ConsumerBroken(f"cannot read the records from {place} on") from error
    if await consumer.position(tp) == position:
        raise LogUnavailable(f"Kafka returns no record of {tp.topic} from offset {position} on")
    records: Sequence[ScannedRecord] = found.get(tp, ())
    return records
