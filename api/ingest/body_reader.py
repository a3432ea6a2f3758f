"""Parses bodies: a small one at once, a large one in a thread for as long as its client waits.

A thread cannot be stopped from outside. So whatever parses calls `poll` between two objects, which
raises an error once the client has disconnected.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from starlette.types import Receive

from api.errors import InvalidBody
from schemas.formats.body import Poll, never

INLINE_BYTES_MAX: Final = 128 * 1024
"""A larger body takes 5 ms or more to parse, so a thread does it and other requests go on."""
THREADS: Final = 2
"""Large bodies parsed at once: each takes up to 160 MB as objects."""
T = TypeVar("T")


class BodyReader:
    """Parses at most `THREADS` large bodies at once."""

    def __init__(self) -> None:
        self._threads = asyncio.Semaphore(THREADS)

    async def read(self, size_bytes: int, receive: Receive, reading: Callable[[Poll], T]) -> T:
        """The result of `reading`, which parses a body of that size. Raises InvalidBody, after the
        thread has ended, if the client disconnects before."""
        if size_bytes <= INLINE_BYTES_MAX:
            return reading(never)
        stop, started = threading.Event(), threading.Event()
        work = asyncio.ensure_future(self._in_thread(reading, stop, started))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        client_left = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, client_left}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            stop.set()
            if not started.is_set():
                work.cancel()
            await asyncio.wait({work})
            raise _left()
        finally:
            stop.set()
            client_left.cancel()
            del (
                work
            )  # an error refers to this frame: a cycle would keep the body until a collection

    async def _in_thread(
        self, reading: Callable[[Poll], T], stop: threading.Event, started: threading.Event
    ) -> T:
        async with self._threads:
            started.set()
            return await asyncio.to_thread(reading, partial(_check, stop))


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise _left()


def _left() -> InvalidBody:
    return InvalidBody(400, "invalid-body", "The client disconnected before its body was read.")


async def _disconnected(receive: Receive) -> None:
    """Returns when the client has left. The body was received before."""
    message = await receive()
    if message["type"] != "http.disconnect":
        await asyncio.Event().wait()
