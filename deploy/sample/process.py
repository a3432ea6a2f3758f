"""The process of the sample traffic: it shows or stores its progress, and ends by a signal."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from deploy.cli.terminal import bar
from deploy.sample import sender
from deploy.settings import Settings, directory_settings


class HistoryProgress(BaseModel):
    """How much of the history is sent. This process writes it, and `odometer up` reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: int
    total: int

    @property
    def is_whole(self) -> bool:
        return self.done >= self.total


def read_progress(file: Path) -> HistoryProgress | None:
    """Return the progress that was written last, None if there is none."""
    try:
        return HistoryProgress.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


async def send_sample_traffic(
    settings: Settings, console: Console, progress_file: Path | None, bookmark_file: Path | None
) -> None:
    """Send history once, then live events, until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with bar(console, "Sending sample history") as show:
        await sender.name_groups(directory_settings(settings), settings.seed, stop)
        await sender.run(
            settings.kafka,
            settings.topic,
            seed=settings.seed,
            rate_per_s=settings.rate_per_s,
            history_days=settings.history_days,
            progress=show if progress_file is None else _writer(progress_file),
            stop=stop,
            now_ms=lambda: time.time_ns() // 1_000_000,
            bookmark_path=bookmark_file,
        )


def _writer(file: Path) -> Callable[[int, int], None]:
    def write(done: int, total: int) -> None:
        new = file.with_suffix(".new")
        new.write_text(HistoryProgress(done=done, total=total).model_dump_json(), encoding="utf-8")
        new.replace(file)

    return write
