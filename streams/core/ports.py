"""What the worker needs of the outside: the log (Kafka), the store (Redis), the clock. Pure types.

Each Protocol has two implementations: the real one, and the fake of the seeded simulation, which
passes the same contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from schemas.store.layout import Meta
from streams.core.calls import StoredCall
from streams.core.decode import Record
from streams.core.fold import Delta

# -- the log ---------------------------------------------------------------------------------------


class PartitionBatch(NamedTuple):
    """Records of one partition. `end` is the position after them, captured at the moment they were
    handed over; it may lie beyond the last record + 1, and `records` may be empty, where
    transaction markers or aborted records stand between."""

    partition: int
    end: int
    records: Sequence[Record]


class Polled(NamedTuple):
    """`assignment` counts the assignments seen so far: what belongs to an older one is dropped.
    `partitions` are those assigned now."""

    assignment: int
    partitions: frozenset[int]
    batches: Sequence[PartitionBatch]


class OffsetBounds(NamedTuple):
    """Of one partition: the first offset that is held, and the high watermark."""

    start: int
    end: int


class LastRecord(NamedTuple):
    """The last counted record of a partition, or the record that is there now: offset, append time in ms."""

    offset: int
    append_ms: int


class RejectedRecord(NamedTuple):
    """A record that the fold cannot count, and the reason: it becomes a dead letter."""

    partition: int
    offset: int
    append_ms: int
    reason: str
    field: str
    detail: str
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Log(Protocol):
    """The topic, read as a member of the consumer group. New partitions come paused: the worker
    seeks and resumes them. All but `close` raise LogUnavailable or ConsumerBroken."""

    async def poll(self, records_max: int, wait_ms: int) -> Polled: ...

    def seek(self, positions: Mapping[int, int]) -> None:
        """Sets where to read on in these partitions and resumes them."""

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        """Of every partition that the topic has now, from a client of its own."""

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:
        """The first record from there on, or None where there is none before the end."""

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        """Returns once the broker has acknowledged every dead letter."""


# -- the store -------------------------------------------------------------------------------------


class RefusalReason(IntEnum):
    """Why a worker will not go on with a partition. The numbers stand in the meta record."""

    LOG_STARTS_LATER = 1  # no position, and the log no longer starts at 0: the store was emptied
    POSITION_EXPIRED = 2  # retention has passed the position: records were lost uncounted
    POSITION_BEYOND_END = 3  # the position lies after the log's end: another log, or it was cut
    OTHER_LOG = 4  # the last counted record differs: the topic was recreated
    OTHER_GENERATION = 5  # the worker would count differently from what is stored


NO_DELTA: Final = Delta((), (), (), ())


class Progress(NamedTuple):
    """One partition in a commit: from the stored position `start` (NO_POSITION: none) to `end`.
    `last_offset` and `last_append_ms` are of the last counted record (offset -1: none in this batch). `complete_ms` may be 0:
    nothing new to say."""

    partition: int
    start: int
    end: int
    last_offset: int
    last_append_ms: int
    complete_ms: int


@dataclass(frozen=True)
class Commit:
    """One atomic step. `digests` and `slices` stand side by side. `count` is how many partitions
    the topic has; those that the store has not seen start complete through `absent_ms`, or 0.
    `at_commits`: what it says holds only while the generation has taken so many commits."""

    id: bytes
    generation_digest: bytes
    now_ms: int
    count: int
    absent_ms: Mapping[int, int]
    partitions: Sequence[Progress]
    digests: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    slices: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    delta: Delta = NO_DELTA
    tallies: Mapping[str, int] = field(default_factory=dict)
    at_commits: int | None = None


class Outcome(StrEnum):
    """What became of a commit. In all but the first two, nothing was written."""

    COMMITTED = "committed"
    ALREADY_APPLIED = "mine"  # it had been carried out before: a reply was lost
    STALE = "stale"  # another worker has moved the position, or the store went back
    DUPLICATE_IDS = "remembered"  # some of the ids were counted meanwhile
    CALLS_CHANGED = "calls"  # some of the calls were booked or changed meanwhile
    PAUSED = "held"  # a rebuild takes over old buckets: the same again in some milliseconds
    MISSING = "missing"  # there is no such generation: the store was emptied
    RETIRED = "retired"
    DIGEST = "digest"  # the generation is of another layout, limits or views


class Reply(NamedTuple):
    """`subjects`: partitions (stale), event digests (remembered), call digests (calls)."""

    outcome: Outcome
    subjects: Sequence[int] = ()


class CounterStore(Protocol):
    """The counters: of one generation, or of the one that answers whenever `meta` is read. Every
    method is one atomic step; all raise StoreError."""

    async def open(self, digest: bytes, count: int, now_ms: int) -> None:
        """Makes the generation where there is none."""

    async def meta(self) -> Meta | None: ...

    async def bookings(self, calls: Sequence[tuple[int, int]]) -> Mapping[int, StoredCall | None]:
        """Of calls (digest, slice): what is remembered of them."""

    async def commit(self, commit: Commit) -> Reply: ...

    async def compact_pages(self) -> None:
        """Compacts some of the pages that commits have queued. No counter changes."""

    async def refuse(self, partition: int, position: int, why: RefusalReason, detail: str) -> None:
        """Says in the store why this partition is not counted on."""


# -- two generations -------------------------------------------------------------------------------


class PairState(NamedTuple):
    """The generation that answers and the one that a rebuild fills, at one instant."""

    old: Meta
    new: Meta


class Pair(Protocol):
    """Both generations of a rebuild. Every method is one atomic step; all raise StoreError, and
    RebuildRefused where one of the two is gone or a third one answers."""

    async def look(self) -> PairState: ...

    async def hold(self, for_ms: int) -> None:
        """Nothing is committed to the old one for so long."""

    async def switch(self, now_ms: int, kept_ms: int) -> bool:
        """Retires the old one, to be dropped after `kept_ms`, and lets the new one answer: True,
        also where that was so before. False where it has not counted as much."""


# -- the clock -------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, randomness and yielding: all that the worker takes from its process."""

    def now_ms(self) -> int: ...

    def commit_id(self) -> bytes:
        """16 random bytes."""

    async def sleep(self, ms: int) -> None: ...

    async def breathe(self) -> None:
        """Lets heartbeats run between two slices of work."""
