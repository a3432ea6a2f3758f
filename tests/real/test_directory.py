"""The directory process on real Kafka and Valkey: updates, deletes, kills, an emptied Redis."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from api.store import directory
from api.store.reader import Store
from deploy.local.servers import Server, plain_environment
from deploy.local.valkey import url_of
from schemas.limits import DAY_MS
from schemas.store.directory import ON_PURPOSE, GroupUpdate
from streams.directory.settings import DirectorySettings, changelogs
from streams.directory.store import RedisDirectory
from streams.kafka.topics import ensure_directory_topics
from streams.worker.settings import PARTITIONS
from tests.real.harness.topics import now_ms, producer_of

pytestmark = pytest.mark.servers

WAIT_S = 60.0
POLL_PAUSE_S = 0.05
END_S = 12.0


@dataclass
class Streams:
    """The three topics, a directory, and the processes that read one into the other."""

    settings: DirectorySettings
    home: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *program: str) -> subprocess.Popen[bytes]:
        """`program`: arguments of Python; without, the command itself."""
        environment = {
            **plain_environment(),
            "ODOMETER_KAFKA": self.settings.kafka,
            "ODOMETER_REDIS": self.settings.redis,
            "ODOMETER_GROUP": self.settings.group.removesuffix("-directory"),
            "ODOMETER_DIRECTORY_PREFIX": self.settings.prefix,
        }
        log = (self.home / f"{len(self.processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [sys.executable, *(program or ("-m", "deploy.cli.main")), "directory"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    async def send(self, *records: tuple[str, str, object]) -> None:
        """Stream, key, and a value that becomes JSON; None deletes."""
        async with producer_of(self.settings.kafka) as producer:
            for stream, key, value in records:
                text = None if value is None else json.dumps(value).encode()
                await producer.send_and_wait(f"{self.settings.prefix}.{stream}", text, key.encode())

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Store]:
        store = Store(self.settings.redis, "")
        try:
            yield store
        finally:
            await store.close()

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        give_up_s = time.monotonic() + WAIT_S
        while not await holds():
            assert time.monotonic() < give_up_s, f"never came: {what}\n{self.said()}"
            await asyncio.sleep(POLL_PAUSE_S)

    def errors(self) -> int:
        return sum(one.read_text().count(" ERROR ") for one in self.home.glob("*.log"))

    def said(self) -> str:
        return "\n".join(one.read_text()[-4000:] for one in sorted(self.home.glob("*.log")))


SLOW_SEEK = """
import asyncio
from faust.transport.drivers.aiokafka import Consumer
from deploy.cli.main import main

seek = Consumer.seek_to_committed

async def slow_seek(self):
    found = await seek(self)
    await asyncio.sleep(1)
    return found

Consumer.seek_to_committed = slow_seek
main()
"""
"""The command on a busy machine: what Faust reads in this second, it drops."""


@asynccontextmanager
async def streams_of(kafka: str, redis_url: str, home: Path) -> AsyncIterator[Streams]:
    name = f"test-{secrets.token_hex(4)}"
    settings = DirectorySettings(
        kafka=kafka, redis=redis_url, prefix=name, group=f"{name}-directory"
    )
    await ensure_directory_topics(kafka, changelogs(settings), PARTITIONS)
    streams = Streams(settings, home)
    try:
        yield streams
    finally:
        for process in streams.processes:
            process.kill()
            process.wait()


@pytest.fixture
async def streams(kafka: Server, redis_url: str, tmp_path: Path) -> AsyncIterator[Streams]:
    async with streams_of(kafka.address, redis_url, tmp_path) as streams:
        yield streams


def address_is(store: Store, email: str, *keys: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await directory.keys_of_address(store, "acme", email) == {*keys}

    return holds


async def test_upserts_deletes_and_refusals_through_kills(streams: Streams) -> None:
    first = streams.start()
    await streams.send(
        ("users", "acme|u1", {"name": "Ann", "email": "ann@x"}),
        ("users", "acme|u2", {"name": "Bob", "email": "bob@x"}),
        ("groups", "acme|g", {"name": "Sales", "members": ["u1", "u2"]}),
        ("chats", "acme|c", {"title": "Hello"}),
        ("users", "acme|u3", {"name": 5}),
        ("users", "nobody", {"name": "N"}),
    )

    async def is_told() -> bool:
        return (
            await directory.members(store, "acme", "g") == {"u1", "u2"}
            and await directory.titles(store, "acme", ["c"]) == {"c": "Hello"}
            and len(await directory.people(store, "acme", ["u1", "u2"])) == 2
            and len(await refusals.refusals()) == 2
        )

    async with streams.reader() as store, RedisDirectory(streams.settings.redis) as refusals:
        await streams.until("the first words", is_told)
        assert any("$.name" in why for why in (await refusals.refusals()).values())
        first.kill()
        first.wait()
        await streams.send(
            ("users", "acme|u1", {"email": "ann@y"}),
            ("users", "acme|u2", None),
            ("groups", "acme|g", {"name": "Sales", "members": ["u1"]}),
            ("chats", "acme|c", None),
        )
        second = streams.start("-c", SLOW_SEEK)
        await streams.until("the new address", address_is(store, "ann@y", "u1"))
        await streams.until("the deletion", address_is(store, "bob@x"))

        async def is_changed() -> bool:
            found = await directory.members(store, "acme", "g")
            return found == {"u1"} and not await directory.titles(store, "acme", ["c"])

        await streams.until("the group's change", is_changed)
        people = await directory.people(store, "acme", ["u1", "u2"])
        assert [(one.key, one.name) for one in people.values()] == [("u1", "Ann")]
        second.send_signal(signal.SIGTERM)
        assert second.wait(END_S) == 0


async def test_what_an_admin_said_later_stands_when_the_tables_are_written_again(
    streams: Streams,
) -> None:
    first = streams.start()
    await streams.send(
        ("users", "acme|u1", {"name": "Ann", "email": "ann@x"}),
        ("groups", "acme|g", {"name": "Sales", "members": ["u1"]}),
        ("groups", "acme|gone", {"name": "Gone", "members": ["u1"]}),
    )
    async with streams.reader() as store:
        await streams.until("the address", address_is(store, "ann@x", "u1"))

        async def are_there() -> bool:
            return len(await directory.groups(store, "acme")) == 2

        await streams.until("the groups", are_there)
        at_ms = now_ms() + DAY_MS  # whatever the clocks of this machine's servers
        await directory.name_user(store, "acme", "u1", at_ms, email="admin@x", name=None)
        await directory.say_group(
            store, "acme", GroupUpdate("g", ON_PURPOSE + at_ms, at_ms, is_last=True, add=["u9"])
        )
        await directory.say_group(
            store,
            "acme",
            GroupUpdate("gone", ON_PURPOSE + at_ms, at_ms, is_last=True, is_deleted=True),
        )
        first.kill()
        first.wait()
        streams.start()
        await streams.send(("users", "acme|last", {"email": "last@x"}))
        await streams.until("a later word", address_is(store, "last@x", "last"))
        assert await address_is(store, "admin@x", "u1")()
        assert await directory.members(store, "acme", "g") == {"u1", "u9"}
        assert len(await directory.groups(store, "acme")) == 1


async def test_an_emptied_redis_is_filled_again(streams: Streams) -> None:
    streams.start()
    await streams.send(
        *(("users", f"acme|u{n}", {"email": f"{n}@x"}) for n in range(50)),
        ("users", "acme|u0", None),
        ("groups", "acme|g", {"name": "Sales", "members": ["u1"]}),
    )
    async with streams.reader() as store:

        async def is_whole() -> bool:
            return (
                len(await directory.everybody(store, "acme")) == 49
                and await directory.members(store, "acme", "g") == {"u1"}
                and await directory.people(store, "acme", ["u0"]) == {}
            )

        await streams.until("the first words", is_whole)
        with redis.Redis.from_url(streams.settings.redis) as client:
            client.flushall()
            client.function_flush()
        await streams.until("the directory again", is_whole)


async def test_words_wait_for_a_redis_that_is_away(
    kafka: Server, own_valkey: Server, tmp_path: Path
) -> None:
    async with streams_of(kafka.address, url_of(own_valkey), tmp_path) as streams:
        streams.start()
        await streams.send(("users", "acme|u1", {"email": "ann@x"}))
        async with streams.reader() as store:
            await streams.until("the address", address_is(store, "ann@x", "u1"))
        own_valkey.kill()
        await streams.send(("users", "acme|u1", {"email": "ann@y"}))

        async def waits() -> bool:
            return "waiting: Redis does not answer" in streams.said()

        await streams.until("the waiting", waits)
        own_valkey.restart()
        async with streams.reader() as store:
            await streams.until("the new address", address_is(store, "ann@y", "u1"))


async def test_a_broker_that_was_away_is_read_on(
    own_kafka: Server, redis_url: str, tmp_path: Path
) -> None:
    async with streams_of(own_kafka.address, redis_url, tmp_path) as streams:
        streams.start()
        await streams.send(("users", "acme|u1", {"email": "ann@x"}))
        async with streams.reader() as store:
            await streams.until("the address", address_is(store, "ann@x", "u1"))
            errors = streams.errors()
            own_kafka.kill()

            async def is_missed() -> bool:
                return streams.errors() > errors + 2 or streams.processes[0].poll() is not None

            await streams.until("a word of it", is_missed)
            own_kafka.restart()
            if streams.processes[0].poll() is not None:  # as its supervisor does
                streams.start()
            await streams.send(("users", "acme|u1", {"email": "ann@y"}))
            await streams.until("the new address", address_is(store, "ann@y", "u1"))
