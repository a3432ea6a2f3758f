"""What the real libraries make, as it is, to its exact events."""

from __future__ import annotations

import msgspec
import pytest

from schemas.event.event_struct import EventStruct
from schemas.event.usage_event import UsageEvent
from tests.schemas.formats.expected import EXPECTED
from tests.schemas.formats.expected_vendors import SKIPS as SKIPS_OF_VENDORS
from tests.schemas.formats.fixtures import NAMES, fixture, read

SKIPS = {
    **SKIPS_OF_VENDORS,
    "agentlens/call": 1,  # its llm_call
    "anthropic/stream": 2,  # its start and its stop
    "otel/json": 2,  # invoke_agent, and a span of a web server
    "otel/protobuf": 2,
    **dict.fromkeys(("otel/vercel_v4", "otel/vercel_v5", "otel/vercel_v6"), 4),  # what sums up
    "otel/pydantic_ai": 2,  # the agent, and the same answer again
    "otel/openllmetry_anthropic": 1,  # the same answer again
}

REFUSED = {"anthropic/message_delta": 1}  # its message_start is in another body


def test_each_fixture_has_its_expectation() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_body_is_its_exact_events(name: str) -> None:
    parsed = read(fixture(name))
    assert len(parsed.refused) == REFUSED.get(name, 0)
    assert [event.fields for event in parsed.events] == EXPECTED[name]
    skips = 0 if EXPECTED[name] or name in REFUSED else 1
    assert len(parsed.skipped) == SKIPS.get(name, skips)


@pytest.mark.parametrize("name", NAMES)
def test_a_format_that_is_named_reads_as_one_that_is_told(name: str) -> None:
    library = name.partition("/")[0]
    told, named = read(fixture(name)), read(fixture(name), library)
    assert (named.events, named.skipped) == (told.events, told.skipped)
    assert len(named.refused) == len(told.refused)


@pytest.mark.parametrize("name", NAMES)
def test_what_goes_to_the_topic_is_read_there_as_here(name: str) -> None:
    for event in read(fixture(name)).events:
        wire = msgspec.json.decode(event.record, type=EventStruct)
        read_there = UsageEvent.model_construct(
            **{field: getattr(wire, field) for field in EventStruct.__struct_fields__}
        )
        assert read_there == event.usage


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_a_conversation_is_kept(name: str) -> None:
    for event in read(fixture(name)).events:
        kept = event.record.decode()
        assert not any(text in kept for text in ("secret", "Bonjour", "Grüß", "Traceback"))
