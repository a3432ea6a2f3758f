"""Whether another price list changes the price of events of an earlier time. Pure.

A list that only adds models, or prices that start later, may take effect without a rebuild. Compared
are all models that either list names, under all terms that either has, at all dates that matter. A
model without a price, or without one for some terms, may get one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.limits import DAY_MS
from schemas.prices.price_list import ANY, OwnPrice, Prices, described
from schemas.prices.providers import canonical
from schemas.prices.tariffs import Tariff, Unpriced, bundled_model, edges, midnight, tariff
from schemas.prices.terms import Terms
from schemas.units import instant_to_ms, iso, ms_to_instant

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

_CLAUSES: Final = ("equals", "starts_with", "ends_with", "contains")
_TIERS: Final = {"service_tier": 0, "processing": 0, "speed": 1}
"""A word of the bundled list to its place in `Terms`."""


class _Name(NamedTuple):
    tenant: str
    provider: str
    model: str


def difference(old: Prices, new: Prices, from_ms: int, before_ms: int) -> str | None:
    """A model that `new` prices otherwise than `old` at some time from `from_ms` to `before_ms`, as a
    sentence; None if there is none. Takes up to some seconds."""
    if from_ms >= before_ms:
        return None
    changed = Prices(
        (*_changed(old.own, new.own, before_ms), *_changed_listed(old, new, before_ms))
    )
    terms = _terms(old, new)
    for name in _names(old, new, changed):
        if not _is_affected(name, old, new, changed):
            continue
        for at, term in product(_times(name, old, new, from_ms, before_ms), terms):
            was, is_now = (tariff(one, *name, at, term) for one in (old, new))
            if isinstance(was, Tariff) and not _is_same(was, is_now):
                return _sentence(name, at, was, is_now)
    return None


def _sentence(name: _Name, at: datetime, was: Tariff, is_now: Tariff | Unpriced) -> str:
    whose = f"{name.tenant}: " if name.tenant else ""
    said = is_now.sentence() if isinstance(is_now, Tariff) else f"no price: {is_now.reason}"
    return (
        f"{whose}{name.provider or 'any'}/{name.model} at {iso(instant_to_ms(at))} is counted at"
        f" {was.sentence()}; this list has {said}"
    )


def _is_same(was: Tariff, is_now: Tariff | Unpriced) -> bool:
    return (
        isinstance(is_now, Tariff)
        and was.rates == is_now.rates
        and was.extras == is_now.extras
        and was.least_audio_ms == is_now.least_audio_ms
        and was.bills_parts_as_wholes == is_now.bills_parts_as_wholes
    )


# -- what may differ -------------------------------------------------------------------------------


def _changed_listed(old: Prices, new: Prices, before_ms: int) -> Iterator[OwnPrice]:
    return _changed(old.listed.own, new.listed.own, before_ms)


def _changed(
    old: Sequence[OwnPrice], new: Sequence[OwnPrice], before_ms: int
) -> Iterator[OwnPrice]:
    """The entries of one list that the other lacks, of those that start before `before_ms`."""
    kept = [{str(described(one)): one for one in _cut(some, before_ms)} for some in (old, new)]
    for text in kept[0].keys() ^ kept[1].keys():
        yield kept[0].get(text) or kept[1][text]


def _cut(entries: Iterable[OwnPrice], before_ms: int) -> Iterator[OwnPrice]:
    for one in entries:
        if one.valid_from and instant_to_ms(midnight(one.valid_from)) >= before_ms:
            continue
        ends_later = one.valid_to and instant_to_ms(midnight(one.valid_to)) >= before_ms
        yield one.model_copy(update={"valid_to": None}) if ends_later else one


def _is_affected(name: _Name, old: Prices, new: Prices, changed: Prices) -> bool:
    tenant, provider, model = name
    if any(True for _ in changed.candidates(tenant, canonical(provider), model)):
        return True
    was, is_now = (bundled_model(one.genai, provider, model) for one in (old, new))
    if was is None or is_now is None:
        return was is not is_now
    return was[1] is not is_now[1]


# -- names, terms and times ------------------------------------------------------------------------


def _names(old: Prices, new: Prices, changed: Prices) -> Iterator[_Name]:
    """All that either list names, for each tenant whose prices have changed."""
    found: dict[tuple[str, str], None] = {}
    providers = {"", *(one.provider or "" for one in changed.own)}
    for listed in (old, new):
        for one in (*listed.own, *listed.listed.own):
            own = [one.provider] if one.provider else providers
            found |= dict.fromkeys((id_, one.model.removesuffix(ANY)) for id_ in own)
        for id_, provider in listed.genai.providers.items():
            for model in provider.models:
                found |= dict.fromkeys((id_, word) for word in (model.id, *_words(model.match)))
    for tenant, name in product(("", *sorted(changed.tenants)), found):
        yield _Name(tenant, *name)


def _words(clause: object) -> Iterator[str]:
    for name in _CLAUSES:
        if hasattr(clause, name):
            yield getattr(clause, name)
    for name in ("or_", "and_"):
        for part in getattr(clause, name, ()):
            yield from _words(part)


def _terms(old: Prices, new: Prices) -> list[Terms]:
    """Every tier with every speed and region that either list has."""
    words: tuple[set[str], set[str], set[str]] = ({""}, {""}, {""})
    for listed in (old, new):
        for one in (*listed.own, *listed.listed.own):
            for some, word in zip(words, one.terms, strict=True):
                some.add(word)
        for provider in listed.genai.providers.values():
            for model in provider.models:
                for key, word in _contexts(model):
                    if key in _TIERS:
                        words[_TIERS[key]].add(word)
    return [Terms(*one) for one in product(*(sorted(some - {ANY}) for some in words))]


def _contexts(model: ModelInfo) -> Iterator[tuple[str, str]]:
    for variant in model.price_variants or ():
        yield from variant.when.items()


def _times(
    name: _Name, old: Prices, new: Prices, from_ms: int, before_ms: int
) -> Iterator[datetime]:
    """One time of each span in which neither price changes."""
    of_lists = [edges(one, *name) for one in (old, new)]
    starts = sorted({instant_to_ms(one) for found, _ in of_lists for one in found})
    clocks = sorted({0, *(clock for _, found in of_lists for clock in found)})
    first = (starts[0] if starts else before_ms) - DAY_MS
    for start, end in pairwise((first, *starts, max(before_ms, *starts, 0) + DAY_MS)):
        if start < before_ms and end > from_ms:
            for clock in clocks:
                yield ms_to_instant(start - start % DAY_MS + clock)
