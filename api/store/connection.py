"""One connection to Redis for the reads of all answers: commands are pipelined, and replies come back
in their order.

redis-py opens the connection: URL, login, TLS and socket. Then a protocol of our own takes over the
socket, and passes bytes to hiredis as they arrive. Reading one value costs 30 us of a core this way,
and 180 us through the client of redis-py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import hiredis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.http.singleflight import Singleflight
from schemas.errors import InvalidConfig
from schemas.store.redis_errors import store_error

CONNECTIONS_MAX: Final = 16
"""Redis runs one command at a time. More connections only move the queue to a place that hides it."""
CONNECT_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 3.0
"""For single commands. The published clients time out after 5 s, and should get a 503 before."""
REPLY_TIMEOUT_S: Final = 1.0
"""The MGET of an answer takes a few milliseconds. A Redis that hangs must not block its callers."""
LAST_LOOK_S: Final = 0.01
"""When this process got no CPU for a while, the reply may have arrived meanwhile: uvloop runs timers before it
looks at sockets. So it looks at them once more."""

Command = tuple[str | int | float | bytes, ...]


class ReadConnection:
    """Reads on one connection. Connects at the first read, and again after the connection was lost."""

    def __init__(self, make: Callable[[], AbstractConnection]) -> None:
        self._make = make
        self._protocol: _Protocol | None = None
        self._connecting: Singleflight[_Protocol] = Singleflight()

    async def read(self, *commands: Command) -> list[Any]:
        """The replies, in order. Commands of other callers may run between these.

        Raises the errors of redis-py. A read that is lost with its connection is retried once on a new
        one: the connection may have died since its last use. A timeout is not retried, because the
        retry would take as long.
        """
        packed = b"".join([_packed(command) for command in commands])
        try:
            return await (await self._connected()).read(packed, len(commands))
        except RedisConnectionError:
            return await (await self._connected()).read(packed, len(commands))

    async def close(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            await protocol.close()

    async def _connected(self) -> _Protocol:
        protocol = self._protocol
        if protocol is not None and not protocol.is_over:
            return protocol
        return await self._connecting.once("connect", self._connect)

    async def _connect(self) -> _Protocol:
        await self.close()
        connection = self._make()
        await connection.connect()  # type: ignore[no-untyped-call]
        self._protocol = _Protocol(connection)
        return self._protocol


class _Pending:
    """The commands of one read: their future, the replies so far, and when they were sent."""

    __slots__ = ("count", "found", "future", "since_s")

    def __init__(self, future: asyncio.Future[list[Any]], count: int, since_s: float) -> None:
        self.future = future
        self.count = count
        self.found: list[Any] = []
        self.since_s = since_s


class _Protocol(asyncio.Protocol):
    """Takes over a connection that redis-py has opened."""

    def __init__(self, connection: AbstractConnection) -> None:
        writer = connection._writer  # noqa: SLF001  redis-py has no public way to the socket
        assert writer is not None
        self.is_over = False
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._waiting: deque[_Pending] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: _Pending | None = None
        self._transport: asyncio.WriteTransport = writer.transport
        self._before = (
            self._transport.get_protocol()
        )  # redis-py asks it whether the connection is closed
        self._transport.set_protocol(self)
        self.is_over = self._transport.is_closing()

    def read(self, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        pending = _Pending(future, count, self._loop.time())
        try:
            self._transport.write(packed)
        except RuntimeError as error:  # uvloop raises this after a reset
            self.is_over = True
            future.set_exception(RedisConnectionError(f"the connection was reset: {error}"))
            return future
        self._waiting.append(pending)
        if self._timer is None:
            self._timer = self._loop.call_later(REPLY_TIMEOUT_S, self._check_deadline)
        return future

    async def close(self) -> None:
        self._end(RedisConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not False:
                if not self._waiting:
                    self._end(InvalidResponse("a reply without a command"))
                    return
                pending = self._waiting[0]
                pending.found.append(reply)
                if len(pending.found) == pending.count:
                    self._waiting.popleft()
                    _answer(pending)
        except InvalidResponse as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(RedisConnectionError(f"the connection was lost: {exc or 'closed'}"))
        self._before.connection_lost(exc)

    def _check_deadline(self) -> None:
        """Close the connection if a reply is overdue: a late reply would go to the next command."""
        self._timer = None
        if not self._waiting:
            return
        due_s = self._waiting[0].since_s + REPLY_TIMEOUT_S - self._loop.time()
        overdue = self._waiting[0] if due_s <= 0 else None
        if overdue is None or overdue is not self._overdue:
            self._overdue = overdue
            wait_s = LAST_LOOK_S if overdue else due_s
            self._timer = self._loop.call_later(wait_s, self._check_deadline)
        else:
            self._end(RedisTimeoutError(f"no reply within {REPLY_TIMEOUT_S} s"))

    def _end(self, error: Exception) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for pending in waiting:
            if not pending.future.done():
                pending.future.set_exception(error)
        if not self.is_over:
            self.is_over = True
            self._transport.abort()


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(cast("Any", command))  # its type allows a single word only
    return packed


def _answer(pending: _Pending) -> None:
    if pending.future.done():
        return  # the caller was cancelled
    refusal = next((one for one in pending.found if isinstance(one, ResponseError)), None)
    if refusal is not None:
        pending.future.set_exception(refusal)
    else:
        pending.future.set_result(pending.found)


def pool_of(
    redis_url: str, meet: Callable[[AbstractConnection], Awaitable[None]]
) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=CONNECTIONS_MAX,
            timeout=COMMAND_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=REPLY_TIMEOUT_S,
            socket_keepalive=True,
            # A pooled connection may have died since its last use: retry once, on a new one. A
            # timeout is not retried: the retry would take as long.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            health_check_interval=0,
            decode_responses=False,
            protocol=2,
            redis_connect_func=meet,
        )
    except ValueError as error:
        raise InvalidConfig(f"the Redis URL is not valid: {error}") from error
    of_url = pool.connection_class
    pool.connection_class = type(f"Telling{of_url.__name__}", (_Telling, of_url), {})
    return pool


class _Telling(AbstractConnection):
    """Reports a reset of the connection as a lost connection, so that the client retries. uvloop
    raises a RuntimeError instead, which the client would pass on."""

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            if "handler is closed" not in str(error):
                raise
            raise RedisConnectionError(f"the connection was reset: {error}") from error


@asynccontextmanager
async def translated(timeout_s: float | None = COMMAND_TIMEOUT_S) -> AsyncIterator[None]:
    """A timeout around the block, and our own errors instead of those of redis-py."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        raise store_error(error) from error
