"""Gemini's `generateContent`, its stream, its batches, embeddings and its Live API, to events. Pure.

Thoughts are output that `candidatesTokenCount` leaves out; prompts of tools are input that
`promptTokenCount` leaves out. Cached content is part of the prompt. A stream's chunks report running
totals: the chunk with a `finishReason` has the last ones. google-genai writes the same names in snake
case. Source: schemas/contracts/producers.md, google-genai 3.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    Known,
    first_count,
    has_any,
    items_of,
    unknown_fields,
)
from schemas.prices.terms import tier_of

USAGE: Final = ("usageMetadata", "usage_metadata")
_SNAKE: Final[Mapping[str, str]] = {
    "prompt_token_count": "promptTokenCount",
    "candidates_token_count": "candidatesTokenCount",
    "response_token_count": "responseTokenCount",
    "thoughts_token_count": "thoughtsTokenCount",
    "cached_content_token_count": "cachedContentTokenCount",
    "tool_use_prompt_token_count": "toolUsePromptTokenCount",
    "total_token_count": "totalTokenCount",
    "prompt_tokens_details": "promptTokensDetails",
    "cache_tokens_details": "cacheTokensDetails",
    "candidates_tokens_details": "candidatesTokensDetails",
    "response_tokens_details": "responseTokensDetails",
    "tool_use_prompt_tokens_details": "toolUsePromptTokensDetails",
    "traffic_type": "trafficType",
}
COUNTS: Final = (
    "promptTokenCount",
    "candidatesTokenCount",
    "responseTokenCount",
    "totalTokenCount",
)
_LIVE: Final = frozenset(
    {
        *("serverContent", "setupComplete", "toolCall", "toolCallCancellation", "goAway"),
        *("server_content", "setup_complete", "tool_call", "tool_call_cancellation", "go_away"),
        *("sessionResumptionUpdate", "voiceActivityDetectionSignal", "voiceActivity"),
        *("session_resumption_update", "voice_activity_detection_signal", "voice_activity"),
    }
)
_KNOWN: Final[Known] = dict.fromkeys((*_SNAKE.values(), "serviceTier", "promptTokenDetails"))


def is_own(payload: Json) -> bool:
    if is_batch_line(payload) or _embedded(payload) is not None or is_live(payload):
        return True
    usage = _usage(payload)
    return bool(usage and has_any(usage, COUNTS)) or (
        isinstance(payload.get("candidates"), list)
        and bool(payload.keys() & {"modelVersion", "model_version"})
    )


def is_live(payload: Json) -> bool:
    """A message of the Live API: it has one of its parts, and nothing else."""
    said = {name for name, value in payload.items() if value is not None}
    return bool(said & _LIVE) and said <= {*_LIVE, *USAGE}


def is_batch_line(payload: Json) -> bool:
    """A line of a batch's output: Gemini's (`key`) or Vertex AI's (`request`, `processed_time`)."""
    if "processed_time" in payload and "request" in payload:
        return True
    response = payload.get("response")
    return isinstance(response, dict) and "key" in payload and is_own(response)


def _batch_line(payload: Json) -> list[ReaderResult]:
    response = section(payload, "response")
    if not is_own(response):
        return [Uncounted("the line of a batch has no answer, so nothing is billed for it")]
    return [
        replace(made, fields={**made.fields, "service_tier": "batch"})
        if isinstance(made, Draft)
        else made
        for made in read(response)
    ]


def _embedded(payload: Json) -> int | None:
    """The tokens of embeddings by Vertex AI's `predict`, or by google-genai; None for anything else."""
    made = [one.get("embeddings") for one in items_of(payload, "predictions")]
    made = made or list(items_of(payload, "embeddings"))
    about = [one.get("statistics") for one in made if isinstance(one, dict)]
    counts = [
        first_count(one, ("token_count", "tokenCount"), "statistics.")
        for one in about
        if isinstance(one, dict)
    ]
    told = [one for one in counts if one is not None]
    return sum(told) if told and len(told) == len(made) else None


def read(payload: Json) -> list[ReaderResult]:
    """One answer, one chunk of a stream, one line of a batch, or one message of the Live API."""
    if is_batch_line(payload):
        return _batch_line(payload)
    embedded = _embedded(payload)
    if embedded is not None:
        return [Draft({"kind": "llm", "operation": "embeddings", "input_tokens": embedded})]
    usage = _usage(payload)
    if usage is None:
        if is_live(payload):
            return [Uncounted("a message of the Live API carries no usageMetadata")]
        if payload.keys() & {"candidates", "promptFeedback", "prompt_feedback"}:
            return [Uncounted("the chunk of an answer carries no usageMetadata")]
        raise invalid("usageMetadata", "is missing: this is no answer of Gemini's API")
    if not has_any(usage, COUNTS):
        raise invalid("usageMetadata", f"has none of Gemini's counts: {', '.join(COUNTS)}")
    if not _is_last(payload):
        return [Uncounted("a chunk without finishReason is not the last report of its answer")]
    tokens, unknown = _tokens(usage)
    model = text(payload, "modelVersion") or text(payload, "model_version")
    response_id = text(payload, "responseId") or text(payload, "response_id")
    fields = {
        "kind": "llm",
        "time": instant(payload, "createTime") or instant(payload, "create_time"),
        "model": model,
        "operation": _operation(payload, usage),
        "service_tier": tier_of(_tier(usage)),
        "finish_reason": _finish_reason(payload),
        "web_searches": _searches(payload, model),
        **tokens,
    }
    return [Draft(fields, response_id, IdSource.RESPONSE, unknown=unknown)]


def _usage(payload: Json) -> Json | None:
    """The usage in camel case, under either name."""
    for name in USAGE:
        found = payload.get(name)
        if isinstance(found, dict):
            return {_SNAKE.get(key, key): value for key, value in found.items()}
    return None


def _operation(payload: Json, usage: Json) -> str:
    if payload.keys() & {"embedding", "embeddings"}:
        return "embeddings"
    is_live = payload.keys() & {"serverContent", "server_content"} or "responseTokenCount" in usage
    return "realtime" if is_live else "chat"


def _is_last(payload: Json) -> bool:
    """A candidate says why it ended; without candidates the prompt was blocked, or it is the Live API."""
    candidates = payload.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return True
    ended = ("finishReason", "finish_reason")
    return any(isinstance(one, dict) and any(one.get(key) for key in ended) for one in candidates)


def _tier(usage: Json) -> str | None:
    for name in ("serviceTier", "trafficType"):
        if isinstance(usage.get(name), str):
            return str(usage[name])
    return None


def _finish_reason(payload: Json) -> str | None:
    for candidate in items_of(payload, "candidates"):
        said = candidate.get("finishReason") or candidate.get("finish_reason")
        return said if isinstance(said, str) else None
    return None


_BILLED_BY_PROMPT: Final = re.compile(r"(?:.*/)?gemini-[12](?:\.|-)")
"""Models whose grounding is billed once a prompt, however many queries Google runs; later ones are
billed by the query. Source: ai.google.dev/gemini-api/docs/google-search, "Pricing"."""


def _searches(payload: Json, model: str | None) -> int | None:
    """Searches that Google bills for the answer."""
    queries: list[object] = []
    for candidate in items_of(payload, "candidates"):
        grounding = candidate.get("groundingMetadata") or candidate.get("grounding_metadata")
        if isinstance(grounding, dict):
            said = grounding.get("webSearchQueries") or grounding.get("web_search_queries")
            queries += said if isinstance(said, list) else []
    return searches_billed(len(queries), model) or None


def searches_billed(queries: int, model: str | None) -> int:
    """How many searches Google bills for the queries that it ran for one answer."""
    return min(queries, 1) if _BILLED_BY_PROMPT.match(model or "") else queries


def _tokens(usage: Json) -> tuple[dict[str, Any], tuple[str, ...]]:
    path = "usageMetadata."
    prompt = count(usage, "promptTokenCount", path)
    tool_prompt = count(usage, "toolUsePromptTokenCount", path)
    thoughts = count(usage, "thoughtsTokenCount", path)
    answer = count(usage, "candidatesTokenCount", path)
    if answer is None:
        answer = count(usage, "responseTokenCount", path)
    total = count(usage, "totalTokenCount", path)
    into = _sum(prompt, tool_prompt)
    out = _sum(answer, thoughts)
    unknown = unknown_fields(usage, _KNOWN, path)
    if into is not None and total:
        if out is None:
            out = max(total - into, 0)
        if into + out != total:
            unknown.append(f"{path}totalTokenCount{CONTRADICTION}")
    asked = _modalities(usage, ("promptTokensDetails", "toolUsePromptTokensDetails"))
    cached = _modalities(usage, ("cacheTokensDetails",))
    said = _modalities(usage, ("candidatesTokensDetails", "responseTokensDetails"))
    return {
        "input_tokens": into,
        "input_audio_tokens": asked.get("AUDIO"),
        "input_image_tokens": asked.get("IMAGE"),
        "input_video_tokens": asked.get("VIDEO"),
        "cache_read_tokens": count(usage, "cachedContentTokenCount", path),
        "cache_read_audio_tokens": cached.get("AUDIO"),
        "cache_read_image_tokens": cached.get("IMAGE"),
        "output_tokens": out,
        "output_audio_tokens": said.get("AUDIO"),
        "output_image_tokens": said.get("IMAGE"),
        "reasoning_tokens": thoughts,
        "cost_problem": PROBLEM if any(CONTRADICTION in name for name in unknown) else None,
    }, tuple(unknown)


def _sum(*parts: int | None) -> int | None:
    reported = [part for part in parts if part is not None]
    return sum(reported) if reported else None


def _modalities(usage: Json, names: tuple[str, ...]) -> dict[str, int]:
    """Tokens by modality (TEXT, IMAGE, AUDIO, VIDEO, DOCUMENT)."""
    found: dict[str, int] = {}
    for name in names:
        parts = usage.get(name)
        for part in parts if isinstance(parts, list) else []:
            if not isinstance(part, dict):
                continue
            modality = str(part.get("modality") or "").upper().rpartition(".")[2]
            key = "tokenCount" if "tokenCount" in part else "token_count"
            found[modality] = found.get(modality, 0) + (count(part, key, f"{name}.") or 0)
    return found
