"""The measures: what is added up. Data; a new one is one line here. Pure.

A measure is a sum of signed 64-bit integers in the unit its name ends with; averages, dollars and
hours are made at the edge from these sums. kind is a dimension of every view, so `events` counts
calls to a model where kind is llm, and bookings where kind is call. A sketch is a measure that is
no sum, but adds up all the same: a histogram, or a set of digests (see schemas/catalog/sketches.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.event.kinds import KINDS, USAGE_KINDS, Kind


class How(StrEnum):
    """How an event's field becomes a number to add."""

    COUNT = "count"  # 1 an event
    SUM = "sum"  # the field's value, nothing where it is not reported
    REPORTED = "reported"  # 1 where the field is reported, so that averages know the difference
    IS = "is"  # 1 where the field has the value `equals`
    BOOKED = "booked"  # from the booking of calls, not from an event's field
    HISTOGRAM = "histogram"  # how often each value was reported, in bins: percentiles
    DISTINCT = "distinct"  # which values were reported: how many different ones there are


@dataclass(frozen=True)
class Measure:
    """`field` is where its number stands in an event, `kinds` are the kinds of event that have it.
    Where the field is not reported and `rest` is given, the number is what is left of the first of
    the two fields without the second: output text is output less output audio, where the provider
    gives no split."""

    name: str
    unit: str
    how: How
    field: str = ""
    rest: tuple[str, str] | None = None
    kinds: tuple[Kind, ...] = USAGE_KINDS
    equals: int = 0

    @property
    def is_sum(self) -> bool:
        return self.how not in {How.HISTOGRAM, How.DISTINCT}


def _tokens(field: str, rest: tuple[str, str] | None = None) -> Measure:
    return Measure(field, "tokens", How.SUM, field, rest)


EVENTS: Final = Measure("events", "events", How.COUNT, kinds=KINDS)
ERRORS: Final = Measure("errors", "events", How.REPORTED, "error")
INPUT_TOKENS: Final = _tokens("input_tokens")
OUTPUT_TOKENS: Final = _tokens("output_tokens")
CACHE_READ_TOKENS: Final = _tokens("cache_read_tokens")
CACHE_WRITE_TOKENS: Final = _tokens("cache_write_tokens")
REASONING_TOKENS: Final = _tokens("reasoning_tokens")
INPUT_TEXT_TOKENS: Final = _tokens("input_text_tokens", ("input_tokens", "input_audio_tokens"))
INPUT_AUDIO_TOKENS: Final = _tokens("input_audio_tokens")
CACHE_READ_TEXT_TOKENS: Final = _tokens(
    "cache_read_text_tokens", ("cache_read_tokens", "cache_read_audio_tokens")
)
CACHE_READ_AUDIO_TOKENS: Final = _tokens("cache_read_audio_tokens")
OUTPUT_TEXT_TOKENS: Final = _tokens("output_text_tokens", ("output_tokens", "output_audio_tokens"))
OUTPUT_AUDIO_TOKENS: Final = _tokens("output_audio_tokens")
TTS_CHARACTERS: Final = Measure("tts_characters", "characters", How.SUM, "tts_characters")
TTS_AUDIO_MS: Final = Measure("tts_audio_ms", "ms", How.SUM, "tts_audio_ms")
STT_AUDIO_MS: Final = Measure("stt_audio_ms", "ms", How.SUM, "stt_audio_ms")
COST_NANO_USD: Final = Measure("cost_nano_usd", "nano-USD", How.SUM, "cost_nano_usd")
COST_EVENTS: Final = Measure("cost_events", "events", How.REPORTED, "cost_nano_usd")
LATENCY_MS: Final = Measure("latency_ms", "ms", How.SUM, "latency_ms")
LATENCY_EVENTS: Final = Measure("latency_events", "events", How.REPORTED, "latency_ms")
FIRST_OUTPUT_MS: Final = Measure("first_output_ms", "ms", How.SUM, "first_output_ms")
FIRST_OUTPUT_EVENTS: Final = Measure(
    "first_output_events", "events", How.REPORTED, "first_output_ms"
)

CALLS: Final = Measure("calls", "calls", How.BOOKED, kinds=("call",))
CALL_DURATION_MS: Final = Measure("call_duration_ms", "ms", How.BOOKED, kinds=("call",))
CALLS_WITH_USAGE: Final = Measure("calls_with_usage", "calls", How.BOOKED, kinds=("call",))
USAGE_CALL_DURATION_MS: Final = Measure("usage_call_duration_ms", "ms", How.BOOKED, kinds=("call",))

RATINGS_UP: Final = Measure("ratings_up", "ratings", How.IS, "rating", None, ("feedback",), 1)
RATINGS_DOWN: Final = Measure("ratings_down", "ratings", How.IS, "rating", None, ("feedback",), -1)

CORE: Final = (
    EVENTS,
    ERRORS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    COST_NANO_USD,
    COST_EVENTS,
    LATENCY_MS,
    LATENCY_EVENTS,
)
"""What nearly every question of usage asks for."""
USAGE: Final = (
    *CORE,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    REASONING_TOKENS,
    INPUT_TEXT_TOKENS,
    INPUT_AUDIO_TOKENS,
    CACHE_READ_TEXT_TOKENS,
    CACHE_READ_AUDIO_TOKENS,
    OUTPUT_TEXT_TOKENS,
    OUTPUT_AUDIO_TOKENS,
    TTS_CHARACTERS,
    TTS_AUDIO_MS,
    STT_AUDIO_MS,
    FIRST_OUTPUT_MS,
    FIRST_OUTPUT_EVENTS,
)
BOOKED: Final = (CALLS, CALL_DURATION_MS, CALLS_WITH_USAGE, USAGE_CALL_DURATION_MS)
RATED: Final = (RATINGS_UP, RATINGS_DOWN)
MEASURES: Final = USAGE + BOOKED + RATED
"""Those that are sums."""

LATENCY: Final = Measure("latency", "ms", How.HISTOGRAM, "latency_ms")
FIRST_OUTPUT: Final = Measure("first_output", "ms", How.HISTOGRAM, "first_output_ms")
CHATS: Final = Measure("chats", "chats", How.DISTINCT, "chat_id", kinds=("llm",))
SKETCHES: Final = (LATENCY, FIRST_OUTPUT, CHATS)
"""Those that are not. Their places stand in keys: new ones go to the end."""
