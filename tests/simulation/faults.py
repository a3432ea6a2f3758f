"""The faults of the simulation, by their chance a turn, and the turn itself."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from types import coroutine
from typing import Final


@coroutine
def pause(wake_ms: int) -> Generator[int, None, None]:
    """Gives the turn to the scheduler. Continues at `wake_ms` at the earliest."""
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
    widened: float = 0.15
    expired: float = 0
    recreated: float = 0
    rebuild: float = 0
    more_views: float = 0


NO_FAULTS: Final = Faults(0, 0, 0, 0, 0, 0, 0, 0, 0)
MOVED_LOG: Final = Faults(rollback=0, emptied=0, expired=0.15, recreated=0.05)
"""The log loses records, and an operator accepts that. The store never goes back, so that the checks
can tell lost records from those that were counted before they went."""
