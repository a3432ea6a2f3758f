"""Rows of counters as bytes: their form, and how they are written. Pure.

A row has a slot (schemas/store/layout.py) and one number for each measure of its table. Most numbers
are 0 and the others small, so a row stores only those that are not 0, in as few bytes as each needs:

    row     = slot | mask, one for every 32 columns | the numbers whose bits are set, by column
    page    = [block] row row ...
    block   = FF FF | u32 its length | u8 form | content

- A *number* has 7 bits in each byte, low bits first; the high bit of a byte says that another one
  follows. Signed numbers alternate: 0, -1, 1, -2, 2 ... are 0, 1, 2, 3, 4. It is an LEB128 number of
  the "DWARF" standard, after the zigzag of Protocol Buffers.
- **The slot ends with an additional byte 00.** No other number ends so, hence a reader finds all rows
  of a page with one array operation.
- A block holds what compaction has written. Form 0: rows as above. Form 1: columns, which are read
  as fast as memory: u32 count of rows | u32 mask, one for every 32 columns | u8 for each set bit: a
  number of that column has 2^n bytes | u16 slots | the columns, signed, little endian. A page that
  will not grow and has few rows has no block.

Some measures follow from others: nearly every event has a cost, and most tokens are text. `PREDICTED`
says how, and a row stores the difference, which is mostly 0. The difference is taken modulo 2^64, so
it can always be undone. A sum of differences is the difference of the sums, so pages are compacted
without looking at it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint64]

PREDICTED: Final[Mapping[str, tuple[str, str]]] = {
    "cost_events": ("events", ""),
    "latency_events": ("events", ""),
    "first_output_events": ("events", ""),
    "input_text_tokens": ("input_tokens", "input_audio_tokens"),
    "cache_read_text_tokens": ("cache_read_tokens", "cache_read_audio_tokens"),
    "output_text_tokens": ("output_tokens", "output_audio_tokens"),
    "calls_with_usage": ("calls", ""),
    "usage_call_duration_ms": ("call_duration_ms", ""),
}
"""A measure, and the two whose difference it mostly is ("": 0). A change is a change of the layout."""

BLOCK: Final = b"\xff\xff"
"""Begins a block. The low 7 bits of a slot are never all set, so no row begins with FF."""
BLOCK_HEAD: Final = struct.Struct("<2sIB")
COUNT: Final = struct.Struct("<I")
ROWS_FORM, COLUMNS_FORM = 0, 1
COLUMNS_FROM: Final = 16
"""From so many rows on, columns take about as many bytes as rows do, and are read much faster."""
MASK_BITS: Final = 32
WIDTHS: Final = tuple(np.dtype(f"<i{1 << code}") for code in range(4))
_LIMITS: Final = tuple(np.uint64(1 << 7 * n) for n in range(1, 10))


class Differences(NamedTuple):
    """`PREDICTED` for the columns of one table: (column, plus, minus or -1)."""

    columns: tuple[tuple[int, int, int], ...]

    def taken(self, values: Int64s) -> Int64s:
        """The numbers as rows store them. `values`: one row each."""
        stored = values.copy()
        for column, plus, minus in self.columns:
            stored[:, column] = values[:, plus] - values[:, column]
            if minus >= 0:
                stored[:, column] -= values[:, minus]
        return stored

    def undone(self, stored: Int64s) -> Int64s:
        """The inverse of `taken`."""
        return self.taken(stored)

    def undone_columns(self, stored: Mapping[int, Int64s], columns: Sequence[int]) -> list[Int64s]:
        """The values of these columns. `stored` has the columns that are `needed`."""
        of = {column: (plus, minus) for column, plus, minus in self.columns}
        found = []
        for column in columns:
            value = stored[column]
            if column in of:
                plus, minus = of[column]
                value = stored[plus] - value
                if minus >= 0:
                    value = value - stored[minus]
            found.append(value)
        return found

    def needed(self, columns: Sequence[int]) -> tuple[int, ...]:
        """The stored columns that the values of these columns are made of, ascending."""
        of = {column: (column, plus, minus) for column, plus, minus in self.columns}
        return tuple(sorted({one for c in columns for one in of.get(c, (c,)) if one >= 0}))


def differences_of(measures: Sequence[str]) -> Differences:
    """`measures`: the names of a table's columns."""
    place = {name: at for at, name in enumerate(measures)}
    found = []
    for name, (plus, minus) in PREDICTED.items():
        if name in place and plus in place:
            found.append((place[name], place[plus], place.get(minus, -1)))
    return Differences(tuple(found))


# -- writing ---------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """Rows as numbers: `slots`, and `stored[row, column]`: differences where there is a prediction."""

    slots: Int64s
    stored: Int64s


def encoded_all(parts: Sequence[tuple[Differences, Rows]]) -> list[tuple[bytes, Int64s]]:
    """The bytes of each part's rows, and the length of each row. `Rows.stored` has values here, whose
    differences are taken with those of each part. Parts of one form are encoded together, because
    most are small."""
    made: list[tuple[bytes, Int64s]] = [(b"", np.empty(0, np.int64))] * len(parts)
    alike: dict[tuple[Differences, int], list[int]] = {}
    for place, (differences, rows) in enumerate(parts):
        alike.setdefault((differences, rows.stored.shape[1]), []).append(place)
    for (differences, _), places in alike.items():
        counts = [len(parts[place][1].slots) for place in places]
        slots = np.concatenate([parts[place][1].slots for place in places])
        values = np.concatenate([parts[place][1].stored for place in places])
        data, lengths = encoded(Rows(slots, differences.taken(values)))
        ends = np.cumsum(counts).tolist()
        bytes_ends = np.concatenate(([0], np.cumsum(lengths)))[[0, *ends]].tolist()
        for place, (start, end), (begin, until) in zip(
            places, pairwise([0, *ends]), pairwise(bytes_ends), strict=True
        ):
            made[place] = data[begin:until], lengths[start:end]
    return made


def encoded(rows: Rows) -> tuple[bytes, Int64s]:
    """The bytes of these rows, and the length of each."""
    token, count = _tokens_of(rows)
    ends = np.cumsum(count)
    size = np.ones(len(token), np.uint8)
    largest = token.max(initial=0)
    for limit in _LIMITS:
        if largest < limit:
            break
        size += token >= limit
    size[ends - count] += 1  # the additional byte of a slot
    until = np.cumsum(size, dtype=np.int64)
    return _bytes_of(token, size).tobytes(), np.diff(until[ends - 1], prepend=0)


def _bytes_of(token: Tokens, size: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The bytes of all numbers: those of each lie in one word, or two, of which `size` bytes count."""
    most = int(size.max(initial=0))
    word_type = np.dtype("<u4" if most <= _HALF else "<u8")
    in_word, words = word_type.itemsize, -(-most // word_type.itemsize)
    spread = np.zeros((len(token), words), word_type)
    counts = np.empty((len(token), words), word_type)
    for word in range(words):
        own = spread[:, word]
        for place in range(min(in_word, most - word * in_word)):
            low = token.astype(word_type) & word_type.type(0x7F)
            own |= low << word_type.type(8 * place)
            token = token >> _SEVEN
        here = np.clip(size.astype(np.int8) - word * in_word, 0, in_word + 1)
        own |= _FOLLOWED[in_word].take(here)
        counts[:, word] = _COUNTED[in_word].take(here)
    return spread.view(np.uint8).ravel()[counts.view(np.bool_).ravel()]


def _words(width: int, byte: int, counts: Sequence[int]) -> npt.NDArray[Any]:
    """For each count: a word of `width` bytes whose first `count` bytes are `byte`."""
    made = b"".join(bytes([byte] * count).ljust(width, b"\0") for count in counts)
    return np.frombuffer(made, f"<u{width}")


_SEVEN: Final = np.uint64(7)
_HALF: Final = 4
_COUNTED: Final = {n: _words(n, 1, [*range(n + 1), n]) for n in (4, 8)}
"""By the bytes of a word, and by how many bytes of the number are left: 1 in each byte that counts."""
_FOLLOWED: Final = {n: _words(n, 0x80, [0, *range(n), n]) for n in (4, 8)}
"""The high bit of each byte that another one follows."""


def _tokens_of(rows: Rows) -> tuple[Tokens, Int64s]:
    """The numbers of all rows, and how many each row has."""
    there: npt.NDArray[np.bool_] = rows.stored != 0
    masks = _masks(there)
    head = 1 + masks.shape[1]
    count = np.bitwise_count(masks).sum(axis=1, dtype=np.int64)
    values = rows.stored.ravel().take(np.flatnonzero(there))
    each = count + head
    first = np.cumsum(each) - each
    token = np.empty(len(values) + head * len(count), np.uint64)
    place = np.repeat(np.arange(head, head * len(count) + 1, head), count)
    place += np.arange(len(values))
    token[place] = ((values << 1) ^ (values >> 63)).view(np.uint64)
    token[first] = rows.slots
    for word in range(head - 1):
        token[first + (1 + word)] = masks[:, word]
    return token, each


def _masks(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """Of each row: one word for every 32 columns."""
    packed = np.packbits(there, axis=1, bitorder="little")
    words = -(-there.shape[1] // MASK_BITS)
    whole = np.zeros((len(there), words * 4), np.uint8)
    whole[:, : packed.shape[1]] = packed
    return whole.view("<u4")


def blocks_of(pages: Sequence[Rows], are_over: Sequence[bool]) -> list[bytes]:
    """The compact form of each page. A page that is over will not grow, so nobody asks for its compact
    length."""
    few = [rows for rows in pages if len(rows.slots) < COLUMNS_FROM]
    encoded_few = iter(encoded_all([(Differences(()), rows) for rows in few]))
    made = []
    for rows, is_over in zip(pages, are_over, strict=True):
        if len(rows.slots) >= COLUMNS_FROM:
            made.append(_block(COLUMNS_FORM, _columns_of(rows)))
        else:
            data, _ = next(encoded_few)
            made.append(data if is_over else _block(ROWS_FORM, data))
    return made


def _block(form: int, content: bytes) -> bytes:
    return BLOCK_HEAD.pack(BLOCK, BLOCK_HEAD.size + len(content), form) + content


def _columns_of(rows: Rows) -> bytes:
    there = np.any(rows.stored, axis=0)
    codes, columns = bytearray(), []
    for column in rows.stored[:, there].T:
        low, high = int(column.min()), int(column.max())
        code = next(
            code
            for code in range(len(WIDTHS))
            if -(1 << (8 << code) - 1) <= low and high < 1 << (8 << code) - 1
        )
        codes.append(code)
        columns.append(column.astype(WIDTHS[code]).tobytes())
    masks, slots = _masks(there[None, :]).tobytes(), rows.slots.astype("<u2").tobytes()
    return b"".join((COUNT.pack(len(rows.slots)), masks, codes, slots, *columns))
