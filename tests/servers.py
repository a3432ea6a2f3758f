"""Fixtures: a real Kafka and a real Valkey, started by the code that `deploy/up` uses.

One of each serves a whole pytest process, as a Kafka takes 3 s to start. So a test takes a topic name
of its own and an emptied Valkey. Tests that kill, pause or fill a server start one of their own.
"""

import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.local.kafka import start_kafka
from deploy.local.servers import Server, free_port
from deploy.local.valkey import start_valkey, url_of

# A clean stop proves nothing here that the tests of the servers do not: end the session quickly.
STOP_GRACE_S = 2.0


@pytest.fixture(scope="session")
def kafka() -> Iterator[Server]:
    """The session's broker; `kafka.address` is HOST:PORT. Never kill or pause this one."""
    yield from _a_kafka()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """The session's Valkey. Never kill or pause this one; take `redis_url` for an empty one."""
    yield from _a_valkey()


@pytest.fixture
def redis_url(valkey: Server) -> str:
    """The URL of the session's Valkey, emptied: no keys, no functions."""
    url = url_of(valkey)
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.function_flush()
    return url


@pytest.fixture
def topic() -> str:
    """A topic name that no other test has; the topic itself is for the test to create."""
    return f"test.{secrets.token_hex(6)}"


@pytest.fixture
def own_kafka() -> Iterator[Server]:
    """A broker for this test alone: kill, pause, resume, stop and restart it as you like."""
    yield from _a_kafka()


@pytest.fixture
def own_valkey() -> Iterator[Server]:
    """A Valkey for this test alone: kill, pause, resume, stop and restart it as you like."""
    yield from _a_valkey()


def url_as(login: str, url: str) -> str:
    """The URL with the login USER:PASSWORD instead of its own."""
    return re.sub("//([^@]*@)?", f"//{login}@", url)


def _a_kafka() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="odometer-test-") as data_dir:
        server = start_kafka(Path(data_dir), port=free_port(), controller_port=free_port())
        try:
            yield server
        finally:
            server.stop(STOP_GRACE_S)


def _a_valkey() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="odometer-test-") as data_dir:
        server = start_valkey(Path(data_dir), port=free_port())
        try:
            yield server
        finally:
            server.stop(STOP_GRACE_S)
