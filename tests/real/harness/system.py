"""A topic, a Redis and worker processes; the oracle compares what they counted with the log."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final

import redis

from schemas.store.layout import FIRST_GENERATION, Meta, meta_key, unpack_meta
from streams.core.batch import Policy
from streams.kafka.topics import ensure_topics
from streams.redis.store import RedisStore
from streams.worker.settings import WorkerSettings
from tests.oracles.event_logs import Record
from tests.oracles.fold_oracle import Expected, expected, without_previews
from tests.oracles.redis_counters import read_chats, read_counters
from tests.oracles.redis_users import assert_told, read_people, read_recent
from tests.real.harness.child import Change
from tests.real.harness.topics import Ack, Load, ends_of, now_ms, producer_of, read_log
from tests.real.harness.workers import WorkerProcess, start_worker

POLL_PAUSE_S: Final = 0.05
WAIT_S: Final = 120.0
"""For whatever a worker does by itself: a takeover takes 6 s, a busy machine some times that."""
SMALL: Final = Policy(records_max=200, age_ms_min=50)
"""Many commits, so that there is always one that something can happen to."""
WHY_HEADERS: Final = 5
"""Headers that a dead letter has besides those of its record."""


@dataclass
class System:
    """Everything of one test; workers are started and ended by it."""

    settings: WorkerSettings
    directory: Path
    workers: list[WorkerProcess] = field(default_factory=list)
    started: int = 0
    generation: int = FIRST_GENERATION

    @property
    def topic(self) -> str:
        return self.settings.topic

    def worker(
        self, change: Change | None = None, *, prices: str = "", **changes: Any
    ) -> WorkerProcess:
        """One more process: `change` runs in it first, `changes` are settings that differ, `prices` is
        the text of its price file."""
        settings = self.settings.model_copy(update=changes)
        started = start_worker(settings, self.directory, self.started, change, prices)
        self.started += 1
        self.workers.append(started)
        return started

    async def make_topics(self, partitions: int) -> None:
        await ensure_topics(
            self.settings.kafka,
            events=self.topic,
            dead_letter=self.settings.dead_letter_topic,
            partitions=partitions,
        )

    @asynccontextmanager
    async def load(self, **options: Any) -> AsyncIterator[Load]:
        """A producer to this topic."""
        async with producer_of(self.settings.kafka, **options) as producer:
            yield Load(producer, self.topic)

    def store(self) -> RedisStore:
        return RedisStore(self.settings.redis)

    def meta(self) -> Meta | None:
        """None too while Redis does not answer, or loads its data."""
        with redis.Redis.from_url(self.settings.redis, socket_timeout=1) as client:
            try:
                data = client.get(meta_key(self.generation))
            except (redis.ConnectionError, redis.TimeoutError):
                return None
        return None if data is None else unpack_meta(data)

    def positions(self) -> dict[int, int]:
        meta = self.meta()
        return {n: p.position for n, p in enumerate(meta.partitions)} if meta else {}

    async def until(self, what: str, holds: Callable[[], object]) -> None:
        """Polls until `holds`, or what it gives to await, is true."""
        give_up_s = time.monotonic() + WAIT_S
        while True:
            found = holds()
            if await found if isawaitable(found) else found:
                return
            ended = [one.log.name for one in self.workers if one.has_failed()]
            assert not ended, f"waiting for {what}: {ended} ended by itself"
            assert time.monotonic() < give_up_s, f"never came: {what}; now: {self.meta()}"
            await asyncio.sleep(POLL_PAUSE_S)

    async def counted(self, records: int) -> None:
        """Until the positions have moved past so many records, all partitions together."""
        await self.until(
            f"{records} records counted", lambda: sum(self.positions().values()) >= records
        )

    async def caught_up(self) -> None:
        """Until the stored positions are the ends of the log: nothing may be in flight to it."""
        ends = await ends_of(self.settings.kafka, self.topic)
        await self.until(f"positions {ends}", lambda: self.positions() == ends)

    async def complete(self, at_ms: int | None = None) -> None:
        """Until complete_through has passed an instant, or now."""
        wanted_ms = now_ms() if at_ms is None else at_ms

        def is_complete() -> bool:
            meta = self.meta()
            return meta is not None and meta.complete_through_ms > wanted_ms

        await self.until(f"complete through {wanted_ms}", is_complete)

    def described(self) -> str:
        said = "\n".join(f"--- {one.log.name}\n{one.said()}" for one in self.workers)
        return f"{self.meta()}\n{said}"

    # -- the judgement -----------------------------------------------------------------------------

    async def judge(
        self, before: Sequence[Record] = (), unreadable: Sequence[Sequence[Record]] = ()
    ) -> Expected:
        """That counters, tallies and dead letters are what the oracle makes of the log; `before`
        are records that were counted and are there no longer."""
        records = [*before, *await read_log(self.settings.kafka, self.topic, unreadable)]
        want = expected(records)
        got = read_counters(self.settings.redis, self.generation)
        wrong = {c: (got.get(c), want.counters.get(c)) for c in got.keys() | want.counters.keys()}
        wrong = {cell: pair for cell, pair in wrong.items() if pair[0] != pair[1]}
        assert not wrong, f"{len(wrong)} cells differ (got, want): {dict([*wrong.items()][:5])}"
        assert_told(
            read_people(self.settings.redis),
            read_recent(self.settings.redis, self.generation),
            want,
        )
        assert read_chats(self.settings.redis) == without_previews(want.chats)
        async with self.store() as store:
            await store.meta()
            tallies = await store.tallies()
        # `differs` is what a worker still knows of earlier numbers: no promise.
        found = {
            name: n
            for name, n in tallies.items()
            if name != "differs" and not name.startswith("unknown:")
        }
        assert found == {
            **{f"dead:{reason}": n for reason, n in want.letters_by_reason.items()},
            **({"duplicate": want.duplicates} if want.duplicates else {}),
            **want.cost_tallies,
        }
        await self._judge_letters(records, want)
        return want

    async def _judge_letters(self, records: Sequence[Record], want: Expected) -> None:
        """By key there is one letter for each record that does not count, as it was."""
        letters: defaultdict[bytes | None, set[tuple[object, object]]] = defaultdict(set)
        for letter in await read_log(self.settings.kafka, self.settings.dead_letter_topic):
            letters[letter.key].add((letter.value, letter.headers))
        origins = {
            f"{self.topic}:{r.partition}:{r.offset}".encode(): r
            for r in records
            if (r.partition, r.offset) in want.letters
        }
        assert letters.keys() == origins.keys()
        for origin, record in origins.items():
            ((value, headers),) = letters[origin]  # written again, it is the same
            assert isinstance(headers, tuple)
            assert value == record.value
            assert headers[:-WHY_HEADERS] == record.headers
            why = dict(headers[-WHY_HEADERS:])
            assert why["odometer-origin"] == origin
            assert why["odometer-reason"].decode() == want.letters[record.partition, record.offset]
            if record.readable:
                assert int(why["odometer-append-ms"]) == record.append_ms


@asynccontextmanager
async def system_of(
    kafka: str, redis_url: str, directory: Path, partitions: int
) -> AsyncIterator[System]:
    """With its topics made, under names of their own; its processes end with it."""
    name = f"test.{secrets.token_hex(6)}"
    settings = WorkerSettings(
        kafka=kafka, redis=redis_url, topic=name, dead_letter_topic=f"{name}.dead", group=name
    )
    system = System(settings, directory)
    await system.make_topics(partitions)
    try:
        yield system
    finally:
        for worker in system.workers:
            worker.discard()
        print(system.described())  # which pytest shows of a test that failed


@dataclass
class Watch:
    """Reads the meta record over and over, to say afterwards whether complete_through ever lied."""

    system: System
    seen: list[tuple[int, dict[int, int]]] = field(default_factory=list)
    """complete_through and the positions beside it, in one read."""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _look(self) -> None:
        while True:
            meta = self.system.meta()
            if meta is not None:
                positions = {n: p.position for n, p in enumerate(meta.partitions)}
                self.seen.append((meta.complete_through_ms, positions))
            await asyncio.sleep(POLL_PAUSE_S)

    def judge(self, acks: Sequence[Ack]) -> None:
        """Whatever was acknowledged before complete_through was counted when it was read."""
        assert self.seen
        for complete_ms, positions in self.seen:
            late = [
                ack
                for ack in acks
                if ack.at_ms < complete_ms and ack.offset >= positions.get(ack.partition, 0)
            ]
            assert not late, f"complete through {complete_ms} at {positions}, but: {late[:5]}"
