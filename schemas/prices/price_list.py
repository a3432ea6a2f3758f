"""The prices of events without a cost: those of the operator's file, then the bundled ones. Pure.

The file is TOML, with one `[[price]]` per entry:

    [[price]]
    tenant = "acme"        # default: every tenant
    provider = "openai"    # default: any provider, and events that name none
    model = "gpt-4o*"      # a name, or a prefix and *; "*" is any model, and events that name none
    from = 2026-01-01      # the first UTC day; default: no start
    to = 2026-07-01        # the first UTC day after the last; default: no end
    usd_per_million_input_tokens = 2.0
    usd_per_million_output_tokens = 8.0

Several entries may match an event. One that names the tenant comes first, then one that names the
provider, then the full name of a model, then the longest prefix. If no entry matches, the bundled
prices (genai-prices, offline) apply. A price is complete: nothing that an entry leaves out is taken
from another entry or list.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from schemas.errors import InvalidConfig
from schemas.limits import ID_CHARS_MAX, TENANT_CHARS_MAX
from schemas.prices.genai_list import GENAI_VERSION, INSTALLED, GenaiList
from schemas.prices.listed_prices import LISTED_TOML
from schemas.prices.names import plain_model
from schemas.prices.providers import canonical
from schemas.prices.terms import Terms, terms_of


def bundled_version(genai_version: str, listed_toml: str) -> str:
    """What comes with a package: the bundled list, and schemas/prices/listed_prices.py."""
    return f"{genai_version}, listed prices {hashlib.sha256(listed_toml.encode()).hexdigest()[:8]}"


BUNDLED_VERSION: Final = bundled_version(GENAI_VERSION, LISTED_TOML)

PRICES_BYTES_MAX: Final = 1 << 20
"""A price file of 5,000 entries. A worker reads it once, at its start."""
ENTRIES_MAX: Final = 5000
PLACES_MAX: Final = 9
"""Decimal places of a price: a nano-USD for a million tokens."""
PRICE_USD_MAX: Final = 1_000_000
"""The highest bundled price is 35,000 USD for a million tokens."""


def _day(value: object) -> object:
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("must be a day, such as 2026-01-31, without quotes")
    return value


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")
    return value


Term = Annotated[str, Field(strict=True, min_length=1, max_length=ID_CHARS_MAX)] | None
"""A tier, speed or region that the price is for. Not given: the standard; `*`: any."""
Day = Annotated[date, BeforeValidator(_day)]
Usd = Annotated[
    Decimal,
    BeforeValidator(_number),
    Field(ge=0, le=PRICE_USD_MAX, decimal_places=PLACES_MAX, allow_inf_nan=False),
]


class OwnPrice(BaseModel):
    """One entry. Tokens whose price is left out are billed as the tokens that they are part of
    (cached input as input). A price of 0 is free."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    tenant: Annotated[str, Field(strict=True, min_length=1, max_length=TENANT_CHARS_MAX)] | None = (
        None
    )
    provider: Annotated[str, Field(strict=True, min_length=1, max_length=ID_CHARS_MAX)] | None = (
        None
    )
    model: Annotated[str, Field(strict=True, min_length=1, max_length=ID_CHARS_MAX)]
    valid_from: Annotated[Day | None, Field(alias="from")] = None
    valid_to: Annotated[Day | None, Field(alias="to")] = None
    service_tier: Term = None
    speed: Term = None
    region: Term = None
    usd_per_million_input_tokens: Usd | None = None
    usd_per_million_output_tokens: Usd | None = None
    usd_per_million_cache_read_tokens: Usd | None = None
    usd_per_million_cache_write_tokens: Usd | None = None
    usd_per_million_cache_write_1h_tokens: Usd | None = None
    usd_per_million_input_audio_tokens: Usd | None = None
    usd_per_million_cache_read_audio_tokens: Usd | None = None
    usd_per_million_input_image_tokens: Usd | None = None
    usd_per_million_cache_read_image_tokens: Usd | None = None
    usd_per_million_output_audio_tokens: Usd | None = None
    usd_per_million_output_image_tokens: Usd | None = None
    usd_per_million_characters: Usd | None = None
    usd_per_minute_of_audio: Usd | None = None
    usd_per_hour_of_audio: Usd | None = None
    usd_per_image: Usd | None = None
    usd_per_thousand_pages: Usd | None = None
    usd_per_thousand_web_searches: Usd | None = None
    usd_per_thousand_file_searches: Usd | None = None
    usd_per_thousand_rerank_searches: Usd | None = None
    usd_per_thousand_code_executions: Usd | None = None
    usd_per_thousand_tool_calls: Usd | None = None
    usd_per_request: Usd | None = None
    times_token_prices: Usd | None = None
    source: Annotated[str, Field(strict=True, max_length=ID_CHARS_MAX)] | None = None
    read: Day | None = None

    @property
    def name(self) -> str:
        """`acme: openai/gpt-4o* from 2026-01-01 to 2026-07-01`, as errors and `explain` show it."""
        tenant = f"{self.tenant}: " if self.tenant else ""
        days = "".join(
            f" {word} {day}"
            for word, day in (("from", self.valid_from), ("to", self.valid_to))
            if day
        )
        terms = "".join(
            f" {name} {said}"
            for name, said in zip(TERM_FIELDS, self._said, strict=True)
            if said is not None
        )
        return f"{tenant}{self.provider or 'any'}/{self.model}{terms}{days}"

    @property
    def _said(self) -> tuple[str | None, str | None, str | None]:
        return self.service_tier, self.speed, self.region

    @property
    def terms(self) -> tuple[str, ...]:
        """Tier, speed and region in the words of `Terms`; "" for the standard, `*` for any."""
        known = terms_of(*(None if said == ANY else said for said in self._said))
        return tuple(
            ANY if said == ANY else word for said, word in zip(self._said, known, strict=True)
        )

    def is_for(self, terms: Terms) -> bool:
        return all(own in (ANY, said) for own, said in zip(self.terms, terms, strict=True))

    def without_own_terms(self, terms: Terms) -> Terms:
        """The terms of the price that a multiple is of: those that the entry does not name."""
        kept = (said if own == ANY else "" for own, said in zip(self.terms, terms, strict=True))
        return Terms(*kept)

    def rates(self) -> dict[str, Decimal]:
        """The prices of the entry, by field."""
        return {
            field: value
            for field in type(self).model_fields
            if field.startswith(("usd_per_", "times_"))
            and (value := getattr(self, field)) is not None
        }

    def takes(self, model: str) -> bool:
        """Whether the entry matches a model name. Case is ignored: libraries differ in it."""
        if self.model.endswith("*"):
            return model.lower().startswith(self.model[:-1].lower())
        return model.lower() == self.model.lower()

    def holds_on(self, day: date) -> bool:
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day < self.valid_to
        )


TERM_FIELDS: Final = ("service_tier", "speed", "region")
ANY: Final = "*"
_FIELDS: Final = tuple(field.alias or name for name, field in OwnPrice.model_fields.items())


class EarlierPrices(NamedTuple):
    """The list for events before `until_ms`."""

    until_ms: int
    prices: Prices


@dataclass(frozen=True, eq=False)
class Prices:
    """A worker's price list: the operator's entries, then the bundled ones. Compared by identity.

    `listed` and `genai`: what came with the package; by default that of this installation.
    `earlier`: the lists that counted before this one took effect, oldest first; an event has the
    price of the list of its own time.
    """

    own: tuple[OwnPrice, ...] = ()
    listed_toml: str = LISTED_TOML
    genai: GenaiList = INSTALLED
    earlier: tuple[EarlierPrices, ...] = ()

    @cached_property
    def version(self) -> str:
        """Part of the digest of a generation: other prices make other sums."""
        bundled = bundled_version(self.genai.version, self.listed_toml)
        if not self.own:
            return bundled
        entries = sorted(json.dumps(described(entry), sort_keys=True) for entry in self.own)
        digest = hashlib.sha256("\n".join(entries).encode()).hexdigest()[:16]
        return f"{bundled}, own prices {digest}"

    @cached_property
    def tenants(self) -> frozenset[str]:
        """The tenants that have prices of their own."""
        own = frozenset(entry.tenant for entry in self.own if entry.tenant)
        return own.union(*(one.prices.tenants for one in self.earlier))

    @cached_property
    def listed(self) -> Prices:
        """The prices that come with the package beside the bundled list."""
        return _listed(self.listed_toml, self.genai)

    def at(self, at_ms: int) -> Prices:
        """The list for events of this time."""
        if not self.earlier:
            return self
        return next((one.prices for one in self.earlier if at_ms < one.until_ms), self._last)

    @cached_property
    def _last(self) -> Prices:
        """Without those before it."""
        return replace(self, earlier=())

    def candidates(self, tenant: str, provider: str | None, model: str) -> Iterator[OwnPrice]:
        """The entries for a model, on any day, by precedence. A model has its name as it was sent, and
        its plain one (`models/gemini-2.5-flash` is `gemini-2.5-flash`)."""
        plain = plain_model(provider, model) or model
        for of_tenant in (tenant, None):
            for of_provider in (provider, None) if provider else (None,):
                for entry in self._by_owner.get((of_tenant, of_provider), ()):
                    if entry.takes(model) or entry.takes(plain):
                        yield entry

    @cached_property
    def _by_owner(self) -> Mapping[tuple[str | None, str | None], Sequence[OwnPrice]]:
        found: defaultdict[tuple[str | None, str | None], list[OwnPrice]] = defaultdict(list)
        for entry in self.own:
            found[entry.tenant, canonical(entry.provider)].append(entry)
        for entries in found.values():
            entries.sort(key=lambda e: (e.model.endswith("*"), -len(e.model), e.terms.count(ANY)))
        return found


BUNDLED: Final = Prices()
"""The bundled prices alone, without an operator's file."""


def described(entry: OwnPrice) -> list[str]:
    """What decides a cost, whatever the notation: 2 and 2.0 are the same price."""
    return [
        entry.tenant or "",
        canonical(entry.provider) or "",
        entry.model.lower(),
        str(entry.valid_from or ""),
        str(entry.valid_to or ""),
        *(f"{name}={said}" for name, said in zip(TERM_FIELDS, entry.terms, strict=True) if said),
        *(f"{field}={value.normalize():f}" for field, value in entry.rates().items()),
    ]


# -- the file --------------------------------------------------------------------------------------


def parse_prices(text: bytes, file: str) -> Prices:
    """The prices of a file. InvalidConfig names the file, the entry, its field and the problem."""
    if len(text) > PRICES_BYTES_MAX:
        raise InvalidConfig(
            f"{file} has {len(text)} bytes; a price list has at most {PRICES_BYTES_MAX}."
        )
    try:
        found = tomllib.loads(text.decode(), parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidConfig(f"{file} is not TOML: {error}.") from error
    if others := sorted(found.keys() - {"price"}):
        raise InvalidConfig(f"{file}: {others[0]!r} is not allowed: each entry is a [[price]].")
    entries = found.get("price", [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InvalidConfig(f"{file}: each price must be a table of its own: [[price]].")
    if len(entries) > ENTRIES_MAX:
        raise InvalidConfig(f"{file} has {len(entries)} prices, the limit is {ENTRIES_MAX}.")
    own = [_entry(fields, f"{file}: price {n}") for n, fields in enumerate(entries, start=1)]
    _check_apart(own, file)
    return Prices(tuple(own))


def _entry(fields: Mapping[str, Any], which: str) -> OwnPrice:
    who = f"{which} ({fields.get('provider', 'any')}/{fields.get('model', 'no model')})"
    try:
        entry = OwnPrice.model_validate(fields, by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = f"unknown field; the fields are {', '.join(_FIELDS)}"
        raise InvalidConfig(f"{who}: {field}: {problem}.") from error
    if problem := _problem(entry):
        raise InvalidConfig(f"{who}: {problem}.")
    return entry


_PARTS: Final = (
    ("cache_read_tokens", "input_tokens"),
    ("cache_write_tokens", "input_tokens"),
    ("cache_write_1h_tokens", "cache_write_tokens"),
    ("input_audio_tokens", "input_tokens"),
    ("input_image_tokens", "input_tokens"),
    ("output_audio_tokens", "output_tokens"),
    ("output_image_tokens", "output_tokens"),
    ("cache_read_audio_tokens", "cache_read_tokens"),
    ("cache_read_audio_tokens", "input_audio_tokens"),
    ("cache_read_image_tokens", "cache_read_tokens"),
    ("cache_read_image_tokens", "input_image_tokens"),
)
"""Tokens that are part of others: if the part has a price, the whole needs one too."""


def _problem(entry: OwnPrice) -> str:
    """The problem of the fields together; "" where there is none."""
    rates = entry.rates()
    if "*" in entry.model[:-1]:
        return "model: a * is allowed only at the end"
    if not rates:
        return "it has no price: give at least one usd_per_... field, 0 if the model is free"
    if entry.valid_from and entry.valid_to and entry.valid_to <= entry.valid_from:
        return f"to: {entry.valid_to} is not after from, which is {entry.valid_from}"
    if {"usd_per_minute_of_audio", "usd_per_hour_of_audio"} <= rates.keys():
        return "usd_per_hour_of_audio: only one price of audio is allowed"
    if entry.times_token_prices is not None:
        return _problem_of_multiple(entry)
    return _problem_of_parts(rates.keys())


def _problem_of_multiple(entry: OwnPrice) -> str:
    if len(entry.rates()) > 1:
        return "times_token_prices: no other price is allowed beside it"
    if not any(word not in ("", ANY) for word in entry.terms):
        return "times_token_prices needs a service_tier, speed or region that is not the standard"
    return ""


def _problem_of_parts(rates: Collection[str]) -> str:
    head = "usd_per_million_"
    for part, whole in _PARTS:
        if head + part in rates and head + whole not in rates:
            return f"{head}{part} needs {head}{whole} too: these tokens are part of those"
    for kind in ("audio", "image"):
        both = {f"{head}input_{kind}_tokens", f"{head}cache_read_tokens"}
        if both <= {*rates} and f"{head}cache_read_{kind}_tokens" not in rates:
            return (
                f"{head}cache_read_{kind}_tokens is missing: {kind} and cached tokens have prices,"
                " and a token can be both"
            )
    return ""


def _check_apart(own: Sequence[OwnPrice], file: str) -> None:
    """Rejects two entries for the same models on the same day: neither has precedence."""
    seen: defaultdict[tuple[object, ...], list[tuple[int, OwnPrice]]] = defaultdict(list)
    for number, entry in enumerate(own, start=1):
        key = (entry.tenant, canonical(entry.provider), entry.model.lower(), entry.terms)
        for other_number, other in seen[key]:
            if _overlap(entry, other):
                raise InvalidConfig(
                    f"{file}: price {number} ({entry.name}) overlaps in time with price"
                    f" {other_number} ({other.name}): limit one of them by from or to."
                )
        seen[key].append((number, entry))


def _overlap(one: OwnPrice, other: OwnPrice) -> bool:
    starts = max(one.valid_from or date.min, other.valid_from or date.min)
    ends = min(one.valid_to or date.max, other.valid_to or date.max)
    return starts < ends


@lru_cache(maxsize=16)
def _listed(toml: str, genai: GenaiList) -> Prices:
    own = parse_prices(toml.encode(), "listed_prices.py").own
    return Prices(own, listed_toml=toml, genai=genai)
