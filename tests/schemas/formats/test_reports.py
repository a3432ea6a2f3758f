"""One answer counts once, whatever reports of it there are: the last final report of a body."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.formats.draft import IdSource
from schemas.formats.joining import Joiner
from schemas.formats.parse import parse
from tests.schemas.formats.fixtures import CONTEXT, fixture, only, read

Json = dict[str, Any]


def chunk(output: int | None, finish: str | None = None, name: str = "chatcmpl-Bx1") -> Json:
    choice = {"index": 0, "delta": {"content": "secret"}, "finish_reason": finish}
    usage = None if output is None else {"prompt_tokens": 9, "completion_tokens": output}
    about = {"id": name, "object": "chat.completion.chunk", "created": 1770544800, "model": "m"}
    return {**about, "choices": [choice], "usage": usage}


def outputs(body: object) -> list[int]:
    return [event.fields["output_tokens"] for event in read(body).events]


# -- chunks ----------------------------------------------------------------------------------------


def test_of_running_totals_in_chunks_the_last_counts() -> None:
    parsed = read([chunk(1), chunk(16), chunk(30), chunk(41, "stop")])
    assert [event.fields["output_tokens"] for event in parsed.events] == [41]
    assert len(parsed.skipped) == 3


def test_a_chunk_that_is_not_the_last_never_takes_the_identity() -> None:
    assert not read(chunk(16)).events
    assert "finish_reason" in read(chunk(16)).skipped[0].reason
    assert outputs(chunk(41, "stop")) == [41]


def test_of_two_last_chunks_the_later_counts_and_one_without_usage_does_not() -> None:
    usage_alone = {**chunk(45), "choices": []}
    assert outputs([chunk(41, "stop"), usage_alone]) == [45]
    assert outputs([usage_alone, chunk(None, "stop")]) == [45]


def test_usage_after_the_end_of_an_answer_is_its_last_report() -> None:
    """OpenRouter sends it with a choice that says nothing."""
    assert outputs([chunk(None, "stop"), chunk(45)]) == [45]
    assert outputs([chunk(None, "stop", "gen-other"), chunk(45)]) == []


def test_groqs_stream_has_its_usage_under_a_name_of_its_own() -> None:
    last = {**chunk(None, "stop"), "x_groq": {"id": "req_1", "usage": {"prompt_tokens": 9}}}
    assert only(read({**last, "choices": []}))["input_tokens"] == 9


# -- responses -------------------------------------------------------------------------------------


def response(status: str, output: int | None) -> Json:
    usage = None if output is None else {"input_tokens": 5, "output_tokens": output}
    return {"object": "response", "id": "resp_x1", "status": status, "usage": usage}


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_response_that_is_not_done_counts_nothing(status: str) -> None:
    assert status in read(response(status, None)).skipped[0].reason
    assert outputs([response("completed", 7), response(status, 3)]) == [7]


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
def test_a_response_that_is_done_counts_once(status: str) -> None:
    assert outputs([response("queued", None), response(status, 6), response(status, 7)]) == [7]


# -- Anthropic -------------------------------------------------------------------------------------


def stream(name: str, *outputs: int, stop: bool = True) -> list[Json]:
    usage = {"input_tokens": 35, "output_tokens": 1}
    items: list[Json] = [
        {"type": "message_start", "message": {"id": name, "model": "m", "usage": usage}}
    ]
    for place, output in enumerate(outputs, 1):
        reason = "end_turn" if place == len(outputs) else None
        delta = {"stop_reason": reason}
        items.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output}})
    return [*items, {"type": "message_stop"}] if stop else items


def test_several_message_deltas_are_running_totals() -> None:
    (event,) = read(stream("msg_1", 55, 120)).events
    assert (event.fields["input_tokens"], event.fields["output_tokens"]) == (35, 120)
    assert event.fields["id"] == "msg_1"


@pytest.mark.parametrize("stop", [True, False])
def test_streams_one_after_another_keep_their_own_start(stop: bool) -> None:  # noqa: FBT001
    body = [*stream("msg_1", 4, 7, stop=stop), *stream("msg_2", 9, stop=stop)]
    assert [event.fields["id"] for event in read(body).events] == ["msg_1", "msg_2"]
    assert outputs(body) == [7, 9]


def test_a_joiner_completes_a_stream_over_several_bodies() -> None:
    joiner = Joiner()
    parsed = [parse(item, None, CONTEXT, joiner=joiner) for item in stream("msg_1", 55, 120)]
    (event,) = [event for one in parsed for event in one.events]
    assert (event.fields["id"], event.fields["model"]) == ("msg_1", "m")


def test_a_joiner_is_bounded() -> None:
    joiner = Joiner()
    for number in range(3000):
        joiner.join(chunk(None, "stop", f"chatcmpl-{number}"))
    assert len(joiner._ended_chunks) <= 1000


# -- ids that say little ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chatcmpl-417", "417", "chatcmpl-7", "cmpl-0", "resp_123456"])
def test_a_short_id_is_completed_by_time_and_numbers(name: str) -> None:
    """Ollama gives one of 999 ids: two answers must not be one."""
    about = {"id": name, "object": "chat.completion", "model": "llama3.2"}
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    answers = [
        {**about, "created": 1770544800, "usage": usage},
        {**about, "created": 1770544801, "usage": usage},
        {**about, "created": 1770544801, "usage": {**usage, "completion_tokens": 7}},
    ]
    events = read([*answers, answers[0]]).events
    assert len({event.fields["id"] for event in events}) == len(events) == 3
    assert {event.id_source for event in events} == {IdSource.RESPONSE}


def test_an_empty_id_is_none() -> None:
    body = {"id": "", "object": "chat.completion", "usage": {"prompt_tokens": 5}}
    assert len(read([body, body]).events) == 2


def test_an_answer_of_ollama_is_named_by_its_time_and_durations() -> None:
    body = {
        "model": "llama3.2",
        "created_at": "2026-02-08T10:00:00.123456789Z",
        "done": True,
        "done_reason": "stop",
        "total_duration": 1870000000,
        "prompt_eval_count": 47,
        "eval_count": 160,
    }
    events = read([body, {**body, "total_duration": 1870000001}, body]).events
    assert len(events) == 2
    assert events[0].fields["latency_ms"] == 1870
    assert not any(event.is_seeded for event in events)


# -- LiteLLM ---------------------------------------------------------------------------------------


def test_a_callback_that_fires_twice_counts_once() -> None:
    first = fixture("litellm/chat")
    first["litellm_call_id"] = "call-1"
    again = {**first, "completion_tokens": 301, "id": "chatcmpl-of-the-second"}
    assert outputs([first, again]) == [301]


def test_a_report_without_usage_does_not_replace_one_with_it() -> None:
    full = fixture("litellm/chat")
    empty = {**full, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    empty |= {"metadata": {}, "response_cost": 0}
    for body in ([full, empty], [empty, full]):
        assert outputs(body) == [full["completion_tokens"]]


def test_a_cache_hit_that_fires_twice_counts_once() -> None:
    hit = fixture("litellm/cache_hit")
    again = {**hit, "id": hit["id"] + "7"}
    assert only(read(hit))["id"] == only(read(again))["id"] == hit["litellm_call_id"]


def test_attempts_that_failed_count_beside_the_one_that_did_not() -> None:
    failed = {**fixture("litellm/failure"), "litellm_call_id": "call-1", "id": "attempt-1"}
    good = {**fixture("litellm/chat"), "litellm_call_id": "call-1"}
    assert len(read([failed, good]).events) == 2


# -- what the producer names -----------------------------------------------------------------------


def test_events_that_the_producer_names_are_passed_on_as_they_are() -> None:
    event = {"id": "e", "source": "s", "time": "2026-02-08T10:00:00Z", "kind": "llm"}
    assert len(read([event, {**event, "input_tokens": 2}]).events) == 2
