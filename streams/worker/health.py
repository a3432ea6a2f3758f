"""The intervals of the worker, and the facts that its probes and metrics report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.limits import MINUTE_MS
from streams.core.columns import Columns
from streams.core.ports import Commit, OffsetBounds, Progress, RefusalReason
from streams.worker.judged_events import JudgedEvents
from streams.worker.metrics import PartitionState, WorkerMetrics


@dataclass(frozen=True)
class Timing:
    """Intervals in ms.

    poll_ends_ms: how often the worker polls the end offsets of the topic. On an idle system,
        `complete_through` is at most this old.
    clock_skew_ms: the most by which the clocks of the worker and the broker may differ.
    recheck_ms: how often the worker checks a paused partition again.
    stalled_ms: after this time without a commit, although there are records to read, the worker
        treats its consumer as broken.
    """

    poll_ends_ms: int = 200
    clock_skew_ms: int = 500
    recheck_ms: int = 2000
    stalled_ms: int = 30_000


MinuteReport = tuple[tuple[str, float, int, float], Mapping[str, float]]
"""Text and arguments of a log line, and the same as fields."""


class Minute:
    """A line for the log each minute in which something was counted."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._began_ms = 0

    def report(self, health: WorkerHealth, lag: int, now_ms: int) -> MinuteReport | None:
        if not self._began_ms:
            self._began_ms = now_ms
        passed_ms = now_ms - self._began_ms
        if passed_ms < MINUTE_MS:
            return None
        events = health.events - self._events
        self._events, self._began_ms = health.events, now_ms
        if not events or not health.complete_ms:
            return None
        per_s = events * 1000 / passed_ms
        behind_s = max(0, now_ms - min(health.complete_ms.values())) / 1000
        line = ("counting: %.1f events/s, lag %d records, %.1f s behind", per_s, lag, behind_s)
        return line, {"events_per_s": per_s, "lag": lag, "behind_s": behind_s}


@dataclass
class WorkerHealth:
    """`progress_ms`: the time of the last commit, or the last time that there was nothing to read.
    `log_away`, `store_away`: the error while Kafka or Redis does not answer, else "". `refused`:
    the paused partitions, each with the reason; `reasons`: the same with its name. `complete_ms`,
    `committed_ms`: by partition, what the last commits have written."""

    progress_ms: int = 0
    commits: int = 0
    events: int = 0
    log_away: str = ""
    store_away: str = ""
    refused: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, RefusalReason] = field(default_factory=dict)
    complete_ms: dict[int, int] = field(default_factory=dict)
    committed_ms: dict[int, int] = field(default_factory=dict)
    metrics: WorkerMetrics | None = None
    judged: JudgedEvents = field(default_factory=JudgedEvents)

    def note_commit(self, commit: Commit, rows: Columns, began_ms: int, now_ms: int) -> None:
        """A commit of a batch, which was begun at `began_ms`, was applied."""
        self.progress_ms = now_ms
        self.commits += 1
        self.events += len(rows)
        self.committed_ms |= dict.fromkeys((one.partition for one in commit.partitions), now_ms)
        self.note_complete(commit.partitions)
        self.judged.note(rows)
        if self.metrics is not None:
            self.metrics.note_commit(commit, rows, began_ms, now_ms)

    def note_complete(self, partitions: Sequence[Progress]) -> None:
        self.complete_ms |= {
            one.partition: one.complete_ms for one in partitions if one.complete_ms
        }

    def refuse(self, partition: int, why: RefusalReason, detail: str) -> None:
        self.refused[partition], self.reasons[partition] = detail, why

    def go_on(self, partition: int) -> None:
        """The partition is not refused any more."""
        self.refused.pop(partition, None)
        self.reasons.pop(partition, None)

    def keep(self, partitions: frozenset[int]) -> None:
        """Forgets all partitions but these: their new owners report them."""
        for facts in (self.refused, self.reasons, self.complete_ms, self.committed_ms):
            for partition in set(facts) - partitions:
                del facts[partition]

    def partitions(
        self, positions: Mapping[int, int], bounds: Mapping[int, OffsetBounds]
    ) -> dict[int, PartitionState]:
        return {
            partition: PartitionState(
                position,
                bounds[partition].end,
                bounds[partition].lag(position),
                self.complete_ms.get(partition, 0),
                self.committed_ms.get(partition, 0),
            )
            for partition, position in positions.items()
            if partition in bounds
        }
