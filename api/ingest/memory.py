"""Gives memory back to the system after large bodies.

The objects of a body are freed with its request, but the C library keeps their memory for later
requests: after one body of 16 MB a process stays as large as it was while reading it. With glibc, two
things return it: `malloc_trim`, and `set_up_libc`. Other C libraries have neither; there, nothing is done.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

LARGE_BYTES_MIN: Final = 2 << 20
"""A smaller body leaves at most some 20 MB, which the next requests use again."""
REST_S: Final = 1.0
"""From the end of the last large body to the trim, which takes some ms: its answer is sent by then,
and many bodies in a row need one trim."""
Trim = Callable[[], object]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Options of glibc's `mallopt` (malloc.h)."""
MAPPED_BYTES_MIN: Final = 1 << 20
"""Memory of this size comes from the system and goes back to it when it is freed. By itself glibc
raises this limit to the largest size that was freed, 16 MB, and keeps twice as much in each arena."""


def set_up_libc() -> None:
    """Call this before the process starts a thread. Else each thread has an arena of its own, and a trim
    does not reach what is free at the arena's end: 13 MB each after a large body."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
    mallopt(M_TRIM_THRESHOLD, 2 * MAPPED_BYTES_MIN)


def trim_of_libc() -> Trim | None:
    """The `malloc_trim(0)` of glibc, or None if the process runs on another C library."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda: trim(0)


class MemoryReturn:
    """Calls `trim` once a large body, and all that came after it within `rest_s`, are done."""

    def __init__(self, trim: Trim | None = None, rest_s: float = REST_S) -> None:
        self._trim = trim_of_libc() if trim is None else trim
        self._rest_s = rest_s
        self._later: asyncio.TimerHandle | None = None

    def body_ended(self, size_bytes: int) -> None:
        """A body is done, or Kafka has its records, which may be seconds later. `size_bytes`: what it
        held, as sent and decompressed, or the size of the records."""
        if size_bytes < LARGE_BYTES_MIN or self._trim is None:
            return
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(self._rest_s, self._give_back)

    def _give_back(self) -> None:
        """In a thread: ctypes releases the interpreter's lock during the call."""
        self._later = None
        assert self._trim is not None
        asyncio.get_running_loop().run_in_executor(None, self._trim)
