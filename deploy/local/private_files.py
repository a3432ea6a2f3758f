"""Files and directories that only their owner can read: the home of `up`, its key, Valkey's password."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UMASK = 0o077
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


@contextmanager
def only_for_owner() -> Iterator[None]:
    """Create all files and directories without rights for others. Child processes inherit this."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def make_private(directory: Path) -> None:
    """Create the directory. If others could enter it, they no longer can. Raises OSError."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & UMASK:
        directory.chmod(mode & ~UMASK)


def write_private(file: Path, text: str) -> None:
    """Write the file in one step. Other users can read it at no instant, even if they could before."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    new.replace(file)
