"""Prices of our own: which entry holds, how the costs come out, and what a list may not say."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import InvalidConfig
from schemas.event.usage_event import parse_usage
from schemas.prices.cost import Priced, price
from schemas.prices.genai_list import GENAI_VERSION
from schemas.prices.price_list import (
    BUNDLED,
    BUNDLED_VERSION,
    PRICES_BYTES_MAX,
    Prices,
    parse_prices,
)
from schemas.prices.tariffs import Unpriced, Why


def prices(text: str) -> Prices:
    return parse_prices(text.encode(), "prices.toml")


def one(**fields: Any) -> str:
    """An entry."""
    days = ("from", "to")
    lines = [
        f"{name} = {value!r}"
        if isinstance(value, str) and name not in days
        else f"{name} = {value}"
        for name, value in fields.items()
    ]
    return "\n".join(["[[price]]", *lines, ""])


def cost(listed: Prices, **fields: Any) -> int:
    answer = answered(listed, **fields)
    assert isinstance(answer, Priced), answer
    return answer.nano_usd


def answered(listed: Prices, **fields: Any) -> Priced | Unpriced:
    made = {"id": "e", "source": "s", "time": "2026-05-01T00:00:00Z", "kind": "llm", **fields}
    return price(parse_usage(made), listed)


INPUT = "usd_per_million_input_tokens"


def test_the_entry_of_the_tenant_then_of_the_provider_then_the_longest_name_holds() -> None:
    entries = [
        one(model="*", **{INPUT: 1}),
        one(model="gpt*", **{INPUT: 2}),
        one(model="gpt-4o", **{INPUT: 3}),
        one(provider="openai", model="gpt*", **{INPUT: 4}),
        one(provider="openai", model="gpt-4o-*", **{INPUT: 5}),
        one(tenant="acme", model="*", **{INPUT: 6}),
        one(tenant="default", provider="azure", model="*", **{INPUT: 7}),
    ]
    for listed in (prices("".join(entries)), prices("".join(reversed(entries)))):
        found = {
            (tenant, provider, model): cost(
                listed, tenant=tenant, provider=provider, model=model, input_tokens=1
            )
            for tenant, provider, model in (
                (None, None, None), (None, "x", "GPT-5"), ("t", "x", "gpt-4o"),
                ("t", "OpenAI", "gpt-4o"), ("t", "api.openai.com", "GPT-4o-mini"),
                ("acme", "openai", "gpt-4o-mini"), (None, "az.ai.openai", "gpt-4o"),
            )
        }  # fmt: skip
        assert [nano // 1000 for nano in found.values()] == [1, 2, 3, 4, 5, 6, 7]


def test_an_entry_holds_on_its_days_in_utc_and_the_bundled_price_on_the_others() -> None:
    listed = prices(
        one(provider="openai", model="o3", **{"from": "2026-03-01", "to": "2026-03-03", INPUT: 1})
    )
    given: dict[str, Any] = {"provider": "openai", "model": "o3", "input_tokens": 1}
    days = {
        "2026-02-28T23:59:59.999Z": 2000,
        "2026-03-01T00:00:00+00:00": 1000,
        "2026-03-01T00:59:59+01:00": 2000,
        "2026-03-02T23:59:59.999Z": 1000,
        "2026-03-03T00:00:00Z": 2000,
    }
    assert {at: cost(listed, **given, output_tokens=0, time=at) for at in days} == days


def test_tokens_without_a_price_of_their_own_are_billed_as_what_they_are_a_part_of() -> None:
    listed = prices(
        one(
            model="m",
            usd_per_million_input_tokens=4,
            usd_per_million_cache_read_tokens=0.4,
            usd_per_million_cache_write_tokens=5,
            usd_per_million_input_audio_tokens=32,
            usd_per_million_cache_read_audio_tokens=0.5,
            usd_per_million_output_tokens=16,
            usd_per_million_output_audio_tokens=64,
        )
        + one(model="plain", usd_per_million_input_tokens=4, usd_per_million_output_tokens=16)
    )
    given: dict[str, Any] = {
        "input_tokens": 100, "input_audio_tokens": 60, "cache_read_tokens": 30,
        "cache_read_audio_tokens": 20, "output_tokens": 10, "output_audio_tokens": 7,
        "reasoning_tokens": 3,
    }  # fmt: skip
    text, cached, audio, cached_audio = 30, 10, 40, 20
    expected = text * 4000 + cached * 400 + audio * 32000 + cached_audio * 500
    assert cost(listed, model="m", **given) == expected + 3 * 16000 + 7 * 64000
    assert cost(listed, model="plain", **given) == 100 * 4000 + 10 * 16000
    written = {"input_tokens": 100, "cache_write_tokens": 40, "output_tokens": 0}
    assert cost(listed, model="m", **written) == 60 * 4000 + 40 * 5000
    both = answered(listed, model="m", **written, input_audio_tokens=1)
    assert isinstance(both, Unpriced)  # is the one audio token among the written ones?
    assert both.why is Why.INCOMPLETE


def test_characters_minutes_and_requests() -> None:
    listed = prices(
        one(model="voice", usd_per_million_characters=30)
        + one(model="ear", usd_per_minute_of_audio=0.0043)
        + one(model="search", usd_per_request=0.005, usd_per_million_input_tokens=1)
    )
    assert cost(listed, kind="tts", model="voice", tts_characters=12) == 360_000
    assert cost(listed, kind="stt", model="ear", stt_audio_ms=90_000) == 6_450_000
    assert cost(listed, kind="tts", model="ear", tts_audio_ms=60_000) == 4_300_000
    assert cost(listed, model="search", input_tokens=7) == 5_007_000
    assert cost(listed, model="search", input_tokens=0) == 5_000_000
    failed = answered(listed, model="search", input_tokens=0, error="Timeout")
    assert isinstance(failed, Unpriced)
    assert failed.why is Why.NOTHING


def test_where_an_entry_holds_it_alone_does() -> None:
    listed = prices(one(provider="openai", model="gpt-4o", usd_per_minute_of_audio=1))
    answer = answered(listed, provider="openai", model="gpt-4o", input_tokens=1, output_tokens=1)
    assert isinstance(answer, Unpriced)
    assert answer.why is Why.INCOMPLETE
    assert "openai/gpt-4o is billed by tts_audio_ms, which are not reported" in answer.reason


def test_a_cost_says_by_which_price_it_is() -> None:
    tokens: dict[str, Any] = {"provider": "openai", "model": "gpt-4o"}
    tokens |= {"input_tokens": 1, "output_tokens": 1}
    own = prices(one(tenant="acme", model="gpt*", **{"from": "2026-01-01", INPUT: 3}))
    found = answered(own, **tokens, tenant="acme")
    assert isinstance(found, Priced)
    assert found.tariff.sentence() == "$3/input MTok (own prices: acme: any/gpt* from 2026-01-01)"
    bundled = answered(own, **tokens)
    assert isinstance(bundled, Priced)
    assert bundled.tariff.sentence().endswith(f"({GENAI_VERSION}: gpt-4o)")


def test_the_version_is_of_what_the_list_says_and_not_of_how() -> None:
    listed = prices(one(provider="openai", model="a", **{INPUT: 2}) + one(model="b", **{INPUT: 3}))
    same = prices(
        "# a note\n"
        + one(model="B", **{INPUT: 3})
        + one(provider="OpenAI", model="a", **{INPUT: 2.0})
    )
    assert listed.version == same.version
    assert listed.version.startswith(f"{BUNDLED_VERSION}, own prices ")
    others = [
        one(provider="openai", model="a", **{INPUT: 2}),
        one(provider="openai", model="a", **{INPUT: 2.5}) + one(model="b", **{INPUT: 3}),
        one(model="a", **{INPUT: 2}) + one(model="b", **{INPUT: 3}),
        one(model="a", usd_per_request=2) + one(model="b", **{INPUT: 3}),
    ]
    assert len({listed.version, BUNDLED.version, *(prices(o).version for o in others)}) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("price = 1", "each price must be a table of its own"),
        ("prices = 1", "'prices' is not allowed"),
        ("[[price]", "is not TOML"),
        (one(**{INPUT: 1}), "price 1 (any/no model): model: Field required"),
        (one(model="a", usd_per_million_tokens=1), "usd_per_million_tokens: unknown field; the fields are tenant, provider, model, from, to"),
        (one(model="a", **{INPUT: -1}), f"price 1 (any/a): {INPUT}: Input should be greater than"),
        (one(model="a", **{INPUT: 2e6}), "less than or equal to 1000000"),
        (one(model="a", **{INPUT: float("nan")}), "finite number"),
        (one(model="a", **{INPUT: "1"}), f"{INPUT}: must be a number"),
        (one(model="a", **{INPUT: 0.1234567891}), "no more than 9 decimal places"),
        (one(model="a"), "it has no price"),
        (one(model="a*b", **{INPUT: 1}), "a * is allowed only at the end"),
        (one(model="a", **{INPUT: 1, "from": "'2026-01-01'"}), "from: must be a day"),
        (one(model="a", **{INPUT: 1, "from": "2026-01-01T00:00:00Z"}), "from: must be a day"),
        (one(model="a", **{INPUT: 1, "from": "2026-02-01", "to": "2026-02-01"}), "is not after from"),
        (one(model="a", valid_from="2026-01-01", **{INPUT: 1}), "valid_from: unknown field"),
        (one(model="a", usd_per_million_cache_read_tokens=1), f"needs {INPUT} too"),
        (
            one(
                model="a",
                usd_per_million_cache_read_tokens=1,
                usd_per_million_input_audio_tokens=1,
                **{INPUT: 1},
            ),
            "usd_per_million_cache_read_audio_tokens is missing",
        ),
        (
            one(provider="OpenAI", model="a", **{INPUT: 1, "from": "2026-01-01"})
            + one(provider="openai", model="A", **{INPUT: 2, "to": "2026-01-02"}),
            "price 2 (openai/A to 2026-01-02) overlaps in time with price 1 (OpenAI/a from",
        ),
        ("#" * (PRICES_BYTES_MAX + 1), "a price list has at most 1048576"),
        (one(model="a", **{INPUT: 1}) * 5001, "has 5001 prices, the limit is 5000"),
    ],
)  # fmt: skip
def test_what_a_list_may_not_say_is_named_with_its_entry(text: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        prices(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("prices.toml")


def test_entries_beside_each_other_in_time_are_apart() -> None:
    text = one(model="a", **{INPUT: 1, "to": "2026-01-01"})
    assert len(prices(text + one(model="a", **{INPUT: 2, "from": "2026-01-01"})).own) == 2


# -- terms and extras ------------------------------------------------------------------------------


def test_an_entry_is_for_its_terms_and_others_have_no_price() -> None:
    listed = prices(
        one(model="m", **{INPUT: 8})
        + one(model="m", service_tier="flex", **{INPUT: 4})
        + one(model="m", service_tier="Batch", region="*", **{INPUT: 2})
        + one(model="any", service_tier="*", speed="*", region="*", **{INPUT: 1})
    )
    given = {"provider": "p", "model": "m", "input_tokens": 1000}
    assert cost(listed, **given) == cost(listed, **given, service_tier="default") == 8_000_000
    assert cost(listed, **given, service_tier="flex") == 4_000_000
    assert cost(listed, **given, service_tier="batch", region="us") == 2_000_000
    for terms in ({"service_tier": "priority"}, {"region": "us"}, {"speed": "fast"}):
        unpriced = answered(listed, **given, **terms)
        assert isinstance(unpriced, Unpriced)
        assert unpriced.why is Why.INCOMPLETE
        assert "own prices have any/m, but no price for" in unpriced.reason
    flat = {**given, "model": "any", "service_tier": "priority", "speed": "fast", "region": "eu"}
    assert cost(listed, **flat) == 1_000_000


def test_an_entry_may_be_a_multiple_of_the_standard_price() -> None:
    listed = prices(
        one(provider="anthropic", model="claude-opus-4-6*", region="us", service_tier="*",
            times_token_prices=1.1)
        + one(model="m", **{INPUT: 8})
        + one(model="m", service_tier="flex", times_token_prices=0.5)
    )  # fmt: skip
    opus = {"provider": "anthropic", "model": "claude-opus-4-6", "output_tokens": 800}
    opus |= {"input_tokens": 70_000, "time": "2026-11-01T00:00:00Z"}
    assert cost(listed, **opus) == 370_000_000
    assert cost(listed, **opus, region="us") == 407_000_000
    assert cost(listed, **opus, region="us", service_tier="batch") == 203_500_000
    assert cost(listed, **opus, region="us", web_searches=1) == 417_000_000  # no token
    assert cost(listed, model="m", input_tokens=1000, service_tier="flex") == 4_000_000


def test_an_entry_prices_images_pages_searches_and_tools() -> None:
    listed = prices(
        one(model="draw", usd_per_image=0.04)
        + one(model="read", usd_per_thousand_pages=2)
        + one(
            model="seek",
            usd_per_million_input_tokens=1,
            usd_per_million_input_image_tokens=3,
            usd_per_million_output_tokens=2,
            usd_per_million_output_image_tokens=40,
            usd_per_thousand_web_searches=10,
            usd_per_thousand_file_searches=2.5,
            usd_per_thousand_rerank_searches=2,
            usd_per_thousand_code_executions=30,
            usd_per_thousand_tool_calls=25,
        )
    )
    assert cost(listed, model="draw", images=3) == 120_000_000
    assert cost(listed, model="read", pages=5) == 10_000_000
    seek = {"model": "seek", "input_tokens": 100, "output_tokens": 100}
    assert cost(listed, **seek) == 300_000
    assert cost(listed, **seek, input_image_tokens=40, output_image_tokens=50) == 2_280_000
    tools = ("web_searches", "file_searches", "rerank_searches", "code_executions", "tool_calls")
    dear = [cost(listed, **seek, **{tool: 1}) - 300_000 for tool in tools]
    assert dear == [10_000_000, 2_500_000, 2_000_000, 30_000_000, 25_000_000]
    unpriced = answered(listed, model="draw")
    assert isinstance(unpriced, Unpriced)
    assert "billed by images" in unpriced.reason


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"times_token_prices": 2}, "needs a service_tier, speed or region"),
        ({"times_token_prices": 2, "region": "*"}, "needs a service_tier, speed or region"),
        ({"times_token_prices": 2, "region": "us", INPUT: 1}, "no other price is allowed"),
        ({"service_tier": "", INPUT: 1}, "service_tier: String should have at least 1"),
        ({"usd_per_million_output_image_tokens": 1}, "needs usd_per_million_output_tokens too"),
        (
            {INPUT: 1, "usd_per_million_input_image_tokens": 1,
             "usd_per_million_cache_read_tokens": 1},
            "cache_read_image_tokens is missing",
        ),
    ],
)  # fmt: skip
def test_an_entry_with_terms_that_make_no_price_is_refused(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidConfig, match=said):
        prices(one(model="m", **fields))


def test_entries_of_different_terms_do_not_overlap() -> None:
    prices(one(model="m", **{INPUT: 1}) + one(model="m", region="us", **{INPUT: 2}))
    with pytest.raises(InvalidConfig, match=r"region US.* overlaps in time"):
        prices(
            one(model="m", region="us", **{INPUT: 1}) + one(model="m", region="US", **{INPUT: 2})
        )
