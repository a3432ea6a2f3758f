"""The records of latest calls: what is written is read, and nothing else is believed."""

from __future__ import annotations

import sys
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import StoreCorrupt
from schemas.limits import ERROR_CHARS_MAX, ID_CHARS_MAX, MINUTE_MS
from schemas.store.recent_calls import (
    CALL_BYTES_MAX,
    COLUMNS_CALLS_MIN,
    RECENT_MAX,
    Recent,
    RecentRecord,
    calls_of,
    count_in,
    latest_of,
    pack_recent,
    records_of,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COUNTS = st.none() | st.integers(0, 10**13)
CALLS = st.builds(
    Recent,
    id=st.text(min_size=1),
    source=st.text(),
    at_ms=st.integers(0, 5 * MINUTE_MS),
    input_tokens=COUNTS,
    cost_nano_usd=COUNTS,
    **dict.fromkeys(
        ("provider", "model", "agent", "user", "call_id", "chat_id", "error", "finish_reason"),
        st.sampled_from(["", "a", "\0é😀"]),
    ),
    **dict.fromkeys(
        ("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"), COUNTS
    ),
    latency_ms=COUNTS,
)


def call(number: int = 0, **changes: object) -> Recent:
    text = dict.fromkeys(Recent.__struct_fields__, "") | {"id": f"e{number:04}", "at_ms": number}
    none = [name for name in text if name.endswith(("tokens", "usd", "_ms")) and name != "at_ms"]
    return msgspec.convert([*(text | dict.fromkeys(none) | changes).values()], Recent)


def members(calls: list[Recent], commits: int = 1) -> list[bytes]:
    return [one.member(commits) for one in records_of(calls)]


@given(st.lists(CALLS, max_size=12))
def test_what_is_written_is_read_by_time_and_each_once(calls: list[Recent]) -> None:
    once = sorted(set(calls), key=lambda one: (one.at_ms, one.id, one.source))
    read = latest_of([b"", *members(calls), *members(calls, 2)])
    assert [(one.at_ms, one.id, one.source) for one in read] == [
        (one.at_ms, one.id, one.source) for one in once
    ]
    assert set(read) == set(once)


@pytest.mark.parametrize("count", [1, COLUMNS_CALLS_MIN - 1, COLUMNS_CALLS_MIN, 300])
def test_a_record_says_how_many_calls_it_has_and_when_the_latest_was(count: int) -> None:
    calls = [call(n) for n in range(count)]
    (one,) = records_of(calls[::-1])
    assert (one.at_ms, one.calls, count_in(one.member(7))) == (count - 1, count, count)
    assert calls_of([one.member(7)]) == calls
    assert one.member(7) != one.member(8)


def test_a_record_has_the_calls_of_one_minute() -> None:
    found = records_of([call(n, at_ms=n * MINUTE_MS // 4) for n in range(40)])
    assert [one.calls for one in found] == [4] * 10


def test_many_calls_take_few_bytes() -> None:
    calls = [
        call(n, source="gateway", model=f"m{n % 9}", input_tokens=n * n % 4001) for n in range(660)
    ]
    (one,) = records_of(calls)
    assert len(one.data) < 10 * len(calls)


def test_only_the_latest_are_shown() -> None:
    calls = [call(n) for n in range(2 * RECENT_MAX)]
    some = [*members(calls[:RECENT_MAX]), *members(calls[RECENT_MAX:], 2)]
    assert latest_of(some) == calls[-RECENT_MAX:]


def test_members_of_older_layouts_are_read() -> None:
    """Up to layout 5 each was one call. `finish_reason` is younger than the others."""
    old = call(1, model="m", finish_reason="stop")
    older = msgspec.json.encode(msgspec.json.decode(pack_recent(call(2)))[:-1])
    assert latest_of([pack_recent(old).encode(), older]) == [old, call(2)]


# -- what it does not believe ----------------------------------------------------------------------


def forged(calls: int, data: bytes) -> bytes:
    return RecentRecord(0, calls, data).member(1)


def test_the_longest_call_is_shorter_than_its_limit() -> None:
    texts = {
        field.name: "\1" * (ERROR_CHARS_MAX if field.name == "error" else ID_CHARS_MAX)
        for field in msgspec.structs.fields(Recent)
        if field.type is str
    }
    texts["user"] = "\1" * 320
    counts = {
        field.name: 10**15 for field in msgspec.structs.fields(Recent) if field.type is not str
    }
    calls = [Recent(**texts, **counts)]  # type: ignore[arg-type]
    assert len(pack_recent(calls[0])) < CALL_BYTES_MAX
    assert calls_of(members(calls * COLUMNS_CALLS_MIN)) == calls


@pytest.mark.parametrize("count", [1, RECENT_MAX])
def test_a_record_that_says_it_is_too_long_is_not_decompressed(count: int) -> None:
    bomb = forged(count, zstd.compress(bytes(100_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(StoreCorrupt):
            calls_of([bomb])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_frame_that_does_not_say_its_length_is_not_decompressed() -> None:
    frame = zstd.ZstdCompressor()
    with pytest.raises(StoreCorrupt):
        calls_of([forged(1, frame.compress(b"[]") + frame.flush())])


def test_no_more_calls_are_read_than_can_be_stored() -> None:
    of_a_minute = [
        members([call(n) for n in range(RECENT_MAX)], commits)[0] for commits in range(3)
    ]
    with pytest.raises(StoreCorrupt):
        calls_of(of_a_minute)
    with pytest.raises(StoreCorrupt):
        calls_of([forged(RECENT_MAX + 1, b"[[]]")])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[[",
        b"[[1]]",
        b"[]",
        b"garbage",
        zstd.compress(b""),
        zstd.compress(b"[[]]"),
        zstd.compress(b"[]") + zstd.compress(b"[]"),
        zstd.compress(msgspec.json.encode([["a"] * 2] + [["b"]] * 17)),
        msgspec.json.encode([call(1)]),  # one call, not two
    ],
)
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        calls_of([forged(2, data)])


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_read_or_corrupt(data: bytes) -> None:
    for member in (data, forged(1, data), b"[[" + data, b'["' + data):
        try:
            calls_of([member])
        except StoreCorrupt:
            continue


def test_columns_of_different_lengths_are_corrupt() -> None:
    rows = [msgspec.structs.astuple(call(n)) for n in range(3)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[4].append("one more")
    with pytest.raises(StoreCorrupt):
        calls_of([forged(3, zstd.compress(msgspec.json.encode(columns)))])
