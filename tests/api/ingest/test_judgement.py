"""What the ingest accepts, the worker counts: with the same fields, whenever Kafka appends it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest.records import APPEND_DELAY_MS, CLOCKS_DIFFER_MS, ValidatedRecords, validate
from schemas.event.age import OLDEST_MS
from schemas.event.envelope import ENVELOPE_FIELDS
from schemas.event.event_struct import EventStruct
from schemas.event.usage_event import UsageEvent
from schemas.formats.body import load
from schemas.formats.cloudevents import BinaryCloudEvent
from schemas.formats.context import Context
from schemas.formats.parse import Parsed, parse
from schemas.limits import AHEAD_MS_MAX
from schemas.units import iso
from streams.core.decode import decode
from tests.oracles.event_logs import NOW_MS, event, events
from tests.schemas.event.test_usage_event import VALUES
from tests.simulation.log import PolledRecord

CONTEXT = Context(NOW_MS, "seed", tenant="acme")
CLOUD = {"specversion": "1.0", "id": "ce-1", "source": "s", "type": "usage", "time": iso(NOW_MS)}
BINARY = [(f"ce-{name}", text) for name, text in CLOUD.items()]
UNKNOWN = st.sampled_from(
    [
        *sorted(ENVELOPE_FIELDS),
        "data",
        "data_base64",
        "datacontenttype",
        "type",
        "subject",
        "ce_id",
        "ce-specversion",
        "payload",
        "eventType",
        "typo",
        "\u0000",
        "\ud800",
    ]
)


def parsed_of(fields: dict[str, Any], way: str) -> Parsed:
    """What the ingest reads of one event that is sent in this way."""
    text = json.dumps(fields, default=str)
    match way:
        case "binary":
            return parse(BinaryCloudEvent(BINARY, text.encode()), "cloudevents", CONTEXT)
        case "structured":
            text = json.dumps({**CLOUD, "data": fields}, default=str)
        case "envelope":
            text = json.dumps({"format": "neutral", "payload": fields}, default=str)
    return parse(load(text.encode()), "neutral" if way == "named" else None, CONTEXT)


def check_counted(parsed: Parsed) -> ValidatedRecords:
    """The worker reads what the ingest read, at the earliest and at the latest append."""
    validated = validate(parsed, NOW_MS)
    for _key, value in validated.records:
        (read,) = parsed.events
        for append_ms in (NOW_MS - CLOCKS_DIFFER_MS, NOW_MS + APPEND_DELAY_MS):
            (wire,) = decode(PolledRecord(0, append_ms, value, ())).wires
            assert of(wire) == of(read.usage)
    return validated


def of(usage: EventStruct | UsageEvent) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in EventStruct.__struct_fields__}


WAYS = st.sampled_from(["plain", "named", "envelope", "structured", "binary"])


@given(events(), WAYS, st.dictionaries(UNKNOWN, VALUES, max_size=3))
def test_an_accepted_event_counts(
    fields: dict[str, Any], way: str, unknown: dict[str, Any]
) -> None:
    check_counted(parsed_of({**unknown, **fields, "tenant": "acme"}, way))


@given(st.sampled_from([*UsageEvent.model_fields]), VALUES, WAYS, UNKNOWN)
def test_an_accepted_event_with_any_value_counts(
    name: str, value: Any, way: str, unknown: str
) -> None:
    check_counted(parsed_of({unknown: value, **event(tenant="acme"), name: value}, way))


@pytest.mark.parametrize("name", sorted(ENVELOPE_FIELDS))
@pytest.mark.parametrize("way", ["named", "envelope", "structured", "binary"])
def test_a_field_that_would_make_it_a_cloudevent_is_not_passed_on(name: str, way: str) -> None:
    validated = check_counted(parsed_of({**event(), name: "9.9"}, way))
    assert [*validated.unknown] == [name]
    assert len(validated.records) == 1


@pytest.mark.parametrize(
    "at_ms",
    [
        NOW_MS - OLDEST_MS,
        NOW_MS - OLDEST_MS + APPEND_DELAY_MS - 1,
        NOW_MS - OLDEST_MS + APPEND_DELAY_MS,
        NOW_MS + AHEAD_MS_MAX - CLOCKS_DIFFER_MS,
        NOW_MS + AHEAD_MS_MAX - CLOCKS_DIFFER_MS + 1,
        NOW_MS + AHEAD_MS_MAX,
    ],
)
def test_a_time_at_the_limit_is_refused_or_counts(at_ms: int) -> None:
    for field in ("time", "call_started_at"):
        validated = check_counted(parsed_of(event(call_id="c", **{field: iso(at_ms)}), "plain"))
        inside = APPEND_DELAY_MS - OLDEST_MS <= at_ms - NOW_MS <= AHEAD_MS_MAX - CLOCKS_DIFFER_MS
        assert bool(validated.records) == inside
