"""Child processes that outlive their parent: start, adopt and end them by pid and start time.

The system reuses pids, so a pid alone does not identify a process. A pidfile holds the pid and the
start time, since the system's boot and by the clock. A process with the same pid and another start time
belongs to somebody else and is left alone. Processes are never looked up by name.
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

# The times in a pidfile are read just before the fork. A busy machine stays below this difference, and no
# system reuses a pid within it.
START_SKEW_MS_MAX = 5_000

# By so much the clock may have been corrected since the start. The time since the boot does not tell a
# process of this boot from one of an earlier boot; the clock does.
CLOCK_SKEW_MS_MAX = 24 * 3_600_000

# The child writes its own pidfile and then becomes the command, with the same pid and start time. So
# it never runs without a pidfile, even if its parent is killed in between.
# $0 pidfile, $1 role, $2 start in ms, $3 the same since the boot; the command follows.
_LAUNCHER = """\
printf '{"pid": %d, "started_ms": %d, "since_boot_ms": %d, "role": "%s"}' "$$" "$2" "$3" "$1" > "$0.new" \
&& mv -f "$0.new" "$0" && shift 3 && exec "$@"
"""


class ProcessIdentity(BaseModel):
    """The content of a pidfile: pid, start time and role of a process. `since_boot_ms` is the start time
    since the system's boot: no correction of the clock changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started_ms: int
    since_boot_ms: int
    role: str


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours. `popen` is None if another process started it and this one adopted it."""

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
    """Start `command` and append its output to `output`.

    It runs in a new session, so that Ctrl-C in the terminal does not reach it.
    """
    pidfile.parent.mkdir(parents=True, exist_ok=True)
    started_ms = time.time_ns() // 1_000_000
    since_boot_ms = started_ms - _boot_ms()
    launched = ["/bin/sh", "-c", _LAUNCHER, str(pidfile), role, str(started_ms), str(since_boot_ms)]
    with output.open("ab") as sink:
        popen = subprocess.Popen(
            [*launched, *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(env),
            cwd=cwd,
        )
    identity = ProcessIdentity(
        pid=popen.pid, started_ms=started_ms, since_boot_ms=since_boot_ms, role=role
    )
    return Child(identity, pidfile, popen)


def adopt(pidfile: Path) -> Child | None:
    """Return the process of `pidfile` if it still runs. Otherwise remove the pidfile."""
    try:
        identity = ProcessIdentity.model_validate_json(pidfile.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        # The launcher renames a complete file: this one is not ours, or the disk is damaged.
        pidfile.unlink(missing_ok=True)
        return None
    if _find(identity) is None:
        pidfile.unlink(missing_ok=True)
        return None
    return Child(identity, pidfile, None)


def command_of(child: Child) -> list[str]:
    """Return the command line of the process, empty if it has ended."""
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
    """Send a signal, if the process still runs."""
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
    """Return `exit code 3` or `killed by SIGKILL`; empty if another process is its parent."""
    code = None if child.popen is None else child.popen.poll()
    if code is None:
        return ""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def end(child: Child, grace_s: float) -> bool:
    """Stop the process; kill it after `grace_s`. Return False if it was killed."""
    return end_all([child], grace_s)


def end_all(children: Sequence[Child], grace_s: float) -> bool:
    """Stop all of them at once, with one deadline. Return False if one was killed."""
    for child in children:
        send(child, signal.SIGTERM)
        # A paused process handles the signal only after it continues.
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
    """Send SIGKILL and wait until the process has ended: the kernel may need a moment."""
    send(child, signal.SIGKILL)
    wait_gone(child, timeout_s=_KILLED_GONE_S)


# After SIGKILL the kernel may still finish a write to disk.
_KILLED_GONE_S = 10.0


def _find(identity: ProcessIdentity) -> psutil.Process | None:
    try:
        process = psutil.Process(identity.pid)
        started_ms = int(process.create_time() * 1000)
        since_boot_ms = started_ms - _boot_ms()
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    is_of_this_boot = abs(started_ms - identity.started_ms) <= CLOCK_SKEW_MS_MAX
    is_same = abs(since_boot_ms - identity.since_boot_ms) <= START_SKEW_MS_MAX
    return process if is_of_this_boot and is_same else None


def _boot_ms() -> int:
    """When the system was started, by the clock of now."""
    return int(psutil.boot_time() * 1000)
