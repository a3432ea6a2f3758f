"""Child processes that outlive their parent: started apart, remembered by pidfile, ended by identity.

A pid alone is no identity: the system gives it out again. With the time at which its process began
it is one, so a pidfile holds both, and whatever carries the same pid but began at another time is
somebody else's and is left alone. Nothing is ever looked up by name.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

# The time in a pidfile is read just before the fork, and the system's own record of a start moves
# with each correction of the clock: a busy machine and a corrected clock stay below this, and no
# system gives the same pid out twice in it.
START_SKEW_MS_MAX = 5_000

# The child writes its own pidfile and then becomes the command (same pid, same start), so there is
# no moment in which it runs and is not yet written down, even when its parent is killed between.
# $0 pidfile, $1 role, $2 start in ms; the command follows.
_LAUNCHER = """\
printf '{"pid": %d, "started_ms": %d, "role": "%s"}' "$$" "$2" "$1" > "$0.new" \
&& mv -f "$0.new" "$0" && shift 2 && exec "$@"
"""


class ProcessIdentity(BaseModel):
    """Which process: its pid, when it began, and what it is for. This is a pidfile's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started_ms: int
    role: str


@dataclass(frozen=True, slots=True)
class Child:
    """A process that is ours: `popen` where this process started it, None where it was adopted."""

    identity: ProcessIdentity
    pidfile: Path
    popen: subprocess.Popen[bytes] | None

    @property
    def pid(self) -> int:
        return self.identity.pid


def spawn(
    command: Sequence[str],
    *,
    role: str,
    pidfile: Path,
    output: Path,
    env: Mapping[str, str],
    cwd: Path,
) -> Child:
    """Start `command` in a session of its own (a terminal's Ctrl-C is not for it), output appended."""
    pidfile.parent.mkdir(parents=True, exist_ok=True)
    started_ms = time.time_ns() // 1_000_000
    with output.open("ab") as sink:
        popen = subprocess.Popen(
            ["/bin/sh", "-c", _LAUNCHER, str(pidfile), role, str(started_ms), *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(env),
            cwd=cwd,
        )
    return Child(ProcessIdentity(pid=popen.pid, started_ms=started_ms, role=role), pidfile, popen)


def adopt(pidfile: Path) -> Child | None:
    """Return the process of `pidfile` if it still runs; a pidfile whose process is gone is removed."""
    try:
        identity = ProcessIdentity.model_validate_json(pidfile.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        # The launcher renames a whole file into place: this is none of ours, or a damaged disk.
        pidfile.unlink(missing_ok=True)
        return None
    if _find(identity) is None:
        pidfile.unlink(missing_ok=True)
        return None
    return Child(identity, pidfile, None)


def command_of(child: Child) -> list[str]:
    """Return the command line that the process runs now, empty if it is gone."""
    try:
        process = _find(child.identity)
        return [] if process is None else process.cmdline()
    except psutil.Error:
        return []


def is_running(child: Child) -> bool:
    if child.popen is not None:
        return child.popen.poll() is None
    return _find(child.identity) is not None


def send(child: Child, number: signal.Signals) -> None:
    """Send a signal; a process that is gone already is fine."""
    if not is_running(child):
        return
    try:
        os.kill(child.pid, number)
    except ProcessLookupError:
        return


def wait_gone(child: Child, timeout_s: float) -> bool:
    """Wait until the process has ended; False if it still runs after `timeout_s`."""
    try:
        if child.popen is not None:
            child.popen.wait(timeout_s)
        elif (process := _find(child.identity)) is not None:
            process.wait(timeout_s)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        return False
    return True


def how_it_ended(child: Child) -> str:
    """Return `exit code 3` or `killed by SIGKILL`, empty where only its parent could tell."""
    code = None if child.popen is None else child.popen.poll()
    if code is None:
        return ""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def end(child: Child, grace_s: float) -> bool:
    """Ask the process to end, make it end after `grace_s`; False if it had to be made to."""
    return end_all([child], grace_s)


def end_all(children: Sequence[Child], grace_s: float) -> bool:
    """Ask all of them at once, so that one deadline holds for all; False if one had to be made to."""
    for child in children:
        send(child, signal.SIGTERM)
        # A stopped process takes the request only when it is let go on.
        send(child, signal.SIGCONT)
    give_up_at = time.monotonic() + grace_s
    clean = True
    for child in children:
        if not wait_gone(child, max(0.0, give_up_at - time.monotonic())):
            clean = False
            kill(child)
        child.pidfile.unlink(missing_ok=True)
    return clean


def kill(child: Child) -> None:
    """SIGKILL, and wait for it: the kernel may need a moment, but nothing can refuse."""
    send(child, signal.SIGKILL)
    wait_gone(child, timeout_s=_KILLED_GONE_S)


# Between SIGKILL and the end stands only the kernel, for as long as a write to disk takes.
_KILLED_GONE_S = 10.0


def _find(identity: ProcessIdentity) -> psutil.Process | None:
    try:
        process = psutil.Process(identity.pid)
        started_ms = int(process.create_time() * 1000)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process if abs(started_ms - identity.started_ms) <= START_SKEW_MS_MAX else None
