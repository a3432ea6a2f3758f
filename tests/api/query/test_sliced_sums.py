"""Sums in slices are the sums of all pages at once: dense, sparse, beyond 64 bits, and sketches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.query.plan import Question, Term, plan
from api.query.selection import Selection, select
from api.query.series_index import empty_index, extended
from api.query.sliced_sums import PAGE_WEIGHT, slices, summed_in_slices
from api.query.sums import CELLS_DENSE_MAX, Pages, Row, Sums, summed
from api.query.time_buckets import HOURLY, Step
from schemas.catalog.measures import CHATS, COST_NANO_USD, EVENTS, INPUT_TOKENS, LATENCY
from schemas.catalog.sketches import Histogram
from schemas.catalog.views import MODEL
from schemas.limits import DAY_MS, MINUTE_MS
from schemas.store.layout import counters_of, names_list_key
from tests.api.counters import NOW_MS, Counters, name_of, pack
from tests.api.query.test_query import LOGS

COUNTED = (Term(EVENTS), Term(INPUT_TOKENS), Term(COST_NANO_USD))
MINUTELY = Step("1m", MINUTE_MS, MINUTE_MS)
QUESTION = Question(COUNTED, NOW_MS - 30 * DAY_MS, NOW_MS, NOW_MS)
QUESTIONS = st.sampled_from([
    Question(COUNTED, NOW_MS - 90 * DAY_MS, NOW_MS, NOW_MS),
    Question(COUNTED, NOW_MS - 3 * DAY_MS, NOW_MS, NOW_MS, (), ("model", "provider"), HOURLY),
    Question(COUNTED, NOW_MS - DAY_MS, NOW_MS, NOW_MS, (), ("model",), MINUTELY),
    Question((*COUNTED, Term(LATENCY)), NOW_MS - DAY_MS, NOW_MS, NOW_MS, (), ("model",), HOURLY),
    Question((Term(CHATS), Term(EVENTS)), NOW_MS - 9 * DAY_MS, NOW_MS, NOW_MS, (), ("model",)),
])  # fmt: skip


def selected(counters: Counters, question: Question, invented: int) -> tuple[Selection, Pages]:
    """With so many more models, which have no events."""
    asked = plan(question)
    names = []
    for table in asked.tables:
        known = counters.lists.get(names_list_key(1, table, 0), [])
        fitting: list[bytes] = []
        if table.view is MODEL:
            fitting = [name_of(table, "p", f"invented-{n}").encode() for n in range(invented)]
        names.append(extended(empty_index(table), [*known, *fitting]))
    selection = select(asked, names, 1, 0)
    return selection, [[counters.texts.get(key) for key in s.keys] for s in selection.page_sets]


def in_slices(selection: Selection, pages: Pages, slice_bytes: int) -> Sums:
    steps = summed_in_slices(selection, pages, slice_bytes)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Sums = end.value
            return made


def plain(rows: Sequence[Row]) -> list[Any]:
    return [
        (row.group, row.at_ms, row.values, [
            one if isinstance(one, int)
            else one.counts.tolist() if isinstance(one, Histogram)
            else len(one)
            for one in row.sketches
        ])
        for row in rows
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(LOGS, QUESTIONS, st.integers(1, 3000), st.sampled_from([0, 0, 300]))
def test_slices_make_no_difference(
    log: list[Any], question: Question, slice_bytes: int, invented: int
) -> None:
    selection, pages = selected(pack(log), question, invented)
    whole, parts = summed(selection, pages), in_slices(selection, pages, slice_bytes)
    assert plain(parts.rows) == plain(whole.rows)
    assert parts.totals == whole.totals
    for place, own in enumerate(pages):
        found: list[bytes | None] = [None] * len(own)
        for part, starts in slices(selection, pages, slice_bytes):
            found[starts[place] : starts[place] + len(part[place])] = part[place]
        assert [page or None for page in found] == [page or None for page in own]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9),
    st.integers(1, 400),
    st.sampled_from([0, 300]),
)
def test_sums_beyond_64_bits_are_exact_in_slices(
    values: list[int], slice_bytes: int, invented: int
) -> None:
    question = Question(
        COUNTED[1:2],
        NOW_MS - DAY_MS,
        NOW_MS,
        NOW_MS,
        (),
        ("model",),
        MINUTELY if invented else None,
    )
    selection, empty = selected(pack([]), question, invented or 4)
    assert (len(selection.groups) * len(selection.plan.starts_ms) > CELLS_DENSE_MAX) == (
        invented > 0
    )
    pages = [[*one] for one in empty]
    for place, (page_set, part) in enumerate(
        zip(selection.page_sets, selection.parts, strict=True)
    ):
        kind = counters_of(part.names.table)
        for number, value in enumerate(values):
            row = np.zeros(1, kind.dtype)
            row["slot"], row["values"] = 5, value
            at = number % len(page_set.keys)
            pages[place][at] = (pages[place][at] or b"") + kind.packed(row)
    whole, parts = summed(selection, pages), in_slices(selection, pages, slice_bytes)
    assert plain(parts.rows) == plain(whole.rows)
    assert parts.totals == whole.totals


def test_many_short_pages_are_many_slices() -> None:
    """Each page is looked at, so not only their bytes count."""
    selection, pages = selected(pack([]), replace(QUESTION, group_by=("model",)), 4)
    pages = [[b"one"] * len(own) for own in pages]
    sizes = [sum(map(len, part)) for part, _ in slices(selection, pages, 10 * PAGE_WEIGHT)]
    assert sum(sizes) == sum(map(len, pages)) > 10
    assert max(sizes) <= 10
