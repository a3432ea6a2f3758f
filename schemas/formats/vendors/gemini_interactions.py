"""Gemini's Interactions API and the events of its streams, to events. Pure.

Thoughts are output that `total_output_tokens` leaves out; prompts of tools are input that
`total_input_tokens` leaves out. An interaction counts when it is not at work any more; an event of its
stream, if it has the whole usage.
Source: schemas/contracts/producers.md, google-genai 3.6.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors.gemini import searches_billed
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    Known,
    has_any,
    items_of,
    unknown_fields,
)
from schemas.prices.terms import tier_of

NAMED: Final = "interaction"
COUNTS: Final = ("total_input_tokens", "total_output_tokens", "total_thought_tokens")
_EVENTS: Final = ("interaction.", "step.", "content.")
"""How the types of stream events begin; `content.` up to May 2026."""
_PENDING: Final = frozenset({"in_progress", "queued"})
_KNOWN: Final[Known] = dict.fromkeys(
    (
        *(*COUNTS, "total_tokens", "total_cached_tokens", "total_tool_use_tokens"),
        *("input_tokens_by_modality", "output_tokens_by_modality", "cached_tokens_by_modality"),
        *("tool_use_tokens_by_modality", "grounding_tool_count"),
        *("initial_input_tokens", "raw_prompt_token"),
    )
)
_PATH: Final = "usage."


def is_own(payload: Json) -> bool:
    if payload.get("object") == NAMED or is_event(payload):
        return True
    usage = payload.get("usage")
    return isinstance(usage, dict) and has_any(usage, COUNTS)


def read(payload: Json) -> list[ReaderResult]:
    """One interaction, or one event of its stream."""
    interaction = payload
    if is_event(payload):
        kind = str(payload["event_type"])
        interaction = section(payload, NAMED) or payload
        if not isinstance(interaction.get("usage"), dict):
            return [Uncounted(f"the stream event {kind[:64]} carries no usage")]
    status = text(interaction, "status") if isinstance(interaction.get("status"), str) else None
    if status in _PENDING:
        return [Uncounted(f"the interaction is {status}: only its last report counts")]
    usage = section(interaction, "usage")
    if usage and not has_any(usage, (*COUNTS, "total_tokens")):
        raise invalid("usage", f"has none of the counts of interactions: {', '.join(COUNTS)}")
    if not usage and status is None:
        raise invalid("usage", "is missing: this is no interaction of Gemini's API")
    model = text(interaction, "model") or text(interaction, "agent")
    tokens, unknown = _tokens(usage)
    fields = {
        "kind": "llm",
        "operation": "chat",
        "time": instant(interaction, "updated") or instant(interaction, "created"),
        "model": model,
        "service_tier": tier_of(text(interaction, "service_tier")),
        "finish_reason": None if status == "failed" else status,
        "error": _error(interaction) if status == "failed" else None,
        **tokens,
        **_tools(usage, model),
    }
    name = text(interaction, "id")
    return [Draft(fields, name, IdSource.RESPONSE, unknown=unknown)]


def is_event(payload: Json) -> bool:
    """An event of a stream, of which the last has the usage."""
    kind = payload.get("event_type")
    return isinstance(kind, str) and kind.startswith(_EVENTS)


def _error(interaction: Json) -> str:
    for one in items_of(interaction, "errors"):
        code = one.get("code")
        if isinstance(code, str | int) and not isinstance(code, bool):
            return str(code)
    return "failed"


def _tokens(usage: Json) -> tuple[dict[str, Any], tuple[str, ...]]:
    prompt, answer = (count(usage, name, _PATH) for name in COUNTS[:2])
    tools = count(usage, "total_tool_use_tokens", _PATH)
    thoughts = count(usage, "total_thought_tokens", _PATH)
    total = count(usage, "total_tokens", _PATH)
    into = None if prompt is None else prompt + (tools or 0)
    out = None if answer is None else answer + (thoughts or 0)
    unknown = unknown_fields(usage, _KNOWN, _PATH)
    is_consistent = not total or (into or 0) + (out or 0) == total
    if not is_consistent:
        unknown.append(f"{_PATH}total_tokens{CONTRADICTION}")
    asked = _modalities(usage, "input_tokens_by_modality", "tool_use_tokens_by_modality")
    cached = _modalities(usage, "cached_tokens_by_modality")
    said = _modalities(usage, "output_tokens_by_modality")
    return {
        "input_tokens": into,
        "input_audio_tokens": asked.get("audio"),
        "input_image_tokens": asked.get("image"),
        "input_video_tokens": asked.get("video"),
        "cache_read_tokens": count(usage, "total_cached_tokens", _PATH),
        "cache_read_audio_tokens": cached.get("audio"),
        "cache_read_image_tokens": cached.get("image"),
        "output_tokens": out,
        "output_audio_tokens": said.get("audio"),
        "output_image_tokens": said.get("image"),
        "reasoning_tokens": thoughts,
        "cost_problem": None if is_consistent else PROBLEM,
    }, tuple(unknown)


def _modalities(usage: Json, *names: str) -> dict[str, int]:
    """Tokens by modality (text, image, audio, video, document)."""
    found: dict[str, int] = {}
    for name in names:
        for part in items_of(usage, name):
            modality = str(part.get("modality") or "").lower()
            found[modality] = found.get(modality, 0) + (
                count(part, "tokens", f"{_PATH}{name}.") or 0
            )
    return found


def _tools(usage: Json, model: str | None) -> dict[str, int]:
    """Searches, and Google's other sources, which have a price of their own."""
    searches = others = 0
    for one in items_of(usage, "grounding_tool_count"):
        number = count(one, "count", f"{_PATH}grounding_tool_count.") or 0
        if one.get("type") == "google_search":
            searches += number
        else:
            others += number
    billed = {"web_searches": searches_billed(searches, model), "tool_calls": others}
    return {name: number for name, number in billed.items() if number}
