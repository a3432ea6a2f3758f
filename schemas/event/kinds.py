"""The kinds of events, and the tenant of an event that names none. Pure."""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["llm", "tts", "stt", "call", "chat", "feedback"]
KINDS: Final[tuple[Kind, ...]] = ("llm", "tts", "stt", "call", "chat", "feedback")
USAGE_KINDS: Final[tuple[Kind, ...]] = ("llm", "tts", "stt")
"""The kinds that are a request to a model."""
DEFAULT_TENANT: Final = "default"
