"""`POST /v1/traces`: OTLP's own client and encodings, answers and errors as OTLP has them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from api.ingest.otlp import _status
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from streams.redis.store import RedisStore
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS
from tests.api.ingest.taking import Taking, taking
from tests.schemas.formats.fixtures import FOLDER

pytestmark = pytest.mark.servers

PROTOBUF = {"content-type": "application/x-protobuf"}
NS = 10**6


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="collector", tenant="acme", role="write-only")
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        yield api


def span(number: int, **attributes: Any) -> dict[str, Any]:
    given = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", **attributes}
    return {
        "traceId": f"{1:032x}",
        "spanId": f"{number:016x}",
        "startTimeUnixNano": str((NOW_MS - 850) * NS),
        "endTimeUnixNano": str(NOW_MS * NS),
        "attributes": [
            {"key": key, "value": {"intValue" if isinstance(v, int) else "stringValue": v}}
            for key, v in given.items()
        ],
    }


def spans(*given: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(given)}]}]}


def protobuf() -> bytes:
    return base64.b64decode(json.loads((FOLDER / "otel/protobuf.json").read_text())["body"])


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_protobuf_is_answered_in_protobuf(api: Taking, encoding: str) -> None:
    body = protobuf() if encoding == "identity" else gzip.compress(protobuf())
    answer = await api.post(body, "/v1/traces", headers={**PROTOBUF, "content-encoding": encoding})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (said.rejected_spans, said.error_message.count("invoke_agent")) == (0, 1)
    assert len(await api.held()) == 3


async def test_json_is_answered_in_json_and_spans_that_are_no_call_count_nothing(
    api: Taking,
) -> None:
    body = spans(span(1), span(2, **{"gen_ai.operation.name": "invoke_agent"}))
    answer = await api.post(body, "/v1/traces", params={"agent_id": "support"})
    assert (answer.status_code, answer.json()) == (200, {})
    (held,) = await api.held()
    assert held["id"] == f"{1:032x}-{1:016x}"
    assert (held["agent_id"], held["tenant"], held["latency_ms"]) == ("support", "acme", 850)


async def test_a_span_that_cannot_be_counted_is_a_partial_success(api: Taking) -> None:
    wrong = span(2, **{"gen_ai.usage.input_tokens": 10**9 + 1})
    answer = await api.post(spans(span(1), wrong, span(3)), "/v1/traces")
    assert answer.status_code == 200
    said = answer.json()["partialSuccess"]
    assert said["rejectedSpans"] == "1"
    assert said["errorMessage"].startswith("span 1: gen_ai.usage.input_tokens: ")
    assert len(await api.held()) == 2


async def test_a_partial_success_in_protobuf(api: Taking) -> None:
    request = ExportTraceServiceRequest.FromString(protobuf())
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for one in scope.spans:
                one.trace_id = b"x"
    answer = await api.post(request.SerializeToString(), "/v1/traces", headers=PROTOBUF)
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert answer.status_code == 200
    assert said.rejected_spans > 0
    assert "traceId" in said.error_message
    assert await api.log() == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "word"),
    [
        (b"\xff\xff", PROTOBUF, 400, 3, "ExportTraceServiceRequest"),
        (b"{", {"content-type": "application/json"}, 400, 3, "JSON"),
        (b"[]", {"content-type": "application/json"}, 400, 3, "array"),
        (b"{}", {"content-type": "text/plain"}, 415, 3, "application/x-protobuf"),
        (b"", {**PROTOBUF, "authorization": "Bearer als_none"}, 401, 16, "does not exist"),
        (b" " * (17 << 20), PROTOBUF, 413, 3, "16777216"),
    ],
)
async def test_errors_are_statuses_in_the_encoding_of_the_request(
    api: Taking, body: bytes, headers: dict[str, str], status: int, code: int, word: str
) -> None:
    answer = await api.post(body, "/v1/traces", headers=headers)
    assert answer.status_code == status
    if headers["content-type"] == PROTOBUF["content-type"]:
        assert answer.headers["content-type"] == PROTOBUF["content-type"]
        assert answer.content.startswith(bytes([8, code, 18]))
        assert word in answer.content.decode("latin-1")
    else:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["code"] == code
        assert word in answer.json()["message"]


async def test_the_format_is_no_other(api: Taking) -> None:
    answer = await api.post(spans(), "/v1/traces", params={"format": "openai"})
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 20_000])
def test_a_status_is_what_protobuf_reads(length: int) -> None:
    """Read by a message with a text under the same number: partial success, error_message = 2."""
    partial = ExportTraceServiceResponse().partial_success
    partial.ParseFromString(_status(14, "x" * length))
    assert (partial.rejected_spans, partial.error_message) == (14, "x" * length)


# -- usage that is not counted -----------------------------------------------------------------------


def attribute(key: str, of: Any) -> dict[str, Any]:
    return {"key": key, "value": {"intValue" if isinstance(of, int) else "stringValue": of}}


AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 9}


async def test_a_skipped_span_with_usage_is_told_and_counted_by_reason(
    kafka: Server, redis_url: str, topic: str, clock: Clock
) -> None:
    reason = "a span of invoke_agent is no call to a model"
    key = await create_key(redis_url, name="collector", tenant="acme", role="write-only")
    async with RedisStore(redis_url) as store:
        before = (await store.skipped()).get(reason, 0)
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        answer = await api.post(spans(span(1), span(2, **AGENT), span(3, **AGENT)), "/v1/traces")
        said = answer.json()["partialSuccess"]
        message = f"2 spans with usage not counted: {reason}"
        assert said == {"rejectedSpans": "0", "errorMessage": message}
        assert len(await api.held()) == 1
    async with RedisStore(redis_url) as store:  # the API has ended, so all is written
        assert (await store.skipped())[reason] == before + 2


@pytest.mark.parametrize("before", ["/api/public/otel", "/otel", "/api/v1/private/otel", ""])
async def test_an_exporter_may_have_a_path_of_its_own(api: Taking, before: str) -> None:
    for end in ("/v1/traces", "/v1/logs", "/v1/metrics"):
        answer = await api.post({}, before + end)
        assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("authorization", "bearer {}"),
        ("authorization", "{}"),
        ("authorization", "BASIC {basic}"),
        ("helicone-auth", "Bearer {}"),
        ("x-api-key", "{}"),
        ("api_key", "{}"),
    ],
)
async def test_a_key_has_the_form_of_the_exporter(api: Taking, name: str, form: str) -> None:
    key = api.client.headers["authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"pk-lf-1:{key}".encode()).decode()
    headers = {"authorization": "", name: form.format(key, basic=basic)}
    answer = await api.post(spans(span(1)), "/api/public/otel/v1/traces", headers=headers)
    assert answer.status_code == 200


# -- logs and metrics --------------------------------------------------------------------------------


def claude(service: str, signal: str) -> dict[str, Any]:
    """The same usage as a log record and as a data point."""
    resource = {"attributes": [attribute("service.name", service)]}
    model = attribute("model", "claude-sonnet-4-5")
    if signal == "logs":
        record = {
            "timeUnixNano": str(NOW_MS * NS),
            "body": {"stringValue": "claude_code.api_request"},
            "attributes": [model, attribute("input_tokens", 5), attribute("output_tokens", 2)],
        }
        return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
    point = {
        "timeUnixNano": str(NOW_MS * NS),
        "asInt": "5",
        "attributes": [model, attribute("type", "input")],
    }
    metric = {
        "name": "claude_code.token.usage",
        "sum": {"aggregationTemporality": 1, "dataPoints": [point]},
    }
    scopes = [{"metrics": [metric]}]
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}


async def test_metrics_count_unless_their_service_sends_logs(api: Taking) -> None:
    for service in ("both", "metrics-only"):
        if service == "both":
            assert (await api.post(claude(service, "logs"), "/v1/logs")).json() == {}
        answer = await api.post(claude(service, "metrics"), "/v1/metrics")
        message = answer.json().get("partialSuccess", {}).get("errorMessage", "")
        assert ("ODOMETER_METRICS_SOURCES" in message) == (service == "both")
    held = sorted((one["source"], one["id"][:4]) for one in await api.held())
    assert held == [("both", "log-"), ("metrics-only", "metr")]


async def test_the_operator_chooses_the_metrics_of_a_service(
    kafka: Server, redis_url: str, topic: str, clock: Clock
) -> None:
    key = await create_key(redis_url, name="collector", tenant="acme", role="write-only")
    async with taking(
        kafka.address, redis_url, topic, clock, key, metrics_sources=("chosen",)
    ) as api:
        answer = await api.post(claude("chosen", "logs"), "/v1/logs")
        assert "metrics of this service count" in answer.json()["partialSuccess"]["errorMessage"]
        assert (await api.post(claude("chosen", "metrics"), "/v1/metrics")).json() == {}
        assert [one["id"][:6] for one in await api.held()] == ["metric"]


async def test_cumulative_sums_are_a_partial_success_with_the_setting(api: Taking) -> None:
    body = claude("agent", "metrics")
    metric = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]
    metric["sum"]["aggregationTemporality"] = 2
    said = (await api.post(body, "/v1/metrics")).json()["partialSuccess"]
    assert said["rejectedDataPoints"] == "1"
    assert "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta" in said["errorMessage"]


async def test_a_body_of_another_signal_is_refused(api: Taking) -> None:
    answer = await api.post(claude("agent", "logs"), "/v1/traces")
    assert answer.status_code == 400
    assert "resourceSpans" in answer.json()["message"]
