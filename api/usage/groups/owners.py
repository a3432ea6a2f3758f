"""The tenants of a question: one, or several of a key, each with its own counters and directory.

A key with several tenants names some, or `*` for all of them. `group_by=tenant` without a name means all too. A
token has one tenant, so it never sees another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from api.auth.authenticate import TENANT_HEADER, share_of, tenant_of
from api.errors import BadParameter
from api.query.plan import Owned, Plan
from api.store.reader import Store
from api.usage.groups.people import NOBODY, People, PeopleCache, plans_with
from api.usage.parameters import TENANTS_MAX
from api.usage.query import EVERY, UsageQuery
from schemas.store.keys import ALL, Key


class Owner(NamedTuple):
    """A tenant, and what its directory says. "": the tenant of the request, where its name is not shown."""

    tenant: str = ""
    people: People = NOBODY


ANY: Final = (Owner(),)
"""Of an answer of one tenant that shows nothing of its directory."""


@dataclass(frozen=True)
class Owners:
    """`turn`: whose turn it is to read."""

    turn: str
    owners: tuple[Owner, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(one.tenant for one in self.owners)

    @property
    def directories(self) -> tuple[int, ...]:
        """Other numbers after a directory has changed."""
        return tuple(one.people.number for one in self.owners)

    def owned(self, plans: Sequence[Plan], query: UsageQuery) -> list[Owned]:
        """Each plan for each tenant: all of the first plan come first."""
        of_each = [plans_with(plans, query, one.people) for one in self.owners]
        return [
            (one.tenant, own[place])
            for place in range(len(plans))
            for one, own in zip(self.owners, of_each, strict=True)
        ]


def named_tenants(
    key: Key, headers: Mapping[str, str], query: UsageQuery
) -> tuple[str, ...] | None:
    """The tenants of a question; None: all that have counters. Raises TenantNotNamed, NoSuchTenant."""
    if not query.has_tenants:
        return (tenant_of(key, headers, query.tenant),)
    names = [name for name in query.tenants if name != EVERY]
    if names:
        return tuple(tenant_of(key, headers, name) for name in names)
    if TENANT_HEADER in headers:
        return (tenant_of(key, headers),)
    return None if key.tenants == ALL else tuple(key.tenants)


async def counted_tenants(store: Store, named: tuple[str, ...] | None) -> tuple[str, ...]:
    """The tenants of `named_tenants`. Raises BadParameter if they are too many for a question."""
    found = await store.tenants() if named is None else named
    if len(found) > TENANTS_MAX:
        raise BadParameter(
            "tenant",
            f"The question has {len(found)} tenants, more than the limit of {TENANTS_MAX} of one question"
            " (TENANTS_MAX): name some.",
        )
    return found or ("",)


async def tenants_of(
    store: Store, key: Key, headers: Mapping[str, str], query: UsageQuery
) -> tuple[str, ...]:
    """The tenants of a question. Raises TenantNotNamed, NoSuchTenant, BadParameter."""
    return await counted_tenants(store, named_tenants(key, headers, query))


def turn_of(key: Key, tenants: Iterable[Sequence[str] | None]) -> str:
    """Whose turn it is to read for questions of these tenants."""
    only = {None if names is None or len(names) != 1 else names[0] for names in tenants}
    (first, *others) = only
    return share_of(key) if others or first is None else first


async def owners_of(
    directories: PeopleCache, turn: str, tenants: Sequence[str], query: UsageQuery
) -> Owners:
    """These tenants with their directories, as far as the question needs them."""
    owners = [Owner(tenant, await directories.of(tenant, query)) for tenant in tenants]
    return Owners(turn, tuple(owners))
