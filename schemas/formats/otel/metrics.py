"""OpenTelemetry metrics of tokens and costs, to events. Pure.

A delta sum says what was used since the export before, so it is added. A cumulative sum says what was
used since the process began: it is rejected, with the setting of the exporter that makes it a delta.
The points of one export that differ only in the kind of token are one event. It counts as one request,
because metrics do not say how many requests they sum up.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import bare, count, number
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.otel import attributes as names
from schemas.formats.otel.encoding import CUMULATIVE, DELTA, OtelPoint
from schemas.formats.otel.logs import digest_of
from schemas.formats.otel.reads import first_text
from schemas.formats.otel.spans import time_of, url_of
from schemas.formats.otel.usage import SpanUsage
from schemas.prices.names import names as names_of

Reading = list[ReaderResult] | InvalidEvent
CUMULATIVE_SUM: Final = (
    "is cumulative: set OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta at the exporter"
)
_MICRO_USD: Final = Decimal("1e-6")


class _Metric(NamedTuple):
    """`kind`: the attribute that says which tokens. `beside`: the kinds that the input or the output
    leaves out. `usd`: the worth of 1 where the metric is a cost."""

    kind: str = "type"
    provider: str | None = None
    beside: tuple[str, ...] = ()
    usd: Decimal | None = None


METRICS: Final = {
    "claude_code.token.usage": _Metric(provider="anthropic", beside=("cache_read", "cache_write")),
    "claude_code.cost.usage": _Metric(provider="anthropic", usd=Decimal(1)),
    "codex.turn.token_usage": _Metric("token_type", "openai"),
    "codex.turn.cost_microusd": _Metric("token_type", "openai", usd=_MICRO_USD),
    "gemini_cli.token.usage": _Metric(provider="google", beside=("reasoning",)),
    "qwen-code.token.usage": _Metric(beside=("reasoning",)),
    "gen_ai.client.token.usage": _Metric("gen_ai.token.type"),
}
"""The metrics of usage. Others are accepted and count nothing."""
_KINDS: Final = {
    "input": "input",
    "prompt": "input",
    "output": "output",
    "completion": "output",
    "cacheread": "cache_read",
    "cache_read": "cache_read",
    "cached_input": "cache_read",
    "cache": "cache_read",
    "cachecreation": "cache_write",
    "cache_creation": "cache_write",
    "cache_write_input": "cache_write",
    "thought": "reasoning",
    "reasoning_output": "reasoning",
    "reasoning": "reasoning",
}
_APART: Final = {"tool": "input"}
"""Gemini CLI's tokens of its tools' prompts stand beside the input."""


def read_points(points: Sequence[OtelPoint]) -> list[Reading]:
    """What each point becomes, in order: the first of an event's points becomes the event."""
    found: list[Reading] = []
    groups: dict[tuple[object, ...], tuple[int, list[OtelPoint]]] = {}
    for at, point in enumerate(points):
        refusal = _refusal(point)
        if point.metric not in METRICS:
            found.append([Uncounted("the metric is none of usage")])
        elif refusal is not None:
            found.append(refusal)
        else:
            found.append([Uncounted("a part of the event of another data point")])
            groups.setdefault(_group(point), (at, []))[1].append(point)
    for at, group in groups.values():
        try:
            found[at] = [_event(group)]
        except InvalidEvent as error:
            found[at] = bare(error)
    return found


def _refusal(point: OtelPoint) -> InvalidEvent | None:
    if point.metric not in METRICS or point.temporality == DELTA:
        return None
    if point.temporality == CUMULATIVE:
        return InvalidEvent(Reason.INVALID_FIELD, CUMULATIVE_SUM, point.metric)
    return InvalidEvent(
        Reason.INVALID_FIELD, "has no aggregationTemporality, so it cannot be added", point.metric
    )


def _group(point: OtelPoint) -> tuple[object, ...]:
    """What the points of one event share."""
    kind = METRICS[point.metric].kind
    told = tuple(sorted((k, str(v)) for k, v in point.attributes.items() if k != kind))
    family = point.metric.partition(".")[0]
    return point.service, point.scope, family, point.time_ns, told


def _event(points: Sequence[OtelPoint]) -> ReaderResult:
    first = points[0]
    attributes = first.attributes
    usage, cost, total = SpanUsage(), Decimal(0), 0
    has_cost = False
    for point in points:
        metric = METRICS[point.metric]
        if metric.usd is not None:
            cost += (number({point.metric: point.value}, point.metric) or Decimal(0)) * metric.usd
            has_cost = True
        else:
            total += _add(usage, point, metric)
    if not total and not cost:
        return Uncounted("the data point reports no usage")
    said = first_text(attributes, names.PROVIDER)
    model = first_text(attributes, ("model", *names.MODEL))
    provider, model = names_of(said, model, url_of(attributes), _provider(first))
    fields: dict[str, Any] = {
        "source": first.service,
        "kind": "llm",
        "operation": "chat",
        "provider": provider,
        "model": model,
        **time_of(first.time_ns),
        "agent_id": first_text(attributes, names.AGENT),
        "call_id": first_text(attributes, names.CALL),
        "chat_id": first_text(attributes, (*names.CHAT, "conversation.id")),
        "user_id": first_text(attributes, ("user.account_uuid", *names.USER, "user.account_id")),
        "user_email": first_text(attributes, names.EMAIL),
        **usage.fields(),
        "cost_usd": str(cost) if has_cost else None,
    }
    return Draft(fields=fields, id=_identity(points))


def _add(usage: SpanUsage, point: OtelPoint, metric: _Metric) -> int:
    kind = str(point.attributes.get(metric.kind, "")).lower()
    field = _KINDS.get(kind) or _APART.get(kind)
    if field is None:
        return 0
    added = count({point.metric: point.value}, point.metric) or 0
    _increase(usage, field, added)
    if field in metric.beside:
        _increase(usage, "output" if field == "reasoning" else "input", added)
    return added


def _increase(usage: SpanUsage, field: str, added: int) -> None:
    setattr(usage, field, (getattr(usage, field) or 0) + added)


def _provider(point: OtelPoint) -> str | None:
    return METRICS[point.metric].provider


def _identity(points: Sequence[OtelPoint]) -> str | None:
    """Of the interval and its attributes: every export of it repeats them. None without a time."""
    first = points[0]
    if not first.time_ns:
        return None
    parts = [str(part) for part in (*_group(first), min(one.start_ns for one in points))]
    return f"metric-{digest_of(parts)}"


def sources_of(points: Sequence[OtelPoint]) -> frozenset[str]:
    """The services that send metrics of usage."""
    return frozenset(point.service or "" for point in points if point.metric in METRICS)
