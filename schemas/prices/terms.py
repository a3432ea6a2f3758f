"""The terms of a request that decide its price beside its numbers: tier, speed, region. Pure.

Formats call `tier_of` and `region_of`, so that each word has one meaning. Pricing calls
`terms_of`, which takes the words of events that come as they are, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

STANDARD: Final = "standard"
_TIERS: Final = {
    "default": STANDARD,
    "normal": STANDARD,
    "on_demand": STANDARD,
    "ondemand": STANDARD,
    "service_tier_standard": STANDARD,
    "standard_only": STANDARD,
    "on_demand_flex": "flex",
    "service_tier_flex": "flex",
    "on_demand_priority": "priority",
    "service_tier_priority": "priority",
    "batches": "batch",
}
_UNSAID: Final = frozenset({"", "auto", "none", "null", "unspecified", "service_tier_unspecified"})
"""`auto` is what a request asks for: the provider chose one that is not said."""
_ANYWHERE: Final = frozenset({"", "global", "not_available", "none", "null"})


class Terms(NamedTuple):
    """What an event says; "" is the standard."""

    service_tier: str = ""
    speed: str = ""
    region: str = ""

    def sentence(self) -> str:
        """`service_tier flex, region us`, or nothing."""
        said = zip(self._fields, self, strict=True)
        return ", ".join(f"{name} {value}" for name, value in said if value)


STANDARD_TERMS: Final = Terms()


def tier_of(said: str | None) -> str | None:
    """One word for a tier: `standard`, `flex`, `priority`, `batch`, or another in lower case. None if
    it is not said."""
    word = (said or "").strip().lower().replace("-", "_").replace(" ", "_")
    return None if word in _UNSAID else _TIERS.get(word, word)


def region_of(said: str | None) -> str | None:
    """The region in lower case; None if it is not said, or is no region (`global`)."""
    word = (said or "").strip().lower()
    return None if word in _ANYWHERE else word


@lru_cache(maxsize=1024)
def terms_of(service_tier: str | None, speed: str | None, region: str | None) -> Terms:
    tier = tier_of(service_tier) or ""
    fast = tier_of(speed) or ""
    return Terms(
        "" if tier == STANDARD else tier,
        "" if fast == STANDARD else fast,
        region_of(region) or "",
    )
