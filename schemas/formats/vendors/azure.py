"""What tells that an answer in OpenAI's format is Azure's: the results of its filters. Pure."""

from __future__ import annotations

from schemas.formats.body import Json
from schemas.formats.vendors.usage import items_of


def is_filter_chunk(payload: Json) -> bool:
    """A chunk of Azure's that has results of its filters, and no id, object or model."""
    if payload.get("object") != "" or not isinstance(payload.get("choices"), list):
        return False
    return "prompt_filter_results" in payload or any(
        map(_is_filtered, items_of(payload, "choices"))
    )


def _is_filtered(choice: Json) -> bool:
    return "content_filter_results" in choice


def is_azure(payload: Json) -> bool:
    """Whether an answer or a chunk has results of Azure's filters."""
    return "prompt_filter_results" in payload or any(
        map(_is_filtered, items_of(payload, "choices"))
    )
