"""The chunks of LangChain's messages: each has what is new, and the message counts once."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.formats.frameworks.langchain_chunks import OPEN_MAX, MessageChunks
from tests.schemas.formats.fixtures import read

Json = dict[str, Any]


def chunk(name: str, *counts: int, **about: Any) -> Json:
    """`counts`: input and output that are new. `position`: as langchain-core 1.0 writes it."""
    usage = None
    if counts:
        into, out = counts
        usage = {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
    position = {"chunk_position": about.pop("position")} if "position" in about else {}
    return {
        "type": "AIMessageChunk",
        "id": name,
        "usage_metadata": usage,
        "response_metadata": about,
        **position,
    }


def counted(*chunks: Json) -> list[tuple[Any, ...]]:
    parsed = read(list(chunks))
    assert not parsed.refused
    names = ("id", "model", "input_tokens", "output_tokens")
    return [tuple(one.fields.get(name) for name in names) for one in parsed.events]


NEW = {"position": None}
LAST = {"position": "last"}


def test_the_counts_of_all_chunks_are_added_up_at_the_last() -> None:
    said = {"finish_reason": "STOP", "model_name": "m"}
    assert counted(
        chunk("lc_run--a", 200, 55, **NEW),
        chunk("lc_run--a", 0, 4, **NEW),
        chunk("lc_run--a", 0, 5, **NEW, **said),
        chunk("lc_run--a", **LAST),
    ) == [("lc_run--a", "m", 200, 64)]


def test_before_the_last_chunk_nothing_counts() -> None:
    chunks = [chunk("lc_run--a", 200, 55, **NEW), chunk("lc_run--a", 0, 4, **NEW)]
    assert counted(*chunks) == []
    assert {one.reason for one in read(chunks).skipped} == {
        "a chunk of a LangChain message counts with the last one"
    }


@pytest.mark.parametrize("place", ["plain", "kwargs", "data"])
def test_the_sum_that_an_app_makes_itself_is_another_report(place: str) -> None:
    """With `+`, beside the chunks or alone; also as `dumpd` and `messages_to_dict` write chunks."""
    whole = chunk("lc_run--a", 9, 3, model_name="m", stop_reason="end_turn", **LAST)
    parts = [chunk("lc_run--a", 9, 1, model_name="m"), chunk("lc_run--a", 0, 2, **LAST)]
    kind = {"plain": {}, "kwargs": {"type": "constructor"}, "data": {"type": "AIMessageChunk"}}
    for chunks in ([whole], [*parts, whole], [*parts, whole, whole]):
        made = [one if place == "plain" else {**kind[place], place: one} for one in chunks]
        assert counted(*made) == [("lc_run--a", "m", 9, 3)]


def test_before_version_1_a_message_ends_with_its_reason_and_its_usage() -> None:
    assert counted(
        chunk("run-a", model_name="m"),
        chunk("run-a", finish_reason="stop"),
        chunk("run-a", 9, 3),
    ) == [("run-a", "m", 9, 3)]
    bedrock = [chunk("run-b", 9, 1, model_name="m"), chunk("run-b", 0, 2, stopReason="end_turn")]
    assert counted(*bedrock) == [("run-b", "m", 9, 3)]
    whole = chunk("run-b", 9, 3, model_name="m", stopReason="end_turn")
    assert counted(*bedrock, whole) == [("run-b", "m", 9, 3)]


def test_messages_that_are_open_at_once_do_not_mix() -> None:
    assert counted(
        chunk("lc_run--a", 10, 1, **NEW),
        chunk("lc_run--b", 20, 2, **NEW),
        chunk("lc_run--a", 0, 1, **LAST),
        chunk("lc_run--b", 0, 2, **LAST),
    ) == [("lc_run--a", None, 10, 2), ("lc_run--b", None, 20, 4)]


def test_the_id_of_the_answer_counts_where_only_its_first_chunk_has_it() -> None:
    name = "resp_0123456789abcdef0123456789abcdef"
    first = chunk(name, id=name, **NEW)
    end = chunk("lc_run--a", 9, 3, **LAST)
    assert counted(first, end) == [(name, None, 9, 3)]
    between = chunk("lc_run--b", 1, 1, **LAST)
    assert counted(first, chunk("lc_run--a", **NEW), between, end) == [
        ("lc_run--b", None, 1, 1),
        (name, None, 9, 3),
    ]
    assert counted(first, chunk("run-old", 5, 5, finish_reason="stop"), between) == [
        (name, None, 5, 5),
        ("lc_run--b", None, 1, 1),
    ]


def test_a_stream_without_usage_says_so_once_at_its_end() -> None:
    parsed = read([chunk("lc_run--a", **NEW), chunk("lc_run--a", finish_reason="stop", **LAST)])
    assert not parsed.events
    assert [one.reason for one in parsed.skipped][-1] == "the message has no usage_metadata"


def test_a_wrong_count_in_a_chunk_is_refused_and_named() -> None:
    wrong = chunk("lc_run--a", 9, 3, **LAST)
    wrong["usage_metadata"]["output_tokens"] = "3"
    (refused,) = read([chunk("lc_run--a", 1, 1, **NEW), wrong]).refused
    assert "usage_metadata.output_tokens" in str(refused.error)


def test_open_messages_are_bounded() -> None:
    chunks = MessageChunks()
    for number in range(OPEN_MAX + 1):
        chunks.join(chunk(f"lc_run--{number}", 1, 1, **NEW))
    oldest = chunks.join(chunk("lc_run--0", 2, 2, **LAST))
    newest = chunks.join(chunk(f"lc_run--{OPEN_MAX}", 2, 2, **LAST))
    assert [one["usage_metadata"]["input_tokens"] for one in (oldest, newest)] == [2, 3]
