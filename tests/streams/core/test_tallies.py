"""Tallies of a batch: models without a price and unknown fields by name, with bounds."""

from __future__ import annotations

from collections import Counter

import numpy as np

from streams.core.pricing import CostSource
from streams.core.tallies import NAMES_MAX, NamedTallies, cost_tallies, unknown, unpriced

WORDS = {"tenant": ["acme", "beta"], "provider": ["openai", "azure"], "model": ["gpt-9", "o3"]}
UNKNOWN, INCOMPLETE = CostSource.UNKNOWN, CostSource.INCOMPLETE


def test_models_without_a_price_are_counted_by_tenant_and_name() -> None:
    sources = [UNKNOWN, UNKNOWN, INCOMPLETE, CostSource.BUNDLED, UNKNOWN, CostSource.GIVEN, UNKNOWN]
    tenants = np.array([0, 0, 0, 0, 1, 1, 1], np.int64)
    codes = {
        "provider": np.array([0, 0, 0, 0, 1, 1, 0], np.int64),
        "model": np.array([0, 0, 1, 1, 1, 1, 0], np.int64),
    }
    cost_source = np.array(sources, np.int8)
    assert unpriced(cost_source, tenants, codes, WORDS) == {
        ("acme", "unpriced:openai/gpt-9"): 2,
        ("beta", "unpriced:azure/o3"): 1,
        ("beta", "unpriced:openai/gpt-9"): 1,
        ("acme", "incomplete:openai/o3"): 1,
    }
    assert cost_tallies(cost_source) == {"cost:bundled_prices": 1}


def test_a_commit_names_a_bounded_number_of_models() -> None:
    models = ["x" * 99, *(f"m{n:03}" for n in range(104))]
    codes = {
        "provider": np.zeros(205, np.int64),
        "model": np.array([0] * 101 + [*range(1, 105)], np.int64),
    }
    words = {"tenant": ["acme"], "provider": ["p"], "model": models}
    cost_source = np.full(205, UNKNOWN, np.int8)
    found = unpriced(cost_source, np.zeros(205, np.int64), codes, words)
    assert found["acme", f"unpriced:p/{'x' * 64}"] == 101
    assert found["acme", "unpriced:p/m000"] == 1
    assert found["", "unpriced:other"] == 5
    assert (len(found), found.total()) == (NAMES_MAX + 1, 205)


def test_the_names_that_one_tenant_invents_do_not_push_out_those_of_another() -> None:
    fields: NamedTallies = Counter({("acme", f"f{n}"): 50 for n in range(1000)})
    fields["beta", "inptu_tokens"] = 1
    fields["beta", "y" * 65], fields["beta", "y" * 66] = 1, 1
    found = unknown(fields)
    assert found["beta", "unknown:inptu_tokens"] == 1
    assert found["beta", f"unknown:{'y' * 64}"] == 2
    assert found["", "unknown:other"] == 50 * (1000 - 98)
    assert (len(found), found.total()) == (NAMES_MAX + 1, fields.total())
