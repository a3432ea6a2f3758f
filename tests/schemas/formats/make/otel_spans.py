"""Fixtures out of OpenTelemetry's SDK: spans with its own attribute names, as its exporter encodes
them. `pip install --pre opentelemetry-sdk opentelemetry-exporter-otlp-proto-common`, run this."""

from __future__ import annotations

import base64
from importlib.metadata import version

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.semconv._incubating.attributes import (
    enduser_attributes,
    error_attributes,
    gen_ai_attributes,
    session_attributes,
    user_attributes,
)
from opentelemetry.trace import SpanKind, Status, StatusCode
from write import write

START_NS = 1770544800_000_000_000


class CountingIds(IdGenerator):  # type: ignore[misc]  # the SDK is not installed here
    """The same ids each time, so that fixtures only change where the library does."""

    def __init__(self) -> None:
        self.made = 0

    def generate_span_id(self) -> int:
        self.made += 1
        return 0xABCDEF0000000000 + self.made

    def generate_trace_id(self) -> int:
        self.made += 1
        return 0xABCDEF00000000000000000000000000 + self.made


def spans() -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    named = {"service.name": "checkout-bot", "service.instance.id": "checkout-bot-1"}
    resource = Resource.create(named)
    provider = TracerProvider(resource=resource, id_generator=CountingIds())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("fixtures")
    names = gen_ai_attributes
    new = {
        names.GEN_AI_OPERATION_NAME: "chat",
        names.GEN_AI_PROVIDER_NAME: names.GenAiProviderNameValues.GCP_GEMINI.value,
        names.GEN_AI_REQUEST_MODEL: "gemini-2.5-flash",
        names.GEN_AI_RESPONSE_MODEL: "gemini-2.5-flash-001",
        names.GEN_AI_AGENT_ID: "agent-7",
        names.GEN_AI_CONVERSATION_ID: "conv-1",
        session_attributes.SESSION_ID: "session-1",
        user_attributes.USER_ID: "u-1",
        user_attributes.USER_EMAIL: "alice@example.com",
        names.GEN_AI_USAGE_INPUT_TOKENS: 1200,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 300,
        names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 1000,
        names.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: 50,
        names.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: 64,
        names.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.2105,
        names.GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
    }
    old = {
        names.GEN_AI_OPERATION_NAME: "text_completion",
        names.GEN_AI_SYSTEM: "az.ai.openai",
        names.GEN_AI_REQUEST_MODEL: "gpt-4o",
        enduser_attributes.ENDUSER_ID: "u-2",
        names.GEN_AI_USAGE_PROMPT_TOKENS: 12.0,
        names.GEN_AI_USAGE_COMPLETION_TOKENS: 5.0,
    }
    failed = {
        names.GEN_AI_OPERATION_NAME: "embeddings",
        names.GEN_AI_PROVIDER_NAME: "openai",
        names.GEN_AI_REQUEST_MODEL: "text-embedding-3-small",
        error_attributes.ERROR_TYPE: "timeout",
    }
    agent = {
        names.GEN_AI_OPERATION_NAME: "invoke_agent",
        names.GEN_AI_PROVIDER_NAME: "gcp.gemini",
        names.GEN_AI_USAGE_INPUT_TOKENS: 1200,
        names.GEN_AI_USAGE_OUTPUT_TOKENS: 300,
    }
    for at, (name, attributes, kind) in enumerate(
        (
            ("chat gemini-2.5-flash", new, SpanKind.CLIENT),
            ("text_completion gpt-4o", old, SpanKind.CLIENT),
            ("embeddings", failed, SpanKind.CLIENT),
            ("invoke_agent", agent, SpanKind.INTERNAL),
            ("GET /", {"http.request.method": "GET"}, SpanKind.SERVER),
        )
    ):
        start = START_NS + at * 10**9
        span = tracer.start_span(name, kind=kind, attributes=attributes, start_time=start)
        if name == "embeddings":
            span.set_status(Status(StatusCode.ERROR, "timed out"))
        span.end(end_time=start + 850_500_000)
    return list(exporter.get_finished_spans())


def main() -> None:
    request = encode_spans(spans())
    data = request.SerializeToString()
    write("otel", "opentelemetry-sdk", "protobuf", base64.b64encode(data).decode())
    # OTLP's JSON differs from protobuf's in one thing: ids are hexadecimal.
    body = MessageToDict(request, use_integers_for_enums=True)
    for resource_spans in body["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for name in ("traceId", "spanId"):
                    span[name] = base64.b64decode(span[name]).hex()
    for attribute in body["resourceSpans"][0]["resource"]["attributes"]:
        if attribute["key"].startswith("telemetry.sdk.version"):
            attribute["value"] = {"stringValue": version("opentelemetry-sdk")}
    write("otel", "opentelemetry-sdk", "json", body)


if __name__ == "__main__":
    main()
