"""Which price lists may take effect without a rebuild, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
)

from schemas.limits import DAY_MS
from schemas.prices.genai_list import INSTALLED, GenaiList, encoded_providers
from schemas.prices.list_changes import difference
from schemas.prices.price_list import BUNDLED, Prices
from tests.schemas.prices.test_price_list import INPUT, one, prices

NOW_MS = 1_796_040_000_000  # 2026-11-30T12:00:00Z
MIDNIGHT_MS = -(-NOW_MS // DAY_MS) * DAY_MS

BEFORE = one(provider="openai", model="gpt-4o", **{INPUT: 2}) + one(
    provider="own", model="m", **{"from": "2026-01-01"}, **{INPUT: 1}
)


def said(old: Prices, new: Prices) -> str | None:
    return difference(old, new, 0, MIDNIGHT_MS)


ADDED = (
    one(provider="own", model="other", **{INPUT: 3}),
    one(provider="openai", model="gpt-99*", **{INPUT: 3}),
    one(tenant="acme", provider="own", model="other", **{INPUT: 3}),
    one(provider="own", model="m", service_tier="batch", **{INPUT: 0.5}),  # had no price before
)


@pytest.mark.parametrize("added", ADDED)
def test_a_model_or_terms_that_had_no_price_may_be_added(added: str) -> None:
    assert said(prices(BEFORE), prices(BEFORE + added)) is None


@pytest.mark.parametrize(
    ("added", "differs"),
    [
        (one(tenant="acme", model="gpt-4o", **{INPUT: 3}), "acme: "),
        (one(provider="openai", model="gpt-4o-mini", **{INPUT: 3}), "openai/gpt-4o-mini"),
        (one(provider="openai", model="gpt-4*", **{INPUT: 3}), "openai/gpt-4"),
        (one(model="*", **{INPUT: 3}), ""),
        (
            one(
                provider="anthropic", model="claude-*", service_tier="batch", times_token_prices=0.4
            ),
            "",
        ),
    ],
)
def test_an_entry_that_changes_a_price_of_before_needs_a_rebuild(added: str, differs: str) -> None:
    found = said(prices(BEFORE), prices(BEFORE + added))
    assert found is not None
    assert differs in found


def another_from(day: str) -> str | None:
    old = one(provider="own", model="m", **{INPUT: 1})
    cut = one(provider="own", model="m", to=day, **{INPUT: 1})
    return said(
        prices(old), prices(cut + one(provider="own", model="m", **{"from": day, INPUT: 2}))
    )


def test_a_price_may_start_later_and_not_within_what_is_counted() -> None:
    assert another_from("2026-12-01") is None
    assert another_from("2026-11-30") == (
        "own/m at 2026-11-30T00:00:00Z is counted at $1/input MTok (own prices: own/m); this list"
        " has $2/input MTok (own prices: own/m from 2026-11-30)"
    )


def test_a_price_that_is_gone_or_other_is_named_with_its_day() -> None:
    assert said(prices(BEFORE), BUNDLED) is not None
    gone = said(prices(one(provider="own", model="m", **{INPUT: 1})), BUNDLED)
    assert gone is not None
    assert "own/m at" in gone
    assert "no price" in gone
    found = said(prices(BEFORE), prices(BEFORE.replace("= 2\n", "= 2.5\n")))
    assert found is not None
    assert found.startswith("openai/gpt-4o at ")


def test_what_was_added_before_the_last_list_took_effect_is_not_compared() -> None:
    old, new = prices(BEFORE), prices(BEFORE.replace("= 2\n", "= 2.5\n"))
    assert difference(old, new, MIDNIGHT_MS, MIDNIGHT_MS) is None


# -- the bundled list ------------------------------------------------------------------------------


def with_models(change: Any) -> GenaiList:
    """The installed list after `change` of its providers, under another version."""
    providers = dict(INSTALLED.providers)
    providers["openai"] = replace(providers["openai"], models=list(providers["openai"].models))
    change(providers)
    listed = GenaiList("genai-prices 99")
    listed.__dict__["providers"] = providers  # a cached property
    return GenaiList("genai-prices 99", encoded_providers(listed))


NEW_PRICE = ModelPrice(input_mtok=Decimal(1))


def add_model(providers: dict[str, Provider]) -> None:
    new = ModelInfo("gpt-99", ClauseEquals("gpt-99"), prices=NEW_PRICE)
    providers["openai"].models.append(new)


def add_later_price(day: str) -> Any:
    def change(providers: dict[str, Provider]) -> None:
        models = providers["openai"].models
        at = next(n for n, model in enumerate(models) if model.id == "gpt-4o")
        before = models[at].prices
        assert isinstance(before, ModelPrice)
        start = StartDateConstraint(date.fromisoformat(day))
        later = [ConditionalPrice(prices=before), ConditionalPrice(start, prices=NEW_PRICE)]
        models[at] = replace(models[at], prices=later)

    return change


def add_tier(providers: dict[str, Provider]) -> None:
    models = providers["openai"].models
    at = next(n for n, model in enumerate(models) if model.id == "gpt-4o")
    variant = PriceVariant({"service_tier": "scale"}, NEW_PRICE)
    models[at] = replace(models[at], price_variants=[*(models[at].price_variants or ()), variant])


def remove_model(providers: dict[str, Provider]) -> None:
    models = providers["openai"].models
    models[:] = [model for model in models if model.id != "gpt-4o"]


def test_a_bundled_list_may_add_models_terms_and_later_prices() -> None:
    for change in (add_model, add_later_price("2026-12-01"), add_tier):
        assert said(BUNDLED, Prices(genai=with_models(change))) is None


def test_a_bundled_list_with_another_price_of_before_is_named() -> None:
    for change in (add_later_price("2026-06-01"), remove_model):
        found = said(BUNDLED, Prices(genai=with_models(change)))
        assert found is not None
        assert "gpt-4o" in found
