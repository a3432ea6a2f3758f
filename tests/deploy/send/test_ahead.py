"""The iterator that is run ahead: the same values, the same errors, bounded, and it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from deploy.send.ahead import ahead


def test_values_come_in_their_order_and_no_further_than_told() -> None:
    made: list[int] = []
    third = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    with ahead(numbers(), 2) as values:
        assert third.wait(30)  # two are held, one waits for room
        assert len(made) == 3
        assert list(values) == list(range(100))


def test_an_error_comes_where_it_happened() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    with ahead(numbers(), 2) as values:
        assert next(values) == 1
        with pytest.raises(ValueError, match="the second"):
            next(values)


def test_who_takes_no_more_leaves_no_thread_behind() -> None:
    def numbers() -> Iterator[int]:
        while True:
            yield 1

    with ahead(numbers(), 2) as values:
        assert next(values) == 1
    assert "ahead" not in [thread.name for thread in threading.enumerate()]
