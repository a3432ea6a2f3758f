"""The fake log of the simulation: `streams.core.ports.Log` and `Clock` on a broker in memory.

The broker holds records by partition, with gaps where markers and aborted records would be.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from schemas.event.identity import SECRET_BYTES, IdSecret, new_secret
from streams.core.decode import Unreadable
from streams.core.ports import LastRecord, OffsetBounds, PartitionBatch, Polled, RejectedRecord
from tests.oracles.event_logs import Record
from tests.simulation.faults import pause

if TYPE_CHECKING:
    from tests.simulation.world import World


class PolledRecord(NamedTuple):
    """One record as the worker sees it."""

    offset: int
    timestamp: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Appended(NamedTuple):
    """A record and the log that it was appended to: a recreated topic is another log."""

    log: int
    record: Record


class Broker:
    """The topic: records by partition, with gaps for markers and aborted records."""

    def __init__(self, partitions: int) -> None:
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.starts = [0] * partitions
        self.ends = [0] * partitions
        self.log = 0  # goes up when the topic is recreated
        self.bases = [0] * partitions  # planned offset of the log's first record
        self.held: dict[int, int] = {}  # partition to the first offset of an open transaction
        self.letters: dict[tuple[int, int], str] = {}
        self.targets: dict[int, tuple[int, frozenset[int]]] = {}  # of each member
        self.rebalances = 0

    def append(self, record: Record, gap_after: int) -> None:
        self.records[record.partition].append(record)
        self.ends[record.partition] = record.offset + 1 + gap_after

    def add_partition(self) -> None:
        self.records.append([])
        for numbers in (self.starts, self.ends, self.bases):
            numbers.append(0)

    def recreate(self) -> None:
        self.log += 1
        for partition, end in enumerate(self.ends):
            self.records[partition] = []
            self.bases[partition] += end
            self.starts[partition] = self.ends[partition] = 0
        self.held.clear()

    def visible_end(self, partition: int) -> int:
        return min(self.ends[partition], self.held.get(partition, self.ends[partition]))

    def rebalance(self, members: Sequence[int], rng: random.Random) -> None:
        self.rebalances += 1
        shares: dict[int, set[int]] = {member: set() for member in members}
        for partition in range(len(self.ends)):
            if members:
                shares[rng.choice(members)].add(partition)
        self.targets = {m: (self.rebalances, frozenset(share)) for m, share in shares.items()}


class FakeLog:
    """`streams.core.ports.Log` of one member. It learns of a rebalance at any await, in its background,
    or at a poll: until then it hands over what it no longer owns, as real ones do."""

    def __init__(self, world: World, member: int) -> None:
        self.world = world
        self.member = member
        self.assignment = 0
        self.seen = 0
        self.assigned: frozenset[int] = frozenset()
        self.log = world.broker.log  # to the consumer, a recreated topic is another one
        self.positions: dict[int, int] = {}  # of resumed partitions
        self.world.logs[member] = self

    async def poll(self, records_max: int, wait_ms: int) -> Polled:
        world = self.world
        await world.turn("poll", self.member)
        if world.rng.random() < 0.3:
            self.hear_of_rebalance()
        if any(not self._holds(p, at) for p, at in self.positions.items()):
            self.take_assignment(self.assigned)
        batches = [b for p in list(self.positions) if (b := self._batch(p, records_max))]
        if not batches and wait_ms:
            self.hear_of_rebalance()
            await pause(world.now_ms + wait_ms)
        return Polled(self.assignment, self.assigned, batches)

    def hear_of_rebalance(self) -> None:
        """What the consumer's background task does, the listener included."""
        target, share = self.world.broker.targets.get(self.member, (self.seen, self.assigned))
        if target != self.seen:
            self.seen = target
            self.take_assignment(share)

    def take_assignment(self, share: frozenset[int]) -> None:
        self.assigned = share
        self.positions = {}
        self.assignment += 1
        self.log = self.world.broker.log

    def _holds(self, partition: int, position: int) -> bool:
        """Whether the broker has this offset; of a topic that it forgot a consumer hears later."""
        broker = self.world.broker
        return self.log != broker.log or (
            broker.starts[partition] <= position <= broker.ends[partition]
        )

    def _batch(self, partition: int, records_max: int) -> PartitionBatch | None:
        broker, rng = self.world.broker, self.world.rng
        if self.log != broker.log:
            return None
        position = self.positions[partition]
        records = broker.records[partition]
        at = bisect_left(records, position, key=lambda record: record.offset)
        visible = broker.visible_end(partition)
        taken = [
            r
            for r in records[at : at + rng.randint(0, records_max)]
            if position <= r.offset < visible
        ]
        end = taken[-1].offset + 1 if taken else position
        upcoming = records[at + len(taken)].offset if at + len(taken) < len(records) else visible
        if rng.random() < 0.7:  # markers are passed with the records before them, or later
            end = max(end, min(upcoming, visible))
        if end == position:
            return None
        self.positions[partition] = end
        return PartitionBatch(partition, end, [_as_polled(record) for record in taken])

    def seek(self, positions: Mapping[int, int]) -> None:
        self.positions |= {p: at for p, at in positions.items() if p in self.assigned}

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        await self.world.turn("bounds request", self.member)
        broker = self.world.broker
        found = {p: OffsetBounds(broker.starts[p], end) for p, end in enumerate(broker.ends)}
        await self.world.turn("bounds reply", self.member)
        return found

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:
        await self.world.turn("record at", self.member)
        records = self.world.broker.records[partition]
        at = bisect_left(records, offset, key=lambda record: record.offset)
        return LastRecord(records[at].offset, records[at].append_ms) if at < len(records) else None

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        for one in rejected:
            await self.world.turn("dead letter request", self.member)
            self.world.broker.letters[one.partition, one.offset] = one.reason
        await self.world.turn("dead letter reply", self.member)


class WholeLog(FakeLog):
    """As a rebuild reads it: all partitions, without the group."""

    def __init__(self, world: World, member: int) -> None:
        super().__init__(world, member)
        self.take_assignment(frozenset(range(len(world.broker.ends))))

    def hear_of_rebalance(self) -> None:
        partitions = frozenset(range(len(self.world.broker.ends)))
        if partitions != self.assigned:
            self.take_assignment(partitions)

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        """Nothing, as the real one."""


def _as_polled(record: Record) -> PolledRecord | Unreadable:
    if not record.readable:
        return Unreadable(record.offset, record.append_ms, "rotted")
    return PolledRecord(record.offset, record.append_ms, record.value, record.headers)


class SimulatedClock:
    def __init__(self, world: World, member: int) -> None:
        self._world = world
        self._member = member

    def now_ms(self) -> int:
        return self._world.now_ms

    def commit_id(self) -> bytes:
        return self._world.rng.randbytes(16)

    def secret(self) -> IdSecret:
        return new_secret(self._world.rng.randbytes(SECRET_BYTES))

    async def sleep(self, ms: int) -> None:
        await pause(self._world.now_ms + ms)

    async def breathe(self) -> None:
        await self._world.turn("breathe", self._member)
