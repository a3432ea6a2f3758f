"""Creates the virtual environment of a checkout and installs exactly the locked packages.

deploy/up and deploy/test run this with `python -I` before anything is installed, so it uses the
standard library only. It does nothing if lock file, project file, Python and path are unchanged
since the last complete installation.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# Exists while packages are written. A killed installation leaves it, and the next starts from scratch.
UNFINISHED = VENV / ".odometer-unfinished"
LOG = ROOT / ".odometer" / "install.log"

# The test lock contains the whole other lock, in the same versions.
COVERS = {
    "requirements.txt": ("requirements.txt",),
    "requirements-test.txt": ("requirements-test.txt", "requirements.txt"),
}
# 350 MB of installed packages (104 MB are Java), and pip's copies during the installation.
FREE_BYTES_MIN = 1_000_000_000
# Without a network, pip should fail in seconds; a slow index still gets a second attempt.
PIP_RETRIES = 2
PIP_TIMEOUT_S = 15

_NO_NETWORK = (
    "NewConnectionError",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionResetError",
    "Connection refused",
    "ProxyError",
    "Failed to establish a new connection",
)


class InstallFailed(Exception):
    """Shown to the user as one sentence."""


def main(lock_name: str) -> int:
    try:
        # `up` stores its key there later. As in deploy/local/private_files.py.
        LOG.parent.mkdir(mode=0o700, exist_ok=True)
        with (LOG.parent / "install.lock").open("w") as lock:
            _wait_for_turn(lock)
            if not _is_complete(lock_name):
                _install(lock_name)
    except InstallFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"Cannot create the virtual environment {VENV}: {error}.\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the next start installs from scratch.\n")
        return 130
    return 0


def _wait_for_turn(lock: IO[str]) -> None:
    """If two starts install at once, the second waits until the first is done."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("Waiting for another process that installs the packages")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_complete(lock_name: str) -> bool:
    stamp = _stamp(lock_name)
    return (
        not UNFINISHED.exists()
        and (VENV / "bin" / "python").exists()
        and stamp.is_file()
        and stamp.read_text(encoding="utf-8") == _digest(lock_name)
    )


def _stamp(lock_name: str) -> Path:
    return VENV / f".odometer-{lock_name}"


def _digest(lock_name: str) -> str:
    """A digest of all inputs of an installation. Scripts contain the path, so it is one of them."""
    parts = [str(ROOT).encode(), repr(sys.version_info[:2]).encode()]
    parts += [(ROOT / "deploy" / lock_name).read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _install(lock_name: str) -> None:
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise InstallFailed(
            f"The Python at {sys.executable} has no venv module. Install it (Debian and Ubuntu:"
            " apt install python3-venv), or set ODOMETER_PYTHON to another Python."
        )
    free_bytes = shutil.disk_usage(ROOT).free
    if free_bytes < FREE_BYTES_MIN:
        raise InstallFailed(
            f"The disk of {ROOT} has {free_bytes // 1_000_000} MB free, but installing the packages"
            f" needs {FREE_BYTES_MIN // 1_000_000} MB."
        )
    with LOG.open("wb"):
        pass  # each installation starts a new log
    if not _is_usable():
        _say("Creating the virtual environment .venv")
        _run([sys.executable, "-I", "-m", "venv", "--clear", str(VENV)])
    UNFINISHED.touch()
    for name in COVERS:
        _stamp(name).unlink(missing_ok=True)
    lines = (ROOT / "deploy" / lock_name).read_text(encoding="utf-8").splitlines()
    packages = sum(line[:1].isalnum() for line in lines)
    _say(f"Installing {packages} locked packages (the first time, this downloads 150 MB)")
    pip = [str(VENV / "bin" / "python"), "-I", "-m", "pip", "install", "--no-input"]
    pip += ["--disable-pip-version-check", "--progress-bar", "off"]
    pip += ["--retries", str(PIP_RETRIES), "--timeout", str(PIP_TIMEOUT_S)]
    _run([*pip, "--require-hashes", "-r", str(ROOT / "deploy" / lock_name)])
    _run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    for name in COVERS[lock_name]:
        _stamp(name).write_text(_digest(name), encoding="utf-8")
    UNFINISHED.unlink()


def _is_usable() -> bool:
    """Whether the environment is complete and has this Python's version."""
    if UNFINISHED.exists() or not (VENV / "bin" / "python").exists():
        return False
    asked = "import pip, sys; print(*sys.version_info[:2])"
    done = subprocess.run(
        [VENV / "bin" / "python", "-I", "-c", asked], capture_output=True, text=True, check=False
    )
    return done.stdout.split() == [str(number) for number in sys.version_info[:2]]


def _run(command: list[str]) -> None:
    """Runs a command with its output in the log. A terminal shows which package pip installs."""
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                words = line.decode("utf-8", errors="replace").split()
                if words[:1] in (["Collecting"], ["Installing"]):
                    _show(" ".join(words[:2]))
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
            _show("")
    if process.returncode != 0:
        raise InstallFailed(_why(LOG.read_text(encoding="utf-8", errors="replace")))


def _why(log: str) -> str:
    if "No space left on device" in log:
        return f"The disk of {ROOT} became full during the installation (see {LOG})."
    if "DO NOT MATCH THE HASHES" in log:
        return f"A package does not match its digest in the lock file: rejected (see {LOG})."
    if any(sign in log for sign in _NO_NETWORK):
        return (
            "The first start must download packages, and the network failed"
            f" (see {LOG}). Start again when the network works."
        )
    if "CERTIFICATE_VERIFY_FAILED" in log:
        return (
            "pip does not trust the certificate of the package index. If your network has its own"
            f" certificate authority, set PIP_CERT to its file (see {LOG})."
        )
    said = [line for line in log.splitlines() if line.startswith(("ERROR:", "Error:"))]
    reason = said[0].partition(":")[2].strip() if said else "pip gave no reason"
    return f"Cannot install the packages: {reason} (see {LOG})."


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _show(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:70]}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
