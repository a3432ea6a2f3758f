"""The monitor of one process: its server, and probes that ask the event loop of the process.

- `/livez`: the event loop turns. It asks neither Redis nor Kafka: a restart would not help there.
- `/startupz`: the process has read its files and runs its event loop.
- `/readyz`: what the process says of itself, with the reason if it is not ready.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.registry import Collector

from deploy.monitor.server import MonitorServer, Probe, serve_monitor

Ready = Callable[[], Awaitable[Mapping[str, object]]]

LOOP_S: Final = 5.0
"""The loop's longest wait is a large answer of the API, or a slice of a batch: far below a second."""
READY_S: Final = 5.0
"""The API asks Redis, which has 3 s."""


@dataclass(frozen=True)
class MonitorSettings:
    """Where the monitor of a process listens. `process`: worker, directory or api. `more`: what it
    collects besides the metrics of the process."""

    process: str
    host: str
    port: int
    version: str
    say: Callable[[str], None]
    more: Sequence[Collector] = ()

    def __call__(
        self, loop: asyncio.AbstractEventLoop, registry: CollectorRegistry, ready: Ready
    ) -> MonitorServer:
        """Starts the monitor of a process whose event loop is `loop`, and says where it listens."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        build = Gauge(
            "odometer_build_info",
            "The version of this process. The value is 1.",
            ("version", "process"),
            registry=registry,
        )
        build.labels(self.version, self.process).set(1)
        for collector in self.more:
            registry.register(collector)
        server = serve_monitor(self.host, self.port, registry, probes_of(loop, ready))
        moved = "" if server.server_port == self.port else f" (port {self.port} is taken)"
        self.say(f"metrics and probes: {server.url}/metrics, /livez, /readyz, /startupz{moved}")
        return server


def probes_of(loop: asyncio.AbstractEventLoop, ready: Ready) -> dict[str, Probe]:
    """The probes of a process, by path. They may be called in any thread."""

    def started() -> Mapping[str, object]:
        if not loop.is_running():
            return {"ok": False, "reason": "the process is starting"}
        return live()

    def live() -> Mapping[str, object]:
        if loop.is_running() and not _turns(loop):
            return {"ok": False, "reason": f"the event loop has not turned for {LOOP_S:g} s"}
        return {"ok": True, "reason": ""}

    def is_ready() -> Mapping[str, object]:
        if not loop.is_running():
            return {"ok": False, "reason": "the process is starting"}
        asking = asyncio.run_coroutine_threadsafe(_asked(ready), loop)
        try:
            return asking.result(READY_S)
        except concurrent.futures.TimeoutError:
            asking.cancel()
            return {"ok": False, "reason": f"the process did not say so within {READY_S:g} s"}

    return {"/livez": live, "/readyz": is_ready, "/startupz": started}


def _turns(loop: asyncio.AbstractEventLoop) -> bool:
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:  # the loop has just been closed: the process ends
        return True
    return turned.wait(LOOP_S)


async def _asked(ready: Ready) -> Mapping[str, object]:
    return await ready()
