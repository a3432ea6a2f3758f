"""Decides when a batch is committed: by count, by bytes, by age. Pure.

Under load a batch is committed as rarely as the promised freshness allows (`Pace`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.core.decode import Record
from streams.core.ports import PartitionBatch

DECODE_SLICE: int = 1000
"""Records that are decoded between two heartbeats: 5 ms."""


@dataclass(frozen=True)
class Policy:
    """The bounds of a batch.

    records_max: larger batches cost less per event.
    vectors_max: rows that one commit appends. Each takes Redis 1.2 to 1.8 us, so a commit blocks
        other clients for 60 ms at most. For live events that is 3,000 records: each costs Redis
        half, and the worker two thirds, of its cost in commits of 1,000. The number of records
        depends on how many series they spread over, so the batches before set the size of the next.
    bytes_max: 20,000 records of 3 kB, so that a batch of the largest events stays small.
    age_ms_min: the time that the first record waits for others while commits are short. It is counted
        from its append or from the poll before, whichever is later. On an idle system this is most of
        the delay of an event.
    visible_ms_max: under load, a record waits longer, but it is visible within this time
        (`Pace`). 0: it never waits longer.
    gather_ms: records that arrived during a long commit have waited enough. The batch waits only
        this long for the rest of the log.
    """

    records_max: int = 20_000
    vectors_max: int = 40_000
    bytes_max: int = 64 << 20
    age_ms_min: int = 50
    visible_ms_max: int = 250
    gather_ms: int = 5


RECORDS_MIN: int = 200
"""In smaller commits, the fixed cost is larger than that of the rows."""
AGE_OF_COMMIT: int = 4
"""A batch waits four times as long as a commit takes, so commits take a fifth of the time."""
LOAD_RECORDS: int = 50
"""With fewer records, 1,000 a second, there is no load: a commit that takes long waits for other programs,
and waiting longer would save nothing that anybody misses."""
FETCH_MS: int = 30
"""From an append until the poll has the record (some 5 ms), the 5 ms of `gather_ms`, and 20 ms by which
a commit may take longer than the one before."""


class Pace(NamedTuple):
    """How far the next batch grows, by what the commits before made and took.

    records: the number of records that makes it full.
    age_ms: how long its first record waits. A record is visible after its wait and one commit:

        age_ms + commit <= visible_ms_max - FETCH_MS, so age_ms <= 220 ms - commit

        Within that, 4 times the last commit, and age_ms_min at least. A commit of 5 ms: 50 ms. Of 20 ms:
        80. Of 43 ms: 172, visible within 245 ms. Of 100 ms: 120. From 110 ms on, the next commit begins
        when the last one ends, as records that came meanwhile have waited for `age_ms` already.
    """

    policy: Policy
    records: int
    age_ms: int

    def next(self, records: int, vectors: int, took_ms: int) -> Pace:
        """After a commit of `records` that made `vectors` rows. The next batch has fewer records where that
        was too many rows, half as many more where a full batch was within the limit."""
        policy, full = self.policy, self.records
        if vectors > policy.vectors_max:
            full = _bounded(policy, records * policy.vectors_max // vectors)
        elif records >= full:
            full = _bounded(policy, full + full // 2)
        room_ms = policy.visible_ms_max - FETCH_MS - took_ms
        loaded_ms = min(AGE_OF_COMMIT * took_ms, room_ms) if records >= LOAD_RECORDS else 0
        return Pace(policy, full, max(policy.age_ms_min, loaded_ms))


def first_pace(policy: Policy) -> Pace:
    """Assumes 10 rows per record."""
    return Pace(policy, _bounded(policy, policy.vectors_max // 10), policy.age_ms_min)


def _bounded(policy: Policy, records: int) -> int:
    return min(policy.records_max, max(RECORDS_MIN, records))


@dataclass
class PartitionShare:
    """The records of one partition: from the stored position `start` up to `end`."""

    start: int
    end: int
    records: list[Record] = field(default_factory=list)


@dataclass
class Batch:
    """Records that were polled and not committed yet; `parts` by partition. `oldest_ms`: the time since
    which the first record may have waited. `begun_ms`: when that record was polled."""

    parts: dict[int, PartitionShare] = field(default_factory=dict)
    count: int = 0
    size_bytes: int = 0
    oldest_ms: int = 0
    begun_ms: int = 0

    def add(
        self,
        polled: Sequence[PartitionBatch],
        positions: dict[int, int],
        since_ms: int,
        now_ms: int,
    ) -> None:
        """Adds the polled records of the partitions in `positions` (their stored positions). `since_ms`:
        the end of the poll before."""
        for one in polled:
            if one.partition not in positions:
                continue
            appended_ms = one.records[0].timestamp if one.records else now_ms
            waits_since_ms = min(max(since_ms, appended_ms), now_ms)
            if not self.parts:
                self.oldest_ms, self.begun_ms = waits_since_ms, now_ms
            self.oldest_ms = min(self.oldest_ms, waits_since_ms)
            start = positions[one.partition]
            part = self.parts.setdefault(one.partition, PartitionShare(start, one.end))
            part.end = one.end
            part.records.extend(one.records)
            self.count += len(one.records)
            self.size_bytes += sum(len(record.value or b"") for record in one.records)

    def is_due(self, pace: Pace, now_ms: int) -> bool:
        return bool(self.parts) and (
            self.count >= pace.records
            or self.size_bytes >= pace.policy.bytes_max
            or now_ms >= self._due_ms(pace)
            or now_ms < self.begun_ms  # the clock was set back, so the waiting time is unknown
        )

    def wait_ms(self, pace: Pace, now_ms: int, idle_ms: int) -> int:
        """How long a poll may wait, in ms: until the batch is due, or `idle_ms` while it is empty."""
        if not self.parts:
            return idle_ms
        return min(max(0, self._due_ms(pace) - now_ms), pace.age_ms)

    def _due_ms(self, pace: Pace) -> int:
        gather_ms = min(pace.policy.gather_ms, pace.age_ms)
        return max(self.oldest_ms + pace.age_ms, self.begun_ms + gather_ms)
