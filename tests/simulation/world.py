"""The seeded simulation: real workers on a fake log and a fake store, stepped by one scheduler.

Every await of a worker that reaches outside is a turn. At a turn, the scheduler may run another
worker, crash this one, pause it past its session, lose the request or the reply, bring Redis back
from an older copy, empty it, add partitions, remove records that are not counted yet, or recreate the
topic. The same seed gives the same run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from schemas.errors import (
    ConsumerBroken,
    InvalidEvent,
    LogUnavailable,
    OtherGeneration,
    RebuildRefused,
    StoreUnavailable,
)
from schemas.event.identity import SECRET_BYTES, new_secret
from schemas.limits import HOUR_MS
from schemas.store.generation import generation_digest
from schemas.store.layout import Meta
from schemas.units import instant_to_ms
from streams.core.batch import Policy
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.worker.health import Timing
from streams.worker.loop import Worker
from streams.worker.view_switch import add_views, has_other_views
from tests.oracles.event_logs import Record
from tests.oracles.fold_oracle import judge
from tests.oracles.price_list import OWN
from tests.simulation.faults import Faults, pause
from tests.simulation.log import Appended, Broker, FakeLog, SimulatedClock, WholeLog
from tests.simulation.pair import pair_of
from tests.simulation.promises import Promises
from tests.simulation.state import Bugs, FakeRedis
from tests.simulation.store import MORE_VIEWS, TOPIC, FakeStore

DIGEST: Final = generation_digest(TOPIC, OWN.version)
DIGEST_OF_MORE: Final = generation_digest(TOPIC, OWN.version, MORE_VIEWS)
OTHER_DIGEST: Final = generation_digest("simulated, configured otherwise", OWN.version)
REBUILD_POLICY: Final = Policy(records_max=7, bytes_max=1 << 20, age_ms_min=0, visible_ms_max=0)
REBUILDS_MAX: Final = 2
POLICY: Final = Policy(records_max=7, bytes_max=1 << 20, age_ms_min=30, visible_ms_max=0)
TIMING: Final = Timing(poll_ends_ms=200, clock_skew_ms=0, recheck_ms=500, stalled_ms=10**9)
STEPS_MAX: Final = 60_000
"""Of one seed: a run that takes more is stuck. Usual are 500 to 3,000."""


PARTITIONS_MAX: Final = 5
MERGING: Final = {"between reading and writing", "between reading and closing"}
MERGING_MS: Final = (0, 100, 500)
"""How long a turn of merging or of closing pages may last: long enough that commits come in between."""
ACCEPT_PERCENT: Final = 2
"""Chance a turn that the operator looks at what is refused."""


def _is_movable(record: Record) -> bool:
    """Whether it adds the same in whatever order and partition it is read in the next hour: a fresh
    event that belongs to no call and is as old as to count in all tiers."""
    try:
        usage = judge(record)
    except InvalidEvent:
        return False
    age_ms = record.append_ms - instant_to_ms(usage.time)
    return not usage.call_id and not usage.call_started_at and 0 <= age_ms <= HOUR_MS


@dataclass
class _Actor:
    """A coroutine, when it may go on, and the member it belongs to (None: the producer)."""

    steps: Coroutine[Any, Any, None]
    wake_ms: int
    member: int | None


MakeLog = Callable[["World", int], FakeLog]
MakeWorker = Callable[..., Worker]


@dataclass
class World(Promises):
    """One run. `check` looks at the promises while it goes on."""

    rng: random.Random
    records: Sequence[Record]
    faults: Faults
    bugs: Bugs = Bugs()  # noqa: RUF009  frozen
    make_log: MakeLog = FakeLog
    make_worker: MakeWorker = Worker
    members_max: int = 3
    checks_on_the_way: bool = True
    now_ms: int = 0
    quiet: bool = False
    actors: list[_Actor] = field(default_factory=list)
    copies: list[FakeRedis] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    next_member: int = 0
    appended: list[Appended] = field(default_factory=list)
    settled: list[Appended] = field(default_factory=list)  # counted, and their log is no more
    counting: dict[int, tuple[int, int]] = field(default_factory=dict)  # log and first offset
    logs: dict[int, FakeLog] = field(default_factory=dict)
    rebuilders: set[int] = field(default_factory=set)  # members that are no worker
    switches: int = 0
    added_views: int = 0

    def __post_init__(self) -> None:
        self.now_ms = self.records[0].append_ms if self.records else 1_770_544_800_000
        partitions = 1 + max((record.partition for record in self.records), default=0)
        self.broker = Broker(partitions)
        keys = Counter(record.key for record in self.records)
        self._movable = [r for r in self.records if keys[r.key] == 1 and _is_movable(r)]
        self.store = FakeStore(self._store_turn, self.bugs, now_ms=lambda: self.now_ms)
        self._fresh_meta: Meta | None = None

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
        lasts_ms = self.rng.choice(MERGING_MS) if what in MERGING else 0
        await pause(self.now_ms + lasts_ms)
        lost = self.faults.lost_reply if "reply" in what else self.faults.lost_request
        if "between" not in what and self._hits(lost):
            raise StoreUnavailable(f"lost: {what}")

    # -- the run -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Until every record is counted; AssertionError where a promise does not hold."""
        try:
            self._run()
        finally:
            for actor in self.actors:
                actor.steps.close()

    def _run(self) -> None:
        self.actors.append(_Actor(self._produce(), self.now_ms, None))
        self._spawn()
        self._spawn()
        for _ in range(STEPS_MAX):
            self._step()
            if self.store.state.meta is not self._fresh_meta:
                self.check_freshness()
            if self.rng.random() < 0.01:
                self.copies.append(self.store.fake_redis.copy())
                if self.checks_on_the_way:
                    self.check()
            if not any(actor.member is None for actor in self.actors):
                if not self.quiet:
                    self._calm_down()
                if self._is_done():
                    self.check()
                    self.check_all_counted()
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
            if self.rng.random() < 0.05 and actor.member in self.logs:
                self.logs[actor.member].hear_of_rebalance()
        self._misfortune()
        self._now = actor.steps
        try:
            actor.wake_ms = actor.steps.send(None)
        except StopIteration:
            self.actors.remove(actor)
        except (ConsumerBroken, OtherGeneration, RebuildRefused) as error:
            assert actor.member is not None
            self._crash(actor.member, type(error).__name__)

    def _misfortune(self) -> None:
        if self._hits(self.faults.rebalance):
            self._rebalance()
        if self.copies and self._hits(self.faults.rollback):
            self.happened.append("rollback")
            self.store.fake_redis.become(self.rng.choice(self.copies[-3:]))
        if self._hits(self.faults.emptied):
            self.happened.append("emptied")
            self.store.fake_redis.become(FakeRedis())
        if self._hits(self.faults.widened) and len(self.broker.ends) < PARTITIONS_MAX:
            self.happened.append("widened")
            self.broker.add_partition()
            if self._movable and self.rng.random() < 0.5:  # before anybody has looked
                self._append_elsewhere(self.rng.choice(self._movable))
            self._rebalance()
        if self._hits(self.faults.expired):
            self._expire()
        if self._hits(self.faults.recreated) and self._has_last_records():
            self.happened.append("recreated")
            self.broker.recreate()
            self._rebalance()
        if self._hits(self.faults.rebuild):
            self._begin_rebuild()
        if self.rng.random() * 100 < ACCEPT_PERCENT:
            self._accept()

    def _has_last_records(self) -> bool:
        """A log of which only markers were passed cannot be told from another one."""
        meta = self.store.state.meta
        parts = meta.partitions if meta else ()
        return all(part.position <= 0 or part.last_offset >= 0 for part in parts)

    def _expire(self) -> None:
        """Retention removes a log's beginning, counted or not."""
        partition = self.rng.randrange(len(self.broker.ends))
        records = self.broker.records[partition]
        if records:
            self.happened.append(f"expired {partition}")
            start = self.rng.choice(records[-3:]).offset
            self.broker.starts[partition] = max(self.broker.starts[partition], start)

    def _accept(self) -> None:
        """The operator's word, as `streams.operations.accept` gives it."""
        meta = self.store.state.meta
        for partition, stored in enumerate(meta.partitions if meta else ()):
            start, end = self.broker.starts[partition], self.broker.ends[partition]
            is_same_log = self._counting_from(partition)[0] == self.broker.log
            if not stored.refused or (is_same_log and start <= stored.position <= end):
                continue  # an operator looks before they speak
            self.happened.append(f"accepted {partition}: {stored.refused}")
            gone = [a for a in self.appended if self._is_counted(a, partition)]
            if self.store.accept_now(partition, stored.position, start, self.now_ms):
                self.settled += gone
                self.counting[partition] = (self.broker.log, start)

    def _spawn(self) -> None:
        member = self.next_member
        self.next_member += 1
        log = self.make_log(self, member)
        clock = SimulatedClock(self, member)
        digest = meta.digest if (meta := self.store.state.meta) else DIGEST
        client = self.store.client()
        if has_more := digest == DIGEST_OF_MORE or self._hits(self.faults.more_views):
            digest, client.catalog = DIGEST_OF_MORE, MORE_VIEWS
        worker = self.make_worker(log, client, clock, digest, POLICY, TIMING, OWN, client.catalog)
        run = self._run_with_views(client, worker) if has_more else worker.run(lambda: False)
        for steps in (run, worker.poll_end_offsets(lambda: False)):
            self.actors.append(_Actor(steps, self.now_ms, member))
        self._rebalance()

    async def _run_with_views(self, client: FakeStore, worker: Worker) -> None:
        """As the process of a worker does: what the generation lacks takes effect first."""
        while True:
            try:
                meta = await client.meta()
                if meta is None or not has_other_views(meta, DIGEST_OF_MORE):
                    break
                assert await add_views(client, meta, TOPIC, MORE_VIEWS) is None
                self.added_views += 1
            except StoreUnavailable:
                await pause(self.now_ms + TIMING.recheck_ms)
        await worker.run(lambda: False)

    def _members(self) -> list[int]:
        """Those whose sessions live."""
        awake = {a.member for a in self.actors if a.wake_ms <= self.now_ms + 1000}
        return sorted(m for m in awake if m is not None and m not in self.rebuilders)

    def _rebalance(self) -> None:
        self.broker.rebalance(self._members(), self.rng)

    def _crash(self, member: int, why: str = "crash") -> None:
        """At this very await: whatever it was doing is cut off there."""
        self.happened.append(f"{why} {member}")
        for actor in [a for a in self.actors if a.member == member]:
            self.actors.remove(actor)
            actor.steps.close()
        if member in self.rebuilders:
            return
        if len({a.member for a in self.actors} - {None} - self.rebuilders) < self.members_max:
            self._spawn()
        else:
            self._rebalance()  # its partitions go to the others

    def _begin_rebuild(self) -> None:
        """At most two at once. It has no lease here: that is courtesy, nothing rests on it."""
        alive = {a.member for a in self.actors} & self.rebuilders
        if len(alive) == REBUILDS_MAX:
            return
        if self.rng.random() < 0.5:
            for number in self.store.fake_redis.retired:
                self.store.fake_redis.states.pop(number, None)  # dropped at last
        member = self.next_member
        self.next_member += 1
        self.rebuilders.add(member)
        self.happened.append(f"rebuild {member}")
        self.actors.append(_Actor(self._rebuild(member), self.now_ms, member))

    async def _rebuild(self, member: int) -> None:
        """As streams.rebuild.command does it: goes on with what was begun, where it is of the same
        configuration."""
        fake_redis = self.store.fake_redis
        if fake_redis.states[fake_redis.current].meta is None:
            return
        digest = self.rng.choice((DIGEST, OTHER_DIGEST))
        number = fake_redis.last
        begun = fake_redis.states.get(number)
        if number > fake_redis.current and begun and begun.meta and begun.meta.digest == digest:
            pair = pair_of(self.store, number)
        else:
            pair = pair_of(self.store, fake_redis.last + 1)
            secret = new_secret(self.rng.randbytes(SECRET_BYTES))
            try:
                if not await pair.begin(digest, len(self.broker.ends), secret):
                    return
            except StoreUnavailable:
                return
        log, clock = WholeLog(self, member), SimulatedClock(self, member)
        worker = RebuildWorker(log, pair, clock, digest, pair, None, REBUILD_POLICY, TIMING, OWN)
        self.actors.append(_Actor(worker.poll_end_offsets(lambda: False), self.now_ms, member))
        await worker.fill_and_switch(0)
        self.switches += 1
        self.happened.append(f"switched to {pair.generation}")
        for actor in [a for a in self.actors if a.member == member and a.steps is not self._now]:
            self.actors.remove(actor)
            actor.steps.close()

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
        if self.faults.rebuild and self.store.state.meta is not None:
            self._begin_rebuild()  # one that nothing disturbs must come to its end

    async def _produce(self) -> None:
        last = {record.partition: record for record in self.records}
        for planned in self.records:
            await pause(planned.append_ms)
            if planned in self._movable:
                if self.rng.random() < 0.1:  # sent again, and reaches another partition
                    self._append_elsewhere(planned)
                if len(self.broker.ends) > len(last) and self.rng.random() < 0.3:
                    self._append_elsewhere(planned)
                    continue
            offset = planned.offset - self.broker.bases[planned.partition]
            record = replace(planned, offset=offset, append_ms=self.now_ms)
            self._append(
                record, self.rng.choice((0, 1)) if planned is last[planned.partition] else 0
            )
            if self.rng.random() < 0.03:  # a transaction begins here and ends some time
                self.broker.held.setdefault(record.partition, record.offset)
            elif self.rng.random() < 0.3:
                self.broker.held.pop(record.partition, None)

    def _append_elsewhere(self, planned: Record) -> None:
        """To a partition that was added, or to one whose planned records are all there."""
        planned_for = {record.partition for record in self.records}
        others = [p for p in range(len(self.broker.ends)) if p not in planned_for]
        if others:
            partition = self.rng.choice(others)
            end = self.broker.ends[partition]
            self._append(
                replace(planned, partition=partition, offset=end, append_ms=self.now_ms), 0
            )

    def _append(self, record: Record, gap_after: int) -> None:
        self.appended.append(Appended(self.broker.log, record))
        self.broker.append(record, gap_after)

    def _is_done(self) -> bool:
        """Everything is counted, and complete_through has come past it."""
        meta = self.store.state.meta
        last_ms = max((a.record.append_ms for a in self.appended), default=0)
        return (
            self._positions() == self.broker.ends
            and meta is not None
            and all(self._counting_from(p)[0] == self.broker.log for p in self._touched())
            and not any(part.refused for part in meta.partitions)
            and not {a.member for a in self.actors} & self.rebuilders
            and meta.complete_through_ms > last_ms
        )
