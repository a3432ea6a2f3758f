"""An iterator that is run ahead in a thread, by a bounded number of steps."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

LOOK_S: Final = 0.05
T = TypeVar("T")


class _End(Generic[T]):
    """Nothing comes any more, but for what went wrong."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def ahead(source: Iterator[T], steps: int) -> Iterator[Iterator[T]]:
    """The same values, and the same error at the same place. `source` belongs to the thread until
    the end of the `with`, which waits for the step that is under way."""
    made: queue.Queue[T | _End[T]] = queue.Queue(steps)
    ended = threading.Event()

    def run() -> None:
        last: _End[T] = _End()
        try:
            for value in source:
                made.put(value)
                if ended.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  raised where the values are taken
            last = _End(error)
        made.put(last)

    thread = threading.Thread(target=run, name="ahead", daemon=True)
    thread.start()
    try:
        yield _taken(made)
    finally:
        ended.set()
        while thread.is_alive():  # it may wait for room
            try:
                made.get(timeout=LOOK_S)
            except queue.Empty:
                continue
        thread.join()


def _taken(made: queue.Queue[T | _End[T]]) -> Iterator[T]:
    while True:
        value = made.get()
        if isinstance(value, _End):
            if value.error is not None:
                raise value.error
            return
        yield value
