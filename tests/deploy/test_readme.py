"""The pages of operating name what there is: every setting, command, refusal and line of status."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import typer.main

from deploy.cli.main import app
from deploy.settings import CHECKOUT, Settings
from schemas.errors import Reason
from streams.core.ports import RefusalReason
from streams.operations.status import Status
from tests.deploy.test_documents import PAGES

README: Final = (CHECKOUT / "deploy" / "README.md").read_text()
RUNBOOK: Final = (CHECKOUT / "deploy" / "RUNBOOK.md").read_text()
FOUND: Final = tuple(page for name in PAGES if (page := CHECKOUT / name).exists())


def sections(page: str, title: str) -> dict[str, str]:
    """The third-level headings under a second-level one, each with its text."""
    (part,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
    )
    found = re.findall(r"^### ([^\n]*)\n(.*?)(?=^### |\Z)", part, re.MULTILINE | re.DOTALL)
    return dict(found)


def test_every_setting_is_in_the_table_with_its_option() -> None:
    missing = [
        name
        for name in Settings.model_fields
        if f"| `{name.upper()}` | `--{name.replace('_', '-')}` |" not in README
    ]
    assert not missing


def test_every_command_is_named() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert not [name for name in commands if f"| `odometer {name}" not in README]


@pytest.mark.parametrize("page", FOUND, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"`((?:tests|schemas|streams|api|deploy)/[\w./]*)`", text))
    assert not [name for name in named if not Path(CHECKOUT, name).exists()]


def test_the_runbook_has_a_section_for_every_refusal() -> None:
    found = sections(RUNBOOK, "Refusals")
    assert set(found) == {one.name.lower() for one in RefusalReason}
    assert_complete(found)


def test_the_runbook_has_a_section_for_every_line_of_status() -> None:
    found = sections(RUNBOOK, "Lines of `odometer status`")
    names = [name.removesuffix("_ms").replace("_", " ") for name in Status.model_fields]
    assert list(found) == names
    assert_complete(found)


def assert_complete(found: dict[str, str]) -> None:
    for name, text in found.items():
        assert "**Meaning.**" in text, name
        assert "**Check" in text, name
        assert re.search(r"\*\*(Do|Check and do)", text), name


def test_the_runbook_explains_every_reason_of_a_dead_letter() -> None:
    section = sections(RUNBOOK, "Lines of `odometer status`")["dead letters"]
    assert not [reason for reason in Reason if f"| `{reason}` |" not in section]
