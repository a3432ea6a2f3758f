"""A key goes to the partition where Kafka's own clients put it."""

from __future__ import annotations

import random

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from api.ingest.partitioner import COLUMNS_FROM, partitions_of


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=3 * COLUMNS_FROM),
    st.integers(min_value=1, max_value=1000),
)
def test_any_keys(keys: list[bytes], count: int) -> None:
    assert partitions_of(keys, count) == [(murmur2(key) & 0x7FFFFFFF) % count for key in keys]


@pytest.mark.parametrize("longest", [0, 1, 3, 4, 5, 64, 700])
def test_many_keys_of_all_lengths_up_to(longest: int) -> None:
    rng = random.Random(longest)
    keys = [rng.randbytes(rng.randint(0, longest)) for _ in range(500)]
    assert partitions_of(keys, 8) == [(murmur2(key) & 0x7FFFFFFF) % 8 for key in keys]


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # From the tests of Kafka's own client (UtilsTest.testMurmur2).
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_that_kafka_itself_states(key: bytes, hashed: int) -> None:
    expected = (hashed & 0x7FFFFFFF) % 1000
    assert partitions_of([key], 1000) == [expected]
    assert partitions_of([key] * COLUMNS_FROM, 1000) == [expected] * COLUMNS_FROM
