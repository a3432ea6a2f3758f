"""Compacts pages: the same sums with one row a key, many pages of a form at once.

A page's value is the sum of its rows (schemas/store/layout.py), so a compact page has the same
value. A sum that does not fit one row stays in several: beyond 64 bits, or a count beyond 32. A set
with more digests than a sample holds goes up a level (schemas/catalog/sketches.py).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.catalog.sketches import sample_of
from schemas.errors import StoreCorrupt
from schemas.store import counter_reader, counter_rows
from schemas.store.counter_rows import Differences
from schemas.store.layout import (
    COMPACT_SLOT,
    DISTINCT_FORM,
    Form,
    Int64s,
    Rows,
    dtype_of,
    is_counters,
)

SUM_SAFE: Final = float(1 << 61)
"""If the absolute values of all parts add up to less than this, the sum is exact in 64 bits, and so is
a value that is made of three such sums. The check uses doubles; their error is far smaller than what
is left of the range."""
COUNT_SAFE: Final = float((1 << 31) - 1)


class QueuedPage(NamedTuple):
    """An entry of the compaction queue: the page's key without the generation's prefix, the form of
    its rows, and whether its chunk has ended. The queue holds these as text, in this order."""

    page: str
    form: Form
    is_over: bool

    @property
    def chunk_version_key(self) -> str:
        """The key of its chunk's version, without the generation's prefix."""
        return "v" + self.page.rpartition(".")[0]


def unpack_queued_page(entry: bytes) -> QueuedPage:
    try:
        page, *form, is_over = entry.decode().split(" ")
        return QueuedPage(page, Form(*map(int, form)), is_over == "1")
    except (ValueError, TypeError) as error:
        raise StoreCorrupt(f"the compaction queue holds {entry!r}") from error


class ReadPage(NamedTuple):
    """A queued page as it was read (empty: it is gone). `entry`: its text in the queue.
    `compactions`: how often pages of its chunk had been compacted at that time."""

    entry: bytes
    queued: QueuedPage
    page: bytes
    compactions: int


def compact_forms(read: Sequence[ReadPage]) -> list[bytes]:
    """The compact form of each page. A page whose chunk has ended will not grow, so it needs no
    head with its length."""
    forms = [b""] * len(read)
    for form in {one.queued.form for one in read}:
        places = [place for place, one in enumerate(read) if one.queued.form == form]
        rows = rows_in(form, [read[place].page for place in places])
        made = rows.compact([read[place].queued.is_over for place in places])
        for place, page in zip(places, made, strict=True):
            forms[place] = page
    return forms


class StoredRows(NamedTuple):
    """Rows of `pages` pages of one form, as the pages store them, and the place of each row's page. What
    rows of counters store adds up as it is (schemas/store/counter_rows.py)."""

    form: Form
    rows: Rows
    owner: Int64s
    pages: int

    def compact(self, are_over: Sequence[bool]) -> list[bytes]:
        """The compact form of each page."""
        if is_counters(self.form):
            return counter_rows.blocks_of(self._merged_counters(), are_over)
        return [
            rows if is_over else _head(self.form, len(rows)) + rows
            for rows, is_over in zip(self.merged(), are_over, strict=True)
        ]

    def merged(self) -> list[bytes]:
        """The rows of each page, one row a key: no block and no head."""
        if is_counters(self.form):
            parts = [(Differences(()), rows) for rows in self._merged_counters()]
            return [data for data, _ in counter_rows.encoded_all(parts)]
        if self.form.numbers:
            key = self.owner << 32 | self.rows["slot"].astype(np.int64) << 16 | self.rows["bin"]
            rows, owner = _summed(self.rows, self.owner, key, "count", COUNT_SAFE)
        else:
            rows, owner = _sets(self.rows, self.owner)
        row_bytes, data = dtype_of(self.form).itemsize, rows.tobytes()
        return [
            data[start * row_bytes : end * row_bytes]
            for start, end in pairwise(_bounds_of(owner, self.pages))
        ]

    def _merged_counters(self) -> list[counter_rows.Rows]:
        key = self.owner << 16 | self.rows["slot"]
        rows, owner = _summed(self.rows, self.owner, key, "values", SUM_SAFE)
        return [
            counter_rows.Rows(rows["slot"][start:end], rows["values"][start:end])
            for start, end in pairwise(_bounds_of(owner, self.pages))
        ]


def rows_in(form: Form, pages: Sequence[bytes]) -> StoredRows:
    """The rows of these pages, without those that hold a compact length. Raises StoreCorrupt."""
    if is_counters(form):
        found = counter_reader.read(pages, form.numbers, range(form.numbers))
        rows = np.empty(len(found.slots), dtype_of(form))
        rows["slot"], rows["values"] = found.slots, found.stored.T
        return StoredRows(form, rows, found.page, len(pages))
    dtype = dtype_of(form)
    lengths = np.array([len(page) // dtype.itemsize for page in pages], np.int64)
    rows = np.frombuffer(b"".join(pages), dtype)
    own = np.flatnonzero(rows["slot"] != COMPACT_SLOT)
    return StoredRows(form, rows[own], np.repeat(np.arange(len(pages)), lengths)[own], len(pages))


def _bounds_of(owner: Int64s, count: int) -> list[int]:
    """The index of the first row of each page, and that after the last row."""
    return [0, *np.cumsum(np.bincount(owner, minlength=count)).tolist()]


def _head(form: Form, rows_bytes: int) -> bytes:
    row_bytes = dtype_of(form).itemsize
    return struct.pack("<HI", COMPACT_SLOT, row_bytes + rows_bytes).ljust(row_bytes, b"\0")


def _summed(rows: Rows, owner: Int64s, key: Int64s, field: str, safe: float) -> tuple[Rows, Int64s]:
    """Adds up rows of equal keys. Rows whose sum might not fit stay as they are."""
    if not len(rows):
        return rows, owner
    order = np.argsort(key, kind="stable")
    rows, owner, key = rows[order], owner[order], key[order]
    starts = starts_of(key)
    values = rows[field].reshape(len(rows), -1).astype(np.int64)
    runs = np.diff(starts, append=len(rows))
    fits = np.ones(len(starts), np.bool_)
    if float(np.abs(values.astype(np.float64)).max()) * int(runs.max()) >= safe:
        sizes = np.add.reduceat(np.abs(values.astype(np.float64)), starts, axis=0).max(axis=1)
        fits = sizes < safe
    first = starts[fits]
    sums = np.add.reduceat(values, starts, axis=0)[fits]
    rows[field][first] = sums if rows[field].ndim > 1 else sums[:, 0]
    kept = ~np.repeat(fits, runs)
    kept[first] = True
    return rows[kept], owner[kept]


def _sets(rows: Rows, owner: Int64s) -> tuple[Rows, Int64s]:
    """Each digest of a slot once; a sample of the digests of a full slot."""
    digest = rows["digest"].astype(np.uint64)
    order = np.lexsort((digest, rows["slot"], owner))
    rows, owner, digest = rows[order], owner[order], digest[order]
    slot = owner << 16 | rows["slot"]
    is_new = np.ones(len(rows), np.bool_)
    is_new[1:] = (slot[1:] != slot[:-1]) | (digest[1:] != digest[:-1])
    rows, owner, digest, slot = rows[is_new], owner[is_new], digest[is_new], slot[is_new]
    if not len(rows):
        return rows, owner
    starts = starts_of(slot)
    parts: list[Rows] = []
    owners: list[npt.NDArray[Any]] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
        sample = sample_of(digest[start:end])
        part = rows[start:end]
        if len(sample) != len(part) or not np.array_equal(sample, digest[start:end]):
            part = np.empty(len(sample), rows.dtype)
            part["slot"], part["digest"] = rows["slot"][start], sample
        parts.append(part)
        owners.append(np.full(len(part), owner[start]))
    # Without a dtype, concatenate would use the byte order of the machine.
    return np.concatenate(parts, dtype=dtype_of(DISTINCT_FORM)), np.concatenate(owners)


def starts_of(key: Int64s) -> Int64s:
    """The index at which each run of equal keys begins."""
    return np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
