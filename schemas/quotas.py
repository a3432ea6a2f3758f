"""Quotas of tenants, as an operator writes them: `1000000`, or `1000000,acme=5000000`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.limits import TENANT_CHARS_MAX

OWN_MAX: Final = 1000
"""Tenants with a quota of their own: a setting has room for them."""


@dataclass(frozen=True, slots=True)
class Quota:
    """`own`: tenants that have another quota than the rest."""

    default: int
    own: Mapping[str, int] = field(default_factory=dict)

    def of(self, tenant: str) -> int:
        return self.own.get(tenant, self.default)


NO_QUOTA: Final = Quota(0)
"""Where 0 means that there is none."""


def parse_quota(text: str, at_least: int, at_most: int) -> Quota:
    """Raises ValueError with a sentence if the text is invalid."""
    first, *others = text.split(",")
    default = _number(first, at_least, at_most)
    own: dict[str, int] = {}
    for other in others:
        tenant, _, number = other.rpartition("=")
        tenant = tenant.strip()
        if not 0 < len(tenant) <= TENANT_CHARS_MAX or tenant in own:
            raise ValueError(
                f"{other!r} must be TENANT=NUMBER, with each tenant once: 1000000,acme=5000000"
            )
        own[tenant] = _number(number, at_least, at_most)
    if len(own) > OWN_MAX:
        raise ValueError(f"must name at most {OWN_MAX} tenants")
    return Quota(default, own)


def _number(text: str, at_least: int, at_most: int) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(at_most)):
        raise ValueError(f"{text!r} must be a whole number from {at_least} to {at_most}")
    number = int(digits)
    if not at_least <= number <= at_most:
        raise ValueError(f"{number} must be from {at_least} to {at_most}")
    return number
