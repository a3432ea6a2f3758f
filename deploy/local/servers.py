"""A local server as a process: start it until it answers, adopt it if it still runs, end it.

Kafka and Valkey differ in command, configuration and readiness. These are a `ServerSpec`, which
`deploy.local.kafka` and `deploy.local.valkey` make. The tests and `odometer up` use the same code.
"""

import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.errors import PortTaken, ServerFailed
from deploy.local import private_files, processes

HOST = "127.0.0.1"

# Kafka starts in 3 to 4 s on two idle cores. On a busy machine it takes ten times as long.
START_DEADLINE_S = 60.0
# Pause between two readiness checks: short compared with 3 s, and each check costs one connection.
READY_PAUSE_S = 0.05
# A clean stop takes Kafka 1 to 2 s and Valkey 0.1 s. Both survive SIGKILL: the start after it is at
# most a second slower, so a longer wait gains little.
STOP_GRACE_S = 6.0
# Read so much from the end of a log: the reason is among its last lines, about one screen.
REASON_BYTES_MAX = 4_000
# A larger output file is renamed to .old at a start; one .old file is kept.
OUTPUT_BYTES_MAX = 5_000_000

# With less space than this the disk is full. Kafka ends when a write fails, and at its end it may free
# as much as the index of one segment.
FULL_BYTES = 10_500_000

# Below the ports that Linux (from 32768) and macOS (from 49152) give to clients, and above those of
# well-known services.
FREE_PORTS_FROM = 20_000
FREE_PORTS_UNTIL = 30_000
FREE_PORT_ATTEMPTS_MAX = 100


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """How to start one server in `directory`, and how to check that it is ready."""

    role: str
    port: int
    ports_needed: tuple[int, ...]
    directory: Path
    command: tuple[str, ...] = field(repr=False)
    # Name and content, written before each start, for the owner only: a configuration may have a
    # password. A process that has other files is not adopted.
    files: tuple[tuple[str, str], ...] = field(repr=False)
    prepare: Callable[[], None]
    # Whether the process with this pid answers and is ready to work. Never raises.
    is_ready: Callable[[int], bool]

    @property
    def pidfile(self) -> Path:
        return self.directory / f"{self.role}.pid"

    @property
    def output(self) -> Path:
        return self.directory / f"{self.role}.out"


@dataclass(slots=True)
class Server:
    """A started server: one process, with methods to kill, pause, stop and restart it."""

    spec: ServerSpec
    child: processes.Child
    adopted: bool
    output_from: int = field(default=0)

    @property
    def host(self) -> str:
        return HOST

    @property
    def port(self) -> int:
        return self.spec.port

    @property
    def address(self) -> str:
        return f"{HOST}:{self.spec.port}"

    @property
    def pid(self) -> int:
        return self.child.pid

    def is_running(self) -> bool:
        return processes.is_running(self.child)

    def kill(self) -> None:
        """Send SIGKILL: the process flushes nothing."""
        processes.kill(self.child)

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open, and the server does not answer."""
        processes.send(self.child, signal.SIGSTOP)

    def resume(self) -> None:
        processes.send(self.child, signal.SIGCONT)

    def stop(self, grace_s: float = STOP_GRACE_S) -> bool:
        """Stop it cleanly and return True; kill it after `grace_s` and return False.

        Stopping it twice does no harm.
        """
        return processes.end(self.child, grace_s)

    def restart(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Stop it if it runs, and start it again on the same data and port."""
        self.stop()
        started = start(self.spec, deadline_s)
        self.child, self.adopted = started.child, started.adopted
        self.output_from = started.output_from

    def reason(self) -> str:
        """Return why it ended, from the system and its own output."""
        return reason_of_end(self.child, self.spec.output, self.output_from)


def start(spec: ServerSpec, deadline_s: float = START_DEADLINE_S) -> Server:
    """Start the server and wait until it answers. If it still runs from before, adopt it."""
    leftover = processes.adopt(spec.pidfile)
    if leftover is not None:
        if _is_as_specified(spec, leftover) and spec.is_ready(leftover.pid):
            return Server(spec, leftover, adopted=True)
        processes.end(leftover, STOP_GRACE_S)
    for port in spec.ports_needed:
        check_port_free(port, spec.role)
    private_files.make_private(spec.directory)
    for name, content in spec.files:
        private_files.write_private(spec.directory / name, content)
    spec.prepare()
    output_from = set_aside_if_big(spec.output)
    child = processes.spawn(
        spec.command,
        role=spec.role,
        pidfile=spec.pidfile,
        output=spec.output,
        env=plain_environment(),
        cwd=spec.directory,
    )
    server = Server(spec, child, adopted=False, output_from=output_from)
    try:
        _wait_ready(server, deadline_s)
    except BaseException:
        # Interrupted or failed: the caller gets no handle, so the process must not stay.
        processes.kill(child)
        raise
    return server


def check_port_free(port: int, role: str) -> None:
    """Raise PortTaken if another process listens; name it if the system tells."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do it: a connection that was closed a moment ago does not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(
                f"Port {port}, where {role} should listen, is taken{_by_whom(port)}: {error.strerror}."
                " Stop that process, or choose another port (see --help)."
            ) from error


def free_port() -> int:
    """Return a port that is free now, for tests.

    It is not one of the ports that the system gives to clients. A client that retries such a port
    while its server is down sometimes connects to itself, and then occupies the port.
    """
    for _attempt in range(FREE_PORT_ATTEMPTS_MAX):
        port = FREE_PORTS_FROM + secrets.randbelow(FREE_PORTS_UNTIL - FREE_PORTS_FROM)
        try:
            check_port_free(port, "a server")
        except PortTaken:
            continue
        return port
    raise PortTaken(f"No free port found between {FREE_PORTS_FROM} and {FREE_PORTS_UNTIL}.")


def plain_environment() -> dict[str, str]:
    """Return the environment of a server. It is short, as Java and Valkey read many variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def set_aside_if_big(output: Path) -> int:
    """Rename an output file that is too large. Return the offset at which new output begins."""
    try:
        size = output.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= OUTPUT_BYTES_MAX:
        return size
    output.replace(output.with_suffix(output.suffix + ".old"))
    return 0


def rotate_if_big(output: Path) -> bool:
    """Move the content of an output file that is too large to .old, while its process goes on writing.

    The process appends, so it continues at the new end. Lines of the instant in between may be lost.
    """
    try:
        if output.stat().st_size <= OUTPUT_BYTES_MAX:
            return False
        shutil.copyfile(output, output.with_suffix(output.suffix + ".old"))
        os.truncate(output, 0)
    except FileNotFoundError:
        return False
    return True


def reason_of_end(child: processes.Child, output: Path, output_from: int) -> str:
    """Return a clause with the likely reason, from the process's output since `output_from`."""
    how = processes.how_it_ended(child)
    text = _text_since(output, output_from)
    if "No space left on device" in text or _disk_is_full(output.parent):
        return f"the disk of {output.parent} is full"
    if how.startswith("killed"):
        return f"{how} (see {output})"  # it could not write a reason
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    loud = [line for line in lines if "FATAL" in line or "ERROR" in line or "rror:" in line]
    # If no line has an error, the last line of a process that ended by itself may say why.
    said = (loud or (lines if how else []) or ["its output has no reason"])[-1]
    return f"{how}: {said} (see {output})" if how else f"{said} (see {output})"


def _disk_is_full(directory: Path) -> bool:
    """Return whether the disk is full: then the process could not even write the reason."""
    return shutil.disk_usage(directory).free < FULL_BYTES


def _text_since(output: Path, output_from: int) -> str:
    try:
        with output.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(output_from, size - REASON_BYTES_MAX))
            return log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _is_as_specified(spec: ServerSpec, leftover: processes.Child) -> bool:
    """Return whether the process has the command and the files that would be started now."""
    written = ((spec.directory / name, content) for name, content in spec.files)
    return processes.command_of(leftover) == list(spec.command) and all(
        path.is_file() and path.read_text(encoding="utf-8") == content for path, content in written
    )


def _wait_ready(server: Server, deadline_s: float) -> None:
    give_up_at = time.monotonic() + deadline_s
    while not server.spec.is_ready(server.pid):
        if not server.is_running():
            raise ServerFailed(f"{server.spec.role} ended while it started: {server.reason()}.")
        if time.monotonic() > give_up_at:
            raise ServerFailed(
                f"{server.spec.role} did not answer on {server.address} within {deadline_s:.0f} s:"
                f" {server.reason()}."
            )
        time.sleep(READY_PAUSE_S)


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,):
                if connection.pid is None:
                    return ""
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        return ""  # some systems show it only to root
    return ""
