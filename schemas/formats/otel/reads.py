"""Typed reads of a span's attributes, whose numbers may be texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from schemas.errors import InvalidEvent
from schemas.formats.body import Json, count, invalid, load, number, short
from schemas.formats.otel.attributes import KNOWN, USAGE_PREFIXES

ABSENT: Final = (None, "", "none")
"""Values that say that nothing is reported. Micrometer, which Spring AI uses, writes `none`."""
JSON_CHARS_MAX: Final = 64 * 1024
"""Of a text that is read as JSON. The longest of our fixtures has 300."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][-+]?[0-9]{1,2})?")


def first_text(attributes: Json, names: Iterable[str]) -> str | None:
    """The first text under one of the names. A value of another type is not a text of this meaning."""
    for name in names:
        found = attributes.get(name)
        if isinstance(found, str) and found not in ABSENT:
            return short(_unquoted(found), name)
    return None


def _unquoted(found: str) -> str:
    """MLflow writes each value as JSON: `"gpt-4o"` with its quotes."""
    return found[1:-1] if len(found) > 2 and found[0] == found[-1] == '"' else found


def first_count(attributes: Json, names: Iterable[str]) -> int | None:
    """The first count under one of the names. Micrometer writes numbers as texts."""
    for name in names:
        value = attributes.get(name)
        if value not in ABSENT:
            return count({name: _number_of(value, name)}, name)
    return None


def first_number(attributes: Json, names: Iterable[str]) -> Decimal | None:
    for name in names:
        value = attributes.get(name)
        if value not in ABSENT:
            return number({name: _number_of(value, name)}, name)
    return None


def json_object(attributes: Json, name: str) -> Json:
    """The object that the text of an attribute is; an empty one if it is no object, or a long text."""
    value = attributes.get(name)
    if not isinstance(value, str) or len(value) > JSON_CHARS_MAX:
        return {}
    try:
        found = load(value.encode())
    except (InvalidEvent, UnicodeEncodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _number_of(value: object, name: str) -> object:
    if not isinstance(value, str):
        return value
    found = _as_number(value)
    if found is None:
        raise invalid(name, "must be a number")
    return found


def _as_number(value: object) -> int | Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def unknown_usage(attributes: Json) -> list[str]:
    """The names of attributes of usage that are not understood, and that are not 0."""
    return [
        name
        for name in attributes
        if name.startswith(USAGE_PREFIXES)
        and name not in KNOWN
        and _as_number(attributes[name]) not in (None, 0)
        and ".cost" not in name
    ]
