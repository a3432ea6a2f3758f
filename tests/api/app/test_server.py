"""A connection before it has a key: what it may send, and for how long it may be silent.

A real server on loopback, attacked through plain sockets. What the server kept and read is counted by
itself; its deadlines are shortened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from api.app.connections import Connections
from api.app.server import LimitedProtocol
from api.app.server_limits import KIB, ServerLimits
from api.errors import TooManyConnections
from api.http.caller import BELONGS_TO

LINE = b"GET / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
READ_BYTES = 256 * KIB
"""What an event loop reads from a socket at once."""
SHORT = ServerLimits(head_s=0.1, body_idle_s=0.1, body_s=0.3, idle_s=0.1, write_s=0.1, linger_s=0.1)


@dataclass
class App:
    """Answers with its path; what it was sent is in `requests` and `ended`."""

    requests: list[Scope] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append(scope)
        status, path = 200, scope["path"]
        if path.startswith("/tenant/"):
            try:
                scope["extensions"][BELONGS_TO]((path.rpartition("/")[2],))
            except TooManyConnections:
                status = 429
        if path.startswith(("/wait", "/tenant/wait")):
            await self.release.wait()
        if path == "/read":
            while (message := await receive()).get("more_body"):
                pass
            self.ended.append(message["type"])
        if path == "/stream":
            return await self.stream(send)
        body = b"x" * 8 * KIB * KIB if path == "/large" else path.encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.ended.append(path)
        return None

    async def stream(self, send: Send) -> None:
        """Heartbeats for longer than any deadline."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        beat: Message = {"type": "http.response.body", "body": b":\n", "more_body": True}
        for _ in range(10):
            await send(beat)
            await asyncio.sleep(SHORT.idle_s)
        await send({"type": "http.response.body", "body": b"end"})


@dataclass
class Attacked:
    """The server: `book` counts its connections, `made` has all that were ever made."""

    port: int
    app: App
    book: Connections
    made: list[LimitedProtocol]
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        return reader, writer

    async def send(self, *parts: bytes) -> bytes:
        """Send all, or until the server resets the connection; the answer until its end."""
        reader, writer = await self.connect()
        answer = asyncio.create_task(until_end(reader, writer))
        await send_all(writer, parts)
        return await answer


async def send_all(writer: asyncio.StreamWriter, parts: Iterable[bytes]) -> None:
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()


async def until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    answer = b""
    with suppress(ConnectionError):
        while part := await reader.read(READ_BYTES):
            answer += part
    writer.close()
    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Let the server go on until it has come so far."""
    while not condition():  # noqa: ASYNC110  a state of the server, which has no event
        await asyncio.sleep(0)


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The status line of one answer, which is read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    await reader.readexactly(int(length))
    return head.partition(b"\r\n")[0]


@asynccontextmanager
async def attacked(
    limits: ServerLimits | None = None, connections_max: int = 4096, origins: Sequence[str] = ()
) -> AsyncIterator[Attacked]:
    app, book, made = App(), Connections(connections_max), list[LimitedProtocol]()
    config = Config(app, lifespan="off", log_config=None, ws="none", access_log=False)
    config.load()
    state = ServerState()
    limits = limits or ServerLimits(linger_s=SHORT.linger_s)

    def protocol() -> LimitedProtocol:
        made.append(
            LimitedProtocol(config, state, {}, connections=book, limits=limits, origins=origins)
        )
        return made[-1]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    about = Attacked(server.sockets[0].getsockname()[1], app, book, made)
    try:
        yield about
    finally:
        app.release.set()
        server.close()
        for client in about.clients:
            client.close()
        for connection in made:
            connection.transport.abort()
        await asyncio.gather(*state.tasks)


def pieces(start: bytes, size_bytes: int, end: bytes = b"") -> Iterator[bytes]:
    yield start
    for _ in range(size_bytes // 10_000):
        yield b"x" * 10_000
    yield end


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (LINE + b"x-long: ", b"431"),
        (LINE + b"x", b"431"),
        (b"GET /", b"414"),
        (b"G", b"400"),
    ],
    ids=["a value", "a name", "a URL", "a method"],
)
async def test_12_mb_before_the_headers_end_are_neither_parsed_nor_read(
    start: bytes, status: bytes
) -> None:
    async with attacked() as server:
        answer = await server.send(*pieces(start, 12_000_000))
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert server.book.parsed_bytes <= 64 * KIB
        assert server.book.received_bytes <= ServerLimits().linger_bytes_max + 2 * READ_BYTES
        assert server.book.refused == {int(status): 1}
        assert server.app.requests == []


async def test_10_000_headers_are_refused_and_100_are_not() -> None:
    async with attacked() as server:
        many = b"".join(b"a:b\r\n" for _ in range(10_000))
        assert (await server.send(LINE + many + b"\r\n")).startswith(b"HTTP/1.1 431 ")
        assert server.app.requests == []
        assert len(server.made[0].headers) == ServerLimits().headers_max
        some = b"".join(b"a:b\r\n" for _ in range(100))
        answer = await server.send(LINE + some + b"connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_the_limits_themselves_are_allowed() -> None:
    async with attacked() as server:
        url = b"/" + b"u" * (8 * KIB - 1)
        head = b"GET " + url + b" HTTP/1.1\r\nconnection: close\r\nx: "
        head += b"v" * (64 * KIB - len(head) - 4) + b"\r\n\r\n"
        assert (await server.send(head)).startswith(b"HTTP/1.1 200 ")
        assert (await server.send(head.replace(b"\r\nx", b"\r\nxx"))).startswith(b"HTTP/1.1 431 ")
        assert (await server.send(head.replace(b"/u", b"/uu"))).startswith(b"HTTP/1.1 414 ")


async def test_a_second_request_has_the_same_limits() -> None:
    async with attacked() as server:
        reader, writer = await server.connect()
        writer.write(LINE + b"\r\n")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        answer = asyncio.create_task(until_end(reader, writer))
        await send_all(writer, pieces(LINE + b"x-long: ", 12_000_000))
        assert (await answer).startswith(b"HTTP/1.1 431 ")
        assert server.book.parsed_bytes <= 65 * KIB
        assert len(server.app.requests) == 1


async def test_trailers_are_no_headers() -> None:
    async with attacked() as server:
        reader, writer = await server.connect()
        trailers = b"authorization: Bearer als_stolen\r\nx-api-key: als_stolen\r\n"
        writer.write(CHUNKED + b"1\r\nx\r\n0\r\n" + trailers + b"\r\n")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        writer.write(LINE + b"\r\n")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        names = [[name for name, _ in scope["headers"]] for scope in server.app.requests]
        assert names == [[b"host", b"transfer-encoding"], [b"host"]]
        writer.close()


@pytest.mark.parametrize("start", [b"0\r\nx-long: ", b"1;x="], ids=["trailer", "extension"])
async def test_12_mb_of_framing_are_not_read(start: bytes) -> None:
    async with attacked() as server:
        answer = await server.send(CHUNKED, *pieces(start, 12_000_000))
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert server.book.parsed_bytes <= 2 * READ_BYTES
        assert server.app.ended == ["http.disconnect", "/read"]


async def test_chunks_are_limited_in_number_and_their_framing_is_not_an_extension() -> None:
    async with attacked(ServerLimits(chunks_max=10_000)) as server:
        chunks = b"1\r\nx\r\n" * 9_999
        reader, writer = await server.connect()
        writer.write(CHUNKED + chunks + b"0\r\n\r\n")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        writer.write(CHUNKED + chunks + b"1\r\nx\r\n0\r\n\r\n")
        assert (await until_end(reader, writer)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: +3\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding : chunked\r\n",
        b"a: b\n transfer-encoding: chunked\r\n",
    ],
)
async def test_a_request_that_a_proxy_may_read_otherwise_is_rejected(headers: bytes) -> None:
    async with attacked() as server:
        answer = await server.send(b"POST /read HTTP/1.1\r\n" + headers + b"\r\n0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert "/read" not in server.app.ended or server.app.ended[0] == "http.disconnect"


async def test_few_requests_wait_in_one_connection() -> None:
    async with attacked() as server:
        reader, writer = await server.connect()
        writer.write(b"GET /wait HTTP/1.1\r\n\r\n" * 3_000)
        await until(lambda: bool(server.book.refused))
        assert len(server.made[0].pipeline) == ServerLimits().pipelined_max
        server.app.release.set()
        answer = await until_end(reader, writer)
        assert answer.count(b"HTTP/1.1 200 ") == 1 + ServerLimits().pipelined_max
        assert answer.count(b"connection: close") == 1
        assert len(server.app.requests) == 1 + ServerLimits().pipelined_max


async def test_nothing_is_parsed_after_an_upgrade() -> None:
    """The parser skips what came with it; what came later would be half of a request."""
    async with attacked() as server:
        upgrade = LINE + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
        answer = await server.send(upgrade + LINE + b"\r\n")
        assert answer.count(b"HTTP/1.1 200 ") == 1
        assert b"connection: close" in answer


async def test_a_body_after_its_answer_is_discarded_up_to_a_limit() -> None:
    limits = ServerLimits(discarded_bytes_max=100_000)
    async with attacked(limits) as server:
        reader, writer = await server.connect()
        post = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
        writer.write(post % 90_000)
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        writer.write(b"x" * 90_000 + post % 12_000_000)
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        await send_all(writer, pieces(b"", 12_000_000))
        assert await until_end(reader, writer) == b""
        assert server.book.refused == {413: 1}
        assert server.book.parsed_bytes <= 190_000 + 3 * READ_BYTES


# -- times -----------------------------------------------------------------------------------------


async def drip(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, part: bytes) -> bytes:
    """Send `part` again and again until the server has enough; its answer."""
    ended = asyncio.create_task(until_end(reader, writer))
    while not ended.done():
        with suppress(ConnectionError):
            writer.write(part)
        await asyncio.wait([ended], timeout=SHORT.head_s / 10)
    return ended.result()


async def test_slow_headers_end() -> None:
    async with attacked(SHORT) as server:
        reader, writer = await server.connect()
        writer.write(LINE)
        answer = await drip(writer, reader, b"a: b\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer
        assert server.app.requests == []


async def test_slow_headers_of_a_second_request_end() -> None:
    async with attacked(SHORT) as server:
        reader, writer = await server.connect()
        writer.write(LINE + b"\r\n")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        assert (await drip(writer, reader, b"\r\n")).startswith(b"HTTP/1.1 408 ")
        assert len(server.app.requests) == 1


async def test_300_silent_connections_are_closed() -> None:
    async with attacked(SHORT) as server:
        streams = [await server.connect() for _ in range(300)]
        assert await asyncio.gather(*(until_end(*each) for each in streams)) == [b""] * 300
        assert len(server.made) == 300
        assert len(server.book) == 0


async def test_an_idle_connection_is_closed_after_its_answer() -> None:
    async with attacked(SHORT) as server:
        answer = await server.send(LINE + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert len(server.book) == 0


async def test_a_stalled_body_is_a_timeout() -> None:
    async with attacked(SHORT) as server:
        post = b"POST /read HTTP/1.1\r\ncontent-length: 100\r\n\r\n0123456789"
        answer = await server.send(post)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert server.app.ended == ["http.disconnect", "/read"]


@pytest.mark.parametrize("path", [b"/read", b"/"], ids=["it is read", "it is not"])
async def test_a_body_that_drips_ends(path: bytes) -> None:
    async with attacked(SHORT) as server:
        reader, writer = await server.connect()
        writer.write(b"POST " + path + b" HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
        answer = await drip(writer, reader, b"x")
        assert answer.startswith(b"HTTP/1.1 408 " if path == b"/read" else b"HTTP/1.1 200 ")
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    async with attacked(SHORT) as server:
        _reader, writer = await server.connect()
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\n\r\n")
        await until(lambda: bool(server.app.ended) and not len(server.book))
        writer.close()


async def test_a_stream_with_heartbeats_is_not_idle() -> None:
    async with attacked(SHORT) as server:
        answer = await server.send(b"GET /stream HTTP/1.1\r\n\r\n")
        assert answer.count(b":\n") == 10
        assert b"3\r\nend\r\n0\r\n\r\n" in answer


# -- how many --------------------------------------------------------------------------------------


async def ask(server: Attacked, path: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has sent a request, which the application has."""
    before = len(server.app.requests)
    reader, writer = await server.connect()
    writer.write(b"GET " + path + b" HTTP/1.1\r\n\r\n")
    await until(lambda: len(server.app.requests) > before)
    return reader, writer


async def test_connections_without_a_key_do_not_keep_others_out() -> None:
    async with attacked(connections_max=20) as server:
        known = [await ask(server, b"/tenant/t%d" % (n % 5)) for n in range(10)]
        for reader, _ in known:
            assert await answered(reader) == b"HTTP/1.1 200 OK"
        silent = [await server.connect() for _ in range(50)]
        newest, _ = await ask(server, b"/tenant/late")
        assert await answered(newest) == b"HTTP/1.1 200 OK"
        assert len(server.book) == 20
        assert server.book.dropped == 41
        assert [await reader.read() for reader, _ in silent[:41]] == [b""] * 41
        for reader, writer in known:
            writer.write(LINE + b"\r\n")
            assert await answered(reader) == b"HTTP/1.1 200 OK"


async def test_an_idle_connection_gives_way_and_a_busy_one_does_not() -> None:
    async with attacked(connections_max=4) as server:
        streams = [await ask(server, b"/tenant/wait%d" % n) for n in range(3)]
        idle, _ = await ask(server, b"/tenant/idle")
        assert await answered(idle) == b"HTTP/1.1 200 OK"
        streams.append(await ask(server, b"/tenant/wait3"))
        assert await idle.read() == b""
        refused = await server.send()
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in refused
        server.app.release.set()
        for reader, _ in streams:
            assert await answered(reader) == b"HTTP/1.1 200 OK"


async def test_one_tenant_has_half_of_the_connections() -> None:
    async with attacked(connections_max=8) as server:
        mine = [await ask(server, b"/tenant/a") for _ in range(4)]
        for reader, _ in mine:
            assert await answered(reader) == b"HTTP/1.1 200 OK"
        reader, writer = await ask(server, b"/tenant/a")
        assert (await until_end(reader, writer)).startswith(b"HTTP/1.1 429 ")
        other, _ = await ask(server, b"/tenant/b")
        assert await answered(other) == b"HTTP/1.1 200 OK"
        assert (server.book.of_tenant("a"), server.book.of_tenant("b")) == (4, 1)
        mine[0][1].close()
        await until(lambda: server.book.of_tenant("a") == 3)
        again, _ = await ask(server, b"/tenant/a")
        assert await answered(again) == b"HTTP/1.1 200 OK"


async def test_a_connection_belongs_to_the_tenant_of_its_latest_request() -> None:
    """As those of a proxy do, which serve every tenant."""
    async with attacked(connections_max=2) as server:
        reader, writer = await ask(server, b"/tenant/a")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        writer.write(b"GET /tenant/b HTTP/1.1\r\n\r\n")
        assert await answered(reader) == b"HTTP/1.1 200 OK"
        assert (server.book.of_tenant("a"), server.book.of_tenant("b")) == (0, 1)
        other, _ = await ask(server, b"/tenant/a")
        assert await answered(other) == b"HTTP/1.1 200 OK"
