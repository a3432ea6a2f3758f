"""The name of a series: its values as one text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.errors import StoreCorrupt


def series_name(values: Sequence[str]) -> str:
    """The name of a series: its values in the order of the view's dimensions. "" is "not reported"."""
    return name_of_quoted([quoted(value) for value in values])


def quoted(value: str) -> str:
    """A value as names contain it."""
    return msgspec.json.encode(value).decode()


def name_of_quoted(values: Sequence[str]) -> str:
    """`series_name` of values that are already quoted. Many series share some values."""
    return f"[{','.join(values)}]"


def series_values(name: str | bytes) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(name, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise StoreCorrupt(f"the series name {name!r} is not a JSON array of texts") from error
