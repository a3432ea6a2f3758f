"""Fixtures out of the vendors' own libraries, one environment for all of them:

`pip install google-genai botocore cohere ollama deepgram-sdk elevenlabs cartesia assemblyai`, then run this
file. Each answer is read by the library's own type (botocore: by its parser of the service) and dumped
as the library shows it to an app.
"""

from __future__ import annotations

import json
from typing import Any

from write import write

AT = "2026-02-08T10:00:00.123456789Z"


def gemini() -> None:
    from google.genai.types import GenerateContentResponse

    candidate = {
        "content": {"parts": [{"text": "Bonjour, secret"}], "role": "model"},
        "index": 0,
    }
    about = {"modelVersion": "gemini-2.5-flash", "responseId": "mN1aaZ7bCMvm-O4P"}
    usage = {
        "promptTokenCount": 4000,
        "toolUsePromptTokenCount": 100,
        "candidatesTokenCount": 200,
        "thoughtsTokenCount": 1500,
        "cachedContentTokenCount": 3000,
        "totalTokenCount": 5800,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 3600},
            {"modality": "IMAGE", "tokenCount": 258},
            {"modality": "AUDIO", "tokenCount": 142},
        ],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 3000}],
        "trafficType": "ON_DEMAND",
    }
    ended = {**candidate, "finishReason": "STOP"}
    body = {**about, "candidates": [ended], "usageMetadata": usage}
    made = GenerateContentResponse.model_validate(body)
    by_alias = made.model_dump(mode="json", by_alias=True, exclude_none=True)
    save("gemini", "google-genai", "generate_content", by_alias)
    save("gemini", "google-genai", "model_dump", made.model_dump(mode="json"))
    begun = {"promptTokenCount": 4000, "candidatesTokenCount": 3, "totalTokenCount": 4003}
    chunks = [{**about, "candidates": [candidate], "usageMetadata": begun}, body]
    stream = [GenerateContentResponse.model_validate(one) for one in chunks]
    dumped = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in stream]
    save("gemini", "google-genai", "stream", dumped)


def interactions() -> None:
    from google.genai._gaos.types.interactions import (
        Interaction,
        InteractionCompletedEvent,
        InteractionCreatedEvent,
        StepStop,
    )

    usage = {
        "total_input_tokens": 4000,
        "total_tool_use_tokens": 100,
        "total_cached_tokens": 3000,
        "total_output_tokens": 200,
        "total_thought_tokens": 1500,
        "total_tokens": 5800,
        "input_tokens_by_modality": [
            {"modality": "text", "tokens": 3742},
            {"modality": "image", "tokens": 258},
        ],
        "output_tokens_by_modality": [{"modality": "text", "tokens": 200}],
        "grounding_tool_count": [{"type": "google_search", "count": 2}],
    }
    said = {"type": "model_output", "content": [{"type": "text", "text": "Bonjour, secret"}]}
    about = {"id": "v1_ChdtTjFhYVo3YkNNdm0tTzRQ", "object": "interaction"}
    about |= {"model": "gemini-3-flash-preview", "created": "2026-02-08T10:00:00Z"}
    ended = {**about, "status": "completed", "updated": "2026-02-08T10:00:02Z", "usage": usage}
    begun = {**about, "status": "in_progress"}
    whole = Interaction.model_validate({**ended, "service_tier": "flex", "steps": [said]})
    save("gemini_interactions", "google-genai", "interaction", whole.model_dump(mode="json"))
    stream = [
        InteractionCreatedEvent.model_validate({"interaction": begun}),
        StepStop.model_validate({"index": 0, "event_type": "step.stop"}),
        InteractionCompletedEvent.model_validate({"interaction": ended}),
    ]
    dumped = [one.model_dump(mode="json") for one in stream]
    save("gemini_interactions", "google-genai", "stream", dumped)


def bedrock() -> None:
    from botocore.parsers import create_parser
    from botocore.session import Session

    model = Session().get_service_model("bedrock-runtime").operation_model("Converse")
    usage = {
        "inputTokens": 15,
        "outputTokens": 44,
        "totalTokens": 2259,
        "cacheReadInputTokens": 2000,
        "cacheWriteInputTokens": 200,
    }
    body = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Bonjour, secret"}]}},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 812},
        "serviceTier": {"type": "flex"},
    }
    headers = {"x-amzn-requestid": "d9a2d0d3-7c1e-4a4a-9f0e-2f7f5b5a1c11"}
    answer = {"body": json.dumps(body).encode(), "headers": headers, "status_code": 200}
    made = create_parser("rest-json").parse(answer, model.output_shape)
    save("bedrock", "botocore", "converse", made)
    events: list[Any] = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "secret"}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": usage, "metrics": {"latencyMs": 812}}},
    ]
    save("bedrock", "botocore", "converse_stream", events)


def cohere() -> None:
    from cohere.types import ApiMeta
    from cohere.v2.types import V2ChatResponse

    usage = {
        "billed_units": {"input_tokens": 120, "output_tokens": 60},
        "tokens": {"input_tokens": 690, "output_tokens": 60},
        "cached_tokens": 100,
    }
    message = {"role": "assistant", "content": [{"type": "text", "text": "Bonjour, secret"}]}
    chat = {"id": "c14c80c3-18eb-4519-9460-6c92edd8cfb4", "finish_reason": "COMPLETE"}
    made = V2ChatResponse.model_validate({**chat, "message": message, "usage": usage})
    save("cohere", "cohere", "chat", made.model_dump(mode="json"))
    meta = ApiMeta.model_validate(
        {"api_version": {"version": "2"}, "billed_units": {"search_units": 1.0}}
    )
    rerank = {"id": "r-1", "results": [], "meta": meta.model_dump(mode="json")}
    save("cohere", "cohere", "rerank", rerank)
    start = {"type": "message-start", "id": chat["id"], "delta": {"message": {"role": "assistant"}}}
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    save("cohere", "cohere", "stream", [start, {"type": "content-delta", "index": 0}, end])


def ollama() -> None:
    from ollama import ChatResponse, EmbedResponse

    message = {"role": "assistant", "content": "Bonjour, secret"}
    body = {
        "model": "llama3.2",
        "created_at": AT,
        "message": message,
        "done": True,
        "done_reason": "stop",
        "total_duration": 1870000000,
        "load_duration": 91000000,
        "prompt_eval_count": 47,
        "prompt_eval_duration": 210000000,
        "eval_count": 160,
        "eval_duration": 1540000000,
    }
    made = ChatResponse.model_validate(body)
    save("ollama", "ollama", "chat", made.model_dump(mode="json"))
    begun = {"model": "llama3.2", "created_at": AT, "message": message, "done": False}
    chunk = ChatResponse.model_validate(begun).model_dump(mode="json", exclude_none=True)
    save("ollama", "ollama", "stream", [chunk, made.model_dump(mode="json")])
    embed = {
        "model": "all-minilm",
        "embeddings": [[0.5]],
        "total_duration": 14143917,
        "load_duration": 1019500,
        "prompt_eval_count": 8,
    }
    dumped = EmbedResponse.model_validate(embed).model_dump(mode="json", exclude_none=True)
    save("ollama", "ollama", "embed", dumped)


def deepgram() -> None:
    from deepgram.types import ListenV1Response

    body = {
        "metadata": {
            "request_id": "a847f427-4ad5-4d67-9b95-db801e58251c",
            "sha256": "154e291ecfa8be6ab8343560bcc109008fa7853eb5372533e8efdefc9b504c33",
            "created": "2026-02-08T10:00:00.123Z",
            "duration": 18.5,
            "channels": 1,
            "models": ["30089e05-99d1-4376-b32e-c263170674af"],
            "model_info": {
                "30089e05-99d1-4376-b32e-c263170674af": {
                    "name": "general-nova-3",
                    "version": "2025-04-17.21547",
                    "arch": "nova-3",
                }
            },
        },
        "results": {"channels": [{"alternatives": [{"transcript": "secret", "confidence": 1}]}]},
    }
    made = ListenV1Response.model_validate(body)
    save("deepgram", "deepgram-sdk", "listen", made.model_dump(mode="json"))


def elevenlabs() -> None:
    from elevenlabs.types import (
        AudioWithTimestampsResponse,
        SpeechHistoryItemResponse,
        SpeechToTextChunkResponseModel,
    )

    request = {
        "text": "Grüß dich, secret",
        "model_id": "eleven_flash_v2_5",
        "voice_settings": {"stability": 0.4},
    }
    save("elevenlabs", "elevenlabs", "speech_request", request)
    letters = list("Grüß")
    times = [0.1 * place for place in range(4)]
    alignment = {
        "characters": letters,
        "character_start_times_seconds": times,
        "character_end_times_seconds": times,
    }
    timed = AudioWithTimestampsResponse.model_validate(
        {"audio_base64": "aGk=", "alignment": alignment}
    )
    save(
        "elevenlabs", "elevenlabs", "with_timestamps", timed.model_dump(mode="json", by_alias=True)
    )
    item = SpeechHistoryItemResponse.model_validate(
        {
            "history_item_id": "VW7YKqPnjY4h39yTbx2L",
            "request_id": "BF0BZg4IwLGBlaVjv9Im",
            "voice_id": "21m00Tcm4TlvDq8ikWAM",
            "model_id": "eleven_multilingual_v2",
            "text": "secret",
            "date_unix": 1770544800,
            "character_count_change_from": 100,
            "character_count_change_to": 130,
            "content_type": "audio/mpeg",
            "state": "created",
            "source": "TTS",
        }
    )
    save("elevenlabs", "elevenlabs", "history_item", item.model_dump(mode="json"))
    word = {"text": "secret", "start": 0.1, "end": 7.25, "type": "word", "logprob": 0}
    scribe = SpeechToTextChunkResponseModel.model_validate(
        {
            "language_code": "en",
            "language_probability": 1,
            "text": "secret",
            "words": [word],
            "transcription_id": "tr_1",
        }
    )
    save("elevenlabs", "elevenlabs", "transcript", scribe.model_dump(mode="json"))


def cartesia() -> None:
    from cartesia.types import STTTranscribeResponse

    request = {
        "model_id": "sonic-3",
        "transcript": "Grüß dich, secret",
        "voice": {"mode": "id", "id": "a0e99841-438c-4a64-b679-ae501e7d6091"},
        "output_format": {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100},
    }
    save("cartesia", "cartesia", "speech_request", request)
    body = {"type": "transcript", "text": "secret", "duration": 2.5, "language": "en"}
    made = STTTranscribeResponse.model_validate(body)
    save("cartesia", "cartesia", "transcript", made.model_dump(mode="json"))


def assemblyai() -> None:
    from assemblyai.streaming.v3 import TerminationEvent
    from assemblyai.types import TranscriptResponse

    body = {
        "id": "9ea68fd3-f953-42c1-9742-976c447fb463",
        "audio_url": "https://example.com/a.mp3",
        "status": "completed",
        "speech_model": "universal",
        "text": "secret",
        "audio_duration": 281,
        "language_code": "en_us",
    }
    made = TranscriptResponse.parse_obj(body)
    save("assemblyai", "assemblyai", "transcript", json.loads(made.json(exclude_none=True)))
    queued = TranscriptResponse.parse_obj({**body, "status": "queued", "audio_duration": None})
    save("assemblyai", "assemblyai", "queued", json.loads(queued.json(exclude_none=True)))
    ended = TerminationEvent.model_validate(
        {"type": "Termination", "audio_duration_seconds": 30, "session_duration_seconds": 32}
    )
    save("assemblyai", "assemblyai", "termination", ended.model_dump(mode="json"))


def save(format: str, distribution: str, name: str, body: Any) -> None:  # noqa: A002
    write(format, distribution, name, body)


if __name__ == "__main__":
    for make in (
        gemini,
        interactions,
        bedrock,
        cohere,
        ollama,
        deepgram,
        elevenlabs,
        cartesia,
        assemblyai,
    ):
        make()
