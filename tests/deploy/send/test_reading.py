"""A file's lines complete each other: streams, and several reports of one answer."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest

from deploy.send.reading import KEPT_BODIES_MAX, FileParser, ParsedBody, bodies
from schemas.formats.context import Context
from tests.schemas.formats.fixtures import RECEIVED_MS, fixture

Json = dict[str, Any]
CONTEXT = Context(received_ms=RECEIVED_MS, id_seed="file")


def chat(name: str, output: int) -> Json:
    usage = {"prompt_tokens": 5, "completion_tokens": output}
    return {"object": "chat.completion", "id": name, "model": "m", "usage": usage}


def parsed(lines: list[Json], sent: int = 0) -> list[ParsedBody]:
    """The bodies of a file of which the first `sent` were sent before."""
    data = b"".join(json.dumps(line, default=float).encode() + b"\n" for line in lines)
    parser = FileParser(None, CONTEXT)
    found: list[ParsedBody] = []
    for number, body in enumerate(bodies(BytesIO(data), "a.ndjson", None)):
        if number < sent:
            parser.see(body)
        else:
            found += parser.parse(body)
    return [*found, *parser.rest()]


def events(found: list[ParsedBody]) -> list[tuple[int, str, int]]:
    """Line, id and output of each event."""
    return [
        (one.body.line, event.fields["id"], event.fields["output_tokens"])
        for one in found
        for event in one.parsed.events
    ]


def test_a_transcript_counts_each_answer_once() -> None:
    lines = fixture("claude_code/transcript")
    assert events(parsed(lines)) == [(3, "msg_1", 330), (6, "msg_2", 41), (6, "msg_4", 50)]


def test_of_two_reports_in_a_file_the_last_counts_and_the_first_is_a_skip() -> None:
    one, other = "chatcmpl-B4x7q1ZPa", "chatcmpl-B4x7q1ZPb"
    found = parsed([chat(one, 1), chat(other, 2), chat(one, 3)])
    assert events(found) == [(2, other, 2), (3, one, 3)]
    assert [len(body.parsed.skipped) for body in found] == [1, 0, 0]


def test_every_line_comes_once_and_in_order_and_few_are_kept() -> None:
    lines = [chat(f"chatcmpl-B{number}", 1) for number in range(3 * KEPT_BODIES_MAX)]
    parser, ready = FileParser(None, CONTEXT), 0
    data = b"".join(json.dumps(line, default=float).encode() + b"\n" for line in lines)
    for number, body in enumerate(bodies(BytesIO(data), "a.ndjson", None), 1):
        for one in parser.parse(body):
            ready += 1
            assert one.body.line == ready
            assert one.body.data == b""
        assert number - ready <= KEPT_BODIES_MAX
    assert [one.body.line for one in parser.rest()] == [*range(ready + 1, len(lines) + 1)]


def test_a_stream_goes_on_where_an_earlier_run_ended() -> None:
    usage = {"input_tokens": 50, "cache_read_input_tokens": 200, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": usage}}
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 32},
    }
    for sent in (0, 1):
        assert events(parsed([start, end], sent)) == [(2, "msg_1", 32)]


@pytest.mark.parametrize(
    "name",
    ["codex/transcript", "langchain/chunks_of_openai", "langchain/chunks_of_responses"],
)
def test_a_file_that_grew_counts_as_one_that_was_read_at_once(name: str) -> None:
    lines = fixture(name)
    whole = events(parsed(lines))
    for sent in range(1, len(lines)):
        assert events(parsed(lines, sent)) == [one for one in whole if one[0] > sent]


def test_a_realtime_session_names_its_model_where_an_earlier_run_ended() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2}
    begun = {"type": "session.created", "session": {"model": "gpt-realtime"}}
    done = {"type": "response.done", "response": {"id": "resp_1", "usage": usage}}
    (made,) = [one for body in parsed([begun, done], 1) for one in body.parsed.events]
    assert made.fields["model"] == "gpt-realtime"
