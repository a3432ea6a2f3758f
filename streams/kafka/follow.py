"""The records that are appended to a topic from now on, without end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from aiokafka import TopicPartition

from streams.kafka.deadlines import ANSWER_S, SEND_S, close_client, within_deadline
from streams.kafka.offsets import ScannedRecord, metadata_consumer, read_bounds


async def follow(kafka: str, topic: str) -> AsyncIterator[Sequence[ScannedRecord]]:
    """Raises LogUnavailable where Kafka does not answer."""
    bounds = await read_bounds(kafka, topic)
    consumer = metadata_consumer(kafka)
    try:
        await within_deadline(SEND_S, consumer.start(), "accept a connection")
        consumer.assign([TopicPartition(topic, partition) for partition in bounds])
        for partition, held in bounds.items():
            consumer.seek(TopicPartition(topic, partition), held.end)
        while True:
            polled = await within_deadline(
                ANSWER_S, consumer.getmany(timeout_ms=500), "return new records"
            )
            for records in polled.values():
                yield records
    finally:
        await close_client(consumer)
