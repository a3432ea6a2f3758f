"""Rows of counters: the bytes are as the module says, and every number comes back."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.views import DEFAULT
from schemas.errors import StoreCorrupt
from schemas.store.counter_reader import read
from schemas.store.counter_rows import (
    COLUMNS_FROM,
    PREDICTED,
    Differences,
    Rows,
    blocks_of,
    differences_of,
    encoded,
    encoded_all,
)
from schemas.store.layout import counters_of

WIDTHS: Final = (1, 3, 22, 32, 33, 70)
EDGES: Final = np.array([0, 0, 0, 1, -1, 63, 64, -65, 2**31, 2**62, -(2**63), 2**63 - 1])


@st.composite
def some_rows(draw: st.DrawFn, width: int, most: int = 3 * COLUMNS_FROM) -> Rows:
    """Drawn by a seed: drawing every number would take seconds."""
    count = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    slots = rng.integers(0, 256, count) * 256 + rng.integers(0, 127, count)
    values = rng.choice(EDGES, (count, width))
    small = rng.integers(-(2 ** rng.integers(1, 62)), 2**13, (count, width))
    return Rows(slots, np.where(rng.random((count, width)) < draw(st.floats(0, 1)), values, small))


def by_hand(data: bytes, width: int) -> list[tuple[int, list[int]]]:
    """Slot and numbers of each row, byte by byte after the module's description."""
    at = 0

    def number() -> tuple[int, bool]:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, byte == 0 and shift > 7

    found = []
    while at < len(data):
        slot, is_longer = number()
        assert is_longer
        mask = sum(number()[0] << 32 * word for word in range(-(-width // 32)))
        values = [0] * width
        for column in range(width):
            if mask >> column & 1:
                zigzag, is_longer = number()
                assert not is_longer
                values[column] = zigzag >> 1 ^ -(zigzag & 1)
        found.append((slot, values))
    return found


@given(st.sampled_from(WIDTHS).flatmap(lambda w: st.tuples(st.just(w), some_rows(w, 12))))
def test_rows_are_written_as_described(case: tuple[int, Rows]) -> None:
    width, rows = case
    data, lengths = encoded(rows)
    assert by_hand(data, width) == list(zip(rows.slots.tolist(), rows.stored.tolist(), strict=True))
    assert len(lengths) == len(rows.slots)
    begins = np.cumsum(lengths) - lengths
    for begin, length, one in zip(begins.tolist(), lengths.tolist(), rows.slots, strict=True):
        assert [slot for slot, _ in by_hand(data[begin : begin + length], width)] == [one]


@given(st.data(), st.sampled_from(WIDTHS))
def test_every_number_comes_back_from_rows_and_blocks(data: st.DataObject, width: int) -> None:
    pages, wanted = [], []
    for place in range(data.draw(st.integers(1, 4))):
        block, tail = data.draw(some_rows(width)), data.draw(some_rows(width, 4))
        page = b""
        if data.draw(st.booleans()):
            is_over = data.draw(st.booleans())
            (page,) = blocks_of([block], [is_over])
            if not is_over:
                assert page[:2] == b"\xff\xff"
                assert int.from_bytes(page[2:6], "little") == len(page)
            wanted += [(place, *one) for one in listed(block)]
        pages.append(page + encoded(tail)[0])
        wanted += [(place, *one) for one in listed(tail)]
    columns = sorted(data.draw(st.sets(st.integers(0, width - 1))))
    found = read(pages, width, columns)
    seen = zip(found.page.tolist(), found.slots.tolist(), found.stored.T.tolist(), strict=True)
    assert sorted(seen) == sorted(
        (place, slot, [values[column] for column in columns]) for place, slot, values in wanted
    )


def listed(rows: Rows) -> list[tuple[int, list[int]]]:
    return list(zip(rows.slots.tolist(), rows.stored.tolist(), strict=True))


@given(st.data())
def test_differences_can_be_undone(data: st.DataObject) -> None:
    """Also where they leave 64 bits."""
    table = data.draw(st.sampled_from([table for table in DEFAULT.tables if table.measures]))
    page_kind = counters_of(table)
    width, own = len(table.measures), page_kind.differences
    rows = data.draw(some_rows(width, 5))
    assert (own.undone(own.taken(rows.stored)) == rows.stored).all()
    columns = sorted(data.draw(st.sets(st.integers(0, width - 1), min_size=1)))
    page = page_kind.packed(
        np.rec.fromarrays([rows.slots, rows.stored], dtype=page_kind.dtype)
        if len(rows.slots)
        else np.empty(0, page_kind.dtype)
    )
    found = page_kind.columns_of([page], columns)
    assert [one.tolist() for one in found.values] == rows.stored.T[columns].tolist()


def test_a_typical_row_is_short() -> None:
    """A model call with tokens, cost and latency in a page of 32 series: 17 B, and 178 as numbers."""
    names = [measure.name for measure in DEFAULT.views[2].tables["llm"].measures]
    said = {
        "events": 1, "input_tokens": 2100, "output_tokens": 700, "cost_nano_usd": 4_500_000,
        "cost_events": 1, "latency_ms": 1200, "latency_events": 1, "input_text_tokens": 2100,
        "output_text_tokens": 700, "first_output_ms": 300, "first_output_events": 1,
    }  # fmt: skip
    values = np.array([[said.get(name, 0) for name in names]], np.int64)
    data, _ = encoded(Rows(np.array([7 * 256 + 30]), differences_of(names).taken(values)))
    assert len(data) == 19


def test_what_predicts_is_not_predicted_itself() -> None:
    assert not {one for pair in PREDICTED.values() for one in pair} & set(PREDICTED)


@given(st.data())
def test_parts_are_encoded_together_as_each_alone(data: st.DataObject) -> None:
    parts = []
    for width in data.draw(st.lists(st.sampled_from([1, 3, 22]), max_size=6)):
        differences = Differences(((1, 0, 2),) if width > 2 else ())
        parts.append((differences, data.draw(some_rows(width, 3))))
    for (differences, rows), (made, lengths) in zip(parts, encoded_all(parts), strict=True):
        alone = encoded(Rows(rows.slots, differences.taken(rows.stored)))
        assert (made, lengths.tolist()) == (alone[0], alone[1].tolist())


PAGE: Final = encoded(Rows(np.array([1, 258]), np.array([[1, 2, 3], [0, -400, 0]])))[0]
(BLOCK,) = blocks_of([Rows(np.arange(20), np.arange(60).reshape(20, 3))], [False])


FIRST_ROW: Final = len(encoded(Rows(np.array([1]), np.array([[1, 2, 3]])))[0])


@pytest.mark.parametrize("length", [n for n in range(1, len(PAGE)) if n != FIRST_ROW])
def test_a_page_that_is_cut_inside_a_row_is_corrupt(length: int) -> None:
    for pages in ([PAGE[:length]], [PAGE, PAGE[:length]], [PAGE[:length], PAGE]):
        with pytest.raises(StoreCorrupt):
            read(pages, 3, [0])


def test_a_page_that_is_cut_between_rows_has_fewer() -> None:
    assert read([PAGE[:FIRST_ROW]], 3, [0]).slots.tolist() == [1]


@pytest.mark.parametrize("length", range(2, len(BLOCK)))
def test_a_block_that_is_cut_is_corrupt(length: int) -> None:
    with pytest.raises(StoreCorrupt):
        read([BLOCK[:length]], 3, [0])


@pytest.mark.parametrize(
    "page",
    [
        BLOCK[:6] + b"\x02" + BLOCK[7:],  # a form that does not exist
        BLOCK[:11] + struct.pack("<I", 15) + BLOCK[15:],  # four columns of three
        BLOCK[:15] + b"\x04" + BLOCK[16:],  # numbers of 16 bytes
        b"\x81\x00\x03\x02",  # a mask of two numbers, and one number
        b"\x81\x00\x01\x02\x02",  # a mask of one number, and two
        b"\x01\x01\x02",  # no row begins
    ],
)
def test_what_no_worker_writes_is_corrupt(page: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        read([page], 3, [0])
