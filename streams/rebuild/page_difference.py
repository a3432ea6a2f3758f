"""The difference of one series' rows in two generations: what the new one lacks.

The new generation has counted a part of the same records. So the difference is added to it, and
the old rows never replace the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from schemas.catalog.measures import How
from schemas.catalog.sketches import BINS
from schemas.store.layout import (
    SLOT_BUCKETS,
    PageKind,
    Rows,
)
from schemas.tiers import Tier
from streams.rebuild.shared_history import SharedPages


class SeriesChunk(NamedTuple):
    """One series in one chunk of a page kind and tier."""

    head: str
    tier: Tier
    chunk: int
    tenant: str
    name: str


class DecodedPages:
    """The rows of pages, each decoded once: many series share a page. `has_fixed_rows`: see
    `PageKind.rows_of_all`."""

    def __init__(self, pages: Mapping[str, bytes | None], *, has_fixed_rows: bool) -> None:
        self._pages = pages
        self._has_fixed_rows = has_fixed_rows
        self._rows: dict[str, Rows] = {}

    def rows_of(self, page_kind: PageKind, places: Sequence[tuple[str, int]], buckets: int) -> Rows:
        """The rows of some series, each given by its page and number, one after the other. Only those
        of the first `buckets`; their slots are buckets."""
        found = [self._of_series(page_kind, key, series, buckets) for key, series in places]
        if len(found) == 1:
            return found[0]
        joined = np.concatenate([np.empty(0, page_kind.dtype), *found])
        rows: Rows = joined.astype(page_kind.dtype)
        return rows

    def _of_series(self, page_kind: PageKind, key: str, series: int, buckets: int) -> Rows:
        page = self._pages.get(key)
        if page is None:
            return np.empty(0, page_kind.dtype)
        rows = self._rows.get(key)
        if rows is None:
            rows, _ = page_kind.rows_of_all([page], of_fixed_length=self._has_fixed_rows)
            self._rows[key] = rows
        place, bucket = np.divmod(rows["slot"], SLOT_BUCKETS)
        own: Rows = rows[(place == series % page_kind.page_series) & (bucket < buckets)]
        own["slot"] %= SLOT_BUCKETS
        return own


def difference(common: SharedPages, old: Rows, new: Rows) -> Rows:
    """The rows to add to the new generation, so that it equals the old one. A set of digests can only
    grow."""
    page_kind = common.new
    if page_kind.sketch is None:
        return _lacking_sums(common, old, new)
    if page_kind.sketch.how is How.HISTOGRAM:
        return _lacking_counts(page_kind, old, new)
    lacking: Rows = np.setdiff1d(old, new)
    return lacking


def _lacking_sums(common: SharedPages, old: Rows, new: Rows) -> Rows:
    at_old, at_new = (list(places) for places in zip(*common.columns, strict=True))
    slots, place = np.unique(np.concatenate([old["slot"], new["slot"]]), return_inverse=True)
    added = np.zeros((len(place), len(common.new.table.measures)), np.int64)
    added[: len(old), at_new] = old["values"][:, at_old]
    added[len(old) :, at_new] = -new["values"][:, at_new]
    sums = np.zeros((len(slots), added.shape[1]), np.int64)
    np.add.at(sums, place, added)
    lacks = np.flatnonzero(sums.any(axis=1))
    rows = np.zeros(len(lacks), common.new.dtype)
    rows["slot"], rows["values"] = slots[lacks], sums[lacks]
    return rows


def _lacking_counts(page_kind: PageKind, old: Rows, new: Rows) -> Rows:
    keys = [rows["slot"].astype(np.int64) * BINS + rows["bin"] for rows in (old, new)]
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    counts = np.zeros(len(key), np.int64)
    np.add.at(counts, place[: len(old)], old["count"])
    np.subtract.at(counts, place[len(old) :], new["count"])
    lacks = np.flatnonzero(counts)
    rows = np.zeros(len(lacks), page_kind.dtype)
    rows["slot"], rows["bin"] = np.divmod(key[lacks], BINS)
    rows["count"] = counts[lacks]
    return rows
