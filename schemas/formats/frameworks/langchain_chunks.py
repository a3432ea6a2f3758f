"""Adds up the chunks of a LangChain message, as LangChain does when an app adds them. Pure.

Each chunk reports the tokens that are new. langchain-core 1.0 and later mark the last chunk
(`chunk_position`), which is often empty. Before 1.0 a message ends with its `finish_reason`, and its
usage may come in one more chunk.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import Json
from schemas.formats.frameworks import langchain

OPEN_MAX: Final = 1000
"""Answers that have begun and not ended: more at once than any app streams. The oldest is dropped."""
_POSITION: Final = "chunk_position"
_RUN: Final = ("lc_run-", "run-")
"""How ids begin that LangChain makes itself. Where OpenAI's Responses API names the answer, only the
first chunk has that id."""


class MessageChunks:
    """The messages of one sequence that have begun. Several may be open at once."""

    def __init__(self) -> None:
        self._open: dict[str, Json] = {}
        self._told: dict[str, object] = {}  # the usage that an open message was reported with
        self._done: dict[str, None] = {}
        self._newest = ""

    def join(self, payload: Json) -> Json:
        """The message so far, marked as a part unless this chunk ends it."""
        chunk = langchain.message_of(payload)
        name = chunk.get("id")
        if chunk.get("type") != langchain.CHUNK or not isinstance(name, str):
            return payload
        is_whole = bool(langchain.end_of(chunk) and chunk.get("usage_metadata"))
        if is_whole and name in self._told:  # the app passes the sum of the chunks too
            return chunk
        if name in self._done:
            return {**chunk, langchain.PART: True}
        before = self._begun(name)
        self._newest = name
        message = chunk if before is None else _sum(before, chunk)
        if chunk.get(_POSITION) == "last":
            self._open.pop(name, None)
            keep(self._done, name, None)
            is_end = True
        else:
            keep(self._open, name, message)
            is_end = is_whole and before is None
            if _POSITION not in chunk:  # before langchain-core 1.0
                is_end = bool(langchain.end_of(message) and message.get("usage_metadata"))
        usage = message.get("usage_metadata")
        if not is_end or (usage and self._told.get(name) == usage):
            return {**message, langchain.PART: True}
        keep(self._told, name, usage)
        return message

    def _begun(self, name: str) -> Json | None:
        """The message before this chunk. Its first chunk may have the id of the answer instead."""
        if name in self._open or not name.startswith(_RUN):
            return self._open.get(name)
        first = self._open.get(self._newest)
        if first is None or self._newest.startswith(_RUN) or first.get("usage_metadata"):
            return None
        return self._open.pop(self._newest)


def _sum(before: Json, chunk: Json) -> Json:
    """Adds the counts. Of what describes the message, the newest that says something stays."""
    about = [one.get("response_metadata") for one in (before, chunk)]
    told = {
        key: value
        for one in about
        if isinstance(one, dict)
        for key, value in one.items()
        if value is not None
    }
    usage = _added(before.get("usage_metadata"), chunk.get("usage_metadata"))
    return {**chunk, "response_metadata": told, "usage_metadata": usage}


def _added(before: object, new: object) -> object:
    if isinstance(before, dict) and isinstance(new, dict):
        names = dict.fromkeys((*before, *new))
        return {name: _added(before.get(name), new.get(name)) for name in names}
    if isinstance(before, int) and isinstance(new, int):
        return before + new
    return before if new is None else new


def keep(holder: dict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401  any JSON
    """Sets a value in a dict that keeps `OPEN_MAX`: the oldest is dropped."""
    holder[name] = value
    if len(holder) > OPEN_MAX:
        del holder[next(iter(holder))]
