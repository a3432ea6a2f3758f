"""Reads pages of counters, as schemas/store/counter_rows.py describes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import StoreCorrupt
from schemas.store.counter_rows import (
    BLOCK,
    BLOCK_HEAD,
    COLUMNS_FORM,
    COUNT,
    MASK_BITS,
    ROWS_FORM,
    WIDTHS,
    Int64s,
    Tokens,
)

FEW_COLUMNS: Final = 4
"""So many columns are read one by one, more all at once."""
SHAPES_KEPT: Final = 4096
"""Cached forms of blocks, 2 kB each: pages of one table have a few hundred."""


class Read(NamedTuple):
    """Rows of several pages: the page of each (its place), its slot, and `stored[column, row]` of the
    columns that were asked for."""

    page: Int64s
    slots: Int64s
    stored: Int64s


def read(pages: Sequence[bytes], width: int, columns: Sequence[int]) -> Read:
    """The rows of these pages, whose table has `width` columns. `columns`: ascending.

    Raises StoreCorrupt if a page is cut short.
    """
    blocks: list[_Columns] = []
    owners: list[int] = []
    tails: list[bytes] = []
    for place, page in enumerate(pages):
        tail = page
        if page[:2] == BLOCK:
            block, tail = _block(page, width)
            if block is not None:
                blocks.append(block)
                owners.append(place)
        tails.append(tail)
    lengths = np.fromiter(map(len, tails), np.int64, len(tails))
    rows = _read_rows(b"".join(tails), lengths, width, columns)
    if not blocks:
        return rows
    counts = [block.rows for block in blocks]
    ends = np.cumsum(counts).tolist()
    slots = np.empty(ends[-1], np.int64)
    stored = np.zeros((len(columns), ends[-1]), np.int64)
    for block, end in zip(blocks, ends, strict=True):
        start = end - block.rows
        slots[start:end] = np.frombuffer(block.page, "<u2", block.rows, block.slots_at)
        for place, column in enumerate(columns):
            if (found := block.shape.at.get(column)) is not None:
                width_type, before = found
                begin = block.slots_at + before * block.rows
                stored[place, start:end] = np.frombuffer(block.page, width_type, block.rows, begin)
    return Read(
        np.concatenate([np.repeat(owners, counts), rows.page]),
        np.concatenate([slots, rows.slots]),
        np.concatenate([stored, rows.stored], axis=1),
    )


class _Shape(NamedTuple):
    """The form of a block's rows. `at`: for each column that is there, its type, and the bytes of a
    row before it. `row_bytes`: of a whole row. `head_bytes`: of the masks and codes."""

    at: Mapping[int, tuple[np.dtype[Any], int]]
    row_bytes: int
    head_bytes: int


class _Columns(NamedTuple):
    """A block of columns, and where its slots begin."""

    page: bytes
    rows: int
    slots_at: int
    shape: _Shape


def _block(page: bytes, width: int) -> tuple[_Columns | None, bytes]:
    """The columns of a block, and the rows of the page."""
    if len(page) < BLOCK_HEAD.size:
        raise StoreCorrupt("a page of counters is cut inside the head of its block")
    _, length, form = BLOCK_HEAD.unpack_from(page)
    if length > len(page) or form not in {ROWS_FORM, COLUMNS_FORM}:
        raise StoreCorrupt("a page of counters is cut inside its block")
    if form == ROWS_FORM:
        return None, page[BLOCK_HEAD.size :]
    begin = BLOCK_HEAD.size + COUNT.size
    codes_at = begin + 4 * -(-width // MASK_BITS)
    there = int.from_bytes(page[begin:codes_at], "little").bit_count()
    shape = _shape(page[begin : codes_at + there], width)
    slots_at = begin + shape.head_bytes
    (count,) = COUNT.unpack_from(page, BLOCK_HEAD.size)
    if slots_at + count * shape.row_bytes != length:
        raise StoreCorrupt("a page of counters has a block whose columns do not add up")
    return _Columns(page, count, slots_at, shape), page[length:]


@lru_cache(SHAPES_KEPT)
def _shape(head: bytes, width: int) -> _Shape:
    """`head`: the masks and codes of a block."""
    words = -(-width // MASK_BITS)
    if len(head) < 4 * words:
        raise StoreCorrupt("a page of counters is cut inside its block")
    mask = int.from_bytes(head[: 4 * words], "little")
    there = [column for column in range(width) if mask >> column & 1]
    codes = head[4 * words : 4 * words + len(there)]
    if mask >> width or len(codes) != len(there) or max(codes, default=0) >= len(WIDTHS):
        raise StoreCorrupt("a page of counters has a block of an unknown form")
    at, row_bytes = {}, 2
    for column, code in zip(there, codes, strict=True):
        at[column] = WIDTHS[code], row_bytes
        row_bytes += 1 << code
    return _Shape(at, row_bytes, 4 * words + len(there))


def _read_rows(data: bytes, lengths: Int64s, width: int, columns: Sequence[int]) -> Read:
    """`lengths`: how many bytes of `data` belong to each page."""
    nothing = np.empty(0, np.int64)
    if not data:
        return Read(nothing, nothing, np.empty((len(columns), 0), np.int64))
    byte = np.frombuffer(data, np.uint8)
    last = np.flatnonzero(byte < 0x80)  # of each number
    first = np.empty(len(last) + 1, np.int64)
    first[0], first[1:] = 0, last + 1
    is_slot = byte[last] == 0
    is_slot &= last > first[:-1]
    row = np.flatnonzero(is_slot)
    words = -(-width // MASK_BITS)
    numbers = np.diff(row, append=len(last))
    begins = first[row] if len(row) else nothing
    if (
        not len(row)
        or row[0] != 0
        or first[-1] != len(data)
        or numbers.min() < 1 + words
        or not _begin_rows(begins, lengths)
    ):
        raise StoreCorrupt("a page of counters is cut inside a row")
    number = _Numbers(byte, first)
    slots = number.at(row).astype(np.int64)
    masks = [number.at(row + (1 + word)) for word in range(words)]
    set_bits = sum(np.bitwise_count(mask).astype(np.int64) for mask in masks)
    if np.any(set_bits + (1 + words) != numbers):
        raise StoreCorrupt("a page of counters has a row whose numbers do not match its mask")
    page = np.searchsorted(np.cumsum(lengths), begins, side="right")
    if len(columns) > FEW_COLUMNS:
        is_value = np.ones(len(last), np.bool_)
        for head in range(1 + words):
            is_value[row + head] = False
        bits = np.stack(masks, axis=1).astype("<u4").view(np.uint8)
        owner, column_of = np.nonzero(np.unpackbits(bits, axis=1, bitorder="little"))
        whole = np.zeros((words * MASK_BITS, len(row)), np.int64)
        whole[column_of, owner] = _signed(number.at(np.flatnonzero(is_value)))
        return Read(page, slots, whole[list(columns)])
    stored = np.zeros((len(columns), len(row)), np.int64)
    below = [np.zeros(len(row), np.int64)]  # numbers of earlier masks
    for mask in masks[:-1]:
        below.append(below[-1] + np.bitwise_count(mask))
    for place, column in enumerate(columns):
        word, bit = column // MASK_BITS, np.uint64(1 << column % MASK_BITS)
        has = np.flatnonzero(masks[word] & bit)
        if len(has):
            lower = np.bitwise_count(masks[word][has] & (bit - np.uint64(1)))
            at = row[has] + (1 + words) + below[word][has] + lower
            stored[place, has] = _signed(number.at(at))
    return Read(page, slots, stored)


def _signed(token: Tokens) -> Int64s:
    one = np.uint64(1)
    found: Int64s = (token >> one).view(np.int64) ^ -(token & one).view(np.int64)
    return found


def _begin_rows(begins: Int64s, lengths: Int64s) -> bool:
    """Whether every page that is not empty begins with a row."""
    page_begins = (np.cumsum(lengths) - lengths)[lengths > 0]
    found = np.searchsorted(begins, page_begins)
    return bool(found.max(initial=0) < len(begins) and (begins[found] == page_begins).all())


class _Numbers(NamedTuple):
    """The numbers of some bytes; number n has the bytes from first[n] to first[n + 1]."""

    byte: npt.NDArray[np.uint8]
    first: Int64s

    def at(self, which: Int64s) -> Tokens:
        begin = self.first[which]
        left = self.first[which + 1] - begin
        found = (self.byte[begin] & 0x7F).astype(np.uint64)
        which, shift = np.flatnonzero(left > 1), 7
        begin, left = begin[which], left[which]
        while len(which) and shift < 64:
            begin = begin + 1
            found[which] |= (self.byte[begin] & 0x7F).astype(np.uint64) << np.uint64(shift)
            keep = left > shift // 7 + 1
            which, begin, left = which[keep], begin[keep], left[keep]
            shift += 7
        return found
