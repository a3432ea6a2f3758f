"""The house rules that no linter knows: sizes, one meaning a name, and what "pure" may claim."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PRODUCT: Final = ("schemas", "streams", "api", "deploy")
FOLDER_MODULES_MAX: Final = 15
MODULE_LINES_MAX: Final = 400
TEST_LINES_MAX: Final = 600
PURE: Final = ("schemas/", "streams/core/", "api/query/")
"""The folders whose purity an import contract enforces (pyproject.toml)."""


def tracked(*patterns: str) -> list[Path]:
    """The files of the checkout that git knows, or, in a tree without git, those that are there."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        names = {path for pattern in patterns for path in ROOT.rglob(pattern)}
        return sorted(path.relative_to(ROOT) for path in names if ".venv" not in path.parts)
    paths = {Path(line) for line in found.stdout.splitlines()}
    return sorted(path for path in paths if (ROOT / path).is_file())


CODE: Final = [path for path in tracked("*.py", "*.lua") if path.parts[0] in {*PRODUCT, "tests"}]
MODULES: Final = [path for path in CODE if path.suffix == ".py" and path.parts[0] in PRODUCT]


def classes_of(path: Path) -> Iterator[str]:
    tree = ast.parse((ROOT / path).read_text())
    return (node.name for node in tree.body if isinstance(node, ast.ClassDef))


def test_no_folder_is_crowded() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in CODE:
        folders[path.parent] += path.name != "__init__.py"
    assert {str(one): n for one, n in folders.items() if n > FOLDER_MODULES_MAX} == {}


def test_no_module_is_long() -> None:
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in CODE}
    limits = {
        path: TEST_LINES_MAX if path.parts[0] == "tests" else MODULE_LINES_MAX for path in CODE
    }
    assert {str(path): n for path, n in lines.items() if n > limits[path]} == {}


def test_a_class_name_has_one_meaning() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for name in classes_of(path):
            if not name.startswith("_"):
                homes[name].append(str(path))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_a_module_says_what_it_is() -> None:
    texts = {path: (ROOT / path).read_text() for path in MODULES}
    said = {path: ast.get_docstring(ast.parse(text)) or "" for path, text in texts.items()}
    assert [str(path) for path, text in texts.items() if text.strip() and not said[path]] == []


def test_only_a_contract_makes_a_module_pure() -> None:
    """ "Pure." ends a first paragraph only in folders that an import contract keeps so."""
    claims = []
    for path in MODULES:
        docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
        if docstring.split("\n\n")[0].rstrip().endswith("Pure."):
            claims.append(str(path))
    assert [path for path in claims if not path.startswith(PURE)] == []


def test_each_package_draws_its_own_map() -> None:
    """The docstring of a package names each of its modules and folders, and nothing else."""
    wrong = {}
    for package in PRODUCT:
        for init in sorted((ROOT / package).rglob("__init__.py")):
            folder = init.parent
            parts = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
            parts |= {path.parent.name for path in folder.glob("*/__init__.py")}
            drawn = ast.get_docstring(ast.parse(init.read_text())) or ""
            named = {line.split()[0].rstrip("/:") for line in map_lines(drawn)}
            if named != parts:
                name = str(folder.relative_to(ROOT))
                wrong[name] = (sorted(parts - named), sorted(named - parts))
    assert wrong == {}, "(missing in the docstring, not in the folder)"


def map_lines(docstring: str) -> list[str]:
    """The indented lines of a docstring that begin with a name: `name   what it is`."""
    lines = [line for line in docstring.splitlines() if line.startswith("    ")]
    return [line for line in lines if not line.startswith("     ") and line.split()]
