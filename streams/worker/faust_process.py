"""Runs a Faust process: its signals, and a hard deadline of our own for its stop.

A client that hangs on a frozen broker cannot hold the process longer. An exit at the deadline loses
nothing, because positions are in Redis and changelogs are in Kafka.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import faust
from mode import ServiceT
from prometheus_client import CollectorRegistry

Monitor = Callable[
    [asyncio.AbstractEventLoop, CollectorRegistry, Callable[[], Awaitable[Mapping[str, object]]]],
    object,
]
"""Starts to serve metrics and probes of a process: its event loop, its metrics, and what `/readyz`
answers. The commands pass it (deploy/monitor/process.py)."""

STOP_S: Final = 8.0
"""The time from the signal to the exit. Orchestrators kill a process after 10 s or more."""

COLLECTED_EVERY: Final = 20_000
"""The garbage collector starts after this many new containers. A batch has one per record; with
Python's default of 700, the collector scans the whole batch again and again."""

log = logging.getLogger("odometer.worker")


def run_process(
    app: faust.App,
    *services: ServiceT,
    loop: asyncio.AbstractEventLoop,
    logs: dict[str, Any] | None = None,
) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code. Blocking. `logs`: as
    `logging.config.dictConfig` takes it; None: Faust's own."""
    worker = _Process(app, *services, loop=loop, loglevel="INFO", logging_config=logs)
    try:
        worker.execute_from_commandline()
    except SystemExit as leaving:
        return int(leaving.code or 0)


def spare_collector() -> None:
    """Hides code and tables from the garbage collector: they are never freed, and scanning them
    took 3 us per event. Counting makes no cycles. The clients' connections do; the collector still
    finds those."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_EVERY, 10, 10)


class _Process(faust.Worker):
    """Faust's worker with our deadline."""

    def _on_sigterm(self) -> None:
        self._arm()
        super()._on_sigterm()

    def _on_sigint(self) -> None:
        self._arm()
        super()._on_sigint()

    def _arm(self) -> None:
        timer = threading.Timer(STOP_S, _late)
        timer.daemon = True
        timer.start()


def _late() -> None:
    log.warning("not stopped within %g s: the process exits now, no data is lost", STOP_S)
    leave(0)


def leave(code: int) -> NoReturn:
    """Exits at once, without waiting for clients."""
    logging.shutdown()
    os._exit(code)
