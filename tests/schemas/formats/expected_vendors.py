"""What the fixtures of vendors, speech vendors and frameworks are counted as, written by hand."""

from __future__ import annotations

from typing import Any

from schemas.formats.speech import elevenlabs

RECEIVED = "2026-02-08T10:01:00Z"
Fields = dict[str, Any]


def of(format: str, provider: str, kind: str, operation: str | None, **fields: Any) -> Fields:  # noqa: A002
    about = {"id": "seed-0", "source": format, "time": RECEIVED, "kind": kind}
    asked = {} if operation is None else {"operation": operation}
    return {**about, "provider": provider, **asked, **fields}


# -- models ----------------------------------------------------------------------------------------

GEMINI = of(
    "gemini",
    "google",
    "llm",
    "chat",
    id="mN1aaZ7bCMvm-O4P",
    model="gemini-2.5-flash",
    service_tier="standard",
    finish_reason="STOP",
    input_tokens=4000 + 100,
    input_audio_tokens=142,
    input_image_tokens=258,
    cache_read_tokens=3000,
    output_tokens=200 + 1500,
    reasoning_tokens=1500,
)
INTERACTION = of(
    "gemini_interactions",
    "google",
    "llm",
    "chat",
    id="v1_ChdtTjFhYVo3YkNNdm0tTzRQ",
    time="2026-02-08T10:00:02Z",
    model="gemini-3-flash-preview",
    finish_reason="completed",
    input_tokens=4000 + 100,
    input_image_tokens=258,
    cache_read_tokens=3000,
    output_tokens=200 + 1500,
    reasoning_tokens=1500,
    web_searches=2,
)
BEDROCK = of(
    "bedrock",
    "aws",
    "llm",
    "chat",
    latency_ms=812,
    input_tokens=15 + 2000 + 200,
    cache_read_tokens=2000,
    cache_write_tokens=200,
    output_tokens=44,
    output_text_tokens=44,
)
COHERE = of(
    "cohere",
    "cohere",
    "llm",
    "chat",
    id="c14c80c3-18eb-4519-9460-6c92edd8cfb4",
    finish_reason="COMPLETE",
    input_tokens=120,
    cache_read_tokens=100,
    output_tokens=60,
    output_text_tokens=60,
)
OLLAMA = of(
    "ollama",
    "ollama",
    "llm",
    "chat",
    id="llama3.2/2026-02-08T10:00:00.123456789Z/1870000000/1540000000",
    time="2026-02-08T10:00:00.123456789Z",
    model="llama3.2",
    finish_reason="stop",
    latency_ms=1870,
    input_tokens=47,
    output_tokens=160,
    output_text_tokens=160,
)
EMBEDDED = {"model": "all-minilm", "latency_ms": 14, "input_tokens": 8}
MODELS: dict[str, list[Fields]] = {
    "gemini_interactions/interaction": [INTERACTION | {"service_tier": "flex"}],
    "gemini_interactions/stream": [INTERACTION],
    "gemini/generate_content": [GEMINI],
    "gemini/model_dump": [GEMINI],
    "gemini/stream": [GEMINI],
    "bedrock/converse": [
        BEDROCK
        | {"id": "d9a2d0d3-7c1e-4a4a-9f0e-2f7f5b5a1c11", "service_tier": "flex"}
        | {"finish_reason": "end_turn"}
    ],
    "bedrock/converse_stream": [BEDROCK | {"id": "seed-4"}],
    "cohere/chat": [COHERE],
    "cohere/stream": [COHERE],
    "cohere/rerank": [of("cohere", "cohere", "llm", "rerank", id="r-1", rerank_searches=1)],
    "ollama/chat": [OLLAMA],
    "ollama/stream": [OLLAMA],
    "ollama/embed": [of("ollama", "ollama", "llm", "embeddings", **EMBEDDED)],
}

# -- speech ----------------------------------------------------------------------------------------


def stt(format: str, **fields: Any) -> Fields:  # noqa: A002
    return of(format, format, "stt", "transcription", **fields)


def tts(format: str, **fields: Any) -> Fields:  # noqa: A002
    return of(format, format, "tts", "speech", **fields)


SPEECH: dict[str, list[Fields]] = {
    "deepgram/listen": [
        stt(
            "deepgram",
            id="a847f427-4ad5-4d67-9b95-db801e58251c",
            time="2026-02-08T10:00:00.123000Z",
            model="nova-3",
            stt_audio_ms=18_500,
            service_tier="prerecorded",
        )
    ],
    "elevenlabs/speech_request": [tts("elevenlabs", model="eleven_flash_v2_5", tts_characters=17)],
    "elevenlabs/with_timestamps": [tts("elevenlabs", tts_characters=4)],
    "elevenlabs/history_item": [
        tts(
            "elevenlabs",
            id="BF0BZg4IwLGBlaVjv9Im",
            time="2026-02-08T10:00:00Z",
            model="eleven_multilingual_v2",
            voice="21m00Tcm4TlvDq8ikWAM",
            tts_characters=30,
        )
    ],
    "elevenlabs/transcript": [
        stt("elevenlabs", id="tr_1", stt_audio_ms=7250, cost_problem=elevenlabs.UNTOLD)
    ],
    "cartesia/speech_request": [
        tts(
            "cartesia",
            model="sonic-3",
            voice="a0e99841-438c-4a64-b679-ae501e7d6091",
            tts_characters=17,
        )
    ],
    "cartesia/transcript": [stt("cartesia", stt_audio_ms=2500)],
    "assemblyai/queued": [],
    "assemblyai/transcript": [
        stt(
            "assemblyai",
            id="9ea68fd3-f953-42c1-9742-976c447fb463",
            model="universal",
            stt_audio_ms=281_000,
        )
    ],
    "assemblyai/termination": [stt("assemblyai", stt_audio_ms=32_000)],
}

# -- frameworks ------------------------------------------------------------------------------------

LANGCHAIN = of(
    "langchain",
    "anthropic",
    "llm",
    "chat",
    id="msg_01Langchain",
    model="claude-sonnet-4-5-20250929",
    finish_reason="end_turn",
    input_tokens=2009,
    cache_read_tokens=1800,
    cache_write_tokens=188,
    output_tokens=393,
    output_text_tokens=393,
    reasoning_tokens=200,
)
CHUNKS = of(
    "langchain",
    "openai",
    "llm",
    "chat",
    id="lc_run--00000000-0000-0000-0000-000000000001",
    model="gpt-4o-2024-08-06",
    finish_reason="stop",
    input_tokens=1000,
    cache_read_tokens=600,
    output_tokens=20,
    output_text_tokens=20,
    reasoning_tokens=0,
)
RUN = of("openai_agents", "openai", "llm", "chat")
NO_PARTS = {"cache_write_tokens": 0, "reasoning_tokens": 0}
FIRST = {"input_tokens": 1000, "cache_read_tokens": 0, "output_tokens": 50} | NO_PARTS
SECOND = {"input_tokens": 1200, "cache_read_tokens": 1000, "output_tokens": 60} | NO_PARTS
ALL = {"input_tokens": 2200, "cache_read_tokens": 1000, "output_tokens": 110} | NO_PARTS
TRANSCRIPT = of(
    "claude_code",
    "anthropic",
    "llm",
    "chat",
    model="claude-sonnet-4-5-20250929",
    service_tier="standard",
    chat_id="0f6a2d6e-3a0f-4b55-9f4c-7d5b5a8f2a10",
    input_tokens=6 + 500 + 20_000,
    input_audio_tokens=0,
    cache_read_tokens=20_000,
    cache_write_tokens=500,
    output_audio_tokens=0,
)


def told(name: str, second: int, output: int, finish_reason: str | None) -> Fields:
    ended = {} if finish_reason is None else {"finish_reason": finish_reason}
    time = f"2026-02-08T10:00:0{second}.000Z"
    counts = {"output_tokens": output, "output_text_tokens": output}
    return {**TRANSCRIPT, "id": name, "time": time, **counts, **ended}


ROLLOUT = "019ebc25-b5ab-72a0-b391-0364d948be20"
CODEX = of("codex", "openai", "llm", "chat", model="gpt-5.5", chat_id=ROLLOUT, cache_write_tokens=0)

FRAMEWORKS: dict[str, list[Fields]] = {
    "langchain/message": [LANGCHAIN],
    "langchain/dumpd": [LANGCHAIN],
    "langchain/messages_to_dict": [LANGCHAIN],
    "langchain/chunks_of_openai": [CHUNKS],
    "langchain/chunks_of_responses": [
        of(
            "langchain",
            "openai",
            "llm",
            "chat",
            id="resp_0123456789abcdef0123456789abcdef",
            model="gpt-4o-2024-08-06",
            input_tokens=500,
            cache_read_tokens=100,
            output_tokens=30,
            output_text_tokens=30,
            reasoning_tokens=10,
        )
    ],
    "langchain/chunks_of_gemini": [
        of(
            "langchain",
            "google",
            "llm",
            "chat",
            id="lc_run--00000000-0000-0000-0000-000000000003",
            model="gemini-2.5-flash",
            finish_reason="STOP",
            input_tokens=200,
            cache_read_tokens=0,
            output_tokens=(5 + 50) + 4 + 5,
            output_text_tokens=64,
            reasoning_tokens=50,
        )
    ],
    "openai_agents/run_usage": [
        RUN | FIRST | {"output_text_tokens": 50},
        RUN | SECOND | {"id": "seed-0-1", "output_text_tokens": 60},
    ],
    "openai_agents/run_usage_without_entries": [
        RUN | ALL | {"output_text_tokens": 110},
        RUN | {"id": "seed-0-1"},
    ],
    "openai_agents/exported": [
        RUN
        | {"id": "span_1", "time": "2026-02-08T10:00:01+00:00", "model": "gpt-4o"}
        | {"input_tokens": 1000, "output_tokens": 50, "output_text_tokens": 50}
    ],
    "codex/transcript": [
        CODEX
        | {"id": f"{ROLLOUT}/14475-2432-0-216-64", "time": "2026-02-08T10:00:01.000Z"}
        | {"input_tokens": 14475, "cache_read_tokens": 2432, "reasoning_tokens": 64}
        | {"output_tokens": 216, "output_text_tokens": 216},
        CODEX
        | {"id": f"{ROLLOUT}/34779-22272-0-1590-1152", "time": "2026-02-08T10:00:05.000Z"}
        | {"input_tokens": 20304, "cache_read_tokens": 19840, "reasoning_tokens": 1088}
        | {"output_tokens": 1374, "output_text_tokens": 1374},
    ],
    "langfuse/batch": [
        of(
            "langfuse",
            "openai",
            "llm",
            None,
            id="gen-1",
            time="2026-02-08T10:00:00.500000Z",
            model="gpt-4o-2024-08-06",
            input_tokens=900 + 1000,
            cache_read_tokens=1000,
            output_tokens=170,
            cost_usd="0.00645",
            latency_ms=1500,
            first_output_ms=400,
        )
    ],
    "claude_code/transcript": [
        told("msg_1", 2, 330, "tool_use"),
        told("msg_2", 4, 41, None),  # no line has the end, but the conversation went on
        told("msg_4", 5, 50, "end_turn"),
    ],
}
SKIPS = {
    "gemini/stream": 1,
    "gemini_interactions/stream": 2,
    "bedrock/converse_stream": 4,
    "cohere/stream": 2,
    "ollama/stream": 1,
    "openai_agents/exported": 1,  # the trace
    "langchain/chunks_of_openai": 3,
    "langchain/chunks_of_responses": 3,
    "langchain/chunks_of_gemini": 3,
    "langfuse/batch": 2,  # the trace, and the generation before it has usage
    "claude_code/transcript": 6,
    "codex/transcript": 7,
}
EXPECTED_OF_VENDORS = {**MODELS, **SPEECH, **FRAMEWORKS}
