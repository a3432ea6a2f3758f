"""The values of a dimension in a range, the most used first: of events, or of what the directory says of users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from api.query.series_index import Filter
from api.query.sums import Sums
from api.usage.groups.people import NOBODY, People, PeopleCache
from api.usage.groups.person_dimensions import UNKNOWN, USER


def stored_dimension(name: str, persons: Sequence[str]) -> str:
    """The dimension that counters are kept by: the user, in place of what the directory says."""
    return USER if name in persons else name


async def known_people(
    directories: PeopleCache,
    tenant: str,
    name: str,
    persons: Sequence[str],
    wanted: Sequence[Filter],
) -> People:
    """The directory, as far as the dimension `name` and filters by `wanted` need it."""
    needed = {one.dimension for one in wanted} | ({name} & {*persons})
    return await directories.of_dimensions(tenant, frozenset(needed)) if needed else NOBODY


def used_values(
    sums: Sums, name: str, people: People | None, search: str
) -> tuple[list[dict[str, Any]], bytes]:
    """The values whose name contains `search`, without regard to case, and a text that has all of it. `people`:
    whose values of `name` the users of the rows have; None: the rows have values themselves. The events of a user in
    several groups count for each."""
    events: Counter[str] = Counter()
    for row in sums.rows:
        (value,) = row.group
        for one in (value,) if people is None else people.values(name, value):
            events[one] += row.values[0]
    found = [
        {"value": value, "events": count}
        for value, count in sorted(events.items(), key=lambda one: (-one[1], one[0]))
        if value != UNKNOWN and search in value.casefold()
    ]
    return found, repr(found).encode()
