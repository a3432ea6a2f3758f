"""Bugs to plant in a real worker's process, to see that a seed finds them. Text that it runs first.

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
from streams.ports import NO_DELTA, Outcome
from streams.store import RedisStore
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
from streams.store import RedisStore
commit_whole = RedisStore.commit

async def commit(self, whole):
    return await commit_whole(self, replace(whole, slices=whole.slices + int(time.time()) % 1000 * 4))

RedisStore.commit = commit
"""

_REFILLS: Final = """
import streams.store as store
REFUSED = "if meta.state == RETIRED then return {'retired'} end"
assert REFUSED in store._CODE
store._CODE = store._CODE.replace(REFUSED, "").replace(store.VERSION, "planted")
store.VERSION = "planted"
"""

PLANTED: Final = {
    "the position before the counters": Planted(
        _POSITION_FIRST, ("worker killed", "Valkey killed", "worker killed")
    ),
    "ids forgotten after seconds": Planted(_FORGETS_EARLY, ()),
    "a retired generation is refilled": Planted(_REFILLS, ("rebuilt live",)),
}
