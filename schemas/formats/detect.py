"""Which format a body is in, told from the body. Pure.

A format is recognised by keys that only it has:
  otel         `resourceSpans`
  cloudevents  `specversion`
  agentlens    `eventType`
  litellm      `call_type` beside `custom_llm_provider` or `litellm_call_id`
  livekit      `type` is one of its metrics, `metrics_collected` or `session_usage_updated`
  anthropic    `type` is a message or one of its stream's events, or `usage` counts its cache reads
               or writes
  openai       `object` is one of its, `type` is one of its stream's events, a speech request
               (`input` and `voice`), a transcription (`text` with usage or duration), or `usage`
               with `prompt_tokens` or with details of its
  neutral      `kind` is one of ours, or any where nothing else is told
A body of none, or of more than one (a bare `usage` with `input_tokens` is OpenAI's as well as
Anthropic's) is refused with the names of the formats: the producer says which.
"""

from __future__ import annotations

from typing import Final, Literal

from schemas.event.kinds import KINDS
from schemas.formats import anthropic, livekit, openai
from schemas.formats.body import Json, invalid

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
    """A format's name as a producer wrote it."""
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
            "format", f"is not told by the body, which may be {' or '.join(found)}: name it"
        )
    raise invalid("format", f"is not told by the body: name one of {', '.join(FORMATS)}")


def _certain(payload: Json) -> list[Format]:
    """The formats whose own keys stand in the body."""
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
    """The formats that a bare `usage` may be of."""
    usage = payload.get("usage")
    if not isinstance(usage, dict):
        return []
    if usage.keys() & _ANTHROPIC_COUNTS:
        return ["anthropic"]
    if usage.keys() & _OPENAI_COUNTS:
        return ["openai"]
    return ["openai", "anthropic"] if "input_tokens" in usage else []
