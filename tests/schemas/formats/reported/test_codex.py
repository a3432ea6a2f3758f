"""Codex's transcripts: running totals, lines without new usage, forks and what their files repeat.

Reported by users of tools that read these files: ccusage#1370 and #1371, PokeTokenBar#128,
agentsview#657, codeburn#413, zork#25.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.schemas.formats.fixtures import read

Json = dict[str, Any]
PARENT = "019d9845-4273-7ee3-a7d7-15b71ec6f096"
OLD_TURN = "019d9845-45f6-70d2-86e8-53d8a44a830f"
FORK = "019f5e98-0000-7ba0-8ff1-6a40ac7794c9"  # 2026-07-14T02:38:46
TURN = "019f5e98-f77c-7ba0-8ff1-6a40ac7794c9"  # a minute later
FORKED, LATER = "2026-02-08T10:00:00.040Z", "2026-02-08T10:00:09.000Z"


def line(kind: str, at: str = LATER, **payload: Any) -> Json:
    return {"timestamp": at, "type": kind, "payload": payload}


def usage(into: int, cached: int, out: int, reasoning: int = 0) -> Json:
    about = {"cached_input_tokens": cached, "reasoning_output_tokens": reasoning}
    return {"input_tokens": into, "output_tokens": out, **about, "total_tokens": into + out}


def counted(total: Json | None, last: Json | None = None, at: str = LATER) -> Json:
    info = {"total_token_usage": total, "last_token_usage": last}
    return line("event_msg", at, type="token_count", info=info)


def meta(name: str = PARENT, at: str = LATER, **about: Any) -> Json:
    return line("session_meta", at, id=name, timestamp=at, model_provider="openai", **about)


def turn(name: str = OLD_TURN, model: str = "gpt-5.5", **about: Any) -> Json:
    return line("turn_context", turn_id=name, model=model, **about)


def told(*lines: Json) -> list[tuple[Any, ...]]:
    parsed = read(list(lines))
    assert not parsed.refused, parsed.refused[0].error
    names = ("model", "input_tokens", "cache_read_tokens", "output_tokens")
    return [tuple(one.fields.get(name) for name in names) for one in parsed.events]


FIRST, SECOND = usage(100, 40, 10), usage(250, 100, 25)


def test_totals_without_the_last_usage_count_what_is_new() -> None:
    lines = (meta(), turn(), counted(FIRST), counted(FIRST), counted(SECOND))
    assert told(*lines) == [("gpt-5.5", 100, 40, 10), ("gpt-5.5", 150, 60, 15)]


def test_a_line_that_was_lost_is_in_the_next_difference() -> None:
    whole = [counted(FIRST, FIRST), counted(SECOND, usage(150, 60, 15))]
    last = counted(usage(400, 150, 45), usage(150, 50, 20))
    assert told(meta(), turn(), whole[0], last)[-1] == ("gpt-5.5", 300, 110, 35)
    rows = [row[1:] for row in told(meta(), *whole, last)]
    assert [sum(one) for one in zip(*rows, strict=True)] == [400, 150, 45]


def test_where_the_totals_begin_again_the_last_usage_counts() -> None:
    assert told(turn(), counted(SECOND, FIRST), counted(FIRST, usage(60, 0, 6)))[-1] == (
        "gpt-5.5", 60, 0, 6,
    )  # fmt: skip
    assert told(turn(), counted(SECOND), counted(FIRST))[-1] == ("gpt-5.5", 100, 40, 10)


def test_a_total_that_a_compaction_estimates_is_no_usage() -> None:
    estimate = {**usage(0, 0, 0), "total_tokens": 12000}
    full = {**FIRST, "total_tokens": 272000}
    lines = (counted(FIRST, FIRST), counted(FIRST, estimate), counted(full, estimate))
    assert len(told(meta(), turn(), *lines)) == 1


def test_the_model_is_that_of_the_turn() -> None:
    lines = (meta(), turn(), counted(FIRST, FIRST), turn(model="gpt-5.5-mini"), counted(SECOND))
    assert [row[0] for row in told(*lines)] == ["gpt-5.5", "gpt-5.5-mini"]


def test_a_tier_of_the_turn_counts_until_the_next() -> None:
    parsed = read([turn(service_tier="flex"), counted(FIRST), turn(), counted(SECOND)])
    tiers = [one.fields.get("service_tier") for one in parsed.events]
    assert tiers == ["flex", None]


def test_reasoning_beside_the_output_is_found_by_the_total() -> None:
    last = {**usage(100, 40, 10, 30), "total_tokens": 140}
    assert told(meta(), turn(), counted(None, last)) == [("gpt-5.5", 100, 40, 40)]
    wrong = read([meta(), turn(), counted(None, {**last, "total_tokens": 99})])
    assert wrong.events[0].fields["cost_problem"]


@pytest.mark.parametrize(
    "about",
    [
        {"forked_from_id": PARENT},
        {"source": {"subagent": {"thread_spawn": {"parent_thread_id": PARENT}}}},
    ],
)
def test_a_fork_does_not_count_what_it_copied(about: Json) -> None:
    """The copies have the time of the fork; their turns began before it."""
    lines = (
        meta(FORK, **about),
        meta(PARENT, FORKED),
        turn(OLD_TURN),
        counted(FIRST, FIRST, FORKED),
        counted(SECOND, usage(150, 60, 15), FORKED),
        line("event_msg", type="task_started", turn_id=TURN),
        turn(TURN, "gpt-5.6"),
        counted(SECOND, usage(150, 60, 15)),
        counted(usage(300, 140, 30), usage(50, 40, 5)),
    )
    assert told(*lines) == [("gpt-5.6", 50, 40, 5)]
    (made,) = read(list(lines)).events
    assert made.fields["chat_id"] == FORK


def test_a_fork_of_turns_without_a_time_is_told_by_when_its_lines_were_written() -> None:
    lines = (
        meta("fork-1", "2026-02-08T10:00:00Z", forked_from_id="parent-1"),
        meta("parent-1", "2026-02-07T10:00:00Z"),
        {**turn("turn-1"), "timestamp": FORKED},
        counted(FIRST, FIRST, FORKED),
        counted(usage(130, 50, 14), usage(30, 10, 4)),
    )
    assert told(*lines) == [("gpt-5.5", 30, 10, 4)]


def test_an_agent_that_copied_nothing_counts_whole() -> None:
    agent = {"subagent": {"thread_spawn": {"parent_thread_id": PARENT}}}
    lines = (meta(FORK, source=agent), turn(TURN), counted(FIRST, FIRST))
    assert told(*lines) == [("gpt-5.5", 100, 40, 10)]


def test_a_session_that_is_resumed_goes_on_and_another_begins_anew() -> None:
    other = "019f5e99-0000-7ba0-8ff1-6a40ac7794c9"
    lines = (meta(), turn(), counted(FIRST), meta(), counted(SECOND), meta(other), counted(FIRST))
    assert [row[1] for row in told(*lines)] == [100, 150, 100]
    assert len({one.fields["id"] for one in read(list(lines)).events}) == 3


def test_the_same_line_has_the_same_id_whatever_was_read_before_it() -> None:
    last = counted(SECOND, usage(150, 60, 15))
    whole = read([meta(), turn(), counted(FIRST, FIRST), last]).events[-1]
    part = read([meta(), turn(), last]).events[-1]
    assert (whole.fields["id"], whole.record) == (part.fields["id"], part.record)


def test_what_exec_prints_is_a_sum_and_a_line_without_usage_is_named() -> None:
    printed = {"type": "turn.completed", "usage": {"input_tokens": 26549, "output_tokens": 1590}}
    assert "send its transcript" in read(printed).skipped[0].reason
    limits = line("event_msg", type="token_count", info=None, rate_limits={})
    assert "limits alone" in read(limits).skipped[0].reason
    assert "response_item" in read(line("response_item", type="message")).skipped[0].reason


@pytest.mark.parametrize("count", ["12", -1, True, 1.5])
def test_a_count_that_is_none_is_refused_with_its_path(count: object) -> None:
    (refused,) = read([meta(), counted({**FIRST, "input_tokens": count})]).refused
    assert "payload.info.total_token_usage.input_tokens" in str(refused.error)
