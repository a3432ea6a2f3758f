"""The proxy does to a connection what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from deploy.servers import HOST, free_port
from tests.chaos.proxy import Mode, Proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """To a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.read(100):
            writer.write(line)
        writer.close()

    target = free_port()
    server = await asyncio.start_server(echo, HOST, target)
    proxy = Proxy(free_port(), target)
    proxy.start()
    yield proxy
    proxy.stop()
    server.close()


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
