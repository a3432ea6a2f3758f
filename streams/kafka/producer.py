"""The producer: sends records to Kafka and waits until the broker has acknowledged them.

An idempotent producer that gives up a batch because no broker leads the partition has used up its
sequence numbers: the broker rejects every later batch to that partition. So a sender of events
makes a new producer after a failure. Dead letters are sent without idempotence: their key makes
them unique, however often they are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.kafka.deadlines import ANSWER_S, SEND_S, close_client, within_deadline

ProducerRecord = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value and headers."""


class KafkaProducer:
    """Sends records and waits for their acknowledgement. Made by `open_producer`."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> dict[int, int]:
        """Sends (key, value) records and returns the next offset of each partition they went to.

        Raises LogUnavailable after SEND_S: some records may have arrived, so send all of them
        again.
        """
        return await send_records(
            self._producer, topic, [(key, value, ()) for key, value in records]
        )

    async def send_records(self, topic: str, records: Sequence[ProducerRecord]) -> None:
        """Like `send`, for records with headers or without a value."""
        await send_records(self._producer, topic, records)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """The end offset of each partition of a topic."""
        partitions = await within_deadline(
            ANSWER_S, self._producer.partitions_for(topic), "describe the topic"
        )
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._producer.client._bootstrap_servers,  # noqa: SLF001
            group_id=None,
        )
        try:
            await within_deadline(SEND_S, consumer.start(), "accept a connection")
            tps = [TopicPartition(topic, partition) for partition in partitions]
            ends = await within_deadline(
                ANSWER_S, consumer.end_offsets(tps), "return the end offsets"
            )
        finally:
            await close_client(consumer)
        return {tp.partition: end for tp, end in ends.items()}


@asynccontextmanager
async def open_producer(kafka: str) -> AsyncIterator[KafkaProducer]:
    """An idempotent producer with acks=all. Raises LogUnavailable if no broker answers in time."""
    producer = aiokafka_producer(kafka, "odometer-producer")
    try:
        await within_deadline(SEND_S, producer.start(), "accept a connection")
        yield KafkaProducer(producer)
    finally:
        await close_client(producer)


def aiokafka_producer(
    kafka: str, client_id: str, *, is_idempotent: bool = True
) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=kafka,
        client_id=client_id,
        acks="all",
        enable_idempotence=is_idempotent,
        linger_ms=2,
        max_batch_size=256 << 10,
        request_timeout_ms=int(ANSWER_S * 1000),
    )


async def send_records(
    producer: AIOKafkaProducer, topic: str, records: Sequence[ProducerRecord]
) -> dict[int, int]:
    """Returns when the broker has acknowledged all records: the next offset of their partitions."""

    async def all_sent() -> dict[int, int]:
        acknowledged = [
            await producer.send(topic, value, key=key, headers=list(headers))
            for key, value, headers in records
        ]
        found = await asyncio.gather(*acknowledged)
        # Offset -1: the broker had stored the batch before and no longer knows where.
        return {one.partition: one.offset + 1 for one in found if one.offset >= 0}

    return await within_deadline(SEND_S, all_sent(), f"acknowledge {len(records)} records")
