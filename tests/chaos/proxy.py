"""A TCP link that can be slow, cut, half open or reset: a proxy on loopback between two processes.

It runs in a thread with an event loop of its own, so a test that blocks does not block the link.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, Final, TypeVar

from deploy.local.servers import HOST

T = TypeVar("T")

CHUNK_BYTES: Final = 65_536
CALL_S: Final = 10.0
"""For whatever the proxy's thread is asked to do: it never waits for a network itself."""
NO_LINGER: Final = struct.pack("ii", 1, 0)
"""Closing sends a reset and throws away what was not sent."""


class Mode(StrEnum):
    OPEN = "open"
    DELAY = "delay"
    """Every chunk comes later, in order."""
    CUT = "cut"
    """Nobody listens, and what was connected is closed."""
    HALF_OPEN = "half-open"
    """Connections are there and taken, and nothing comes through; they are reset when it ends."""


class Proxy:
    """From a port of its own to one target; `set` and `reset` act on all connections at once."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self._target_port = target_port
        self._mode = Mode.OPEN
        self._delay_s = 0.0
        self._gate = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._do(self._set(Mode.OPEN, 0.0))

    def stop(self) -> None:
        """Every connection is reset."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S)
        self._loop.close()

    def set(self, mode: Mode, delay_s: float = 0.0) -> None:
        self._do(self._set(mode, delay_s))

    def reset(self) -> None:
        """Every connection of now is reset; new ones pass."""
        self._do(self._abort())

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(CALL_S)

    # -- in the thread -----------------------------------------------------------------------------

    async def _set(self, mode: Mode, delay_s: float) -> None:
        was, self._mode, self._delay_s = self._mode, mode, delay_s
        if mode is Mode.HALF_OPEN:
            self._gate.clear()
        else:
            self._gate.set()
        if mode is Mode.CUT:
            await self._close()
        elif self._server is None:
            self._server = await asyncio.start_server(
                self._accept, HOST, self.port, limit=CHUNK_BYTES, reuse_address=True
            )
        if mode is Mode.CUT or was is Mode.HALF_OPEN:
            await self._abort()

    async def _close(self) -> None:
        if self._server is None:
            return
        # asyncio closes no connection that a server was accepting when it was closed.
        while accepting := asyncio.all_tasks() - self._tasks - {asyncio.current_task()}:
            await asyncio.wait(accepting)
        self._server.close()
        self._server = None

    async def _abort(self) -> None:
        for writer in filter(_is_open, self._writers):
            connected: socket.socket = writer.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            writer.transport.abort()

    async def _end(self) -> None:
        await self._close()
        while self._tasks or any(map(_is_open, self._writers)):
            for task in self._tasks:
                task.cancel()
            await asyncio.sleep(0)  # a connection that is aborted ends in a callback

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Noted before its task runs: one that is cancelled until then closes nothing itself."""
        self._writers = {one for one in self._writers if _is_open(one)} | {writer}
        task = asyncio.create_task(self._serve(reader, writer))
        self._note(task)
        task.add_done_callback(lambda _: writer.transport.abort())

    def _note(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._gate.wait()
            there, to_there = await asyncio.open_connection(HOST, self._target_port)
            self._writers.add(to_there)
            try:
                async with asyncio.TaskGroup() as pumps:
                    self._note(pumps.create_task(self._pump(reader, to_there)))
                    self._note(pumps.create_task(self._pump(there, writer)))
            finally:
                to_there.transport.abort()
        except* OSError:
            pass  # either end has gone, or nobody listens there: the other end sees a closed one

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One way, until either end closes: then both ways end."""
        while chunk := await reader.read(CHUNK_BYTES):
            if self._mode is Mode.DELAY:
                await asyncio.sleep(self._delay_s)
            await self._gate.wait()
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError("this way has ended")


def _is_open(writer: asyncio.StreamWriter) -> bool:
    connected: socket.socket = writer.get_extra_info("socket")
    return connected.fileno() >= 0
