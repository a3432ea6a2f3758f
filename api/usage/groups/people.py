"""Names, addresses and groups of users, from the directory, as dimensions and filters of a question.

They are not stored with the counters. So a question is asked by user, and its rows are put together by what the
directory says of each user. A user whom the directory does not know has none of them: null.

The directory of a tenant is read as a whole, in pieces, and cached for a few seconds. A key or token with
filters gets names of the users in its own rows only, because counters are read within its filters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Final

from cachetools import LRUCache

from api.http.singleflight import Singleflight
from api.query.plan import Plan
from api.query.series_index import Filter
from api.store import directory
from api.store.reader import Store
from api.usage.groups.person_dimensions import (
    UNKNOWN,
    USER,
    USER_GROUP,
    USER_NAME,
    is_placeholder,
)
from api.usage.query import UsageQuery

FRESH_S: Final = 5.0
"""How long a directory is taken as it was read."""
PAUSE_SHARE: Final = 10
"""The same in times that it took to read it: 100,000 users take 1 to 4 s. So names take at most a tenth of the time
of a process, however often they are asked for."""
USERS_KEPT: Final = 200_000
"""Users of all cached directories: 0.5 kB each, 100 MB. The directory of a tenant has 100,000 at most."""

Groups = tuple[str, ...]


@dataclass(frozen=True)
class People:
    """What the directory says: name and address by user, and each user's groups as (id, name). `number`: another
    one after something has changed."""

    names: Mapping[str, str]
    emails: Mapping[str, str]
    groups: Mapping[str, tuple[tuple[str, str], ...]]
    number: int = field(default=0, compare=False)

    def __len__(self) -> int:
        return len(self.names) + len(self.groups)

    def values(self, dimension: str, user: str) -> Sequence[str]:
        """The values of a user; UNKNOWN if there is none. Only groups can be several, each name once."""
        if dimension == USER_GROUP:
            names = dict.fromkeys(name for _, name in self.groups.get(user, ()))
            return tuple(names) or (UNKNOWN,)
        of = self.names if dimension == USER_NAME else self.emails
        return (of.get(user) or UNKNOWN,)

    def as_filter(self, wanted: Filter) -> Filter:
        """A filter by name, address or group as one by user. A group is found by its name or its id; a user
        passes if one of the groups does."""
        positive = replace(wanted, is_negated=False)
        known = self.groups if wanted.dimension == USER_GROUP else self.names
        takes_unknown = positive.takes("")
        found = frozenset(user for user in known if self._takes(positive, user) != takes_unknown)
        return Filter(USER, found, is_negated=takes_unknown is not wanted.is_negated)

    def _takes(self, wanted: Filter, user: str) -> bool:
        if wanted.dimension == USER_GROUP:
            return any(wanted.takes(text) for one in self.groups[user] for text in one)
        of = self.names if wanted.dimension == USER_NAME else self.emails
        return wanted.takes(of[user])


NOBODY: Final = People({}, {}, {})


class PeopleCache:
    """The directories of some tenants, each as it was at most FRESH_S ago, or PAUSE_SHARE reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: LRUCache[tuple[str, bool], tuple[float, People]] = LRUCache(
            USERS_KEPT, getsizeof=lambda one: max(1, len(one[1]))
        )
        self._reads: Singleflight[People] = Singleflight()
        self._numbers = count(1)

    async def of(self, tenant: str, query: UsageQuery) -> People:
        """What the question needs to know; NOBODY if it needs nothing."""
        return await self.of_dimensions(tenant, query.person_dimensions)

    async def of_dimensions(self, tenant: str, dimensions: frozenset[str]) -> People:
        """The same of these dimensions."""
        if not dimensions:
            return NOBODY
        key = tenant, USER_GROUP in dimensions
        cached = self._cached.get(key)
        if cached is not None and self._now_s() < cached[0]:
            return cached[1]
        return await self._reads.once(key, partial(self._read, *key))

    async def _read(self, tenant: str, has_groups: bool) -> People:  # noqa: FBT001  half of a key
        began_s = self._now_s()
        found = await _people(self._store, tenant, has_groups=has_groups)
        cached = self._cached.get((tenant, has_groups))
        if cached is not None and cached[1] == found:
            found = cached[1]  # answers that were made of it are still right
        else:
            found = replace(found, number=next(self._numbers))
        took_s = self._now_s() - began_s
        fresh_until_s = began_s + max(FRESH_S, PAUSE_SHARE * took_s)
        self._cached[tenant, has_groups] = fresh_until_s, found
        return found

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


async def _people(store: Store, tenant: str, *, has_groups: bool) -> People:
    async with directory.turn_of(store, tenant):
        persons = await directory.everybody(store, tenant)
        groups: dict[str, tuple[tuple[str, str], ...]] = {}
        if has_groups:
            for group, _ in await directory.groups(store, tenant):
                for user in await directory.members(store, tenant, group.id):
                    groups[user] = (*groups.get(user, ()), (group.id, group.name))
    return People(
        {one.key: one.name or "" for one in persons},
        {one.key: one.email or "" for one in persons},
        groups,
    )


def plans_with(plans: Sequence[Plan], query: UsageQuery, people: People) -> tuple[Plan, ...]:
    """The plans with filters by user, in place of those by name, address or group."""
    if not query.person_filters:
        return tuple(plans)
    of_users = tuple(people.as_filter(one) for one in query.person_filters)
    return tuple(_with(plan, of_users) for plan in plans)


def _with(plan: Plan, of_users: Sequence[Filter]) -> Plan:
    others = (one for one in plan.question.filters if not is_placeholder(one))
    return replace(plan, question=replace(plan.question, filters=(*others, *of_users)))
