"""An answer lists the first hundred refusals, and says how many there are besides."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from api.agentlens import errors as agentlens_errors
from api.agentlens.ingest import EVENTS_MAX, _take
from api.errors import RefusedEvents
from api.http import problems
from api.ingest.records import (
    LISTED_MAX,
    UNKNOWN_SHOWN,
    ValidatedRecords,
    answer_of,
    more,
    refusals_of,
    validate,
)
from schemas.formats.body import ITEMS_MAX
from schemas.formats.context import Context
from schemas.formats.parse import parse, partial_success
from schemas.formats.structure import never
from schemas.responses.ingest import IngestAnswer
from tests.oracles.event_logs import NOW_MS, event

CONTEXT = Context(NOW_MS, "seed", tenant="acme")
REQUEST = Request({"type": "http", "method": "POST", "path": "/", "headers": []})


def validated(body: Any) -> ValidatedRecords:
    return validate(parse(body, None, CONTEXT), NOW_MS)


def test_an_answer_lists_the_first_refusals_and_counts_the_rest() -> None:
    wrong = [event(id=5)] * (ITEMS_MAX - 1)
    said = msgspec.json.decode(answer_of(validated([*wrong, event()]), is_named=False))
    assert IngestAnswer.model_validate(said).model_dump() == said
    assert (said["accepted"], said["refused"]) == (1, ITEMS_MAX - 1)
    assert [one["index"] for one in said["refusals"]] == [*range(LISTED_MAX)]
    assert said["more_refusals"] == ITEMS_MAX - 1 - LISTED_MAX


def test_unknown_fields_are_named_of_the_first_events_only() -> None:
    first = {f"b{number}": 0 for number in range(200)}
    body = [{**event(id=f"e{n}"), **{f"{name}-{n}": 0 for name in first}} for n in range(20)]
    said = validated([*body, {**event(), "a": 0}])
    assert len(said.records) == 21
    assert (len(said.unknown), "a" in said.unknown) == (UNKNOWN_SHOWN, False)
    assert "a" in validated([event(id="x"), {**event(), "a": 0}]).unknown


def test_an_answer_lists_the_first_skips_and_counts_the_rest() -> None:
    said = msgspec.json.decode(
        answer_of(validated([{"type": "vad_metrics"}] * ITEMS_MAX), is_named=False)
    )
    assert (said["skipped"], len(said["skips"])) == (ITEMS_MAX, LISTED_MAX)
    assert said["more_skips"] == ITEMS_MAX - LISTED_MAX


def test_a_problem_lists_the_first_refusals_and_counts_the_rest() -> None:
    refused = validated([event(id=5)] * ITEMS_MAX).refused
    error = RefusedEvents(refusals_of(refused), is_atomic=True, more=more(refused))
    body = msgspec.json.decode(problems.error_response(REQUEST, error).body)
    assert len(body["refusals"]) == LISTED_MAX
    assert body["more_refusals"] == ITEMS_MAX - LISTED_MAX
    few = RefusedEvents(refusals_of(refused[:1]), is_atomic=True, more=more(refused[:1]))
    body = msgspec.json.decode(problems.error_response(REQUEST, few).body)
    assert "more_refusals" not in body


@pytest.mark.parametrize(
    ("wrong", "each"),
    [({}, 3), ({"agentId": "a", "sessionId": "s", "eventType": "llm_response"}, 1)],
)
def test_agentlens_lists_the_first_problems_and_counts_the_rest(
    wrong: dict[str, Any], each: int
) -> None:
    body = msgspec.json.encode({"events": [wrong] * EVENTS_MAX})
    with pytest.raises(RefusedEvents) as caught:
        _take(body, CONTEXT, never)
    said = msgspec.json.decode(agentlens_errors.error_response(REQUEST, caught.value).body)
    assert list(said) == ["error", "status", "details"]
    assert len(said["details"]) == LISTED_MAX + 1
    rest = each * EVENTS_MAX - LISTED_MAX
    assert said["details"][-1] == {"path": "events", "message": f"and {rest} more problems"}


def test_otlp_counts_all_rejected_spans_and_explains_the_first() -> None:
    attributes = [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}]
    wrong = {"traceId": "x", "spanId": "y", "attributes": attributes}
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [wrong] * ITEMS_MAX}]}]}
    made = validated(spans)
    rejected, message = partial_success(made.refused, made.skipped)
    assert rejected == ITEMS_MAX
    assert message.startswith("span 0: traceId: ")
