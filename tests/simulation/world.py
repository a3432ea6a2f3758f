"""The seeded simulation: real workers on a fake log and a fake store, stepped by one scheduler.

Every await of a worker that reaches outside is a turn: the scheduler may go on with another worker,
let it crash there, pause it past its session, lose the request, lose the reply, bring the store
back from an older copy or empty it. The same seed gives the same run.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import coroutine
from typing import Any, Final, NamedTuple

from schemas.errors import ConsumerBroken, LogUnavailable, StoreUnavailable
from schemas.views import generation_digest
from streams.batch import Policy
from streams.decode import Unreadable
from streams.ports import Bounds, Letter, PartitionBatch, Polled, Witness
from streams.worker import Timing, Worker
from tests.events import Record
from tests.oracle import Oracle
from tests.simulation.store import Bugs, FakeStore, State

DIGEST: Final = generation_digest("simulated")
POLICY: Final = Policy(records_max=7, bytes_max=1 << 20, age_ms_max=30)
TIMING: Final = Timing(pass_ms=200, clock_skew_ms=0, recheck_ms=500, stalled_ms=10**9)
STEPS_MAX: Final = 60_000
"""Of one seed: a run that takes more is stuck. Usual are 500 to 3,000."""


class Polled1(NamedTuple):
    """One record as the worker sees it."""

    offset: int
    timestamp: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@coroutine
def pause(wake_ms: int) -> Generator[int, None, None]:
    """Gives the turn to the scheduler; goes on at `wake_ms` at the earliest."""
    yield wake_ms


@dataclass
class Faults:
    """Chances a turn, in percent."""

    crash: float = 0.4
    freeze: float = 0.3
    lost_request: float = 1.0
    lost_reply: float = 1.0
    rollback: float = 0.1
    emptied: float = 0.02
    rebalance: float = 0.5
    broken_consumer: float = 0.1


NO_FAULTS: Final = Faults(0, 0, 0, 0, 0, 0, 0, 0)


class Broker:
    """The topic: records by partition, with gaps where markers and aborted records stand."""

    def __init__(self, partitions: int) -> None:
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.ends = [0] * partitions
        self.held: dict[int, int] = {}  # partition to the first offset of an open transaction
        self.letters: dict[tuple[int, int], str] = {}
        self.targets: dict[int, tuple[int, frozenset[int]]] = {}  # of each member
        self.rebalances = 0

    def append(self, record: Record, gap_after: int) -> None:
        self.records[record.partition].append(record)
        self.ends[record.partition] = record.offset + 1 + gap_after

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
    """`streams.ports.Log` of one member. It learns of a rebalance at any await, in its background,
    or at a poll: until then it hands over what it no longer owns, as real ones do."""

    def __init__(self, world: World, member: int) -> None:
        self.world = world
        self.member = member
        self.assignment = 0
        self.seen = 0
        self.assigned: frozenset[int] = frozenset()
        self.positions: dict[int, int] = {}  # of resumed partitions
        self.world.logs[member] = self

    async def poll(self, records_max: int, wait_ms: int) -> Polled:
        world = self.world
        await world.turn("poll", self.member)
        if world.rng.random() < 0.3:
            self.hear_of_rebalance()
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

    def _batch(self, partition: int, records_max: int) -> PartitionBatch | None:
        broker, rng = self.world.broker, self.world.rng
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

    async def bounds(self) -> Mapping[int, Bounds]:
        await self.world.turn("bounds request", self.member)
        found = {p: Bounds(0, end) for p, end in enumerate(self.world.broker.ends)}
        await self.world.turn("bounds reply", self.member)
        return found

    async def witness(self, partition: int, offset: int) -> Witness | None:
        await self.world.turn("witness", self.member)
        records = self.world.broker.records[partition]
        at = bisect_left(records, offset, key=lambda record: record.offset)
        return Witness(records[at].offset, records[at].append_ms) if at < len(records) else None

    async def bury(self, letters: Sequence[Letter]) -> None:
        for letter in letters:
            await self.world.turn("bury request", self.member)
            self.world.broker.letters[letter.partition, letter.offset] = letter.reason
        await self.world.turn("bury reply", self.member)


def _as_polled(record: Record) -> Polled1 | Unreadable:
    if not record.readable:
        return Unreadable(record.offset, record.append_ms, "rotted")
    return Polled1(record.offset, record.append_ms, record.value, record.headers)


class SimulatedClock:
    def __init__(self, world: World, member: int) -> None:
        self._world = world
        self._member = member

    def now_ms(self) -> int:
        return self._world.now_ms

    def commit_id(self) -> bytes:
        return self._world.rng.randbytes(16)

    async def sleep(self, ms: int) -> None:
        await pause(self._world.now_ms + ms)

    async def breathe(self) -> None:
        await self._world.turn("breathe", self._member)


class _Crash(BaseException):
    """A process that was killed."""


@dataclass
class _Actor:
    """A coroutine, when it may go on, and the member it belongs to (None: the producer)."""

    steps: Coroutine[Any, Any, None]
    wake_ms: int
    member: int | None


MakeLog = Callable[["World", int], FakeLog]
MakeWorker = Callable[..., Worker]


@dataclass
class World:
    """One run. `check` looks at the promises while it goes on."""

    rng: random.Random
    records: Sequence[Record]
    faults: Faults
    bugs: Bugs = Bugs()  # noqa: RUF009  frozen
    make_log: MakeLog = FakeLog
    make_worker: MakeWorker = Worker
    members_max: int = 3
    now_ms: int = 0
    quiet: bool = False
    actors: list[_Actor] = field(default_factory=list)
    copies: list[State] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    next_member: int = 0
    appended: list[Record] = field(default_factory=list)
    logs: dict[int, FakeLog] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now_ms = self.records[0].append_ms if self.records else 1_770_544_800_000
        partitions = 1 + max((record.partition for record in self.records), default=0)
        self.broker = Broker(partitions)
        self.store = FakeStore(self._store_turn, self.bugs)

    # -- turns and faults --------------------------------------------------------------------------

    def _hits(self, percent: float) -> bool:
        return not self.quiet and self.rng.random() * 100 < percent

    async def turn(self, what: str, _member: int) -> None:
        await pause(self.now_ms)
        if what not in {"poll", "breathe"}:
            lost = self.faults.lost_reply if "reply" in what else self.faults.lost_request
            if self._hits(lost):
                raise LogUnavailable(f"lost: {what}")
        elif what == "poll" and self._hits(self.faults.broken_consumer):
            raise ConsumerBroken("a heartbeat failed")

    async def _store_turn(self, what: str) -> None:
        await pause(self.now_ms)
        lost = self.faults.lost_reply if "reply" in what else self.faults.lost_request
        if "between" not in what and self._hits(lost):
            raise StoreUnavailable(f"lost: {what}")

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Until every record is counted; AssertionError where a promise does not hold."""
        self.actors.append(_Actor(self._produce(), self.now_ms, None))
        self._spawn()
        self._spawn()
        for _ in range(STEPS_MAX):
            self._step()
            if self.rng.random() < 0.01:
                self.copies.append(self.store.state.copy())
                self.check()
            if not any(actor.member is None for actor in self.actors):
                if not self.quiet:
                    self._calm_down()
                if self._is_done():
                    self.check()
                    self.check_all_counted()
                    self._end()
                    return
        raise AssertionError(f"stuck after {STEPS_MAX} steps: {self._describe()}")

    def _step(self) -> None:
        ready = [actor for actor in self.actors if actor.wake_ms <= self.now_ms]
        if not ready:
            self.now_ms = min(actor.wake_ms for actor in self.actors)
            return
        self.now_ms += self.rng.choice((0, 0, 1, 5))
        actor = self.rng.choice(ready)
        if actor.member is not None:
            if self._hits(self.faults.crash):
                self._crash(actor.member)
                return
            if self._hits(self.faults.freeze):
                self._freeze(actor.member)
                return
            if self.rng.random() < 0.05:
                self.logs[actor.member].hear_of_rebalance()
        self._misfortune()
        try:
            actor.wake_ms = actor.steps.send(None)
        except StopIteration:
            self.actors.remove(actor)
        except ConsumerBroken:
            assert actor.member is not None
            self._crash(actor.member)

    def _misfortune(self) -> None:
        if self._hits(self.faults.rebalance):
            self._rebalance()
        if self.copies and self._hits(self.faults.rollback):
            self.happened.append("rollback")
            self.store.state = self.rng.choice(self.copies[-3:]).copy()
        if self._hits(self.faults.emptied):
            self.happened.append("emptied")
            self.store.state = State()

    def _spawn(self) -> None:
        member = self.next_member
        self.next_member += 1
        log = self.make_log(self, member)
        clock = SimulatedClock(self, member)
        worker = self.make_worker(log, self.store, clock, DIGEST, POLICY, TIMING)
        for steps in (worker.run(lambda: False), worker.watch(lambda: False)):
            self.actors.append(_Actor(steps, self.now_ms, member))
        self._rebalance()

    def _members(self) -> list[int]:
        """Those whose sessions live."""
        awake = {a.member for a in self.actors if a.wake_ms <= self.now_ms + 1000}
        return sorted(member for member in awake if member is not None)

    def _rebalance(self) -> None:
        self.broker.rebalance(self._members(), self.rng)

    def _crash(self, member: int) -> None:
        """At this very await: whatever it was doing is cut off there."""
        self.happened.append(f"crash {member}")
        for actor in [a for a in self.actors if a.member == member]:
            self.actors.remove(actor)
            actor.steps.close()
        if len({a.member for a in self.actors} - {None}) < self.members_max:
            self._spawn()

    def _freeze(self, member: int) -> None:
        """Past its session: its partitions go to others, and then it goes on where it was."""
        self.happened.append(f"freeze {member}")
        until_ms = self.now_ms + self.rng.randint(2000, 8000)
        for actor in self.actors:
            if actor.member == member:
                actor.wake_ms = until_ms
        if not self._members():
            self._spawn()
        self._rebalance()

    def _calm_down(self) -> None:
        self.quiet = True
        self.broker.held.clear()
        self._rebalance()
        for actor in self.actors:
            actor.wake_ms = min(actor.wake_ms, self.now_ms + 100)
        self._rebalance()

    async def _produce(self) -> None:
        last = {record.partition: record for record in self.records}
        for planned in self.records:
            await pause(planned.append_ms)
            record = replace(planned, append_ms=self.now_ms)
            self.appended.append(record)
            is_last = planned is last[planned.partition]
            self.broker.append(record, self.rng.choice((0, 1)) if is_last else 0)
            if self.rng.random() < 0.03:  # a transaction begins here and ends some time
                self.broker.held.setdefault(record.partition, record.offset)
            elif self.rng.random() < 0.3:
                self.broker.held.pop(record.partition, None)

    def _end(self) -> None:
        for actor in self.actors:
            actor.steps.close()

    # -- the promises ------------------------------------------------------------------------------

    def _positions(self) -> list[int]:
        meta = self.store.state.meta
        parts = meta.partitions if meta else ()
        known = [max(part.position, 0) for part in parts[: len(self.broker.ends)]]
        return known + [0] * (len(self.broker.ends) - len(known))

    def _is_done(self) -> bool:
        return self._positions() == self.broker.ends

    def check(self) -> None:
        """The counters are those of exactly the records before the positions, and nothing that was
        appended before complete_through lies behind them."""
        positions = self._positions()
        oracle = Oracle()
        for record in self.appended:
            if record.offset < positions[record.partition]:
                oracle.add(record)
        expected = oracle.expected()
        assert self.store.counters() == expected.counters, self._describe()
        tallies = self.store.state.tallies
        dead = {name[5:]: n for name, n in tallies.items() if name.startswith("dead:")}
        assert dead == dict(expected.letters_by_reason), self._describe()
        assert tallies.get("duplicate", 0) == expected.duplicates, self._describe()
        missing = set(expected.letters) - set(self.broker.letters)
        assert not missing, f"counted as dead before the letter was there: {missing}"
        meta = self.store.state.meta
        through_ms = meta.complete_through_ms if meta else 0
        for partition, records in enumerate(self.broker.records):
            late = [
                r for r in records if r.append_ms < through_ms and r.offset >= positions[partition]
            ]
            assert not late, f"complete through {through_ms} is a lie: {late[0]}"

    def check_all_counted(self) -> None:
        oracle = Oracle()
        for record in self.appended:
            oracle.add(record)
        assert self.store.counters() == oracle.expected().counters, self._describe()
        assert set(self.broker.letters) == set(oracle.letters)

    def _describe(self) -> str:
        return f"positions {self._positions()}, ends {self.broker.ends}, {self.happened[-12:]}"
