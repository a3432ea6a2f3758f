"""What an event costs, against prices that the providers publish and against LiteLLM's own list."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.prices.cost import Priced, facts, price
from schemas.prices.price_list import BUNDLED, BUNDLED_VERSION, parse_prices
from schemas.prices.providers import canonical
from schemas.prices.tariffs import Tariff, Unpriced, Why, tariff
from tests.schemas.formats.fixtures import fixture, read


def event(**given: Any) -> UsageEvent:
    made = {"id": "e", "source": "s", "time": "2026-11-01T10:00:00Z", "kind": "llm", **given}
    return parse_usage(made)


def nano(**given: Any) -> int:
    priced = price(event(**given))
    assert isinstance(priced, Priced), priced
    return priced.nano_usd


def reason(**given: Any) -> str:
    unpriced = price(event(**given))
    assert isinstance(unpriced, Unpriced)
    return unpriced.reason


def test_the_version_of_the_prices_is_recorded() -> None:
    assert BUNDLED_VERSION.removeprefix("genai-prices ")[0].isdigit()


@pytest.mark.parametrize(
    ("model", "base", "cache_write", "cache_read", "output"),
    [  # Anthropic's price table, nano-USD a token: base, 5m cache writes, cache hits, output
        ("claude-opus-5-5", 4000, 5000, 200, 20000),
        ("claude-fable-5-1", 10000, 12500, 250, 50000),
        ("claude-opus-5", 5000, 6250, 500, 25000),
        ("claude-opus-4-6", 5000, 6250, 500, 25000),
        ("claude-haiku-4-5", 1000, 1250, 100, 5000),
    ],
)
def test_anthropics_published_prices(
    model: str, base: int, cache_write: int, cache_read: int, output: int
) -> None:
    whole = {"provider": "anthropic", "model": model, "output_tokens": 7}
    assert nano(**whole, input_tokens=100) == 100 * base + 7 * output
    parts = {"input_tokens": 100, "cache_read_tokens": 60, "cache_write_tokens": 30}
    expected = 10 * base + 60 * cache_read + 30 * cache_write + 7 * output
    assert nano(**whole, **parts) == expected


def test_openais_published_prices_of_text_audio_and_cache() -> None:
    """Realtime (2024-12-17): text 5, cached 2.5, out 20; audio 40, cached 2.5, out 80 USD a
    million. The usage block is one that OpenAI's API answered."""
    assert (
        nano(
            provider="openai",
            model="gpt-4o-realtime-preview-2024-12-17",
            input_tokens=789,
            input_text_tokens=313,
            input_audio_tokens=476,
            cache_read_tokens=640,
            cache_read_text_tokens=256,
            cache_read_audio_tokens=384,
            output_tokens=32,
            output_text_tokens=9,
            output_audio_tokens=23,
        )
        == (313 - 256) * 5000 + 640 * 2500 + (476 - 384) * 40000 + 9 * 20000 + 23 * 80000
    )


def test_openais_published_prices_of_speech() -> None:
    # tts-1: 15 USD a million characters; whisper: 0.006 USD a minute.
    assert nano(kind="tts", provider="openai", model="tts-1", tts_characters=12) == 180_000
    assert nano(kind="stt", provider="openai", model="whisper-1", stt_audio_ms=90_000) == 9_000_000
    assert nano(kind="stt", provider="openai", model="whisper-1", stt_audio_ms=1) == 100


@pytest.mark.parametrize(
    "name", ["litellm/chat", "litellm/anthropic", "litellm/embedding", "litellm/speech"]
)
def test_two_price_lists_agree(name: str) -> None:
    """LiteLLM prices from a list of its own. The fixture's gpt-4o reports audio, which that model does
    not have: LiteLLM bills it as text, we state no price."""
    (made,) = read(fixture(name)).events
    assert isinstance(made.usage, UsageEvent)
    assert made.usage.cost_usd is not None
    text = {"cost_usd": None, "input_audio_tokens": 0, "output_audio_tokens": 0}
    priced = price(made.usage.model_copy(update=text))
    assert isinstance(priced, Priced)
    assert priced.nano_usd == made.usage.cost_usd * 10**9


def test_a_price_is_that_of_the_events_own_time() -> None:
    given = {"provider": "openai", "model": "o3", "input_tokens": 10, "output_tokens": 1}
    # o3 cost 10 and 40 USD a million until 10 June 2025, 2 and 8 since.
    assert nano(**given, time="2025-06-01T00:00:00Z") == 10 * 10_000 + 40_000
    assert nano(**given, time="2025-07-01T00:00:00Z") == 10 * 2000 + 8000


def test_the_provider_is_found_by_any_of_its_names() -> None:
    given = {"model": "gpt-4o", "input_tokens": 10, "output_tokens": 1}
    assert nano(provider="api.openai.com", **given) == nano(provider="OpenAI", **given)
    assert nano(provider="az.ai.openai", **given) == 35_000
    claude = "bedrock/us.anthropic.claude-3-5-sonnet-20240620-v1:0"
    assert nano(provider="bedrock", **{**given, "model": claude}) > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "gpt-4o"}, "names no provider"),
        ({"provider": "openai"}, "names no model"),
        ({"provider": "openai", "model": "nope"}, "knows no model 'nope' of 'openai'"),
        ({"provider": "openai-compatible", "model": "gpt-4o"}, "knows no model"),
        ({"provider": "openai", "model": "gpt-4o"}, "input_tokens, output_tokens"),
        ({"provider": "openai", "model": "gpt-4o", "input_tokens": 1}, "by output_tokens"),
        (
            {"kind": "tts", "provider": "openai", "model": "gpt-4o-mini-tts", "tts_characters": 9},
            "billed by input_tokens, output_tokens",
        ),
        (
            {"kind": "stt", "provider": "openai", "model": "whisper-1"},
            "whisper-1 is billed by stt_audio_ms, which",
        ),
        ({"kind": "call", "provider": "openai", "model": "gpt-4o"}, "of kind call"),
    ],
)
def test_what_is_not_known_is_unpriced_and_never_0(given: dict[str, Any], said: str) -> None:
    assert said in reason(**given)


def test_parts_that_contradict_or_overlap_are_unpriced() -> None:
    given = {"provider": "openai", "input_tokens": 10, "output_tokens": 1}
    assert "cannot exceed" in reason(**given, model="gpt-4o", cache_read_tokens=11)
    shared = {"input_audio_tokens": 5, "cache_read_tokens": 5}
    assert "overlapping" in reason(**given, **shared, model="gpt-realtime")


def test_audio_of_a_transcription_must_be_told_from_its_prompt() -> None:
    given = {"kind": "stt", "provider": "openai", "model": "gpt-4o-transcribe"}
    tokens = {"input_tokens": 140, "output_tokens": 45}
    assert "input_audio_tokens" in reason(**given, **tokens)
    assert nano(**given, **tokens, input_audio_tokens=126) > 0


@given(
    st.sampled_from(
        [
            ("openai", "gpt-realtime"),
            ("openai", "gpt-4o-transcribe"),
            ("anthropic", "claude-sonnet-4-5"),
            ("google", "gemini-2.5-pro"),
            ("groq", "whisper-large-v3"),
            ("perplexity", "sonar"),
            ("elevenlabs", "eleven_realtime_v1_max"),
            ("mistral", "mistral-ocr-2505"),
        ]
    ),
    st.sampled_from(["llm", "tts", "stt"]),
    st.dictionaries(
        st.sampled_from(
            sorted(
                name
                for name in UsageEvent.model_fields
                if name.endswith(("_tokens", "_characters", "_audio_ms"))
            )
        ),
        st.integers(0, 10**8),
    ),
)
def test_any_event_is_priced_or_unpriced(
    model: tuple[str, str], kind: str, counts: dict[str, int]
) -> None:
    answer = price(event(kind=kind, provider=model[0], model=model[1], **counts))
    assert isinstance(answer, Unpriced) or answer.nano_usd >= 0


# -- facts that decide a price ---------------------------------------------------------------------

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("given", "usd"),
    [  # each with the price that its provider publishes
        ({"model": "gpt-5-nano", "service_tier": "flex"}, "0.225"),
        ({"model": "gpt-5-nano", "service_tier": "default"}, "0.45"),
        ({"model": "gpt-5-nano", "service_tier": "auto"}, "0.45"),
        ({"model": "gpt-5", "service_tier": "priority"}, "22.5"),
        ({"model": "gpt-4o-2024-08-06", "service_tier": "batch"}, "6.25"),
        ({"model": "gpt-5", "web_searches": 3}, "11.28"),
        ({"model": "gpt-5", "file_searches": 2}, "11.255"),
        ({"model": "gpt-image-1.5", "output_image_tokens": MILLION}, "37"),
        ({"provider": "anthropic", "model": "claude-haiku-4-5", "service_tier": "batch"}, "3"),
        ({"provider": "anthropic", "model": "claude-opus-4-8", "speed": "fast"}, "60"),
        (
            {
                "provider": "anthropic",
                "model": "claude-haiku-4-5",
                "cache_write_tokens": 600_000,
                "cache_write_1h_tokens": 200_000,
            },
            "6.3",  # 0.4 at 1, 0.4 at 1.25, 0.2 at 2, and 5
        ),
        ({"provider": "google", "model": "gemini-2.5-flash", "service_tier": "batch"}, "1.4"),
        ({"provider": "google", "model": "gemini-2.5-pro", "input_audio_tokens": 1000}, "17.5"),
    ],
)
def test_a_fact_changes_the_price(given: dict[str, Any], usd: str) -> None:
    whole = {"provider": "openai", "input_tokens": MILLION, "output_tokens": MILLION}
    assert nano(**{**whole, **given}) == Decimal(usd) * 10**9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "gpt-5-nano", "service_tier": "priority"}, "for service_tier priority"),
        ({"model": "gpt-5", "service_tier": "scale"}, "for service_tier scale"),
        ({"model": "gpt-5", "service_tier": "flex", "time": "2026-02-01T00:00:00Z"}, "tier flex"),
        ({"model": "gpt-5", "region": "eu"}, "for region eu"),
        ({"model": "gpt-5", "speed": "fast"}, "for speed fast"),
        ({"provider": "azure", "model": "gpt-5", "service_tier": "batch"}, "tier batch"),
        ({"provider": "anthropic", "model": "claude-opus-4-8", "service_tier": "batch",
          "speed": "fast"}, "for service_tier batch, speed fast"),
        ({"model": "gpt-4o", "input_audio_tokens": 1}, "no rate for input_audio_tokens"),
        ({"model": "gpt-4o", "output_audio_tokens": 1}, "no rate for output_audio_tokens"),
        ({"model": "gpt-4o", "output_image_tokens": 1}, "no rate for output_image_tokens"),
        ({"model": "gpt-4o", "tool_calls": 1}, "no rate for tool_calls"),
        ({"model": "gpt-4o", "code_executions": 1}, "no rate for code_executions"),
        ({"provider": "groq", "model": "llama-3.3-70b-versatile", "web_searches": 1}, "web_searches"),
        ({"provider": "aws", "model": "us.anthropic.claude-sonnet-4-20250514-v1:0",
          "cache_write_tokens": 5, "cache_write_1h_tokens": 5}, "cache_write_1h_tokens"),
        ({"model": "gpt-5", "cache_write_1h_tokens": 1}, "no rate for cache_write_1h_tokens"),
        ({"provider": "anthropic", "model": "claude-haiku-4-5", "cache_write_tokens": 1,
          "cache_write_1h_tokens": 2}, "cannot exceed"),
        ({"model": "gpt-4o", "cost_problem": "total_tokens contradicts"}, "total_tokens contradicts"),
    ],
)  # fmt: skip
def test_a_fact_without_a_rate_leaves_no_price(given: dict[str, Any], said: str) -> None:
    whole = {"provider": "openai", "input_tokens": MILLION, "output_tokens": MILLION}
    unpriced = price(event(**{**whole, **given}))
    assert isinstance(unpriced, Unpriced)
    assert unpriced.why is Why.INCOMPLETE
    assert said in unpriced.reason


def test_the_facts_behind_a_cost_are_named() -> None:
    made = event(
        provider="openai", model="gpt-5", input_tokens=7, output_tokens=0, service_tier="Flex"
    )
    assert facts(made) == {"input_tokens": 7, "service_tier": "flex"}
    priced = price(made)
    assert isinstance(priced, Priced)
    assert priced.tariff.sentence().endswith("gpt-5, service_tier flex)")


def test_audio_that_is_all_a_model_makes_needs_no_rate_of_its_own() -> None:
    made = {"kind": "tts", "provider": "openai", "model": "gpt-4o-mini-tts"}
    numbers = {"input_tokens": 10, "output_tokens": 100, "output_audio_tokens": 100}
    assert nano(**made, **numbers) == 10 * 600 + 100 * 12_000


# -- prices that the bundled list lacks ------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "usd"),
    [
        ({"kind": "stt", "provider": "Deepgram", "model": "nova-3", "stt_audio_ms": 60_000}, "0.0048"),
        (
            {"kind": "stt", "provider": "deepgram", "model": "nova-3", "stt_audio_ms": 60_000,
             "service_tier": "prerecorded"},
            "0.0043",
        ),
        ({"kind": "tts", "provider": "deepgram", "model": "aura-2-thalia-en", "tts_characters": 1000},
         "0.03"),
        ({"kind": "tts", "provider": "deepgram", "model": "aura-asteria-en", "tts_characters": 1000},
         "0.015"),
        ({"kind": "tts", "provider": "elevenlabs", "model": "eleven_flash_v2_5",
          "tts_characters": 30}, "0.0012"),
        ({"kind": "stt", "provider": "assemblyai", "model": "universal-2", "stt_audio_ms": 3_600_000},
         "0.15"),
        ({"kind": "stt", "provider": "google", "model": "chirp_2", "stt_audio_ms": 60_000}, "0.016"),
        ({"kind": "stt", "provider": "azure", "model": "speech/azure-stt", "stt_audio_ms": 3_600_000},
         "1"),
        (
            {"provider": "openai", "model": "gpt-4o-audio-preview-2024-12-17", "input_tokens": 1300,
             "input_audio_tokens": 1200, "output_tokens": 700, "output_audio_tokens": 500},
            "0.09025",
        ),
        (
            {"provider": "anthropic", "model": "claude-opus-4-6", "input_tokens": 70_000,
             "output_tokens": 800, "region": "us"},
            "0.407",
        ),
    ],
)  # fmt: skip
def test_prices_that_come_with_the_package(given: dict[str, Any], usd: str) -> None:
    made = {"time": "2026-11-30T12:00:00Z", **given}
    assert nano(**made) == Decimal(usd) * 10**9


def test_every_listed_price_has_a_source_and_its_day() -> None:
    assert len(BUNDLED.listed.own) > 25
    for entry in BUNDLED.listed.own:
        assert entry.source, entry.name
        assert entry.read, entry.name
        assert entry.provider == canonical(entry.provider), entry.name
    found = tariff(BUNDLED, "default", "deepgram", "nova-3", datetime(2026, 11, 30, tzinfo=UTC))
    assert isinstance(found, Tariff)
    assert not found.is_own
    assert "deepgram.com/pricing" in found.sentence()


def test_the_operators_price_wins_over_a_listed_one() -> None:
    own = parse_prices(
        b"[[price]]\nprovider = 'deepgram'\nmodel = 'nova*'\nusd_per_minute_of_audio = 0.002\n",
        "own.toml",
    )
    made = event(kind="stt", provider="deepgram", model="nova-3", stt_audio_ms=60_000)
    priced = price(made, own)
    assert isinstance(priced, Priced)
    assert priced.nano_usd == 2_000_000
