"""`odometer up`: servers, topics, worker, API and sample traffic on one machine, supervised.

Everything that it starts has a pidfile under the home directory. Ctrl-C ends these processes by
their pidfiles; so does the next start, after this one was killed. Only the owner can enter the home.
Passwords and keys are in files there and in the environment of the processes, never in a command
line: every user of the machine can read those.
"""

import asyncio
import fcntl
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from types import FrameType

from rich.console import Console

from deploy.cli.terminal import bar, say_on
from deploy.errors import AlreadyRunning, DeployError, DiskTooFull
from deploy.local import (
    jars,
    kafka,
    private_files,
    processes,
    ready,
    servers,
    supervise,
    valkey,
)
from deploy.local.refusals import Refusals
from deploy.settings import Settings, as_environment, hide_password, read_catalog, read_prices
from streams.kafka.topics import ensure_topics

# A month of sample history is 150,000 events of 0.5 kB in Kafka's log (75 MB); its counters take
# 50 MB in Valkey's file, twice that while it is rewritten; 45 MB of jars, 30 MB of logs; and a day
# of live traffic at 0.5 events/s another 22 MB.
FREE_BYTES_MIN = 500_000_000

# Ctrl-C ends everything within 10 s: first the processes that write, then the servers.
SERVICES_GRACE_S = 4.0
SERVERS_GRACE_S = 4.0
# Pause between two checks of all processes.
LOOK_PAUSE_S = 0.2

# In the order of their start. They are ended all at once.
SERVICES = ("worker", "api", "directory", "simulate")


def run_everything(settings: Settings, *, simulate: bool, console: Console) -> None:
    """Run until SIGINT or SIGTERM. Raises DeployError if something cannot be started."""
    # A mistake in a file of the user is reported before anything starts.
    read_prices(settings)
    read_catalog(settings)
    home = settings.home.absolute()
    with private_files.only_for_owner(), _one_at_a_time(home):
        logging.basicConfig(filename=home / "up.log", level=logging.WARNING)
        _check_room(home)
        try:
            with _signals_interrupt():
                _run(settings, home, console, simulate=simulate)
        except KeyboardInterrupt:
            say_on(console, "Ending everything.")
        finally:
            with _signals_ignored():
                end_everything(home)


def end_everything(home: Path) -> None:
    """End everything that runs in this home: first the processes that write, then the servers."""
    _end([home / "parts" / f"{role}.pid" for role in SERVICES], SERVICES_GRACE_S)
    _end([home / "kafka" / "kafka.pid", home / "valkey" / "valkey.pid"], SERVERS_GRACE_S)


def _run(settings: Settings, home: Path, console: Console, *, simulate: bool) -> None:
    _end_leftovers(settings, home)
    servers.check_port_free(settings.api_port, "the API")
    settings, supervised = _start_servers(settings, home, console)
    asyncio.run(
        ensure_topics(
            settings.kafka,
            events=settings.topic,
            dead_letter=settings.dead_letter_topic,
            partitions=settings.partitions,
        )
    )
    sample = _sample_files(home, settings) if simulate else None
    history_due = sample is not None and ready.is_history_due(settings, sample.progress)
    services = _services(settings, home, sample)
    refusals = Refusals(settings.redis)
    for service in services:
        service.start()
        supervised.append(supervise.supervise_service(service, time.monotonic()))
    becoming_ready = ready.become_ready(
        settings, home, sample.progress if sample and history_due else None, console
    )
    for _ in chain(becoming_ready, repeat(None)):
        for each in supervised:
            said = supervise.check(each, time.monotonic())
            if said is not None:
                say_on(console, said, "yellow")
        for said in refusals.news(time.monotonic()):
            say_on(console, said, "yellow")
        for service in services:
            service.rotate()
        time.sleep(LOOK_PAUSE_S)


def _start_servers(
    settings: Settings, home: Path, console: Console
) -> tuple[Settings, list[supervise.Supervised]]:
    """Start the bundled servers, unless the user named others. Return the settings with all addresses."""
    supervised = []
    if settings.own_kafka:
        kafka.check_reachable(settings.kafka)
        say_on(console, f"Kafka: yours at {settings.kafka}")
    else:
        with bar(console, "Fetching Kafka's jars") as show:
            jar_files = jars.ensure_jars(progress=show)
        server = kafka.start_kafka(home, jar_files=jar_files, port=settings.kafka_port)
        supervised.append(supervise.supervise_server(server, time.monotonic()))
        settings = settings.model_copy(update={"kafka": server.address})
        say_on(console, f"Kafka: {_how(server)} at {server.address}, process {server.pid}")
    if settings.own_redis:
        valkey.check_reachable(settings.redis)
        say_on(console, f"Redis: yours at {hide_password(settings.redis)}")
    else:
        server = valkey.start_valkey(home, port=settings.redis_port)
        supervised.append(supervise.supervise_server(server, time.monotonic()))
        settings = settings.model_copy(update={"redis": valkey.url_of(server)})
        say_on(console, f"Valkey: {_how(server)} at {server.address}, process {server.pid}")
    return settings, supervised


def _how(server: servers.Server) -> str:
    return "still running" if server.adopted else "started"


@dataclass(frozen=True, slots=True)
class _SampleFiles:
    """The files with the progress of the sample traffic, for one topic of one Kafka."""

    progress: Path
    bookmark: Path


def _sample_files(home: Path, settings: Settings) -> _SampleFiles:
    directory = home / "sample"
    directory.mkdir(exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{settings.kafka}-{settings.topic}")
    return _SampleFiles(directory / f"{name}.progress", directory / f"{name}.bookmark")


def _services(
    settings: Settings, home: Path, sample: _SampleFiles | None
) -> list[supervise.Service]:
    directory = home / "parts"
    directory.mkdir(exist_ok=True)
    environment = {**os.environ, **as_environment(settings), "PYTHONUNBUFFERED": "1"}
    options: dict[str, tuple[str, ...]] = {"worker": (), "api": (), "directory": ()}
    if sample is not None:
        options["simulate"] = ("--progress-file", str(sample.progress))
        options["simulate"] += ("--bookmark-file", str(sample.bookmark))
    return [
        supervise.Service(
            role=role,
            command=(sys.executable, "-P", "-m", "deploy.cli.main", role, *options[role]),
            environment=environment,
            directory=directory,
        )
        for role in SERVICES
        if role in options
    ]


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Lock the home directory. The system releases the lock however this process ends."""
    try:
        private_files.make_private(home)
        lock = (home / "up.lock").open("a+")
    except OSError as error:
        raise DeployError(f"{home} cannot be used as home directory: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"Odometer already runs in {home} as process {pid};"
                " stop that one, or give this one another --home and other ports."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _check_room(home: Path) -> None:
    free_bytes = shutil.disk_usage(home).free
    if free_bytes < FREE_BYTES_MIN:
        raise DiskTooFull(
            f"The disk of {home} has {free_bytes // 1_000_000} MB left, and Odometer needs"
            f" {FREE_BYTES_MIN // 1_000_000} MB to start: free some space, or choose another --home."
        )


def _end_leftovers(settings: Settings, home: Path) -> None:
    """End the processes that a killed start left and that this one does not adopt."""
    pidfiles = [home / "parts" / f"{role}.pid" for role in SERVICES]
    if settings.own_kafka:
        pidfiles.append(home / "kafka" / "kafka.pid")
    if settings.own_redis:
        pidfiles.append(home / "valkey" / "valkey.pid")
    _end(pidfiles, SERVICES_GRACE_S)


def _end(pidfiles: list[Path], grace_s: float) -> None:
    found = [processes.adopt(pidfile) for pidfile in pidfiles]
    processes.end_all([child for child in found if child is not None], grace_s)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Handle SIGTERM and a closed terminal like Ctrl-C: raise KeyboardInterrupt."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore a second Ctrl-C while everything is ended: it would leave processes running."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def _handled(handler: "signal._HANDLER") -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, previous in zip(numbers, before, strict=True):
            signal.signal(number, previous)
