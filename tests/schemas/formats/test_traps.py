"""Each trap of schemas/contracts/producers.md, by name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import InvalidEvent
from schemas.formats.body import load
from schemas.formats.draft import IdSource
from schemas.formats.otel import encoding as otel
from schemas.formats.otel import protobuf as otel_protobuf
from schemas.formats.parse import parse, partial_success
from tests.schemas.formats.fixtures import CONTEXT, fixture, only, read


def changed(name: str, **changes: Any) -> Any:
    """A fixture's body with top-level fields changed; None takes one away."""
    body = {**fixture(name), **changes}
    return {key: value for key, value in body.items() if value is not None}


# -- otel ------------------------------------------------------------------------------------------


def span(**attributes: Any) -> dict[str, Any]:
    named = {"gen_ai.operation.name": {"stringValue": "chat"}}
    for name, value in attributes.items():
        named["gen_ai." + name.replace("__", ".")] = value
    attribute_list = [{"key": key, "value": value} for key, value in named.items()]
    made = {
        "traceId": "0AF7651916CD43DD8448EB211C80319C",
        "spanId": "b7ad6b7169203331",
        "startTimeUnixNano": "1770544800000000000",
        "endTimeUnixNano": "1770544801000000000",
        "attributes": attribute_list,
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [made]}]}]}


@pytest.mark.parametrize(
    "operation",
    ["invoke_agent", "create_agent", "execute_tool", "invoke_workflow", "retrieval", "other"],
)
def test_only_model_calls_count(operation: str) -> None:
    parsed = read(span(operation__name={"stringValue": operation}))
    assert not parsed.events
    assert not parsed.refused
    assert operation in parsed.skipped[0].reason


@pytest.mark.parametrize("operation", ["chat", "text_completion", "generate_content", "embeddings"])
def test_model_calls_count(operation: str) -> None:
    assert only(read(span(operation__name={"stringValue": operation})))["kind"] == "llm"


@pytest.mark.parametrize("value", [{"intValue": "12"}, {"intValue": 12}, {"doubleValue": 12}])
@pytest.mark.parametrize("name", ["usage__input_tokens", "usage__prompt_tokens"])
def test_old_and_new_names_and_whole_doubles(name: str, value: dict[str, Any]) -> None:
    assert only(read(span(**{name: value})))["input_tokens"] == 12


def test_the_new_name_is_taken_before_the_old() -> None:
    fields = only(
        read(
            span(
                usage__prompt_tokens={"intValue": "1"},
                usage__input_tokens={"intValue": "2"},
                system={"stringValue": "openai"},
                provider__name={"stringValue": "aws.bedrock"},
                request__model={"stringValue": "asked"},
                response__model={"stringValue": "answered"},
            )
        )
    )
    assert (fields["input_tokens"], fields["provider"]) == (2, "aws")
    assert fields["model"] == "answered"


@pytest.mark.parametrize("name", ["cache_write.input_tokens", "cache_creation.input_tokens"])
def test_cache_writes_have_two_names(name: str) -> None:
    fields = only(read(span(**{f"usage.{name}": {"intValue": "7"}})))
    assert fields["cache_write_tokens"] == 7


def test_instrumentations_before_the_operation_name() -> None:
    body = span(usage__prompt_tokens={"intValue": "3"})
    attributes = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    attributes[0] = {"key": "llm.request.type", "value": {"stringValue": "chat"}}
    assert only(read(body))["input_tokens"] == 3


def test_output_text_is_output_without_audio_unless_reported() -> None:
    counted = {
        "usage__output_tokens": {"intValue": "100"},
        "usage__audio__output_tokens": {"intValue": "30"},
    }
    assert only(read(span(**counted)))["output_text_tokens"] == 70
    reported = {**counted, "usage__text__output_tokens": {"intValue": "60"}}
    assert only(read(span(**reported)))["output_text_tokens"] == 60


def test_a_span_without_end_is_of_when_it_came_and_one_without_ids_is_seeded() -> None:
    body = span()
    held = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    held.pop("endTimeUnixNano")
    held["traceId"] = "0" * 32
    parsed = read(body)
    assert parsed.events[0].fields["time"] == "2026-02-08T10:01:00Z"
    assert parsed.events[0].id_source is IdSource.SEED
    assert sum(event.is_seeded for event in parsed.events) == 1


def test_a_failed_span_without_a_type_is_an_error() -> None:
    body = span()
    body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["status"] = {"code": 2}
    assert only(read(body))["error"] == "_OTHER"


def test_partial_success_counts_rejected_spans_not_skipped_ones() -> None:
    body = fixture("otel/json")
    count, warning = partial_success(read(body).refused, read(body).skipped)
    assert (count, warning) == (
        0,
        "1 span with usage not counted: a span of invoke_agent is no call to a model",
    )
    spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[1]["traceId"] = "xyz"
    parsed = read(body)
    assert len(parsed.events) == 2
    assert len(parsed.skipped) == 2
    rejected, message = partial_success(parsed.refused, ())
    assert rejected == 1
    assert message == "span 1: traceId: must be 32 hexadecimal digits"
    assert (
        otel.answer_json(otel.TRACES, rejected, message)["partialSuccess"]["rejectedSpans"] == "1"
    )
    assert otel.answer_json(otel.TRACES, 0, "") == {}
    assert otel_protobuf.answer_protobuf(otel.TRACES, 0, "") == b""
    assert message.encode() in otel_protobuf.answer_protobuf(otel.TRACES, rejected, message)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 12.5, -1.0, 1e300])
def test_a_double_that_is_no_count_is_refused(number: float) -> None:
    request = otel_protobuf.load_traces(otel_request(number))
    (refused,) = parse(request, "otel", CONTEXT).refused
    assert refused.error.field == "gen_ai.usage.input_tokens"


def otel_request(number: float) -> bytes:
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add().scope_spans.add().spans.add()
    for key, value in (("gen_ai.operation.name", "chat"), ("gen_ai.usage.input_tokens", number)):
        attribute = made.attributes.add()
        attribute.key = key
        if isinstance(value, str):
            attribute.value.string_value = value
        else:
            attribute.value.double_value = value
    return request.SerializeToString()


def test_bytes_that_are_no_protobuf_are_refused() -> None:
    with pytest.raises(InvalidEvent, match="ExportTraceServiceRequest"):
        otel_protobuf.load_traces(b"\xff\xff\xff")


# -- seconds and dollars ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [("0.0005", 0), ("0.0015", 2), ("1.0005", 1000), ("1.00050000000000000001", 1001)],
)
def test_seconds_are_half_even_from_the_decimal_text(text: str, ms: int) -> None:
    body = changed("livekit/llm", duration=Decimal(text))
    assert only(read(body))["latency_ms"] == ms


def test_a_cost_is_its_decimal_text_and_never_a_binary_float() -> None:
    body = load(
        b'{"call_type":"completion","custom_llm_provider":"openai","endTime":1770544800.1,'
        b'"prompt_tokens":1,"completion_tokens":1,"response_cost":0.1000000000000000055}'
    )
    assert only(read(body))["cost_usd"] == "0.1000000000000000055"


# -- litellm ---------------------------------------------------------------------------------------


def test_a_call_is_named_by_its_session_only() -> None:
    body = fixture("litellm/chat")
    assert body["trace_id"] == "trace-fixed"
    assert "call_id" not in only(read(body))
    assert only(read({**body, "session_id": "room-1"}))["call_id"] == "room-1"


def test_the_agent_is_agent_id_then_agent() -> None:
    body = fixture("litellm/chat")
    body["metadata"]["requester_metadata"] = {"agent": "fallback"}
    assert only(read(body))["agent_id"] == "fallback"


@pytest.mark.parametrize("name", ["cache_write_tokens", "cache_creation_tokens"])
def test_cache_writes_come_under_three_names(name: str) -> None:
    body = fixture("litellm/anthropic")
    usage = body["metadata"]["usage_object"]
    usage.pop("cache_creation_input_tokens")
    details = usage["prompt_tokens_details"]
    kept = details.pop(name)
    details.pop("cache_write_tokens", None)
    details.pop("cache_creation_tokens", None)
    assert "cache_write_tokens" not in only(read(body))
    details[name] = kept
    assert only(read(body))["cache_write_tokens"] == 188
    details.pop(name)
    usage["cache_creation_input_tokens"] = kept
    assert only(read(body))["cache_write_tokens"] == 188


def test_litellm_posts_arrays() -> None:
    parsed = read([fixture("litellm/chat"), fixture("litellm/list_files")])
    assert [event.index for event in parsed.events] == [0]
    assert [skipped.index for skipped in parsed.skipped] == [1]


# -- livekit ---------------------------------------------------------------------------------------


def test_running_totals_are_never_added_up() -> None:
    parsed = read({"type": "session_usage_updated", "usage": {"model_usage": []}})
    assert "twice" in parsed.skipped[0].reason


@pytest.mark.parametrize("kind", ["eot_inference", "interruption", "avatar", "vad", "eou"])
def test_metrics_without_usage_are_accepted_and_said_to_be_skipped(kind: str) -> None:
    parsed = read({"type": f"{kind}_metrics", "timestamp": Decimal("1770544800.5")})
    assert [skipped.format for skipped in parsed.skipped] == ["livekit"]


def test_a_request_id_is_no_event_id() -> None:
    first = read([fixture("livekit/stt"), fixture("livekit/stt")])
    assert [event.fields["id"] for event in first.events] == ["seed-0", "seed-1"]
    assert sum(event.is_seeded for event in first.events) == 2


def test_an_empty_request_with_usage_counts() -> None:
    body = changed("livekit/stt", request_id="")
    assert only(read(body))["stt_audio_ms"] == 5050


def test_cancelled_is_no_error() -> None:
    assert "error" not in only(read(fixture("livekit/llm_cancelled")))


# -- openai, anthropic -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "details", ["prompt_tokens_details", "input_tokens_details", "input_token_details"]
)
def test_details_have_three_names(details: str) -> None:
    usage = {"prompt_tokens": 10, details: {"cached_tokens": 4, "audio_tokens": 0}}
    fields = only(read({"object": "response", "id": "r", "usage": usage}))
    assert (fields["cache_read_tokens"], fields["input_audio_tokens"]) == (4, 0)


def test_null_is_not_reported_and_zero_is() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 0,
        "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 0},
    }
    fields = only(read({"object": "chat.completion", "usage": usage}))
    assert fields["cache_read_tokens"] == 0
    assert fields["output_tokens"] == 0
    assert "input_audio_tokens" not in fields


def test_a_custom_voice_is_its_id() -> None:
    body = {"model": "tts-1", "voice": {"id": "voice_1234"}, "input": "Hi"}
    assert only(read(body))["voice"] == "voice_1234"


def test_a_stream_counts_once_and_its_end_alone_is_refused() -> None:
    whole = read(fixture("anthropic/stream"))
    assert len(whole.events) == 1
    parts = [read(part) for part in fixture("anthropic/stream")]
    assert not any(parsed.events for parsed in parts)
    assert [refused.error.field for parsed in parts for refused in parsed.refused] == ["type"]


def test_two_streams_at_once_are_not_mixed_up() -> None:
    start, delta, _ = fixture("anthropic/stream")
    parsed = read([start, start, delta, delta])
    assert not parsed.events
    assert [refused.index for refused in parsed.refused] == [2, 3]


def test_an_error_body_is_no_answer() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "a secret"}}
    assert "error" in read(body, "anthropic").skipped[0].reason
    body = {"error": {"code": None, "type": "insufficient_quota", "message": "a secret"}}
    assert "error" in read(body, "openai").skipped[0].reason
    assert not read(body, "openai").events


def test_the_request_names_the_provider_that_spoke_openais_format() -> None:
    context = parse(
        {"format": "openai", "context": {"provider": "azure.ai.openai"}, "payload": CHAT},
        None,
        CONTEXT,
    )
    assert context.events[0].fields["provider"] == "azure"


CHAT = {"object": "chat.completion", "id": "chatcmpl-1", "model": "gpt-4o"}
