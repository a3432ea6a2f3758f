"""The names of OpenTelemetry's attributes that are read. Data. Pure.

Each tuple has the names of one fact, best first: the GenAI conventions, their older names, then the
names of Vercel's AI SDK (`ai.`), OpenInference (`llm.`), Langfuse, Anthropic's SDK and others. Their
versions are in schemas/README.md.
"""

from __future__ import annotations

from typing import Final

SERVICE: Final = "service.name"

# -- who says that a span is a call to a model (`model_calls`) ---------------------------------------

OPERATION: Final = "gen_ai.operation.name"
REQUEST_TYPE: Final = "llm.request.type"
VERCEL_OPERATION: Final = "ai.operationId"
OPENINFERENCE_KIND: Final = "openinference.span.kind"
LANGFUSE_TYPE: Final = "langfuse.observation.type"
LANGSMITH_KIND: Final = "langsmith.span.kind"
MLFLOW_TYPE: Final = "mlflow.spanType"
GENKIT_SUBTYPE: Final = "genkit:metadata:subtype"
LAMINAR_TYPE: Final = "lmnr.span.type"
TRACELOOP_KIND: Final = "traceloop.span.kind"
AGENTOPS_KIND: Final = "agentops.span.kind"
BRAINTRUST: Final = "braintrust.span_attributes"
SAYS: Final = (
    OPERATION,
    REQUEST_TYPE,
    VERCEL_OPERATION,
    OPENINFERENCE_KIND,
    LANGFUSE_TYPE,
    LANGSMITH_KIND,
    MLFLOW_TYPE,
    GENKIT_SUBTYPE,
    LAMINAR_TYPE,
    TRACELOOP_KIND,
    AGENTOPS_KIND,
    BRAINTRUST,
)

# -- what the call was -------------------------------------------------------------------------------

PROVIDER: Final = (
    "gen_ai.provider.name",
    "gen_ai.system",
    "ai.model.provider",
    "llm.provider",
    "llm.system",
    "langsmith.metadata.ls_provider",
    "mlflow.llm.provider",
)
MODEL: Final = (
    "gen_ai.response.model",
    "ai.response.model",
    "llm.response.model_name",
    "gen_ai.request.model",
    "ai.model.id",
    "llm.model_name",
    "llm.request.model_name",
    "embedding.model_name",
    "langfuse.observation.model.name",
    "llm.response.model",
    "llm.request.model",
    "langsmith.metadata.ls_model_name",
    "mlflow.llm.model",
    "genkit:name",
)
URL: Final = (
    "server.address",
    "url.full",
    "gen_ai.openai.api_base",
    "llm.openai.api_base",
    "llm.api_base",
)
RESPONSE_ID: Final = ("gen_ai.response.id", "ai.response.id", "llm.response.id")
STATUS: Final = ("gen_ai.response.status", "openai.response.status", "llm.response.status")
AGENT: Final = ("gen_ai.agent.id", "ai.telemetry.metadata.agentId")
CALL: Final = ("session.id", "langfuse.session.id", "ai.telemetry.metadata.sessionId")
CHAT: Final = ("gen_ai.conversation.id", "ai.telemetry.metadata.chatId")
USER: Final = (
    "user.id",
    "enduser.id",
    "langfuse.user.id",
    "ai.telemetry.metadata.userId",
)
USER_NAME: Final = ("user.full_name", "user.name")
EMAIL: Final = ("user.email",)
ERROR: Final = ("error.type",)
SERVICE_TIER: Final = (
    "gen_ai.openai.response.service_tier",
    "openai.response.service_tier",
    "gen_ai.response.service_tier",
    "anthropic.response.service_tier",
    "gen_ai.usage.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
"""What was asked for comes last: an answer may be of another tier."""
FINISH: Final = (
    "ai.response.finishReason",
    "llm.finish_reason",
    "gen_ai.response.finish_reason",
    "gen_ai.response.stop_reason",
    "anthropic.message.stop_reason",
)
FIRST_OUTPUT_S: Final = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
FIRST_OUTPUT_MS: Final = ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk")
FIRST_OUTPUT_AT: Final = "langfuse.observation.completion_start_time"
COST: Final = (
    "gen_ai.usage.cost",
    "gen_ai.cost.total_cost",
    "gen_ai.usage.total_cost",
    "operation.cost",
    "llm.cost.total",
    "llm.usage.total_cost",
    "gen_ai.usage.cost_usd",
    "total_cost_usd",
)

# -- usage -------------------------------------------------------------------------------------------

INPUT: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "ai.usage.inputTokens",
    "ai.usage.promptTokens",
    "ai.usage.tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
    "gen_ai.response.prompt_tokens",
)
OUTPUT: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "ai.usage.outputTokens",
    "ai.usage.completionTokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
    "gen_ai.response.completion_tokens",
)
TOTAL: Final = (
    "gen_ai.usage.total_tokens",
    "ai.usage.totalTokens",
    "llm.token_count.total",
    "llm.usage.total_tokens",
    "gen_ai.usage.details.total_tokens",
)
CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.cache_read_tokens",
    "gen_ai.usage.cached_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.input_cached_tokens",
    "gen_ai.usage.prompt_tokens_details.cached_tokens",
    "gen_ai.usage.input_tokens_details.cached_tokens",
    "ai.usage.inputTokenDetails.cacheReadTokens",
    "ai.usage.cachedInputTokens",
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.prompt_details.cache_input",
    "llm.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
    "gen_ai.usage.details.cached_tokens",
    "gen_ai.usage.details.cached_content_tokens",
    "gen_ai.usage.details.cached_content_token_count",
)
CACHE_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
    "gen_ai.usage.cache_write_tokens",
    "gen_ai.usage.cache_creation_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "ai.usage.inputTokenDetails.cacheWriteTokens",
    "llm.token_count.prompt_details.cache_write",
    "llm.usage.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
)
CACHE_WRITE_1H: Final = (
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    "gen_ai.usage.details.ephemeral_1h_input_tokens",
    "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens",
)
UNCACHED: Final = ("ai.usage.inputTokenDetails.noCacheTokens",)
"""The input without the cache: where it is reported, the total is sure to include the cache."""
REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.completion_tokens_details.reasoning_tokens",
    "gen_ai.usage.output_tokens_details.reasoning_tokens",
    "ai.usage.outputTokenDetails.reasoningTokens",
    "ai.usage.reasoningTokens",
    "llm.token_count.completion_details.reasoning",
    "llm.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
    "gen_ai.usage.details.thinking_tokens",
    "gen_ai.usage.details.thoughts_tokens",
    "gen_ai.usage.details.thoughts_token_count",
    "gen_ai.usage.thoughts_tokens",
)
INPUT_TEXT: Final = ("gen_ai.usage.text.input_tokens",)
INPUT_AUDIO: Final = (
    "gen_ai.usage.audio.input_tokens",
    "llm.token_count.prompt_details.audio",
    "gen_ai.usage.details.input_audio_tokens",
    "gen_ai.usage.details.audio_prompt_tokens",
)
CACHE_READ_AUDIO: Final = ("gen_ai.usage.details.cache_audio_read_tokens",)
OUTPUT_TEXT: Final = ("gen_ai.usage.text.output_tokens",)
OUTPUT_AUDIO: Final = (
    "gen_ai.usage.audio.output_tokens",
    "llm.token_count.completion_details.audio",
    "gen_ai.usage.details.output_audio_tokens",
    "gen_ai.usage.details.audio_candidates_tokens",
)
INPUT_IMAGE: Final = (
    "gen_ai.usage.image.input_tokens",
    "gen_ai.usage.details.image_prompt_tokens",
    "gen_ai.usage.details.input_image_tokens",
)
OUTPUT_IMAGE: Final = (
    "gen_ai.usage.image.output_tokens",
    "gen_ai.usage.details.image_candidates_tokens",
    "gen_ai.usage.details.output_image_tokens",
)
WEB_SEARCHES: Final = (
    "gen_ai.usage.web_search_requests",
    "gen_ai.usage.server_tool_use.web_search_requests",
    "gen_ai.usage.details.web_search_requests",
    "gen_ai.usage.details.num_sources_used",
)
COMPACTION_INPUT: Final = ("anthropic.usage.compaction.input_tokens",)
COMPACTION_OUTPUT: Final = ("anthropic.usage.compaction.output_tokens",)
"""Beside the totals, which leave compactions out."""

CLAUDE_CODE_TYPE: Final = "span.type"
CLAUDE_CODE: Final = {
    "model": "gen_ai.request.model",
    "request_id": "gen_ai.response.id",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation_tokens": "gen_ai.usage.cache_write.input_tokens",
    "agent_id": "gen_ai.agent.id",
    "stop_reason": "gen_ai.response.stop_reason",
    "ttft_ms": "ai.response.msToFirstChunk",
}
"""Attributes of Claude Code's spans of a call, which have no prefix, and those of the same meaning. Its
input is beside the cache."""
PLAIN: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
)
"""Usage without a prefix: what says so little is no call, but it is told."""
LANGFUSE_USAGE: Final = "langfuse.observation.usage_details"
LANGFUSE_COST: Final = "langfuse.observation.cost_details"
VERCEL_METADATA: Final = "ai.response.providerMetadata"
MLFLOW_USAGE: Final = "mlflow.chat.tokenUsage"
MLFLOW_COST: Final = "mlflow.llm.cost"
BRAINTRUST_METRICS: Final = "braintrust.metrics"
BRAINTRUST_METADATA: Final = "braintrust.metadata"
COST_PARTS: Final = ("llm.cost.prompt", "llm.cost.completion")
"""OpenInference's, where the total is missing."""
GENKIT_OUTPUT: Final = "genkit:output"
USAGE_TEXTS: Final = (LANGFUSE_USAGE, MLFLOW_USAGE, BRAINTRUST_METRICS, GENKIT_OUTPUT)
"""Attributes whose text is a JSON object of counts; Genkit's has them as `usage`."""

COUNTS: Final = (
    INPUT,
    OUTPUT,
    TOTAL,
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    UNCACHED,
    REASONING,
    INPUT_TEXT,
    INPUT_AUDIO,
    CACHE_READ_AUDIO,
    OUTPUT_TEXT,
    OUTPUT_AUDIO,
    INPUT_IMAGE,
    OUTPUT_IMAGE,
    WEB_SEARCHES,
    COMPACTION_INPUT,
    COMPACTION_OUTPUT,
)
USAGE_PREFIXES: Final = (
    "gen_ai.usage.",
    "llm.token_count.",
    "ai.usage.",
    "llm.usage.",
    "anthropic.usage.",
    "openai.usage.",
)
_UNDERSTOOD: Final = frozenset(
    {
        # Anthropic's own exclusive input, and parts of totals that no price bills apart.
        "gen_ai.usage.details.input_tokens",
        "gen_ai.usage.details.output_tokens",
        "gen_ai.usage.details.prompt_tokens",
        "gen_ai.usage.details.completion_tokens",
        "gen_ai.usage.details.text_prompt_tokens",
        "gen_ai.usage.details.text_candidates_tokens",
        "gen_ai.usage.details.text_cache_tokens",
        "gen_ai.usage.details.accepted_prediction_tokens",
        "gen_ai.usage.details.rejected_prediction_tokens",
        "gen_ai.usage.details.ephemeral_5m_input_tokens",
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens",
        "ai.usage.outputTokenDetails.textTokens",
        "ai.usage.raw",
    }
)
_READ: Final = frozenset(
    {
        *SAYS,
        *(
            name
            for names in (
                *COUNTS,
                PROVIDER,
                MODEL,
                URL,
                RESPONSE_ID,
                STATUS,
                AGENT,
                CALL,
                CHAT,
                USER,
                USER_NAME,
                EMAIL,
                ERROR,
                SERVICE_TIER,
                FINISH,
                FIRST_OUTPUT_S,
                FIRST_OUTPUT_MS,
                COST,
                USAGE_TEXTS,
            )
            for name in names
        ),
        *CLAUDE_CODE,
        *PLAIN,
        CLAUDE_CODE_TYPE,
        SERVICE,
        FIRST_OUTPUT_AT,
        LANGFUSE_COST,
        MLFLOW_COST,
        BRAINTRUST_METADATA,
        *COST_PARTS,
        VERCEL_METADATA,
    }
)
_COUNTED: Final = frozenset(name for names in COUNTS for name in names)
KNOWN: Final = _COUNTED | _UNDERSTOOD | {*COST}


def is_read(name: str) -> bool:
    """Whether an attribute of a span is read: of a binary request no other is kept."""
    return name in _READ or name.startswith(USAGE_PREFIXES)
