"""Real workers count a real topic as the oracle does, to the last unit."""

from __future__ import annotations

import random

import pytest
import redis

from schemas.units import iso
from tests.oracles.event_logs import Mix, event, mixed
from tests.real.harness.system import SMALL, System, Watch
from tests.real.harness.topics import (
    Ack,
    Load,
    Sent,
    as_sent,
    ends_of,
    now_ms,
    producer_of,
    read_log,
    send_with_unreadable,
    sent,
    widen,
)

pytestmark = pytest.mark.servers

MIX = Mix(partitions=4, resent_percent=2, invalid_percent=3, step_ms=0)


def events(label: str, count: int) -> list[Sent]:
    """Plain valid events of now."""
    at = iso(now_ms())
    return [sent(event(id=f"{label}-{n}", time=at)) for n in range(count)]


async def test_two_workers_count_every_event_once_and_bury_what_cannot_count(
    system: System,
) -> None:
    records = as_sent(mixed(random.Random(1), 5000, start_ms=now_ms(), mix=MIX))
    system.worker(policy=SMALL)
    watch = Watch(system)
    async with system.load() as load, watch.watching():
        await load.send(records[:1000])
        await system.counted(500)
        second = system.worker(policy=SMALL)  # joins while there is load
        await load.at_rate(records[1000:], per_s=2000)
        await system.caught_up()
        await system.complete()
    want = await system.judge()
    watch.judge(load.acks)
    assert want.duplicates > 50
    assert len(want.letters_by_reason) >= 6
    await system.until("the second worker answers", second.health)
    health = await second.health()
    assert health["status"] == 200
    assert health["state"] == "counting"
    assert health["lag"] == 0
    assert now_ms() - health["progress_ms"] < 5000


async def test_aborted_records_do_not_count_and_markers_do_not_hold_freshness_back(
    system: System,
) -> None:
    system.worker()
    async with (
        system.load() as load,
        producer_of(system.settings.kafka, transactional_id=system.topic) as producer,
    ):
        transactional = Load(producer, system.topic)
        for number in range(6):
            await load.send(events(f"plain-{number}", 40))
            await producer.begin_transaction()
            await transactional.send(events(f"in-{number}", 40))
            await load.send(events(f"beside-{number}", 40))
            if number % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
    await system.caught_up()
    await system.complete()
    want = await system.judge()
    assert want.accepted == 6 * 80 + 3 * 40
    log = await read_log(system.settings.kafka, system.topic)
    ends = await ends_of(system.settings.kafka, system.topic)
    last = {r.partition: r.offset for r in log}
    assert any(ends[p] > offset + 1 for p, offset in last.items())  # markers stand at the end


async def test_an_open_transaction_holds_complete_through_back_until_it_is_committed(
    system: System,
) -> None:
    system.worker()
    watch = Watch(system)
    async with (
        watch.watching(),
        system.load() as load,
        producer_of(system.settings.kafka, transactional_id=system.topic) as producer,
    ):
        transactional = Load(producer, system.topic)
        await load.send(events("before", 50), partition=0)
        await system.complete()
        await producer.begin_transaction()
        await transactional.send(events("open", 20), partition=0)
        open_ms = now_ms()
        await load.send(events("behind", 50), partition=0)
        await load.send(events("elsewhere", 50), partition=1)

        def others_went_on() -> bool:
            meta = system.meta()
            return meta is not None and meta.partitions[1].complete_ms > open_ms + 2000

        await system.until("the other partitions are complete", others_went_on)
        meta = system.meta()
        assert meta is not None
        assert meta.complete_through_ms <= open_ms
        assert meta.partitions[0].position == 50
        await producer.commit_transaction()
        await system.complete()
        await system.caught_up()
    watch.judge([*load.acks, *transactional.acks])
    assert (await system.judge()).accepted == 170


async def test_a_record_that_the_client_cannot_read_is_buried_alone(system: System) -> None:
    """First, in the middle and last of a batch, among good ones of all partitions."""
    async with system.load() as load:
        await load.send(events("before", 400))
        batches = [
            await send_with_unreadable(
                load.producer, system.topic, 0, events(f"around-{broken}", 30), broken
            )
            for broken in (0, 13, 29)
        ]
        await load.send(events("after", 400))
        worker = system.worker()
        await system.counted(890)
        batches.append(
            await send_with_unreadable(load.producer, system.topic, 0, events("live", 30), 7)
        )
        await system.caught_up()  # what was counted last stands in a batch that cannot be read
        worker.kill()
        worker = system.worker()
        await load.send(events("at last", 100))
    await system.caught_up()
    await system.complete()
    want = await system.judge(unreadable=batches)
    assert want.letters_by_reason == {"unreadable": 4}
    assert want.accepted == 900 + 4 * 29


async def test_an_unreadable_record_behind_aborted_ones_is_one_dead_letter(
    system: System,
) -> None:
    """The position stands before the aborted records, the record behind them."""
    async with producer_of(system.settings.kafka, transactional_id=system.topic) as producer:
        transactional = Load(producer, system.topic)
        await producer.begin_transaction()
        await transactional.send(events("aborted", 20), partition=0)
        await producer.abort_transaction()
    async with system.load() as load:
        batches = [
            await send_with_unreadable(load.producer, system.topic, 0, events(f"{n}", 1), 0)
            for n in range(3)
        ]
        await load.send(events("elsewhere", 100), partition=1)
    system.worker()
    await system.caught_up()
    await system.complete()
    want = await system.judge(unreadable=batches)
    assert want.letters.keys() == {(0, batch[0].offset) for batch in batches}


async def test_new_partitions_are_counted_from_their_beginning_and_freshness_never_lies(
    system: System,
) -> None:
    system.worker()
    system.worker()
    watch = Watch(system)
    async with system.load() as load, watch.watching():
        await load.send(events("narrow", 200))
        await system.caught_up()
        await widen(system.settings.kafka, system.topic, 6)
        number = 0
        while len({ack.partition for ack in load.acks}) < 6 or len(system.positions()) < 6:
            await load.at_rate(events(f"wide-{number}", 50), per_s=500)
            number += 1
        await load.at_rate(events("noticed", 500), per_s=500)
        await system.caught_up()
        await system.complete()
    watch.judge(load.acks)
    new = [ack for ack in load.acks if ack.partition >= 4]
    assert {ack.offset for ack in new} >= {0}
    await system.judge()


async def test_an_emptied_redis_is_filled_again_from_a_whole_log(system: System) -> None:
    system.worker()
    records = as_sent(mixed(random.Random(2), 1500, start_ms=now_ms(), mix=MIX))
    async with system.load() as load:
        await load.send(records[:1000])
        await system.caught_up()
        with redis.Redis.from_url(system.settings.redis) as client:
            client.flushall()
            client.function_flush()
        await load.send(records[1000:])
    await system.caught_up()
    await system.complete()
    await system.judge()


def test_the_watch_sees_a_lie() -> None:
    """The judge of complete_through can fail."""
    watch = Watch.__new__(Watch)
    watch.seen = [(1000, {0: 5})]
    watch.judge([Ack(0, 4, 900), Ack(0, 5, 1000)])
    with pytest.raises(AssertionError, match="but:"):
        watch.judge([Ack(0, 5, 999)])
    with pytest.raises(AssertionError, match="but:"):
        watch.judge([Ack(1, 0, 999)])
