"""An API process that takes events, and producers that send a batch again until it is taken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.local import servers
from deploy.local.servers import Server, free_port
from schemas.units import iso
from streams.worker.settings import WorkerSettings
from tests.oracles.event_logs import event
from tests.real.harness.system import System
from tests.real.harness.topics import now_ms

ANSWER_S: Final = 10.0
"""What a producer waits for an answer: the API promises one, or a 503, within 4 s."""
RESEND_PAUSE_S: Final = 0.1
STOP_GRACE_S: Final = 5.0


@contextmanager
def api_of(
    settings: WorkerSettings, directory: Path, keys_file: Path | None = None
) -> Iterator[Server]:
    """As `odometer api` runs it; kill, pause and restart it as you like."""
    port = free_port()
    arguments = f"{settings.redis!r}, '127.0.0.1', {port}, {settings.topic!r}"
    named = "None" if keys_file is None else f"Path({str(keys_file)!r})"
    program = (
        "from pathlib import Path; from api.app.main import serve;"
        f" serve({arguments}, kafka={settings.kafka!r}, keys_file={named})"
    )

    def is_ready(_pid: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    server = servers.start(
        servers.ServerSpec(
            role="api",
            port=port,
            ports_needed=(port,),
            directory=directory / "api",
            command=(sys.executable, "-W", "error", "-c", program),
            files=(),
            prepare=lambda: None,
            is_ready=is_ready,
        )
    )
    try:
        yield server
    finally:
        server.stop(STOP_GRACE_S)


@dataclass
class Producers:
    """Each sends batch after batch; one that is not answered with 202 is kept for later."""

    server: Server
    key: str
    producers: int = 4
    batch: int = 20
    pause_s: float = 0.01
    """So that the kills fall among many batches."""
    sent: set[str] = field(default_factory=set)
    acknowledged: dict[str, int] = field(default_factory=dict)
    """When each was, in ms: Kafka had it before."""
    unanswered: list[list[dict[str, Any]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    slowest_s: float = 0.0

    async def send(self, until: asyncio.Event) -> None:
        async with self._client() as client:
            await asyncio.gather(
                *[self._producer(client, number, until) for number in range(self.producers)]
            )

    async def go_on(self, system: System) -> None:
        """Until some batches more are acknowledged."""
        before = len(self.acknowledged)
        await system.until("more is acknowledged", lambda: len(self.acknowledged) > before + 400)

    async def send_again(self) -> None:
        """What was not acknowledged, under the same ids, until it is."""
        async with self._client() as client:
            while self.unanswered:
                batch = self.unanswered.pop()
                await self._send(client, batch)
                if self.unanswered and self.unanswered[-1] is batch:
                    await asyncio.sleep(RESEND_PAUSE_S)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://{self.server.address}",
            headers={"authorization": f"Bearer {self.key}"},
            timeout=ANSWER_S,
        )

    async def _producer(self, client: httpx.AsyncClient, number: int, until: asyncio.Event) -> None:
        sequence = 0
        while not until.is_set():
            at = iso(now_ms())
            batch = [
                event(id=f"{number}-{sequence + n}", time=at, call_id=f"{number}-{sequence // 50}")
                for n in range(self.batch)
            ]
            sequence += self.batch
            self.sent.update(one["id"] for one in batch)
            await self._send(client, batch)
            await asyncio.sleep(self.pause_s)

    async def _send(self, client: httpx.AsyncClient, batch: Sequence[dict[str, Any]]) -> None:
        started_s = asyncio.get_running_loop().time()
        try:
            answer = await client.post("/v1/events", json=batch)
        except httpx.TransportError:
            self.statuses.append(0)
            self.unanswered.append([*batch])
            return
        self.slowest_s = max(self.slowest_s, asyncio.get_running_loop().time() - started_s)
        self.statuses.append(answer.status_code)
        if answer.status_code == 202:
            assert answer.json()["accepted"] == len(batch)
            self.acknowledged |= dict.fromkeys((one["id"] for one in batch), now_ms())
        else:
            assert answer.status_code == 503, answer.text
            assert answer.headers.get("retry-after")
            self.unanswered.append([*batch])
