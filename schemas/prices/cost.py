"""The cost of an event whose producer sends none, and by which price. Pure.

A cost is never guessed. If the provider, the model, or a number that is billed is unknown, the event
is `Unpriced` with the reason; its cost is unknown, not 0. The price is that of the event's own time,
so that a replay gives the same cost. The price cannot include what events do not report: service
tiers, searches, and the lifetime of a cache write (the default one is assumed, 5 minutes for
Anthropic).

- A cost that the producer sends is kept, even 0: LiteLLM's answers from a cache cost 0.
- An event that reports nothing billable (no tokens, characters or audio), and has no price per
  request, has no cost and is not listed as unpriced.
- A failed request costs what it used. One that used nothing has no cost, even where the price is per
  request.
- An operator's prices (schemas/prices/price_list.py) come before the bundled ones. If an entry
  matches, only that entry applies: an event without a number that it bills is unpriced.

The worker prices whole batches with arrays (streams/core/pricing.py). A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.event.event_struct import EventStruct
from schemas.event.kinds import DEFAULT_TENANT, USAGE_KINDS
from schemas.event.usage_event import UsageEvent
from schemas.limits import DAY_MS, SECOND_MS
from schemas.prices.names import listed_names
from schemas.prices.price_list import BUNDLED, BUNDLED_VERSION, OwnPrice, Prices
from schemas.prices.providers import canonical
from schemas.units import EPOCH, instant_to_ms, usd_to_nano

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

MODELS_MAX: Final = 4096
"""Size of the caches of prices by model. A look-up that misses costs 20 to 200 us."""

_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "input_text_tokens",
    "input_audio_tokens",
    "output_text_tokens",
    "output_audio_tokens",
)
_RENAMED: Final = {
    "cache_read_text_tokens": "cache_text_read_tokens",
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "tts_characters": "input_characters",
}
"""Our field to the price list's usage key, where the names differ."""
_AUDIO: Final = {"stt_audio_ms": "input_audio_seconds", "tts_audio_ms": "output_audio_seconds"}
BILLED: Final = (*_TOKENS, *_RENAMED, *_AUDIO)
"""The fields of an event that a price can bill."""
_NEEDED: Final = {
    "input_mtok": "input_tokens",
    "output_mtok": "output_tokens",
    "input_mchars": "tts_characters",
    "input_audio_hours": "stt_audio_ms",
    "output_audio_hours": "tts_audio_ms",
}
"""Price key to the field that it needs. `audio_hours` needs the audio of the event's kind."""
_LEAST_AUDIO_MS: Final = {
    ("groq", "whisper-large-v3"): 10_000,
    ("groq", "whisper-large-v3-turbo"): 10_000,
}
"""Models with a minimum of billed audio. The bundled list has it in code, not in its data."""
_ALLOWED: Final = frozenset({"requests_kcount", "web_searches_kcount", "storage_searches_kcount"})
"""An event is one request. Searches are extras that no event reports. An event is unpriced if its
price has another key that is not in `_NEEDED`, such as pages."""
_MINUTES_AN_HOUR: Final = 60
_OWN_KEYS: Final[Mapping[str, tuple[str, int]]] = {
    "usd_per_million_input_tokens": ("input_mtok", 1),
    "usd_per_million_output_tokens": ("output_mtok", 1),
    "usd_per_million_cache_read_tokens": ("cache_read_mtok", 1),
    "usd_per_million_cache_write_tokens": ("cache_write_mtok", 1),
    "usd_per_million_input_audio_tokens": ("input_audio_mtok", 1),
    "usd_per_million_cache_read_audio_tokens": ("cache_audio_read_mtok", 1),
    "usd_per_million_output_audio_tokens": ("output_audio_mtok", 1),
    "usd_per_million_characters": ("input_mchars", 1),
    "usd_per_minute_of_audio": ("audio_hours", _MINUTES_AN_HOUR),
    "usd_per_request": ("requests_kcount", 1000),
}
"""A field of an operator's price to the bundled list's key, and the factor between the two."""

_billed_values: Final = attrgetter(*BILLED)


class Why(StrEnum):
    """Why an event has no price, as a class."""

    NOTHING = "nothing"  # it reports nothing that is billed
    UNKNOWN = "unknown"  # no list has a price of the model
    INCOMPLETE = "incomplete"  # a price is known, but a number that it bills is not


@dataclass(frozen=True)
class Tariff:
    """One price at one time: its list, its model or entry in that list, and its rates.

    `info` is the bundled list's own model, None for an operator's price.
    """

    source: str
    model: str
    rates: ModelPrice
    info: tuple[Provider, ModelInfo] | None

    @property
    def is_own(self) -> bool:
        return self.info is None

    def sentence(self) -> str:
        """`$2.5/input MTok, $10/output MTok (genai-prices 0.2.3: gpt-4o)`, for a person."""
        return f"{self.rates} ({self.source}: {self.model})"


class Priced(NamedTuple):
    nano_usd: int
    tariff: Tariff


class Unpriced(NamedTuple):
    reason: str
    why: Why


def price(event: UsageEvent | EventStruct, prices: Prices = BUNDLED) -> Priced | Unpriced:
    """The cost of an llm, tts or stt event by the price list, rounded half-even to whole nano-USD.

    A cost that the event sends is ignored here.
    """
    if event.kind not in USAGE_KINDS:
        return Unpriced(f"an event of kind {event.kind} is not a request to a model", Why.NOTHING)
    used = uses_anything(event)
    if event.error and not used:
        return Unpriced("the request failed before it used anything", Why.NOTHING)
    tenant, model = event.tenant or DEFAULT_TENANT, event.model or ""
    found = tariff(prices, tenant, event.provider or "", model, event.time)
    answer = found if isinstance(found, str) else _calculated(event, found)
    if isinstance(answer, str):
        answer = Unpriced(answer, Why.UNKNOWN)
    if isinstance(answer, Unpriced) and not used:
        return Unpriced(answer.reason, Why.NOTHING)
    return answer


def uses_anything(event: UsageEvent | EventStruct) -> bool:
    """Whether an event reports anything billable: more than 0 tokens, characters or audio."""
    return any(_billed_values(event))


def tariff(prices: Prices, tenant: str, provider: str, model: str, at: datetime) -> Tariff | str:
    """The price of a model at a time, or the reason why there is none. "" means not named."""
    canonical_provider = canonical(provider)
    day = at.astimezone(UTC).date()
    for entry in prices.candidates(tenant, canonical_provider, model):
        if entry.holds_on(day):
            return Tariff("own prices", entry.name, own_rates(entry), None)
    if not canonical_provider or not model:
        return f"the event names no {'model' if canonical_provider else 'provider'}"
    found = bundled_model(canonical_provider, model)
    if found is None:
        return f"{BUNDLED_VERSION} knows no model {model!r} of {provider!r}"
    return Tariff(BUNDLED_VERSION, found[1].id, found[1].get_prices(at), found)


def needs(kind: str, found: Tariff) -> tuple[list[str], list[str]]:
    """The fields that a price needs, and its other keys, which no event of the kind reports."""
    keys = {key for key, value in vars(found.rates).items() if value is not None}
    if not keys:
        return [], ["nothing that is known here"]
    if kind != "stt" and least_audio_ms(found):
        return [], ["transcribed audio"]
    needed = {**_NEEDED, "audio_hours": "stt_audio_ms" if kind == "stt" else "tts_audio_ms"}
    fields = list(dict.fromkeys(field for key, field in needed.items() if key in keys))
    if kind == "stt" and "input_audio_mtok" in keys:
        fields.append("input_audio_tokens")
    others = keys - _ALLOWED - needed.keys()
    return fields, sorted(key for key in others if not key.endswith("_mtok"))


def least_audio_ms(found: Tariff) -> int:
    """The minimum of billed audio of a transcription in ms; 0 for none."""
    return _LEAST_AUDIO_MS.get((found.info[0].id, found.info[1].id), 0) if found.info else 0


def _calculated(event: UsageEvent | EventStruct, found: Tariff) -> Priced | Unpriced:
    fields, others = needs(event.kind, found)
    if others:
        return Unpriced(f"{found.model} is billed by {', '.join(others)}", Why.UNKNOWN)
    missing = [field for field in fields if getattr(event, field) is None]
    if missing:
        reason = f"{found.model} is billed by {', '.join(missing)}, which are not reported"
        return Unpriced(reason, Why.INCOMPLETE)
    from genai_prices.types import Usage as PricedUsage  # noqa: PLC0415  see _bundled

    usage = PricedUsage(**_reported(event))
    try:
        if found.info is None:
            usd = found.rates.calc_price(usage)["total_price"]
        else:
            provider, model = found.info
            calculation = model.calc_price(usage, provider, genai_request_timestamp=event.time)
            usd = calculation.total_price
        return Priced(usd_to_nano(usd), found)
    except ValueError as error:  # parts that exceed their total, or overlap in an unknown measure
        return Unpriced(f"{found.model}: {error}", Why.INCOMPLETE)


def usage_keys(kind: str) -> dict[str, str]:
    """The price list's usage key to our field. `audio_seconds` is the audio of the event's kind."""
    keys = {field: field for field in _TOKENS}
    keys |= {key: field for field, key in (*_RENAMED.items(), *_AUDIO.items())}
    return {**keys, "audio_seconds": "stt_audio_ms" if kind == "stt" else "tts_audio_ms"}


def _reported(event: UsageEvent | EventStruct) -> dict[str, int | Decimal]:
    usage: dict[str, int | Decimal] = {}
    for key, field in usage_keys(event.kind).items():
        value: int | None = getattr(event, field)
        if value is not None:
            usage[key] = Decimal(value) / SECOND_MS if field.endswith("_ms") else value
    return usage


# -- the lists -------------------------------------------------------------------------------------


@lru_cache(maxsize=MODELS_MAX)
def own_rates(entry: OwnPrice) -> ModelPrice:
    """An operator's entry in the bundled list's terms."""
    from genai_prices.types import ModelPrice  # noqa: PLC0415  see _bundled

    rates = {
        _OWN_KEYS[field][0]: value * _OWN_KEYS[field][1] for field, value in entry.rates().items()
    }
    if "input_audio_mtok" in rates and "cache_write_mtok" in rates:
        # No field of an event counts tokens that are both. An event that needs it is unpriced.
        rates["cache_audio_write_mtok"] = rates["cache_write_mtok"]
    return ModelPrice(**rates)


@lru_cache(maxsize=MODELS_MAX)
def bundled_model(provider: str, name: str) -> tuple[Provider, ModelInfo] | None:
    """A model of exactly this provider. A provider with a similar name has other prices."""
    bundled = _bundled()
    if provider not in bundled:
        return None
    everyone = list(bundled.values())
    for listed in listed_names(provider, name):
        model = bundled[provider].find_model(listed, all_providers=everyone)
        if model is not None:
            return bundled[provider], model
    return None


@cache
def _bundled() -> dict[str, Provider]:
    """The providers by id. Loading takes 0.3 s and 60 MB, so it happens at the first use."""
    from genai_prices.data import providers  # noqa: PLC0415

    return {provider.id: provider for provider in providers}


def warm_up() -> None:
    """Loads the bundled prices, so that the first batch does not wait for them."""
    _bundled()


def edges(
    prices: Prices, tenant: str, provider: str, model: str
) -> tuple[Iterable[datetime], Iterable[int]]:
    """When the price of a model may change: at which midnights (UTC), and at which ms of each day."""
    from genai_prices.types import ModelPrice, StartDateConstraint  # noqa: PLC0415

    canonical_provider = canonical(provider)
    days = {
        day
        for entry in prices.candidates(tenant, canonical_provider, model)
        for day in (entry.valid_from, entry.valid_to)
        if day
    }
    times: set[int] = set()
    found = bundled_model(canonical_provider, model) if canonical_provider and model else None
    listed = found[1].prices if found else []
    for conditional in [] if isinstance(listed, ModelPrice) else listed:
        limit = conditional.constraint
        if isinstance(limit, StartDateConstraint):
            days.add(limit.start_date)
        elif limit is not None:
            times |= {_ms_of_day(limit.start_time), _ms_of_day(limit.end_time)}
    return [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in sorted(days)], sorted(
        times
    )


def _ms_of_day(at: time) -> int:
    """The ms since midnight UTC. A time without a zone is UTC."""
    moment = datetime.combine(EPOCH.date(), at, tzinfo=at.tzinfo or UTC)
    return instant_to_ms(moment) % DAY_MS
