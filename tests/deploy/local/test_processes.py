"""Child processes: remembered, adopted, ended; and a pid that was given out again is left alone."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.processes import Child, ProcessIdentity
from deploy.local.servers import plain_environment

SLEEPS = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
IGNORES_TERM = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=1); time.sleep(600)",
)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = start(tmp_path, SLEEPS)
    yield child
    processes.kill(child)


def start(directory: Path, command: tuple[str, ...]) -> Child:
    child = processes.spawn(
        command,
        role="sleeper",
        pidfile=directory / "sleeper.pid",
        output=directory / "sleeper.out",
        env=plain_environment(),
        cwd=directory,
    )
    wait_for_output(directory / "sleeper.out", b"up")
    return child


def wait_for_output(path: Path, expected: bytes) -> None:
    give_up_at = time.monotonic() + 30
    while expected not in path.read_bytes():
        assert time.monotonic() < give_up_at
        os.sched_yield()


def test_a_child_runs_in_a_session_of_its_own_and_is_written_down(child: Child) -> None:
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    written = ProcessIdentity.model_validate_json(child.pidfile.read_bytes())
    assert written == child.identity


def test_a_child_that_still_runs_is_adopted_and_can_be_ended(child: Child) -> None:
    adopted = processes.adopt(child.pidfile)
    assert adopted is not None
    assert adopted.pid == child.pid
    assert adopted.popen is None
    assert processes.command_of(adopted) == list(SLEEPS)
    assert processes.end(adopted, grace_s=10)
    assert not processes.is_running(child)
    assert not child.pidfile.exists()


def test_a_corrected_clock_changes_nothing(child: Child) -> None:
    hour_ms = 3_600_000
    before = child.identity.model_copy(update={"started_ms": child.identity.started_ms - hour_ms})
    child.pidfile.write_text(before.model_dump_json())
    assert processes.adopt(child.pidfile) is not None


@pytest.mark.parametrize(
    ("field", "longer_ms"),
    [
        ("since_boot_ms", processes.START_SKEW_MS_MAX + 1_500),
        ("started_ms", processes.CLOCK_SKEW_MS_MAX + 1_500),
    ],
)
def test_a_pid_that_was_given_out_again_is_left_alone(
    child: Child, field: str, longer_ms: int
) -> None:
    long_before_ms = getattr(child.identity, field) - longer_ms
    reused = child.identity.model_copy(update={field: long_before_ms})
    child.pidfile.write_text(reused.model_dump_json())
    stranger = Child(reused, child.pidfile, popen=None)
    processes.send(stranger, signal.SIGKILL)
    processes.end(stranger, grace_s=0.1)
    child.pidfile.write_text(reused.model_dump_json())
    assert processes.adopt(child.pidfile) is None
    assert not child.pidfile.exists()
    assert processes.is_running(child)


def test_nothing_is_adopted_from_what_is_gone_or_damaged(child: Child) -> None:
    kept = child.pidfile.read_bytes()
    processes.kill(child)
    assert processes.adopt(child.pidfile) is None
    assert not child.pidfile.exists()
    child.pidfile.write_bytes(kept[:10])
    assert processes.adopt(child.pidfile) is None
    assert processes.adopt(child.pidfile.with_name("never.pid")) is None


def test_a_child_that_ignores_the_request_is_made_to_end(tmp_path: Path) -> None:
    stubborn = start(tmp_path, IGNORES_TERM)
    assert not processes.end(stubborn, grace_s=0.2)
    assert not processes.is_running(stubborn)


def test_how_a_child_ended_is_told_by_its_parent_only(child: Child, tmp_path: Path) -> None:
    assert processes.how_it_ended(child) == ""
    adopted = processes.adopt(child.pidfile)
    assert adopted is not None
    processes.kill(child)
    assert processes.how_it_ended(child) == "killed by SIGKILL"
    assert processes.how_it_ended(adopted) == ""
    leaving = start(
        tmp_path, (sys.executable, "-c", "print('up', flush=True); raise SystemExit(3)")
    )
    assert processes.wait_gone(leaving, timeout_s=30)
    assert processes.how_it_ended(leaving) == "exit code 3"


def test_a_stopped_child_ends_within_its_grace(child: Child) -> None:
    processes.send(child, signal.SIGSTOP)
    assert processes.end(child, grace_s=10)
    assert not processes.is_running(child)
