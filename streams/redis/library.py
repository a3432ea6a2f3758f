"""The library of the counters' functions: its Lua files, its version and its code.

The library's name carries a digest of its text, and a library is never replaced: two versions of a
worker each call the functions that they were tested with.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from schemas.store import directory

FILES: Final = (
    "chats.lua",
    "meta.lua",
    "remembered.lua",
    "pages.lua",
    "closing.lua",
    "names.lua",
    "commit.lua",
    "generations.lua",
)
"""In this order, as each uses the functions of those before it, and all use those of
schemas/store/directory.lua."""

_TEXT: Final = directory.LUA + "".join(
    (Path(__file__).parent / "lua" / name).read_text() for name in FILES
)
VERSION: Final = hashlib.sha256(_TEXT.encode()).hexdigest()[:12]
CODE: Final = f"#!lua name=odometer_{VERSION}\n" + _TEXT.replace("@VERSION@", VERSION)
