"""The bodies of the AgentLens dialect, keys in the order they are sent. Pure.

A whole amount is an `int` and any other a `float`, because JavaScript writes 12 and not 12.0.
Source: schemas/contracts/agentlens.md.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

Amount = int | float


class AgentLensBody(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True
    )

    def json_bytes(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()


class LlmSummary(AgentLensBody):
    total_calls: int
    total_cost_usd: Amount
    total_input_tokens: int
    total_output_tokens: int
    avg_latency_ms: Amount
    avg_cost_per_call: Amount


class LlmModel(AgentLensBody):
    provider: str
    model: str
    calls: int
    cost_usd: Amount
    input_tokens: int
    output_tokens: int
    avg_latency_ms: Amount


class LlmBucket(AgentLensBody):
    bucket: str
    calls: int
    cost_usd: Amount
    input_tokens: int
    output_tokens: int
    avg_latency_ms: Amount


class LlmAnalytics(AgentLensBody):
    """`GET /api/analytics/llm`."""

    summary: LlmSummary
    by_model: list[LlmModel]
    by_time: list[LlmBucket]


class TokenCounts(AgentLensBody):
    """The tokens of one call. A number that was not reported is 0, or left out as AgentLens does."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    thinking_tokens: int = 0


class LlmResponse(AgentLensBody):
    """The payload of a call, without its content: `completion` is always null."""

    call_id: str
    provider: str
    model: str
    completion: None
    finish_reason: str
    usage: TokenCounts
    cost_usd: Amount
    latency_ms: Amount
    error: str = ""


class AgentLensEvent(AgentLensBody):
    """One of `GET /api/events`."""

    id: str
    timestamp: str
    session_id: str
    agent_id: str
    event_type: str
    severity: str
    payload: LlmResponse
    metadata: dict[str, str]
    prev_hash: None
    hash: str
    tenant_id: str


class AgentLensEvents(AgentLensBody):
    """`GET /api/events`."""

    events: list[AgentLensEvent]
    total: int
    has_more: bool


class Agent(AgentLensBody):
    id: str
    name: str
    first_seen_at: str
    last_seen_at: str
    session_count: int
    tenant_id: str
    error_rate: Amount


class Agents(AgentLensBody):
    """`GET /api/agents`."""

    agents: list[Agent]


class Database(AgentLensBody):
    ok: bool
    latency_ms: int


class AgentLensHealth(AgentLensBody):
    """`GET /api/health`."""

    status: str
    version: str
    db: Database


class Detail(AgentLensBody):
    """The problem of one field of a request."""

    path: str
    message: str


class AgentLensProblem(AgentLensBody):
    """The body of every error.

    `hint` and `docs` are present where AgentLens has them, the two roles at a 403, `details` at
    invalid events.
    """

    error: str
    hint: str = ""
    docs: str = ""
    required: str = ""
    current: str = ""
    status: int
    details: list[Detail] = []


class IngestedEvent(AgentLensBody):
    """Id and hash of an accepted event. The same event sent again has the same."""

    id: str
    hash: str


class Ingested(AgentLensBody):
    """`POST /api/events`."""

    ingested: int
    events: list[IngestedEvent]
