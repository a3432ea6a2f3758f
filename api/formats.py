"""An answer as bytes: JSON, CSV or newline-delimited JSON, and which of them is wanted. Pure.

A CSV cell of text that a spreadsheet would take for a formula gets a `'` in front, as spreadsheets
themselves write it; numbers are ours and stay numbers. Null is an empty cell.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from api.answers import Cell
from api.asking import FORMATS, Format

MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
}
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
"""What begins a formula in one spreadsheet or another (the last four: full-width = + - @)."""


def accepted(accept: str) -> Format | None:
    """The form that an Accept header likes best; None where it likes none of ours."""
    if not accept.strip():
        return "json"
    best: tuple[float, int, Format] | None = None
    for place, form in enumerate(FORMATS):
        quality = _quality(accept, MEDIA_TYPES[form].partition(";")[0])
        if quality > 0 and (best is None or (quality, -place) > best[:2]):
            best = quality, -place, form
    return best[2] if best else None


def to_json(content: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    try:
        return msgspec.json.encode(content)
    except OverflowError:  # a sum beyond 64 bits, which JSON can hold
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def to_ndjson(rows: Sequence[Mapping[str, Cell]]) -> bytes:
    return b"".join(to_json(row) + b"\n" for row in rows)


def to_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Cell]]) -> bytes:
    """RFC 4180, with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return out.getvalue().encode()


def _cell(value: Cell) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return value


def _quality(accept: str, media_type: str) -> float:
    """RFC 9110: the most specific range that matches decides."""
    found = (-1, 0.0)
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        name = name.strip().lower()
        if name == media_type:
            specific = 2
        elif name == media_type.partition("/")[0] + "/*":
            specific = 1
        elif name == "*/*":
            specific = 0
        else:
            continue
        found = max(found, (specific, _weight(parameters)))
    return found[1]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
