"""A Faust process that ends in time: its signals, and a hard deadline of our own on its stop.

No client, however it hangs on a frozen broker, holds the process longer; nothing is lost by
leaving, as what it has done is written down elsewhere.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from typing import Final, NoReturn

import faust
from mode import ServiceT

STOP_S: Final = 8.0
"""From the signal to the end of the process; an orchestrator's own patience is 10 s and more."""

COLLECTED_EVERY: Final = 20_000
"""Containers made and not yet gone before the garbage collector looks for cycles among them: a batch
has one a record, with Python's 700 it looks through all of them again and again."""

log = logging.getLogger("odometer.worker")


def run_process(app: faust.App, *services: ServiceT, loop: asyncio.AbstractEventLoop) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code. Blocking."""
    worker = _Process(app, *services, loop=loop, loglevel="INFO")
    try:
        worker.execute_from_commandline()
    except SystemExit as leaving:
        return int(leaving.code or 0)


def spare_collector() -> None:
    """Takes what the process is made of out of the garbage collector's sight: code and tables,
    which never go, and which took 3 us an event to look through. What counting itself makes has no
    cycles, the clients' connections do, and those are still found."""
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
    log.warning("not stopped within %g s: leaving, nothing is lost", STOP_S)
    leave(0)


def leave(code: int) -> NoReturn:
    """Ends the process at once, whatever its clients are at."""
    logging.shutdown()
    os._exit(code)
