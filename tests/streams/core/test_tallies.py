"""Tallies of a batch: models without a price and unknown fields by name, with bounds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from schemas.event.identity import NO_SECRET
from schemas.prices.cost import price
from schemas.prices.price_list import BUNDLED
from streams.core import tallies
from streams.core.columns import Columns, columns
from streams.core.decode import BatchDecoder
from streams.core.tallies import (
    NAMES_MAX,
    REASONS_MAX,
    NamedTallies,
    cost_tallies,
    unknown,
    unpriced,
)
from tests.streams.worker.scripted import polled_event

NO_MODEL = {"cost_usd": None, "provider": "openai", "model": "gpt-99"}


def rows(*events: dict[str, Any]) -> Columns:
    decoder = BatchDecoder()
    polled = [polled_event(offset, **event) for offset, event in enumerate(events)]
    assert not [*decoder.add(polled)]
    return columns(decoder.events(), secret=NO_SECRET)


def test_models_without_a_price_are_counted_by_tenant_and_name() -> None:
    found = rows(
        {**NO_MODEL, "tenant": "acme"},
        {**NO_MODEL, "tenant": "acme"},
        {**NO_MODEL, "tenant": "acme", "model": "gpt-4o", "output_tokens": None},
        {**NO_MODEL, "tenant": "acme", "model": "gpt-4o"},
        {**NO_MODEL, "tenant": "beta", "provider": "azure"},
        {**NO_MODEL, "tenant": "beta", "cost_usd": "1"},
        {**NO_MODEL, "tenant": "beta"},
    )
    assert unpriced(found, BUNDLED) == {
        ("acme", "unpriced:openai/gpt-99"): 2,
        ("beta", "unpriced:azure/gpt-99"): 1,
        ("beta", "unpriced:openai/gpt-99"): 1,
        ("acme", "incomplete:openai/gpt-4o: no output_tokens"): 1,
    }
    assert cost_tallies(found.cost_source) == {"cost:bundled_prices": 1}


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({"output_tokens": None}, "no output_tokens"),
        ({"input_tokens": None, "output_tokens": None, "reasoning_tokens": 1}, "no input_tokens"),
        ({"service_tier": "scale"}, "no price for service_tier scale"),
        ({"region": "mars"}, "no price for region mars"),
        ({"tool_calls": 2}, "no rate for tool_calls"),
        ({"input_audio_tokens": 5}, "no rate for input_audio_tokens"),
        ({"cache_read_tokens": 10**6}, "numbers contradict each other"),
        ({"cost_problem": "total_tokens contradicts its parts"}, "total_tokens contradicts"),
        ({"cost_problem": "x" * 99}, "x" * 64),
    ],
)
def test_the_reason_of_an_incomplete_cost_is_named(given: dict[str, Any], label: str) -> None:
    found = unpriced(
        rows({"cost_usd": None, "provider": "openai", "model": "gpt-4o", **given}), BUNDLED
    )
    ((_, name),) = found
    assert name.startswith("incomplete:openai/gpt-4o: ")
    assert label in name


def test_events_that_report_the_same_fields_cost_one_look_at_a_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[object] = []

    def counted(*given: Any) -> object:
        looks.append(given)
        return price(*given)

    monkeypatch.setattr(tallies, "price", counted)
    some = {"cost_usd": None, "provider": "openai", "model": "gpt-4o", "output_tokens": None}
    found = rows(*({**some, "input_tokens": n} for n in range(1, 900)))
    assert unpriced(found, BUNDLED).total() == 899
    assert len(looks) == 1
    many = rows(*({**some, "cost_problem": f"problem {n}"} for n in range(900)))
    assert unpriced(many, BUNDLED).total() == 900
    assert len(looks) == 1 + REASONS_MAX


def test_a_commit_names_a_bounded_number_of_models() -> None:
    models = ["x" * 99] * 101 + [f"m{n:03}" for n in range(1, 105)]
    found = unpriced(rows(*({**NO_MODEL, "provider": "p", "model": m} for m in models)), BUNDLED)
    assert found["default", f"unpriced:p/{'x' * 64}"] == 101
    assert found["default", "unpriced:p/m001"] == 1
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
