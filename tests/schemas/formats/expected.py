"""What each fixture is counted as, written by hand from schemas/contracts/producers.md and make/."""

from __future__ import annotations

from tests.schemas.formats.expected_vendors import EXPECTED_OF_VENDORS
from tests.schemas.formats.otel.expected import OTEL, Fields, llm

RECEIVED = "2026-02-08T10:01:00Z"
# -- openai ----------------------------------------------------------------------------------------

CHAT = llm(
    id="chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    source="openai",
    time="2026-02-08T10:00:00Z",
    provider="openai",
    model="gpt-4o-2024-08-06",
)
CHAT_TOKENS = {
    "input_tokens": 1200,
    "input_audio_tokens": 40,
    "cache_read_tokens": 1000,
    "cache_write_tokens": 100,
    "output_tokens": 300,
    "output_text_tokens": 280,
    "output_audio_tokens": 20,
    "reasoning_tokens": 128,
}
RESPONSE = llm(
    id="resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
    source="openai",
    time="2026-02-08T10:00:00.500Z",
    provider="openai",
    model="gpt-5.2-2025-12-11",
    input_tokens=2048,
    cache_read_tokens=1024,
    cache_write_tokens=512,
    output_tokens=700,
    output_text_tokens=700,
    reasoning_tokens=640,
)
REALTIME_TOKENS = {
    "input_tokens": 200,
    "input_text_tokens": 80,
    "input_audio_tokens": 120,
    "cache_read_tokens": 64,
    "cache_read_text_tokens": 40,
    "cache_read_audio_tokens": 24,
    "output_tokens": 100,
    "output_text_tokens": 30,
    "output_audio_tokens": 70,
}
REALTIME = llm(
    id="resp_BGsxlCWkVDwOC", source="openai", time=RECEIVED, provider="openai", **REALTIME_TOKENS
)
STT = {"id": "seed-0", "source": "openai", "time": RECEIVED, "kind": "stt", "provider": "openai"}
STT_TOKENS = {
    "input_tokens": 140,
    "input_text_tokens": 14,
    "input_audio_tokens": 126,
    "output_tokens": 45,
    "output_text_tokens": 45,
}
REALTIME_STT_TOKENS = {
    "input_tokens": 48,
    "input_text_tokens": 8,
    "input_audio_tokens": 40,
    "output_tokens": 12,
    "output_text_tokens": 12,
}
OPENAI: dict[str, list[Fields]] = {
    "chat": [CHAT | CHAT_TOKENS],
    "chat_without_details": [
        CHAT | {"input_tokens": 9, "output_tokens": 12, "output_text_tokens": 12}
    ],
    "chat_without_usage": [CHAT],
    "chunk_last": [CHAT | CHAT_TOKENS],
    "chunk": [],
    "response": [RESPONSE],
    "response_completed": [RESPONSE],
    "response_failed": [RESPONSE | {"error": "server_error"}],
    "response_created": [],
    "realtime_response_done": [REALTIME],
    "realtime_response_failed": [REALTIME | {"error": "inference_rate_limit_exceeded"}],
    "realtime_transcription_tokens": [STT | REALTIME_STT_TOKENS | {"id": "event_BGsxo1"}],
    "realtime_transcription_seconds": [STT | {"id": "event_BGsxo1", "stt_audio_ms": 3200}],
    "transcription_tokens": [STT | STT_TOKENS],
    "transcription_stream_done": [STT | STT_TOKENS],
    "transcription_seconds": [STT | {"stt_audio_ms": 9000}],
    # Billed are the seconds of `usage` (9), not the measured duration (8.47).
    "transcription_verbose": [STT | {"stt_audio_ms": 9000}],
    "speech_request": [
        STT
        | {"kind": "tts", "model": "gpt-4o-mini-tts", "voice": "coral"}
        | {"tts_characters": 12}  # 9 letters, a space, a hand and its colour: code points
    ],
    "embeddings": [STT | {"kind": "llm", "model": "text-embedding-3-small", "input_tokens": 8}],
}

# -- anthropic -------------------------------------------------------------------------------------

MESSAGE = llm(
    id="msg_013Zva2CMHLNnXjNJJKqJ2EF",
    source="anthropic",
    time=RECEIVED,
    provider="anthropic",
    model="claude-sonnet-4-5-20250929",
    input_tokens=21 + 188 + 1800,
    input_audio_tokens=0,
    cache_read_tokens=1800,
    cache_write_tokens=188,
    output_tokens=393,
    output_text_tokens=393,
    output_audio_tokens=0,
    reasoning_tokens=200,
)
WITHOUT_CACHE = {
    name: value
    for name, value in MESSAGE.items()
    if name not in {"cache_read_tokens", "cache_write_tokens", "reasoning_tokens"}
} | {"input_tokens": 10, "output_tokens": 5, "output_text_tokens": 5}
BETA = WITHOUT_CACHE | {"cache_read_tokens": 0, "cache_write_tokens": 0}
ANTHROPIC: dict[str, list[Fields]] = {
    "message": [MESSAGE],
    "message_without_cache": [WITHOUT_CACHE],
    "message_start": [],
    "message_delta": [],
    "stream": [MESSAGE],
    "beta_compaction": [
        BETA | {"input_tokens": 203_000, "output_tokens": 4500, "output_text_tokens": 4500}
    ],
    "beta_advisor": [
        BETA | {"input_tokens": 23_000, "output_tokens": 1000, "output_text_tokens": 1000},
        BETA
        | {"id": "msg_013Zva2CMHLNnXjNJJKqJ2EF/advisor-0", "model": "claude-opus-4-6"}
        | {"input_tokens": 1223, "cache_read_tokens": 400}
        | {"output_tokens": 1612, "output_text_tokens": 1612},
    ],
}

# -- litellm ---------------------------------------------------------------------------------------

LITELLM_CALL = llm(
    id="5b1f3a52-0000-4000-8000-000000000001",
    source="litellm",
    time="2026-02-08T10:00:01.100Z",  # .1005, half-even
    provider="openai",
    latency_ms=850,  # 850.5, half-even
)
LITELLM_CHAT = LITELLM_CALL | {
    "id": "chatcmpl-123",
    "model": "gpt-4o",
    "input_tokens": 1200,
    "input_audio_tokens": 40,
    "cache_read_tokens": 1000,
    "output_tokens": 300,
    "output_text_tokens": 280,
    "output_audio_tokens": 20,
    "reasoning_tokens": 64,
}
LITELLM: dict[str, list[Fields]] = {
    "chat": [
        LITELLM_CHAT
        | {"agent_id": "agent-7", "user_id": "u-1", "user_email": "alice@example.com"}
        | {"cost_usd": "0.00475", "first_output_ms": 210}
    ],
    "chat_sdk_user": [LITELLM_CHAT | {"user_id": "u-2", "cost_usd": "0.00475"}],
    "cache_hit": [LITELLM_CHAT | {"id": "5b1f3a52-0000-4000-8000-000000000001", "cost_usd": "0.0"}],
    "anthropic": [
        LITELLM_CALL
        | {"id": "chatcmpl-123", "provider": "anthropic", "model": "claude-sonnet-4-5-20250929"}
        | {"input_tokens": 2009, "cache_read_tokens": 1800, "cache_write_tokens": 188}
        | {"output_tokens": 393, "output_text_tokens": 393, "reasoning_tokens": 200}
        | {"cost_usd": "0.007203"}
    ],
    "failure": [LITELLM_CALL | {"model": "gpt-4o", "error": "RateLimitError"}],
    "unpriced": [LITELLM_CHAT | {"model": "my-own-model"}],
    "embedding": [
        LITELLM_CALL
        | {"model": "text-embedding-3-small", "cost_usd": "1.6E-7"}
        | {"input_tokens": 8, "output_tokens": 0, "output_text_tokens": 0}
    ],
    "transcription": [LITELLM_CALL | {"kind": "stt", "model": "whisper-1", "stt_audio_ms": 9250}],
    "speech": [
        LITELLM_CALL
        | {"kind": "tts", "model": "tts-1", "tts_characters": 12, "cost_usd": "0.00018"}
    ],
    "speech_redacted": [LITELLM_CALL | {"kind": "tts", "model": "tts-1", "cost_usd": "0.00018"}],
    "list_files": [],
}

# -- livekit ---------------------------------------------------------------------------------------

LIVEKIT_CALL = {"id": "seed-0", "source": "livekit", "time": "2026-02-08T10:00:00.123Z"}
LIVEKIT_LLM = LIVEKIT_CALL | llm(
    provider="openai",
    model="gpt-4o",
    input_tokens=900,
    cache_read_tokens=512,
    cache_write_tokens=16,
    output_tokens=60,
    output_text_tokens=60,
    reasoning_tokens=8,
    latency_ms=1234,  # 1.2345 s, half-even
)
LIVEKIT_TTS = LIVEKIT_CALL | {
    "kind": "tts",
    "provider": "cartesia",
    "model": "sonic-3",
    "input_tokens": 0,
    "output_tokens": 0,
    "tts_characters": 87,
    "tts_audio_ms": 4268,  # 4.2675 s, half-even
    "latency_ms": 900,
    "first_output_ms": 62,  # 0.0625 s, half-even
}
LIVEKIT_STT = LIVEKIT_CALL | {
    "kind": "stt",
    "provider": "deepgram",
    "model": "nova-3",
    "stt_audio_ms": 5050,
    "input_tokens": 0,
    "input_audio_tokens": 0,
    "output_tokens": 0,
}
LIVEKIT: dict[str, list[Fields]] = {
    "llm": [LIVEKIT_LLM | {"first_output_ms": 312}],
    "llm_wrapped": [LIVEKIT_LLM | {"first_output_ms": 312}],
    "llm_cancelled": [LIVEKIT_LLM],
    "decision": [
        LIVEKIT_CALL
        | llm(provider="google", model="gemini-2.5-flash", latency_ms=200)
        | {"input_tokens": 50, "output_tokens": 2, "output_text_tokens": 2}
    ],
    "realtime": [
        LIVEKIT_CALL
        | llm(provider="openai", model="gpt-realtime", latency_ms=2500, first_output_ms=750)
        | REALTIME_TOKENS
    ],
    "realtime_session": [],
    "tts": [LIVEKIT_TTS],
    "tts_tokens": [LIVEKIT_TTS | {"input_tokens": 22, "output_tokens": 300}],
    "stt": [LIVEKIT_STT],
    "stt_tokens": [
        LIVEKIT_STT
        | {"input_tokens": 48, "input_audio_tokens": 40, "output_tokens": 12, "latency_ms": 400}
    ],
    "stt_connection": [],
    "eou": [],
    "vad": [],
}

# -- agentlens, cloudevents ------------------------------------------------------------------------

AGENTLENS: dict[str, list[Fields]] = {
    "call": [
        llm(
            id="call-1",
            source="agentlens",
            time="2026-02-08T10:00:00.123456+00:00",
            provider="anthropic",
            model="claude-sonnet-4-5",
            agent_id="my-agent",
            chat_id="session-1",
            input_tokens=21,
            cache_read_tokens=1800,
            cache_write_tokens=188,
            output_tokens=393,
            output_text_tokens=393,
            reasoning_tokens=200,
            cost_usd="0.0045",
            latency_ms=850,  # 850.5, half-even
        )
    ]
}
CLOUD = llm(
    id="evt-1",
    source="/gateways/größe 1",
    time="2026-02-08T10:00:00.123000+00:00",
    provider="openai",
    model="gpt-4o",
    agent_id="my agent",
    input_tokens=1200,
)
CLOUDEVENTS: dict[str, list[Fields]] = {
    "structured": [CLOUD],
    "bytes": [CLOUD],
    "batch": [CLOUD, CLOUD | {"id": "evt-2"}],
    "binary": [CLOUD],
}

# -- what is beside the numbers ----------------------------------------------------------------------

CHATS = {"operation": "chat"}
STOPPED = {**CHATS, "finish_reason": "stop"}
ENDED = {**CHATS, "finish_reason": "end_turn"}
KEPT = {**ENDED, "service_tier": "standard", "cache_write_1h_tokens": 88}
TRANSCRIBED = {"operation": "transcription"}
SPOKEN = {"operation": "speech"}
NO_IMAGES = ("input_image_tokens", "cache_read_image_tokens", "output_image_tokens")
BESIDE: dict[str, Fields] = {
    **dict.fromkeys(("openai/chat", "openai/chat_without_details"), STOPPED),
    "openai/chat_without_usage": STOPPED,
    "openai/chunk_last": CHATS,
    "openai/response": CHATS,
    "openai/response_completed": CHATS,
    "openai/response_failed": CHATS,
    "openai/embeddings": {"operation": "embeddings"},
    "openai/realtime_response_done": {"operation": "realtime"},
    "openai/realtime_response_failed": {"operation": "realtime"},
    "openai/realtime_transcription_seconds": TRANSCRIBED,
    "openai/realtime_transcription_tokens": TRANSCRIBED,
    "openai/transcription_seconds": TRANSCRIBED,
    "openai/transcription_stream_done": TRANSCRIBED,
    "openai/transcription_tokens": TRANSCRIBED,
    "openai/transcription_verbose": TRANSCRIBED,
    "openai/speech_request": SPOKEN,
    **dict.fromkeys(("anthropic/message", "anthropic/stream"), KEPT),
    "anthropic/message_without_cache": ENDED,
    "anthropic/beta_compaction": ENDED,
    "anthropic/beta_advisor": ENDED,
    **dict.fromkeys(
        (f"litellm/{name}" for name in ("anthropic", "cache_hit", "chat", "chat_sdk_user")), CHATS
    ),
    "litellm/failure": CHATS,
    "litellm/unpriced": CHATS,
    "litellm/embedding": {"operation": "embeddings"},
    "litellm/speech": SPOKEN,
    "litellm/speech_redacted": SPOKEN,
    "litellm/transcription": TRANSCRIBED,
    **dict.fromkeys(("livekit/llm", "livekit/llm_cancelled", "livekit/llm_wrapped"), CHATS),
    "livekit/realtime": {"operation": "realtime", **dict.fromkeys(NO_IMAGES, 0)},
    "livekit/stt": TRANSCRIBED,
    "livekit/stt_tokens": TRANSCRIBED,
    "livekit/tts": SPOKEN,
    "livekit/tts_tokens": SPOKEN,
    "agentlens/call": STOPPED,
}
"""Operation, terms and tools of the first event; a later one of the same answer has the operation."""


def with_terms(name: str, events: list[Fields]) -> list[Fields]:
    beside = BESIDE.get(name, {})
    later = {key: value for key, value in beside.items() if key == "operation"}
    return [event | (later if place else beside) for place, event in enumerate(events)]


EXPECTED = {
    f"{library}/{name}": with_terms(f"{library}/{name}", events)
    for library, expected in (
        ("openai", OPENAI),
        ("anthropic", ANTHROPIC),
        ("litellm", LITELLM),
        ("livekit", LIVEKIT),
        ("otel", OTEL),
        ("agentlens", AGENTLENS),
        ("cloudevents", CLOUDEVENTS),
    )
    for name, events in expected.items()
} | {
    **EXPECTED_OF_VENDORS,
    "helicone/custom_log": [
        CHAT
        | CHAT_TOKENS
        | STOPPED
        | {"user_id": "alice", "call_id": "session-1", "latency_ms": 1250}
    ],
}
