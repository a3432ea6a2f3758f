"""Bugs to plant in real workers and rebuilds, to see that a seed finds each of them.

A plant runs first in each process (tests/real/harness/child.py). It breaks one promise in one place;
otherwise the process is the one that operators run. `pytest.MonkeyPatch` raises if the name that it
replaces does not exist, so a rename cannot disable a plant unnoticed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pytest
from aiokafka import TopicPartition

from streams.core.batch import Batch
from streams.core.columns import Columns
from streams.core.ports import NO_DELTA, Commit, Outcome, Reply
from streams.kafka.consumer import KafkaLog
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.redis import library
from streams.redis.store import RedisStore
from streams.worker import loop
from streams.worker.loop import Worker
from tests.real.harness.child import Change

PATCH: Final = pytest.MonkeyPatch()
"""Undone by nobody but the test of the plants: the process ends with its bug."""


@dataclass(frozen=True)
class Planted:
    plant: Change
    faults: tuple[str, ...]
    """Under which it must be found; none: resends and polls are enough."""


def position_first() -> None:
    """Moves the position in one commit, and adds to the counters in the next."""
    commit_whole = RedisStore.commit

    async def commit(self: RedisStore, whole: Commit) -> Reply:
        none: dict[str, Any] = {
            "digests": np.empty(0, np.uint64),
            "slices": np.empty(0, np.int64),
            "tallies": {},
        }
        first = replace(whole, id=os.urandom(16), delta=NO_DELTA, **none)
        reply = await commit_whole(self, first)
        if reply.outcome is not Outcome.COMMITTED:
            return reply
        await asyncio.sleep(0.2)
        moved = [p._replace(start=p.end, complete_ms=0) for p in whole.partitions]
        return await commit_whole(self, replace(whole, partitions=moved))

    PATCH.setattr(RedisStore, "commit", commit)


def forgets_early() -> None:
    """Forgets the ids of events after seconds."""
    commit_whole = RedisStore.commit

    async def commit(self: RedisStore, whole: Commit) -> Reply:
        moved = whole.slices + int(time.time()) % 1000 * 4
        return await commit_whole(self, replace(whole, slices=moved))

    PATCH.setattr(RedisStore, "commit", commit)


def no_fence() -> None:
    """Commits although another worker has moved the position."""
    _without("if #stale > 0 then return {'stale', unpack(stale)} end")


def letters_late() -> None:
    """Sends dead letters after the position has moved past their records."""
    judge_whole, finish_whole = Worker._judge, Worker._finish
    late: dict[Worker, Sequence[Any]] = {}

    async def judge(self: Worker, batch: Batch) -> Any:
        judged = await judge_whole(self, batch)
        late[self] = judged.rejected
        return judged._replace(rejected=())

    async def finish(
        self: Worker, commit: Commit, reply: Reply, rows: Columns, began_ms: int
    ) -> None:
        await finish_whole(self, commit, reply, rows, began_ms)
        await asyncio.sleep(0.3)
        await self._log.send_to_dlq(late[self])

    PATCH.setattr(Worker, "_judge", judge)
    PATCH.setattr(Worker, "_finish", finish)


def future() -> None:
    """Calls a partition complete through now, and not through the start of the pass."""
    reached = Worker._complete_ms

    def complete_ms(self: Worker, partition: int, position: int) -> int:
        return self._clock.now_ms() if reached(self, partition, position) else 0

    PATCH.setattr(Worker, "_complete_ms", complete_ms)


def wrong_seek() -> None:
    """After a rebalance reads on where this process was, and not at the stored position."""
    take_assignment, seek_as_told = KafkaLog.take_assignment, KafkaLog.seek
    remembered: dict[int, int] = {}

    def take(self: KafkaLog, assigned: frozenset[TopicPartition]) -> None:
        remembered.update({tp.partition: at for tp, at in self._resumed.items()})
        take_assignment(self, assigned)

    def seek(self: KafkaLog, positions: Mapping[int, int]) -> None:
        seek_as_told(self, {p: remembered.get(p, at) for p, at in positions.items()})

    PATCH.setattr(KafkaLog, "take_assignment", take)
    PATCH.setattr(KafkaLog, "seek", seek)


def unchecked() -> None:
    """Resumes without asking whether the log is the one that was counted."""
    PATCH.setattr(loop, "refusal_of", lambda *_checked: None)


def refills() -> None:
    """Commits to a generation that a rebuild has replaced."""
    _without("if meta.state == RETIRED then return {'retired'} end")


def switches_too_soon() -> None:
    """A rebuild switches before the new generation has counted as much as the old one."""
    _without("if #behind > 0 then return {'behind', unpack(behind)} end")

    async def count_until_level(_self: RebuildWorker) -> None:
        pass

    PATCH.setattr(RebuildWorker, "_count_until_level", count_until_level)


def _without(check: str) -> None:
    """The functions of the store without one check, under a version of their own."""
    assert check in library.CODE
    code = library.CODE.replace(check, "").replace(library.VERSION, "planted")
    PATCH.setattr(library, "CODE", code)
    PATCH.setattr(library, "VERSION", "planted")


PLANTED: Final = {
    "the position before the counters": Planted(
        position_first, ("worker killed", "Valkey killed", "worker killed")
    ),
    "no fence": Planted(no_fence, ("scaled 1 to 4 to 2", "worker paused", "scaled 1 to 4 to 2")),
    "ids forgotten after seconds": Planted(forgets_early, ()),
    "dead letters after the commit": Planted(letters_late, ("worker killed",) * 3),
    "freshness of the future": Planted(future, ("worker-kafka delay",) * 3),
    "a wrong seek after a rebalance": Planted(wrong_seek, ("worker killed", "rolling restart")),
    "another log unchecked": Planted(unchecked, ()),
    "a generation switched too soon": Planted(switches_too_soon, ("rebuilt live",)),
    "a retired generation is refilled": Planted(refills, ("rebuilt live",)),
}
"""Those of the simulation that a process of its own can have, and what only processes can."""
