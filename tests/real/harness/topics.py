"""A topic for a test: made, removed, widened, cut, written to, and read back whole.

The oracle judges by the records that Kafka holds, not by those that the test meant to send.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.record.util import calc_crc32c

from tests.oracles.event_logs import Fields, Record, encode, key_of, unreadable

Sent = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value, headers."""

READ_S: Final = 60.0
"""For reading a test's whole log back."""
RESEND_AFTER_S: Final = 3.0
"""A producer of the tests gives up on an acknowledgement after this and sends again."""
FORGET_ATTEMPTS_MAX: Final = 100
"""A tenth of a second each: the broker forgets a deleted topic's name within some 10 ms."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Ack(NamedTuple):
    """`at_ms` is when the producer saw it: the broker gave it before."""

    partition: int
    offset: int
    at_ms: int


# -- the topic itself ------------------------------------------------------------------------------


@asynccontextmanager
async def admin_of(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete_topic(kafka: str, topic: str) -> None:
    """Returns when the broker no longer knows it."""
    async with admin_of(kafka) as admin:
        await admin.delete_topics([topic])
        for _attempt in range(FORGET_ATTEMPTS_MAX):
            (described,) = await admin.describe_topics([topic])
            if described["error_code"] == kafka_errors.UnknownTopicOrPartitionError.errno:
                return
            await asyncio.sleep(0.1)
    raise AssertionError(f"{topic} is still there")


async def members_of(kafka: str, group: str) -> int:
    """How many members a consumer group has, those included whose session has not run out yet."""
    async with admin_of(kafka) as admin:
        (answer,) = await admin.describe_consumer_groups([group])
    ((_error, _group, _state, _type, _protocol, members, *_rest),) = answer.groups
    return len(members)


async def widen(kafka: str, topic: str, partitions: int) -> None:
    async with admin_of(kafka) as admin:
        await admin.create_partitions({topic: NewPartitions(partitions)})


async def cut(kafka: str, topic: str, starts: dict[int, int]) -> None:
    """Removes the log's beginning, as retention does."""
    async with admin_of(kafka) as admin:
        await admin.delete_records(
            {TopicPartition(topic, p): RecordsToDelete(start) for p, start in starts.items()}
        )


# -- writing ---------------------------------------------------------------------------------------


@asynccontextmanager
async def producer_of(kafka: str, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Without idempotence, so that what is sent again stands in the log twice."""
    settings = {
        "acks": "all",
        "linger_ms": 2,
        "metadata_max_age_ms": 500,
        "request_timeout_ms": int(RESEND_AFTER_S * 1000),
        **options,
    }
    producer = AIOKafkaProducer(bootstrap_servers=kafka, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def sent(fields: Fields) -> Sent:
    """One event as a well-behaved producer sends it."""
    return key_of(fields), encode(fields), ()


def as_sent(records: Iterable[Record]) -> list[Sent]:
    return [(record.key, record.value, record.headers) for record in records]


@dataclass
class Load:
    """Sends records one after the other until each is acknowledged; what fails is sent again."""

    producer: AIOKafkaProducer
    topic: str
    acks: list[Ack] = field(default_factory=list)

    async def send(self, records: Sequence[Sent], *, partition: int | None = None) -> None:
        await asyncio.gather(*(self._send(one, partition) for one in records))

    async def at_rate(self, records: Sequence[Sent], *, per_s: int) -> None:
        """In slices of 20 ms."""
        size = max(1, per_s // 50)
        started_s = time.monotonic()
        for at in range(0, len(records), size):
            await self.send(records[at : at + size])
            await asyncio.sleep(max(0.0, started_s + at / per_s - time.monotonic()))

    async def _send(self, record: Sent, partition: int | None) -> None:
        key, value, headers = record
        while True:
            try:
                acknowledged = await self.producer.send(
                    self.topic, value, key=key, headers=list(headers), partition=partition
                )
                found = await acknowledged
            except kafka_errors.KafkaError:
                await asyncio.sleep(0.1)
            else:
                self.acks.append(Ack(found.partition, found.offset, now_ms()))
                return


_MARK: Final = "marker-of-what-to-break"


async def send_with_unreadable(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Sent], broken: int
) -> list[Record]:
    """One batch in which the record number `broken` has a header key that is not UTF-8, as it then
    stands in the log. The client encodes keys itself, so the finished batch is changed, and its
    checksum."""
    batch = producer.create_batch()
    for number, (key, value, headers) in enumerate(records):
        extra = [(_MARK, b"x")] if number == broken else []
        assert batch.append(timestamp=None, key=key, value=value, headers=[*headers, *extra])
    data = bytearray(batch._build())
    at = data.index(_MARK.encode())
    data[at : at + 2] = b"\xff\xfe"
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    batch._buffer = bytes(data)
    found = await (await producer.send_batch(batch, topic, partition=partition))
    written = [
        Record(partition, found.offset + n, found.timestamp, value, tuple(headers), key)
        for n, (key, value, headers) in enumerate(records)
    ]
    written[broken] = unreadable(written[broken])
    return written


# -- reading back ----------------------------------------------------------------------------------


async def ends_of(kafka: str, topic: str) -> dict[int, int]:
    """The high watermarks."""
    async with _consumer(kafka, "read_uncommitted") as consumer:
        ends = await consumer.end_offsets(await _partitions(kafka, topic))
    return {tp.partition: end for tp, end in sorted(ends.items())}


async def read_log(
    kafka: str, topic: str, unreadable: Sequence[Sequence[Record]] = ()
) -> list[Record]:
    """All committed records from the beginning, by partition and offset. `unreadable` are batches
    that the client cannot read to their end, as `send_with_unreadable` gives them."""
    records: list[Record] = []
    async with asyncio.timeout(READ_S), _consumer(kafka, "read_committed") as consumer:
        tps = await _partitions(kafka, topic)
        ends = await consumer.end_offsets(tps)
        starts = await consumer.beginning_offsets(tps)
        for tp in tps:
            consumer.assign([tp])
            consumer.seek(tp, starts[tp])
            batches = [batch for batch in unreadable if batch[0].partition == tp.partition]
            records += await _read_partition(consumer, tp, ends[tp], batches)
    return records


async def _read_partition(
    consumer: AIOKafkaConsumer, tp: TopicPartition, end: int, unreadable: Sequence[Sequence[Record]]
) -> list[Record]:
    records: list[Record] = []
    at_once = 1000
    while (position := await consumer.position(tp)) < end:
        try:
            found = await consumer.getmany(tp, timeout_ms=200, max_records=at_once)
        except UnicodeDecodeError:
            consumer.seek(tp, position)
            if at_once == 1:  # what could be read before it has been
                batch = next(batch for batch in unreadable if batch[-1].offset >= position)
                records += [record for record in batch if record.offset >= position]
                consumer.seek(tp, batch[-1].offset + 1)
            at_once = 1000 if at_once == 1 else 1
            continue
        records += [
            Record(tp.partition, r.offset, r.timestamp, r.value, tuple(r.headers), r.key)
            for r in found.get(tp, ())
        ]
    return records


@asynccontextmanager
async def _consumer(kafka: str, isolation_level: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation_level,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _partitions(kafka: str, topic: str) -> list[TopicPartition]:
    async with admin_of(kafka) as admin:
        (described,) = await admin.describe_topics([topic])
    assert not described["error_code"]
    return [TopicPartition(topic, p["partition"]) for p in described["partitions"]]
