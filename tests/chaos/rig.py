"""Real Kafka, real Valkey, worker and API processes, with a proxy on each link between them.

Workers, API and producers reach the servers only through their proxies. For each of them Kafka has a
listener that is advertised under the port of its proxy. The checker and the oracle bypass the proxies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.auth.keys import opened, read_records
from api.auth.keys_file import write_keys_file
from deploy.local import servers
from deploy.local.api_keys import create_key
from deploy.local.jars import ensure_jars
from deploy.local.kafka import kafka_spec
from deploy.local.servers import HOST, Server, free_port
from deploy.local.valkey import start_valkey, url_of
from schemas.store.layout import CURRENT_KEY, FIRST_GENERATION, Meta, meta_key, unpack_meta
from tests.chaos.disks import small_disk
from tests.chaos.proxy import Proxy
from tests.real.harness.apis import api_of
from tests.real.harness.child import Change
from tests.real.harness.system import SMALL, System, system_of
from tests.real.harness.workers import WorkerProcess

KAFKA_CLIENTS: Final = ("worker", "api", "producer")
VALKEY_CLIENTS: Final = ("worker", "api")
LINKS: Final = (
    *(f"{who}-kafka" for who in KAFKA_CLIENTS),
    *(f"{who}-valkey" for who in VALKEY_CLIENTS),
)
PARTITIONS: Final = 4
WORKERS: Final = 2
LOOK_PAUSE_S: Final = 0.02
"""How exactly a recovery is timed."""
RECOVER_S_MAX: Final = 60.0
"""Whatever takes longer has not recovered."""
SERVER_GRACE_S: Final = 2.0


@dataclass
class Rig:
    """Everything of one seed. `links` are by name, as in LINKS."""

    system: System
    kafka: Server
    valkey: Server
    api: Server
    key: str
    links: dict[str, Proxy]
    change: Change | None
    """What is done to the code of workers and rebuilds before they run: a planted bug, or nothing."""

    @property
    def workers(self) -> list[WorkerProcess]:
        return self.system.workers

    def worker(self) -> WorkerProcess:
        return self.system.worker(
            self.change, policy=SMALL, **seen_by("worker", self.links, self.valkey)
        )

    @property
    def kafka_of_producers(self) -> str:
        return address_of(self.links["producer-kafka"])

    async def meta(self) -> Meta | None:
        """Of the generation that answers; None while Valkey does not."""
        async with _client(self.system.settings.redis) as client:
            try:
                current = int(await client.get(CURRENT_KEY) or FIRST_GENERATION)
                data: Any = await client.get(meta_key(current))
            except exceptions.RedisError:
                return None
        self.system.generation = current
        return None if data is None else unpack_meta(data)

    async def positions(self) -> dict[int, int]:
        meta = await self.meta()
        return {n: p.position for n, p in enumerate(meta.partitions)} if meta else {}

    async def moved(self, by: int) -> None:
        """Until so many more records are counted."""
        before = sum((await self.positions()).values())
        await self._until(
            lambda positions: sum(positions.values()) >= before + by, f"{by} records more"
        )

    async def recovered(self, since_s: float, partitions: int) -> float:
        """Seconds from an instant until each partition has been committed to again."""
        before = await self.positions()
        while len(before) < partitions:
            await asyncio.sleep(LOOK_PAUSE_S)
            before = await self.positions()
            assert time.monotonic() < since_s + RECOVER_S_MAX, f"no counters: {before}"
        await self._until(
            lambda now: len(now) >= partitions and all(now[p] > before[p] for p in before),
            f"a commit of every partition beyond {before}",
        )
        return time.monotonic() - since_s

    async def _until(self, holds: Callable[[dict[int, int]], bool], what: str) -> None:
        give_up_s = time.monotonic() + RECOVER_S_MAX
        while not holds(positions := await self.positions()):
            ended = [one.log.name for one in self.workers if one.has_failed()]
            assert not ended, f"{ended} ended by itself"
            assert time.monotonic() < give_up_s, f"never came: {what}; now: {positions}"
            await asyncio.sleep(LOOK_PAUSE_S)


def seen_by(who: str, links: dict[str, Proxy], server: Server) -> dict[str, str]:
    """The settings by which a process reaches the servers."""
    kafka, valkey = (address_of(links[f"{who}-{server}"]) for server in ("kafka", "valkey"))
    return {"kafka": kafka, "redis": url_of(server).replace(server.address, valkey)}


def address_of(link: Proxy) -> str:
    return f"{HOST}:{link.port}"


def _client(url: str) -> redis.Redis:
    """One that says at once that nobody answers."""
    return redis.Redis.from_url(
        url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0)
    )


@asynccontextmanager
async def rig_of(
    directory: Path, change: Change | None = None, *, on_small_disks: bool = False
) -> AsyncIterator[Rig]:
    """Started, and ended whatever becomes of it."""
    links: dict[str, Proxy] = {}
    started: list[Server] = []
    disks = ExitStack()
    try:
        for role in ("kafka", "valkey") if on_small_disks else ():
            disks.enter_context(small_disk(directory / role))
        kafka = await asyncio.to_thread(_start_kafka, directory, links)
        started.append(kafka)
        valkey = await asyncio.to_thread(start_valkey, directory, port=free_port())
        started.append(valkey)
        for who in VALKEY_CLIENTS:
            links[f"{who}-valkey"] = Proxy(free_port(), valkey.port)
        for link in links.values():
            link.start()
        async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
            keys_file = directory / "keys"
            key = await _make_key(url_of(valkey), keys_file)
            settings = system.settings.model_copy(update=seen_by("api", links, valkey))
            with api_of(settings, directory, keys_file) as api:
                rig = Rig(system, kafka, valkey, api, key, links, change)
                for _number in range(WORKERS):
                    rig.worker()
                yield rig
    finally:
        for server in started:
            await asyncio.to_thread(server.stop, SERVER_GRACE_S)
        for link in links.values():
            link.stop()
        disks.close()


def _start_kafka(directory: Path, links: dict[str, Proxy]) -> Server:
    """With a listener more for each client, which says that it is where its proxy is."""
    port = free_port()
    spec = kafka_spec(directory, ensure_jars(), port=port, controller_port=free_port())
    files = spec.files
    for who in KAFKA_CLIENTS:
        name, link_port = who.upper(), free_port()
        links[f"{who}-kafka"] = link = Proxy(free_port(), link_port)
        changes = {
            f"\nlisteners=PLAINTEXT://{HOST}:{port},": f"{name}://{HOST}:{link_port},",
            f"\nadvertised.listeners=PLAINTEXT://{HOST}:{port},": f"{name}://{HOST}:{link.port},",
            "\nlistener.security.protocol.map=": f"{name}:PLAINTEXT,",
        }
        files = tuple((file, _with_listener(text, changes)) for file, text in files)
    return servers.start(replace(spec, files=files))


def _with_listener(text: str, changes: dict[str, str]) -> str:
    for at, more in changes.items():
        text = text.replace(at, at + more)
    return text


async def _make_key(redis_url: str, keys_file: Path) -> str:
    """Known to the API also when Valkey has lost it."""
    key = await create_key(redis_url, name="chaos", tenant="default", role="member")
    async with opened(redis_url) as store:
        write_keys_file(keys_file, await read_records(store))
    return key
