"""The ids that providers give to answers, each to one answer only. Pure."""

from __future__ import annotations

import base64
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


_WRAPPED: Final = "resp_bGl0ZWxsb"
"""How the ids begin that LiteLLM gives to responses: base64 of `litellm:`, names of its own and
`response_id:` with the provider's id."""


def is_wrapped(event_id: str) -> bool:
    """Whether LiteLLM has put its own names around a provider's id."""
    return event_id.startswith(_WRAPPED)


def plain_answer_id(event_id: str) -> str:
    """The provider's own id, without what LiteLLM puts around it: other reports of the answer have it."""
    if not is_wrapped(event_id):
        return event_id
    try:
        said = base64.b64decode(event_id.removeprefix("resp_"), validate=True).decode()
    except ValueError:
        return event_id
    inner = said.rpartition("response_id:")[2]
    return inner if is_answer_id(inner) else event_id
