"""The cost of an event whose producer sends none, and by which price. Pure.

A cost is never guessed. If the provider, the model, or a number that is billed is unknown, or the
price does not say what a fact of the event costs (a service tier, audio, a search), the event is
`Unpriced` with the reason; its cost is unknown, not 0. The price is that of the event's own time, so
that a replay gives the same cost. Two things that events do not report are assumed to be the default:
the standard tier, and the shorter lifetime of a cache write (5 minutes for Anthropic).

- A cost that the producer sends is kept, even 0: LiteLLM's answers from a cache cost 0.
- An event that reports nothing billable (no tokens, characters or audio), and has no price per
  request, has no cost and is not listed as unpriced.
- A failed request costs what it used. One that used nothing has no cost, even where the price is per
  request.
- `cost_problem` of an event says why its numbers do not decide the cost. Then it has none.
- An operator's prices (schemas/prices/price_list.py) come before the bundled ones. If an entry
  matches, only that entry applies: an event without a number that it bills is unpriced.

The worker prices whole batches with arrays (streams/core/pricing.py). A test compares the two.
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Final, NamedTuple

from schemas.event.event_struct import EventStruct
from schemas.event.kinds import DEFAULT_TENANT, USAGE_KINDS
from schemas.event.usage_event import UsageEvent
from schemas.limits import SECOND_MS
from schemas.prices.billing import BILLED, needs, unrated, unreported, usage_keys
from schemas.prices.price_list import BUNDLED, Prices
from schemas.prices.tariffs import Tariff, Unpriced, Why, tariff
from schemas.prices.terms import STANDARD_TERMS, terms_of
from schemas.units import usd_to_nano

_IMPOSSIBLE: Final = "numbers contradict each other, or the cost is too large"
_billed_values: Final = attrgetter(*BILLED)


class Priced(NamedTuple):
    nano_usd: int
    tariff: Tariff


def price(event: UsageEvent | EventStruct, prices: Prices = BUNDLED) -> Priced | Unpriced:
    """The cost of an llm, tts or stt event by the price list, rounded half-even to whole nano-USD.

    A cost that the event sends is ignored here.
    """
    if event.kind not in USAGE_KINDS:
        return Unpriced(f"an event of kind {event.kind} is not a request to a model", Why.NOTHING)
    used = uses_anything(event)
    if event.error and not used:
        return Unpriced("the request failed before it used anything", Why.NOTHING)
    if event.cost_problem:
        return Unpriced(event.cost_problem, Why.INCOMPLETE, event.cost_problem)
    tenant, model = event.tenant or DEFAULT_TENANT, event.model or ""
    terms = terms_of(event.service_tier, event.speed, event.region)
    found = tariff(prices, tenant, event.provider or "", model, event.time, terms)
    answer = found if isinstance(found, Unpriced) else _calculated(event, found)
    if isinstance(answer, Unpriced) and not used:
        return Unpriced(answer.reason, Why.NOTHING)
    return answer


def uses_anything(event: UsageEvent | EventStruct) -> bool:
    """Whether an event reports anything billable: more than 0 tokens, characters or audio."""
    return any(_billed_values(event))


def facts(event: UsageEvent | EventStruct) -> dict[str, int | str]:
    """What decides the cost of an event: its billed numbers that are not 0, and its terms."""
    numbers = zip(BILLED, _billed_values(event), strict=True)
    terms = terms_of(event.service_tier, event.speed, event.region)
    said = zip(terms._fields, terms, strict=True) if terms != STANDARD_TERMS else ()
    return {name: value for name, value in (*numbers, *said) if value}


def _calculated(event: UsageEvent | EventStruct, found: Tariff) -> Priced | Unpriced:
    if problem := _problem(event, found):
        return problem
    from genai_prices.types import Usage as PricedUsage  # noqa: PLC0415  loaded when prices are

    usage = PricedUsage(**_reported(event, found))
    try:
        usd = found.rates.calc_price(usage)["total_price"]
        for field, each in found.extras.items():
            usd += each * (getattr(event, field) or 0)
        return Priced(usd_to_nano(usd), found)
    except ValueError as error:  # parts that exceed their total, or overlap in an unknown measure
        return Unpriced(f"{found.model}: {error}", Why.INCOMPLETE, _IMPOSSIBLE)


def _problem(event: UsageEvent | EventStruct, found: Tariff) -> Unpriced | None:
    """Why the numbers and the price do not fit together."""
    fields, others = needs(event.kind, found)
    if others:
        return Unpriced(f"{found.model} is billed by {', '.join(others)}", Why.UNKNOWN)
    if parts := unreported(found):
        reason = f"{found.model} is billed by {', '.join(parts)}, which no event reports"
        return Unpriced(reason, Why.INCOMPLETE, f"no event reports {', '.join(parts)}")
    missing = [field for field in fields if getattr(event, field) is None]
    if missing:
        reason = f"{found.model} is billed by {', '.join(missing)}, which are not reported"
        return Unpriced(reason, Why.INCOMPLETE, f"no {', '.join(missing)}")
    without = [field for field in unrated(event.kind, found) if getattr(event, field)]
    if without:
        reason = f"the price of {found.model} has no rate for {', '.join(without)}"
        label = f"no rate for {', '.join(without)}"
        return Unpriced(f"{reason} ({found.source})", Why.INCOMPLETE, label)
    return None


def _reported(event: UsageEvent | EventStruct, found: Tariff) -> dict[str, int | Decimal]:
    usage: dict[str, int | Decimal] = {}
    for key, field in usage_keys(event.kind).items():
        value: int | None = getattr(event, field)
        if value and field == "stt_audio_ms":
            value = max(value, found.least_audio_ms)
        if value is not None:
            usage[key] = Decimal(value) / SECOND_MS if field.endswith("_ms") else value
    return usage
