"""What is no call of a model is refused or skipped, and times that cannot be right cost no usage."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import InvalidEvent
from schemas.formats.detect import FORMATS
from schemas.formats.parse import parse
from schemas.formats.times import NO_TIME
from schemas.formats.values import load_values
from tests.schemas.formats.fixtures import CONTEXT, fixture, only, read

Json = dict[str, Any]
BEDROCK: Json = {
    "output": {"message": {"role": "assistant", "content": []}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 310, "outputTokens": 42, "totalTokens": 352},
}
CHAT: Json = {
    "object": "chat.completion",
    "id": "chatcmpl-Bx",
    "model": "gpt-4o",
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}


# -- lists, errors, foreign bodies -----------------------------------------------------------------


@pytest.mark.parametrize("of", ["model", "file", "batch", "chat.completion", "response", None, 7])
def test_a_list_is_no_answer(of: object) -> None:
    parsed = read({"object": "list", "data": [{"object": of}] if of else []})
    assert not parsed.events
    assert "list" in parsed.skipped[0].reason


def test_a_list_of_embeddings_is_an_answer() -> None:
    body = {"object": "list", "data": [{"object": "embedding"}], "model": "m"}
    assert only(read(body))["operation"] == "embeddings"


@pytest.mark.parametrize("format", ["openai", "anthropic"])
def test_the_body_of_an_error_is_no_answer(format: str) -> None:  # noqa: A002
    parsed = read({"error": {"type": "overloaded_error", "message": "secret"}}, format)
    assert not parsed.events
    assert "error" in parsed.skipped[0].reason


FOREIGN = [
    BEDROCK,
    CHAT,
    {"type": "message", "usage": {"input_tokens": 1, "output_tokens": 2}},
    {"usageMetadata": {"promptTokenCount": 1}},
    {"type": "stt_metrics", "audio_duration": 1},
    {"eventType": "llm_response", "payload": {}},
    {"a": 1},
    {"usage": {"a": 1}},
    {},
]


@pytest.mark.parametrize(
    "format", [one for one in FORMATS if one not in {"neutral", "agentlens", "otel"}]
)
@pytest.mark.parametrize("body", FOREIGN)
def test_a_foreign_body_under_a_named_format_counts_nothing(format: str, body: Json) -> None:  # noqa: A002
    parsed = read(body, format)
    if any(event.format == format for event in read(body).events):
        return  # it is the format's own
    assert not parsed.events
    assert parsed.refused or parsed.skipped


@pytest.mark.parametrize("body", [{"a": 1}, {"id": "x", "tokens": 5}, {"results": []}])
def test_an_unknown_body_is_told_what_to_send_instead(body: Json) -> None:
    (refused,) = read(body).refused
    assert refused.error.field == "format"
    assert "unknown format: send a neutral event" in refused.error.detail
    assert "schemas/README.md#the-event" in refused.error.detail


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "created",
    [
        0,
        -1,
        1,
        1770544800000,
        17705448000000000,
        4102444800,
        True,
        {},
        [],
        "yesterday",
        "1970-01-01",
    ],
)
def test_a_time_that_cannot_be_right_is_that_of_receipt_and_reported(created: object) -> None:
    (event,) = read({**CHAT, "created": created}).events
    assert event.fields["time"] == "2026-02-08T10:01:00Z"
    assert event.fields["input_tokens"] == 10
    assert event.unknown == (NO_TIME,)


@pytest.mark.parametrize(
    "created", [1770544800, "2026-02-08T10:00:00Z", "2026-02-08T11:00:00+01:00"]
)
def test_a_time_that_can_be_right_is_kept(created: object) -> None:
    (event,) = read({**CHAT, "created": created}).events
    assert event.unknown == ()
    assert event.fields["time"] != "2026-02-08T10:01:00Z"


@pytest.mark.parametrize(
    ("name", "field"), [("litellm/chat", "endTime"), ("livekit/llm", "timestamp")]
)
def test_frameworks_too(name: str, field: str) -> None:
    (event,) = read({**fixture(name), field: 0}).events
    assert event.fields["time"] == "2026-02-08T10:01:00Z"
    assert NO_TIME in event.unknown


def test_a_clock_that_was_set_back_costs_no_usage() -> None:
    body = fixture("litellm/chat")
    fields = only(read({**body, "startTime": body["endTime"] + 5}))
    assert "latency_ms" not in fields


def test_the_time_of_an_own_event_is_the_producers_word() -> None:
    body = {"id": "e", "source": "s", "time": "1970-01-01T00:00:00Z", "kind": "llm"}
    assert only(read(body))["time"] == "1970-01-01T00:00:00Z"


# -- several objects in a body of JSON --------------------------------------------------------------


@pytest.mark.parametrize("between", [b"\n", b"", b" \r\n\t", b"\n\n"])
def test_several_values_are_a_list(between: bytes) -> None:
    assert load_values(b'{"a":1}' + between + b'{"a":\n2}') == [{"a": 1}, {"a": 2}]
    assert load_values(b'{"a":1}\n') == {"a": 1}


def test_a_broken_line_among_lines_is_refused_alone() -> None:
    values = load_values(b'{"object":"list"}\n{broken\n{"object":"list"}\n')
    parsed = parse(values, None, CONTEXT)
    assert [one.index for one in parsed.skipped] == [0, 2]
    assert [one.index for one in parsed.refused] == [1]


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b'{"a":1} x', b'{"a":1', b"[" * 100 + b"]" * 100]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        load_values(body)
