"""Amazon Bedrock's Converse and its stream to events. Pure.

`inputTokens` leave out cached tokens, the neutral total includes them. The model is in the request
alone, so the sender names it (`?model=...`). Of a stream, `metadata` has the usage.
Source: schemas/contracts/producers.md, botocore 1.44.
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json, count, invalid, milliseconds, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    Known,
    has_any,
    inclusive,
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


def is_own(payload: Json) -> bool:
    if len(payload) == 1 and payload.keys() & STREAM:
        return True
    usage = _holder(payload).get("usage")
    return (
        isinstance(usage, dict)
        and has_any(usage, COUNTS)
        and bool(
            payload.keys() & {"stopReason", "output", "metadata", "ResponseMetadata", "metrics"}
        )
    )


def read(payload: Json) -> list[ReaderResult]:
    """One answer of Converse, or one event of ConverseStream."""
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
    if into is not None and out is not None and total is None:
        total = into + out + (read_tokens or 0) + (write_tokens or 0)
    totals = inclusive(into, out, total, cache_read=read_tokens, cache_write=write_tokens)
    unknown = unknown_fields(usage, _KNOWN, path)
    if not totals.is_consistent:
        unknown.append(f"{path}totalTokens{CONTRADICTION}")
    fields = {
        "kind": "llm",
        "operation": "chat",
        "service_tier": tier_of(_tier(holder)),
        "finish_reason": holder.get("stopReason")
        if isinstance(holder.get("stopReason"), str)
        else None,
        "input_tokens": totals.input,
        "cache_read_tokens": read_tokens,
        "cache_write_tokens": write_tokens,
        "cache_write_1h_tokens": _kept_an_hour(usage),
        "output_tokens": totals.output,
        "output_text_tokens": totals.output,
        "cost_problem": None if totals.is_consistent else PROBLEM,
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


def _kept_an_hour(usage: Json) -> int | None:
    parts = [one for one in items_of(usage, "cacheDetails") if one.get("ttl") == "1h"]
    return sum(count(one, "inputTokens", "usage.cacheDetails.") or 0 for one in parts) or None


def _count(usage: Json, stem: str) -> int | None:
    """Converse has had two endings for these names."""
    found = count(usage, f"{stem}s", "usage.")
    return count(usage, f"{stem}Count", "usage.") if found is None else found
