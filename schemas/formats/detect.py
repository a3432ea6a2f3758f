"""Detects the format of an object from its keys. Pure.

Each format has keys of its own:
  otel           `resourceSpans`, `resourceLogs` or `resourceMetrics`
  cloudevents    `specversion`
  agentlens      `eventType`
  litellm        `call_type` beside `custom_llm_provider` or `litellm_call_id`
  livekit        `type` is one of its metrics, `metrics_collected` or `session_usage_updated`
  helicone       `providerRequest` and `providerResponse`
  langfuse       `batch` of items with `type` and `body`
  anthropic      `type` is a message or an event of its streams, a line of a batch (`custom_id` and
                 `result`), or `usage` has its cache reads or writes
  openai         `object` or `type` is one of OpenAI's, a speech request (`input` and `voice`), a
                 transcription (`text` with usage or duration), a line of a batch (`custom_id` and
                 `response`), or `usage` with `prompt_tokens` or OpenAI's details
  neutral        `kind` is one of ours, or any `kind` if no other format fits
The other vendors and frameworks say it in `is_own` of their modules. An object that fits none or
several of them is refused with their names, so that the producer names the format. For example, a
`usage` that has only `input_tokens` may be OpenAI's or Anthropic's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from schemas.event.kinds import KINDS
from schemas.formats.body import Json, invalid
from schemas.formats.frameworks import (
    claude_code,
    codex,
    helicone,
    langchain,
    langfuse,
    livekit,
    openai_agents,
)
from schemas.formats.otel.requests import is_request
from schemas.formats.speech import assemblyai, cartesia, deepgram, elevenlabs
from schemas.formats.vendors import (
    anthropic,
    azure,
    bedrock,
    cohere,
    gemini,
    gemini_interactions,
    mistral,
    ollama,
    openai,
)

Format = Literal[
    "openai",
    "anthropic",
    "gemini",
    "gemini_interactions",
    "bedrock",
    "cohere",
    "mistral",
    "ollama",
    "deepgram",
    "elevenlabs",
    "cartesia",
    "assemblyai",
    "litellm",
    "livekit",
    "langchain",
    "openai_agents",
    "claude_code",
    "codex",
    "langfuse",
    "helicone",
    "agentlens",
    "otel",
    "cloudevents",
    "neutral",
]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
_OWN: Final[tuple[tuple[Format, Callable[[Json], bool]], ...]] = (
    ("gemini", gemini.is_own),
    ("gemini_interactions", gemini_interactions.is_own),
    ("bedrock", bedrock.is_own),
    ("cohere", cohere.is_own),
    ("mistral", mistral.is_own),
    ("ollama", ollama.is_own),
    ("deepgram", deepgram.is_own),
    ("elevenlabs", elevenlabs.is_own),
    ("cartesia", cartesia.is_own),
    ("assemblyai", assemblyai.is_own),
    ("langchain", langchain.is_own),
    ("openai_agents", openai_agents.is_own),
    ("claude_code", claude_code.is_own),
    ("codex", codex.is_own),
    ("langfuse", langfuse.is_own),
    ("helicone", helicone.is_own),
)
UNKNOWN: Final = (
    "unknown format: send a neutral event (schemas/README.md#the-event, or /docs of this API)"
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
    if not found and openai.is_error(payload):
        return "openai"
    if found:
        raise invalid(
            "format",
            f"cannot be detected, because the object may be {' or '.join(found)}: name the format",
        )
    raise invalid("format", f"{UNKNOWN}, or name one of {', '.join(FORMATS)}")


def check_named(payload: Json, named: Format) -> None:
    """Raises InvalidEvent if the object is certainly of another format than the producer named."""
    found = _certain(payload)
    if found and named not in found and not (found == ["neutral"] or named == "neutral"):
        raise invalid("format", f"is {named}, but the object is of {' or '.join(found)}")


def _certain(payload: Json) -> list[Format]:
    """The formats whose own keys the object has."""
    kind = payload.get("type")
    kind = kind if isinstance(kind, str) else ""
    named = payload.get("object")
    found: list[Format] = []
    if is_request(payload):
        found.append("otel")
    if "specversion" in payload:
        return ["cloudevents"]  # with any `type`, and data of its own
    if "eventType" in payload:
        found.append("agentlens")
    if "call_type" in payload and payload.keys() & {"custom_llm_provider", "litellm_call_id"}:
        found.append("litellm")
    if kind in livekit.TYPES:
        found.append("livekit")
    if kind in anthropic.TYPES or anthropic.is_batch_line(payload):
        found.append("anthropic")
    if (
        (isinstance(named, str) and named in openai.OBJECTS)
        or kind.startswith(openai.STREAM_PREFIXES)
        or openai.is_speech_request(payload)
        or openai.is_transcription(payload)
        or openai.is_batch_line(payload)
        or openai.is_moderation(payload)
        or openai.is_images(payload)
        or azure.is_filter_chunk(payload)
    ):
        found.append("openai")
    found += [format for format, is_own in _OWN if is_own(payload)]  # noqa: A001
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
