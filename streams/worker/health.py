"""The intervals of the worker, and the facts that its health page reports."""

from __future__ import annotations

from dataclasses import dataclass, field


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


@dataclass
class WorkerHealth:
    """`progress_ms`: the time of the last commit, or the last time that there was nothing to read.
    `log_away`, `store_away`: the error while Kafka or Redis does not answer, else "". `refused`:
    the paused partitions, each with the reason."""

    progress_ms: int = 0
    commits: int = 0
    events: int = 0
    log_away: str = ""
    store_away: str = ""
    refused: dict[int, str] = field(default_factory=dict)
