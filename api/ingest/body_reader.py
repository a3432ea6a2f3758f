"""Parses bodies: a small one at once, a larger one in a thread for as long as its client waits.

There are two threads: one for the largest bodies, and one for those in between. Both give each tenant
its turn. So no body waits for much larger ones, and one tenant's uploads do not keep others waiting.
Two threads take turns on one core anyway: more of them would only have more objects in memory.

A thread cannot be stopped from outside. So whatever parses calls `poll` between two objects, which
raises an error once the client has disconnected.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, TypeVar

from starlette.types import Receive

from api.errors import InvalidBody
from api.http.tenant_turns import TenantTurns
from schemas.formats.structure import Poll, never

INLINE_BYTES_MAX: Final = 128 * 1024
"""A larger body takes 5 ms or more to parse, so a thread does it and other requests go on."""
MEDIUM_BYTES_MAX: Final = 1 << 20
"""A body of this size takes some 60 ms. A larger one waits for the other thread: as objects it takes up
to 160 MB."""
T = TypeVar("T")


class BodyReader:
    """Parses bodies of a process, one of each of the two sizes at a time."""

    def __init__(self) -> None:
        self._medium = TenantTurns()
        self._large = TenantTurns()

    async def read(
        self, size_bytes: int, tenant: str, receive: Receive, reading: Callable[[Poll], T]
    ) -> T:
        """The result of `reading`, which parses a body of that size. Raises InvalidBody, after the
        thread has ended, if the client disconnects before.

        `tenant` is whose turn it uses (`share_of`).
        """
        if size_bytes <= INLINE_BYTES_MAX:
            return reading(never)
        stop, started = threading.Event(), threading.Event()
        turns = self._medium if size_bytes <= MEDIUM_BYTES_MAX else self._large
        work = asyncio.ensure_future(_in_thread(turns.turn(tenant), reading, stop, started))
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
    turn: AbstractAsyncContextManager[None],
    reading: Callable[[Poll], T],
    stop: threading.Event,
    started: threading.Event,
) -> T:
    async with turn:
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
