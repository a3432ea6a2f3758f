"""Amazon Bedrock's Converse, its stream, InvokeModel and Nova Sonic, to events. Pure.

`inputTokens` leave out cached tokens, the neutral total includes them. The model is in the request
alone, so the sender names it (`?model=...`). Of a stream, `metadata` has the usage. InvokeModel answers
in the format of the model's maker: those of Titan and Llama are read here, and the counts that Bedrock
adds to the last chunk of any maker's stream. Nova Sonic's usage events have
running totals of a session, and what is new: that counts.
Source: schemas/contracts/producers.md, botocore 1.44.
"""

from __future__ import annotations

import re
from typing import Final

from schemas.formats.body import Json, count, invalid, milliseconds, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    Known,
    has_any,
    items_of,
    unknown_fields,
)
from schemas.prices.terms import tier_of

STREAM: Final = frozenset(
    {
        "messageStart",
        "messageStop",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
    }
)
COUNTS: Final = ("inputTokens", "outputTokens")
_KNOWN: Final[Known] = dict.fromkeys(
    (
        *COUNTS,
        "totalTokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
        "cacheReadInputTokenCount",
        "cacheWriteInputTokenCount",
        "cacheDetails",
        "serverToolUsage",
    )
)

_SONIC: Final = STREAM | {
    "completionStart",
    "completionEnd",
    "contentStart",
    "contentEnd",
    "textOutput",
    "audioOutput",
    "toolUse",
    "usageEvent",
}
_TITAN: Final = "inputTextTokenCount"
_INVOCATION: Final = "amazon-bedrock-invocationMetrics"
"""In the last chunk of a stream of InvokeModel, of every vendor's models."""
_TELLS_MORE: Final = frozenset({"type", "object", "event_type", "usage", "metadata"})
"""In chunks of makers whose own format has the usage."""
_OPENAI: Final = re.compile(r"(?:[a-z]+\.)?openai\.")
_LLAMA: Final = ("prompt_token_count", "generation_token_count")


def is_own(payload: Json) -> bool:
    if len(payload) == 1 and payload.keys() & STREAM:
        return True
    if _sonic_event(payload) is not None or _is_invoked(payload):
        return True
    usage = _holder(payload).get("usage")
    return (
        isinstance(usage, dict)
        and has_any(usage, COUNTS)
        and bool(
            payload.keys() & {"stopReason", "output", "metadata", "ResponseMetadata", "metrics"}
        )
    )


def read(payload: Json, model: str | None = None) -> list[ReaderResult]:
    """One answer of Converse or InvokeModel, or one event of ConverseStream or Nova Sonic. `model`: what
    the sender says beside it."""
    event = _sonic_event(payload)
    if event is not None:
        return [_sonic(event)]
    if _is_invoked(payload):
        return [_invoked(payload)]
    for name in STREAM & payload.keys():
        return [Uncounted(f"the stream event {name} carries no usage, metadata does")]
    holder = _holder(payload)
    usage = section(holder, "usage")
    if not has_any(usage, COUNTS):
        raise invalid("usage", f"has none of Converse's counts: {', '.join(COUNTS)}")
    path = "usage."
    read_tokens = _count(usage, "cacheReadInputToken")
    write_tokens = _count(usage, "cacheWriteInputToken")
    into, out = count(usage, "inputTokens", path), count(usage, "outputTokens", path)
    total = count(usage, "totalTokens", path)
    cache = (read_tokens or 0) + (write_tokens or 0)
    whole = None if into is None else into + cache
    is_consistent = not total or None in (whole, out) or (whole or 0) + (out or 0) == total
    if into is not None and into >= cache > 0 and holder is not payload and _is_openai(model):
        whole = into  # Bedrock's streams of OpenAI's models have the cache in the input, and twice in the total
    unknown = unknown_fields(usage, _KNOWN, path)
    if not is_consistent:
        unknown.append(f"{path}totalTokens{CONTRADICTION}")
    fields = {
        "kind": "llm",
        "operation": "chat",
        "service_tier": tier_of(_tier(holder)),
        "speed": _speed(holder),
        "finish_reason": holder.get("stopReason")
        if isinstance(holder.get("stopReason"), str)
        else None,
        "input_tokens": whole,
        "cache_read_tokens": read_tokens,
        "cache_write_tokens": write_tokens,
        "cache_write_1h_tokens": _kept_an_hour(usage),
        "output_tokens": out,
        "output_text_tokens": out,
        "cost_problem": None if is_consistent else PROBLEM,
        "latency_ms": milliseconds(section(holder, "metrics"), "latencyMs", "metrics."),
    }
    about = section(payload, "ResponseMetadata")
    request = text(about, "RequestId", "ResponseMetadata.")
    return [Draft(fields, request, IdSource.RESPONSE, unknown=tuple(unknown))]


def _holder(payload: Json) -> Json:
    """The object itself, or the `metadata` of a stream."""
    metadata = payload.get("metadata")
    return metadata if isinstance(metadata, dict) and "usage" in metadata else payload


def _tier(holder: Json) -> str | None:
    tier = holder.get("serviceTier")
    said = tier.get("type") if isinstance(tier, dict) else None
    return said if isinstance(said, str) else None


def _speed(holder: Json) -> str | None:
    """`optimized`: an inference with less latency has another price."""
    said = section(holder, "performanceConfig").get("latency")
    return said if isinstance(said, str) else None


def _is_openai(model: str | None) -> bool:
    return bool(_OPENAI.match((model or "").lower()))


def _kept_an_hour(usage: Json) -> int | None:
    parts = [one for one in items_of(usage, "cacheDetails") if one.get("ttl") == "1h"]
    return sum(count(one, "inputTokens", "usage.cacheDetails.") or 0 for one in parts) or None


def _count(usage: Json, stem: str) -> int | None:
    """Converse has had two endings for these names."""
    found = count(usage, f"{stem}s", "usage.")
    return count(usage, f"{stem}Count", "usage.") if found is None else found


# -- InvokeModel -------------------------------------------------------------------------------------


def _is_invoked(payload: Json) -> bool:
    if isinstance(payload.get(_INVOCATION), dict) and not payload.keys() & _TELLS_MORE:
        return True
    if _TITAN in payload:
        return bool(payload.keys() & {"embedding", "embeddingsByType", "results", "outputText"})
    return "generation" in payload and (has_any(payload, _LLAMA) or "stop_reason" in payload)


def _invoked(payload: Json) -> ReaderResult:
    metrics = section(payload, _INVOCATION)
    ended = payload.get("stop_reason") or payload.get("completionReason")
    read_tokens = write_tokens = None
    if metrics:
        path = f"{_INVOCATION}."
        into, out = (count(metrics, f"{side}TokenCount", path) for side in ("input", "output"))
        read_tokens = count(metrics, "cacheReadInputTokenCount", path)
        write_tokens = count(metrics, "cacheWriteInputTokenCount", path)
        into = None if into is None else into + (read_tokens or 0) + (write_tokens or 0)
    elif payload.get("stop_reason", "") is None or ("outputText" in payload and not ended):
        return Uncounted("a chunk of a stream is not the last report of its answer")
    elif _TITAN not in payload:
        into, out = (count(payload, name) for name in _LLAMA)
    else:
        results = items_of(payload, "results")
        into, out = count(payload, _TITAN), count(payload, "totalOutputTextTokenCount")
        if results:
            ended = results[-1].get("completionReason")
            out = sum(count(one, "tokenCount", "results.") or 0 for one in results)
    is_embedding = payload.keys() & {"embedding", "embeddingsByType"}
    fields = {
        "kind": "llm",
        "operation": "embeddings" if is_embedding else "chat",
        "finish_reason": ended if isinstance(ended, str) else None,
        "input_tokens": into,
        "cache_read_tokens": read_tokens,
        "cache_write_tokens": write_tokens,
        "output_tokens": out,
        "output_text_tokens": out,
        "latency_ms": milliseconds(metrics, "invocationLatency", f"{_INVOCATION}."),
        "first_output_ms": milliseconds(metrics, "firstByteLatency", f"{_INVOCATION}."),
    }
    return Draft(fields)


# -- Nova Sonic --------------------------------------------------------------------------------------


def _sonic_event(payload: Json) -> Json | None:
    event = payload.get("event")
    if isinstance(event, dict) and len(event) == 1 and event.keys() & _SONIC:
        return event
    return payload if len(payload) == 1 and "usageEvent" in payload else None


def _sonic(event: Json) -> ReaderResult:
    """What is new since the usage event before. Its totals name it: they only grow."""
    if "usageEvent" not in event:
        return Uncounted(f"the event {next(iter(event))} carries no usage, usageEvent does")
    usage = section(event, "usageEvent", "event.")
    path = "event.usageEvent."
    new = section(section(usage, "details", path), "delta", f"{path}details.")
    parts = {
        (side, kind): count(section(new, side), f"{kind}Tokens", f"{path}details.delta.{side}.")
        or 0
        for side in ("input", "output")
        for kind in ("speech", "text")
    }
    if not any(parts.values()):
        return Uncounted("the usageEvent reports nothing new")
    fields = {
        "kind": "llm",
        "operation": "realtime",
        "call_id": text(usage, "sessionId", path),
        "input_tokens": parts["input", "speech"] + parts["input", "text"],
        "input_audio_tokens": parts["input", "speech"],
        "output_tokens": parts["output", "speech"] + parts["output", "text"],
        "output_text_tokens": parts["output", "text"],
        "output_audio_tokens": parts["output", "speech"],
    }
    name = text(usage, "completionId", path)
    totals = [count(usage, f"total{side}Tokens", path) for side in ("Input", "Output")]
    if name is None or None in totals:
        return Draft(fields)
    return Draft(fields, f"{name}/{totals[0]}/{totals[1]}", IdSource.RESPONSE)
