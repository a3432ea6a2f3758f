"""The sample producer: history once, then live, whatever fails in between. The rules on a broker in
memory, which fails on demand; and once on a real one that is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.local.servers import Server
from deploy.sample.sender import BATCH_EVENTS_MAX, LIVE_BEHIND_MS_MAX, Bookmark, run
from deploy.sample.session import Event
from deploy.sample.traffic import history, live
from schemas.errors import LogUnavailable
from schemas.event.usage_event import parse_usage
from schemas.limits import DAY_MS, SECOND_MS
from schemas.units import instant_to_ms
from streams.kafka.topics import ensure_topics
from tests.oracles.event_logs import NOW_MS, key_of


@dataclass
class Broker:
    """A topic in memory. `failures`: how many of the next requests fail; half of what a failed
    request carried has arrived nevertheless."""

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    failures: int = 0
    connections: int = 0
    requests: int = 0
    on_send: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def connect(self, _kafka: str) -> AsyncIterator[Broker]:
        self.connections += 1
        yield self

    async def send(self, _topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        self.requests += 1
        self.on_send()
        if self.failures:
            self.failures -= 1
            self.records += records[: len(records) // 2]
            raise LogUnavailable("no answer")
        self.records += records

    async def end_offsets(self, _topic: str) -> Mapping[int, int]:
        return {0: len(self.records), 1: 0}

    @property
    def events(self) -> list[Event]:
        return [msgspec.json.decode(value) for _, value in self.records]

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]


async def simulate(broker: Broker, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "seed": 1,
        "rate_per_s": 0,
        "history_days": 2,
        "progress": None,
        "stop": asyncio.Event(),
        "now_ms": lambda: NOW_MS,
        "connect": broker.connect,
        **changes,
    }
    await run("127.0.0.1:9", "usage.events", **settings)


def two_days() -> list[str]:
    return [event["id"] for event in history(1, NOW_MS - 2 * DAY_MS, NOW_MS, 5000)]


async def test_history_is_sent_once_with_the_keys_of_its_events() -> None:
    broker = Broker()
    told: list[tuple[int, int]] = []
    await simulate(broker, progress=lambda sent, total: told.append((sent, total)))
    assert broker.ids == two_days()
    assert [key for key, _ in broker.records] == [key_of(event) for event in broker.events]
    assert told == sorted(told)
    assert told[-1] == (len(broker.records), len(broker.records))
    assert all(sent < total for sent, total in told[:-1])
    await simulate(broker)
    assert broker.ids == two_days()


async def test_a_topic_that_others_have_written_to_gets_no_history(tmp_path: Path) -> None:
    broker = Broker(records=[(b"k", b"{}")])
    await simulate(broker, bookmark_path=tmp_path / "history")
    assert len(broker.records) == 1


async def test_a_broker_that_fails_loses_nothing() -> None:
    broker = Broker(failures=2)
    await simulate(broker)
    assert broker.connections == 3
    assert len(broker.ids) > len(two_days())  # the half that had arrived came again
    assert list(dict.fromkeys(broker.ids)) == two_days()


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_history_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    """Killed between an acknowledgement and the bookmark: at most one batch is sent again. The next
    start is a day later, and still sends the history that was begun."""
    path = tmp_path / "history"
    broker = Broker()

    def kill() -> None:
        if broker.requests == after + 1:
            raise KilledError

    broker.on_send = kill
    with pytest.raises(KilledError):
        await simulate(broker, bookmark_path=path)
    broker.on_send = lambda: None
    await simulate(broker, bookmark_path=path, now_ms=lambda: NOW_MS + DAY_MS * (after > 0))
    assert broker.ids == two_days()
    await simulate(broker, bookmark_path=path)
    assert broker.ids == two_days()


async def test_a_killed_bookmark_sends_one_batch_again_with_its_ids(tmp_path: Path) -> None:
    path = tmp_path / "history"
    broker = Broker()

    def keep_bookmark() -> None:
        if broker.requests == 3:
            kept.append(path.read_bytes())

    kept: list[bytes] = []
    broker.on_send = keep_bookmark
    await simulate(broker, bookmark_path=path)
    whole = broker.ids
    broker.records = broker.records[: 3 * BATCH_EVENTS_MAX]  # as when killed after the third
    path.write_bytes(kept[0])
    await simulate(broker, bookmark_path=path)
    assert list(dict.fromkeys(broker.ids)) == whole
    assert len(broker.ids) == len(whole) + BATCH_EVENTS_MAX


async def test_a_damaged_bookmark_sends_no_history_twice(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"")
    broker = Broker(records=[(b"k", b"{}")])
    await simulate(broker, bookmark_path=path)
    assert len(broker.records) == 1


class KilledError(Exception):
    pass


@dataclass
class Clock:
    """Moves on by a step each time that it is read; after the last one all is to stop."""

    steps_ms: list[int]
    at_ms: int = NOW_MS
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def now_ms(self) -> int:
        if self.steps_ms:
            self.at_ms += self.steps_ms.pop(0)
        else:
            self.stop.set()
        return self.at_ms


async def test_live_events_come_when_their_time_has_come_and_follow_history() -> None:
    broker = Broker()
    clock = Clock([0, 20 * SECOND_MS, *[SECOND_MS] * 10])
    await simulate(broker, rate_per_s=20, stop=clock.stop, now_ms=clock.now_ms)
    events = [parse_usage(event) for event in broker.events]
    past, present = events[: len(two_days())], events[len(two_days()) :]
    assert [usage.id for usage in past] == two_days()
    times = [instant_to_ms(usage.time) for usage in present]
    assert times[-1] <= clock.at_ms
    assert [usage.id for usage in present] == [
        event["id"] for at_ms, event in upto(clock.at_ms, live(1, NOW_MS, 20)) if at_ms <= times[-1]
    ]
    assert len(present) > 30 * 10


def upto(end_ms: int, timed: Iterator[tuple[int, Event]]) -> Iterator[tuple[int, Event]]:
    return takewhile(lambda one: one[0] <= end_ms, timed)


async def test_what_a_long_outage_missed_is_skipped() -> None:
    broker = Broker(records=[(b"k", b"{}")])
    clock = Clock([0, SECOND_MS, SECOND_MS, 2 * LIVE_BEHIND_MS_MAX, SECOND_MS, SECOND_MS, 1])
    await simulate(broker, rate_per_s=50, stop=clock.stop, now_ms=clock.now_ms)
    times = [instant_to_ms(parse_usage(event).time) for event in broker.events[1:]]
    gaps = sorted(after - before for before, after in pairwise(times))
    assert gaps[-1] > LIVE_BEHIND_MS_MAX
    assert gaps[-2] < SECOND_MS


@pytest.mark.parametrize("frozen", ["connect", "send", "end_offsets"])
async def test_stop_does_not_wait_for_a_broker_that_is_away(frozen: str) -> None:
    stop, asked = asyncio.Event(), asyncio.Event()

    class Frozen(Broker):
        async def send(self, _topic: str, _records: Sequence[tuple[bytes, bytes]]) -> None:
            await self.freeze("send")

        async def end_offsets(self, topic: str) -> Mapping[int, int]:
            await self.freeze("end_offsets")
            return await super().end_offsets(topic)

        @asynccontextmanager
        async def connect(self, _kafka: str) -> AsyncIterator[Broker]:
            await self.freeze("connect")
            yield self

        @staticmethod
        async def freeze(where: str) -> None:
            if where == frozen:
                asked.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(simulate(Frozen(), stop=stop))
    await asked.wait()
    stop.set()
    await asyncio.wait_for(task, 5)


# -- a real broker ---------------------------------------------------------------------------------

PARTITIONS = 3


@pytest.mark.servers
async def test_a_real_broker_killed_in_the_middle_of_history(
    own_kafka: Server, topic: str, tmp_path: Path
) -> None:
    """Every event of history arrives at least once, then live ones; a second start adds none."""
    await ensure_topics(
        own_kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=PARTITIONS
    )
    stop, killed = asyncio.Event(), asyncio.Event()

    def progress(sent: int, _total: int) -> None:
        if sent == 2 * BATCH_EVENTS_MAX and not killed.is_set():
            own_kafka.kill()
            killed.set()

    path = tmp_path / "history"
    producing = asyncio.create_task(start_simulation(own_kafka, topic, path, progress, stop, 50))
    await asyncio.wait_for(killed.wait(), 30)
    await asyncio.to_thread(own_kafka.restart)
    ids, live_ids = await read_until_live(own_kafka, topic)
    stop.set()
    await asyncio.wait_for(producing, 10)

    bookmark = msgspec.json.decode(path.read_bytes(), type=Bookmark)
    assert bookmark.complete
    expected = [event["id"] for event in history(1, bookmark.start_ms, bookmark.end_ms, 5000)]
    assert bookmark.sent == len(expected) > 3 * BATCH_EVENTS_MAX
    assert set(expected) == set(ids)
    assert len(live_ids) >= 20
    again: list[tuple[int, int]] = []
    await start_simulation(
        own_kafka, topic, path, lambda *told: again.append(told), asyncio.Event(), 0
    )
    assert again == []


async def start_simulation(
    kafka: Server,
    topic: str,
    path: Path,
    progress: Callable[[int, int], None],
    stop: asyncio.Event,
    rate_per_s: float,
) -> None:
    await run(
        kafka.address,
        topic,
        seed=1,
        rate_per_s=rate_per_s,
        history_days=3,
        progress=progress,
        stop=stop,
        now_ms=lambda: time.time_ns() // 1_000_000,
        bookmark_path=path,
    )


async def read_until_live(kafka: Server, topic: str) -> tuple[list[str], list[str]]:
    """The ids of history and of the first live events. A partition that has a live event has all of
    its history before it."""
    ids: list[str] = []
    live_ids: list[str] = []
    live_in: set[int] = set()
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.address, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            while len(live_ids) < 20 or len(live_in) < PARTITIONS:
                record = await consumer.getone()
                name = msgspec.json.decode(record.value)["id"]
                if name.startswith("l"):
                    live_in.add(record.partition)
                    live_ids.append(name)
                else:
                    ids.append(name)
    finally:
        await consumer.stop()
    return ids, live_ids
