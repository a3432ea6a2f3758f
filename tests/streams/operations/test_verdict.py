"""The verdict names what hides everything else first, and the command to run next."""

from __future__ import annotations

import io
import re
from typing import Any, Final

import pytest
from rich.console import Console

from deploy.cli.status import parse_duration, render_status
from deploy.monitor.installation import as_document
from schemas.errors import InvalidConfig
from schemas.responses.status import PartitionStatus, State, Status
from schemas.units import duration
from streams.core.ports import RefusalReason
from streams.operations.status import refusals_by_reason
from streams.operations.verdict import STALE_MS, Limits, judge, repair

NOW_MS: Final = 1_770_000_000_000


def partition(number: int = 0, **changes: Any) -> PartitionStatus:
    fields = {
        "partition": number,
        "position": 10,
        "end": 10,
        "lag": 0,
        "last_commit_ms": NOW_MS - 60_000,
        "complete_through_ms": NOW_MS - 400,
        "refused": None,
    }
    return PartitionStatus(**(fields | changes))


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        name: {} for name, one in Status.model_fields.items() if one.is_required()
    }
    fields |= dict.fromkeys(
        ("commits", "series", "duplicates", "differs", "directory_full", "lag"), 0
    )
    fields |= {"generations": [], "price_lists": [], "tenants": [], "problems": []}
    fields |= {"history_from_ms": None, "complete_through_ms": NOW_MS - 400}
    return Status(**(fields | {"partitions": [partition()]} | changes))


def refusals(*partitions: int, reason: str = "log_starts_later") -> Any:
    said = {"reason": reason, "detail": "Redis has no position"}
    return refusals_by_reason({str(one): said for one in partitions}, None)


@pytest.mark.parametrize(
    ("changes", "state", "sentence", "following"),
    [
        ({}, State.COUNTING, "Counting: 0.4 s behind, 0 records to count.", ""),
        (
            {"redis_away": "Redis does not answer: refused.", "kafka_away": "Kafka is away"},
            State.NOT_COUNTING,
            "Redis cannot be used: Redis does not answer: refused.",
            "check ODOMETER_REDIS and Redis itself; workers continue by themselves",
        ),
        (
            {"kafka_away": "Kafka did not accept a connection", "refusals": refusals(0)},
            State.NOT_COUNTING,
            "Kafka cannot be used: Kafka did not accept a connection.",
            "check ODOMETER_KAFKA and Kafka itself; workers continue by themselves",
        ),
        (
            {"complete_through_ms": None},
            State.NOT_COUNTING,
            "Nothing is counted yet.",
            "odometer worker",
        ),
        (
            {"complete_through_ms": None, "refusals": refusals(*range(12))},
            State.NOT_COUNTING,
            "Not counting 12 partitions (0, 1, 2, 3, 4, 5, 6, 7, ...): log_starts_later: Redis has no position.",
            "odometer accept (without --yes, it only shows); see deploy/RUNBOOK.md#log_starts_later",
        ),
        (
            {
                "complete_through_ms": NOW_MS - 300_000,
                "lag": 7,
                "partitions": [partition(complete_through_ms=NOW_MS - 300_000, last_commit_ms=NOW_MS - 200_000, lag=7)],
            },
            State.NOT_COUNTING,
            "No worker counts: the last sign of one was 3 min ago (2026-02-02T02:36:40Z); 7 records wait.",
            "odometer worker; if one runs, look at its log",
        ),
        (
            {
                "complete_through_ms": NOW_MS - 2 * STALE_MS,
                "lag": 7,
                "partitions": [partition(), partition(5, complete_through_ms=NOW_MS - 2 * STALE_MS, lag=7)],
            },
            State.NOT_COUNTING,
            "Not counting partition 5, though others are.",
            "look at the log of the workers; see deploy/RUNBOOK.md#partitions",
        ),
    ],
)  # fmt: skip
def test_the_first_problem_decides(
    changes: dict[str, Any], state: State, sentence: str, following: str
) -> None:
    found = judge(status(**changes), NOW_MS)
    assert (found.state, found.sentence, found.next) == (state, sentence, following)


def test_limits_decide_whether_counting_is_behind() -> None:
    late = status(
        complete_through_ms=NOW_MS - 40_000,
        lag=900,
        partitions=[partition(lag=900, complete_through_ms=NOW_MS - 40_000, last_commit_ms=NOW_MS)],
    )
    assert judge(late, NOW_MS).state is State.COUNTING
    assert judge(late, NOW_MS, Limits(60_000, 1000)).state is State.COUNTING
    behind = judge(late, NOW_MS, Limits(30_000))
    assert behind.state is State.BEHIND
    assert (
        behind.sentence
        == "Counting is behind: 40 s behind, 900 records to count; the limit is 30 s."
    )
    assert judge(late, NOW_MS, Limits(None, 899)).state is State.BEHIND


def test_each_reason_is_said_once_and_that_of_all_partitions_first() -> None:
    found = refusals_by_reason(
        {
            "1": {"reason": "other_log", "detail": "of 1"},
            "0": {"reason": "log_starts_later", "detail": "of 0"},
            "3": {"reason": "log_starts_later", "detail": "of 3"},
        },
        (RefusalReason.KEYS_EVICTED, "evicted"),
    )
    assert [(one.reason, one.partitions) for one in found] == [
        ("keys_evicted", None),
        ("log_starts_later", [0, 3]),
        ("other_log", [1]),
    ]
    text = judge(status(refusals=found), NOW_MS).sentence
    assert text == "Not counting all partitions: keys_evicted: evicted. There are 2 other reasons."


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_refusal_names_its_section(reason: RefusalReason) -> None:
    assert f"deploy/RUNBOOK.md#{reason.name.lower()}" in repair(reason.name.lower())


def test_what_counts_and_still_needs_somebody_is_a_note() -> None:
    found = judge(status(dead_letters_last_hour=3, unpriced={"a/b": 2, "c/d": 5}), NOW_MS)
    assert found.state is State.COUNTING
    assert found.notes == [
        "3 dead letters in the last hour: odometer dead list --since now-1h",
        "7 events have no price, most of c/d: see deploy/RUNBOOK.md#unpriced",
    ]


def test_the_document_begins_with_the_verdict() -> None:
    found = status()
    document = as_document(found, judge(found, NOW_MS))
    assert list(document)[:2] == ["verdict", "redis_away"]
    assert document["verdict"]["state"] == 0
    assert document["lag"] == 0


def test_without_redis_what_it_would_say_is_unknown_and_not_zero() -> None:
    found = status(
        redis_away="Redis does not answer", dead_letters_last_hour=3, complete_through_ms=None
    )
    document = as_document(found, judge(found, NOW_MS))
    for name in ("lag", "refusals", "unpriced", "dead_letters", "commits", "series", "problems"):
        assert document[name] is None, name
    assert document["dead_letters_last_hour"] == 3
    assert document["partitions"]
    for everything in (False, True):
        console = Console(file=io.StringIO(), width=200)
        console.print(render_status(found, judge(found, NOW_MS), NOW_MS, everything=everything))
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        assert not re.search(
            r"^(refused|refusals|unpriced|series|commits): (none|0)", text, re.MULTILINE
        )
        assert "0 in all" not in text


@pytest.mark.parametrize(("dead_letters", "said"), [({}, "unknown"), ({"too_old": 53}, "53")])
def test_all_dead_letters_are_not_fewer_than_those_of_the_last_hour(
    dead_letters: dict[str, int], said: str
) -> None:
    found = status(dead_letters_last_hour=53, dead_letters=dead_letters)
    console = Console(file=io.StringIO(), width=200)
    console.print(render_status(found, judge(found, NOW_MS), NOW_MS))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"dead letters: 53 in the last hour, {said} in all" in text


def test_durations() -> None:
    assert [duration(ms) for ms in (0, 420, 9_999, 90_000, 300_000, 7_200_000, 1830 * 86_400_000)] == [
        "0.0 s", "0.4 s", "9.9 s", "90 s", "5 min", "2 h", "1830 days",
    ]  # fmt: skip
    assert [parse_duration(one) for one in ("500ms", "30s", "5m", "1h")] == [500, 30_000, 300_000, 3_600_000]  # fmt: skip
    with pytest.raises(InvalidConfig, match="--max-behind is '3 days'"):
        parse_duration("3 days")
