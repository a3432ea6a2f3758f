"""The usage of a call in a span's attributes, as inclusive totals. Pure.

Our input and output tokens include all their parts. Not all libraries report them so: Bedrock's and
Anthropic's own input leaves out the cache, Gemini's output leaves out thoughts, and so do libraries
that pass them on. The reported total and the parts tell which it is. Where they do not, the library is
known by its scope (`EXCLUSIVE_SCOPES`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.formats.body import Json, count, difference, section
from schemas.formats.otel import attributes as names
from schemas.formats.otel.reads import first_count, json_object
from schemas.formats.vendors.gemini import searches_billed
from schemas.prices.terms import region_of, tier_of

EXCLUSIVE_SCOPES: Final = (
    "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.botocore",
    "@traceloop/instrumentation-bedrock",
)
"""Scopes whose spans report Bedrock's input as Bedrock does: without the cache. Some of them report a
total of their own, without the cache too, so that the total tells nothing."""
_STRANDS: Final = "strands.telemetry"
_EXCLUSIVE_PROVIDERS: Final = frozenset({"anthropic", "aws"})
"""Their own APIs report input without the cache."""
_THINKING_PROVIDERS: Final = frozenset({"google", "x-ai"})
"""Their own APIs report output without reasoning, and the total with it."""


@dataclass
class SpanUsage:
    """Counts as they are reported; `total` is not a field of an event.

    `is_exclusive`: the input is known to leave out the cache; `is_inclusive`: to include it. `contradicts`: the total is not that of its parts.
    """

    input: int | None = None
    output: int | None = None
    total: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_text: int | None = None
    input_audio: int | None = None
    cache_read_audio: int | None = None
    output_text: int | None = None
    output_audio: int | None = None
    is_exclusive: bool = False
    is_inclusive: bool = False
    is_of_vercel: bool = False
    contradicts: bool = False

    @property
    def is_total_alone(self) -> bool:
        return bool(self.total) and self.input is None and self.output is None

    def fields(self) -> dict[str, int | None]:
        text = difference(self.output, self.output_audio)
        return {
            "input_tokens": self.input,
            "input_text_tokens": self.input_text,
            "input_audio_tokens": self.input_audio,
            "cache_read_tokens": self.cache_read,
            "cache_read_audio_tokens": self.cache_read_audio,
            "cache_write_tokens": self.cache_write,
            "output_tokens": self.output,
            "output_text_tokens": text if self.output_text is None else self.output_text,
            "output_audio_tokens": self.output_audio,
            "reasoning_tokens": self.reasoning,
        }


def usage_of(attributes: Json, scope: str, provider: str | None, model: str | None) -> SpanUsage:
    """The usage of a call, its totals inclusive. Raises InvalidEvent for a value that is no count."""
    usage = _reported(attributes)
    usage.is_of_vercel = names.VERCEL_OPERATION in attributes
    if names.MLFLOW_USAGE in attributes:  # in its own words for all vendors: their input counts
        usage.is_exclusive = usage.is_exclusive and provider in _EXCLUSIVE_PROVIDERS
    _with_metadata(usage, attributes)
    _include(usage, scope, provider, model)
    for beside, name in ((names.COMPACTION_INPUT, "input"), (names.COMPACTION_OUTPUT, "output")):
        more = first_count(attributes, beside)
        if more:
            setattr(usage, name, (getattr(usage, name) or 0) + more)
    return usage


def _reported(attributes: Json) -> SpanUsage:
    for name in names.USAGE_TEXTS:
        content = json_object(attributes, name)
        if name == names.GENKIT_OUTPUT:
            content = section(content, "usage", f"{name}.")
        if content:
            return usage_of_json(content)
    usage = SpanUsage(
        input=first_count(attributes, names.INPUT),
        output=first_count(attributes, names.OUTPUT),
        total=first_count(attributes, names.TOTAL),
        cache_read=first_count(attributes, names.CACHE_READ),
        cache_write=first_count(attributes, names.CACHE_WRITE),
        cache_write_1h=first_count(attributes, names.CACHE_WRITE_1H),
        reasoning=first_count(attributes, names.REASONING),
        input_text=first_count(attributes, names.INPUT_TEXT),
        input_audio=first_count(attributes, names.INPUT_AUDIO),
        cache_read_audio=first_count(attributes, names.CACHE_READ_AUDIO),
        output_text=first_count(attributes, names.OUTPUT_TEXT),
        output_audio=first_count(attributes, names.OUTPUT_AUDIO),
    )
    uncached = first_count(attributes, names.UNCACHED)
    if uncached is not None and usage.input is not None:
        usage.is_exclusive = usage.input == uncached
        usage.is_inclusive = not usage.is_exclusive
    return usage


def _with_metadata(usage: SpanUsage, attributes: Json) -> None:
    """What Vercel's AI SDK up to 5 reports only in the text of the provider's own facts."""
    if names.VERCEL_METADATA not in attributes:
        return
    for facts in json_object(attributes, names.VERCEL_METADATA).values():
        if not isinstance(facts, dict):
            continue
        own = facts.get("usage")
        found: Json = {**own, **facts} if isinstance(own, dict) else facts
        if usage.cache_read is None:
            usage.cache_read = _first(
                found,
                ("cacheReadInputTokens", "cache_read_input_tokens", "cachedPromptTokens"),
            )
        if usage.cache_write is None:
            usage.cache_write = _first(
                found,
                (
                    "cacheCreationInputTokens",
                    "cacheWriteInputTokens",
                    "cache_creation_input_tokens",
                ),
            )
        if usage.reasoning is None:
            usage.reasoning = _first(found, ("reasoningTokens",))
        kept = found.get("cache_creation")
        if usage.cache_write_1h is None and isinstance(kept, dict):
            usage.cache_write_1h = _first(kept, ("ephemeral_1h_input_tokens",))


def terms_of_metadata(attributes: Json, model: str | None) -> dict[str, Any]:
    """What decides a price and only the text of the provider's own facts has, in Vercel's AI SDK."""
    if names.VERCEL_METADATA not in attributes:
        return {}
    told: dict[str, Any] = {}
    for facts in json_object(attributes, names.VERCEL_METADATA).values():
        own = facts.get("usage") if isinstance(facts, dict) else None
        found: Json = {**(own if isinstance(own, dict) else {}), **_dict(facts)}
        words = {
            name: next((found[key] for key in keys if isinstance(found.get(key), str)), None)
            for name, keys in _METADATA_WORDS.items()
        }
        tools = _dict(found.get("server_tool_use"))
        queries = _dict(found.get("groundingMetadata")).get("webSearchQueries")
        searches = count(tools, "web_search_requests", "server_tool_use.")
        if searches is None and isinstance(queries, list):
            searches = searches_billed(len(queries), model)
        told |= {
            "service_tier": tier_of(words["service_tier"]),
            "speed": words["speed"],
            "region": region_of(words["region"]),
            "web_searches": searches or None,
        }
    return {name: value for name, value in told.items() if value is not None}


_METADATA_WORDS: Final = {
    "service_tier": ("serviceTier", "service_tier"),
    "speed": ("speed",),
    "region": ("inference_geo", "inferenceGeo"),
}


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _include(usage: SpanUsage, scope: str, provider: str | None, model: str | None) -> None:
    """Make the totals inclusive."""
    if usage.input is None and usage.output is None:
        return
    cache, reasoning = _cache(usage), usage.reasoning or 0
    given = (usage.input or 0) + (usage.output or 0)
    rest = usage.total - given if usage.total else 0
    if usage.is_exclusive or (cache and rest in (cache, cache + reasoning)):
        rest -= min(cache, max(rest, 0))
        usage.input = (usage.input or 0) + cache
    elif cache and _is_exclusive(usage, scope, provider, model):
        usage.input = (usage.input or 0) + cache
    thinks = provider in _THINKING_PROVIDERS
    if rest > 0 and thinks and not reasoning:
        usage.reasoning, usage.output = rest, (usage.output or 0) + rest
    elif rest > 0 and (rest == reasoning or (thinks and rest > reasoning)):
        usage.output = (usage.output or 0) + reasoning
        usage.input = (usage.input or 0) + rest - reasoning  # Gemini's prompts of its own tools
    elif reasoning > (usage.output or 0) and thinks:
        usage.output = (usage.output or 0) + reasoning
    elif rest and abs(rest) != cache and usage.input is not None and usage.output is not None:
        usage.contradicts = True


def _is_exclusive(usage: SpanUsage, scope: str, provider: str | None, model: str | None) -> bool:
    """Whether the input leaves out the cache, although the total does not tell."""
    if provider not in _EXCLUSIVE_PROVIDERS or usage.is_inclusive:
        return False
    if _cache(usage) > (usage.input or 0):
        return True
    if scope.startswith(EXCLUSIVE_SCOPES):
        return provider == "aws"
    if scope.startswith(_STRANDS):
        return "claude" in (model or "")
    return usage.is_of_vercel


def _cache(usage: SpanUsage) -> int:
    return (usage.cache_read or 0) + (usage.cache_write or 0)


# -- usage as a JSON text ----------------------------------------------------------------------------

_JSON_INPUT: Final = ("input_tokens", "prompt_tokens", "inputTokens", "promptTokens", "input")
_JSON_OUTPUT: Final = (
    "output_tokens",
    "completion_tokens",
    "outputTokens",
    "completionTokens",
    "output",
)
_JSON_TOTAL: Final = ("total_tokens", "totalTokens", "total", "tokens")
_JSON_DETAILS_IN: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_JSON_DETAILS_OUT: Final = (
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
)
_JSON_CACHE_READ: Final = (
    "cache_read_input_tokens",
    "input_cached_tokens",
    "input_cache_read",
    "cached_tokens",
    "cache_read",
    "prompt_cached_tokens",
    "prompt_cache_hit_tokens",
    "cachedContentTokens",
)
_JSON_CACHE_WRITE: Final = (
    "cache_creation_input_tokens",
    "input_cache_creation",
    "input_cache_write",
    "cache_write_tokens",
    "cache_creation",
    "cache_write",
    "prompt_cache_creation_tokens",
)
_JSON_CACHE_WRITE_1H: Final = (
    "cache_creation_ephemeral_1h_input_tokens",
    "input_cache_creation_1h",
    "ephemeral_1h_input_tokens",
)
_JSON_REASONING: Final = (
    "reasoning_tokens",
    "output_reasoning_tokens",
    "output_reasoning",
    "reasoning",
    "completion_reasoning_tokens",
    "thinking_tokens",
    "thoughtsTokens",
)
_JSON_AUDIO: Final = ("audio_tokens", "audio")
_BUCKETS: Final = ("input_", "output_")


def usage_of_json(content: Json) -> SpanUsage:
    """OpenAI's and Anthropic's usage, and Langfuse's own: `input` and `output` are what is left beside
    `input_...` and `output_...`."""
    details_in = _details(content, _JSON_DETAILS_IN)
    details_out = _details(content, _JSON_DETAILS_OUT)
    usage = SpanUsage(
        input=_first(content, _JSON_INPUT),
        output=_first(content, _JSON_OUTPUT),
        total=_first(content, _JSON_TOTAL),
        cache_read=_first({**details_in, **content}, _JSON_CACHE_READ),
        cache_write=_first({**details_in, **content}, _JSON_CACHE_WRITE),
        cache_write_1h=_first(content, _JSON_CACHE_WRITE_1H),
        reasoning=_first({**details_out, **content}, _JSON_REASONING),
        input_audio=_first(
            {**content, **details_in}, ("input_audio_tokens", "input_audio", *_JSON_AUDIO)
        ),
        output_audio=_first(
            {**content, **details_out}, ("output_audio_tokens", "output_audio", *_JSON_AUDIO)
        ),
    )
    if "input" in content or "output" in content:
        _add_buckets(usage, content)
    elif not details_in and "input_tokens" in content:
        usage.is_exclusive = bool(
            content.keys() & {"cache_read_input_tokens", "cache_creation_input_tokens"}
        )
    return usage


def _add_buckets(usage: SpanUsage, content: Json) -> None:
    """Langfuse's counts add up, unless the total says that the parts are within."""
    given = (usage.input or 0) + (usage.output or 0)
    parts = {
        name: count({name: value}, name) or 0
        for name, value in content.items()
        if isinstance(value, int) and name.startswith(_BUCKETS) and "modality" not in name
    }
    more_in = sum(value for name, value in parts.items() if name.startswith("input_"))
    if usage.cache_read is not None and "cache_read_input_tokens" in content:
        more_in += usage.cache_read
    if usage.cache_write is not None and "cache_creation_input_tokens" in content:
        more_in += usage.cache_write
    more_out = sum(value for name, value in parts.items() if name.startswith("output_"))
    if usage.total == given:
        return
    if usage.output is not None:
        usage.output += more_out
    if usage.input is not None:
        whole = usage.input + more_in
        usage.input = max(whole, (usage.total or 0) - (usage.output or 0))
    usage.total = None


def _details(content: Json, keys: tuple[str, ...]) -> Json:
    for key in keys:
        found = content.get(key)
        if isinstance(found, dict):
            return found
    return {}


def _first(holder: Json, keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = holder.get(key)
        if value is not None and not isinstance(value, dict | list | str):
            return count(holder, key)
    return None
