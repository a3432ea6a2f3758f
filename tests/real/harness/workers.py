"""Worker processes as an operator runs them: started, killed, paused, asked for their health."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.local.servers import free_port, plain_environment
from streams.worker.settings import WorkerSettings
from tests.real.harness import child
from tests.real.harness.child import Change

HEALTH_ANSWER_S: Final = 2.0
LOG_CHARS_SHOWN: Final = 6000
END_S: Final = 10.0
"""What `run_worker` promises after SIGTERM, whatever its servers do."""


@dataclass
class WorkerProcess:
    """One process; whatever became of it, `discard` ends it."""

    settings: WorkerSettings
    monitor_port: int
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        self.process.kill()
        self.process.wait(END_S)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, within_s: float = END_S) -> int:
        """SIGTERM; the exit code, or an error where the process outlives its promise."""
        self.process.terminate()
        return self.process.wait(within_s)

    def has_failed(self) -> bool:
        """Whether it has ended by itself, and not as told."""
        return self.process.poll() not in {None, 0, -signal.SIGKILL}

    def discard(self) -> None:
        if self.process.poll() is None:
            self.kill()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-LOG_CHARS_SHOWN:]

    async def health(self) -> dict[str, Any]:
        """What `/readyz` answers, with its `status`, or {} while the process does not answer."""
        url = f"http://127.0.0.1:{self.monitor_port}/readyz"
        async with httpx.AsyncClient(timeout=HEALTH_ANSWER_S) as client:
            try:
                response = await client.get(url)
            except httpx.TransportError:
                return {}
        return {**response.json(), "status": response.status_code}


def start_worker(
    settings: WorkerSettings,
    directory: Path,
    number: int,
    change: Change | None = None,
    prices: str = "",
) -> WorkerProcess:
    """Starts a process with a monitor on a free port; its output is kept in `directory`.
    `change` runs in it first."""
    port = free_port()
    log = directory / f"worker-{number}.log"
    environment = {
        **plain_environment(),
        "WORKER_SETTINGS": settings.model_dump_json(),
        "WORKER_PRICES": prices,
        "WORKER_MONITOR_PORT": str(port),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            child.command("worker", change),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return WorkerProcess(settings, port, log, process)
