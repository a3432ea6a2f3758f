"""What an event costs where its producer does not say: genai-prices' data, offline. Pure.

Never a guess: where provider, model, or a number that is billed is not known, the event is
`Unpriced` with the reason, and costs nothing that is 0. Prices are those of the event's own time.
What the event does not tell is not in the price: service tiers, searches, the lifetime of a cache
write (priced as the default one, 5 minutes for Anthropic).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Final

from genai_prices.data import providers as _providers
from genai_prices.types import ModelInfo, Provider
from genai_prices.types import Usage as PricedUsage

from schemas.event import USAGE_KINDS, Usage
from schemas.formats.providers import canonical
from schemas.limits import SECOND_MS
from schemas.units import usd_to_nano

PRICES_VERSION: Final = f"genai-prices {version('genai-prices')}"
"""Which prices an event was counted with. Part of what a generation is: other prices, other sums."""

MODELS_MAX: Final = 4096
"""Names of models whose price is remembered; a look-up that is not costs 20 to 200 us."""
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
"""Our field to genai-prices' usage key; the same name otherwise."""
_BILLED: Final = {
    "input_mtok": "input_tokens",
    "output_mtok": "output_tokens",
    "input_mchars": "tts_characters",
    "input_audio_hours": "stt_audio_ms",
    "output_audio_hours": "tts_audio_ms",
    "audio_hours": "audio_ms",
}
"""Price key to the field without which the price is not known."""
_ALLOWED: Final = frozenset({"requests_kcount", "web_searches_kcount", "storage_searches_kcount"})
"""One request an event; searches are extras that no event reports. A price by anything else that is
not in `_BILLED`, such as pages, makes the event unpriced."""


@dataclass(frozen=True)
class Priced:
    nano_usd: int
    model: str


@dataclass(frozen=True)
class Unpriced:
    reason: str


def price(event: Usage) -> Priced | Unpriced:
    """The cost of an llm, tts or stt event, half-even to whole nano-USD."""
    if event.kind not in USAGE_KINDS:
        return Unpriced(f"an event of kind {event.kind} is no request to a model")
    if event.provider is None or event.model is None:
        return Unpriced("names no provider" if event.provider is None else "names no model")
    found = _find(canonical(event.provider) or "", event.model)
    if found is None:
        return Unpriced(f"{PRICES_VERSION} knows no model {event.model!r} of {event.provider!r}")
    provider, model = found
    prices = model.get_prices(event.time)
    keys = {key for key, value in vars(prices).items() if value is not None}
    missing = _missing(event, keys)
    if missing:
        return Unpriced(f"{model.id} is billed by {', '.join(missing)}, which are not reported")
    try:
        usd = model.calc_price(
            PricedUsage(**_reported(event)), provider, genai_request_timestamp=event.time
        ).total_price
        return Priced(usd_to_nano(usd), model.id)
    except ValueError as error:  # parts that exceed their total, or overlap in an unknown measure
        return Unpriced(f"{model.id}: {error}")


@lru_cache(maxsize=MODELS_MAX)
def _find(provider_id: str, name: str) -> tuple[Provider, ModelInfo] | None:
    """By the exact provider: one that only sounds like it has other prices."""
    provider = _by_id().get(provider_id)
    if provider is None:
        return None
    model = provider.find_model(name, all_providers=_providers)
    return None if model is None else (provider, model)


@cache
def _by_id() -> dict[str, Provider]:
    return {provider.id: provider for provider in _providers}


def _missing(event: Usage, keys: Iterable[str]) -> list[str]:
    """The fields that a price needs and the event does not report."""
    priced = set(keys)
    if not priced:
        return ["nothing that we know"]
    needed = [field for key, field in _BILLED.items() if key in priced]
    if event.kind == "stt" and "input_audio_mtok" in priced:
        needed.append("input_audio_tokens")
    missing = [field for field in needed if _value(event, field) is None]
    missing += sorted(
        key for key in priced - _ALLOWED - _BILLED.keys() if not key.endswith("_mtok")
    )
    return missing


def _value(event: Usage, field: str) -> int | None:
    if field == "audio_ms":
        return event.stt_audio_ms if event.kind == "stt" else event.tts_audio_ms
    value: int | None = getattr(event, field)
    return value


def _reported(event: Usage) -> dict[str, int | Decimal]:
    usage: dict[str, int | Decimal] = {}
    for field in (*_TOKENS, *_RENAMED):
        value = _value(event, field)
        if value is not None:
            usage[_RENAMED.get(field, field)] = value
    for field, key in (
        ("stt_audio_ms", "input_audio_seconds"),
        ("tts_audio_ms", "output_audio_seconds"),
    ):
        value = _value(event, field)
        if value is not None:
            usage[key] = Decimal(value) / SECOND_MS
    audio = _value(event, "audio_ms")
    if audio is not None:
        usage["audio_seconds"] = Decimal(audio) / SECOND_MS
    return usage
