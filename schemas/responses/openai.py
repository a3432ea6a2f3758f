"""The bodies of OpenAI's organization usage API. Pure.

A page has buckets, and a bucket has a result for each group that was used in it. A dimension that the
question does not group by is null. So is a number that the counters do not know.
Source: schemas/contracts/openai.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Unknown = Annotated[int, Field(ge=0)] | None
Name = str | None


class OpenAIBody(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class OpenAIErrorDetail(OpenAIBody):
    message: str
    type: str
    param: str | None = Field(description="The parameter that is wrong.")
    code: str | None


class OpenAIError(OpenAIBody):
    error: OpenAIErrorDetail


class _Owned(OpenAIBody):
    project_id: Name
    user_id: Name
    api_key_id: Name


class _OfModel(_Owned):
    model: Name


class CompletionsResult(_OfModel):
    object: Literal["organization.usage.completions.result"]
    input_tokens: Count = Field(description="Cached and cache-write tokens are included.")
    output_tokens: Count
    num_model_requests: Count
    input_cached_tokens: Unknown
    input_uncached_tokens: Unknown = Field(description="Without cached and cache-write tokens.")
    input_text_tokens: Unknown = Field(description="Uncached.")
    input_audio_tokens: Unknown = Field(description="Uncached.")
    input_image_tokens: Unknown = Field(description="Uncached.")
    input_cached_text_tokens: Unknown
    input_cached_audio_tokens: Unknown
    input_cached_image_tokens: Unknown
    input_cache_write_tokens: Unknown
    output_text_tokens: Unknown
    output_audio_tokens: Unknown
    output_image_tokens: Unknown
    batch: bool | None
    service_tier: Name
    api_source: Name


class EmbeddingsResult(_OfModel):
    object: Literal["organization.usage.embeddings.result"]
    input_tokens: Count
    num_model_requests: Count


class ModerationsResult(_OfModel):
    object: Literal["organization.usage.moderations.result"]
    input_tokens: Count
    num_model_requests: Count


class ImagesResult(_OfModel):
    object: Literal["organization.usage.images.result"]
    images: Count
    num_model_requests: Count
    size: None
    source: None


class AudioSpeechesResult(_OfModel):
    object: Literal["organization.usage.audio_speeches.result"]
    characters: Count
    num_model_requests: Count


class AudioTranscriptionsResult(_OfModel):
    object: Literal["organization.usage.audio_transcriptions.result"]
    seconds: Count = Field(description="Rounded half-even from exact milliseconds.")
    num_model_requests: Count


class WebSearchesResult(_OfModel):
    object: Literal["organization.usage.web_searches.result"]
    num_requests: Count
    num_model_requests: None = Field(description="How many requests searched is not counted.")
    context_level: None
    api_source: Name


class FileSearchesResult(_Owned):
    object: Literal["organization.usage.file_searches.result"]
    num_requests: Count
    vector_store_id: None


class CostAmount(OpenAIBody):
    value: float | None = Field(description="Null if no event of the result has a cost.")
    currency: Literal["usd"]


class CostsResult(OpenAIBody):
    object: Literal["organization.costs.result"]
    amount: CostAmount
    line_item: Name = Field(description="`provider, model`.")
    project_id: Name
    user_id: Name
    api_key_id: Name
    api_source: Name
    quantity: float | None
    quantity_unit: Literal["tokens", "characters", "duration_seconds"] | None


UsageResult = Annotated[
    CompletionsResult
    | EmbeddingsResult
    | ModerationsResult
    | ImagesResult
    | AudioSpeechesResult
    | AudioTranscriptionsResult
    | WebSearchesResult
    | FileSearchesResult,
    Field(discriminator="object"),
]


class UsageBucket(OpenAIBody):
    object: Literal["bucket"]
    start_time: Count
    end_time: Count
    results: list[UsageResult]


class CostsBucket(OpenAIBody):
    object: Literal["bucket"]
    start_time: Count
    end_time: Count
    results: list[CostsResult]


class _Page(OpenAIBody):
    object: Literal["page"]
    has_more: bool
    next_page: str | None = Field(description="The parameter `page` of the next request.")


class UsagePage(_Page):
    data: list[UsageBucket]


class CostsPage(_Page):
    data: list[CostsBucket]


Result = dict[str, Any]
"""One result before it is written."""
