"""The worker's process ends in time, whatever its clients do, and a fold that fails starts again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from deploy.local.servers import plain_environment

END_S = 30.0
"""A busy machine's patience; the promise itself is asked of the process, in STOP_S."""

_HANGS = """
import asyncio, sys, time
from mode import Service
from streams.worker import faust_process, process
from streams.worker.settings import WorkerSettings

faust_process.STOP_S = 1.0
real_build = process.build

class Hanging(Service):
    async def on_started(self):
        print("started", flush=True)

    async def on_stop(self):
        print("stopping", flush=True)
        await asyncio.get_running_loop().create_future()

def build(*given):
    built, supervisor, fold = real_build(*given)
    supervisor.add(Hanging())
    return built, supervisor, fold

process.build = build
sys.exit(process.run_worker(WorkerSettings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1")))
"""


def test_a_process_whose_parts_do_not_stop_is_left_at_the_deadline(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HANGS],
        cwd=tmp_path,
        env=plain_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and line != b"started\n":
            pass
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=END_S)
    finally:
        process.kill()
        process.wait()
    assert b"stopping\n" in said
    assert b"the process exits now, no data is lost" in said
    assert process.returncode == 0
