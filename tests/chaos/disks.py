"""Small disks for servers: one tmpfs each. Only root may mount them, and not on every machine."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Final

SIZE_MIB: Final = 96
"""A seed writes some 20 MiB of log, and Kafka's indexes are sparse."""
CHUNK: Final = bytes(1 << 16)
FILLER: Final = "filler"


def are_allowed() -> bool:
    with tempfile.TemporaryDirectory() as name:
        try:
            with small_disk(Path(name)):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """What is written below the directory goes to a disk of SIZE_MIB, which is gone afterwards."""
    directory.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "odometer-chaos", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        # Lazily: whoever still has a file open there keeps it until they end.
        subprocess.run(["umount", "-l", str(directory)], check=True, capture_output=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Nothing more can be written to the small disk of this directory."""
    filler = directory / FILLER
    descriptor = os.open(filler, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        _fill(descriptor)
        yield
    finally:
        os.close(descriptor)
        filler.unlink()


def _fill(descriptor: int) -> None:
    size = len(CHUNK)
    while size:
        try:
            os.write(descriptor, CHUNK[:size])
        except OSError as error:
            if error.errno != ENOSPC:
                raise
            size //= 2
