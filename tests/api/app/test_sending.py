"""Answers that clients do not read: how many bytes wait, and that one tenant does not fill the room of others.

A real server on loopback, whose clients stop to read.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.config import Config
from uvicorn.server import ServerState

from api.agentlens import errors as agentlens_errors
from api.app.connections import Connections
from api.app.dispatch import Application
from api.app.main import SWITCH_S, build
from api.app.sending import COUNTED_FROM_BYTES, PIECE_BYTES, Unread
from api.app.server import LimitedProtocol
from api.app.server_limits import ServerLimits
from api.errors import LargeAnswersBusy, TooManyUnreadAnswers
from api.http import problems
from api.http.application import application, error_handlers
from api.http.caller import CALLER

MIB = 1024 * 1024
BODY = bytes(range(256)) * (8 * MIB // 256)
WRITE_S = 0.2


async def answer(request: Request) -> Response:
    """So many bytes, for a key of this tenant."""
    caller = CALLER.get()
    assert caller is not None
    caller.authenticated("k", (request.path_params["tenant"],))
    return Response(BODY[: int(request.path_params["size"])])


@dataclass
class Served:
    port: int
    unread: Unread
    made: list[LimitedProtocol] = field(default_factory=list)
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return sum(one.cycle is not None for one in self.made)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask_and_not_read(self, tenant: str, size: int, count: int) -> None:
        for _ in range(count):
            before = self.asked
            _reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1)
            self.clients.append(writer)
            transport: Any = writer.transport
            transport.pause_reading()
            writer.write(b"GET /v1/%s/%d HTTP/1.1\r\n\r\n" % (tenant.encode(), size))
            await until(lambda: self.asked > before)  # noqa: B023  awaited at once

    @property
    def buffered(self) -> Sequence[int]:
        return [
            one.transport.get_write_buffer_size()
            for one in self.made
            if not one.transport.is_closing()
        ]


@asynccontextmanager
async def served(bytes_max: int, write_s: float = 60) -> AsyncIterator[Served]:
    route = Route("/v1/{tenant}/{size}", answer)
    app = Application(
        [("/v1/", application([route], problems.error_response))],
        otlp=application([], problems.error_response),
        exception_handlers=error_handlers(agentlens_errors.error_response),
    )
    app.unread = Unread(bytes_max)
    config = Config(app, lifespan="off", log_config=None, ws="none", access_log=False)
    config.load()
    state, book, made = ServerState(), Connections(), list[LimitedProtocol]()

    def protocol() -> LimitedProtocol:
        limits = ServerLimits(write_s=write_s)
        made.append(LimitedProtocol(config, state, {}, connections=book, limits=limits))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    about = Served(server.sockets[0].getsockname()[1], app.unread, made)
    try:
        yield about
    finally:
        server.close()
        for client in about.clients:
            client.close()
        for connection in made:
            connection.transport.abort()
        await asyncio.gather(*state.tasks)


async def get(served: Served, tenant: str, size: int, encoding: str = "identity") -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.base_url) as client:
        return await client.get(f"/v1/{tenant}/{size}", headers={"accept-encoding": encoding})


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  a state of the server, which has no event
        await asyncio.sleep(0)


async def test_clients_that_do_not_read_hold_a_share() -> None:
    async with served(10 * len(BODY)) as server:
        await server.ask_and_not_read("a", len(BODY), 20)
        await until(lambda: len(server.made[-1].server_state.tasks) <= 5)
        assert server.unread.total == 5 * len(BODY), "half of the room"
        assert max(server.buffered) <= PIECE_BYTES + COUNTED_FROM_BYTES, "of one connection"
        refused = await get(server, "a", len(BODY))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["content-type"] == problems.MEDIA_TYPE
        assert "40.0 MiB of answers" in refused.json()["detail"]
        assert (await get(server, "a", COUNTED_FROM_BYTES - 1)).status_code == 200
        other = await get(server, "b", len(BODY))
        assert other.content == BODY, "there is room for others"
        await server.ask_and_not_read("b", len(BODY), 20)
        await until(lambda: len(server.made[-1].server_state.tasks) <= 8)
        assert server.unread.total == 8 * len(BODY)
        assert (await get(server, "c", len(BODY))).content == BODY


async def test_who_does_not_read_is_disconnected_and_gives_the_room_back() -> None:
    async with served(10 * len(BODY), WRITE_S) as server:
        await server.ask_and_not_read("a", len(BODY), 5)
        await until(lambda: not server.unread.total)
        assert (await get(server, "a", len(BODY))).content == BODY


@pytest.mark.parametrize("size", [0, COUNTED_FROM_BYTES, PIECE_BYTES, PIECE_BYTES + 1, len(BODY)])
async def test_pieces_are_the_answer(size: int) -> None:
    async with served(2 * len(BODY)) as server:
        plain = await get(server, "a", size)
        assert plain.content == BODY[:size]
        assert plain.headers["content-length"] == str(size)
        packed = await get(server, "a", size, "gzip")
        assert packed.content == BODY[:size]
        assert (packed.headers.get("content-encoding") == "gzip") == (size > 0)
        assert not server.unread.total


async def test_a_request_that_fails_counts_no_more() -> None:
    async with served(2 * len(BODY)) as server:
        await server.ask_and_not_read("a", len(BODY), 1)
        await until(lambda: server.unread.total == len(BODY))
        server.clients[0].transport.abort()
        await until(lambda: not server.unread.total)


def test_each_tenant_may_have_what_is_left() -> None:
    unread = Unread(100)
    unread.add("", 300)
    unread.remove("", 300)
    unread.add("a", 50)
    with pytest.raises(TooManyUnreadAnswers):
        unread.add("a", 1)
    unread.add("b", 25)
    with pytest.raises(TooManyUnreadAnswers):
        unread.add("b", 1)
    with pytest.raises(LargeAnswersBusy):
        unread.add("c", 26)
    unread.add("c", 12)
    unread.remove("a", 50)
    unread.add("b", 19)
    assert unread.total == 56


async def test_a_thread_that_makes_a_large_answer_lets_the_event_loop_run() -> None:
    before = sys.getswitchinterval()
    app = build("redis://127.0.0.1:1")
    try:
        async with app.router.lifespan_context(app):
            assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    finally:
        sys.setswitchinterval(before)
