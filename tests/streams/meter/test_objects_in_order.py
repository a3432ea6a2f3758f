"""What `record_from` makes of objects that belong together, and what it says of those it cannot count."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from deploy.local.servers import free_port
from streams.meter import Meter
from tests.schemas.formats.fixtures import fixture
from tests.streams.meter.receiver import Receiver, receiver_of

CHUNK = {"id": "chatcmpl-" + "a" * 20, "object": "chat.completion.chunk", "created": 1770544800,
         "model": "gpt-4o"}  # fmt: skip
SAID = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
ENDED = {"index": 0, "delta": {}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def message_of(name: str, into: int, out: int) -> list[dict[str, Any]]:
    """The events of one stream of Anthropic's."""
    start = {"id": f"msg_{name}", "model": "claude-sonnet-4-5", "usage": {"input_tokens": into}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"},
             "usage": {"output_tokens": out}}  # fmt: skip
    return [{"type": "message_start", "message": start}, {"type": "ping"}, delta,
            {"type": "message_stop"}]  # fmt: skip


class App(NamedTuple):
    meter: Meter
    receiver: Receiver
    log: pytest.LogCaptureFixture

    def events(self) -> list[dict[str, Any]]:
        assert self.meter.flush(30)
        return [event for body in self.receiver.bodies for event in body]

    def warnings(self) -> list[str]:
        return [one.getMessage() for one in self.log.records if one.levelno >= logging.WARNING]


@pytest.fixture
def app(caplog: pytest.LogCaptureFixture) -> Iterator[App]:
    caplog.set_level(logging.INFO, "odometer.meter")
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        yield App(meter, receiver, caplog)


def test_the_events_of_a_stream_complete_each_other_one_by_one(app: App) -> None:
    for event in message_of("a", 50, 32):
        app.meter.record_from(event)
    (made,) = app.events()
    assert (made["id"], made["model"], made["input_tokens"], made["output_tokens"]) == (
        "msg_a", "claude-sonnet-4-5", 50, 32,
    )  # fmt: skip
    assert sum(app.meter.skipped.values()) == 3
    assert app.warnings() == []  # parts of a stream that counts are no problem
    summary = app.log.records[-1].getMessage()
    assert summary.startswith("3 objects skipped so far: 1 x usage of message_start is provisional")


def test_streams_in_several_threads_do_not_mix(app: App) -> None:
    turns = threading.Barrier(3)

    def read(name: str, into: int) -> None:
        for event in message_of(name, into, into + 1):
            turns.wait(30)  # all have begun before one ends
            app.meter.record_from(event)

    threads = [threading.Thread(target=read, args=(f"t{n}", 10 * n)) for n in (1, 2, 3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = {(one["id"], one["input_tokens"], one["output_tokens"]) for one in app.events()}
    assert found == {("msg_t1", 10, 11), ("msg_t2", 20, 21), ("msg_t3", 30, 31)}


def test_one_stream_may_be_read_by_several_threads(app: App) -> None:
    """As Starlette reads a generator: each step in a thread of its pool."""
    for event in message_of("a", 50, 32):
        step = threading.Thread(target=app.meter.record_from, args=(event,))
        step.start()
        step.join()
    (made,) = app.events()
    assert (made["id"], made["input_tokens"], made["output_tokens"]) == ("msg_a", 50, 32)


def test_a_stream_without_usage_is_counted_as_skipped_and_the_fix_is_named(app: App) -> None:
    for choice in (SAID, SAID, ENDED):
        app.meter.record_from({**CHUNK, "choices": [choice], "usage": None})
    assert app.events() == []
    (line,) = app.warnings()
    assert line.startswith("skipped: a stream of OpenAI's API ended without usage: pass stream_o")
    (number,) = [n for why, n in app.meter.skipped.items() if "ended without usage" in why]
    assert number == 1


def test_a_stream_with_usage_is_no_skipped_stream(app: App) -> None:
    for choices, usage in (([SAID], None), ([ENDED], None), ([], USAGE)):
        app.meter.record_from({**CHUNK, "choices": choices, "usage": usage})
    (made,) = app.events()
    assert (made["id"], made["input_tokens"], made["output_tokens"]) == (CHUNK["id"], 9, 2)
    assert app.warnings() == []


def test_of_several_reports_of_one_answer_the_last_counts(app: App) -> None:
    answer = {"id": "resp_" + "b" * 30, "object": "response", "model": "gpt-5.2",
              "created_at": 1770544800, "output": []}  # fmt: skip
    final = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    early = {**final, "output_tokens": 3, "total_tokens": 8}
    app.meter.record_from({**answer, "status": "queued", "usage": None})
    app.meter.record_from({**answer, "status": "incomplete", "usage": early})
    app.meter.record_from({**answer, "status": "completed", "usage": final})
    app.meter.record_from({**answer, "status": "completed", "usage": None})
    (made,) = app.events()
    assert (made["input_tokens"], made["output_tokens"]) == (5, 7)
    assert app.meter.skipped["another report of the same answer counts"] == 2


def test_a_reason_is_logged_once_and_counted_each_time(app: App) -> None:
    for _ in range(3):
        app.meter.record_from({"object": "list", "data": [{"object": "model", "id": "gpt-4o"}]})
        app.meter.record_from({"type": "vad_metrics", "label": "vad", "timestamp": 1770544800})
    assert app.events() == []
    assert sorted(app.meter.skipped.values()) == [3, 3]
    assert len(app.warnings()) == 2


def test_reasons_are_bounded(app: App) -> None:
    for number in range(300):
        app.meter.record_from({"object": "list", "data": [{"object": f"thing-{number}"}]})
    assert app.events() == []
    assert len(app.meter.skipped) == 65
    assert sum(app.meter.skipped.values()) == 300
    assert app.meter.skipped["another reason"] == 236


def test_unknown_fields_of_an_answer_are_logged_once(app: App) -> None:
    usage = {**USAGE, "dream_tokens": 4}
    for number in (1, 2):
        app.meter.record_from(
            {"id": f"chatcmpl-{number}" + "c" * 20, "object": "chat.completion",
             "model": "gpt-4o", "choices": [], "usage": usage}
        )  # fmt: skip
    assert len(app.events()) == 2
    assert app.warnings() == ["an answer has a field that is not counted: usage.dream_tokens"]


class RawResponse:
    """As `with_raw_response` of OpenAI's and Anthropic's clients returns it."""

    http_response = None

    def parse(self) -> None:
        raise AssertionError


class StreamManager:
    def __enter__(self) -> None:
        raise AssertionError


def generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (RawResponse, "pass its `.parse()`"),
        (generator, "pass each of its events, or let `meter.wrap(client)`"),
        (StreamManager, "pass `stream.get_final_message()`"),
        (lambda: None, "it is None"),
        (lambda: '{"a": 1}', "pass `json.loads(text)`"),
        (lambda: ValueError("no"), "error=type(error).__name__"),
        (object, "pass an answer of a model as its library returns it"),
    ],
)
def test_an_object_that_cannot_be_read_is_refused_and_the_fix_is_named_once(
    app: App, make: Callable[[], object], fix: str
) -> None:
    for _ in range(2):
        app.meter.record_from(make())
    assert app.events() == []
    assert app.meter.counts.refused == 2
    named = [line for line in app.warnings() if "cannot be read" in line]
    assert len(named) == 1
    assert fix in named[0]


def test_a_dict_of_no_format_is_named_once(app: App) -> None:
    for _ in range(2):
        app.meter.record_from({"answer": 42})
    assert app.events() == []
    named = [line for line in app.warnings() if "cannot be counted" in line]
    assert len(named) == 1
    assert "unknown format" in named[0]


class Answer:
    """An answer of a library, with texts that the app has forgotten."""

    def __init__(self, name: str) -> None:
        self.name = name

    def model_dump(self, **_: object) -> dict[str, Any]:
        return {"id": self.name, "object": "chat.completion", "model": "gpt-4o", "choices": [],
                "usage": USAGE}  # fmt: skip


def record_and_forget(meter: Meter, name: str, answers: weakref.WeakSet[Answer]) -> None:
    answer = Answer(name)
    answers.add(answer)
    meter.record_from(answer)


def test_answers_do_not_wait_in_memory_for_a_server_that_is_away() -> None:
    port = free_port()
    answers: weakref.WeakSet[Answer] = weakref.WeakSet()
    with Meter(f"http://127.0.0.1:{port}", source="app", linger_s=0.01) as meter:
        names = [f"chatcmpl-{number:024d}" for number in range(1500)]  # more than a batch
        for name in names:
            record_and_forget(meter, name, answers)
        give_up_s = time.monotonic() + 30
        while answers:
            assert time.monotonic() < give_up_s, len(answers)
            time.sleep(0.02)
        assert meter.counts.queued == 1500
        with receiver_of([], port) as receiver:
            assert meter.flush(30)
        assert meter.counts == (1500, 0, 0, 0)
    assert sorted(receiver.ids) == names


class Hostile:
    """Raises on any question, even for its class."""

    def __getattribute__(self, name: str) -> object:
        raise HostileError(name)


class HostileError(Exception):
    def __repr__(self) -> str:
        raise ValueError("no words")


class Ending:
    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def model_dump(self, **_: object) -> object:
        raise self._error


def test_no_object_of_an_app_ends_the_meter(app: App) -> None:
    around: dict[str, Any] = {}
    around["usage"] = around
    objects = [
        Hostile(),
        *(Ending(error) for error in (SystemExit, KeyboardInterrupt, GeneratorExit, HostileError)),
        around,
    ]
    for one in objects:
        app.meter.record_from(one)
        app.meter.record_from({"usage": one}, format="openai")
        app.meter.record("llm", model=one)
        assert app.meter.wrap(one) is one
        assert app.meter.livekit(one) is one
    app.meter.record("llm", id="last", model="gpt-4o")
    assert [one["id"] for one in app.events()] == ["last"]
    assert app.meter.counts.refused == 3 * len(objects)


@pytest.mark.parametrize(
    ("name", "counts", "parts"),
    [
        ("langchain/chunks_of_gemini", ("gemini-2.5-flash", 200, 64), 3),
        ("gemini_interactions/stream", ("gemini-3-flash-preview", 4100, 1700), 2),
    ],
)
def test_a_stream_of_parts_counts_once_and_its_parts_are_no_problem(
    app: App, name: str, counts: tuple[str, int, int], parts: int
) -> None:
    for part in fixture(name):
        app.meter.record_from(part, agent_id="a")
    (made,) = app.events()
    assert (made["model"], made["input_tokens"], made["output_tokens"]) == counts
    assert app.warnings() == []
    assert sum(app.meter.skipped.values()) == parts
