"""The README names what there is: every setting, every command, and only tests that exist."""

import re
from pathlib import Path

import typer.main

from deploy.cli.main import app
from deploy.settings import CHECKOUT, Settings

README = (CHECKOUT / "README.md").read_text()


def test_every_setting_is_in_the_readme() -> None:
    missing = [name for name in Settings.model_fields if f"`{name.upper()}`" not in README]
    assert not missing


def test_every_command_is_in_the_readme() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert not [name for name in commands if f"`odometer {name}" not in README]


def test_every_file_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:tests|schemas|streams|api|deploy)/[\w./]*)`", README))
    assert named
    assert not [name for name in named if not Path(CHECKOUT, name).exists()]


def test_every_module_is_on_the_map() -> None:
    rows = dict(re.findall(r"^\| `(schemas|streams|api)/` \| (.*) \|$", README, re.MULTILINE))
    for folder, row in rows.items():
        modules = {path.name for path in Path(CHECKOUT, folder).glob("*.py")} - {"__init__.py"}
        unnamed = [name for name in modules if f"`{name}`" not in row and name != "settings.py"]
        assert not unnamed, f"{folder}: {unnamed}"
