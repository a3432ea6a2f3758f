"""One id for each provider, whatever libraries call it. Data. Pure.

The ids are those of genai-prices where it knows the provider (a test compares), so that a price is
found under the name that is counted. The matching of genai-prices is not used: it takes any name
with "openai" in it for OpenAI, even Azure's, and their prices differ.
"""

from __future__ import annotations

from typing import Final

ALIASES: Final = {
    # OpenTelemetry's names
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "vertex_ai": "google",
    "gemini": "google",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "aws.bedrock": "aws",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    # LiteLLM's
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "sagemaker": "aws",
    "vertex_ai_beta": "google",
    "xai": "x-ai",
    "cohere_chat": "cohere",
    "together_ai": "together",
    "together-ai": "together",
    "fireworks_ai": "fireworks",
    "github_copilot": "github-copilot",
    "moonshot": "moonshotai",
    "text-completion-openai": "openai",
    # Names that clients show
    "amazon bedrock": "aws",
    "amazon polly": "aws",
    "amazon transcribe": "aws",
    "azure openai": "azure",
    "google cloud platform": "google",
    "mistralai": "mistral",
    "vertex ai": "google",
}
"""From the name in lower case."""

HOSTS: Final = {
    "anthropic.com": "anthropic",
    "amazonaws.com": "aws",
    "openai.azure.com": "azure",
    "azure-api.net": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "cerebras.ai": "cerebras",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "cartesia.ai": "cartesia",
    "deepgram.com": "deepgram",
    "deepseek.com": "deepseek",
    "elevenlabs.io": "elevenlabs",
    "fireworks.ai": "fireworks",
    "googleapis.com": "google",
    "groq.com": "groq",
    "livekit.cloud": "livekit",
    "mistral.ai": "mistral",
    "openai.com": "openai",
    "openrouter.ai": "openrouter",
    "perplexity.ai": "perplexity",
    "together.ai": "together",
    "together.xyz": "together",
    "x.ai": "x-ai",
}
"""From the end of a host name: LiveKit's OpenAI plugin sends the host of its base URL."""


def canonical(name: str | None) -> str | None:
    """The id of a provider. An unknown name is only put in lower case."""
    if not name:
        return None
    lower = name.strip().lower()
    if lower in ALIASES:
        return ALIASES[lower]
    host = lower.removeprefix("https://").partition("/")[0].partition(":")[0]
    labels = host.split(".")
    for start in range(max(0, len(labels) - 4), len(labels) - 1):
        known = HOSTS.get(".".join(labels[start:]))
        if known:
            return known
    return lower or None
