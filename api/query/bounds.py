"""What one answer may read and have at most: bytes and cells, known before a page is read. And what its
body costs, known before it is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from api.errors import UnanswerableQuestion
from api.query.selection import COUNTER_WEIGHT, SKETCH_CELLS_MAX, Selection
from api.query.sums import CELLS_DENSE_MAX, Sums

ANSWER_BYTES_MAX: Final = 128 * 1024 * 1024
"""The most that one answer may read, weighed: 8 MiB of counters, 600,000 rows. The leaderboard of
100,000 users over 30 days has 100 MB."""
ROW_BYTES_MIN: Final = 3
"""Of counters, in a page: a slot, and one number of one byte."""
CELLS_MAX: Final = 8 * 1024 * 1024
"""Sums of one answer (groups x buckets x measures), 8 bytes each: 64 MB."""
CELLS_FEW: Final = 2_000
"""Cells of a body, rows x (columns + 1), that are made at once: 1 to 3 ms. CSV takes 1.1 us a cell, JSON
less. 24 h by 5 minutes with three measures are 1,440."""
CELLS_MANY: Final = 16_000
"""A body of more cells waits for others of that size only: it takes a thread more than 20 ms."""
SKETCH_ROWS: Final = 4
"""A row with a percentile or a distinct count takes as long as this many rows of numbers."""


def weighed(selections: Sequence[Selection], lengths: Iterable[tuple[str, int]]) -> int:
    """What these lengths of pages count for. The pages are some that `selections` need."""
    light = {
        key
        for selection in selections
        for page_set in selection.page_sets
        if page_set.weight == 1
        for key in page_set.keys
    }
    return sum(length if key in light else COUNTER_WEIGHT * length for key, length in lengths)


def check_bytes(count: int) -> None:
    """`count`: weighed."""
    if count > ANSWER_BYTES_MAX:
        raise UnanswerableQuestion(
            f"The answer would decode {count / 2**20:.0f} MiB of counters, more than the limit of"
            f" {ANSWER_BYTES_MAX / 2**20:.0f} MiB (ANSWER_BYTES_MAX). Use a shorter range, longer"
            " buckets (granularity), or filters that select fewer series."
        )


def check_cells(selections: Sequence[Selection], lengths: Mapping[str, int]) -> None:
    """Raise UnanswerableQuestion if the answer may have too many sums, those of all its sections
    together. Each row of a page makes one cell at most, so a range in which most groups have no events
    is not refused."""
    sums = sketches = 0
    for selection in selections:
        plan = selection.plan
        cells = len(selection.groups) * len(plan.starts_ms)
        rows, sketch_rows = _rows(selection, lengths)
        sums += min(cells, rows) * len(plan.sums)
        sketches += min(cells * len(plan.sketches), sketch_rows)
    for found, most, what in (
        (sums, CELLS_MAX, "sums (CELLS_MAX)"),
        (sketches, SKETCH_CELLS_MAX, "percentiles or distinct counts (SKETCH_CELLS_MAX)"),
    ):
        if found > most:
            raise UnanswerableQuestion(
                f"The answer may have {found} cells (groups x buckets x measures), more than the limit"
                f" of {most} {what}. Use a shorter range, longer buckets (granularity), fewer"
                " dimensions or measures, or filters that select fewer series."
            )


def _rows(selection: Selection, lengths: Mapping[str, int]) -> tuple[int, int]:
    """The most rows of counters and of sketches in pages of these lengths."""
    counters = sketches = 0
    for part in selection.parts:
        for page_kind, page_set in part.page_sets.items():
            length = sum(lengths.get(key, 0) for key in page_set.keys)
            if page_kind.sketch is None:
                counters += length // ROW_BYTES_MIN
            else:
                sketches += length // page_kind.dtype.itemsize
    return counters, sketches


def row_count(found: Sums) -> int:
    """How many rows these sums have at most, SKETCH_ROWS for one with a sketch; 1 if there are none."""
    count: int = found.low.shape[1]
    if count <= CELLS_DENSE_MAX:
        count = len(found.stored_there)
    return max(1, count + SKETCH_ROWS * sum(map(len, found.sketched)))


def cells_of(found: Sums) -> int:
    """What a body of all rows costs: rows x (columns + 1)."""
    asked = found.selection.plan.question
    return row_count(found) * (len(asked.terms) + len(asked.group_by) + 1)
