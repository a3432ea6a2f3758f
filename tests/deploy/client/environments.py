"""An environment as a producer's app has it: empty but for the client, which pip installs.

No index is asked: the wheels of the client's dependencies are packed again from what is installed
here, so that these tests run without a network.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from deploy.client.build import build
from deploy.local.servers import plain_environment


@dataclass(frozen=True)
class Environment:
    python: Path
    site_packages: Path

    def run(self, *words: str, cwd: Path) -> str:
        """What a program of the environment prints; it must print no warning or error."""
        done = subprocess.run(
            [self.python, "-W", "error", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=cwd,
            env=plain_environment(),
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout


def client_environment(directory: Path, extra: str = "") -> Environment:
    """A new environment with the client in it; `extra` may be "[kafka]"."""
    wheels = directory / "wheels"
    client = build(wheels)
    for needed in needed_by_client(client, extra.strip("[]")):
        repack(needed, wheels)
    venv = directory / "venv"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run(
        [*pip, "--python", python, "install", "--quiet", "--no-index", "--find-links", wheels,
         f"odometer-client{extra}"],
        check=True,
        env=plain_environment(),
    )  # fmt: skip
    (site_packages,) = venv.glob("lib/python*/site-packages")
    return Environment(python, site_packages)


def needed_by_client(client: Path, extra: str = "") -> set[str]:
    """The distributions that pip must find beside the client, directly or not."""
    with zipfile.ZipFile(client) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        lines = wheel.read(name).decode().split("\n\n")[0].splitlines()
    waiting = [one.removeprefix("Requires-Dist: ") for one in lines if "Requires-Dist" in one]
    found: set[str] = set()
    while waiting:
        one = Requirement(waiting.pop())
        applies = one.marker is None or one.marker.evaluate({"extra": "" if found else extra})
        if (one.marker is None or applies) and one.name not in found:
            found.add(one.name)
            waiting += distribution(one.name).requires or ()
    return found


def repack(name: str, out: Path) -> None:
    """An installed distribution as the wheel that it came from, but for compiled bytecode."""
    found = distribution(name)
    tags = [line.removeprefix("Tag: ") for line in _text(found, "WHEEL").splitlines()
            if line.startswith("Tag: ")]  # fmt: skip
    stem = f"{found.metadata['Name'].replace('-', '_')}-{found.version}"
    with zipfile.ZipFile(out / f"{stem}-{tags[0]}.whl", "w") as wheel:
        for path in _files(found):
            wheel.write(Path(str(found.locate_file(path))), path)


def _files(found: Distribution) -> Iterator[str]:
    own = {"INSTALLER", "REQUESTED", "direct_url.json"}
    for path in found.files or ():
        if path.suffix != ".pyc" and path.name not in own and ".." not in path.parts:
            yield str(path)


def _text(found: Distribution, name: str) -> str:
    text = found.read_text(name)
    assert text is not None
    return text
