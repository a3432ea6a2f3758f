"""The API as an operator runs it: `odometer api`, started, killed, restarted on its port."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.local import servers
from deploy.local.servers import Server, free_port
from streams.worker.settings import WorkerSettings


@contextmanager
def api_of(settings: WorkerSettings, directory: Path, *options: str) -> Iterator[Server]:
    """On the servers and the topic of a worker's settings, with more options; ready when it can say
    how it is."""
    port = free_port()

    def is_ready(_pid: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code in {200, 503}
        except httpx.TransportError:
            return False

    command = (
        *(sys.executable, "-m", "deploy.cli.main", "api", "--api-port", str(port)),
        *("--redis", settings.redis, "--kafka", settings.kafka, "--topic", settings.topic),
        *options,
    )
    server = servers.start(
        servers.ServerSpec(
            role="api",
            port=port,
            ports_needed=(port,),
            directory=directory / "api",
            command=command,
            files=(),
            prepare=lambda: None,
            is_ready=is_ready,
        )
    )
    try:
        yield server
    finally:
        server.stop()
