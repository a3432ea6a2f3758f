"""Every event counts once, whatever happens between any two awaits: hundreds of seeded runs."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from schemas.errors import StoreCorrupt
from streams.core.batch import Batch, PartitionShare
from streams.core.columns import Columns
from streams.core.ports import Commit, Polled, Progress, Reply
from streams.worker.loop import Worker
from tests.oracles.event_logs import Mix, mixed
from tests.simulation.faults import MOVED_LOG, NO_FAULTS, Faults
from tests.simulation.log import FakeLog
from tests.simulation.state import Bugs
from tests.simulation.world import World

SEEDS: Final = int(os.environ.get("ODOMETER_SEEDS", "120"))
"""At 1.5 s of CPU each. A planted bug is found by fewer of its kind; a long run takes
a thousand: `ODOMETER_SEEDS=1000 deploy/test tests/simulation`."""
BUG_SEEDS_MAX: Final = 60
"""A planted bug that survives so many runs would survive in the product."""
MOVED_SEEDS: Final = SEEDS * 12 // 100
REBUILD_SEEDS: Final = SEEDS * 18 // 100
ADDED_SEEDS: Final = SEEDS * 10 // 100
FAULT_SEEDS: Final = SEEDS - MOVED_SEEDS - REBUILD_SEEDS - ADDED_SEEDS
ADDED: Final = Faults(more_views=50)
REBUILT: Final = Faults(rebuild=0.5, rollback=0, emptied=0)
REBUILT_AND_BACK: Final = Faults(rebuild=0.5)
"""Judged at the end only: of an event that was taken for a resend of one which the store has
forgotten since, the counters are short until that one is counted again."""
MIX: Final = Mix(partitions=3, unreadable=True, step_ms=700)


RECREATED: Final = replace(MOVED_LOG, recreated=0.5)


def world(seed: int, mix: Mix = MIX, **changes: Any) -> World:
    rng = random.Random(seed)
    records = mixed(rng, 50, mix=mix)
    return World(rng, records, **{"faults": Faults(), **changes})


def test_without_faults_every_event_is_counted() -> None:
    for seed in range(10):
        world(seed, faults=NO_FAULTS).run()


@pytest.mark.parametrize("block", range(10))
def test_under_every_fault_every_event_is_counted_once(block: int) -> None:
    for seed in range(block, FAULT_SEEDS, 10):
        try:
            world(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("block", range(4))
def test_a_log_that_lost_records_or_is_another_one_is_refused_until_told(block: int) -> None:
    """Without unreadable records: they are not kept as last records."""
    for seed in range(block, MOVED_SEEDS, 4):
        moved = world(seed, replace(MIX, unreadable=False), faults=MOVED_LOG)
        try:
            moved.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("block", range(4))
def test_a_rebuild_under_every_fault_changes_nothing_that_is_counted(block: int) -> None:
    """Two at once, killed and begun again, of the same and of another configuration; the last one
    is disturbed by nobody and must come to its end."""
    switches = 0
    for seed in range(block, REBUILD_SEEDS, 4):
        goes_back = seed % 2 == 0
        faults = REBUILT_AND_BACK if goes_back else REBUILT
        rebuilt = world(seed, faults=faults, checks_on_the_way=not goes_back)
        try:
            rebuilt.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        switches += rebuilt.switches
    assert switches >= REBUILD_SEEDS / 4


@pytest.mark.parametrize("block", range(4))
def test_a_view_that_is_added_lacks_no_event_since_it_counts(block: int) -> None:
    """Some workers that start have a view more. Others are without it until they start again."""
    added = 0
    for seed in range(block, ADDED_SEEDS, 4):
        one = world(seed, faults=ADDED)
        try:
            one.run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        added += one.added_views
    assert added


# -- planted bugs ----------------------------------------------------------------------------------


class EndReadLate(Worker):
    """Asks for the position at the commit, not in the step in which the records came."""

    def _progress(self, partition: int, part: PartitionShare) -> Progress:
        assert isinstance(self._log, FakeLog)
        end = self._log.positions.get(partition, 0)
        return super()._progress(partition, PartitionShare(part.start, end, part.records))


class DeadLettersAfterCommit(Worker):
    """Sends dead letters after the position has moved past their records."""

    async def _judge(self, batch: Batch) -> Any:
        judged = await super()._judge(batch)
        self.late = judged.rejected
        return judged._replace(rejected=())

    async def _finish(self, commit: Commit, reply: Reply, rows: Columns, began_ms: int) -> None:
        await super()._finish(commit, reply, rows, began_ms)
        await self._log.send_to_dlq(self.late)


class FreshnessOfTheFuture(Worker):
    """Calls a partition complete through the present, not through the start of the poll."""

    def _complete_ms(self, partition: int, position: int) -> int:
        return self._clock.now_ms() if super()._complete_ms(partition, position) else 0


class Unchecked(Worker):
    """Goes on in whatever log it finds, where the position says."""

    async def _take_over(self, partitions: frozenset[int]) -> None:
        meta = await self._opened()
        self._secret = await self._store.secret()
        found = {p: meta.partitions[p].position for p in partitions if p < len(meta.partitions)}
        self._positions |= found
        bounds = await self._log.bounds()
        self._log.seek({p: max(at, bounds[p].start) for p, at in found.items()})


class EndsOfAnyLog(Worker):
    """Takes the end of a recreated log for one that it has passed already."""

    @property
    def _reached(self) -> dict[int, int]:
        return {}

    @_reached.setter
    def _reached(self, _reached: dict[int, int]) -> None:
        pass


class WrongSeek(FakeLog):
    """Goes on where this member was, as if its own memory or the group's commit were the truth."""

    def __init__(self, world: World, member: int) -> None:
        super().__init__(world, member)
        self.remembered: dict[int, int] = {}

    async def poll(self, records_max: int, wait_ms: int) -> Polled:
        polled = await super().poll(records_max, wait_ms)
        self.remembered |= self.positions
        return polled

    def seek(self, positions: Mapping[int, int]) -> None:
        super().seek({p: self.remembered.get(p, at) for p, at in positions.items()})


class SwallowedListenerError(FakeLog):
    """The listener fails now and then, and the consumer goes on as if it had not."""

    def take_assignment(self, share: frozenset[int]) -> None:
        if self.world.rng.random() < 0.3:
            self.assigned = share
            self.positions = dict.fromkeys(share, 0)
            return
        super().take_assignment(share)


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param({"bugs": Bugs(position_before_counters=True)}, id="position before counters"),
        pytest.param({"bugs": Bugs(no_fence=True)}, id="no fence"),
        pytest.param({"bugs": Bugs(dedupe_outside_the_step=True)}, id="dedupe outside the step"),
        pytest.param(
            {"bugs": Bugs(switch_too_soon=True), "faults": REBUILT}, id="switched too soon"
        ),
        pytest.param(
            {"bugs": Bugs(commits_to_retired=True), "faults": REBUILT},
            id="a commit to a retired one",
        ),
        pytest.param(
            {"bugs": Bugs(forgets_what_was_appended=True), "first_seed": 8},
            id="compaction forgets what was appended",
        ),
        pytest.param({"bugs": Bugs(compacts_unseen=True)}, id="compaction of what has changed"),
        pytest.param({"bugs": Bugs(closes_unseen=True)}, id="closing of what has changed"),
        pytest.param({"bugs": Bugs(closes_half=True)}, id="closed and added nowhere"),
        pytest.param({"bugs": Bugs(folds_before_closing=True)}, id="folded before it was closed"),
        pytest.param(
            {"bugs": Bugs(adds_views_beside=True), "faults": ADDED},
            id="others count on without an added view",
        ),
        pytest.param(
            {"bugs": Bugs(forgets_newest=True), "faults": ADDED},
            id="an added view counts since the step",
        ),
        pytest.param({"make_worker": EndReadLate}, id="end position read late"),
        pytest.param(
            {"make_worker": DeadLettersAfterCommit, "first_seed": 12},
            id="dead letters after the commit",
        ),
        pytest.param({"make_worker": FreshnessOfTheFuture}, id="freshness of the future"),
        pytest.param({"make_worker": Unchecked, "faults": MOVED_LOG}, id="another log unchecked"),
        pytest.param({"make_worker": EndsOfAnyLog, "faults": RECREATED}, id="ends of another log"),
        pytest.param({"make_log": WrongSeek}, id="wrong seek after a rebalance"),
        pytest.param({"make_log": SwallowedListenerError}, id="swallowed listener error"),
    ],
)
def test_the_simulation_catches_a_planted_bug(planted: dict[str, Any]) -> None:
    """Most are caught within six seeds. Some are rare: they begin near a seed that catches them."""
    first = planted.pop("first_seed", 0)
    for seed in range(first, first + BUG_SEEDS_MAX):
        try:
            world(seed, **planted).run()
        except (AssertionError, StoreCorrupt):  # wrong counters, or pages that nobody can read
            return
    pytest.fail(f"{BUG_SEEDS_MAX} seeds did not catch it")
