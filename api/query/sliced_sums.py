"""The sums of many pages, slice by slice, so that other work of the process can run between two. Pure.

Each slice is summed alone, and the sums of two slices are added. All sums are exact, so the slices make
no difference to the result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np

from api.query.selection import COUNTER_WEIGHT, Selection
from api.query.sums import LOW, SUM_MAX, Pages, Starts, Sums, summed
from schemas.catalog.sketches import Distinct, Histogram
from schemas.store.layout import Int64s

SLICE_BYTES: Final = 1024 * 1024
"""Weighed (`COUNTER_WEIGHT`): 64 KiB of counters, 6,000 rows. They take 3 to 5 ms and 4 MiB."""
SKETCH_WEIGHT: Final = 8
"""Of a byte of a sketch, in slices: its rows are short, and each cell is an object."""
PAGE_WEIGHT: Final = 256
"""Of a page, in slices: it is looked at, however short it is."""


def summed_in_slices(
    selection: Selection, pages: Pages, slice_bytes: int = SLICE_BYTES
) -> Generator[None, None, Sums]:
    """Yields after each step, and returns the sums of all pages.

    If all cells are stored, slice after slice is added to them. Else two sums of the same number of
    slices become one, like the digits of a counter. So each cell is added only as often as the logarithm
    of the number of slices.
    """
    stack: list[tuple[int, Sums]] = []
    for part, starts in slices(selection, pages, slice_bytes):
        if stack and stack[0][1].can_grow:
            stack[0] = 1, stack[0][1].plus(part, starts)
            yield
            continue
        size, own = 1, summed(selection, part, starts)
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


def slices(
    selection: Selection, pages: Pages, slice_bytes: int = SLICE_BYTES
) -> Iterator[tuple[Pages, Starts]]:
    """The pages in parts of about `slice_bytes`, and where each part begins."""
    kinds = [page_kind for part in selection.parts for page_kind in part.page_sets]
    for place, (own, page_kind) in enumerate(zip(pages, kinds, strict=True)):
        weight = COUNTER_WEIGHT if page_kind.sketch is None else SKETCH_WEIGHT
        start, filled, is_empty = 0, 0, True
        for at, page in enumerate(own):
            filled += PAGE_WEIGHT
            if page:
                filled += weight * len(page)
                is_empty = False
            if filled < slice_bytes and at < len(own) - 1:
                continue
            if not is_empty:
                yield (
                    [
                        own[start : at + 1] if number == place else ()
                        for number in range(len(pages))
                    ],
                    [start if number == place else 0 for number in range(len(pages))],
                )
            start, filled, is_empty = at + 1, 0, True


def _together(one: Sums, other: Sums) -> Sums:
    """The sums of both."""
    bound = one.bound + other.bound
    places = None
    if one.places is not None and other.places is not None:
        # Both are sorted, and a stable sort merges them. Other threads run meanwhile.
        places = np.sort(np.concatenate([one.places, other.places]), kind="stable")
        is_first = np.ones(len(places), np.bool_)
        np.not_equal(places[1:], places[:-1], out=is_first[1:])
        places = places[is_first]
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
