"""Decides when a batch is committed: by count, by bytes, by age. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    age_ms_max: the longest time that the first record waits for others. It is counted from its
        append or from the poll before, whichever is later. On an idle system this is most of the
        delay of an event, which is promised to stay under 250 ms.
    gather_ms: records that arrived during a long commit have waited enough. The batch waits only
        this long for the rest of the log.
    """

    records_max: int = 20_000
    vectors_max: int = 40_000
    bytes_max: int = 64 << 20
    age_ms_max: int = 50
    gather_ms: int = 5

    def first_goal(self) -> int:
        """Records of the first batch: assumes 10 rows per record."""
        return self._bounded(self.vectors_max // 10)

    def next_goal(self, goal: int, records: int, vectors: int) -> int:
        """Records of the next batch, after one of `records` that made `vectors` rows: fewer where that
        was too many, half as many more where a full batch was within the limit."""
        if vectors > self.vectors_max:
            return self._bounded(records * self.vectors_max // vectors)
        return self._bounded(goal + goal // 2) if records >= goal else goal

    def _bounded(self, records: int) -> int:
        return min(self.records_max, max(RECORDS_MIN, records))


RECORDS_MIN: int = 200
"""In smaller commits, the fixed cost is larger than that of the rows."""


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

    def is_due(self, policy: Policy, goal: int, now_ms: int) -> bool:
        """`goal`: the number of records that makes the batch full."""
        return bool(self.parts) and (
            self.count >= goal
            or self.size_bytes >= policy.bytes_max
            or now_ms >= self._due_ms(policy)
            or now_ms < self.begun_ms  # the clock was set back, so the waiting time is unknown
        )

    def wait_ms(self, policy: Policy, now_ms: int, idle_ms: int) -> int:
        """How long a poll may wait, in ms: until the batch is due, or `idle_ms` while it is empty."""
        if not self.parts:
            return idle_ms
        return min(max(0, self._due_ms(policy) - now_ms), policy.age_ms_max)

    def _due_ms(self, policy: Policy) -> int:
        gather_ms = min(policy.gather_ms, policy.age_ms_max)
        return max(self.oldest_ms + policy.age_ms_max, self.begun_ms + gather_ms)
