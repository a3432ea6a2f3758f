"""deploy/up before anything is installed: each missing thing is reported in one sentence."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.local import servers
from deploy.settings import CHECKOUT

# What deploy/up needs before it has a virtual environment.
FIRST_FILES = ("deploy/up", "deploy/venv.sh", "deploy/install.py", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose lock wants one small package of ours."""
    root = tmp_path / "a checkout"
    (root / "deploy").mkdir(parents=True)
    for name in FIRST_FILES:
        shutil.copy(CHECKOUT / name, root / name)
    (root / "deploy" / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    return root


def up(checkout: Path, **environment: str) -> tuple[int, list[str]]:
    """Run deploy/up with nothing in its environment but these; no HOME, no stdin, another folder."""
    bin_directory = checkout.parent / "bin"
    bin_directory.mkdir(exist_ok=True)
    if not (bin_directory / "python3").exists():
        (bin_directory / "python3").symlink_to(sys.executable)
    path = f"{bin_directory}:/usr/bin:/bin"
    done = subprocess.run(
        [checkout / "deploy" / "up"],
        cwd="/",
        env={"PATH": path} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_no_network_at_the_first_start_is_one_sentence(checkout: Path) -> None:
    nowhere = f"http://127.0.0.1:{servers.free_port()}/simple"
    code, said = up(checkout, PIP_INDEX_URL=nowhere)
    assert code == 1
    assert said[-1].startswith("The first start must download packages, and the network failed")
    assert str(checkout / ".odometer" / "install.log") in said[-1]
    assert "tiny" in (checkout / ".odometer" / "install.log").read_text()
    assert not list((checkout / ".venv").glob(".odometer-requirements*"))


def test_a_package_with_another_content_is_refused(checkout: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\n")
    code, said = up(checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    assert code == 1
    assert said[-1].startswith("A package does not match its digest in the lock file: rejected")


@pytest.mark.parametrize("named", [False, True], ids=["in PATH", "in ODOMETER_PYTHON"])
def test_an_old_python_is_one_sentence(checkout: Path, *, named: bool) -> None:
    bin_directory = checkout.parent / "bin"
    bin_directory.mkdir()
    old = bin_directory / "python3"
    # It answers as the launcher asks: it is not new enough.
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.8.20 && exit 0\nexit 1\n')
    old.chmod(0o755)
    for name in ("python", "python3.11", "python3.12", "python3.13", "python3.14"):
        (bin_directory / name).symlink_to("python3")
    code, said = up(checkout, **({"ODOMETER_PYTHON": str(old)} if named else {}))
    assert code == 1
    assert len(said) == 1
    assert said[0].startswith("ODOMETER_PYTHON is" if named else "Odometer needs Python 3.11")
    assert not (checkout / ".venv").exists()


def test_a_killed_installation_starts_from_scratch(checkout: Path) -> None:
    up(checkout, PIP_NO_INDEX="1")
    left_over = checkout / ".venv" / "half-written"
    left_over.touch()
    assert (checkout / ".venv" / ".odometer-unfinished").exists()
    up(checkout, PIP_NO_INDEX="1")
    assert not left_over.exists()


def test_the_scripts_are_executable() -> None:
    for name in ("deploy/up", "deploy/test", ".ci/run"):
        assert os.access(CHECKOUT / name, os.X_OK)


def test_compose_has_the_versions_of_the_bundled_servers_and_publishes_on_loopback() -> None:
    compose = (CHECKOUT / "deploy" / "compose.yaml").read_text()
    kafka_pin = (CHECKOUT / "deploy" / "local" / "kafka-jars.txt").read_text()
    kafka_version = kafka_pin.partition("org.apache.kafka:kafka_2.13:")[2].split()[0]
    assert f"image: apache/kafka:{kafka_version}\n" in compose
    locked = (CHECKOUT / "deploy" / "requirements.txt").read_text()
    valkey_version = locked.partition("\nvalkeylite==")[2].split()[0]
    image = compose.partition("image: valkey/valkey:")[2].split()[0]
    assert valkey_version.startswith(f"{image}.")
    published = [line.strip() for line in compose.splitlines() if line.strip().startswith('- "1')]
    assert len(published) == 2
    assert all(line.startswith('- "127.0.0.1:') for line in published)
