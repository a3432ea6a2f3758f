"""The measures: what is added up. Data; a new one is one line here. Pure.

Every measure is a sum of signed 64-bit integers in the unit its name ends with. Averages, dollars
and hours are made at the edge from these sums. kind is a dimension of every view, so `events`
counts calls to a model where kind is llm, and bookings where kind is call.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class How(StrEnum):
    """How an event's field becomes a number to add."""

    COUNT = "count"  # 1 an event
    SUM = "sum"  # the field's value, nothing where it is not reported
    REPORTED = "reported"  # 1 where the field is reported, so that averages know the difference
    BOOKED = "booked"  # from the booking of calls, not from an event's field


@dataclass(frozen=True)
class Measure:
    name: str
    unit: str
    how: How
    field: str = ""


EVENTS: Final = Measure("events", "events", How.COUNT)
ERRORS: Final = Measure("errors", "events", How.REPORTED, "error")
INPUT_TOKENS: Final = Measure("input_tokens", "tokens", How.SUM, "input_tokens")
OUTPUT_TOKENS: Final = Measure("output_tokens", "tokens", How.SUM, "output_tokens")
COST_NANO_USD: Final = Measure("cost_nano_usd", "nano-USD", How.SUM, "cost_nano_usd")
COST_EVENTS: Final = Measure("cost_events", "events", How.REPORTED, "cost_nano_usd")
LATENCY_MS: Final = Measure("latency_ms", "ms", How.SUM, "latency_ms")
LATENCY_EVENTS: Final = Measure("latency_events", "events", How.REPORTED, "latency_ms")

CALLS: Final = Measure("calls", "calls", How.BOOKED)
CALL_DURATION_MS: Final = Measure("call_duration_ms", "ms", How.BOOKED)
CALLS_WITH_USAGE: Final = Measure("calls_with_usage", "calls", How.BOOKED)
USAGE_CALL_DURATION_MS: Final = Measure("usage_call_duration_ms", "ms", How.BOOKED)

USAGE: Final = (
    EVENTS,
    ERRORS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    COST_NANO_USD,
    COST_EVENTS,
    LATENCY_MS,
    LATENCY_EVENTS,
)
BOOKED: Final = (CALLS, CALL_DURATION_MS, CALLS_WITH_USAGE, USAGE_CALL_DURATION_MS)
MEASURES: Final = USAGE + BOOKED
"""In the order of the fold's matrix."""
