"""What each fixture of OpenTelemetry is counted as, written by hand from make/ and the answers there."""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]


def llm(**fields: Any) -> Fields:
    return {"kind": "llm", **fields}


SPANS = [
    llm(
        id="abcdef00000000000000000000000001-abcdef0000000002",
        source="checkout-bot",
        time="2026-02-08T10:00:00.850Z",
        provider="google",
        model="gemini-2.5-flash-001",
        agent_id="agent-7",
        call_id="session-1",
        chat_id="conv-1",
        user_id="u-1",
        user_email="alice@example.com",
        input_tokens=1200,
        cache_read_tokens=1000,
        cache_write_tokens=50,
        output_tokens=300,
        output_text_tokens=300,
        reasoning_tokens=64,
        latency_ms=850,  # 850.5, half-even
        first_output_ms=210,  # 210.5, half-even
    ),
    llm(
        id="abcdef00000000000000000000000003-abcdef0000000004",
        source="checkout-bot",
        time="2026-02-08T10:00:01.850Z",
        provider="azure",
        model="gpt-4o",
        user_id="u-2",
        input_tokens=12,
        output_tokens=5,
        output_text_tokens=5,
        latency_ms=850,
    ),
    llm(
        id="abcdef00000000000000000000000005-abcdef0000000006",
        source="checkout-bot",
        time="2026-02-08T10:00:02.850Z",
        provider="openai",
        model="text-embedding-3-small",
        latency_ms=850,
        error="timeout",
    ),
]
for one, operation in zip(SPANS, ("chat", "text_completion", "embeddings"), strict=True):
    one["operation"] = operation


def shop(**fields: Any) -> Fields:
    return llm(source="shop", latency_ms=850, operation="chat", **fields)


def at(second: int) -> str:
    return f"2026-02-08T10:00:0{second}.850Z"


# -- Vercel's AI SDK: OpenAI, Anthropic, Anthropic streamed, an embedding ------------------------------

VERCEL_OPENAI = shop(
    id="chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    time=at(0),
    provider="openai",
    model="gpt-4o-mini-2024-07-18",
    user_id="u-1",
    input_tokens=1500,
    output_tokens=180,
    output_text_tokens=180,
    finish_reason="stop",
)
DETAILS = {"cache_read_tokens": 1024, "reasoning_tokens": 64}
VERCEL_ANTHROPIC = shop(
    id="msg_013Zva2CMHLNnXjNJJKqJ2EF",
    time=at(2),
    provider="anthropic",
    model="claude-sonnet-4-5-20250929",
    user_id="u-1",
    input_tokens=21 + 1800 + 188,
    cache_read_tokens=1800,
    cache_write_tokens=188,
    output_tokens=393,
    output_text_tokens=393,
    finish_reason="stop",
)
VERCEL_STREAMED = VERCEL_ANTHROPIC | {"id": "msg_01Streamed7cMHLNnXjNJJKqJ2", "time": at(4)}
VERCEL_EMBEDDING = llm(
    id="abcdef00000000000000000000000016-abcdef0000000015",
    source="shop",
    time=at(6),
    operation="embeddings",
    provider="openai",
    model="text-embedding-3-small",
    user_id="u-1",
    input_tokens=8,
    latency_ms=850,
)
VERCEL_REST = [VERCEL_ANTHROPIC, VERCEL_STREAMED, VERCEL_EMBEDDING]

# -- the others: one answer each ---------------------------------------------------------------------

OPENAI_ANSWER = shop(
    id="chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    time=at(0),
    provider="openai",
    model="gpt-4o-2024-08-06",
    input_tokens=1900,
    cache_read_tokens=1024,
    output_tokens=170,
    output_text_tokens=170,
    reasoning_tokens=64,
)
NO_AUDIO = {"input_audio_tokens": 0, "output_audio_tokens": 0}
ANTHROPIC_ANSWER = shop(
    id="msg_013Zva2CMHLNnXjNJJKqJ2EF",
    time=at(0),
    provider="anthropic",
    model="claude-sonnet-4-5-20250929",
    service_tier="standard",
    input_tokens=21 + 1800 + 188,
    cache_read_tokens=1800,
    cache_write_tokens=188,
    cache_write_1h_tokens=88,
    output_tokens=393,
    output_text_tokens=393,
    reasoning_tokens=200,
)
OTEL: dict[str, list[Fields]] = {
    "json": SPANS,
    "protobuf": SPANS,
    "vercel_v4": [VERCEL_OPENAI | DETAILS, *VERCEL_REST],
    # generateText of 5.0 leaves out what OpenAI reports as cached and as reasoning.
    "vercel_v5": [VERCEL_OPENAI, *VERCEL_REST],
    "vercel_v6": [VERCEL_OPENAI | DETAILS, *VERCEL_REST],
    # Anthropic's SDK writes a span of its own below each of these two.
    "pydantic_ai": [ANTHROPIC_ANSWER | {"time": at(1), "cost_usd": "0.007401"}],
    "openllmetry_anthropic": [ANTHROPIC_ANSWER | {"finish_reason": "end_turn"}],
    "openinference_openai": [
        OPENAI_ANSWER
        | NO_AUDIO
        | {"id": "abcdef00000000000000000000000001-abcdef0000000002", "finish_reason": "stop"}
    ],
    "openllmetry_openai": [OPENAI_ANSWER],
    "langfuse_openai": [
        OPENAI_ANSWER | NO_AUDIO | {"id": "abcdef00000000000000000000000003-abcdef0000000001"}
    ],
    "openllmetry_gemini": [
        shop(
            id="mAb3aLKTNqKe1MkP9Z_X2Ac",
            time=at(0),
            provider="google",
            model="gemini-2.5-flash",
            input_tokens=22,
            output_tokens=180 + 400,
            output_text_tokens=580,
            reasoning_tokens=400,
        )
    ],
    "openllmetry_bedrock": [
        shop(
            id="abcdef00000000000000000000000001-abcdef0000000002",
            time=at(0),
            provider="aws",
            model="claude-sonnet-4-20250514-v1:0",
            input_tokens=3015 + 2000,
            cache_read_tokens=2000,
            cache_write_tokens=0,
            output_tokens=44,
            output_text_tokens=44,
        )
    ],
}
