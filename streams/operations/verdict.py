"""The verdict on a status: whether events are counted, in one sentence, and the next command to run.

The exit codes are those of monitoring plugins: 0 counting, 1 behind, 2 not counting, 3 unknown (the
command itself is misconfigured; deploy/cli/status.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from schemas.responses.status import RefusalStatus, State, Status, Verdict
from schemas.units import duration, iso
from streams.core.ports import RefusalReason

STALE_MS: Final = 30_000
"""A worker writes its freshness every 200 ms, and a takeover takes 6 s. After this long none counts."""
RUNBOOK: Final = "deploy/RUNBOOK.md"


class Limits(NamedTuple):
    """From when on counting is behind. None: no limit."""

    behind_ms_max: int | None = None
    lag_max: int | None = None


def judge(status: Status, now_ms: int, limits: Limits = Limits()) -> Verdict:  # noqa: B008  frozen
    """The first problem decides; what hides all others comes first."""
    state, sentence, following = _judge(status, now_ms, limits)
    return Verdict(state=state, sentence=sentence, next=following, notes=_notes(status))


def _judge(status: Status, now_ms: int, limits: Limits) -> tuple[State, str, str]:
    found = _not_counting(status, now_ms)
    if found is not None:
        return State.NOT_COUNTING, *found
    behind_ms = now_ms - (status.complete_through_ms or 0)
    lag = status.lag or 0
    fresh = f"{duration(behind_ms)} behind, {lag} records to count"
    if limits.behind_ms_max is not None and behind_ms > limits.behind_ms_max:
        most = duration(limits.behind_ms_max)
        return State.BEHIND, f"Counting is behind: {fresh}; the limit is {most}.", _MORE_WORKERS
    if limits.lag_max is not None and lag > limits.lag_max:
        most = f"{limits.lag_max} records"
        return State.BEHIND, f"Counting is behind: {fresh}; the limit is {most}.", _MORE_WORKERS
    return State.COUNTING, f"Counting: {fresh}.", ""


_MORE_WORKERS: Final = f"start more workers (odometer worker); see {RUNBOOK}#lag"


def _not_counting(status: Status, now_ms: int) -> tuple[str, str] | None:
    for name, away in (("Redis", status.redis_away), ("Kafka", status.kafka_away)):
        if away:
            check = (
                f"check ODOMETER_{name.upper()} and {name} itself; workers continue by themselves"
            )
            return f"{name} cannot be used: {away.rstrip('.')}.", check
    if not status.partitions or (status.complete_through_ms is None and not status.refusals):
        return "Nothing is counted yet.", "odometer worker"
    if status.refusals:
        first = status.refusals[0]
        rest = len(status.refusals) - 1
        more = f" There are {rest} other reasons." if rest > 1 else ""
        more = " There is another reason." if rest == 1 else more
        return refusal_sentence(first) + more, repair(first.reason)
    signs = ((one.last_commit_ms, one.complete_through_ms) for one in status.partitions)
    alive_ms = max(sign or 0 for both in signs for sign in both)
    if now_ms - alive_ms > STALE_MS:
        ago = f"{duration(now_ms - alive_ms)} ago ({iso(alive_ms)})"
        sentence = f"No worker counts: the last sign of one was {ago}; {status.lag} records wait."
        return sentence, "odometer worker; if one runs, look at its log"
    return _stuck(status, now_ms)


def _stuck(status: Status, now_ms: int) -> tuple[str, str] | None:
    """A partition that nobody counts, while others are counted."""
    stuck = [
        one.partition
        for one in status.partitions
        if one.lag
        and now_ms - max(one.complete_through_ms or 0, one.last_commit_ms or 0) > STALE_MS
    ]
    if not stuck:
        return None
    return (
        f"Not counting {_partitions(stuck)}, though others are.",
        f"look at the log of the workers; see {RUNBOOK}#partitions",
    )


def refusal_sentence(one: RefusalStatus) -> str:
    where = "all partitions" if one.partitions is None else _partitions(one.partitions)
    return f"Not counting {where}: {one.reason}: {one.detail}."


def repair(reason: str) -> str:
    """What to run, or to read, for a refusal."""
    if reason in _REBUILD:
        return f"odometer rebuild; see {RUNBOOK}#{reason}"
    if reason in _ACCEPT:
        return f"odometer accept (without --yes, it only shows); see {RUNBOOK}#{reason}"
    return f"see {RUNBOOK}#{reason}"


_ACCEPT: Final = {
    one.name.lower()
    for one in (
        RefusalReason.LOG_STARTS_LATER,
        RefusalReason.POSITION_EXPIRED,
        RefusalReason.POSITION_BEYOND_END,
        RefusalReason.OTHER_LOG,
    )
}
_REBUILD: Final = {RefusalReason.KEYS_EVICTED.name.lower()}


def _notes(status: Status) -> list[str]:
    notes = []
    if status.redis_away and status.kafka_away:
        notes.append(f"Kafka cannot be used either: {status.kafka_away}")
    if status.dead_letters_last_hour:
        notes.append(
            f"{status.dead_letters_last_hour} dead letters in the last hour: odometer dead list --since now-1h"
        )
    if status.unpriced:
        top = Counter(status.unpriced).most_common(1)[0][0]
        notes.append(
            f"{sum(status.unpriced.values())} events have no price, most of {top}: see {RUNBOOK}#unpriced"
        )
    notes += status.problems
    return notes


def _partitions(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"partition {numbers[0]}"
    shown = ", ".join(map(str, numbers[:8]))
    return f"{len(numbers)} partitions ({shown}{', ...' if len(numbers) > 8 else ''})"
