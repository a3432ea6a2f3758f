"""Builders of OTLP requests in JSON, as exporters encode them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

TRACE = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1770544800 * 10**9


def value(of: Any) -> dict[str, Any]:
    if isinstance(of, bool):
        return {"boolValue": of}
    if isinstance(of, int):
        return {"intValue": str(of)}
    return {"doubleValue": of} if isinstance(of, Decimal) else {"stringValue": of}


def attributes(of: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(one)} for key, one in of.items()]


def span(number: int, /, under: Any = 0, trace: Any = TRACE, **of: Any) -> dict[str, Any]:
    """`of`: attributes, with `__` for a dot; those of `gen_ai` without it are named so too."""
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{under:016x}" if under else "",
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(START_NS + 10**9),
        "attributes": attributes({key.replace("__", "."): one for key, one in of.items()}),
    }


def chat(number: int, /, under: Any = 0, trace: Any = TRACE, **of: Any) -> dict[str, Any]:
    """A span of the GenAI conventions; `of`: attributes below `gen_ai.`."""
    named = {f"gen_ai__{key}": one for key, one in of.items()}
    return span(number, under, trace, gen_ai__operation__name="chat", **named)


def traces(*spans: Any, scope: str = "tests", service: str | None = None) -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": service} if service else {})}
    scopes = [{"scope": {"name": scope}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}


def logs(*records: Any, scope: str = "tests", service: str = "agent") -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": service})}
    scopes = [{"scope": {"name": scope}, "logRecords": list(records)}]
    return {"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]}


def record(name: str, /, **of: Any) -> dict[str, Any]:
    return {
        "timeUnixNano": str(START_NS),
        "body": {"stringValue": name},
        "attributes": attributes({key.replace("__", "."): one for key, one in of.items()}),
    }


def metrics(*of: Any, service: str = "agent") -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": service})}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": list(of)}]}]}


def summed(name: str, *points: Any, temporality: Any = 1) -> dict[str, Any]:
    data = {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": list(points)}
    return {"name": name, "sum": data}


def point(number: Any, /, at_s: Any = 60, **of: Any) -> dict[str, Any]:
    exact = {"asInt": str(number)} if isinstance(number, int) else {"asDouble": number}
    return {
        "startTimeUnixNano": str(START_NS),
        "timeUnixNano": str(START_NS + at_s * 10**9),
        "attributes": attributes({key.replace("__", "."): one for key, one in of.items()}),
        **exact,
    }
