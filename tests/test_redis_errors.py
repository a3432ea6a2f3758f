"""streams and api translate Redis' errors in one way, read by the client or from a bare reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions
from redis._parsers.base import BaseParser
from starlette.requests import Request

from api.http.problems import error_response as native_answer
from api.store.connection import translated
from schemas.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from schemas.store.redis_errors import FunctionMissing, LibraryExists, is_forbidden, store_error
from streams.redis.client import ask

REPLIES = [
    # The worker retries these, and a reader is asked to.
    ("LOADING Redis is loading the dataset in memory", StoreUnavailable),
    ("BUSY Redis is busy running a script. You can only call FUNCTION KILL.", StoreUnavailable),
    ("READONLY You can't write against a read only replica.", StoreUnavailable),
    ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'", StoreUnavailable),
    ("CLUSTERDOWN The cluster is down", StoreUnavailable),
    ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailable),
    ("MOVED 3999 127.0.0.1:6381", StoreUnavailable),
    ("ASK 3999 127.0.0.1:6381", StoreUnavailable),
    ("ERR max number of clients reached", StoreUnavailable),
    ("NOAUTH Authentication required.", StoreUnavailable),
    ("WRONGPASS invalid username-password pair or user is disabled.", StoreUnavailable),
    ("NOPERM this user has no permissions to run the 'fcall' command", StoreUnavailable),
    ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull),
    ("MISCONF Errors writing to the AOF file: No space left on device", StoreFull),
    # These would fail again.
    ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreCorrupt),
    ("ORPHANS counters without their meta record", StoreCorrupt),
    ("ERR user_function:1: attempt to index a nil value script: odometer", StoreCorrupt),
    ("EXECABORT Transaction discarded because of previous errors.", StoreCorrupt),
    ("ERR unknown command 'FCALL'", StoreCorrupt),
    ("SOMETHING that no version says yet", StoreCorrupt),
    ("", StoreCorrupt),
    # The callers expect these two.
    ("ERR Function not found", FunctionMissing),
    ("ERR Library 'odometer_1' already exists", LibraryExists),
]
RAISED = [
    (exceptions.ConnectionError("Connection refused"), StoreUnavailable),
    (exceptions.TimeoutError("Timeout reading from socket"), StoreUnavailable),
    (exceptions.InvalidResponse("a reply to no command"), StoreUnavailable),
    (ConnectionResetError("reset by peer"), StoreUnavailable),
    (TimeoutError(), StoreUnavailable),
    (exceptions.DataError("Invalid input of type: 'NoneType'"), StoreCorrupt),
    (exceptions.RedisError("any other"), StoreCorrupt),
]

Translation = Callable[[Exception], Awaitable[StoreError]]


def parsed(reply: str) -> Exception:
    """As the client makes it of a reply."""
    error: Exception = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    return error


async def of_streams(error: Exception) -> StoreError:
    async def command() -> None:
        raise error

    return await raised(ask(command()))


async def of_api(error: Exception) -> StoreError:
    async def question() -> None:
        async with translated():
            raise error

    return await raised(question())


async def raised(exchange: Awaitable[object]) -> StoreError:
    with pytest.raises(StoreError) as found:
        await exchange
    return found.value


@pytest.mark.parametrize("translate", [of_streams, of_api])
@pytest.mark.parametrize("by_client", [True, False], ids=["by the client", "a bare reply"])
@pytest.mark.parametrize(("reply", "expected"), REPLIES)
async def test_a_reply(
    translate: Translation,
    by_client: bool,  # noqa: FBT001
    reply: str,
    expected: type[StoreError],
) -> None:
    error = parsed(reply) if by_client else exceptions.ResponseError(reply)
    assert type(await translate(error)) is expected


@pytest.mark.parametrize("translate", [of_streams, of_api])
@pytest.mark.parametrize(("error", "expected"), RAISED, ids=repr)
async def test_an_error_without_a_reply(
    translate: Translation, error: Exception, expected: type[StoreError]
) -> None:
    assert type(await translate(error)) is expected


@given(st.text())
async def test_any_reply_has_one_translation(reply: str) -> None:
    for error in (exceptions.ResponseError(reply), parsed(reply)):
        streams, api = await of_streams(error), await of_api(error)
        assert type(streams) is type(api)
        assert str(streams) == str(api)


@pytest.mark.parametrize("reply", [reply for reply, _ in REPLIES])
def test_the_api_answers_503(reply: str) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/v1/usage", "headers": []})
    answer = native_answer(request, store_error(exceptions.ResponseError(reply)))
    assert answer.status_code == 503


@pytest.mark.parametrize("kind", [parsed, exceptions.ResponseError])
def test_a_command_is_forbidden_or_removed(kind: Callable[[str], Exception]) -> None:
    assert is_forbidden(kind("NOPERM User w has no permissions to run the 'info' command"))
    assert is_forbidden(kind("ERR unknown command 'INFO', with args beginning with: 'memory' "))
    assert not is_forbidden(kind("WRONGPASS invalid username-password pair or user is disabled."))
    assert not is_forbidden(kind("LOADING Redis is loading the dataset in memory"))
