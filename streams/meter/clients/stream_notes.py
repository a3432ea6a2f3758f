"""What the events of a stream say about its answer: OpenAI's, Anthropic's and Gemini's. No I/O.

`StreamNotes.see` takes the decoded events in their order. After the first output only those need to be
decoded that `is_telling` picks: a stream has thousands of pieces of text.
"""

from __future__ import annotations

import re
from typing import Any, Final

from schemas.formats.body import Json
from schemas.formats.vendors.anthropic import final_usage
from schemas.formats.vendors.gemini import USAGE
from schemas.formats.vendors.openai import ENDS, IMAGES, TRANSCRIBED
from streams.meter.clients.reduced import reduced

_TELLING: Final = re.compile(
    rb'"(?:usage|usageMetadata|x_groq|message|response)"\s*:\s*\{|"finish_?[rR]eason"\s*:\s*"|\[DONE\]'
    rb'|"error"\s*:\s*[{"]|"type"\s*:\s*"(?:message_stop|error|transcript\.text\.done|speech\.audio'
    rb'\.done|image_\w+\.completed)"'
)
"""A name before a colon cannot stand in a text: there its quotes have backslashes."""
_SPOKEN: Final = ("content", "tool_calls", "function_call", "refusal", "reasoning",
                  "reasoning_content", "audio")  # fmt: skip
"""Parts of a chat's delta that are output. The first chunk has only the role."""
_WHOLE: Final = TRANSCRIBED | IMAGES | {"speech.audio.done"}
"""Events that are the answer themselves."""


def is_telling(events: bytes) -> bool:
    """Whether one of the events says more than its piece of text."""
    return _TELLING.search(events) is not None


class StreamNotes:
    """The answer so far. `is_complete`: nothing more can come that counts."""

    def __init__(self) -> None:
        self.has_output = False
        self.has_usage = False
        self.is_complete = False
        self.error: str | None = None
        self._answer: dict[str, Any] = {}
        self._has_reason = False

    @property
    def answer(self) -> dict[str, Any]:
        """The answer, reduced, as one object of its API. Candidates of Gemini's without a reason to end
        would say that more comes."""
        if self._has_reason or "candidates" not in self._answer:
            return self._answer
        return {name: value for name, value in self._answer.items() if name != "candidates"}

    @property
    def has_whole_usage(self) -> bool:
        """Whether the usage is that of the whole answer, although the app may not have read its end."""
        return self.has_usage and (self._has_reason or self.is_complete)

    def see(self, event: Json) -> bool:
        """Notes one event; True if it is the extra chunk that has nothing but the usage."""
        kind = event.get("type")
        if isinstance(event.get("error"), dict | str) and kind in {None, "error"}:
            self._fail(event["error"])
        elif str(event.get("object")).endswith(("completion.chunk", "text_completion")):
            return self._chunk(event)
        elif any(name in event for name in (*USAGE, "candidates")):
            self._gemini(event)
        elif isinstance(kind, str):
            self._typed(event, kind)
        return False

    def _chunk(self, event: Json) -> bool:
        choices = event.get("choices")
        choices = choices if isinstance(choices, list) else []
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            delta = choice.get("delta")
            said = isinstance(delta, dict) and any(delta.get(name) for name in _SPOKEN)
            self.has_output |= bool(said or choice.get("text"))
            self._has_reason |= bool(choice.get("finish_reason"))
        new = reduced(event)
        usage = new.get("usage") or new.get("x_groq", {}).get("usage")
        self.has_usage |= bool(usage)
        if not choices:
            new.pop("choices", None)
        if self._has_reason and new.get("choices") and not new["choices"][0]["finish_reason"]:
            new.pop("choices")
        whole = "chat.completion" if "chat" in str(event.get("object")) else "text_completion"
        self._answer = {**self._answer, **new, "object": whole}
        return bool(usage) and not choices

    def _gemini(self, event: Json) -> None:
        candidates = event.get("candidates")
        self.has_output |= bool(candidates)
        new = {name: value for name, value in event.items() if name != "candidates"}
        if isinstance(candidates, list):
            kept = ("finishReason", "groundingMetadata")
            new["candidates"] = [
                {name: one[name] for name in kept if name in one}
                for one in candidates
                if isinstance(one, dict)
            ]
            self._has_reason |= any(one.get("finishReason") for one in new["candidates"])
        self.has_usage |= any(name in event for name in USAGE)
        self._answer = {**self._answer, **new}

    def _typed(self, event: Json, kind: str) -> None:
        if kind == "message_start":
            self._answer = reduced(event.get("message"))
            usage = self._answer.get("usage")
            if isinstance(usage, dict):
                usage.pop("output_tokens", None)  # it is provisional
        elif kind == "message_delta":
            self._message_delta(event)
        elif kind == "message_stop":
            self.is_complete = True
        elif kind.startswith("content_block_") or kind.endswith(("delta", "partial_image")):
            self.has_output = True
        elif kind in _WHOLE:
            self._answer = reduced(event)
            self.has_usage = "usage" in self._answer
            self.has_output = self.is_complete = True
        elif kind.startswith("response.") and isinstance(event.get("response"), dict):
            self._answer = reduced(event["response"])
            self.has_usage = "usage" in self._answer
            self.is_complete = kind in ENDS

    def _message_delta(self, event: Json) -> None:
        usage, delta = event.get("usage"), event.get("delta")
        if isinstance(usage, dict):
            self._answer["usage"] = final_usage(self._answer.get("usage") or {}, usage)
            self.has_usage = True
        if isinstance(delta, dict) and delta.get("stop_reason"):
            self._answer["stop_reason"] = delta["stop_reason"]
            self._has_reason = True

    def _fail(self, error: object) -> None:
        said = error if isinstance(error, dict) else {}
        code = said.get("code") or said.get("status") or said.get("type") or "failed"
        self.error = str(code)[:64]
        self.is_complete = True
