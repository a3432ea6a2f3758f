"""Supervision: a process that ends is reported with its reason and started again, with backoff."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.errors import DeployError
from deploy.local import processes, servers

# The first end may be an accident, so the first wait is short. A process that keeps ending (a full
# disk, a worker that ends at its start) is started twice a minute, which a person can follow.
FIRST_WAIT_S = 0.5
WAIT_S_MAX = 30.0
# After running this long, the next end of a process counts as its first.
STEADY_S = 60.0


@dataclass(slots=True)
class Service:
    """A process of Odometer itself: worker, API, directory or sample traffic."""

    role: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    child: processes.Child | None = None
    output_from: int = 0

    @property
    def output(self) -> Path:
        return self.directory / f"{self.role}.log"

    def start(self) -> None:
        self.output_from = servers.set_aside_if_big(self.output)
        self.child = processes.spawn(
            self.command,
            role=self.role,
            pidfile=self.directory / f"{self.role}.pid",
            output=self.output,
            env=self.environment,
            cwd=self.directory,
        )

    def rotate(self) -> None:
        if servers.rotate_if_big(self.output):
            self.output_from = 0

    def is_running(self) -> bool:
        return self.child is not None and processes.is_running(self.child)

    def reason(self) -> str:
        if self.child is None:
            return "it was never started"
        return servers.reason_of_end(self.child, self.output, self.output_from)


@dataclass(slots=True)
class Supervised:
    """Something that should run: a check whether it does, why it ended, and how to start it."""

    role: str
    is_running: Callable[[], bool]
    reason: Callable[[], str]
    start: Callable[[], None]
    failures: int = field(default=0)
    up_since_s: float = field(default=0.0)
    due_s: float | None = field(default=None)


def supervise_service(service: Service, now_s: float) -> Supervised:
    return Supervised(
        service.role, service.is_running, service.reason, service.start, up_since_s=now_s
    )


def supervise_server(server: servers.Server, now_s: float) -> Supervised:
    role = server.spec.role
    return Supervised(role, server.is_running, server.reason, server.restart, up_since_s=now_s)


def check(supervised: Supervised, now_s: float) -> str | None:
    """Check one of them and start it again if it is due. Return a line to print, or None."""
    if supervised.due_s is None:
        if supervised.is_running():
            if now_s - supervised.up_since_s >= STEADY_S:
                supervised.failures = 0
            return None
        return f"{supervised.role} ended: {supervised.reason()}; {_schedule_restart(supervised, now_s)}"
    if now_s < supervised.due_s:
        return None
    supervised.due_s = None
    supervised.up_since_s = now_s
    try:
        supervised.start()
    except DeployError as error:
        return f"{error} Next: {_schedule_restart(supervised, now_s)}"
    return None


def _schedule_restart(supervised: Supervised, now_s: float) -> str:
    wait_s = min(WAIT_S_MAX, FIRST_WAIT_S * 2**supervised.failures)
    supervised.failures += 1
    supervised.due_s = now_s + wait_s
    return f"it is started again in {wait_s:g} s."
