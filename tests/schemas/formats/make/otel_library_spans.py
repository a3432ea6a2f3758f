"""Fixtures out of the libraries that write spans of their own, each around the HTTP answers made here.

`pip install anthropic openai google-genai boto3 "pydantic-ai-slim[anthropic]" langfuse
opentelemetry-sdk opentelemetry-exporter-otlp-proto-common opentelemetry-instrumentation-anthropic
opentelemetry-instrumentation-openai opentelemetry-instrumentation-google-generativeai
opentelemetry-instrumentation-bedrock openinference-instrumentation-openai`, then
`python tests/schemas/formats/make/otel_library_spans.py`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import anthropic
import boto3
import httpx
import httpx2
import langfuse.openai
import openai
from botocore.awsrequest import AWSResponse
from google import genai
from google.genai import types as genai_types
from google.protobuf.json_format import MessageToDict
from langfuse import Langfuse
from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInferenceOpenAI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
from opentelemetry.instrumentation.bedrock import BedrockInstrumentor
from opentelemetry.instrumentation.google_generativeai import GoogleGenerativeAiInstrumentor
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_spans import START_NS, CountingIds
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.instrumented import InstrumentationSettings, InstrumentedModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from write import write

MESSAGE: dict[str, Any] = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "secret"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 21,
        "cache_creation_input_tokens": 188,
        "cache_read_input_tokens": 1800,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 88},
        "output_tokens": 393,
        "output_tokens_details": {"thinking_tokens": 200},
        "service_tier": "standard",
    },
}
CHAT: dict[str, Any] = {
    "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    "object": "chat.completion",
    "created": 1770544800,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "secret"},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1900,
        "completion_tokens": 170,
        "total_tokens": 2070,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0},
    },
}
GEMINI: dict[str, Any] = {
    "responseId": "mAb3aLKTNqKe1MkP9Z_X2Ac",
    "modelVersion": "gemini-2.5-flash",
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "secret"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 22,
        "candidatesTokenCount": 180,
        "thoughtsTokenCount": 400,
        "totalTokenCount": 602,
    },
}
CONVERSE: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "secret"}]}},
    "stopReason": "end_turn",
    "usage": {
        "inputTokens": 3015,
        "outputTokens": 44,
        "totalTokens": 5059,
        "cacheReadInputTokens": 2000,
        "cacheWriteInputTokens": 0,
    },
    "metrics": {"latencyMs": 840},
}


def answers(body: dict[str, Any], of: Any = httpx) -> Callable[[Any], Any]:
    """Answers any request with the body, Anthropic's streams with its events."""

    def answer(request: Any) -> Any:
        if not json.loads(request.content or b"{}").get("stream"):
            return of.Response(200, json=body)
        usage = body["usage"]
        start = body | {"content": [], "usage": usage | {"output_tokens": 1}}
        text = {"type": "text_delta", "text": "secret"}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        events = (
            {"type": "message_start", "message": start},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {"type": "content_block_delta", "index": 0, "delta": text},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": delta, "usage": usage},
            {"type": "message_stop"},
        )
        lines = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
        return of.Response(200, headers={"content-type": "text/event-stream"}, text=lines)

    return answer


@contextmanager
def recording(distribution: str, name: str) -> Any:
    """A provider whose spans become the fixture."""
    exporter = InMemorySpanExporter()
    resource = Resource.create({"service.name": "shop"})
    provider = TracerProvider(resource=resource, id_generator=CountingIds())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    body = MessageToDict(encode_spans(exporter.get_finished_spans()), use_integers_for_enums=True)
    at = 0
    for of_resource in body["resourceSpans"]:
        attributes = of_resource["resource"]["attributes"]
        of_resource["resource"]["attributes"] = [
            one for one in attributes if one["key"] == "service.name"
        ]
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                for field in ("traceId", "spanId", "parentSpanId"):
                    if field in span:
                        span[field] = base64.b64decode(span[field]).hex()
                start = START_NS + at * 10**9
                span["startTimeUnixNano"] = str(start)
                span["endTimeUnixNano"] = str(start + 850_500_000)
                span.pop("events", None)
                span["attributes"] = [one for one in span["attributes"] if _is_steady(one)]
                at += 1
    write("otel", distribution, name, body)


def _is_steady(attribute: dict[str, Any]) -> bool:
    """Not content, not a measured time, not an address of this machine."""
    text = json.dumps(attribute)
    return "secret" not in text and not any(
        word in attribute["key"]
        for word in ("time_to_first", "server.port", "call.id", "conversation.id", "public_key")
    )


def anthropic_client() -> anthropic.AsyncAnthropic:
    transport = httpx2.MockTransport(answers(MESSAGE, httpx2))
    return anthropic.AsyncAnthropic(
        api_key="x", http_client=httpx2.AsyncClient(transport=transport)
    )


def pydantic_ai(provider: TracerProvider) -> None:
    """The agent's span, pydantic-ai's span of the call, and below it that of Anthropic's SDK."""
    model = AnthropicModel(
        "claude-sonnet-4-5", provider=AnthropicProvider(anthropic_client=anthropic_client())
    )
    settings = InstrumentationSettings(tracer_provider=provider, include_content=False)
    Agent(InstrumentedModel(model, settings), name="helper").run_sync("secret")


def openllmetry_anthropic(provider: TracerProvider) -> None:
    instrumentor = AnthropicInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    transport = httpx2.MockTransport(answers(MESSAGE, httpx2))
    client = anthropic.Anthropic(api_key="x", http_client=httpx2.Client(transport=transport))
    client.messages.create(
        model="claude-sonnet-4-5",
        max_tokens=100,
        messages=[{"role": "user", "content": "secret"}],
    )
    instrumentor.uninstrument()


def openai_client() -> openai.OpenAI:
    kind = openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
    of = httpx2 if kind == "httpx2" else httpx
    return openai.OpenAI(
        api_key="x", http_client=of.Client(transport=of.MockTransport(answers(CHAT, of)))
    )


def ask_openai(client: Any) -> None:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "secret"}])


def openinference_openai(provider: TracerProvider) -> None:
    instrumentor = OpenInferenceOpenAI()
    instrumentor.instrument(tracer_provider=provider)
    ask_openai(openai_client())
    instrumentor.uninstrument()


def openllmetry_openai(provider: TracerProvider) -> None:
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    ask_openai(openai_client())
    instrumentor.uninstrument()


def langfuse_openai(provider: TracerProvider) -> None:
    client = Langfuse(
        public_key="pk-lf-1",
        secret_key="sk-lf-1",  # noqa: S106  no secret
        tracer_provider=provider,
        base_url="http://127.0.0.1:9",
    )
    kind = openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
    of = httpx2 if kind == "httpx2" else httpx
    http_client = of.Client(transport=of.MockTransport(answers(CHAT, of)))
    ask_openai(langfuse.openai.OpenAI(api_key="x", http_client=http_client))
    del client


def openllmetry_gemini(provider: TracerProvider) -> None:
    instrumentor = GoogleGenerativeAiInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    transport = httpx.MockTransport(answers(GEMINI))
    options = genai_types.HttpOptions(httpx_client=httpx.Client(transport=transport))
    client = genai.Client(api_key="x", http_options=options)
    client.models.generate_content(model="gemini-2.5-flash", contents="secret")
    instrumentor.uninstrument()


def openllmetry_bedrock(provider: TracerProvider) -> None:
    instrumentor = BedrockInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    client = boto3.client(
        "bedrock-runtime",
        "us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106  no secret
    )

    def answer(request: Any, **_: Any) -> AWSResponse:
        raw = io.BytesIO(json.dumps(CONVERSE).encode())
        raw.stream = lambda **_: iter([raw.getvalue()])  # type: ignore[attr-defined]
        return AWSResponse(request.url, 200, {"content-type": "application/json"}, raw)

    client.meta.events.register("before-send.bedrock-runtime", answer)
    client.converse(
        modelId="us.anthropic.claude-sonnet-4-20250514-v1:0",
        messages=[{"role": "user", "content": [{"text": "secret"}]}],
    )
    instrumentor.uninstrument()


MADE: tuple[tuple[str, str, Callable[[TracerProvider], None]], ...] = (
    ("pydantic-ai-slim", "pydantic_ai", pydantic_ai),
    ("opentelemetry-instrumentation-anthropic", "openllmetry_anthropic", openllmetry_anthropic),
    ("openinference-instrumentation-openai", "openinference_openai", openinference_openai),
    ("opentelemetry-instrumentation-openai", "openllmetry_openai", openllmetry_openai),
    ("langfuse", "langfuse_openai", langfuse_openai),
    (
        "opentelemetry-instrumentation-google-generativeai",
        "openllmetry_gemini",
        openllmetry_gemini,
    ),
    ("opentelemetry-instrumentation-bedrock", "openllmetry_bedrock", openllmetry_bedrock),
)


def main() -> None:
    for distribution, name, make in MADE:
        with recording(distribution, name) as provider:
            trace._TRACER_PROVIDER = provider
            trace._TRACER_PROVIDER_SET_ONCE._done = True
            make(provider)


if __name__ == "__main__":
    main()
