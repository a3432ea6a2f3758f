"""What many events of one body share is checked once, and what it adds to them is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import InvalidEvent, Reason
from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats.body import TEXT_CHARS_MAX
from schemas.formats.context import GIVEN, ONCE, Context, with_given
from schemas.formats.objects import RECORD_BYTES_MAX, parse_with
from schemas.formats.otel.protobuf import load_traces
from schemas.formats.structure import BodyTooLarge
from schemas.limits import EVENT_BYTES_MAX, ID_CHARS_MAX, PREVIEW_CHARS_MAX
from tests.oracles.event_logs import event
from tests.schemas.formats.fixtures import CONTEXT, fixture, read

LONG = "x" * (TEXT_CHARS_MAX + 1)
COMPLETION = {"object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1}}
SPAN = {"attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}]}


def validations(body: Any, context: Context = CONTEXT) -> int:
    """How many events are validated, each of which reads all its texts."""
    count = 0

    def validate(fields: dict[str, Any]) -> UsageEvent:
        nonlocal count
        count += 1
        return parse_usage(fields)

    parse_with(validate, body, None, context)
    return count


def spans(service: str, count: int = 100) -> dict[str, Any]:
    attributes = [{"key": "service.name", "value": {"stringValue": service}}]
    resource = {"attributes": attributes}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [SPAN] * count}]}]}


@pytest.mark.parametrize("name", sorted({*GIVEN} - ONCE | {"cost_usd"}))
def test_a_long_text_of_a_context_is_refused_before_it_is_added(name: str) -> None:
    with pytest.raises(InvalidEvent, match=f"the limit is {TEXT_CHARS_MAX}"):
        with_given(Context(0, "seed"), {name: LONG})
    envelope = {"format": "otel", "context": {name: LONG}, "payload": spans("gateway")}
    assert validations(envelope) == 0


def test_a_long_name_of_a_service_is_refused_once() -> None:
    assert validations(spans("gateway")) == 100
    assert validations(spans(LONG)) == 0
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = LONG
    with pytest.raises(InvalidEvent, match=r"service\.name"):
        load_traces(request.SerializeToString())


@pytest.mark.parametrize("field", ["id", "model"])
def test_a_long_text_of_a_response_is_refused_before_its_parts_are_events(field: str) -> None:
    message = fixture("anthropic/beta_advisor")
    advisor = {"type": "advisor_message", "model": "m"}
    usage = {**message["usage"], "iterations": [advisor] * 100}
    assert validations({**message, "usage": usage}) == 101
    assert validations({**message, "usage": usage, field: LONG}) == 0


@pytest.mark.parametrize("fields", [{}, {"unknown": 1}])
def test_a_cost_that_no_event_has_room_for_is_never_a_number(fields: dict[str, Any]) -> None:
    """A Decimal of a long text takes a hundred times as long as the text."""
    for chars, expected in ((EVENT_BYTES_MAX, 1), (EVENT_BYTES_MAX + 1, 0)):
        assert validations({**event(cost_usd="0" * chars, id=5), **fields}) == expected
    (refused,) = read({**event(cost_usd="0" * (EVENT_BYTES_MAX + 1)), **fields}).refused
    assert refused.error.reason is Reason.TOO_LARGE


def test_every_text_of_an_event_fits() -> None:
    assert TEXT_CHARS_MAX >= 2 * PREVIEW_CHARS_MAX
    (refused,) = read({**COMPLETION, "model": LONG}).refused
    assert refused.error.field == "model"


def test_a_context_cannot_make_a_small_body_large() -> None:
    names = ("source", "provider", "agent_id", "user_id", "user_name", "service", "voice")
    given = dict.fromkeys((*names, "call_id", "chat_id"), "\U0001f600" * ID_CHARS_MAX)
    context = with_given(CONTEXT, given)
    (one,) = read(COMPLETION, context=context).events
    fitting = RECORD_BYTES_MAX // len(one.record) - 10
    assert len(read([COMPLETION] * fitting, context=context).events) == fitting
    body = [COMPLETION] * (RECORD_BYTES_MAX // len(one.record) + 10)
    assert len(json.dumps(body)) < RECORD_BYTES_MAX // 50
    with pytest.raises(BodyTooLarge) as caught:
        read(body, context=context)
    assert caught.value.reason is Reason.TOO_LARGE
