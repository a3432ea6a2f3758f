"""One id for each provider, whatever libraries call it. Data. Pure.

The ids are those of genai-prices where it knows the provider (a test compares), so that a price is
found under the name that is counted. The matching of genai-prices is not used: it takes any name
with "openai" in it for OpenAI, even Azure's, and their prices differ.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit


def _by_word(words: dict[str, str]) -> dict[str, str]:
    """Each of the words of a value, to its key."""
    return {word: key for key, text in words.items() for word in text.split()}


ALIASES: Final = _by_word(
    {
        "ai21": "ai21 ai21labs",
        "alibaba": "alibaba alibabacloud dashscope qwen",
        "anthropic": "anthropic claude",
        "arcee": "arcee",
        "assemblyai": "assemblyai",
        "avian": "avian",
        "aws": (
            "amazon amazonbedrock amazonnova amazonpolly amazontranscribe aws awsbedrock "
            "awspolly awssagemaker awstranscribe bedrock bedrockconverse bedrockruntime "
            "chatbedrock chatbedrockconverse polly sagemaker sagemakerchat"
        ),
        "azure": (
            "azaiinference azaiopenai azure azureai azureaifoundry azureaiinference "
            "azureaiopenai azureaispeech azurechatopenai azurefoundry azureopenai azurespeech "
            "azuretext microsoft microsoftazure microsoftfoundry"
        ),
        "baseten": "baseten",
        "cartesia": "cartesia",
        "cerebras": "cerebras chatcerebras",
        "cloudflare": "cloudflare cloudflareworkersai workersai",
        "cohere": "chatcohere cohere cohereai coherechat",
        "cursor": "cursor",
        "databricks": "chatdatabricks databricks",
        "deepgram": "deepgram",
        "deepinfra": "deepinfra",
        "deepseek": "chatdeepseek deepseek deepseekai",
        "doubleword": "doubleword",
        "elevenlabs": "11labs elevenlabs",
        "fal": "fal falai",
        "fireworks": "chatfireworks fireworks fireworksai",
        "github": "github githubmodels",
        "github-copilot": "githubcopilot",
        "gladia": "gladia",
        "google": (
            "chatgooglegenerativeai chatvertexai gcp gcpgemini gcpgenai gcpvertexai gemini "
            "google googleai googleaistudio googleanthropicvertex googlecloud "
            "googlecloudplatform googlecloudspeech googlecloudtts googlegemini googlegenai "
            "googlegenerativeai googlegla googlevertex googlevertexai googlevertexanthropic "
            "palm vertex vertexai vertexaianthropic vertexaibeta"
        ),
        "groq": "chatgroq groq groqcloud",
        "heroku": "heroku",
        "huggingface": "huggingface huggingfacehub",
        "hume": "hume humeai",
        "hyperbolic": "hyperbolic",
        "livekit": "livekit livekitcloud livekitinference",
        "lmnt": "lmnt",
        "meta": "meta metaai",
        "minimax": "minimax",
        "mistral": "chatmistralai mistral mistralai",
        "modal": "modal",
        "moonshotai": "chatmoonshot kimi moonshot moonshotai",
        "nebius": "nebius nebiusai",
        "neuphonic": "neuphonic",
        "novita": "novita novitaai",
        "nvidia": "nvidia nvidianim",
        "ollama": "chatollama ollama ollamachat",
        "openai": "chatopenai openai openaicom openairesponses textcompletionopenai",
        "openai-decisions": "openaidecisions",
        "openrouter": "chatopenrouter openrouter",
        "ovhcloud": "ovhcloud ovhcloudaiendpoints",
        "perplexity": "chatperplexity perplexity perplexityai",
        "playht": "playht",
        "quicksilverpro": "quicksilverpro",
        "replicate": "replicate",
        "resemble": "resemble",
        "rime": "rime rimeai",
        "sambanova": "sambanova",
        "snowflake": "snowflake",
        "soniox": "soniox",
        "speechmatics": "speechmatics",
        "together": "chattogether together togetherai",
        "typesafe": "typesafe",
        "vercel": "aigateway gateway vercel vercelaigateway",
        "voyageai": "voyage voyageai",
        "watsonx": "ibmwatsonxai watsonx watsonxai",
        "x-ai": "chatxai grok xai xaigrok",
        "zai": "zai zaiorg",
        "zhipuai": "bigmodel zhipu zhipuai",
    }
)
"""From the name in lower case without separators: `aws.bedrock`, `AWS Bedrock` and `aws_bedrock` are
one name. Class names of LangChain (`ChatOpenAI`) are names too."""

FRAMEWORKS: Final = frozenset(
    [
        "agentframework",
        "agno",
        "aisdk",
        "autogen",
        "copilotstudio",
        "crewai",
        "custom",
        "customopenai",
        "dspy",
        "gcpvertexagent",
        "genericopenai",
        "googleadk",
        "haystack",
        "hostedvllm",
        "instructor",
        "langchain",
        "langgraph",
        "litellm",
        "litellmproxy",
        "llamaindex",
        "mastra",
        "microsoftagentframework",
        "microsoftagents",
        "microsoftsemantickernel",
        "none",
        "null",
        "openaiagents",
        "openaiapicompatible",
        "openaicompatible",
        "openailike",
        "other",
        "outlines",
        "phidata",
        "portkey",
        "pydanticai",
        "semantickernel",
        "smolagents",
        "springai",
        "strands",
        "strandsagents",
        "undefined",
        "unknown",
        "vllm",
    ]
)
"""Names that stand where a provider should, in the form of `ALIASES`: who calls it, or the protocol
that it speaks. They do not say who bills."""

HOSTS: Final = _by_word(
    {
        "ai21": "ai21.com",
        "alibaba": "aliyuncs.com",
        "anthropic": "anthropic.com",
        "arcee": "arcee.ai",
        "assemblyai": "assemblyai.com",
        "avian": "avian.io",
        "aws": "amazonaws.com amazonaws.com.cn api.aws",
        "azure": (
            "azure-api.net cognitive.microsoft.com cognitiveservices.azure.com "
            "models.ai.azure.com openai.azure.com openai.azure.us services.ai.azure.com "
            "speech.microsoft.com"
        ),
        "baseten": "baseten.co",
        "cartesia": "cartesia.ai",
        "cerebras": "cerebras.ai",
        "cloudflare": "api.cloudflare.com",
        "cohere": "cohere.ai cohere.com",
        "cursor": "api.cursor.com",
        "databricks": "azuredatabricks.net cloud.databricks.com gcp.databricks.com",
        "deepgram": "deepgram.com",
        "deepinfra": "deepinfra.com",
        "deepseek": "deepseek.com",
        "doubleword": "doubleword.ai",
        "elevenlabs": "elevenlabs.io",
        "fireworks": "fireworks.ai",
        "github": "models.github.ai models.inference.ai.azure.com",
        "github-copilot": "githubcopilot.com",
        "gladia": "gladia.io",
        "google": "googleapis.com",
        "groq": "groq.com",
        "huggingface": "huggingface.co",
        "hume": "hume.ai",
        "hyperbolic": "hyperbolic.xyz",
        "livekit": "livekit.cloud",
        "lmnt": "lmnt.com",
        "meta": "api.meta.ai",
        "minimax": "minimax.chat minimax.io minimaxi.com",
        "mistral": "mistral.ai",
        "modal": "modal.direct modal.run",
        "moonshotai": "moonshot.ai moonshot.cn",
        "nebius": "nebius.ai nebius.com",
        "neuphonic": "neuphonic.com",
        "novita": "novita.ai",
        "nvidia": "nvidia.com",
        "ollama": "ollama.com",
        "openai": "openai.com",
        "openrouter": "openrouter.ai",
        "ovhcloud": "ovh.net",
        "perplexity": "perplexity.ai",
        "playht": "play.ht",
        "quicksilverpro": "quicksilverpro.io",
        "replicate": "replicate.com",
        "resemble": "resemble.ai",
        "rime": "rime.ai",
        "sambanova": "sambanova.ai",
        "snowflake": "snowflakecomputing.com",
        "soniox": "soniox.com",
        "speechmatics": "speechmatics.com",
        "together": "together.ai together.xyz",
        "typesafe": "typesafe.ai",
        "vercel": "ai-gateway.vercel.sh",
        "voyageai": "voyageai.com",
        "x-ai": "x.ai",
        "zai": "z.ai",
        "zhipuai": "bigmodel.cn",
    }
)
"""From the end of a host name. LiveKit's OpenAI plugin sends the host of its base URL."""

_HOST_LABELS_MAX: Final = 5
_OLLAMA_PORT: Final = 11434
_API_WORDS: Final = frozenset(
    [
        "ai",
        "anthropic",
        "api",
        "audio",
        "batch",
        "chat",
        "completion",
        "completions",
        "converse",
        "embedding",
        "embeddings",
        "generative",
        "image",
        "images",
        "language",
        "llm",
        "maas",
        "message",
        "messages",
        "model",
        "models",
        "moderation",
        "openai",
        "realtime",
        "rerank",
        "reranking",
        "response",
        "responses",
        "speech",
        "stt",
        "text",
        "transcription",
        "tts",
        "video",
        "vision",
        "xai",
    ]
)
"""Words after a provider's name that say which of its APIs was called (`openai.chat`), or whose
models it serves (`vertex.anthropic.messages`)."""
NAME_CHARS_MAX: Final = 256
"""Of a name that is looked up and remembered, by its text: 4,096 of them take 1 MB. No event has a
longer one (`schemas.limits.ID_CHARS_MAX`)."""
_LEADING: Final = frozenset({"chat", "llm"})
_SEPARATORS: Final = re.compile(r"[^0-9a-z]+")
_HUGGINGFACE_ROUTER: Final = "router.huggingface.co"
_CLOUDFLARE_GATEWAY: Final = "gateway.ai.cloudflare.com"


def canonical(name: str | None) -> str | None:
    """The id of a provider, from its name or the URL of its API. An unknown name is only put in lower
    case."""
    if not name or not name.strip():
        return None
    return known(name) or _plain(name)


def known(name: str | None) -> str | None:
    """The id of a provider that is known by this name or URL; None for any other. Of a longer text only
    the first `NAME_CHARS_MAX` characters are read, which have the host of a URL."""
    return _known(name[:NAME_CHARS_MAX]) if name else None


def is_framework(name: str) -> bool:
    """Whether a name does not tell who bills: that of a framework or a protocol, or "unknown"."""
    return _SEPARATORS.sub("", name.lower()) in FRAMEWORKS


@lru_cache(maxsize=4096)
def _known(name: str) -> str | None:
    lower = name.strip().lower()
    words = [word for word in _SEPARATORS.split(lower) if word]
    squeezed = "".join(words)
    if squeezed in ALIASES:
        return ALIASES[squeezed]
    if lower.startswith("huggingface_"):
        return lower  # genai-prices' own ids
    if squeezed in FRAMEWORKS:
        return None
    return _by_host(lower) or _by_words(words)


def _by_words(words: list[str]) -> str | None:
    """`openai.chat`, `google.vertex.chat`, `amazon_bedrock_chat`, `chat-google-generative-ai`."""
    if words and words[0] in _LEADING:
        words = words[1:]
    for count in range(len(words), 0, -1):
        found = ALIASES.get("".join(words[:count]))
        if found:
            return found
        if words[count - 1] not in _API_WORDS:
            return None
    return None


def _by_host(lower: str) -> str | None:
    """By the host of a URL, or of a bare `host:port/path`."""
    if "." not in lower and ":" not in lower:
        return None
    try:
        url = urlsplit(lower if "://" in lower else f"//{lower}")
        host, port = url.hostname or "", url.port
    except ValueError:
        return None
    path = [part for part in url.path.split("/") if part]
    if host == _HUGGINGFACE_ROUTER and path and path[0] != "v1":
        return f"huggingface_{path[0]}"
    if host == _CLOUDFLARE_GATEWAY:  # /v1/ACCOUNT/GATEWAY/PROVIDER
        return ALIASES.get(_SEPARATORS.sub("", path[3])) if len(path) > 3 else None
    labels = host.split(".")
    for start in range(max(0, len(labels) - _HOST_LABELS_MAX), len(labels) - 1):
        found = HOSTS.get(".".join(labels[start:]))
        if found:
            return found
    return "ollama" if port == _OLLAMA_PORT else None


def _plain(name: str) -> str:
    """An unknown name in lower case; of a URL, its host and port."""
    lower = name.strip().lower()
    if "://" in lower:
        return lower.partition("://")[2].partition("/")[0] or lower
    return lower
