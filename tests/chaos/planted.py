"""Bugs to plant in real workers and rebuilds, to see that a seed finds them: text that they run first.

Each breaks one promise in one place; the process is otherwise the one that operators have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Planted:
    configured: str
    faults: tuple[str, ...]
    """Under which it must be found; none: resends and polls are enough."""


_POSITION_FIRST: Final = """
import asyncio, os
from dataclasses import replace
import numpy as np
from streams.core.ports import NO_DELTA, Outcome
from streams.redis.store import RedisStore
commit_whole = RedisStore.commit

async def commit(self, whole):
    none = {"digests": np.empty(0, np.uint64), "slices": np.empty(0, np.int64), "tallies": {}}
    first = replace(whole, id=os.urandom(16), delta=NO_DELTA, **none)
    reply = await commit_whole(self, first)
    if reply.outcome is not Outcome.COMMITTED:
        return reply
    await asyncio.sleep(0.2)
    moved = [p._replace(start=p.end, complete_ms=0) for p in whole.partitions]
    return await commit_whole(self, replace(whole, partitions=moved))

RedisStore.commit = commit
"""

_FORGETS_EARLY: Final = """
import time
from dataclasses import replace
from streams.redis.store import RedisStore
commit_whole = RedisStore.commit

async def commit(self, whole):
    return await commit_whole(self, replace(whole, slices=whole.slices + int(time.time()) % 1000 * 4))

RedisStore.commit = commit
"""

_NO_FENCE: Final = """
import streams.redis.library as library
FENCE = "if #stale > 0 then return {'stale', unpack(stale)} end"
assert FENCE in library.CODE
library.CODE = library.CODE.replace(FENCE, "").replace(library.VERSION, "planted")
library.VERSION = "planted"
"""

_LETTERS_LATE: Final = """
import asyncio
from streams.worker.loop import Worker
judge_whole, finish_whole = Worker._judge, Worker._finish

async def judge(self, batch):
    judged = await judge_whole(self, batch)
    self.late = judged.rejected
    return judged._replace(rejected=())

async def finish(self, *committed):
    await finish_whole(self, *committed)
    await asyncio.sleep(0.3)
    await self._log.send_to_dlq(self.late)

Worker._judge, Worker._finish = judge, finish
"""

_FUTURE: Final = """
from streams.worker.loop import Worker
reached = Worker._complete_ms

def complete_ms(self, partition, position):
    return self._clock.now_ms() if reached(self, partition, position) else 0

Worker._complete_ms = complete_ms
"""

_WRONG_SEEK: Final = """
from streams.kafka.consumer import KafkaLog
take_assignment, seek_as_told = KafkaLog.take_assignment, KafkaLog.seek

def take(self, assigned):
    self.__dict__.setdefault("remembered", {}).update(
        {tp.partition: position for tp, position in self._resumed.items()}
    )
    take_assignment(self, assigned)

def seek(self, positions):
    seek_as_told(self, {p: self.remembered.get(p, at) for p, at in positions.items()})

KafkaLog.take_assignment, KafkaLog.seek = take, seek
"""

_UNCHECKED: Final = """
import streams.worker.loop as worker
worker.refusal_of = lambda *checked: None
"""

_REFILLS: Final = """
import streams.redis.library as library
REFUSED = "if meta.state == RETIRED then return {'retired'} end"
assert REFUSED in library.CODE
library.CODE = library.CODE.replace(REFUSED, "").replace(library.VERSION, "planted")
library.VERSION = "planted"
"""

_SWITCHES_TOO_SOON: Final = """
import streams.redis.library as library
from streams.rebuild.rebuild_worker import RebuildWorker
BEHIND = "if #behind > 0 then return {'behind', unpack(behind)} end"
assert BEHIND in library.CODE
library.CODE = library.CODE.replace(BEHIND, "").replace(library.VERSION, "planted")
library.VERSION = "planted"

async def count_until_level(self):
    pass

RebuildWorker._count_until_level = count_until_level
"""

PLANTED: Final = {
    "the position before the counters": Planted(
        _POSITION_FIRST, ("worker killed", "Valkey killed", "worker killed")
    ),
    "no fence": Planted(_NO_FENCE, ("scaled 1 to 4 to 2", "worker paused", "scaled 1 to 4 to 2")),
    "ids forgotten after seconds": Planted(_FORGETS_EARLY, ()),
    "dead letters after the commit": Planted(_LETTERS_LATE, ("worker killed",) * 3),
    "freshness of the future": Planted(_FUTURE, ("worker-kafka delay",) * 3),
    "a wrong seek after a rebalance": Planted(_WRONG_SEEK, ("worker killed", "rolling restart")),
    "another log unchecked": Planted(_UNCHECKED, ()),
    "a generation switched too soon": Planted(_SWITCHES_TOO_SOON, ("rebuilt live",)),
    "a retired generation is refilled": Planted(_REFILLS, ("rebuilt live",)),
}
"""Those of the simulation that a process of its own can have, and what only processes can."""
