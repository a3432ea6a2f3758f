"""When a batch is committed: by count, by bytes, by age. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.core.decode import Record
from streams.core.ports import PartitionBatch

DECODE_SLICE: int = 1000
"""Records decoded before heartbeats get their turn: 5 ms."""


@dataclass(frozen=True)
class Policy:
    """Bounds of a batch.

    records_max: bigger batches cost less an event.
    vectors_max: rows that one commit appends, each 1.2 to 1.8 us in Redis with all that goes with
        it, during which nobody else is served: some 60 ms at most. Of live events that is 3,000,
        each of which costs Redis half as much as in commits of 1,000, and the worker two thirds.
        How many records it is depends on how many series they spread over, so each batch is sized
        by what the ones before it needed.
    bytes_max: 20,000 records of 3 kB; a batch of the largest events stays small.
    age_ms_max: the first record waits at most so long for others, counted from its append or from
        the poll before, whichever is later. It is most of what an event waits for on an idle
        system, where the promise is 250 ms.
    gather_ms: what came during a long commit has waited enough, but for what else the log has of
        that time.
    """

    records_max: int = 20_000
    vectors_max: int = 40_000
    bytes_max: int = 64 << 20
    age_ms_max: int = 50
    gather_ms: int = 5

    def first_goal(self) -> int:
        """Records of the first batch, of which nothing is known: as if each made 10 additions."""
        return self._bounded(self.vectors_max // 10)

    def next_goal(self, goal: int, records: int, vectors: int) -> int:
        """Records of the next batch, after one of `records` that made `vectors` additions: fewer
        where that was too many, half as many more where a full batch was not."""
        if vectors > self.vectors_max:
            return self._bounded(records * self.vectors_max // vectors)
        return self._bounded(goal + goal // 2) if records >= goal else goal

    def _bounded(self, records: int) -> int:
        return min(self.records_max, max(RECORDS_MIN, records))


RECORDS_MIN: int = 200
"""Below this a commit's fixed cost outweighs its additions."""


@dataclass
class PartitionShare:
    """One partition's share: from the stored position `start` up to `end`."""

    start: int
    end: int
    records: list[Record] = field(default_factory=list)


@dataclass
class Batch:
    """What was polled and is not committed yet. `parts` by partition. `oldest_ms`: since when its
    first record may have waited; `begun_ms`: when that was polled."""

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
        """Takes what was polled of the partitions in `positions` (their stored positions), between
        the end of the poll before and now."""
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
        """`goal`: how many records make it full."""
        return bool(self.parts) and (
            self.count >= goal
            or self.size_bytes >= policy.bytes_max
            or now_ms >= self._due_ms(policy)
            or now_ms
            < self.begun_ms  # the clock was set back: it says nothing of how long it waits
        )

    def wait_ms(self, policy: Policy, now_ms: int, idle_ms: int) -> int:
        """How long a poll may wait: until the batch is due, or `idle_ms` where it is empty."""
        if not self.parts:
            return idle_ms
        return min(max(0, self._due_ms(policy) - now_ms), policy.age_ms_max)

    def _due_ms(self, policy: Policy) -> int:
        gather_ms = min(policy.gather_ms, policy.age_ms_max)
        return max(self.oldest_ms + policy.age_ms_max, self.begun_ms + gather_ms)
