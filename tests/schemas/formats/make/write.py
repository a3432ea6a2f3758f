"""Writes fixtures: what a library made, with the version that made it.

Shared by the scripts of this folder, each of which runs in an environment of its own:
`python tests/schemas/formats/make/openai_objects.py` in one that has that library. The payloads are the
library's own objects, dumped as it would send them. A diff after an upgrade shows what was renamed.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent.parent / "fixtures"


def write(library: str, distribution: str, name: str, body: Any) -> None:
    folder = FIXTURES / library
    folder.mkdir(parents=True, exist_ok=True)
    made = {"made_by": f"{distribution} {version(distribution)}", "body": body}
    text = json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n")
