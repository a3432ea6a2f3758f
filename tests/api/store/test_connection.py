"""The connection for reads on a real Valkey: order, refusals, loss, silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.store.connection import REPLY_TIMEOUT_S, ReadConnection
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of


def connection_to(redis_url: str) -> ReadConnection:
    return ReadConnection(ConnectionPool.from_url(redis_url, protocol=2).make_connection)


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[ReadConnection]:
    connection = connection_to(redis_url)
    yield connection
    await connection.close()


async def test_replies_come_in_the_order_of_their_commands(
    redis_url: str, connection: ReadConnection
) -> None:
    values = {f"k{n}": b"%d" % n * (1 + n * 1000) for n in range(100)}
    with redis.Redis.from_url(redis_url) as client:
        client.mset(values)
        before = {one["id"] for one in client.client_list()}
        found = await asyncio.gather(
            *[
                connection.read(("GET", key), ("STRLEN", key), ("MGET", key, "none"))
                for key in values
            ]
        )
        assert len({one["id"] for one in client.client_list()} - before) == 1
    assert found == [[one, len(one), [one, None]] for one in values.values()]


async def test_a_refusal_is_the_callers_own(redis_url: str, connection: ReadConnection) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("list", "a")
        client.set("text", "b")
    asked = connection.read(("GET", "text"), ("GET", "list")), connection.read(("GET", "text"))
    found: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
    refused, fine = found
    assert isinstance(refused, ResponseError)
    assert "WRONGTYPE" in str(refused)
    assert fine == [b"b"]


async def test_who_goes_away_takes_no_others_reply(
    redis_url: str, connection: ReadConnection
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.mset({"a": "1", "b": "2"})
    await connection.read(("GET", "a"))
    gone = asyncio.ensure_future(connection.read(("GET", "a")))
    stays = asyncio.ensure_future(connection.read(("GET", "b")))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == [b"2"]
    assert gone.cancelled()


async def test_a_connection_that_was_ended_is_made_anew(
    redis_url: str, connection: ReadConnection
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("a", "1")
        for _time in range(3):
            assert await connection.read(("GET", "a")) == [b"1"]
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_nobody_there_is_said(own_valkey: Server) -> None:
    connection = connection_to(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(RedisConnectionError):
        await connection.read(("GET", "a"))
    connection = connection_to(url_of(own_valkey))
    assert await connection.read(("GET", "a")) == [None]
    own_valkey.kill()
    with pytest.raises(RedisConnectionError):
        await connection.read(("GET", "a"))
    own_valkey.restart()
    assert await connection.read(("GET", "a")) == [None]
    await connection.close()


async def test_silence_ends_all_that_wait_and_nobody_gets_anothers_reply(
    own_valkey: Server,
) -> None:
    connection = connection_to(url_of(own_valkey))
    await connection.read(("SET", "a", "1"), ("SET", "b", "2"))
    own_valkey.pause()
    started = asyncio.get_running_loop().time()
    found = await asyncio.gather(
        connection.read(("GET", "a")), connection.read(("GET", "a")), return_exceptions=True
    )
    assert all(isinstance(one, RedisTimeoutError) for one in found)
    assert asyncio.get_running_loop().time() - started < 2 * REPLY_TIMEOUT_S + 1
    own_valkey.resume()
    assert await connection.read(("GET", "b")) == [b"2"]
    await connection.close()


async def test_a_reply_that_came_while_this_process_got_no_time_is_read(
    connection: ReadConnection,
) -> None:
    """uvloop runs timers before it looks at sockets."""
    await connection.read(("SET", "a", "1"))
    protocol = connection._protocol
    assert protocol is not None
    reading = asyncio.ensure_future(connection.read(("GET", "a")))
    await asyncio.sleep(0)
    protocol._waiting[0].since_s -= 10 * REPLY_TIMEOUT_S
    protocol._check_deadline()
    assert await reading == [b"1"]
    silent = asyncio.ensure_future(connection.read(("GET", "a")))
    await asyncio.sleep(0)
    protocol._waiting[0].since_s -= 10 * REPLY_TIMEOUT_S
    protocol._check_deadline()
    protocol._check_deadline()
    with pytest.raises(RedisTimeoutError):
        await silent
