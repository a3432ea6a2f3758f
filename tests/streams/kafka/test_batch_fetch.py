"""Reading whole batches returns the records that aiokafka's own `getmany` returns."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from deploy.local.servers import Server
from streams.kafka.batch_fetch import KeptRecords, WholeBatches, as_fetched, install
from streams.kafka.consumer import KafkaLog, open_log
from streams.kafka.topics import ensure_topics
from tests.real.harness.topics import producer_of

TP = TopicPartition("events", 0)
CRC_AT, ATTRIBUTES_AT, LAST_DELTA_AT = 17, 21, 23
CONTROL = 0x20
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"
AIOKAFKAS = WholeBatches.__base__
CODECS = (0, 1, 3, 4)  # none, gzip, lz4, zstd


class Read(NamedTuple):
    """One record, or the position after a call."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def batch_of(
    first: int, records: Sequence[tuple[int, bytes | None]], *, size: int, producer: int = -1,
    codec: int = 0, control: bytes = b"", key: str = "h",
) -> bytes:  # fmt: skip
    """A batch as a broker keeps it: (offset, value) of those of its `size` records that it has."""
    builder = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, 0, 1 << 20)
    for offset, value in records:
        headers = [(key, b"1")] if offset % 3 == 0 else []
        builder.append(offset - first, 1000 + offset, control or b"k", value, headers)
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, first)
    struct.pack_into(">i", raw, LAST_DELTA_AT, size - 1)
    if control:
        raw[ATTRIBUTES_AT + 1] |= CONTROL
    struct.pack_into(">I", raw, CRC_AT, calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    return bytes(raw)


def some_log(rng: random.Random) -> tuple[bytes, list[tuple[int, int]], int]:
    """An answer to a fetch: batches, aborted transactions (producer, first offset), where it was
    asked for, which may lie within a batch."""
    raw, aborted, at = b"", [], rng.randrange(100)
    start = at
    open_: dict[int, bool] = {}
    for _ in range(rng.randrange(1, 12)):
        producer = rng.choice((-1, -1, 7, 8))
        if producer in open_ and rng.random() < 0.5:
            marker = ABORT if open_.pop(producer) else COMMIT
            raw += batch_of(at, [(at, b"\0\0\0\0\0\0")], size=1, producer=producer, control=marker)
            at += 1
            continue
        if producer >= 0 and producer not in open_:
            open_[producer] = rng.random() < 0.5
            if open_[producer]:
                aborted.append((producer, at))
        size = rng.randrange(1, 9)
        kept = [at + n for n in range(size) if rng.random() < 0.8]
        values = [(offset, rng.choice((None, b"", b"v" * offset))) for offset in kept]
        raw += batch_of(at, values, size=size, producer=producer, codec=rng.choice(CODECS))
        at += size
    return raw, aborted, start + rng.randrange(3)


def reader(kind: Any, raw: bytes, aborted: Any, start: int, level: int) -> Any:
    return kind(TP, KeptRecords(raw), aborted, start, None, as_fetched, True, level)


def read_by_aiokafka(found: Any, records_max: int) -> tuple[list[Read], int]:
    """As FetchResult.getall does; the position is where the next fetch would begin."""
    taken: list[Read] = []
    for one in found:
        headers = tuple(one.headers)
        taken.append(Read(one.offset, one.timestamp, one.key, one.value, headers))
        if len(taken) >= records_max:
            break
    return taken, found.next_fetch_offset


def read_whole(found: WholeBatches, records_max: int) -> tuple[list[Read], int]:
    taken = [
        Read(one.offset, one.timestamp, one.key, one.value, tuple(one.headers))
        for one in found.take(records_max)
    ]
    return taken, found.next_fetch_offset


@pytest.mark.parametrize("level", [fetcher.READ_COMMITTED, fetcher.READ_UNCOMMITTED])
def test_batches_are_read_as_aiokafka_reads_them(level: int) -> None:
    """Gaps of compaction, markers, aborted and committed transactions, empty batches, codecs."""
    for seed in range(500):
        rng = random.Random(seed)
        raw, aborted, start = some_log(rng)
        plain, whole = (
            reader(kind, raw, aborted, start, level) for kind in (AIOKAFKAS, WholeBatches)
        )
        while True:
            records_max = rng.randrange(1, 10)
            records, position = read_by_aiokafka(plain, records_max)
            own, own_position = read_whole(whole, records_max)
            assert own == records, seed
            if len(records) < records_max:
                assert own_position == position, seed
                break
            # Ours may already stand behind what follows the last record and is to be skipped.
            assert own_position >= position, seed


def test_the_installed_aiokafka_is_the_pinned_one() -> None:
    assert install()
    assert fetcher.PartitionRecords is WholeBatches


def broken_header(raw: bytes) -> bytes:
    """The header's key is no UTF-8 any more."""
    changed = bytearray(raw.replace(b"\x02h", b"\x02\xff", 1))
    struct.pack_into(">I", changed, CRC_AT, calc_crc32c(bytes(changed[ATTRIBUTES_AT:])))
    return bytes(changed)


@pytest.mark.parametrize("rotten", [False, True])
def test_an_unreadable_batch_raises_and_nothing_after_it_is_returned(
    rotten: bool,  # noqa: FBT001
) -> None:
    good, bad, behind = (
        batch_of(at, [(at + n, b"v") for n in range(3)], size=3) for at in (0, 3, 6)
    )
    bad = bad[:-1] + b"\x07" if rotten else broken_header(bad)
    whole = reader(WholeBatches, good + bad + behind, [], 0, fetcher.READ_COMMITTED)
    assert [record.offset for record in whole.take(3)] == [0, 1, 2]
    with pytest.raises(CorruptRecordException if rotten else UnicodeDecodeError):
        whole.take(10)
    assert whole.take(10) == []
    assert whole.next_fetch_offset == 3


# -- on a real Kafka -------------------------------------------------------------------------------


async def values_of(log: KafkaLog, end: int) -> tuple[list[bytes | None], list[int]]:
    """All of partition 0, some at a time; the positions in between."""
    polled = await log.poll(10, 100)
    while not polled.partitions:
        polled = await log.poll(10, 100)
    log.seek({0: 0})
    values: list[bytes | None] = []
    positions = [0]
    while positions[-1] < end:
        for batch in (await log.poll(7, 1000)).batches:
            values += [record.value for record in batch.records]
            assert all(positions[-1] <= r.offset < batch.end for r in batch.records)
            positions.append(batch.end)
    return values, positions


@pytest.mark.servers
async def test_a_real_log_with_transactions_is_the_same_by_getmany(
    kafka: Server, topic: str
) -> None:
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    committed: list[bytes | None] = []
    async with producer_of(kafka.address, transactional_id=topic) as producer:
        for number in range(6):
            await producer.begin_transaction()
            values = [f"{number}.{n}".encode() for n in range(5)]
            for value in values:
                await producer.send(topic, value, partition=0)
            if number % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                committed += values
    async with producer_of(kafka.address, compression_type="lz4") as producer:
        for n in range(20):
            await producer.send(topic, f"{n}".encode(), partition=0)
            committed.append(f"{n}".encode())
    end = 6 * (5 + 1) + 20
    for whole_batches in (True, False):
        async with open_log(
            kafka.address, topic, f"{topic}.dead", f"{topic}.{whole_batches}",
            whole_batches=whole_batches,
        ) as log:  # fmt: skip
            found, positions = await values_of(log, end)
        assert found == committed
        assert positions[-1] == end
