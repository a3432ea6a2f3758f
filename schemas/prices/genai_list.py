"""The list of genai-prices: that of the installed version, or one that was stored with counters. Pure.

Counters keep the list that they were made with, so that a worker with a newer one still prices
events of an earlier time as they were priced (schemas/prices/stored_lists.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

GENAI_VERSION: Final = f"genai-prices {version('genai-prices')}"


@dataclass(frozen=True, eq=False)
class GenaiList:
    """`text`: a stored list, as `encoded_providers` writes it; empty: the installed one."""

    version: str
    text: str = ""

    @cached_property
    def providers(self) -> dict[str, Provider]:
        """The providers by id. Loading takes 0.3 to 0.7 s, so it happens at the first use. Raises
        ValueError, KeyError or TypeError for a text that is no such list."""
        from genai_prices.data import providers  # noqa: PLC0415

        installed = {provider.id: provider for provider in providers}
        return _decoded(json.loads(self.text), installed) if self.text else installed


INSTALLED: Final = GenaiList(GENAI_VERSION)


def encoded_providers(listed: GenaiList) -> str:
    """All of a list that decides a price, as JSON: 0.65 MB, 66 kB when compressed."""
    kept = [_encoded(provider) for provider in listed.providers.values()]
    return json.dumps(kept, separators=(",", ":"))


# -- writing ---------------------------------------------------------------------------------------

_KEPT: Final = {
    "Provider": ("id", "fallback_model_providers", "models"),
    "ModelInfo": ("id", "match", "prices", "price_variants"),
}
"""Fields of what has others that decide no price. Of all else, each field is kept."""


def _encoded(value: Any) -> Any:  # noqa: ANN401  any part of a list
    if is_dataclass(value):
        names = _KEPT.get(type(value).__name__) or [field.name for field in fields(value)]
        given = ((name, getattr(value, name)) for name in names)
        return {name: _encoded(one) for name, one in given if one is not None}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _encoded(one) for key, one in value.items()}
    if isinstance(value, str | int):
        return value
    if isinstance(value, Decimal | date | time):
        return str(value)
    return {key: _encoded(one) for key, one in vars(value).items() if one is not None}  # ModelPrice


# -- reading ---------------------------------------------------------------------------------------


def _decoded(raw: Any, installed: Mapping[str, Provider]) -> dict[str, Provider]:  # noqa: ANN401
    """Models that are as in the installed list are the same objects: a second list takes little memory."""
    from genai_prices.types import Provider  # noqa: PLC0415

    found: dict[str, Provider] = {}
    for one in raw:
        known = installed.get(one["id"])
        same = {json.dumps(_encoded(model)): model for model in known.models} if known else {}
        found[one["id"]] = Provider(
            id=one["id"],
            name=one["id"],
            api_pattern="",
            fallback_model_providers=one.get("fallback_model_providers"),
            models=[same.get(json.dumps(model)) or _model(model) for model in one["models"]],
        )
    return found


def _model(raw: Mapping[str, Any]) -> ModelInfo:
    from genai_prices.types import ModelInfo, PriceVariant  # noqa: PLC0415

    variants = [
        PriceVariant(
            variant["when"],
            _prices(variant["prices"]),
            _constraint(variant.get("constraint")),
        )
        for variant in raw.get("price_variants", ())
    ]
    return ModelInfo(
        id=raw["id"],
        match=_clause(raw["match"]),
        prices=_dated(raw["prices"]),
        price_variants=variants or None,
    )


def _dated(raw: Any) -> Any:  # noqa: ANN401  one price, or several with conditions
    from genai_prices.types import ConditionalPrice  # noqa: PLC0415

    if isinstance(raw, dict):
        return _prices(raw)
    return [
        ConditionalPrice(_constraint(one.get("constraint")), prices=_prices(one["prices"]))
        for one in raw
    ]


def _prices(raw: Mapping[str, Any]) -> ModelPrice:
    from genai_prices.types import ModelPrice, Tier, TieredPrices  # noqa: PLC0415

    def one(value: Any) -> Decimal | TieredPrices:  # noqa: ANN401
        if isinstance(value, dict):
            tiers = [Tier(tier["start"], Decimal(tier["price"])) for tier in value["tiers"]]
            return TieredPrices(Decimal(value["base"]), tiers)
        return Decimal(value)

    return ModelPrice(**{key: one(value) for key, value in raw.items()})


def _constraint(raw: Mapping[str, str] | None) -> Any:  # noqa: ANN401
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint  # noqa: PLC0415

    if raw is None:
        return None
    if "start_date" in raw:
        return StartDateConstraint(date.fromisoformat(raw["start_date"]))
    times = (time.fromisoformat(raw[name]) for name in ("start_time", "end_time"))
    return TimeOfDateConstraint(*times)


def _clause(raw: Mapping[str, Any]) -> Any:  # noqa: ANN401
    from genai_prices import types  # noqa: PLC0415

    ((kind, said),) = raw.items()
    if kind in {"or_", "and_"}:
        made: Callable[[list[Any]], Any] = types.ClauseOr if kind == "or_" else types.ClauseAnd
        return made([_clause(one) for one in said])
    simple: dict[str, Callable[[str], Any]] = {
        "equals": types.ClauseEquals,
        "starts_with": types.ClauseStartsWith,
        "ends_with": types.ClauseEndsWith,
        "contains": types.ClauseContains,
        "regex": types.ClauseRegex,
    }
    return simple[kind](said)
