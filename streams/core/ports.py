"""The interfaces of the worker: the log (Kafka), the counters (Redis), the clock. Only types. Pure.

Each Protocol has two implementations: the real one, and the fake of the seeded simulation. Both pass
the same contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from schemas.event.identity import CallKey, IdSecret
from schemas.prices.price_list import Prices
from schemas.prices.stored_lists import CountedPrices
from schemas.store import layout
from schemas.store.layout import Meta
from schemas.tiers import ALL_CLOSED, Closed
from streams.core.calls import StoredCall
from streams.core.decode import Record
from streams.core.fold import Delta

# -- the log ---------------------------------------------------------------------------------------


class PartitionBatch(NamedTuple):
    """Records of one partition. `end` is the position after them, captured when the poll returned.
    Transaction markers and aborted records leave gaps: `end` may be beyond the last record + 1, and
    `records` may be empty."""

    partition: int
    end: int
    records: Sequence[Record]


class Polled(NamedTuple):
    """`assignment` counts the assignments so far; records of an older one are dropped. `partitions`
    are assigned now."""

    assignment: int
    partitions: frozenset[int]
    batches: Sequence[PartitionBatch]


class OffsetBounds(NamedTuple):
    """The first offset that a partition holds, and its high watermark."""

    start: int
    end: int

    def lag(self, position: int) -> int:
        """Records that the partition holds from a position on; NO_POSITION: all of them."""
        return max(0, self.end - max(position, self.start))


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
    """The topic, read as a member of the consumer group. New partitions are paused until the worker
    seeks. Every method raises LogUnavailable or ConsumerBroken."""

    async def poll(self, records_max: int, wait_ms: int) -> Polled: ...

    def seek(self, positions: Mapping[int, int]) -> None:
        """Sets the next offset to read in these partitions, and resumes them."""

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        """The offsets of every partition of the topic, from a client of its own."""

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:
        """The first record at or after `offset`, or None where the log ends before one."""

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        """Returns once the broker has acknowledged every dead letter."""


# -- the store -------------------------------------------------------------------------------------


class RefusalReason(IntEnum):
    """Why a worker must not continue with a partition. The meta record stores the numbers."""

    LOG_STARTS_LATER = (
        layout.LOG_STARTS_LATER
    )  # no position, and the log does not start at 0: Redis was emptied
    POSITION_EXPIRED = 2  # retention has passed the position: records were lost uncounted
    POSITION_BEYOND_END = (
        3  # the position is after the end of the log: another log, or its end was lost
    )
    OTHER_LOG = 4  # the last counted record differs: the topic was recreated
    OTHER_GENERATION = 5  # the worker would count in another way than the counters were made
    EVICTION_POLICY = 6  # Redis may evict counters
    EVICTION_UNKNOWN = 7  # INFO does not say whether it may
    KEYS_EVICTED = 8  # it has evicted keys


NO_DELTA: Final = Delta((), (), (), ())


class Progress(NamedTuple):
    """One partition in a commit: from the stored position `start` (NO_POSITION: none) to `end`.
    `last_offset` and `last_append_ms` are of the last counted record (offset -1: none in this batch). `complete_ms` may be 0:
    no new value."""

    partition: int
    start: int
    end: int
    last_offset: int
    last_append_ms: int
    complete_ms: int


@dataclass(frozen=True)
class Commit:
    """One atomic step. `digests` and `slices` are aligned. `count`: the number of partitions of the
    topic; a partition that is new to Redis starts with complete_through `absent_ms`, or 0.
    `secret`: the name of the secret that its digests are made under.
    `named`: tallies whose names producers chose, by tenant and tally (streams/core/tallies.py).
    `id_counts`: how many of the digests belong to a slice and tenant.
    `closed`: what was closed when its delta was made.
    `at_commits`: the commit applies only while the generation has taken this many commits."""

    id: bytes
    generation_digest: bytes
    secret: str
    now_ms: int
    count: int
    absent_ms: Mapping[int, int]
    partitions: Sequence[Progress]
    digests: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    slices: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    delta: Delta = NO_DELTA
    closed: Closed = ALL_CLOSED
    id_counts: Sequence[tuple[int, str, int]] = ()
    tallies: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[tuple[str, str], int] = field(default_factory=dict)
    at_commits: int | None = None


class Outcome(StrEnum):
    """The outcome of a commit; the strings are those of the Lua function. Except for the first two, nothing was
    written."""

    COMMITTED = "committed"
    ALREADY_APPLIED = "mine"  # this commit was applied before, and its reply was lost
    # Another worker moved the position, Redis went back to an older copy, or the digests are made
    # under another secret than that of the generation.
    STALE = "stale"
    DUPLICATE_IDS = "remembered"  # some of the ids were counted already: remove them and retry
    CALLS_CHANGED = "calls"  # some of the calls changed meanwhile: read them and retry
    CLOSED = "closed"  # more was closed meanwhile: fold again with this
    PAUSED = "held"  # a rebuild pauses commits for a moment: retry after some ms
    MISSING = "missing"  # there is no such generation: Redis was emptied
    RETIRED = "retired"  # a rebuild has replaced the generation
    DIGEST = "digest"  # the generation has another layout, other limits, views or prices


class Reply(NamedTuple):
    """`subjects`: partitions (STALE), event digests (DUPLICATE_IDS), digests of calls (CALLS_CHANGED),
    ms of `schemas.tiers.Closed` (CLOSED)."""

    outcome: Outcome
    subjects: Sequence[int] = ()


class CounterStore(Protocol):
    """The counters of one generation, or of the one that answers when `meta` is read. Every method is
    one atomic step and raises StoreError."""

    async def open(
        self,
        digest: bytes,
        count: int,
        now_ms: int,
        secret: IdSecret,
        closed: Closed = ALL_CLOSED,
    ) -> None:
        """Creates the generation where there is none, with this secret. `closed`: what is closed from
        the start; where all is, every tier is written at once."""

    async def meta(self) -> Meta | None: ...

    async def secret(self) -> IdSecret:
        """The secret of the generation that `meta` found. StoreUnavailable if it is gone. If Redis went
        back since, it may be of another one: then the store rejects the commits that use it."""

    async def price_lists(self, own: Prices) -> Sequence[CountedPrices]:
        """The price lists that the generation was made with, oldest first; none if they are not stored
        yet. The list of `own`'s version is `own` itself, and is not read."""

    async def keep_prices(self, prices: Prices) -> None:
        """Stores the list that all of the generation was made with, where none is stored."""

    async def about(self) -> str:
        """The description of the generation that `meta` found (schemas/store/generation.py); "" if it has
        none."""

    async def add_views(self, digest: bytes, new: bytes, about: str, ids: Sequence[int]) -> int:
        """Lets views take effect in the generation that has this digest: it has `new` from then on. Returns
        since when they count, in ms (0: they have all events); -1 if it has another digest by now."""

    async def bookings(
        self, secret: str, calls: Sequence[tuple[CallKey, int]]
    ) -> Mapping[CallKey, StoredCall | None]:
        """The stored bookings of calls, given as (call, slice); none if the secret of this name is
        not the generation's."""

    async def commit(self, commit: Commit) -> Reply: ...

    async def compact_pages(self) -> None:
        """Compacts some of the pages that commits have queued. No counter changes."""

    async def close_pages(self, digest: bytes, now_ms: int, epoch: bytes) -> None:
        """Closes some of the pages whose time is over, where the generation has this digest. No counter
        changes. `epoch`: 16 random bytes."""

    async def refuse(self, partition: int, position: int, why: RefusalReason, detail: str) -> None:
        """Stores why this partition is paused."""


# -- two generations -------------------------------------------------------------------------------


class PairState(NamedTuple):
    """The state of the generation that answers and of the one that a rebuild fills, at one instant."""

    old: Meta
    new: Meta


class Pair(Protocol):
    """Both generations of a rebuild. Every method is one atomic step. All raise StoreError, and
    RebuildRefused where one of the two is gone or a third one answers."""

    async def look(self) -> PairState: ...

    async def hold(self, for_ms: int) -> None:
        """Pauses commits to the old one for `for_ms`."""

    async def switch(self, now_ms: int, kept_ms: int) -> bool:
        """Retires the old one, to be dropped after `kept_ms`, and makes the new one answer. True, also
        when it is repeated. False where the new one has not counted as much."""


# -- the clock -------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, randomness and yielding: the worker's only inputs from its process."""

    def now_ms(self) -> int: ...

    def commit_id(self) -> bytes:
        """16 random bytes."""

    def secret(self) -> IdSecret:
        """A new random secret."""

    async def sleep(self, ms: int) -> None: ...

    async def breathe(self) -> None:
        """Yields, so that heartbeats run between two slices of work."""
