"""Provider and model of a call, from the names that libraries write. Pure.

Every format calls `names`. A framework writes its own name where the provider's should be
(`strands-agents`), an OpenAI-shaped answer comes from any of a hundred providers, and one model has
several names (`models/gemini-2.5-flash`). Source: schemas/contracts/producers.md, "Names".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from schemas.prices.providers import NAME_CHARS_MAX, canonical, is_framework, known

_PROTOCOLS: Final = frozenset({"openai", "anthropic"})
"""Providers whose protocol others speak too: an instrumented client of theirs may have called
another provider."""
_MAKERS: Final = frozenset(
    {
        "ai21",
        "alibaba",
        "cohere",
        "deepseek",
        "meta",
        "minimax",
        "mistral",
        "moonshotai",
        "nvidia",
        "zai",
    }
)
"""Providers whose models others serve too: Bedrock's names of models begin with the maker's."""
_VENDORS: Final = frozenset(
    {
        "amazon",
        "cohere",
        "deepseek",
        "deepseekai",
        "google",
        "meta",
        "microsoft",
        "minimax",
        "mistral",
        "mistralai",
        "moonshotai",
        "nvidia",
        "openai",
        "qwen",
        "xai",
        "zai",
        "zaiorg",
    }
)
"""Names before a slash that say who made a model, and not where it runs (`openai/gpt-oss-120b`)."""
_SIZE: Final = re.compile(r"(?:\d+(?:\.\d+)?[bm]|latest|v\d)\b")
"""After a colon: a tag of Ollama's (`mistral:7b`), not a model's name."""

_BEDROCK: Final = (
    r"(?:[a-z]{2}(?:-gov)?\.|apac\.|global\.)?(?:ai21|amazon|anthropic|cohere|deepseek|google|meta"
    r"|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen|stability|twelvelabs|writer|zai)\.[a-z]"
)
_OPENAI: Final = (
    r"(?:ft:)?(?:gpt-(?!oss|j|neo)|chatgpt-|o[134](?:-|$)|davinci|babbage|codex-|sora-|dall-e"
    r"|computer-use-preview|text-embedding-(?:3|ada)|text-moderation|omni-moderation|tts-1|whisper-1$)"
)
_MISTRAL: Final = (
    r"open-mi[sx]tral-|labs-|(?:mistral|codestral|magistral|devstral|pixtral|ministral|voxtral)"
    r"-(?:large|small|medium|tiny|saba|embed|ocr|moderation|mini|latest|\d+b-|\d{4})"
)
_BY_MODEL: Final = tuple(
    (re.compile(pattern), provider)
    for pattern, provider in (
        (r"arn:aws[a-z-]*:", "aws"),
        (_BEDROCK, "aws"),
        (r"@cf/|@hf/", "cloudflare"),
        (r"accounts/", "fireworks"),
        (r"projects/[^/]+/locations/|publishers/", "google"),
        (r"(?:models/|tunedmodels/)?(?:gemini|learnlm|imagen|veo)-", "google"),
        (r"(?:models/)?(?:text-embedding-00\d|text-multilingual-embedding)", "google"),
        (r"claude-", "anthropic"),
        (_OPENAI, "openai"),
        (r"grok-", "x-ai"),
        (r"deepseek-(?:chat|reasoner|coder)$", "deepseek"),
        (_MISTRAL, "mistral"),
        (r"command-(?:[arl]|light|nightly|\d)|embed-(?:english|multilingual|v)", "cohere"),
        (r"rerank-(?!2)", "cohere"),
        (r"sonar(?:-|$)", "perplexity"),
        (r"kimi-|moonshot-v1", "moonshotai"),
        (r"voyage-|rerank-2", "voyageai"),
        (r"eleven_|scribe_v", "elevenlabs"),
        (r"aura-(?:2-)?[a-z]+-[a-z]{2}$|nova-[23](?:-|$)", "deepgram"),
        (r"sonic-\d|sonic-turbo|ink-whisper", "cartesia"),
        (r"databricks-", "databricks"),
        (r"jamba-", "ai21"),
        (r"palmyra-", "writer"),
        (r"solar-(?:pro|mini)", "upstage"),
        (r"qwen-(?:max|plus|turbo|flash|long|vl-(?:max|plus))", "alibaba"),
        (r"doubao-", "bytedance"),
        (r"ernie-(?:x1|4\.0|speed|lite|tiny)", "baidu"),
    )
)
"""The names of models that one provider alone gives out. Open weights (`llama-3.3-70b`, `qwen3`,
`gpt-oss`) are not here: anybody may serve them."""

_OPEN_WEIGHTS: Final = re.compile(
    r"(?:[\w.-]+/)?(?:meta-)?(?:llama|qwen|qwq|mixtral|mistral-nemo|mistral(?::|$)|gemma|phi[-\d]"
    r"|gpt-oss|deepseek-(?:r1|v\d)|glm-|nemotron|yi-|falcon|granite|olmo|smollm|hermes|vicuna|wizardlm"
    r"|starcoder|codellama|tinyllama|whisper-(?:large|medium|small|base|tiny)|distil-whisper|bge-"
    r"|nomic-embed|mxbai-|all-minilm|e5-|jina-|minimax-|step-\d|hunyuan-|ernie-|internlm|exaone"
    r"|baichuan|longcat|solar-|flux[.-]|stable-diffusion|sdxl)",
)
"""Models that anybody may serve: the protocol of an answer does not tell whose bill it is on."""

_PREFIXES: Final = re.compile(
    r"(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/|models/(?=[^/]+$)"
    r"|accounts/fireworks/models/"
    r"|arn:aws[a-z-]*:bedrock:[a-z0-9-]*:\d*:(?:foundation-model|inference-profile)/"
)
_PREFIX_COUNTS: Final = "perplexity"
"""`perplexity/sonar` is a model of its Agent API, at another price than `sonar`."""
_PROXIES: Final = ("litellm", "litellm_proxy")
_ROUTES: Final = re.compile(r"(?:converse|converse_like|invoke)/")
"""LiteLLM's ways to call Bedrock: `bedrock/converse/us.anthropic...`."""


class Names(NamedTuple):
    """Who bills a call, and for which model; None where it is unknown."""

    provider: str | None
    model: str | None


def names(
    said: str | None,
    model: str | None,
    url: str | None = None,
    default: str | None = None,
) -> Names:
    """Provider and model of a call.

    `said`: the provider's name in the payload. `url`: the base URL or host that was called.
    `default`: whose protocol the payload has, for payloads that name no provider.

    A known provider that is said counts, but the URL decides where a client for OpenAI's or
    Anthropic's protocol called another provider. Without both, the model tells, if only one provider
    has it. The default applies last, and not to open weights, which anybody may serve.
    """
    spoken = known(said)
    if spoken is None and said and said.strip() and not is_framework(said):
        spoken = canonical(said)
    told = by_model(model) if model else None
    if spoken is None or spoken in _PROTOCOLS:
        spoken = known(url) or told or spoken
    elif spoken in _MAKERS and told == "aws":
        spoken = told
    if spoken is None and default and not (model and _OPEN_WEIGHTS.match(model.lower())):
        spoken = default
    if spoken is None:
        spoken = canonical(said) or canonical(url)
    return Names(spoken, plain_model(spoken, model))


def by_model(model: str) -> str | None:
    """The provider that alone has a model of this name; None if there may be several, or if no event may
    have so long a name."""
    return _by_model(model) if len(model) <= NAME_CHARS_MAX else None


@lru_cache(maxsize=4096)
def _by_model(model: str) -> str | None:
    lower = model.strip().lower()
    for proxy in _PROXIES:
        lower = lower.removeprefix(f"{proxy}/")
    for pattern, provider in _BY_MODEL:
        if pattern.match(lower):
            return provider
    for mark in ":/":  # `openai:gpt-4o`, `azure/gpt-4o`, as frameworks name models
        head, found, rest = lower.partition(mark)
        if found and rest and known(head) and not _SIZE.match(rest):
            made = mark == "/" and "".join(filter(str.isalnum, head)) in _VENDORS
            return _by_model(rest) if made else known(head)
    return None


def plain_model(provider: str | None, model: str | None) -> str | None:
    """The model's own name, without the path or the provider that a library puts before it. A name that
    is longer than any event may have stays as it is.

    Names of a gateway's models keep the vendor (`anthropic/claude-sonnet-4.5` at OpenRouter): there it
    is part of the name.
    """
    if not model or not model.strip():
        return None
    if max(len(model), len(provider or "")) > NAME_CHARS_MAX:
        return model
    return _plain_model(provider, model.strip())


@lru_cache(maxsize=4096)
def _plain_model(provider: str | None, model: str) -> str:
    plain = model
    for mark in "/:":
        head, found, rest = plain.partition(mark)
        if found and rest and not _SIZE.match(rest) and _is_said_again(head, provider):
            plain = rest
            break
    route = _ROUTES.match(plain) if provider == "aws" else None
    plain = plain[route.end() :] if route else plain
    prefix = _PREFIXES.match(plain)
    return plain[prefix.end() :] if prefix and prefix.end() < len(plain) else plain


def _is_said_again(head: str, provider: str | None) -> bool:
    """Whether the text before a model's name repeats its provider, or names LiteLLM's proxy."""
    if head.lower() in _PROXIES:
        return True
    return provider is not None and provider != _PREFIX_COUNTS and known(head) == provider


def listed_names(provider: str, model: str) -> tuple[str, ...]:
    """The names under which a price list may have a model, the most exact first."""
    plain = plain_model(provider, model) or model
    found = [model, plain]
    if "/" not in plain:
        found.append(f"{provider}/{plain}")
    if provider == "fireworks" and "/" not in plain:
        found.append(f"accounts/fireworks/models/{plain}")
    return tuple(dict.fromkeys(found))
