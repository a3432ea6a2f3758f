"""The difference of one series' rows in two generations: what the new one lacks.

The new generation has counted a part of the same records. So the difference is added to it, and
the old rows never replace the new ones.
"""

from __future__ import annotations

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


def rows_of(
    page_kind: PageKind, page: bytes | None, series: int, buckets: int, *, of_fixed_length: bool
) -> Rows:
    """A series' rows in a page, those of its first `buckets`; their slots are buckets.
    `of_fixed_length`: see `PageKind.rows_of_all`."""
    if page is None:
        return np.empty(0, page_kind.dtype)
    rows, _ = page_kind.rows_of_all([page], of_fixed_length=of_fixed_length)
    place, bucket = np.divmod(rows["slot"], SLOT_BUCKETS)
    own: Rows = rows[(place == series % page_kind.page_series) & (bucket < buckets)].copy()
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
    sums = np.zeros((SLOT_BUCKETS, len(common.new.table.measures)), np.int64)
    ours = np.zeros((len(old), sums.shape[1]), np.int64)
    ours[:, at_new] = old["values"][:, at_old]
    theirs = np.zeros((len(new), sums.shape[1]), np.int64)
    theirs[:, at_new] = new["values"][:, at_new]
    np.add.at(sums, old["slot"], ours)
    np.subtract.at(sums, new["slot"], theirs)
    buckets = np.flatnonzero(sums.any(axis=1))
    rows = np.zeros(len(buckets), common.new.dtype)
    rows["slot"], rows["values"] = buckets, sums[buckets]
    return rows


def _lacking_counts(page_kind: PageKind, old: Rows, new: Rows) -> Rows:
    counts = np.zeros((SLOT_BUCKETS, BINS), np.int64)
    np.add.at(counts, (old["slot"], old["bin"]), old["count"])
    np.subtract.at(counts, (new["slot"], new["bin"]), new["count"])
    bucket, bin_ = np.nonzero(counts)
    rows = np.zeros(len(bucket), page_kind.dtype)
    rows["slot"], rows["bin"], rows["count"] = bucket, bin_, counts[bucket, bin_]
    return rows
