"""The sums of many pages, slice by slice, so that other work of the process can run between two. Pure.

Each slice is summed alone, and the sums of two slices are added. All sums are exact, so the slices make
no difference to the result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np

from api.query.selection import COUNTER_WEIGHT, Selection
from api.query.sums import LOW, SUM_MAX, Pages, Sums, summed
from schemas.catalog.sketches import Distinct, Histogram
from schemas.store.layout import Int64s

SLICE_BYTES: Final = 2 * 1024 * 1024
"""Weighed (`COUNTER_WEIGHT`): 128 KiB of counters, 12,000 rows. They take 5 to 10 ms and 8 MiB. A small
question waits no longer than that for a large one."""
SKETCH_WEIGHT: Final = 8
"""Of a byte of a sketch, in slices: its rows are short, and each cell is an object."""


def summed_in_slices(
    selection: Selection, pages: Pages, slice_bytes: int = SLICE_BYTES
) -> Generator[None, None, Sums]:
    """Yields after each slice, and returns the sums of all pages.

    Sums of slices are added like the digits of a counter: two of the same number of slices become
    one. So each cell is added only as often as the logarithm of the number of slices.
    """
    stack: list[tuple[int, Sums]] = []
    for part in slices(selection, pages, slice_bytes):
        size, own = 1, summed(selection, part)
        while stack and stack[-1][0] == size:
            yield
            size, own = 2 * size, _together(stack.pop()[1], own)
        stack.append((size, own))
        yield
    if not stack:
        return summed(selection, [[None] * len(one) for one in pages])
    _, whole = stack.pop()
    while stack:
        yield
        whole = _together(stack.pop()[1], whole)
    return whole


def slices(selection: Selection, pages: Pages, slice_bytes: int = SLICE_BYTES) -> Iterator[Pages]:
    """The pages in parts of about `slice_bytes`; a part has None for the pages of all other parts."""
    kinds = [page_kind for part in selection.parts for page_kind in part.page_sets]
    for place, (own, page_kind) in enumerate(zip(pages, kinds, strict=True)):
        weight = COUNTER_WEIGHT if page_kind.sketch is None else SKETCH_WEIGHT
        start, filled = 0, 0
        for at, page in enumerate(own):
            filled += weight * len(page or b"")
            if filled >= slice_bytes or (filled and at == len(own) - 1):
                yield [
                    [*[None] * start, *one[start : at + 1], *[None] * (len(one) - at - 1)]
                    if number == place
                    else [None] * len(one)
                    for number, one in enumerate(pages)
                ]
                start, filled = at + 1, 0


def _together(one: Sums, other: Sums) -> Sums:
    """The sums of both."""
    bound = one.bound + other.bound
    places = None
    if one.places is not None and other.places is not None:
        places = np.union1d(one.places, other.places)
    low = np.zeros((len(one.low), one.low.shape[1] if places is None else len(places)), np.int64)
    is_wide = bound > SUM_MAX or one.high is not None or other.high is not None
    high = np.zeros_like(low) if is_wide else None
    for part in (one, other):
        at: slice | Int64s = slice(None)
        if places is not None and part.places is not None:
            at = np.searchsorted(places, part.places)
        if high is None:
            low[:, at] += part.low
        else:
            low[:, at] += part.low if part.high is not None else part.low & LOW
            high[:, at] += part.low >> 32 if part.high is None else part.high
    sketched: list[dict[int, Histogram | Distinct]] = [
        _merged(*both) for both in zip(one.sketched, other.sketched, strict=True)
    ]
    return Sums(one.selection, low, high, bound, places, sketched)


def _merged(
    one: dict[int, Histogram | Distinct], other: dict[int, Histogram | Distinct]
) -> dict[int, Histogram | Distinct]:
    for cell, sketch in other.items():
        before = one.get(cell)
        one[cell] = sketch if before is None else before + sketch  # type: ignore[operator]
    return one
