"""A scripted log and clock, for one worker on the fake store, turn by turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.event.identity import IdSecret
from schemas.store.generation import generation_digest
from schemas.store.layout import Meta
from streams.core.batch import Policy
from streams.core.decode import Record
from streams.core.ports import LastRecord, OffsetBounds, PartitionBatch, Polled, RejectedRecord
from streams.worker.health import Timing
from streams.worker.loop import Worker
from streams.worker.metrics import WorkerMetrics
from tests.oracles.event_logs import NOW_MS, SECRET, encode, event
from tests.simulation.log import PolledRecord
from tests.simulation.store import FakeStore

DIGEST: Final = generation_digest("scripted")
TIMING: Final = Timing(poll_ends_ms=200, clock_skew_ms=500, recheck_ms=2000, stalled_ms=30_000)
AT_ONCE: Final = Policy(age_ms_min=0, visible_ms_max=0)
"""Every poll with records is a commit."""


def polled_event(offset: int, append_ms: int = NOW_MS, **changes: Any) -> PolledRecord:
    fields = event(**{"id": f"evt-{offset}", **changes})
    return PolledRecord(offset, append_ms, encode(fields), ())


@dataclass
class ScriptedClock:
    now: int = NOW_MS
    ids: int = 0
    breaths: int = 0

    def now_ms(self) -> int:
        return self.now

    def commit_id(self) -> bytes:
        self.ids += 1
        return self.ids.to_bytes(16, "big")

    def secret(self) -> IdSecret:
        return SECRET

    async def sleep(self, ms: int) -> None:
        self.now += ms
        await asyncio.sleep(0)

    async def breathe(self) -> None:
        self.breaths += 1


@dataclass
class ScriptedLog:
    """`partitions` are assigned; `waiting` is what the next poll hands over of what was sought."""

    ends: dict[int, int]
    starts: dict[int, int] = field(default_factory=dict)
    last_records: dict[int, LastRecord] = field(default_factory=dict)
    assignment: int = 1
    partitions: frozenset[int] = frozenset({0})
    waiting: list[PartitionBatch] = field(default_factory=list)
    sought: dict[int, int] = field(default_factory=dict)
    rejected: list[RejectedRecord] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)  # how many records a poll may give

    async def poll(self, records_max: int, wait_ms: int) -> Polled:  # noqa: ARG002
        self.asked.append(records_max)
        batches, self.waiting = self.waiting, []
        return Polled(self.assignment, self.partitions, batches)

    def seek(self, positions: Mapping[int, int]) -> None:
        self.sought |= positions

    async def bounds(self) -> Mapping[int, OffsetBounds]:
        return {p: OffsetBounds(self.starts.get(p, 0), end) for p, end in self.ends.items()}

    async def record_at(self, partition: int, offset: int) -> LastRecord | None:  # noqa: ARG002
        return self.last_records.get(partition)

    async def send_to_dlq(self, rejected: Sequence[RejectedRecord]) -> None:
        self.rejected += rejected


@dataclass
class Scene:
    """One worker; its store has one generation when it has taken its first turn."""

    log: ScriptedLog
    store: FakeStore = field(default_factory=FakeStore)
    clock: ScriptedClock = field(default_factory=ScriptedClock)
    policy: Policy = AT_ONCE
    digest: bytes = DIGEST
    metrics: WorkerMetrics | None = None

    def __post_init__(self) -> None:
        self.worker = Worker(
            self.log,
            self.store,
            self.clock,
            self.digest,
            self.policy,
            TIMING,
            metrics=self.metrics,
        )

    async def turns(self, count: int = 1) -> None:
        for _ in range(count):
            await self.worker._turn()

    async def counts(self, *records: Record, partition: int = 0, end: int | None = None) -> None:
        """One poll hands these over, and they are committed."""
        last = end if end is not None else records[-1].offset + 1
        self.log.ends[partition] = max(self.log.ends.get(partition, 0), last)
        self.log.waiting.append(PartitionBatch(partition, last, records))
        await self.turns()

    async def looks(self) -> None:
        """One pass over the ends of the log."""
        answers = iter((False, True))
        await self.worker.poll_end_offsets(lambda: next(answers))

    @property
    def meta(self) -> Meta:
        assert self.store.state.meta is not None
        return self.store.state.meta
