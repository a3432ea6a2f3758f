"""Provider and model of a call, from the names that libraries really write."""

from __future__ import annotations

import pytest
from genai_prices.data import providers

from schemas.limits import ID_CHARS_MAX
from schemas.prices.genai_list import INSTALLED
from schemas.prices.names import _by_model, _plain_model, by_model, listed_names, names, plain_model
from schemas.prices.providers import (
    ALIASES,
    FRAMEWORKS,
    HOSTS,
    NAME_CHARS_MAX,
    canonical,
    is_framework,
    known,
)
from schemas.prices.tariffs import bundled_model

WITHOUT_PRICES = """
    ai21 alibaba assemblyai cartesia deepgram deepinfra fal github gladia heroku huggingface hume
    hyperbolic livekit lmnt nebius neuphonic nvidia ollama playht replicate resemble rime sambanova
    snowflake soniox speechmatics vercel watsonx
"""


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("OpenAI", "openai"),
        ("openai.chat", "openai"),  # Vercel AI SDK
        ("openai.responses", "openai"),
        ("azure-openai.chat", "azure"),
        ("azure_openai", "azure"),
        ("az.ai.openai", "azure"),  # OpenTelemetry
        ("azure.ai.inference", "azure"),
        ("google-vertex", "google"),  # pydantic-ai
        ("google-gla", "google"),
        ("google.generative-ai", "google"),
        ("google.vertex.chat", "google"),
        ("vertex.anthropic.messages", "google"),
        ("gcp.vertex_ai", "google"),
        ("VertexAI", "google"),  # OpenLLMetry
        ("google_genai", "google"),  # LangChain
        ("chat-google-generative-ai", "google"),
        ("ChatOpenAI", "openai"),
        ("amazon_bedrock_converse_chat", "aws"),
        ("amazon-bedrock", "aws"),
        ("Amazon Bedrock", "aws"),
        ("AWS", "aws"),
        ("MistralAI", "mistral"),
        ("mistral_ai", "mistral"),
        ("togetherai.chat", "together"),
        ("fireworks_ai", "fireworks"),
        ("xai", "x-ai"),
        ("X.AI", "x-ai"),
        ("grok", "x-ai"),
        ("anthropic.messages", "anthropic"),
        ("github_copilot", "github-copilot"),
        ("huggingface_fireworks-ai", "huggingface_fireworks-ai"),
        ("Cartesia", "cartesia"),
        ("ElevenLabs", "elevenlabs"),
        ("api.openai.com", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("my-deployment.openai.azure.com", "azure"),
        ("https://me.services.ai.azure.com/anthropic/v1", "azure"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "aws"),
        ("https://api.x.ai/v1", "x-ai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
        ("https://router.huggingface.co/groq/openai/v1", "huggingface_groq"),
        ("https://gateway.ai.cloudflare.com/v1/account/mine/openai", "openai"),
        ("http://localhost:11434/v1", "ollama"),
        ("localhost:8080", "localhost:8080"),
        ("http://10.0.0.7:8000/v1", "10.0.0.7:8000"),
        ("notopenai.com", "notopenai.com"),
        ("openai-compatible", "openai-compatible"),
        ("openai-proxy", "openai-proxy"),
        ("https://[broken", "[broken"),
        ("MyOwn", "myown"),
        (" ", None),
        ("", None),
        (None, None),
    ],
)
def test_a_provider_has_one_name(name: str | None, provider: str | None) -> None:
    assert canonical(name) == provider


def test_names_lead_to_providers_that_prices_know() -> None:
    priced = {provider.id for provider in providers}
    targets = set(ALIASES.values()) | set(HOSTS.values())
    assert targets - priced == set(WITHOUT_PRICES.split())
    assert all(canonical(target) == target for target in targets | priced)
    assert not FRAMEWORKS & ALIASES.keys()


@pytest.mark.parametrize(
    "name", ["strands-agents", "LangChain", "litellm", "openai_compatible", "_OTHER", "unknown"]
)
def test_a_framework_is_no_provider(name: str) -> None:
    assert is_framework(name)
    assert known(name) is None


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-2024-08-06", "openai"),
        ("ft:gpt-4o-2024-08-06:acme::x1", "openai"),
        ("o3-mini", "openai"),
        ("text-embedding-3-small", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("models/gemini-2.5-flash", "google"),
        ("projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4", "google"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "aws"),
        ("amazon.nova-lite-v1:0", "aws"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "aws"),
        ("grok-4", "x-ai"),
        ("mistral-large-latest", "mistral"),
        ("command-a-03-2025", "cohere"),
        ("sonar-pro", "perplexity"),
        ("accounts/fireworks/models/deepseek-v3p1", "fireworks"),
        ("@cf/meta/llama-3.1-8b-instruct", "cloudflare"),
        ("azure/my-deployment", "azure"),
        ("vertex_ai/claude-sonnet-4-5", "google"),
        ("google-gla:gemini-2.5-pro", "google"),
        ("litellm_proxy/gpt-4o", "openai"),
        ("groq/llama-3.3-70b-versatile", "groq"),
        ("openai/gpt-oss-120b", None),  # open weights: anybody may serve them
        ("Qwen/Qwen3-32B", None),
        ("mistral:7b", None),
        ("deepseek-r1:8b", None),
        ("llama3.2", None),
        ("my-model", None),
    ],
)
def test_a_model_tells_its_provider_if_only_one_has_it(model: str, provider: str | None) -> None:
    assert by_model(model) == provider


@pytest.mark.parametrize(
    ("provider", "model", "plain"),
    [
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "google",
            "projects/p/locations/l/publishers/google/models/gemini-2.5-pro",
            "gemini-2.5-pro",
        ),
        ("fireworks", "accounts/fireworks/models/deepseek-r1-0528", "deepseek-r1-0528"),
        ("fireworks", "accounts/acme/models/own", "accounts/acme/models/own"),
        ("azure", "azure/gpt-4o", "gpt-4o"),
        ("aws", "bedrock/converse/us.amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0"),
        (
            "aws",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0",
            "us.amazon.nova-lite-v1:0",
        ),
        ("openai", "openai:gpt-4o", "gpt-4o"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::x1", "ft:gpt-4o-2024-08-06:acme::x1"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
        ("ollama", "llama3.2:3b", "llama3.2:3b"),
        (None, "litellm_proxy/gpt-4o", "gpt-4o"),
        ("openai", " ", None),
        ("openai", None, None),
    ],
)
def test_a_model_has_one_name(provider: str | None, model: str | None, plain: str | None) -> None:
    assert plain_model(provider, model) == plain


@pytest.mark.parametrize(
    ("said", "model", "url", "default", "expected"),
    [
        ("strands-agents", "us.amazon.nova-lite-v1:0", None, None, "aws"),
        ("langchain", "my-model", None, None, "langchain"),
        ("meta", "us.meta.llama3-3-70b-instruct-v1:0", None, None, "aws"),
        ("google", "claude-sonnet-4-5", None, None, "google"),
        # a client for a protocol that others speak too
        ("openai", "llama-3.3-70b", "https://api.groq.com/openai/v1", None, "groq"),
        ("openai", "gpt-4o", "https://llm.acme.example/v1", None, "openai"),
        ("openai", "claude-sonnet-4-5", None, None, "anthropic"),
        ("anthropic", "us.anthropic.claude-sonnet-4-20250514-v1:0", None, None, "aws"),
        ("openai", "my-model", None, None, "openai"),
        # an answer that names no provider
        (None, "gpt-4o", None, "openai", "openai"),
        (None, "gemini-2.5-flash", None, "openai", "google"),
        (None, None, None, "openai", "openai"),
        (None, "my-model", None, "openai", "openai"),
        (None, "llama3.2", None, "openai", None),
        (None, "llama3.2", "http://localhost:11434", "openai", "ollama"),
        (None, "llama3.2", "http://llm.acme.example", None, "llm.acme.example"),
        ("myown", "gpt-4o", None, "openai", "myown"),
    ],
)
def test_who_bills(
    said: str | None,
    model: str | None,
    url: str | None,
    default: str | None,
    expected: str | None,
) -> None:
    assert names(said, model, url, default).provider == expected


def test_a_plain_name_has_the_price_of_the_full_one() -> None:
    """For every model of the bundled list: nothing is lost by taking its path away."""
    for provider in providers:
        for model in provider.models:
            plain = plain_model(provider.id, model.id)
            assert plain is not None
            if plain != model.id:
                found = bundled_model(INSTALLED, provider.id, plain)
                assert found is not None
                assert found[1].prices == model.prices, (provider.id, model.id, plain)
    assert bundled_model(INSTALLED, "google", "models/gemini-2.5-flash") == bundled_model(
        INSTALLED, "google", "gemini-2.5-flash"
    )
    assert bundled_model(INSTALLED, "fireworks", "deepseek-r1-0528") is not None
    assert listed_names("openai", "gpt-4o")[0] == "gpt-4o"


def test_a_name_that_no_event_may_have_is_neither_followed_nor_remembered() -> None:
    """A name of 16 MB would be kept 4,096 times; one that repeats a provider would be followed deep."""
    before = [cache.cache_info().misses for cache in (_by_model, _plain_model)]
    for long in ("openai/" * 600 + "x", "openai:" * 600 + "x", "x" * (NAME_CHARS_MAX + 1)):
        assert names(None, long) == (None, long)
        assert names("openai", long) == ("openai", long)
        assert plain_model("openai", long) == long
        assert by_model(long) is None
        assert names(long, "gpt-4o").model == "gpt-4o"
    assert [cache.cache_info().misses for cache in (_by_model, _plain_model)] == before
    assert known("https://api.openai.com/v1?" + "x" * 5000) == "openai"
    assert names(None, "openai/" * 36 + "x") == (None, "openai/" * 36 + "x")


def test_every_name_of_an_event_is_short_enough_to_be_looked_up() -> None:
    assert NAME_CHARS_MAX == ID_CHARS_MAX
