"""Builds the wheel of `odometer-client`: the meter, for apps that have no Odometer.

    python -m deploy.client.build --out DIR

The wheel holds `streams.meter` and every module of this repository that it imports, directly or
not. All of them move under one package, `odometer`, so that an app may have its own `schemas` or
`streams`. The build fails if one of them imports a package that is not a dependency of the client.
Standard library only. The same checkout always gives the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ENTRY: Final = "streams.meter"
OURS: Final = {"schemas": "odometer._schemas", "streams": "odometer._streams"}
"""Each package of this repository, and its new name in the wheel."""
REQUIRED: Final = {"msgspec": "msgspec>=0.19"}
KAFKA: Final = {"aiokafka": "aiokafka>=0.12,<0.15"}
"""Imported packages, and how the wheel requires them: always, and for the extra `kafka`."""
NAME: Final = "odometer-client"
_WRITTEN: Final = (1980, 1, 1, 0, 0, 0)
_README: Final = Path("streams/meter/README.md")


class CannotBuild(Exception):
    """A module of the client imports what the client must not need."""


def build(out: Path, root: Path = ROOT) -> Path:
    """Writes the wheel into `out` and returns its path."""
    version = _project(root)["version"]
    info = f"{NAME.replace('-', '_')}-{version}.dist-info"
    files = {
        **package_files(root),
        f"{info}/METADATA": _metadata(root),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: deploy.client.build\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/licenses/LICENSE": (root / "LICENSE").read_text(encoding="utf-8"),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{NAME.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in files.items():
            wheel.writestr(_entry(name), text)
        wheel.writestr(_entry(f"{info}/RECORD"), _record(files, f"{info}/RECORD"))
    return path


def package_files(root: Path = ROOT) -> dict[str, str]:
    """The files of the package `odometer` and their text, by their path in the wheel."""
    entry = ast.parse((root / "streams/meter/__init__.py").read_text(encoding="utf-8"))
    names = ", ".join(
        alias.name
        for node in entry.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
    exported = "".join(f'    "{name}",\n' for name in names.split(", "))
    files = {
        "odometer/__init__.py": '"""Odometer\'s client: records the usage of models in an app.'
        ' See `Meter`."""\n\n'
        f"from {OURS['streams']}.meter import {names}\n\n__all__ = [\n{exported}]\n",
        "odometer/py.typed": "",
    }
    for module, path in sorted(closure(root).items()):
        text = path.read_text(encoding="utf-8")
        folder = _renamed(module).replace(".", "/")
        is_package = path.name == "__init__.py"
        files[f"{folder}/__init__.py" if is_package else f"{folder}.py"] = rewritten(text)
    return files


def closure(root: Path = ROOT) -> dict[str, Path]:
    """Every module of ours that the meter imports, at import time or later, and its file."""
    found: dict[str, Path] = {}
    waiting = [ENTRY]
    while waiting:
        module = waiting.pop()
        path = _file_of(module, root)
        if module in found or path is None:
            continue
        found[module] = path
        if "." in module:
            waiting.append(module.rpartition(".")[0])
        for imported in _imports(path):
            top = imported.partition(".")[0]
            if top in OURS:
                waiting.append(imported)
            elif top not in sys.stdlib_module_names:
                _check_dependency(module, top)
    return found


def _file_of(module: str, root: Path) -> Path | None:
    """None for a name that a module defines: `from a import b` may import either."""
    path = root.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _check_dependency(module: str, package: str) -> None:
    is_kafka = module.startswith("streams.kafka.")
    if package not in REQUIRED and not (is_kafka and package in KAFKA):
        raise CannotBuild(
            f"{module} imports {package}, which {NAME} does not require: move the import out of"
            f" the modules that {ENTRY} needs"
        )


def rewritten(text: str) -> str:
    """A module's text with its imports of our packages under their names in the wheel."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            raise CannotBuild(f"write `from ... import` for: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and node.module is not None and _is_ours(node.module):
            line = lines[node.lineno - 1]
            old, new = f"from {node.module} import", f"from {_renamed(node.module)} import"
            assert line[node.col_offset :].startswith(old), line
            lines[node.lineno - 1] = line.replace(old, new, 1)
    return "".join(lines).replace(f"from {ENTRY} import", "from odometer import")


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS


def _renamed(module: str) -> str:
    top, dot, rest = module.partition(".")
    return OURS[top] + dot + rest


# -- what a wheel says of itself -------------------------------------------------------------------


def _project(root: Path) -> dict[str, str]:
    project: dict[str, str] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def _metadata(root: Path) -> str:
    project = _project(root)
    headers = [
        "Metadata-Version: 2.4",
        f"Name: {NAME}",
        f"Version: {project['version']}",
        "Summary: Odometer's client: records the usage of LLM and speech models in an app.",
        f"Requires-Python: {project['requires-python']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        *(f"Requires-Dist: {one}" for one in REQUIRED.values()),
        "Provides-Extra: kafka",
        *(f'Requires-Dist: {one}; extra == "kafka"' for one in KAFKA.values()),
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(headers) + "\n\n" + (root / _README).read_text(encoding="utf-8")


def _record(files: Mapping[str, str], own_name: str) -> str:
    lines = []
    for name, text in files.items():
        data = text.encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{own_name},,\n"])


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _WRITTEN)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.client.build",
        description=f"Builds the wheel of {NAME} and prints its path.",
    )
    parser.add_argument("--out", type=Path, required=True, help="The folder to write it into.")
    try:
        path = build(parser.parse_args(words).out)
    except CannotBuild as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
