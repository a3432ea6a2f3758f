"""The price of a model at a time and under terms: of the operator's list, ours, or the bundled one.

Pure. The first list that has the model decides. A list that has the model, but no price for the
event's terms (a service tier, fast mode, a region), leaves the event without a price: another list's
standard price would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.limits import DAY_MS
from schemas.prices.genai_list import INSTALLED, GenaiList
from schemas.prices.names import listed_names
from schemas.prices.price_list import OwnPrice, Prices
from schemas.prices.providers import canonical
from schemas.prices.terms import STANDARD_TERMS, Terms
from schemas.units import EPOCH, instant_to_ms, ms_to_instant

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider

MODELS_MAX: Final = 4096
"""Size of the caches of prices by model. A look-up that misses costs 20 to 200 us."""

OWN: Final = "own prices"
LISTED_SOURCE: Final = "listed prices"
_LEAST_AUDIO_MS: Final = {
    ("groq", "whisper-large-v3"): 10_000,
    ("groq", "whisper-large-v3-turbo"): 10_000,
}
"""Models with a minimum of billed audio. The bundled list has it in code, not in its data."""
_MINUTES_AN_HOUR: Final = 60
_OWN_KEYS: Final[Mapping[str, tuple[str, int]]] = {
    "usd_per_million_input_tokens": ("input_mtok", 1),
    "usd_per_million_output_tokens": ("output_mtok", 1),
    "usd_per_million_cache_read_tokens": ("cache_read_mtok", 1),
    "usd_per_million_cache_write_tokens": ("cache_write_mtok", 1),
    "usd_per_million_cache_write_1h_tokens": ("cache_write_1h_mtok", 1),
    "usd_per_million_input_audio_tokens": ("input_audio_mtok", 1),
    "usd_per_million_cache_read_audio_tokens": ("cache_audio_read_mtok", 1),
    "usd_per_million_input_image_tokens": ("input_image_mtok", 1),
    "usd_per_million_cache_read_image_tokens": ("cache_image_read_mtok", 1),
    "usd_per_million_output_audio_tokens": ("output_audio_mtok", 1),
    "usd_per_million_output_image_tokens": ("output_image_mtok", 1),
    "usd_per_million_characters": ("input_mchars", 1),
    "usd_per_minute_of_audio": ("audio_hours", _MINUTES_AN_HOUR),
    "usd_per_hour_of_audio": ("audio_hours", 1),
    "usd_per_thousand_pages": ("input_document_kpages", 1),
    "usd_per_thousand_web_searches": ("web_searches_kcount", 1),
    "usd_per_thousand_file_searches": ("storage_searches_kcount", 1),
    "usd_per_thousand_rerank_searches": ("rerank_searches_kcount", 1),
    "usd_per_thousand_code_executions": ("code_executions_kcount", 1),
    "usd_per_request": ("requests_kcount", 1000),
}
"""A field of an entry to the bundled list's key, and the factor between the two."""
_OWN_EXTRAS: Final[Mapping[str, tuple[str, int]]] = {
    "usd_per_image": ("images", 1),
    "usd_per_thousand_tool_calls": ("tool_calls", 1000),
}
"""A field of an entry to the event's field that it bills, and how many of these it is the price of."""


class Why(StrEnum):
    """Why an event has no price, as a class."""

    NOTHING = "nothing"  # it reports nothing that is billed
    UNKNOWN = "unknown"  # no list has a price of the model
    INCOMPLETE = (
        "incomplete"  # a price is known, but a fact that it depends on is not, or has no rate
    )


class Unpriced(NamedTuple):
    """`label`: the reason in a few words, without the model, to count events by. Where the numbers
    decide it, events that report the same fields have the same."""

    reason: str
    why: Why
    label: str = ""


@dataclass(frozen=True)
class Tariff:
    """One price at one time and under some terms: its list, its model or entry in that list, its rates.

    `extras`: the exact USD of one of each of these fields, which the rates cannot hold. `provider` and
    `info_id` are those of the bundled list, "" for another. `bills_parts_as_wholes`: the list bills
    parts without a rate as the tokens that they are part of, whatever they are.
    """

    source: str
    model: str
    rates: ModelPrice
    terms: Terms = STANDARD_TERMS
    provider: str = ""
    info_id: str = ""
    extras: Mapping[str, Decimal] = field(default_factory=dict)
    bills_parts_as_wholes: bool = False

    @property
    def is_own(self) -> bool:
        return self.source == OWN

    @cached_property
    def keys(self) -> set[str]:
        """The keys of the rates, and the extras."""
        return {key for key, value in vars(self.rates).items() if value is not None} | {
            *self.extras
        }

    @property
    def least_audio_ms(self) -> int:
        """The minimum of billed audio of a transcription in ms; 0 for none."""
        return _LEAST_AUDIO_MS.get((self.provider, self.info_id), 0)

    def sentence(self) -> str:
        """`$2.5/input MTok, $10/output MTok (genai-prices 0.2.3: gpt-4o)`, for a person."""
        extras = [f"${usd} per {name.removesuffix('s')}" for name, usd in self.extras.items()]
        rates = ", ".join(one for one in (str(self.rates), *extras) if one)
        terms = f", {self.terms.sentence()}" if self.terms != STANDARD_TERMS else ""
        return f"{rates} ({self.source}: {self.model}{terms})"


def tariff(  # one thing: whose model, when, how
    prices: Prices,
    tenant: str,
    provider: str,
    model: str,
    at: datetime,
    terms: Terms = STANDARD_TERMS,
) -> Tariff | Unpriced:
    """The price of a model, or the reason why there is none. "" means not named."""
    prices = prices.at(instant_to_ms(at)) if prices.earlier else prices
    canonical_provider = canonical(provider)
    own = _of_entries(OWN, prices, tenant, canonical_provider, model, at, terms)
    if own is not None:
        return own
    if not canonical_provider or not model:
        missing = "model" if canonical_provider else "provider"
        return Unpriced(f"the event names no {missing}", Why.UNKNOWN)
    return (
        _of_entries(LISTED_SOURCE, prices.listed, "", canonical_provider, model, at, terms)
        or _bundled_tariff(prices.genai, canonical_provider, model, at, terms)
        or Unpriced(f"{prices.genai.version} knows no model {model!r} of {provider!r}", Why.UNKNOWN)
    )


# -- entries of a file -----------------------------------------------------------------------------


def _of_entries(  # whose list, then as `tariff`
    source: str,
    prices: Prices,
    tenant: str,
    provider: str | None,
    model: str,
    at: datetime,
    terms: Terms,
) -> Tariff | Unpriced | None:
    """The price of the first entry for the model, day and terms; None if no entry is for the model."""
    day = at.astimezone(UTC).date()
    other: OwnPrice | None = None
    for entry in prices.candidates(tenant, provider, model):
        if not entry.holds_on(day):
            continue
        if not entry.is_for(terms):
            if entry.times_token_prices is None:
                other = other or entry
            continue
        if entry.times_token_prices is None:
            rates, extras = own_rates(entry), _own_extras(entry)
            return Tariff(
                source,
                entry.name + (f", {entry.source}" if entry.source else ""),
                rates,
                terms,
                provider or "",
                extras=extras,
                bills_parts_as_wholes=source == OWN,
            )
        base = tariff(prices, tenant, provider or "", model, at, entry.without_own_terms(terms))
        if isinstance(base, Unpriced):
            return Unpriced(
                f"{entry.name} is a multiple of a price: {base.reason}", base.why, base.label
            )
        rates = _multiplied(base.rates, entry.times_token_prices)
        name = f"{base.model} times {entry.times_token_prices}, by {entry.name}"
        return replace(base, source=source, model=name, rates=rates, terms=terms)
    if other is None:
        return None
    reason = (
        f"{source} have {other.name}, but no price for {terms.sentence() or 'the standard tier'}"
    )
    return Unpriced(reason, Why.INCOMPLETE, _no_price_for(terms))


def _no_price_for(terms: Terms) -> str:
    return f"no price for {terms.sentence() or 'the standard tier'}"


@lru_cache(maxsize=MODELS_MAX)
def own_rates(entry: OwnPrice) -> ModelPrice:
    """An operator's entry in the bundled list's terms."""
    from genai_prices.types import ModelPrice  # noqa: PLC0415  it loads slowly

    rates = {
        _OWN_KEYS[field][0]: value * _OWN_KEYS[field][1]
        for field, value in entry.rates().items()
        if field in _OWN_KEYS
    }
    # The bundled list wants a price of tokens that are two things at once. No field of an event counts
    # those of cache writes: an event that needs them is incomplete.
    for kind in ("audio", "image"):
        for span in ("", "_1h"):
            if {f"input_{kind}_mtok", f"cache_write{span}_mtok"} <= rates.keys():
                rates[f"cache_{kind}_write{span}_mtok"] = rates[f"cache_write{span}_mtok"]
    return ModelPrice(**rates)


def _own_extras(entry: OwnPrice) -> dict[str, Decimal]:
    return {
        _OWN_EXTRAS[field][0]: value / _OWN_EXTRAS[field][1]
        for field, value in entry.rates().items()
        if field in _OWN_EXTRAS
    }


def _multiplied(rates: ModelPrice, times: Decimal) -> ModelPrice:
    """Token prices times a factor; searches and requests stay."""
    from genai_prices.types import ModelPrice, Tier, TieredPrices  # noqa: PLC0415  it loads slowly

    made: dict[str, Decimal | TieredPrices] = {}
    for key, value in vars(rates).items():
        if value is None or not key.endswith("_mtok"):
            made[key] = value
        elif isinstance(value, TieredPrices):
            tiers = [Tier(tier.start, tier.price * times) for tier in value.tiers]
            made[key] = TieredPrices(value.base * times, tiers)
        else:
            made[key] = value * times
    return ModelPrice(**made)


# -- the bundled list ------------------------------------------------------------------------------


def _bundled_tariff(
    genai: GenaiList, provider_id: str, name: str, at: datetime, terms: Terms
) -> Tariff | Unpriced | None:
    found = bundled_model(genai, provider_id, name)
    if found is None:
        return None
    provider, model = found
    context = _context(terms)
    if context is None or not _is_covered(provider, model, at, context):
        reason = f"{genai.version} has no price of {model.id} for {terms.sentence()}"
        return Unpriced(reason, Why.INCOMPLETE, _no_price_for(terms))
    rates = model.get_prices(at, context)
    return Tariff(genai.version, model.id, rates, terms, provider.id, model.id)


def _context(terms: Terms) -> dict[str, str] | None:
    """The terms in the words of the bundled list; None for what it has no word for."""
    if terms.region:
        return None
    tier = "processing" if terms.service_tier == "batch" else "service_tier"
    said = {tier: terms.service_tier, "speed": terms.speed}
    return {key: value for key, value in said.items() if value}


def _is_covered(
    provider: Provider, model: ModelInfo, at: datetime, context: Mapping[str, str]
) -> bool:
    """Whether the list has a price for all terms together, and not only for one of them. The prices of
    another provider's model are those of its standard tier."""
    if not context:
        return True
    if not any(model is one for one in provider.models):
        return False
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )


@lru_cache(maxsize=MODELS_MAX)
def bundled_model(genai: GenaiList, provider: str, name: str) -> tuple[Provider, ModelInfo] | None:
    """A model of exactly this provider. A provider with a similar name has other prices."""
    bundled = genai.providers
    if provider not in bundled:
        return None
    everyone = list(bundled.values())
    for listed in listed_names(provider, name):
        model = bundled[provider].find_model(listed, all_providers=everyone)
        if model is not None:
            return bundled[provider], model
    return None


def warm_up() -> None:
    """Loads the bundled prices, so that the first batch does not wait for them."""
    len(INSTALLED.providers)


def edges(
    prices: Prices, tenant: str, provider: str, model: str
) -> tuple[Sequence[datetime], Sequence[int]]:
    """When the price of a model may change, under any terms: at which instants, and at which ms of each
    day (UTC). The instants are midnights, and those at which another list took effect."""
    starts = {ms_to_instant(one.until_ms) for one in prices.earlier}
    times: set[int] = set()
    for listed in (*(one.prices for one in prices.earlier), prices):
        of_list = _edges(listed, tenant, canonical(provider), model)
        starts |= {midnight(day) for day in of_list[0]}
        times |= of_list[1]
    return sorted(starts), sorted(times)


def _edges(
    prices: Prices, tenant: str, provider: str | None, model: str
) -> tuple[set[date], set[int]]:
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415  it loads slowly

    days = {
        day
        for listed in (prices, prices.listed)
        for entry in listed.candidates(tenant, provider, model)
        for day in (entry.valid_from, entry.valid_to)
        if day
    }
    times: set[int] = set()
    found = bundled_model(prices.genai, provider, model) if provider and model else None
    for conditional in _conditionals(found[1]) if found else ():
        limit = conditional.constraint
        if isinstance(limit, StartDateConstraint):
            days.add(limit.start_date)
        elif limit is not None:
            times |= {_ms_of_day(limit.start_time), _ms_of_day(limit.end_time)}
    return days, times


def _conditionals(model: ModelInfo) -> Iterable[ConditionalPrice | PriceVariant]:
    """All prices of a model that may not hold at some time."""
    listed = model.prices if isinstance(model.prices, list) else []
    return (*listed, *(model.price_variants or ()))


def midnight(day: date) -> datetime:
    """In UTC, where the days of prices begin."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _ms_of_day(at: time) -> int:
    """The ms since midnight UTC. A time without a zone is UTC."""
    moment = datetime.combine(EPOCH.date(), at, tzinfo=at.tzinfo or UTC)
    return instant_to_ms(moment) % DAY_MS
