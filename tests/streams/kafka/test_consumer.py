"""The log where its client cannot be trusted, and the topics that are rejected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.servers import Server, free_port
from schemas.errors import ConsumerBroken, InvalidConfig, LogUnavailable
from streams.core.ports import Polled, RejectedRecord
from streams.kafka import consumer as consumer_module
from streams.kafka import deadlines, offsets
from streams.kafka import producer as producer_module
from streams.kafka.consumer import KafkaLog, open_log
from streams.kafka.deadlines import close_client
from streams.kafka.offsets import read_bounds
from streams.kafka.producer import send_records
from streams.kafka.topics import ensure_topics
from tests.real.harness.topics import cut, widen

NOWHERE = "127.0.0.1:1"
TP = TopicPartition("events", 0)


class FailingConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka has no types
    """A real consumer, never started, whose next answers are told."""

    def __init__(self, fails: Exception) -> None:
        super().__init__(bootstrap_servers=NOWHERE, group_id=None)
        self._fails = fails
        self.assign([TP])

    async def getmany(self, *_partitions: Any, **_options: Any) -> Mapping[Any, Any]:
        raise self._fails

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Nothing is fetched."""


@asynccontextmanager
async def log_with(consumer: AIOKafkaConsumer) -> AsyncIterator[KafkaLog]:
    metadata = AIOKafkaConsumer(bootstrap_servers=NOWHERE, group_id=None)
    admin = AIOKafkaAdminClient(bootstrap_servers=NOWHERE)
    producer = AIOKafkaProducer(bootstrap_servers=NOWHERE)
    yield KafkaLog("events", "dead", consumer, metadata, admin, producer)
    for client in (consumer, metadata, producer):
        await client.stop()


@pytest.mark.parametrize("assigned", [False, True])
async def test_an_error_in_the_listener_is_raised_by_every_later_poll(assigned: bool) -> None:  # noqa: FBT001
    """The client would log the error and continue from its current position. Here it does not know the
    partition, or fails with an error of another kind, as it was never started."""
    consumer = AIOKafkaConsumer(bootstrap_servers=NOWHERE, group_id=None)
    if assigned:
        consumer.assign([TP])
    async with log_with(consumer) as log:
        log.take_assignment(frozenset({TP}))
        for _ in range(2):
            with pytest.raises(ConsumerBroken, match="the listener failed"):
                await log.poll(10, 0)


async def test_a_heartbeat_error_is_a_broken_consumer_and_not_an_empty_poll() -> None:
    async with log_with(FailingConsumer(kafka_errors.UnknownError("heartbeat"))) as log:
        with pytest.raises(ConsumerBroken, match="heartbeat"):
            await log.poll(10, 0)


@pytest.mark.parametrize(
    "error",
    [kafka_errors.OffsetOutOfRangeError({TP: 5}), kafka_errors.NoOffsetForPartitionError(TP)],
)
async def test_a_position_that_the_log_does_not_hold_is_a_new_assignment(
    error: Exception,
) -> None:
    """The worker then looks at the log's bounds, and refuses or seeks."""
    async with log_with(FailingConsumer(error)) as log:
        log.take_assignment(frozenset({TP}))
        log.seek({0: 5})
        polled = await log.poll(10, 0)
        assert polled == Polled(2, frozenset({0}), [])
        assert TP in log._consumer.paused()


class SilentProducer:
    """As an idempotent producer without a broker: it takes everything and answers never."""

    async def send(self, *_record: Any, **_more: Any) -> Awaitable[None]:
        return asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        await asyncio.get_running_loop().create_future()


async def test_what_is_not_acknowledged_in_time_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer_module, "SEND_S", 0.05)
    with pytest.raises(LogUnavailable, match="acknowledge 1 records"):
        await send_records(SilentProducer(), "dead", [(b"k", b"v", ())])


async def test_a_client_that_does_not_stop_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "CLOSE_S", 0.05)
    async with asyncio.timeout(5):
        await close_client(SilentProducer())
    (left,) = (t for t in asyncio.all_tasks() if t is not asyncio.current_task())
    left.cancel()


async def test_where_no_broker_answers_the_log_is_not_opened() -> None:
    with pytest.raises(LogUnavailable, match="accept a connection"):
        async with open_log(f"127.0.0.1:{free_port()}", "events", "dead", "group"):
            pass


# -- on a real Kafka -------------------------------------------------------------------------------


@pytest.mark.servers
async def test_a_topic_with_the_producers_times_is_rejected(kafka: Server, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        own_times = {"message.timestamp.type": "CreateTime"}
        await admin.create_topics([NewTopic(topic, 2, 1, None, own_times)])
    finally:
        await admin.close()
    with pytest.raises(InvalidConfig, match="it must be LogAppendTime"):
        await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=2)


@pytest.mark.servers
async def test_topics_are_created_once(kafka: Server, topic: str) -> None:
    made = await ensure_topics(
        kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=3
    )
    found = await ensure_topics(
        kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=5
    )
    assert [line.rpartition(", ")[2] for line in made + found] == [
        "created",
        "created",
        "exists",
        "exists",
    ]
    assert "3 partitions" in found[0]


@pytest.mark.servers
async def test_new_partitions_are_paused_until_a_seek_and_read_from_there(
    kafka: Server, topic: str
) -> None:
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    letters = [RejectedRecord(0, n, 0, "empty", "", "", f"{n}".encode(), ()) for n in range(5)]
    async with open_log(kafka.address, "elsewhere", topic, f"{topic}.writer") as writer:
        await writer.send_to_dlq(letters)
    async with open_log(kafka.address, topic, f"{topic}.dead", topic) as log:
        polled = await log.poll(10, 100)
        while not polled.partitions:
            polled = await log.poll(10, 100)
        for _ in range(3):
            assert (await log.poll(10, 100)).batches == []
        log.seek({0: 3})
        give_up_s = time.monotonic() + 20
        values: list[bytes | None] = []
        while len(values) < 2 and time.monotonic() < give_up_s:
            for batch in (await log.poll(1, 100)).batches:
                values += [record.value for record in batch.records]
                if batch.records:  # however much the client has fetched ahead
                    assert batch.end == batch.records[-1].offset + 1
        assert values == [b"3", b"4"]


@pytest.mark.servers
async def test_dead_letters_that_found_no_leader_do_not_block_later_ones(
    kafka: Server, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a broker is for seconds after its restart."""
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    letters = [RejectedRecord(0, n, 0, "empty", "", "", b"", ()) for n in range(5)]
    monkeypatch.setattr(producer_module, "ANSWER_S", 1.0)  # how long the client itself tries
    async with open_log(kafka.address, topic, f"{topic}.dead", topic) as log:
        await log.send_to_dlq(letters[:1])
        assert log._producer is not None
        with monkeypatch.context() as without_leader:
            without_leader.setattr(
                log._producer.client.cluster, "leader_for_partition", lambda _tp: -1
            )
            with pytest.raises(LogUnavailable, match="LeaderNotAvailable"):
                await log.send_to_dlq(letters[1:3])
        await log.send_to_dlq(letters[1:])
    monkeypatch.undo()
    ends = await read_bounds(kafka.address, f"{topic}.dead")
    assert ends[0].end == len(letters)


@pytest.mark.servers
async def test_added_partitions_are_read_after_the_next_poll_of_end_offsets(
    kafka: Server, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    for module in (consumer_module, offsets):
        monkeypatch.setattr(module, "METADATA_AGE_MS", 3_600_000)
    async with open_log(kafka.address, topic, f"{topic}.dead", topic) as log:
        while not (await log.poll(10, 100)).partitions:
            pass
        await widen(kafka.address, topic, 3)
        partitions: frozenset[int] = frozenset()
        give_up_s = time.monotonic() + 20
        while len(partitions) < 3 and time.monotonic() < give_up_s:
            await log.bounds()
            partitions = (await log.poll(10, 100)).partitions
        assert partitions == {0, 1, 2}


@pytest.mark.servers
async def test_a_position_that_retention_has_passed_never_jumps_by_itself(
    kafka: Server, topic: str
) -> None:
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    letters = [RejectedRecord(0, n, 0, "empty", "", "", f"{n}".encode(), ()) for n in range(5)]
    async with open_log(kafka.address, "elsewhere", topic, f"{topic}.writer") as writer:
        await writer.send_to_dlq(letters)
    await cut(kafka.address, topic, {0: 3})
    async with open_log(kafka.address, topic, f"{topic}.dead", topic) as log:
        polled = await log.poll(10, 100)
        while not polled.partitions:
            polled = await log.poll(10, 100)
        first = polled.assignment
        log.seek({0: 1})
        while polled.assignment == first:
            polled = await log.poll(10, 100)
            assert not any(batch.records for batch in polled.batches)
