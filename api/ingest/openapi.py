"""OpenAPI of the native paths that take events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from api.http.problems import MEDIA_TYPE, NOT_CONFIRMED
from api.ingest.endpoints import CLOUDEVENT, CLOUDEVENTS, LINES_TYPES
from api.ingest.langfuse import PATH as LANGFUSE
from api.ingest.otlp import PATHS, PROTOBUF, OtlpPath
from schemas.event.usage_event import json_schema
from schemas.formats.context import GIVEN
from schemas.formats.detect import FORMATS
from schemas.responses.ingest import IngestAnswer, IngestProblem
from schemas.responses.usage import Problem

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (IngestAnswer, IngestProblem)
_EVENT: Final[Object] = {
    "id": "evt-1",
    "source": "gateway-eu-1",
    "time": "2026-02-08T10:00:00.123Z",
    "kind": "llm",
    "provider": "openai",
    "model": "gpt-4o",
    "agent_id": "my-agent",
    "call_id": "call-1",
    "input_tokens": 1200,
    "output_tokens": 300,
    "cost_usd": "0.00450",
    "latency_ms": 850,
}
_CHAT: Final[Object] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1770544800,
    "model": "gpt-4o",
    "usage": {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500},
}
_ENVELOPE: Final[Object] = {
    "format": "openai",
    "context": {"agent_id": "my-agent", "call_id": "call-1", "latency_ms": 850},
    "payload": _CHAT,
}
_CLOUD: Final[Object] = {
    "specversion": "1.0",
    "id": "evt-1",
    "source": "gateway-eu-1",
    "type": "usage",
    "time": "2026-02-08T10:00:00.123Z",
    "data": {"kind": "llm", "model": "gpt-4o", "input_tokens": 1200},
}
ANSWER: Final[Object] = {
    "accepted": 2,
    "skipped": 0,
    "refused": 1,
    "ids": "given",
    "unknown_fields": ["inputtokens"],
    "refusals": [
        {
            "index": 1,
            "field": "input_tokens",
            "reason": "invalid_field",
            "detail": "Input should be less than or equal to 1000000000",
        }
    ],
    "more_refusals": 0,
    "skips": [],
    "more_skips": 0,
}
_SPANS: Final[Object] = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "5b8efff798038103d269b633813fc60c",
                            "spanId": "eee19b7ec3c1b174",
                            "startTimeUnixNano": "1770544799150000000",
                            "endTimeUnixNano": "1770544800000000000",
                            "attributes": [
                                {
                                    "key": "gen_ai.operation.name",
                                    "value": {"stringValue": "chat"},
                                },
                                {
                                    "key": "gen_ai.usage.input_tokens",
                                    "value": {"intValue": "1200"},
                                },
                            ],
                        }
                    ]
                }
            ]
        }
    ]
}
_MODEL: Final[Object] = {"key": "model", "value": {"stringValue": "claude-sonnet-4-5"}}
_LOGS: Final[Object] = {
    "resourceLogs": [
        {
            "scopeLogs": [
                {
                    "logRecords": [
                        {
                            "timeUnixNano": "1770544800000000000",
                            "body": {"stringValue": "claude_code.api_request"},
                            "attributes": [
                                _MODEL,
                                {"key": "input_tokens", "value": {"intValue": "1200"}},
                                {"key": "output_tokens", "value": {"intValue": "300"}},
                            ],
                        }
                    ]
                }
            ]
        }
    ]
}
_METRICS: Final[Object] = {
    "resourceMetrics": [
        {
            "scopeMetrics": [
                {
                    "metrics": [
                        {
                            "name": "claude_code.token.usage",
                            "sum": {
                                "aggregationTemporality": 1,
                                "dataPoints": [
                                    {
                                        "timeUnixNano": "1770544800000000000",
                                        "asInt": "1200",
                                        "attributes": [
                                            _MODEL,
                                            {"key": "type", "value": {"stringValue": "input"}},
                                        ],
                                    }
                                ],
                            },
                        }
                    ]
                }
            ]
        }
    ]
}
_ABOUT: Final = (
    "The answer is sent after Kafka has the events. The format is detected per object, or named by"
    " `format`. Give fields that an object does not have as parameters, or as the `context` of an"
    " envelope around it. An event that is sent again with the same id is counted once. Objects"
    " without an id get one from the Idempotency-Key and their position in the body. Bodies may be"
    " compressed with gzip, deflate or zstd."
)


def paths(ref: Mapping[type[BaseModel], Object]) -> Object:
    return {
        "/v1/events": {"post": _events(ref)},
        **{path.end: {"post": _otlp(path)} for path in PATHS},
        LANGFUSE: {"post": _langfuse(ref)},
    }


def _events(ref: Mapping[type[BaseModel], Object]) -> Object:
    event = {name: of for name, of in json_schema().items() if name != "$schema"}
    one_or_more = {"anyOf": [event, {"type": "object"}, {"type": "array"}]}
    examples = {
        "event": {"value": _EVENT},
        "batch": {"value": [_EVENT, {**_EVENT, "id": "evt-2"}]},
        "openai": {"summary": "As OpenAI's library returns it", "value": _CHAT},
        "envelope": {"summary": "With fields that the object does not have", "value": [_ENVELOPE]},
    }
    content: Object = {"application/json": {"schema": one_or_more, "examples": examples}}
    content |= {name: {"schema": {"type": "string"}} for name in LINES_TYPES[:1]}
    content[CLOUDEVENT] = {"schema": {"type": "object"}, "example": _CLOUD}
    content[CLOUDEVENTS] = {"schema": {"type": "array"}, "example": [_CLOUD]}
    return {
        "operationId": "postEvents",
        "summary": "Send usage events, in any supported format",
        "description": _ABOUT,
        "parameters": [*_parameters(), _IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "202": _answer(
                "Kafka has the accepted events.", "application/json", ref[IngestAnswer], ANSWER
            ),
            **_problems(ref[IngestProblem]),
        },
    }


_IDEMPOTENCY_KEY: Final[Object] = {
    "name": "idempotency-key",
    "in": "header",
    "description": "Gives objects without an id an id. If you send the body again with the same key, each counts once.",
    "schema": {"type": "string", "maxLength": 200},
}


def _parameters() -> list[Object]:
    formats = {"type": "string", "enum": list(FORMATS)}
    atomic = {"type": "boolean", "default": False}
    return [
        _query("format", "The format of all objects. Default: detected per object.", formats),
        _query("atomic", "If one object is rejected, reject all.", atomic),
        *(
            _query(name, "Value for events that do not have this field.", {"type": "string"})
            for name in GIVEN
        ),
    ]


_OTLP: Final = {
    "/v1/traces": ("postTraces", "spans of model calls", _SPANS),
    "/v1/logs": ("postLogs", "log records of model calls, such as coding agents write", _LOGS),
    "/v1/metrics": ("postMetrics", "delta sums of tokens and costs", _METRICS),
}
"""Path -> the id of its operation, what it takes, and an example."""


def _otlp(path: OtlpPath) -> Object:
    operation, takes, example = _OTLP[path.end]
    return {
        "operationId": operation,
        "summary": f"OTLP over HTTP: {takes}",
        "description": "Calls to models are counted; anything else is accepted but not counted. The"
        " message of the partial success names usage that was not counted. The path may begin with"
        f" anything, such as /api/public/otel{path.end}.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": example},
                PROTOBUF[0]: {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": _answer(
                "The Export...ServiceResponse of the signal.",
                "application/json",
                {"type": "object"},
            ),
            **{
                status: _answer("google.rpc.Status.", "application/json", {"type": "object"})
                for status in ("400", "401", "403", "408", "413", "415", "429", "503")
            },
        },
    }


_BATCH: Final[Object] = {
    "batch": [
        {
            "id": "item-1",
            "type": "generation-create",
            "timestamp": _EVENT["time"],
            "body": {
                "id": "generation-1",
                "model": "gpt-4o",
                "endTime": _EVENT["time"],
                "usageDetails": {"input": 1200, "output": 300},
            },
        }
    ]
}


def _langfuse(ref: Mapping[type[BaseModel], Object]) -> Object:
    schema = {"type": "object"}
    return {
        "operationId": "postLangfuseIngestion",
        "summary": "Langfuse's ingestion: generations and embeddings with usage",
        "description": "Other items are accepted and not counted.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": _BATCH}},
        },
        "responses": {
            "207": _answer("The status of each item.", "application/json", schema),
            **_problems(ref[Problem]),
        },
    }


def _problems(ref: Object) -> Object:
    of = {
        "400": "A parameter or the body is invalid, or every event is rejected.",
        "401": "The API key is missing, unknown, expired or revoked.",
        "403": "The role of the key may not write, or the key has no access to the tenant.",
        "408": "The body did not arrive in time.",
        "413": "The body is too large.",
        "415": "The content type or encoding is not supported.",
        "429": "The rate limit of the key is exceeded, or the tenant has used up its quota of event ids."
        " Wait as long as Retry-After says.",
        "503": NOT_CONFIRMED,
    }
    return {status: _answer(about, MEDIA_TYPE, ref) for status, about in of.items()}


def _query(name: str, about: str, schema: Object) -> Object:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _answer(about: str, media_type: str, schema: Object, example: Object | None = None) -> Object:
    content: Object = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": about, "content": {media_type: content}}
