"""Fixtures out of LiteLLM's own callback: `pip install litellm==1.109.1`, then run this file.

Each is the StandardLoggingPayload that LiteLLM itself builds for a response of its own types, with
its offline price list; no request leaves the machine.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # reads the variable when it is imported
from litellm.litellm_core_utils.litellm_logging import (
    Logging,
    get_standard_logging_object_payload,
)
from litellm.litellm_core_utils.safe_json_dumps import safe_dumps
from litellm.types.utils import (
    EmbeddingResponse,
    ModelResponse,
    TranscriptionResponse,
    Usage,
)
from write import write

START = datetime(2026, 2, 8, 10, 0, 0, 250_000, tzinfo=UTC)
END = START + timedelta(milliseconds=850, microseconds=500)


def payload(
    name: str, response: Any, call_type: str, model: str, provider: str, **given: Any
) -> None:
    """What LiteLLM makes of a response; `given` is what its own code would have set."""
    status = given.pop("status", "success")
    exception = given.pop("exception", None)
    messages = given.pop("messages", [{"role": "user", "content": "a secret question"}])
    optional = given.pop("optional_params", {})
    params = {"metadata": given.pop("metadata", {}), "litellm_metadata": {}, "api_base": ""}
    logging = Logging(
        model=model,
        messages=messages,
        stream=bool(given.get("stream")),
        call_type=call_type,
        start_time=START,
        litellm_call_id="5b1f3a52-0000-4000-8000-000000000001",
        function_id="f",
        dynamic_success_callbacks=[],
        litellm_trace_id="trace-fixed",
    )
    if given.pop("priced", True) and response is not None:
        given["response_cost"] = litellm.completion_cost(
            completion_response=response,
            model=model,
            custom_llm_provider=provider,
            call_type=call_type,
        )
    made = get_standard_logging_object_payload(
        kwargs={
            "model": model,
            "messages": messages,
            "optional_params": optional,
            "litellm_params": params,
            "call_type": call_type,
            "custom_llm_provider": provider,
            "litellm_call_id": "5b1f3a52-0000-4000-8000-000000000001",
            **given,
        },
        init_response_obj=response if response is not None else {},
        start_time=START,
        end_time=END,
        logging_obj=logging,
        status=status,
        error_str=str(exception) if exception else None,
        original_exception=exception,
    )
    assert made is not None
    body = json.loads(safe_dumps(made))
    body["id"] = re.sub(r"_cache_hit[0-9.]+", "_cache_hit1770544801.25", body["id"])
    if body["error_information"]:
        body["error_information"]["traceback"] = "Traceback ..."  # paths of the machine
    write("litellm", "litellm", name, body)


def chat(usage: Usage, model: str) -> ModelResponse:
    return ModelResponse(
        id="chatcmpl-123",
        model=model,
        created=1770544801,
        choices=[{"message": {"role": "assistant", "content": "a secret answer"}}],
        usage=usage,
    )


def main() -> None:
    openai = Usage(
        prompt_tokens=1200,
        completion_tokens=300,
        total_tokens=1500,
        prompt_tokens_details={"cached_tokens": 1000, "audio_tokens": 40},
        completion_tokens_details={"reasoning_tokens": 64, "audio_tokens": 20},
    )
    keyed = {
        "user_api_key_user_id": "u-1",
        "user_api_key_user_email": "alice@example.com",
        "requester_metadata": {"agent_id": "agent-7", "agent": "ignored"},
    }
    streamed = {
        "stream": True,
        "complete_streaming_response": chat(openai, "gpt-4o"),
        "completion_start_time": START + timedelta(milliseconds=210),
    }
    answer = chat(openai, "gpt-4o")
    payload("chat", answer, "acompletion", "gpt-4o", "openai", metadata=keyed, **streamed)
    payload(
        "chat_sdk_user",
        chat(openai, "gpt-4o"),
        "completion",
        "gpt-4o",
        "openai",
        optional_params={"user": "u-2"},
    )
    payload(
        "cache_hit",
        chat(openai, "gpt-4o"),
        "completion",
        "gpt-4o",
        "openai",
        cache_hit=True,
        priced=False,
        response_cost=0.0,
    )
    anthropic = Usage(
        prompt_tokens=2009,
        completion_tokens=393,
        total_tokens=2402,
        cache_creation_input_tokens=188,
        cache_read_input_tokens=1800,
        completion_tokens_details={"reasoning_tokens": 200, "text_tokens": 193},
        prompt_tokens_details={
            "text_tokens": 21,
            "cached_tokens": 1800,
            "cache_creation_tokens": 188,
        },
    )
    model = "claude-sonnet-4-5-20250929"
    payload("anthropic", chat(anthropic, model), "acompletion", model, "anthropic")
    error = litellm.exceptions.RateLimitError("slow down", "openai", "gpt-4o")
    payload(
        "failure",
        None,
        "acompletion",
        "gpt-4o",
        "openai",
        status="failure",
        exception=error,
        priced=False,
    )
    payload(
        "unpriced",
        chat(openai, "my-own-model"),
        "completion",
        "my-own-model",
        "openai",
        priced=False,
        response_cost=None,
        response_cost_failure_debug_information={
            "error_str": "not mapped",
            "model": "my-own-model",
        },
    )
    vectors = EmbeddingResponse(
        model="text-embedding-3-small",
        usage=Usage(prompt_tokens=8, completion_tokens=0, total_tokens=8),
        data=[{"object": "embedding", "index": 0, "embedding": [0.5]}],
    )
    payload("embedding", vectors, "aembedding", "text-embedding-3-small", "openai")
    text = TranscriptionResponse(text="a secret text")
    text.usage = {"type": "duration", "seconds": 9.25}
    payload("transcription", text, "atranscription", "whisper-1", "openai", priced=False)
    spoken = [{"role": "user", "content": "Grüß Gott 👋🏽"}]
    for name, messages in (
        ("speech", spoken),
        ("speech_redacted", [{"role": "user", "content": "redacted-by-litellm"}]),
    ):
        payload(
            name,
            None,
            "aspeech",
            "tts-1",
            "openai",
            messages=messages,
            priced=False,
            response_cost=0.00018,
            optional_params={"voice": "coral"},
        )
    payload("list_files", None, "file_list", "", "openai", priced=False)


if __name__ == "__main__":
    main()
