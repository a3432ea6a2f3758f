"""Detects the format of an object from its keys. Pure.

Each format has keys of its own:
  otel         `resourceSpans`
  cloudevents  `specversion`
  agentlens    `eventType`
  litellm      `call_type` beside `custom_llm_provider` or `litellm_call_id`
  livekit      `type` is one of its metrics, `metrics_collected` or `session_usage_updated`
  anthropic    `type` is a message or an event of its streams, or `usage` has its cache reads or
               writes
  openai       `object` or `type` is one of OpenAI's, a speech request (`input` and `voice`), a
               transcription (`text` with usage or duration), or `usage` with `prompt_tokens` or
               OpenAI's details
  neutral      `kind` is one of ours, or any `kind` if no other format fits
An object that fits none or several of them is refused with their names, so that the producer names
the format. For example, a `usage` that has only `input_tokens` may be OpenAI's or Anthropic's.
"""

from __future__ import annotations

from typing import Final, Literal

from schemas.event.kinds import KINDS
from schemas.formats.body import Json, invalid
from schemas.formats.frameworks import livekit
from schemas.formats.vendors import anthropic, openai

Format = Literal[
    "openai", "anthropic", "litellm", "livekit", "agentlens", "otel", "cloudevents", "neutral"
]
FORMATS: Final[tuple[Format, ...]] = (
    "openai",
    "anthropic",
    "litellm",
    "livekit",
    "agentlens",
    "otel",
    "cloudevents",
    "neutral",
)
_ANTHROPIC_COUNTS: Final = {"cache_read_input_tokens", "cache_creation_input_tokens"}
_OPENAI_COUNTS: Final = {
    "prompt_tokens",
    "input_tokens_details",
    "input_token_details",
}


def checked(name: object) -> Format:
    """The format of a name that a producer gave; InvalidEvent for an unknown name."""
    for known in FORMATS:
        if name == known:
            return known
    raise invalid("format", f"must be one of {', '.join(FORMATS)}")


def detect(payload: Json) -> Format:
    found = _certain(payload) or _by_usage(payload)
    if len(found) == 1:
        return found[0]
    if found:
        raise invalid(
            "format",
            f"cannot be detected, because the object may be {' or '.join(found)}: name the format",
        )
    raise invalid("format", f"cannot be detected: name one of {', '.join(FORMATS)}")


def _certain(payload: Json) -> list[Format]:
    """The formats whose own keys the object has."""
    kind = payload.get("type")
    kind = kind if isinstance(kind, str) else ""
    named = payload.get("object")
    found: list[Format] = []
    if "resourceSpans" in payload:
        found.append("otel")
    if "specversion" in payload:
        return ["cloudevents"]  # with any `type`, and data of its own
    if "eventType" in payload:
        found.append("agentlens")
    if "call_type" in payload and payload.keys() & {"custom_llm_provider", "litellm_call_id"}:
        found.append("litellm")
    if kind in livekit.TYPES:
        found.append("livekit")
    if kind in anthropic.TYPES:
        found.append("anthropic")
    if (
        (isinstance(named, str) and named in openai.OBJECTS)
        or kind.startswith(openai.STREAM_PREFIXES)
        or openai.is_speech_request(payload)
        or openai.is_transcription(payload)
    ):
        found.append("openai")
    if isinstance(payload.get("kind"), str) and (payload["kind"] in KINDS or not found):
        found.append("neutral")  # of another kind than ours it is refused, by that name
    return found


def _by_usage(payload: Json) -> list[Format]:
    """The formats that an object with only a `usage` may have."""
    usage = payload.get("usage")
    if not isinstance(usage, dict):
        return []
    if usage.keys() & _ANTHROPIC_COUNTS:
        return ["anthropic"]
    if usage.keys() & _OPENAI_COUNTS:
        return ["openai"]
    return ["openai", "anthropic"] if "input_tokens" in usage else []
