"""Fixtures out of openai's own types: `pip install openai==3.54.0`, then run this file."""

from __future__ import annotations

from typing import Any

from openai.types import CompletionUsage, CreateEmbeddingResponse
from openai.types.audio import Transcription, TranscriptionTextDoneEvent, TranscriptionVerbose
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    ResponseDoneEvent,
)
from openai.types.responses import Response, ResponseCompletedEvent, ResponseFailedEvent
from openai.types.responses.response_created_event import ResponseCreatedEvent
from pydantic import BaseModel
from write import write

CREATED = 1770544800  # 2026-02-08T10:00:00Z


def save(name: str, made: BaseModel | dict[str, Any]) -> None:
    body = made.model_dump(mode="json") if isinstance(made, BaseModel) else made
    write("openai", "openai", name, body)


def chat() -> None:
    usage = CompletionUsage(
        prompt_tokens=1200,
        completion_tokens=300,
        total_tokens=1500,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=1000, audio_tokens=40, cache_write_tokens=100
        ),
        completion_tokens_details=CompletionTokensDetails(
            reasoning_tokens=128,
            audio_tokens=20,
            accepted_prediction_tokens=0,
            rejected_prediction_tokens=0,
        ),
    )
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "Bonjour"},
    }
    plain = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
    }
    save("chat", ChatCompletion.model_validate({**plain, "usage": usage.model_dump()}))
    bare = CompletionUsage(prompt_tokens=9, completion_tokens=12, total_tokens=21)
    save("chat_without_details", ChatCompletion.model_validate({**plain, "usage": bare}))
    save("chat_without_usage", ChatCompletion.model_validate(plain))
    chunk = {**plain, "object": "chat.completion.chunk", "choices": []}
    save("chunk_last", ChatCompletionChunk.model_validate({**chunk, "usage": usage.model_dump()}))
    delta = {"index": 0, "delta": {"content": "Bon"}, "finish_reason": None}
    save("chunk", ChatCompletionChunk.model_validate({**chunk, "choices": [delta]}))


def responses() -> None:
    plain: dict[str, Any] = {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "object": "response",
        "created_at": 1770544800.5,
        "status": "completed",
        "model": "gpt-5.2-2025-12-11",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 2048,
            "input_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512},
            "output_tokens": 700,
            "output_tokens_details": {"reasoning_tokens": 640},
            "total_tokens": 2748,
        },
    }
    save("response", Response.model_validate(plain))
    done = {"type": "response.completed", "sequence_number": 9, "response": plain}
    save("response_completed", ResponseCompletedEvent.model_validate(done))
    error = {"code": "server_error", "message": "The model failed to generate a response."}
    failed = {**plain, "status": "failed", "error": error}
    event = {"type": "response.failed", "sequence_number": 9, "response": failed}
    save("response_failed", ResponseFailedEvent.model_validate(event))
    started = {**plain, "status": "in_progress", "usage": None}
    event = {"type": "response.created", "sequence_number": 0, "response": started}
    save("response_created", ResponseCreatedEvent.model_validate(event))


def realtime() -> None:
    usage = {
        "total_tokens": 300,
        "input_tokens": 200,
        "output_tokens": 100,
        "input_token_details": {
            "text_tokens": 80,
            "audio_tokens": 120,
            "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 40, "audio_tokens": 24},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 70},
    }
    response: dict[str, Any] = {
        "id": "resp_BGsxlCWkVDwOC",
        "object": "realtime.response",
        "status": "completed",
        "output": [],
        "usage": usage,
    }
    event = {"type": "response.done", "event_id": "event_BGsxm8", "response": response}
    save("realtime_response_done", ResponseDoneEvent.model_validate(event))
    details = {
        "type": "failed",
        "error": {"type": "invalid_request_error", "code": "inference_rate_limit_exceeded"},
    }
    failed = {**response, "status": "failed", "status_details": details}
    event = {"type": "response.done", "event_id": "event_BGsxn9", "response": failed}
    save("realtime_response_failed", ResponseDoneEvent.model_validate(event))
    for name, billed in {
        "tokens": {
            "type": "tokens",
            "total_tokens": 60,
            "input_tokens": 48,
            "output_tokens": 12,
            "input_token_details": {"text_tokens": 8, "audio_tokens": 40},
        },
        "seconds": {"type": "duration", "seconds": 3.2},
    }.items():
        transcribed = {
            "type": "conversation.item.input_audio_transcription.completed",
            "event_id": "event_BGsxo1",
            "item_id": "item_BGsxo",
            "content_index": 0,
            "transcript": "Hello",
            "usage": billed,
        }
        made = ConversationItemInputAudioTranscriptionCompletedEvent.model_validate(transcribed)
        save(f"realtime_transcription_{name}", made)


def audio() -> None:
    tokens = {
        "type": "tokens",
        "input_tokens": 140,
        "output_tokens": 45,
        "total_tokens": 185,
        "input_token_details": {"text_tokens": 14, "audio_tokens": 126},
    }
    spoken = {"text": "Imagine the wildest idea", "usage": tokens}
    save("transcription_tokens", Transcription.model_validate(spoken))
    billed = {"type": "duration", "seconds": 9}
    save("transcription_seconds", Transcription.model_validate({**spoken, "usage": billed}))
    verbose = {
        "duration": 8.4700002670288,
        "language": "english",
        "text": "The beach",
        "usage": billed,
    }
    save("transcription_verbose", TranscriptionVerbose.model_validate(verbose))
    done = {"type": "transcript.text.done", "text": "I see", "usage": tokens}
    save("transcription_stream_done", TranscriptionTextDoneEvent.model_validate(done))
    request = SpeechCreateParams(model="gpt-4o-mini-tts", voice="coral", input="Grüß Gott 👋🏽")
    save("speech_request", dict(request))


def embeddings() -> None:
    made = CreateEmbeddingResponse.model_validate(
        {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.0023064255, -0.009327292]}
            ],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    )
    save("embeddings", made)


if __name__ == "__main__":
    chat()
    responses()
    realtime()
    audio()
    embeddings()
