"""The pages of operating name what there is: every setting, command, refusal and line of status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import typer.main

from deploy.cli.main import app
from deploy.settings import CHECKOUT, Settings
from schemas.errors import Reason
from schemas.responses.status import Status
from schemas.store.layout import LIVE, NO_POSITION, RETIRED, Meta, PartitionMeta
from streams.core.ports import OffsetBounds, RefusalReason
from streams.core.resume_checks import generation_detail, refusal_of
from streams.operations.status import refusal_texts
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


def refusals() -> Iterator[tuple[RefusalReason, str]]:
    """Every sentence with which a worker refuses to count."""
    for position, bounds in (
        (NO_POSITION, OffsetBounds(10, 20)),
        (5, OffsetBounds(10, 20)),
        (25, OffsetBounds(10, 20)),
        (15, OffsetBounds(10, 20)),
    ):
        stored = PartitionMeta(position, bytes(16), 14, 1_770_544_800_000, 0, 0, 0)
        refusal = refusal_of(stored, bounds, None)
        assert refusal is not None
        yield refusal
    for state, counted in ((RETIRED, b"a" * 16), (LIVE, b"a" * 15 + b"b"), (LIVE, b"b" * 16)):
        meta = Meta(state, counted, 0, 0, 0, 0, 0, 0, 0, ())
        yield RefusalReason.OTHER_GENERATION, generation_detail(meta, b"a" * 16)


def test_the_runbook_quotes_the_sentence_of_every_refusal() -> None:
    found = sections(RUNBOOK, "Refusals")
    for why, detail in refusals():
        name = why.name.lower()
        shown = refusal_texts({"0": {"reason": name, "detail": detail}})["0"]
        quoted = re.findall(rf"^{name}: [^\n]+$", found[name], re.MULTILINE)
        assert any(re.match(re.escape(one).replace(r"\.\.\.", ".*"), shown) for one in quoted), (
            shown
        )


def assert_complete(found: dict[str, str]) -> None:
    for name, text in found.items():
        assert "**Meaning.**" in text, name
        assert "**Check" in text, name
        assert re.search(r"\*\*(Do|Check and do)", text), name


def test_the_runbook_explains_every_reason_of_a_dead_letter() -> None:
    section = sections(RUNBOOK, "Lines of `odometer status`")["dead letters"]
    assert not [reason for reason in Reason if f"| `{reason}` |" not in section]
