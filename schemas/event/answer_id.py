"""The ids that providers give to answers, each to one answer only. Pure."""

from __future__ import annotations

import re
from typing import Final

ANSWER_HEADS: Final = ("msg_", "chatcmpl-", "resp_", "gen-")
_ANSWER_ID: Final = re.compile(
    r"(?:msg_|chatcmpl-|resp_|gen-[0-9]{10}-)(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{16,128}"
)
"""Anthropic's; OpenAI's and those of servers that speak its protocol; OpenRouter's. 16 characters of base
36 are 80 bits."""


def is_answer_id(event_id: str) -> bool:
    """Whether an id is one that a provider gives to an answer, and to no other answer anywhere. Ollama's
    (`chatcmpl-417`) are not: there are 999 of them."""
    return event_id.startswith(ANSWER_HEADS) and _ANSWER_ID.fullmatch(event_id) is not None
