"""Text from producers, tenants and key names for a terminal: control characters are escaped. Pure.

A terminal carries out what control characters say: it moves the cursor, hides lines, sets its title,
or sends text back as if it was typed. Marks of direction show a line in another order.
"""

from __future__ import annotations

import re
from typing import Final

# Cc: C0 with DEL, and C1, whose U+009B begins a command as ESC [ does. Cf of direction and without
# width. Zl and Zp. Lone surrogates, which cannot be written. Tags, and noncharacters.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)


def escaped(text: str) -> str:
    r"""The text with `\x1b` for an escape character, and so on. It is one line."""
    return _UNSAFE.sub(_as_in_python, text)


def escaped_lines(text: str) -> str:
    """The same, but lines stay lines."""
    return "\n".join(map(escaped, text.split("\n")))


def escaped_json(text: str) -> str:
    """JSON of the same meaning. JSON itself escapes only some of these characters, inside texts."""
    return "\n".join(_UNSAFE.sub(_as_in_json, line) for line in text.split("\n"))


def _as_in_python(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _as_in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
