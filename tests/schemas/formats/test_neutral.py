"""The fast reader of our own events gives what the full one gives, and refuses nothing itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event.event_struct import EventStruct
from schemas.event.usage_event import UsageEvent
from schemas.formats import neutral
from schemas.formats.body import load
from schemas.formats.parse import Event, Parsed
from schemas.limits import EVENT_BYTES_MAX
from tests.oracles.event_logs import event, events
from tests.schemas.event.test_usage_event import VALUES
from tests.schemas.formats.fixtures import CONTEXT, read

ACME = replace(CONTEXT, tenant="acme")


def plain(one: Event) -> tuple[object, ...]:
    """What becomes of an event; instants and amounts may be written in more than one way, and an empty
    text is none."""
    usage = {name: getattr(one.usage, name) or None for name in UsageEvent.model_fields}
    instants_and_amounts = {"time", "call_started_at", "cost_usd"}
    on_topic = {k: v for k, v in one.fields.items() if v and k not in instants_and_amounts}
    return one.index, one.format, one.id_source, one.unknown, usage, on_topic


def both(fields: Any) -> tuple[Parsed, Parsed]:
    """As it is, and in an envelope, which only the full reading opens."""
    sent = load(json.dumps(fields, default=str).encode())
    return read(sent, None, ACME), read({"payload": sent, "format": "neutral"}, None, ACME)


def check_alike(fields: Any) -> Parsed:
    quickly, fully = both(fields)
    assert [plain(one) for one in quickly.events] == [plain(one) for one in fully.events]
    said = [[(one.index, str(one.error)) for one in parsed.refused] for parsed in (quickly, fully)]
    assert said[0] == said[1] or "format" in said[0][0][1]  # nobody said that it is neutral
    return quickly


@given(events())
def test_valid_events(fields: dict[str, Any]) -> None:
    parsed = check_alike({**fields, "tenant": "acme"})
    assert isinstance(parsed.events[0].usage, EventStruct) == ("misspelt_tokens" not in fields)


@given(st.sampled_from([*UsageEvent.model_fields, "typo"]), VALUES)
def test_one_field_is_anything(name: str, value: Any) -> None:
    check_alike({**event(tenant="acme"), name: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"tenant": ""},
        {"cost_usd": "NaN"},
        {"cost_usd": "1e400"},
        {"cost_usd": 10001},
        {"model": "\ud800"},
        {"labels": {"": "a"}},
        {"time": "2026-02-08T10:00:00"},
        {"id": ""},
    ],
)
def test_what_only_the_full_reading_explains(changes: dict[str, Any]) -> None:
    check_alike({**event(tenant="acme"), **changes})


def test_a_request_that_adds_something_is_read_fully() -> None:
    assert neutral.adds_nothing(None, ACME)
    assert neutral.adds_nothing("neutral", CONTEXT)
    assert not neutral.adds_nothing("openai", ACME)
    assert not neutral.adds_nothing(None, replace(ACME, agent_id="support"))


def test_a_record_that_the_topic_would_not_take_is_left_to_the_full_reading() -> None:
    item = {**event(), "cost_usd": "0." + "1" * EVENT_BYTES_MAX}
    assert neutral.read_fast(item, CONTEXT) is None
