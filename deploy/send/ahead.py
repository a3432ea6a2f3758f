"""Run an iterator ahead in a thread, by a bounded number of steps.

So the file is read and parsed while a batch is sent. The API holds history back until the workers
have caught up; then the next batch must be ready, or the workers run dry.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

POLL_S: Final = 0.05
T = TypeVar("T")


class _End(Generic[T]):
    """The end of the values, with the error that ended them, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def ahead(source: Iterator[T], steps: int) -> Iterator[Iterator[T]]:
    """Yield an iterator of the same values, with the same error at the same position.

    `source` belongs to the thread until the end of the `with`, which waits for the current step.
    """
    made: queue.Queue[T | _End[T]] = queue.Queue(steps)
    ended = threading.Event()

    def run() -> None:
        last: _End[T] = _End()
        try:
            for value in source:
                made.put(value)
                if ended.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  raised again by the reader
            last = _End(error)
        made.put(last)

    thread = threading.Thread(target=run, name="ahead", daemon=True)
    thread.start()
    try:
        yield _taken(made)
    finally:
        ended.set()
        while thread.is_alive():  # it may wait for room in the queue
            try:
                made.get(timeout=POLL_S)
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
