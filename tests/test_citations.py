"""Docstrings, comments and pages cite only files and modules that are in the repository."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from os.path import normpath
from pathlib import Path
from typing import Final

import pytest

from tests.test_layout import PRODUCT, ROOT, tracked

TOP: Final = (*PRODUCT, "tests")
FILES: Final = set(tracked())
FOLDERS: Final = {parent for path in FILES for parent in path.parents}
NAMES: Final = {path.name for path in FILES}
PAGES: Final = [path for path in tracked("*.md") if path.name != "CHANGELOG.md"]
"""The change log names files as they were called at the time."""
SOURCES: Final = [path for path in tracked("*.py", "*.lua") if path.parts[0] in TOP]

_PATH: Final = re.compile(
    r"(?<![\w/.@:{<-])((?:[\w.-]+/)*[\w-]+\.(?:py|lua|md|json|toml|yaml|txt))\b"
)
_OURS: Final = re.compile(r"`((?:schemas|streams|api|deploy|tests)(?:/[\w.-]+)+)/?`")
_MODULE: Final = re.compile(r"`((?:schemas|streams|api|deploy|tests)(?:\.\w+)+)(?:\(\))?`")
_RUN: Final = re.compile(r"python -m ((?:schemas|streams|api|deploy|tests)(?:\.\w+)+)")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def prose_of(path: Path) -> Iterator[str]:
    """The docstrings and comments of a source file."""
    text = (ROOT / path).read_text()
    if path.suffix == ".lua":
        yield from re.findall(r"--[^\n]*", text)
        return
    for node in ast.walk(ast.parse(text)):
        # A docstring, or the text under a constant that says why it is so.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def cited(text: str) -> Iterator[str]:
    """The files and modules of this repository that a text claims to name."""
    for path in _PATH.findall(text):
        is_ours = path.split("/")[0] in TOP or path.startswith("seeds/")
        if is_ours or path.endswith((".py", ".lua", ".md")):
            yield path
    yield from _OURS.findall(text)
    for pattern in (_MODULE, _RUN):
        yield from (name for name in pattern.findall(text) if not name.endswith(".com"))


def is_there(name: str, home: Path) -> bool:
    """Whether a file, folder or module of this name is in the repository."""
    if "/" in name:
        paths = (Path(normpath(Path(base) / name)) for base in ("", home.parent))
        return any(path in FILES or path in FOLDERS for path in paths)
    if Path(name).suffix.lstrip(".") in {"py", "lua", "md"}:
        return name in NAMES
    path = Path()
    for part in name.split("."):
        if (path / part).with_suffix(".py") in FILES:
            return True  # what follows are names in this module
        if path / part not in FOLDERS:
            package = ROOT / path / "__init__.py"
            return package.is_file() and re.search(rf"\b{part}\b", package.read_text()) is not None
        path /= part
    return True


def missing(path: Path, texts: Iterable[str]) -> list[str]:
    names = {name for text in texts for name in cited(text)}
    return sorted(name for name in names if not is_there(name, path))


def test_docstrings_and_comments_cite_what_is_there() -> None:
    found = {str(path): missing(path, prose_of(path)) for path in SOURCES}
    assert {path: names for path, names in found.items() if names} == {}


def test_pages_name_what_is_there() -> None:
    found = {str(path): missing(path, [(ROOT / path).read_text()]) for path in PAGES}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = {link.split("#")[0] for link in _LINK.findall((ROOT / page).read_text())}
    relative = {link for link in links if link and not re.match(r"[a-z]+:|/", link)}
    assert [link for link in sorted(relative) if not (ROOT / page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "text",
    [
        "see streams/no_such.py",
        "the rule of design.md",
        "as seeds/agentlens.txt has it",
        "`schemas/no_such`",
        "`streams.no_such.Store`",
        "`streams.core.no_such.Store`",
        "python -m tests.bench.no_such",
        "contracts/no_such.md",
    ],
)
def test_a_citation_of_nothing_is_found(text: str) -> None:
    assert missing(Path("streams/worker/loop.py"), [text])


@pytest.mark.parametrize(
    "text",
    [
        "see schemas/store/layout.py, and schemas/contracts/producers.md",
        "`directory.lua` writes it",
        "`schemas.store.layout.Meta.complete_through_ms`",
        "`tests/simulation` and `schemas/event/`",
        "curl http://127.0.0.1:3400/api/v1/docs.md -d @events.json",
    ],
)
def test_what_is_there_is_no_finding(text: str) -> None:
    assert missing(Path("schemas/store/directory.py"), [text]) == []
