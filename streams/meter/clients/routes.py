"""The path of a request: which call of a model it is. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple


class Route(NamedTuple):
    """A call of a model: the kind and operation of its event, and the format of its answer."""

    kind: str
    operation: str
    format: str
    is_chat: bool = False
    """Its streams report usage only if the request asks for it."""
    is_lookup: bool = False
    """It reads an answer that was made before."""


_OPENAI: Final[Mapping[str, Route]] = {
    "/chat/completions": Route("llm", "chat", "openai", is_chat=True),
    "/completions": Route("llm", "text_completion", "openai", is_chat=True),
    "/responses": Route("llm", "chat", "openai"),
    "/responses/compact": Route("llm", "chat", "openai"),
    "/embeddings": Route("llm", "embeddings", "openai"),
    "/moderations": Route("llm", "moderation", "openai"),
    "/images/generations": Route("llm", "image", "openai"),
    "/images/edits": Route("llm", "image", "openai"),
    "/images/variations": Route("llm", "image", "openai"),
    "/audio/speech": Route("tts", "speech", "openai"),
    "/audio/transcriptions": Route("stt", "transcription", "openai"),
    "/audio/translations": Route("stt", "translation", "openai"),
}
_LOOKUP: Final = Route("llm", "chat", "openai", is_lookup=True)
_ANTHROPIC: Final[Mapping[str, Route]] = {"/messages": Route("llm", "chat", "anthropic")}
_GOOGLE: Final[Mapping[str, Route]] = {
    "generateContent": Route("llm", "chat", "gemini"),
    "streamGenerateContent": Route("llm", "chat", "gemini"),
    "embedContent": Route("llm", "embeddings", "gemini"),
    "batchEmbedContents": Route("llm", "embeddings", "gemini"),
}
_PREDICT: Final = {"embedding": "embeddings", "imagen": "image"}
"""What `predict` of Vertex AI asks of a model with this word in its name."""


@lru_cache(maxsize=1024)
def openai_route(method: str, url: str) -> Route | None:
    """None for a request that no model answers, such as a list of files."""
    parts = url.partition("?")[0].rstrip("/").rsplit("/", 2)
    if method.lower() == "get":
        return _LOOKUP if len(parts) > 2 and parts[1] == "responses" else None
    found = _OPENAI.get("/" + "/".join(parts[1:])) if len(parts) > 2 else None
    return found or (_OPENAI.get(f"/{parts[-1]}") if method.lower() == "post" else None)


@lru_cache(maxsize=1024)
def anthropic_route(method: str, url: str) -> Route | None:
    path = url.partition("?")[0].rstrip("/")
    return _ANTHROPIC.get("/" + path.rpartition("/")[2]) if method.lower() == "post" else None


@lru_cache(maxsize=1024)
def google_route(method: str, path: str) -> Route | None:
    model, _, name = path.partition("?")[0].rpartition(":")
    if method.lower() != "post":
        return None
    if name == "predict":
        asked = next((does for word, does in _PREDICT.items() if word in model), None)
        return None if asked is None else Route("llm", asked, "gemini")
    return _GOOGLE.get(name)
