"""JSON as every endpoint writes it: compact, with integers of any size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


def to_json(content: Mapping[str, Any] | Sequence[Any] | msgspec.Struct) -> bytes:
    """UTF-8 bytes, without spaces. A sum may have more than 64 bits."""
    try:
        return msgspec.json.encode(content)
    except OverflowError:  # msgspec stops at 64 bits; JSON has no such limit
        plain = msgspec.to_builtins(content)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
