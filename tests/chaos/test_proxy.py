"""The proxy delays, cuts, half-opens and resets connections as told."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator

import pytest

from deploy.local.servers import HOST, free_port
from tests.chaos.proxy import Mode, Proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """To a server that sends everything back."""

    served: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.create_task(_echo(reader, writer)))

    target = free_port()
    server = await asyncio.start_server(accept, HOST, target)
    proxy = Proxy(free_port(), target)
    proxy.start()
    yield proxy
    proxy.stop()
    server.close()
    await asyncio.gather(*served)  # the proxy has ended, and so each of its connections


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.read(100):
            writer.write(line)
        writer.close()
        await writer.wait_closed()
    except ConnectionResetError:
        writer.transport.abort()
        await asyncio.sleep(0)  # which it does in a callback


async def test_it_passes_on_and_delays(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"one")
    assert await reader.read(100) == b"one"
    proxy.set(Mode.DELAY, 0.2)
    started_s = time.monotonic()
    writer.write(b"two")
    assert await reader.read(100) == b"two"
    assert time.monotonic() - started_s > 0.39  # both ways
    writer.close()


async def test_a_cut_link_closes_and_refuses_until_it_is_mended(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"one")
    assert await reader.read(100) == b"one"
    proxy.set(Mode.CUT)
    with pytest.raises(ConnectionResetError):
        await reader.read(100)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, proxy.port)
    proxy.set(Mode.OPEN)
    again, to = await asyncio.open_connection(HOST, proxy.port)
    to.write(b"two")
    assert await again.read(100) == b"two"
    to.close()


async def test_a_half_open_link_takes_and_gives_nothing_and_is_reset_after(proxy: Proxy) -> None:
    proxy.set(Mode.HALF_OPEN)
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"one")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(100)
    proxy.set(Mode.OPEN)
    with pytest.raises(ConnectionResetError):
        await reader.read(100)


async def test_a_reset_ends_what_is_and_lets_new_ones_pass(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"one")
    assert await reader.read(100) == b"one"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read(100)
    again, to = await asyncio.open_connection(HOST, proxy.port)
    to.write(b"two")
    assert await again.read(100) == b"two"
    to.close()


@pytest.mark.parametrize("mode", [Mode.OPEN, Mode.HALF_OPEN])
async def test_it_leaves_nothing_open_whenever_it_ends(mode: Mode) -> None:
    target = socket.create_server((HOST, 0), backlog=100)  # takes connections and says nothing
    for _ in range(20):
        proxy = Proxy(free_port(), target.getsockname()[1])
        proxy.start()
        proxy.set(mode)
        callers = [socket.create_connection((HOST, proxy.port)) for _ in range(20)]
        proxy.stop()  # while most of them are being accepted
        for caller in callers:
            caller.close()
        del proxy
        gc.collect()  # says what was not closed: warnings are errors
    target.close()
