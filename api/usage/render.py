"""Rows as JSON, CSV or newline-delimited JSON, and the choice by the Accept header.

A text in CSV that a spreadsheet would run as a formula gets a `'` in front, as spreadsheets write it
themselves. So does what follows a `;`, a tab, a `|` or a line break inside a text: with another
separator, a spreadsheet sees a cell there. Numbers stay numbers. Null is an empty cell.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from api.http.json_encoding import to_json
from api.usage.parameters import FORMATS
from api.usage.query import Format
from api.usage.sections import Cell

MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "spreadsheet": "text/csv; charset=utf-8; header=present",
}
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Without it, Excel reads UTF-8 as the code page of the machine."""
RANGES_MAX: Final = 100
"""Ranges of an Accept header that are looked at; browsers send ten."""
ROWS_KEPT: Final = 256
"""Classes of rows, by the names of their columns. To make one takes as long as to write 100 rows."""
FORMULA_STARTS: Final = ("=", "+", "-", "@", *"\uff1d\uff0b\uff0d\uff20")
"""Characters that begin a formula in some spreadsheet. The last four are full-width = + - @."""
SEPARATORS: Final = ";\t|\n\r\v\f\x85\u2028\u2029"
"""Characters after which some spreadsheet begins a cell: `;` where a comma is the decimal sign. It
then reads our quotes as text, because they do not begin its cell."""
_CELLS: Final = re.compile(f"([{SEPARATORS}])")


def accepted(accept: str) -> Format | None:
    """The format that an Accept header prefers; None if it allows none of ours."""
    if not accept.strip():
        return "json"
    best: tuple[float, int, Format] | None = None
    for place, form in enumerate(form for form in FORMATS if form != "spreadsheet"):
        quality = _quality(accept, MEDIA_TYPES[form].partition(";")[0])
        if quality > 0 and (best is None or (quality, -place) > best[:2]):
            best = quality, -place, form
    return best[2] if best else None


def media_types() -> list[str]:
    """What an Accept header may name, without parameters."""
    return [*dict.fromkeys(media_type.partition(";")[0] for media_type in MEDIA_TYPES.values())]


Columns = Mapping[str, Sequence[Cell]]
"""The cells of all rows by column, in the order of the answer. All columns have one length."""


def rows_of(columns: Columns) -> list[msgspec.Struct]:
    """Objects for `to_json`. A struct is made and written twice as fast as a dict."""
    return list(map(_row(tuple(columns)), *columns.values()))


def to_ndjson(columns: Columns) -> bytes:
    return b"".join(to_json(row) + b"\n" for row in rows_of(columns))


def to_csv(columns: Columns) -> bytes:
    """RFC 4180, with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(_guarded, columns))
    writer.writerows(zip(*[map(_cell, column) for column in columns.values()], strict=True))
    return out.getvalue().encode()


@lru_cache(maxsize=ROWS_KEPT)
def _row(names: tuple[str, ...]) -> Callable[..., msgspec.Struct]:
    """The fields are numbered, because a label may have any name."""
    fields = {f"column_{place}": name for place, name in enumerate(names)}
    return msgspec.defstruct("Row", [(field, Any) for field in fields], rename=fields, gc=False)


def _cell(value: Cell) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _guarded(value) if isinstance(value, str) else value


def _guarded(text: str) -> str:
    """The text with a `'` before each part of it that a spreadsheet could run as a formula."""
    if text.isascii() and text.isprintable() and ";" not in text and "|" not in text:
        return f"'{text}" if _runs(text) else text
    cells = _CELLS.split(text)
    # A text that begins with a separator is a formula in some spreadsheets even without a sign.
    head = "'" if len(cells) > 1 and not cells[0] and cells[1] not in ";|" else ""
    return head + "".join(f"'{cell}" if _runs(cell) else cell for cell in cells)


def _runs(cell: str) -> bool:
    """Whether a sign of a formula comes first. Spreadsheets skip blanks and quotes before it, and
    some skip invisible characters, such as NUL, a no-break space or a byte order mark."""
    for char in cell:
        if char.isprintable() and char not in ' "':
            return char in FORMULA_STARTS
    return False


def _quality(accept: str, media_type: str) -> float:
    """The weight of a media type. The most specific range that matches decides (RFC 9110)."""
    found = (-1, 0.0)
    for part in accept.split(",", RANGES_MAX)[:RANGES_MAX]:
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
