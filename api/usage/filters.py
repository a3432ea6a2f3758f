r"""The filters of a question: their names and the values in their texts.

A filter is a dimension (`model=gpt-4o`); `!` negates it (`model!=gpt-4o`). In a URL, a comma separates
values, and repeating a filter adds values. `\,`, `\*` and `\\` are a comma, a star and a backslash inside
a value. In JSON, a list has several values, and a comma is a comma.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from api.errors import BadParameter
from api.http.parameters import RawParameters
from api.query.series_index import Filter
from schemas.catalog.views import DEFAULT, Catalog

VALUES_MAX: Final = 200
"""Values of all filters of a question. A longer list belongs into a label or a view."""


def parse_filters(
    raw: RawParameters, catalog: Catalog = DEFAULT, *, splits: bool
) -> tuple[Filter, ...]:
    filters = []
    total = 0
    other_names = aliases(catalog)
    for name in sorted(set(raw) & set(filter_names(catalog))):
        wanted = [value for text in raw[name] for value in split_values(text, splits=splits)]
        total += len(wanted)
        if total > VALUES_MAX:
            raise BadParameter(
                name, f"The filters have more than {VALUES_MAX} values, the limit (VALUES_MAX)."
            )
        filters.append(
            Filter(
                other_names.get(name.removesuffix("!"), name.removesuffix("!")),
                frozenset(value for value, is_prefix in wanted if not is_prefix),
                tuple(sorted({value for value, is_prefix in wanted if is_prefix})),
                name.endswith("!"),
            )
        )
    return tuple(filters)


def split_values(text: str, *, splits: bool) -> list[tuple[str, bool]]:
    """The values in a filter's text, each with whether it is a prefix."""
    found: list[tuple[str, bool]] = []
    value, is_prefix = "", False
    place = 0
    while place < len(text):
        here, after = text[place], text[place + 1 : place + 2]
        if here == "\\" and after in {",", "*", "\\"} and after:
            value += after
            place += 1
        elif here == "," and splits:
            found.append((value, is_prefix))
            value, is_prefix = "", False
        elif here == "*" and (not after or (splits and after == ",")):
            is_prefix = True
        else:
            value += here
        place += 1
    return [*found, (value, is_prefix)]


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
