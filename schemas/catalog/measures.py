"""The measures: what is added up. Data, so a new one is one entry here. Pure.

A measure is a sum of signed 64-bit integers in the unit that its name ends with. Averages, dollars
and hours are made from these sums in the API. `kind` is a dimension of every view, so `events` counts
requests to a model where the kind is llm, and ratings where it is feedback.

A sketch is a measure that is no sum but adds up all the same: a histogram, or a set of digests
(schemas/catalog/sketches.py).
"""

from __future__ import annotations

import dataclasses
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
    """One thing that is added up.

    `field` is the event's field that is read, `kinds` are the kinds of event that have it. Where an
    event does not report the field and `rest` is given, the number is the first of these two fields
    less the second: output text is output less output audio, where the provider gives no split.

    `about` describes the measure to people. It decides nothing, so it is no part of what makes two
    measures equal, nor of the digest of a generation (schemas/store/generation.py).
    """

    name: str
    unit: str
    how: How
    field: str = ""
    rest: tuple[str, str] | None = None
    kinds: tuple[Kind, ...] = USAGE_KINDS
    equals: int = 0
    about: str = dataclasses.field(default="", compare=False)

    @property
    def is_sum(self) -> bool:
        return self.how not in {How.HISTOGRAM, How.DISTINCT}


def _tokens(field: str, about: str, rest: tuple[str, str] | None = None) -> Measure:
    return Measure(field, "tokens", How.SUM, field, rest, about=about)


def _fact(field: str, unit: str, about: str) -> Measure:
    about += " Events that do not report them add 0."
    return Measure(field, unit, How.SUM, field, kinds=("llm",), about=about)


EVENTS: Final = Measure(
    "events",
    "events",
    How.COUNT,
    kinds=KINDS,
    about="Events of every kind, each counted once. Filter or group by `kind` to count only some.",
)
ERRORS: Final = Measure(
    "errors",
    "events",
    How.REPORTED,
    "error",
    about="Events of kind llm, tts and stt whose field `error` is set: requests that failed.",
)
INPUT_TOKENS: Final = _tokens(
    "input_tokens",
    "Tokens that went into models, from `input_tokens`. Text, audio and cached tokens are included."
    " Events that do not report them add 0.",
)
OUTPUT_TOKENS: Final = _tokens(
    "output_tokens",
    "Tokens that models produced, from `output_tokens`. Text, audio and reasoning tokens are"
    " included. Events that do not report them add 0.",
)
CACHE_READ_TOKENS: Final = _tokens(
    "cache_read_tokens",
    "Input tokens that the provider read from its cache, from `cache_read_tokens`. They are part of"
    " `input_tokens`. Events that do not report them add 0.",
)
CACHE_WRITE_TOKENS: Final = _tokens(
    "cache_write_tokens",
    "Input tokens that the provider wrote to its cache, from `cache_write_tokens`. They are part of"
    " `input_tokens`. Events that do not report them add 0.",
)
REASONING_TOKENS: Final = _tokens(
    "reasoning_tokens",
    "Output tokens that models spent on reasoning, from `reasoning_tokens`. They are part of"
    " `output_tokens`. Events that do not report them add 0.",
)
INPUT_TEXT_TOKENS: Final = _tokens(
    "input_text_tokens",
    "Input tokens that were text, from `input_text_tokens`. An event that does not report them adds"
    " its `input_tokens` less its `input_audio_tokens`.",
    ("input_tokens", "input_audio_tokens"),
)
INPUT_AUDIO_TOKENS: Final = _tokens(
    "input_audio_tokens",
    "Input tokens that were audio, from `input_audio_tokens`. They are part of `input_tokens`."
    " Events that do not report them add 0.",
)
CACHE_READ_TEXT_TOKENS: Final = _tokens(
    "cache_read_text_tokens",
    "Text tokens that were read from a cache, from `cache_read_text_tokens`. An event that does not"
    " report them adds its `cache_read_tokens` less its `cache_read_audio_tokens`.",
    ("cache_read_tokens", "cache_read_audio_tokens"),
)
CACHE_READ_AUDIO_TOKENS: Final = _tokens(
    "cache_read_audio_tokens",
    "Audio tokens that were read from a cache, from `cache_read_audio_tokens`. They are part of"
    " `cache_read_tokens`. Events that do not report them add 0.",
)
OUTPUT_TEXT_TOKENS: Final = _tokens(
    "output_text_tokens",
    "Output tokens that were text, from `output_text_tokens`. An event that does not report them"
    " adds its `output_tokens` less its `output_audio_tokens`.",
    ("output_tokens", "output_audio_tokens"),
)
OUTPUT_AUDIO_TOKENS: Final = _tokens(
    "output_audio_tokens",
    "Output tokens that were audio, from `output_audio_tokens`. They are part of `output_tokens`."
    " Events that do not report them add 0.",
)
TTS_CHARACTERS: Final = Measure(
    "tts_characters",
    "characters",
    How.SUM,
    "tts_characters",
    about="Characters of text that were turned into speech, from `tts_characters`. Events that do not"
    " report them add 0.",
)
TTS_AUDIO_MS: Final = Measure(
    "tts_audio_ms",
    "ms",
    How.SUM,
    "tts_audio_ms",
    about="Length of the speech that was made, in milliseconds, from `tts_audio_ms`. Events that do"
    " not report it add 0.",
)
STT_AUDIO_MS: Final = Measure(
    "stt_audio_ms",
    "ms",
    How.SUM,
    "stt_audio_ms",
    about="Length of the speech that was transcribed, in milliseconds, from `stt_audio_ms`. Events"
    " that do not report it add 0.",
)
COST_NANO_USD: Final = Measure(
    "cost_nano_usd",
    "nano-USD",
    How.SUM,
    "cost_nano_usd",
    about="Cost in billionths of a US dollar: `cost_usd` of the event, else its price by the price"
    " lists. Events without a known cost add nothing; `cost_events` counts the others. Null where there"
    " were requests and none has a cost.",
)
COST_EVENTS: Final = Measure(
    "cost_events",
    "events",
    How.REPORTED,
    "cost_nano_usd",
    about="Events of kind llm, tts and stt that have a cost, sent or priced. A cost of 0 is a cost.",
)
LATENCY_MS: Final = Measure(
    "latency_ms",
    "ms",
    How.SUM,
    "latency_ms",
    about="Summed time of requests from start to end, in milliseconds, from `latency_ms`. Events that"
    " do not report it add 0; `latency_events` counts the others.",
)
LATENCY_EVENTS: Final = Measure(
    "latency_events",
    "events",
    How.REPORTED,
    "latency_ms",
    about="Events that report `latency_ms`, 0 included: what the mean latency is divided by.",
)
FIRST_OUTPUT_MS: Final = Measure(
    "first_output_ms",
    "ms",
    How.SUM,
    "first_output_ms",
    about="Summed time of requests until their first output, in milliseconds, from `first_output_ms`."
    " Events that do not report it add 0; `first_output_events` counts the others.",
)
FIRST_OUTPUT_EVENTS: Final = Measure(
    "first_output_events",
    "events",
    How.REPORTED,
    "first_output_ms",
    about="Events that report `first_output_ms`, 0 included: what the mean time to the first output is"
    " divided by.",
)

CACHE_WRITE_1H_TOKENS: Final = _fact(
    "cache_write_1h_tokens",
    "tokens",
    "Input tokens that the provider wrote to its cache for an hour, from `cache_write_1h_tokens`. They"
    " are part of `cache_write_tokens`.",
)
INPUT_IMAGE_TOKENS: Final = _fact(
    "input_image_tokens",
    "tokens",
    "Input tokens that were images, from `input_image_tokens`. They are part of `input_tokens`.",
)
OUTPUT_IMAGE_TOKENS: Final = _fact(
    "output_image_tokens",
    "tokens",
    "Output tokens that were images, from `output_image_tokens`. They are part of `output_tokens`.",
)
IMAGES: Final = _fact("images", "images", "Images that models made, from `images`.")
WEB_SEARCHES: Final = _fact(
    "web_searches", "searches", "Searches of the web that the provider ran, from `web_searches`."
)
FILE_SEARCHES: Final = _fact(
    "file_searches", "searches", "Searches of files that the provider ran, from `file_searches`."
)
TOOL_CALLS: Final = _fact(
    "tool_calls",
    "calls",
    "Other tools that the provider ran and bills, from `tool_calls`. Tools of the app itself are not"
    " counted.",
)

CALLS: Final = Measure(
    "calls",
    "calls",
    How.BOOKED,
    kinds=("call",),
    about="Calls, told apart by `call_id`. Each counts once, at the first event that the log has of"
    " it, or at that event's `call_started_at`.",
)
CALL_DURATION_MS: Final = Measure(
    "call_duration_ms",
    "ms",
    How.BOOKED,
    kinds=("call",),
    about="Length of the calls, in milliseconds: the latest `duration_ms` of each, where the call is"
    " counted. Calls that report none add 0.",
)
CALLS_WITH_USAGE: Final = Measure(
    "calls_with_usage",
    "calls",
    How.BOOKED,
    kinds=("call",),
    about="Those calls that have at least one event of kind llm, tts or stt.",
)
USAGE_CALL_DURATION_MS: Final = Measure(
    "usage_call_duration_ms",
    "ms",
    How.BOOKED,
    kinds=("call",),
    about="Length, in milliseconds, of those calls that have at least one event of kind llm, tts or"
    " stt: the latest `duration_ms` of each.",
)

RATINGS_UP: Final = Measure(
    "ratings_up",
    "ratings",
    How.IS,
    "rating",
    None,
    ("feedback",),
    1,
    about="Events of kind feedback whose `rating` is 1.",
)
RATINGS_DOWN: Final = Measure(
    "ratings_down",
    "ratings",
    How.IS,
    "rating",
    None,
    ("feedback",),
    -1,
    about="Events of kind feedback whose `rating` is -1.",
)

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
"""What nearly every question about usage needs."""
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
FACTS: Final = (
    CACHE_WRITE_1H_TOKENS,
    INPUT_IMAGE_TOKENS,
    OUTPUT_IMAGE_TOKENS,
    IMAGES,
    WEB_SEARCHES,
    FILE_SEARCHES,
    TOOL_CALLS,
)
"""What decides costs beside the usual tokens. Views by agent or user alone leave it out: those by
agent and model, and by user, agent and model, answer for them."""
BOOKED: Final = (CALLS, CALL_DURATION_MS, CALLS_WITH_USAGE, USAGE_CALL_DURATION_MS)
RATED: Final = (RATINGS_UP, RATINGS_DOWN)
MEASURES: Final = USAGE + FACTS + BOOKED + RATED
"""The measures that are sums."""

LATENCY: Final = Measure(
    "latency",
    "ms",
    How.HISTOGRAM,
    "latency_ms",
    about="Latencies, in bins, from `latency_ms`: what percentiles are read from.",
)
FIRST_OUTPUT: Final = Measure(
    "first_output",
    "ms",
    How.HISTOGRAM,
    "first_output_ms",
    about="Times to the first output, in bins, from `first_output_ms`: what percentiles are read from.",
)
CHATS: Final = Measure(
    "chats",
    "chats",
    How.DISTINCT,
    "chat_id",
    kinds=("llm",),
    about="Different chats with at least one event of kind llm, from `chat_id`. Exact while no bucket"
    " of a series has more than 1,024 of them, else an estimate; `estimates` says which.",
)
SKETCHES: Final = (LATENCY, FIRST_OUTPUT, CHATS)
"""Measures that are no sums. Their places in this tuple are part of keys: new ones go to the end."""
