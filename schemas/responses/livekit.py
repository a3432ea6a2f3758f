"""The bodies of the LiveKit voice platform's dialect, keys in the order they are sent. Pure.

Every body is one envelope. Durations are decimal numbers with at most two places and no trailing
zeros (945.3), rounded half-even from exact sums. The first keys of a row are those of the platform's
documented page. Later versions of the platform added the others.
Source: schemas/contracts/livekit.md.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Amount = Annotated[Decimal, WithJsonSchema({"type": "number", "minimum": 0})]
Count = Annotated[int, Field(ge=0)]


class LiveKitBody(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Envelope(LiveKitBody):
    success: bool
    message: str


# -- calls -----------------------------------------------------------------------------------------


class CallTotals(LiveKitBody):
    """Of all booked calls."""

    total_calls: Count
    total_duration_minutes: Amount
    total_duration_hours: Amount


class DateRange(LiveKitBody):
    start_date: str = Field(description="As the request gave it, ISO 8601.")
    end_date: str = Field(description="As the request gave it, ISO 8601.")


class Dashboard(CallTotals):
    avg_duration_minutes: Amount
    total_active_users: Count = Field(description="Distinct users with a call.")
    date_range: DateRange


class _UserLabel(LiveKitBody):
    user_email: str = Field(
        description="The latest known address, else the user's id, else `unknown`."
    )


class UserCalls(CallTotals, _UserLabel):
    avg_duration_minutes: Amount


class UsersCalls(LiveKitBody):
    users: list[UserCalls] = Field(description="Longest total duration first.")


class _NumberLabel(LiveKitBody):
    phone_number: str = Field(
        description="A number, `WEB_CALL` for calls of the service web, or `UNKNOWN_PLATFORM`."
    )


class NumberCalls(CallTotals, _NumberLabel):
    pass


class NumbersCalls(LiveKitBody):
    phone_numbers: list[NumberCalls] = Field(description="Longest total duration first.")


class _ServiceLabel(LiveKitBody):
    service: str = Field(description="`unknown` where none was reported.")


class ServiceCalls(CallTotals, _ServiceLabel):
    pass


class ServicesCalls(LiveKitBody):
    services: list[ServiceCalls] = Field(description="Longest total duration first.")


# -- tokens ----------------------------------------------------------------------------------------


class TokenTotals(LiveKitBody):
    """Calls and minutes are of booked calls that have usage."""

    total_calls: Count
    total_llm_tokens: Count = Field(description="Input and output of LLM usage; cached is inside.")
    total_llm_input_audio_tokens: Count
    total_llm_output_text_tokens: Count
    total_tts_characters: Count
    total_tts_audio_duration: Amount = Field(description="Seconds.")
    total_call_duration_minutes: Amount
    total_call_duration_hours: Amount = Field(description="From the unrounded minutes.")
    total_stt_audio_duration: Amount = Field(description="Seconds.")
    total_llm_input_cached_tokens: Count
    total_llm_input_cache_creation_tokens: Count


class _AssistantLabel(LiveKitBody):
    assistant_id: str = Field(description="`unknown` where none was reported.")


class AssistantTokens(TokenTotals, _AssistantLabel):
    pass


class AssistantsTokens(LiveKitBody):
    assistants: list[AssistantTokens] = Field(description="Most LLM tokens first.")


class UserTokens(TokenTotals, _UserLabel):
    pass


class UsersTokens(LiveKitBody):
    users: list[UserTokens] = Field(description="Most LLM tokens first.")


class TokenSummary(LiveKitBody):
    total_records: Count = Field(description="Usage events of kind llm, tts or stt.")
    total_llm_input_audio_tokens: Count
    total_llm_input_text_tokens: Count
    total_llm_input_cached_audio_tokens: Count
    total_llm_input_cached_text_tokens: Count
    total_llm_output_audio_tokens: Count
    total_llm_output_text_tokens: Count
    total_llm_tokens: Count
    total_tts_characters: Count
    total_tts_audio_duration: Amount = Field(description="Seconds.")
    total_call_duration_minutes: Amount
    total_stt_audio_duration: Amount = Field(description="Seconds.")
    total_llm_input_cached_tokens: Count
    total_llm_input_cache_creation_tokens: Count


class ModelTokens(LiveKitBody):
    type: str = Field(description="llm_usage, stt_usage or tts_usage.")
    provider: str = Field(description="`unknown` where none was reported.")
    model: str = Field(description="`unknown` where none was reported.")
    total_records: Count
    total_estimated_cost_usd: Amount = Field(description="Exact: not rounded.")
    total_llm_input_audio_tokens: Count
    total_llm_input_text_tokens: Count
    total_llm_input_cached_tokens: Count
    total_llm_input_cached_audio_tokens: Count
    total_llm_input_cached_text_tokens: Count
    total_llm_input_cache_creation_tokens: Count
    total_llm_output_audio_tokens: Count
    total_llm_output_text_tokens: Count
    total_llm_tokens: Count
    total_tts_characters: Count
    total_tts_audio_duration: Amount = Field(description="Seconds.")
    total_tts_input_tokens: Count
    total_tts_output_tokens: Count
    total_stt_input_tokens: Count
    total_stt_output_tokens: Count
    total_stt_audio_duration: Amount = Field(description="Seconds.")


class ModelsTokens(LiveKitBody):
    models: list[ModelTokens] = Field(description="By type, provider and model.")


# -- answers ---------------------------------------------------------------------------------------


class DashboardAnswer(Envelope):
    """`GET /admin/analytics/dashboard`."""

    data: Dashboard


class CallsByUserAnswer(Envelope):
    """`GET /admin/analytics/calls/by-user`."""

    data: UsersCalls


class CallsByPhoneNumberAnswer(Envelope):
    """`GET /admin/analytics/calls/by-phone-number`."""

    data: NumbersCalls


class CallsByServiceAnswer(Envelope):
    """`GET /admin/analytics/calls/by-service`."""

    data: ServicesCalls


class TokenSummaryAnswer(Envelope):
    """`GET /admin/analytics/tokens/summary`."""

    data: TokenSummary


class TokensByUserAnswer(Envelope):
    """`GET /admin/analytics/tokens/by-user`."""

    data: UsersTokens


class TokensByAssistantAnswer(Envelope):
    """`GET /admin/analytics/tokens/by-assistant`."""

    data: AssistantsTokens


class TokensByModelAnswer(Envelope):
    """`GET /admin/analytics/tokens/by-model`."""

    data: ModelsTokens


class PlatformProblem(Envelope):
    """The body of every error. `data` is empty, except at a 422: `errors` has one per parameter."""

    data: dict[str, list[dict[str, Any]]]
