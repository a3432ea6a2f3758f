"""Counts dead letters by tenant and reason: of the last hour, and of all that their topic holds.

A read only looks at the records that were added since the one before, so it may be asked every few seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.core.dead_letters import read_dead_letter, tenant_of
from streams.core.ports import OffsetBounds
from streams.kafka.offsets import ScannedRecord, read_bounds_of_existing, scan
from streams.operations.replay import RECENT_MAX


class TenantLetters(NamedTuple):
    """Of one tenant, by reason; replayed ones too. `last_hour`: None where it is not known. `from_ms`: older
    dead letters were not looked at; None: `held` has all that the topic holds."""

    last_hour: Mapping[str, int] | None
    held: Mapping[str, int]
    from_ms: int | None


class CountedLetters(NamedTuple):
    """The result of a read, by tenant."""

    last_hour: Mapping[str, Counter[str]] | None
    held: Mapping[str, Counter[str]]
    from_ms: int | None

    def of(self, tenant: str) -> TenantLetters:
        none: Counter[str] = Counter()
        recent = None if self.last_hour is None else self.last_hour.get(tenant, none)
        return TenantLetters(recent, self.held.get(tenant, none), self.from_ms)


class _Letter(NamedTuple):
    offset: int
    written_ms: int
    origin: str
    tenant: str
    reason: str


@dataclass
class _Partition:
    """`position`: the next offset to read. `is_cut`: records before the first one that is read here are not
    looked at. `cut_ms`: from when on all are known."""

    position: int
    is_cut: bool
    cut_ms: int | None = None
    letters: deque[_Letter] = field(default_factory=deque)
    origins: set[str] = field(default_factory=set)

    def forget_oldest(self) -> _Letter:
        oldest = self.letters.popleft()
        self.origins.discard(oldest.origin)
        return oldest


class LetterCounts:
    """Knows at most `searched_max` dead letters of each partition, the newest: some 500 B each."""

    def __init__(self, kafka: str, dead_letter_topic: str, searched_max: int = RECENT_MAX) -> None:
        self._kafka = kafka
        self._topic = dead_letter_topic
        self._searched_max = searched_max
        self._partitions: dict[int, _Partition] = {}

    async def read(self, hour_from_ms: int) -> CountedLetters:
        """Raises LogError, and InvalidConfig where there is no such topic. What was read until then is kept, so
        the next read continues there."""
        for partition, held in (await read_bounds_of_existing(self._kafka, self._topic)).items():
            self._follow(partition, held)
        after = {number: one.position for number, one in self._partitions.items()}
        async for records in scan(self._kafka, self._topic, after=after):
            for record in records:
                self._note(self._partitions[record.partition], record)
        return self._counted(hour_from_ms)

    def _follow(self, partition: int, held: OffsetBounds) -> None:
        """Forget what retention has removed, or all if the topic was created again, or if more was added than
        is read."""
        known = self._partitions.get(partition)
        first = max(held.start, held.end - self._searched_max)
        if known is None or not first <= known.position <= held.end:
            self._partitions[partition] = known = _Partition(first, first > held.start)
        while known.letters and known.letters[0].offset < held.start:
            known.forget_oldest()

    def _note(self, partition: _Partition, record: ScannedRecord) -> None:
        if partition.is_cut and partition.cut_ms is None:
            partition.cut_ms = record.timestamp
        partition.position = record.offset + 1
        letter = read_dead_letter(record.value, record.headers)
        if letter is None or letter.replay is not None or letter.origin in partition.origins:
            return  # the mark of a replay; or a dead letter that was written twice
        tenant = tenant_of(letter)
        kept = _Letter(record.offset, record.timestamp, letter.origin, tenant, letter.reason)
        partition.letters.append(kept)
        partition.origins.add(letter.origin)
        if len(partition.letters) > self._searched_max:
            partition.cut_ms = partition.forget_oldest().written_ms

    def _counted(self, hour_from_ms: int) -> CountedLetters:
        parts = self._partitions.values()
        cut_ms = max((one.cut_ms for one in parts if one.cut_ms is not None), default=None)
        held: dict[str, Counter[str]] = {}
        recent: dict[str, Counter[str]] = {}
        for one in parts:
            for letter in one.letters:
                held.setdefault(letter.tenant, Counter())[letter.reason] += 1
                if letter.written_ms >= hour_from_ms:
                    recent.setdefault(letter.tenant, Counter())[letter.reason] += 1
        is_whole_hour = cut_ms is None or cut_ms < hour_from_ms
        return CountedLetters(recent if is_whole_hour else None, held, cut_ms)
