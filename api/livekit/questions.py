"""The paths of the LiveKit dialect: what each asks and how it is shown. Data only.

Tokens are those of LLM usage, with cached tokens included in the input. Characters and audio are those
of any usage. Minutes and calls of `tokens/...` are of calls that have usage, of `calls/...` of all.
"""

from __future__ import annotations

from typing import Final

from api.livekit.bodies import (
    AnalyticsEndpoint,
    Figure,
    address,
    dashboard,
    listed,
    model,
    number,
    or_unknown,
    single,
)
from api.query.plan import Term
from schemas.catalog.measures import (
    CACHE_READ_AUDIO_TOKENS,
    CACHE_READ_TEXT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    CALL_DURATION_MS,
    CALLS,
    CALLS_WITH_USAGE,
    COST_NANO_USD,
    EVENTS,
    INPUT_AUDIO_TOKENS,
    INPUT_TEXT_TOKENS,
    INPUT_TOKENS,
    OUTPUT_AUDIO_TOKENS,
    OUTPUT_TEXT_TOKENS,
    OUTPUT_TOKENS,
    STT_AUDIO_MS,
    TTS_AUDIO_MS,
    TTS_CHARACTERS,
    USAGE_CALL_DURATION_MS,
    Measure,
)
from schemas.event.kinds import USAGE_KINDS
from schemas.limits import HOUR_MS, MINUTE_MS, NANO_PER_USD, SECOND_MS
from schemas.responses import livekit as bodies

# -- figures ---------------------------------------------------------------------------------------


def _sum(name: str, *measures: Measure, kind: str = "") -> Figure:
    kinds = (kind,) if kind else ()
    return Figure(name, tuple(Term(measure, kinds) for measure in measures))


def _duration(name: str, measure: Measure, unit: int) -> Figure:
    return Figure(name, (Term(measure),), unit)


_USED: Final = Term(EVENTS, USAGE_KINDS)
_LLM_TOKENS: Final = _sum("total_llm_tokens", INPUT_TOKENS, OUTPUT_TOKENS, kind="llm")
_INPUT_AUDIO: Final = _sum("total_llm_input_audio_tokens", INPUT_AUDIO_TOKENS, kind="llm")
_INPUT_TEXT: Final = _sum("total_llm_input_text_tokens", INPUT_TEXT_TOKENS, kind="llm")
_CACHED: Final = _sum("total_llm_input_cached_tokens", CACHE_READ_TOKENS, kind="llm")
_CACHED_AUDIO: Final = _sum(
    "total_llm_input_cached_audio_tokens", CACHE_READ_AUDIO_TOKENS, kind="llm"
)
_CACHED_TEXT: Final = _sum("total_llm_input_cached_text_tokens", CACHE_READ_TEXT_TOKENS, kind="llm")
_CACHE_WRITTEN: Final = _sum(
    "total_llm_input_cache_creation_tokens", CACHE_WRITE_TOKENS, kind="llm"
)
_OUTPUT_AUDIO: Final = _sum("total_llm_output_audio_tokens", OUTPUT_AUDIO_TOKENS, kind="llm")
_OUTPUT_TEXT: Final = _sum("total_llm_output_text_tokens", OUTPUT_TEXT_TOKENS, kind="llm")
_CHARACTERS: Final = _sum("total_tts_characters", TTS_CHARACTERS)
_SPOKEN: Final = _duration("total_tts_audio_duration", TTS_AUDIO_MS, SECOND_MS)
_HEARD: Final = _duration("total_stt_audio_duration", STT_AUDIO_MS, SECOND_MS)
_USED_MINUTES: Final = _duration("total_call_duration_minutes", USAGE_CALL_DURATION_MS, MINUTE_MS)
_USED_HOURS: Final = _duration("total_call_duration_hours", USAGE_CALL_DURATION_MS, HOUR_MS)
_RECORDS: Final = Figure("total_records", (_USED,))

CALL_FIGURES: Final = (
    _sum("total_calls", CALLS),
    _duration("total_duration_minutes", CALL_DURATION_MS, MINUTE_MS),
    _duration("total_duration_hours", CALL_DURATION_MS, HOUR_MS),
)
_AVERAGE: Final = Figure(
    "avg_duration_minutes", (Term(CALL_DURATION_MS),), MINUTE_MS, per=Term(CALLS)
)
TOKEN_FIGURES: Final = (
    _sum("total_calls", CALLS_WITH_USAGE),
    _LLM_TOKENS,
    _INPUT_AUDIO,
    _OUTPUT_TEXT,
    _CHARACTERS,
    _SPOKEN,
    _USED_MINUTES,
    _USED_HOURS,
    _HEARD,
    _CACHED,
    _CACHE_WRITTEN,
)
SUMMARY_FIGURES: Final = (
    _RECORDS,
    _INPUT_AUDIO,
    _INPUT_TEXT,
    _CACHED_AUDIO,
    _CACHED_TEXT,
    _OUTPUT_AUDIO,
    _OUTPUT_TEXT,
    _LLM_TOKENS,
    _CHARACTERS,
    _SPOKEN,
    _USED_MINUTES,
    _HEARD,
    _CACHED,
    _CACHE_WRITTEN,
)
MODEL_FIGURES: Final = (
    _RECORDS,
    Figure("total_estimated_cost_usd", (Term(COST_NANO_USD),), NANO_PER_USD, is_exact=True),
    _INPUT_AUDIO,
    _INPUT_TEXT,
    _CACHED,
    _CACHED_AUDIO,
    _CACHED_TEXT,
    _CACHE_WRITTEN,
    _OUTPUT_AUDIO,
    _OUTPUT_TEXT,
    _LLM_TOKENS,
    _CHARACTERS,
    _SPOKEN,
    _sum("total_tts_input_tokens", INPUT_TOKENS, kind="tts"),
    _sum("total_tts_output_tokens", OUTPUT_TOKENS, kind="tts"),
    _sum("total_stt_input_tokens", INPUT_TOKENS, kind="stt"),
    _sum("total_stt_output_tokens", OUTPUT_TOKENS, kind="stt"),
    _HEARD,
)

# -- paths -----------------------------------------------------------------------------------------

USER_EMAIL: Final = "user_email"
BY_ADDRESS: Final = {USER_EMAIL: "user"}
BY_ADDRESS_AND_ASSISTANT: Final = {USER_EMAIL: "user", "assistant_id": "agent"}
"""Query parameter -> dimension."""
_LONGEST: Final = (Term(CALL_DURATION_MS),)
_MOST_TOKENS: Final = _LLM_TOKENS.terms

ENDPOINTS: Final = (
    AnalyticsEndpoint(
        "/dashboard",
        "Admin dashboard fetched successfully",
        bodies.DashboardAnswer,
        (*CALL_FIGURES, _AVERAGE),
        dashboard,
        address,
        group_by=("user",),
        filters=BY_ADDRESS,
    ),
    AnalyticsEndpoint(
        "/calls/by-user",
        "Calls by user fetched successfully",
        bodies.CallsByUserAnswer,
        (*CALL_FIGURES, _AVERAGE),
        listed,
        address,
        section="users",
        group_by=("user",),
        labels=("user_email",),
        rank=_LONGEST,
    ),
    AnalyticsEndpoint(
        "/calls/by-phone-number",
        "Calls by phone number fetched successfully",
        bodies.CallsByPhoneNumberAnswer,
        CALL_FIGURES,
        listed,
        number,
        section="phone_numbers",
        group_by=("service", "phone"),
        labels=("phone_number",),
        rank=_LONGEST,
        filters=BY_ADDRESS,
    ),
    AnalyticsEndpoint(
        "/calls/by-service",
        "Calls by service fetched successfully",
        bodies.CallsByServiceAnswer,
        CALL_FIGURES,
        listed,
        or_unknown,
        section="services",
        group_by=("service",),
        labels=("service",),
        rank=_LONGEST,
    ),
    AnalyticsEndpoint(
        "/tokens/summary",
        "Token usage summary fetched successfully",
        bodies.TokenSummaryAnswer,
        SUMMARY_FIGURES,
        single,
        or_unknown,
        filters=BY_ADDRESS_AND_ASSISTANT,
    ),
    AnalyticsEndpoint(
        "/tokens/by-user",
        "Token usage by user fetched successfully",
        bodies.TokensByUserAnswer,
        TOKEN_FIGURES,
        listed,
        address,
        section="users",
        group_by=("user",),
        labels=("user_email",),
        rank=_MOST_TOKENS,
        also=(_USED,),
    ),
    AnalyticsEndpoint(
        "/tokens/by-assistant",
        "Token usage by assistant fetched successfully",
        bodies.TokensByAssistantAnswer,
        TOKEN_FIGURES,
        listed,
        or_unknown,
        section="assistants",
        group_by=("agent",),
        labels=("assistant_id",),
        rank=_MOST_TOKENS,
        also=(_USED,),
        filters=BY_ADDRESS,
    ),
    AnalyticsEndpoint(
        "/tokens/by-model",
        "Token usage by model fetched successfully",
        bodies.TokensByModelAnswer,
        MODEL_FIGURES,
        listed,
        model,
        section="models",
        group_by=("kind", "provider", "model"),
        labels=("type", "provider", "model"),
        filters=BY_ADDRESS_AND_ASSISTANT,
        kinds=USAGE_KINDS,
    ),
)
