r"""The filters of a question: their names and the values in their texts.

A filter is a dimension (`model=gpt-4o`); `!` negates it (`model!=gpt-4o`). In a URL, a comma separates
values, and repeating a filter adds values. A `*` at the end of a value matches any rest, and one at its start any
beginning. `\,`, `\*` and `\\` are a comma, a star and a backslash inside
a value. In JSON, a list has several values, and a comma is a comma.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from api.errors import BadParameter
from api.http.parameters import RawParameters
from api.query.series_index import Filter
from api.usage.groups.person_dimensions import USER_EMAIL, person_filter_names
from schemas.catalog.views import DEFAULT, Catalog

_PLAIN: Final = re.compile(r"[^\\,*]+")
"""Characters of a value that have no meaning."""
VALUES_MAX: Final = 200
"""Values of all filters of a question. A longer list belongs into a label or a view."""


class Pattern(NamedTuple):
    """What a filter takes: the text itself, or what begins (`is_open_after`) or ends (`is_open_before`) with it,
    or contains it (both)."""

    text: str
    is_open_before: bool
    is_open_after: bool


def parse_filters(
    raw: RawParameters,
    catalog: Catalog = DEFAULT,
    *,
    splits: bool,
    ignores_case: bool = False,
    names: Sequence[str] | None = None,
) -> tuple[Filter, ...]:
    """`names`: the parameters that are filters; None: those of the catalog's dimensions."""
    filters = []
    total = 0
    other_names = aliases(catalog)
    for name in sorted(set(raw) & set(filter_names(catalog) if names is None else names)):
        wanted: list[Pattern] = []
        for text in raw[name]:
            wanted += split_values(text, splits=splits)
            if len(wanted) > VALUES_MAX:
                break
        total += len(wanted)
        if total > VALUES_MAX:
            raise BadParameter(
                name, f"The filters have more than {VALUES_MAX} values, the limit (VALUES_MAX)."
            )
        if ignores_case:
            wanted = [one._replace(text=one.text.casefold()) for one in wanted]
        whole, prefixes, suffixes, parts = (
            tuple(sorted({one.text for one in wanted if one[1:] == ends}))
            for ends in ((False, False), (False, True), (True, False), (True, True))
        )
        filters.append(
            Filter(
                other_names.get(name.removesuffix("!"), name.removesuffix("!")),
                frozenset(whole),
                prefixes,
                name.endswith("!"),
                suffixes,
                parts,
                ignores_case,
            )
        )
    return tuple(filters)


def parse_person_filters(
    raw: RawParameters, catalog: Catalog, *, splits: bool, ignores_case: bool
) -> tuple[Filter, ...]:
    """Filters by what the directory says of users. Addresses ignore case."""
    found: list[Filter] = []
    for name in person_filter_names(catalog):
        is_address = name.removesuffix("!") == USER_EMAIL
        found += parse_filters(
            raw, catalog, splits=splits, ignores_case=ignores_case or is_address, names=(name,)
        )
    return tuple(found)


def split_values(text: str, *, splits: bool) -> list[Pattern]:
    """The values in a filter's text; VALUES_MAX + 1 at most."""
    found: list[Pattern] = []
    value, is_open_before, is_open_after, begun = "", False, False, False
    place = 0
    while place < len(text) and len(found) <= VALUES_MAX:
        if plain := _PLAIN.match(text, place):
            value += plain[0]
            place, begun = plain.end(), True
            continue
        here, after = text[place], text[place + 1 : place + 2]
        if here == "\\" and after in {",", "*", "\\"} and after:
            value += after
            place += 1
        elif here == "," and splits:
            found.append(Pattern(value, is_open_before, is_open_after))
            value, is_open_before, is_open_after, begun = "", False, False, False
            place += 1
            continue
        elif here == "*" and (not after or (splits and after == ",")):
            is_open_after = True
        elif here == "*" and not begun:
            is_open_before = True
        else:
            value += here
        begun = True
        place += 1
    return [*found, Pattern(value, is_open_before, is_open_after)]


@cache
def filter_names(catalog: Catalog) -> tuple[str, ...]:
    names = (*catalog.kept_dimensions, *aliases(catalog))
    return tuple(name + end for name in names for end in ("", "!"))


@cache
def aliases(catalog: Catalog) -> Mapping[str, str]:
    """Other names of dimensions: the event's field that each is read from first, such as `agent_id`."""
    taken = {*catalog.kept_dimensions}
    return {
        fields[0]: name
        for name, fields in catalog.dimensions.items()
        if name in taken and fields[0] not in taken and fields[0].isidentifier()
    }
