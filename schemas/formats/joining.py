"""Joins what a stream's events say: its end has the usage, an earlier one the id and the model. Pure.

A `Joiner` sees the objects of one body, file or meter in their order. It adds to the last event of an
answer what only the events before it have. It keeps few answers (`langchain_chunks.OPEN_MAX`).
"""

from __future__ import annotations

from typing import Final

from schemas.formats.body import Json
from schemas.formats.frameworks import claude_code, codex, langchain
from schemas.formats.frameworks.langchain_chunks import MessageChunks, keep
from schemas.formats.vendors import anthropic, azure, cohere, openai

MARKS: Final = (
    *(b"message_start", b"message-start", b'"assistant"', b".chunk", b'"session.'),
    *(langchain.CHUNK.encode(), *(f'"{kind}"'.encode() for kind in codex.JOINED)),
)
"""A line that has none of these says nothing about later ones: who reads a file again may pass it over."""

_SESSIONS: Final = frozenset({"session.created", "session.updated"})
_REALTIME: Final = ("session.", "response.done", "conversation.item.input_audio_transcription.")


class Joiner:
    """Completes the objects of one sequence. Two Anthropic streams at once cannot be told apart: then
    neither is completed."""

    def __init__(self) -> None:
        self._started: list[Json] = []
        self._is_over = False
        self._cohere: Json | None = None
        self._ended_chunks: dict[str, None] = {}
        self._azure_chunks: dict[str, None] = {}
        self._unfinished: dict[str, Json] = {}
        self._models: dict[str, str] = {}
        self._langchain = MessageChunks()
        self._codex = codex.CodexSession()

    @property
    def is_open(self) -> bool:
        """Whether a message of Anthropic's has begun and not ended."""
        return bool(self._started)

    def join(self, item: Json) -> Json:  # noqa: PLR0911  one return for each kind of object
        """The object, with what earlier ones say about it."""
        kind = item.get("type")
        if isinstance(kind, str):
            if kind in anthropic.STREAM_TYPES:
                return self._anthropic(item, kind)
            if kind in cohere.JOINED:
                return self._cohere_event(item, kind)
            if kind == claude_code.ANSWER:
                return self._claude_code(item)
            if kind.startswith(_REALTIME):
                return self._realtime(item, kind)
            if kind in {langchain.CHUNK, langchain.DUMPED}:
                return self._langchain.join(item)
            if kind in codex.JOINED:
                return self._codex.join(item)
        if item.get("object") == "chat.completion.chunk":
            return self._chunk(item)
        return item

    def _realtime(self, item: Json, kind: str) -> Json:
        """Adds the model: of a Realtime session only its own events name it, and that of its transcripts."""
        session = item.get("session")
        if kind in _SESSIONS and isinstance(session, dict):
            self._models = {**self._models, **_session_models(session)}
            return item
        response = item.get("response")
        if kind == openai.REALTIME_END and isinstance(response, dict) and not response.get("model"):
            return {**item, "response": {**response, "model": self._models.get("session")}}
        if kind in openai.TRANSCRIBED and not item.get("model"):
            return {**item, "model": self._models.get("transcription")}
        return item

    def _anthropic(self, item: Json, kind: str) -> Json:
        if kind == "message_start" and isinstance(item.get("message"), dict):
            if self._is_over:
                self._started.clear()
            self._is_over = False
            self._started = [*self._started[-1:], item["message"]]
        elif kind == "message_delta" and len(self._started) == 1:
            self._is_over = anthropic.is_last_delta(item)
            return {**item, anthropic.STARTED: self._started[0]}
        elif kind == "message_stop":
            self._started.clear()
        return item

    def _cohere_event(self, item: Json, kind: str) -> Json:
        if kind == cohere.START:
            self._cohere = item
            return item
        started, self._cohere = self._cohere, None
        return item if started is None else {**item, cohere.STARTED: started}

    def _chunk(self, item: Json) -> Json:
        """Marks a chunk that comes after the end of its answer: it has the usage. And one of Azure's,
        where only the chunks before it show that."""
        name = item.get("id")
        if not isinstance(name, str):
            return item
        if azure.is_azure(item):
            keep(self._azure_chunks, name, None)
        elif name in self._azure_chunks:
            item = {**item, openai.AZURE: True}
        if name in self._ended_chunks:
            return {**item, openai.ENDED: True}
        if item.get("choices") and openai.is_last_chunk(item):
            keep(self._ended_chunks, name, None)
        return item

    def _claude_code(self, item: Json) -> Json:
        """Adds the answer before it, if that has no end: the conversation went on without one."""
        place, name = claude_code.conversation(item), claude_code.answer_name(item)
        if name is None:
            return item
        before = self._unfinished.get(place)
        if claude_code.is_last(item):
            self._unfinished.pop(place, None)
        else:
            keep(self._unfinished, place, item)
        if before is None or claude_code.answer_name(before) == name:
            return item
        return {**item, claude_code.BEFORE: before}


def _session_models(session: Json) -> dict[str, str]:
    """The models that a Realtime session names: its own, and that of the transcripts of its input."""
    audio = session.get("audio")
    into = audio.get("input") if isinstance(audio, dict) else None
    transcription = into.get("transcription") if isinstance(into, dict) else None
    transcription = transcription or session.get("input_audio_transcription")  # the beta API's
    named = {"session": session, "transcription": transcription}
    found = {name: one.get("model") for name, one in named.items() if isinstance(one, dict) and one}
    return {name: model for name, model in found.items() if isinstance(model, str) and model}
