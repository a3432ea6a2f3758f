"""Prices of whole batches: to the nano-USD those of the per-event function, for every model there is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from genai_prices.data import providers as bundled
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog.measures import COST_EVENTS, COST_NANO_USD, MEASURES
from schemas.event.event_struct import EventStruct
from schemas.event.kinds import KINDS, USAGE_KINDS
from schemas.limits import COUNT_MAX, DURATION_MS_MAX
from schemas.prices.billing import BILLED
from schemas.prices.cost import Priced, price, uses_anything
from schemas.prices.price_list import BUNDLED, EarlierPrices, Prices
from schemas.prices.tariffs import Unpriced, Why, edges
from schemas.units import instant_to_ms
from streams.core.pricing import (
    CostSource,
    CostSources,
    PricingInput,
    add_costs,
)
from tests.oracles.price_list import OWN


def priced(
    prices: Prices, wires: Sequence[EventStruct]
) -> tuple[list[int], list[int], CostSources]:
    """Cost and number of costs of each, and how it is known, by the batch."""
    codes, words = {}, {}
    for name in ("kind", "provider", "model", "tenant"):
        texts = [getattr(wire, name) or "" for wire in wires]
        words[name] = list(dict.fromkeys(texts))
        codes[name] = np.array([words[name].index(text) for text in texts], np.int64)
    words["tenant"] = [text or "default" for text in words["tenant"]]
    values = np.zeros((len(wires), len(MEASURES)), np.int64)
    cost, costs = MEASURES.index(COST_NANO_USD), MEASURES.index(COST_EVENTS)
    at_ms = np.array([instant_to_ms(wire.time) for wire in wires], np.int64)
    standing = add_costs(prices, PricingInput(wires, at_ms, codes, words), values)
    return values[:, cost].tolist(), values[:, costs].tolist(), standing


def plain(prices: Prices, wire: EventStruct) -> tuple[int, int, CostSource]:
    """The same by the per-event function."""
    if wire.kind not in USAGE_KINDS:
        return 0, 0, CostSource.NONE
    answer = price(wire, prices)
    if isinstance(answer, Priced):
        standing = CostSource.OWN if answer.tariff.is_own else CostSource.BUNDLED
        return answer.nano_usd, 1, standing
    standings = {Why.NOTHING: CostSource.NONE, Why.UNKNOWN: CostSource.UNKNOWN}
    return 0, 0, standings.get(answer.why, CostSource.INCOMPLETE)


def check(prices: Prices, wires: Sequence[EventStruct]) -> Counter[int]:
    for wire, *batch in zip(wires, *priced(prices, wires), strict=True):
        assert tuple(batch) == plain(prices, wire), (wire, price(wire, prices))
    return Counter(priced(prices, wires)[2].tolist())


def usage(rng: random.Random, provider: str, model: str, at: datetime) -> EventStruct:
    """An event whose numbers often add up and sometimes do not, of which some are left out."""
    whole, out = (rng.choice((0, 1, 999, 130_000, 199_999, 200_000, 200_001, 10**6)) for _ in "io")
    audio = rng.choice((*[0] * 7, rng.randint(0, max(whole, 1))))
    cached = rng.choice((0, 0, rng.randint(0, max(whole - audio, 1))))
    numbers = {
        "input_tokens": whole,
        "output_tokens": out,
        "cache_read_tokens": cached,
        "cache_write_tokens": rng.choice((0, max(whole - audio - cached, 0) // 2)),
        "reasoning_tokens": rng.randint(0, out),
        "input_audio_tokens": audio,
        "cache_read_audio_tokens": rng.choice((0, min(audio, cached))),
        "output_audio_tokens": rng.choice((*[0] * 7, out // 3)),
        "tts_characters": rng.choice((0, 1, 1000)),
        "tts_audio_ms": rng.choice((0, 1, 1499, 90_000)),
        "stt_audio_ms": rng.choice((0, 1, 9_999, 10_000, 90_001, DURATION_MS_MAX)),
    }
    kept: dict[str, Any] = {name: n for name, n in numbers.items() if n and rng.random() < 0.8}
    kept |= {name: numbers[name] for name in rng.sample(list(numbers), 3)}
    if rng.random() < 0.9:
        kept |= {"input_tokens": whole, "output_tokens": out}
    for name in rng.sample(BILLED, rng.choice((*[0] * 7, 1))):
        kept[name] = rng.choice((0, 5, COUNT_MAX if name.endswith("_tokens") else 5))
    if rng.random() < 0.1:
        kept = dict.fromkeys(rng.sample(BILLED, 5), 0)
    if rng.random() < 0.1:
        kept["service_tier"] = rng.choice(("", "default", "flex", "priority", "batch", "scale"))
        kept["speed"] = rng.choice((None, None, "fast", "standard"))
        kept["region"] = rng.choice((None, None, "us", "global"))
    if rng.random() < 0.06:
        made = rng.randint(0, out)
        kept |= {"output_image_tokens": made, "cache_write_1h_tokens": rng.choice((0, 1, cached))}
        kept |= {"input_image_tokens": rng.choice((0, max(whole - audio - cached, 0)))}
        kept |= {"web_searches": rng.choice((0, 1, 3)), "images": 2, "pages": 3, "tool_calls": 0}
    if rng.random() < 0.03:
        kept["cost_problem"] = rng.choice(("", "total_tokens contradicts"))
    return EventStruct(
        id="e", source="s", time=at, kind=rng.choice(("llm", "llm", "tts", "stt")),
        provider=provider, model=model, error=rng.choice((None, None, None, "Timeout")), **kept,
    )  # fmt: skip


def times(rng: random.Random, provider: str, model: str) -> datetime:
    """Any time, often the last or first ms of a price."""
    days, clocks = edges(OWN, "acme", provider, model)
    midnight = rng.choice(
        [*days, datetime(2026, 11, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)]
    )
    clock_ms = rng.choice([*clocks, 0, rng.randrange(86_400_000)])
    return midnight + timedelta(milliseconds=clock_ms + rng.choice((-1, 0, 1)))


@pytest.mark.parametrize("seed", range(2))
def test_every_bundled_model_costs_what_the_plain_way_says(seed: int) -> None:
    rng = random.Random(seed)
    models = [(provider.id, model.id) for provider in bundled for model in provider.models]
    rng.shuffle(models)
    found: Counter[int] = Counter()
    for at in range(0, len(models), 500):
        some = models[at : at + 500]
        found += check(BUNDLED, [usage(rng, *one, times(rng, *one)) for one in some for _ in "12"])
    assert found[CostSource.BUNDLED] > len(models)
    assert min(found[CostSource.NONE], found[CostSource.UNKNOWN], found[CostSource.INCOMPLETE]) > 20


NAMES = (
    ("openai", "gpt-4o"),
    ("OpenAI", "GPT-4o-mini"),
    ("openai", "o3"),
    ("deepseek", "deepseek-chat"),
    ("openai", "dear"),
    ("", "größe/x"),
    ("vllm", "our-realtime"),
    ("groq", "whisper-large-v3"),
    ("nobody", "knows"),
    ("", ""),
    ("openai", ""),
)


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.lists(st.sampled_from(NAMES), min_size=1, max_size=30))
def test_any_batch_costs_what_the_plain_way_says(
    rng: random.Random, names: list[tuple[str, str]]
) -> None:
    wires = [usage(rng, *name, times(rng, *name)) for name in names]
    for wire in wires:
        wire.tenant = rng.choice((None, "", "acme", "a|b"))
        wire.kind = rng.choice(KINDS)
    check(OWN, wires)


def test_a_list_that_took_effect_at_any_time_of_day_prices_what_is_later() -> None:
    """The price over time is in cells: one that starts within a day must not change the hours before it."""
    until = datetime(
        2026, 3, 5, 16, 29, 59, 999_000, tzinfo=UTC
    )  # DeepSeek has hours with other prices
    later = replace(OWN, earlier=(EarlierPrices(instant_to_ms(until), BUNDLED),))
    found: Counter[int] = Counter()
    for seed in range(20):
        rng = random.Random(seed)
        names = [rng.choice(NAMES) for _ in range(40)]
        near = [until + timedelta(milliseconds=rng.choice((-1, 0, 1))) for _ in names]
        any_time = [times(rng, *name) for name in names]
        found += check(later, [usage(rng, *name, at) for name, at in zip(names, near, strict=True)])
        found += check(later, [usage(rng, *n, at) for n, at in zip(names, any_time, strict=True)])
    assert min(found[CostSource.BUNDLED], found[CostSource.OWN]) > 50


def one(**fields: Any) -> EventStruct:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    return EventStruct(**{"id": "e", "source": "s", "time": at, "kind": "llm", **fields})


def test_half_a_nano_usd_goes_to_the_even_one() -> None:
    """0.0005 USD a million: half a nano-USD a token."""
    made = {"provider": "openai", "model": "gpt-4o-x", "input_tokens": 0}
    wires = [one(**made, output_tokens=n) for n in range(6)]
    assert priced(OWN, wires)[0] == [0, 0, 1, 2, 2, 2]


def test_more_than_an_event_may_cost_is_no_cost() -> None:
    wires = [one(provider="openai", model="dear", input_tokens=n) for n in (10_000, 10_001)]
    nano_usd, costs, standing = priced(OWN, wires)
    assert nano_usd == [10**13, 0]
    assert costs == [1, 0]
    assert standing.tolist() == [CostSource.OWN, CostSource.INCOMPLETE]
    check(OWN, wires)


def test_nothing_is_used_is_told_from_every_field_that_is_billed() -> None:
    assert not uses_anything(one())
    for field in BILLED:
        assert uses_anything(one(**{field: 1}))
        assert not uses_anything(one(**{field: 0}))
        assert isinstance(price(one(**{field: 1})), Unpriced)
