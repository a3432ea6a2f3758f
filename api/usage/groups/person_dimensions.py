"""The names of what the directory says of a user, as dimensions of questions."""

from __future__ import annotations

from functools import cache
from typing import Final

from api.query.series_index import Filter
from schemas.catalog.views import Catalog

USER: Final = "user"
USER_NAME: Final = "user_name"
USER_EMAIL: Final = "user_email"
USER_GROUP: Final = "user_group"
UNKNOWN: Final = "\ud800"
"""The value of a user who is not in the directory. No text of an event or of the directory has this character."""
PLACEHOLDER: Final = Filter(USER, frozenset({"\ud801"}), is_negated=True)
"""Holds the place of a filter by user that only the directory tells. It takes every user."""


@cache
def person_dimensions(catalog: Catalog) -> tuple[str, ...]:
    """Those that this catalog offers: none without users, and none whose name is a dimension of its own."""
    kept = catalog.kept_dimensions
    if USER not in kept:
        return ()
    return tuple(name for name in (USER_NAME, USER_EMAIL, USER_GROUP) if name not in kept)


@cache
def person_filter_names(catalog: Catalog) -> tuple[str, ...]:
    return tuple(name + end for name in person_dimensions(catalog) for end in ("", "!"))


def cell_of(value: str | None) -> str | None:
    """A value as an answer has it: null if it is not known."""
    return None if value == UNKNOWN else value


def value_of(cell: object) -> str:
    """The value of the group of a cell."""
    return cell if isinstance(cell, str) else UNKNOWN


def is_placeholder(one: Filter) -> bool:
    return one == PLACEHOLDER
