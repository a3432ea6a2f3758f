"""No cell of a CSV is a formula, in whatever way a spreadsheet reads the file."""

from __future__ import annotations

import csv
import re

import pytest

from api.usage.render import FORMULA_STARTS, SEPARATORS, accepted, to_csv
from tests.api.http.call_counts import calls_of


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", *SEPARATORS, *(f"a{end}" for end in SEPARATORS)])
def test_no_cell_is_a_formula_whatever_separates_cells(separator: str, before: str) -> None:
    """As a spreadsheet reads it: with any separator, skipping what it does not show."""
    skipped = ["", "\xa0", "\v", "\0", "\ufeff", " ", '"', '""', "\u200b", "\u2060", '\x1f"\xad ']
    texts = [
        f"{before}{skip}{start}1+1{end}"
        for start in FORMULA_STARTS
        for skip in skipped
        for end in ("", '"')
    ]
    table = to_csv({"model": texts, "requests": [-1] * len(texts), "user": texts}).decode()
    for line in re.split("[\n\r\v\f\x85\u2028\u2029]", table):
        try:
            cells = [cell for row in csv.reader([line], delimiter=separator) for cell in row]
        except csv.Error:
            cells = line.split(separator)
        for cell in (*cells, *line.split(separator)):
            shown = "".join(char for char in cell if char.isprintable() and char not in ' "')
            assert not shown.startswith(FORMULA_STARTS) or shown == "-1"


def test_only_what_could_be_a_formula_is_changed() -> None:
    same = ["plain", "gpt-4o", "a;b", "a|b", "x=1", "\xa0x", "a\nb", "", "\u00fc", "a-b;c=d"]
    changed = {"\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx", "a;-1": "a;'-1", "-1": "'-1"}
    table = to_csv({"model": [*same, *changed], "n": [-1] * (len(same) + len(changed))}).decode()
    read = list(csv.reader(table.splitlines(keepends=True)))[1:]
    assert read == [[text, "-1"] for text in (*same, *changed.values())]


def test_a_long_accept_header_is_not_read_to_its_end() -> None:
    assert accepted(", " * 99 + "text/csv") == "csv"
    assert accepted(", " * 100 + "text/csv") is None
    assert calls_of(lambda: accepted("text/csv;q=0.1," * 4_000)) < 10_000
