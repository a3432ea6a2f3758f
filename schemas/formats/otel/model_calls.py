"""Whether a span is one call to a model, by its own words. Pure.

Wrappers (agents, chains, workflows) repeat the usage of the calls below them, and children may come in
another request. So only what the span says of itself decides: its operation, its kind, its type of
observation. If one of its words says that it is something else, it is no call. A span without any such
word is no call either.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.formats.body import Json
from schemas.formats.otel.attributes import (
    AGENTOPS_KIND,
    BRAINTRUST,
    BRAINTRUST_METRICS,
    COST,
    GENKIT_SUBTYPE,
    INPUT,
    LAMINAR_TYPE,
    LANGFUSE_TYPE,
    LANGFUSE_USAGE,
    LANGSMITH_KIND,
    MLFLOW_TYPE,
    MLFLOW_USAGE,
    OPENINFERENCE_KIND,
    OPERATION,
    OUTPUT,
    PLAIN,
    REQUEST_TYPE,
    TOTAL,
    TRACELOOP_KIND,
    VERCEL_OPERATION,
)
from schemas.formats.otel.reads import first_text, json_object

_CHAT: Final = "chat"
_EMBEDDINGS: Final = "embeddings"
OPERATIONS: Final = {
    "chat": _CHAT,
    "chat.completions": _CHAT,  # Semantic Kernel's
    "text.completions": "text_completion",
    "text_completion": "text_completion",
    "completion": "text_completion",
    "completions": "text_completion",
    "generate_content": _CHAT,
    "generate": _CHAT,
    "generate_text": _CHAT,
    "stream_text": _CHAT,
    "generate_object": _CHAT,
    "stream_object": _CHAT,
    "message": _CHAT,
    "messages": _CHAT,
    "response": _CHAT,
    "responses": _CHAT,
    "inference": _CHAT,
    "acompletion": _CHAT,
    "aresponses": _CHAT,
    "anthropic_messages": _CHAT,
    "aembedding": _EMBEDDINGS,
    "embeddings": _EMBEDDINGS,
    "embedding": _EMBEDDINGS,
    "embed": _EMBEDDINGS,
    "rerank": "rerank",
    "image": "image",
    "image_generation": "image",
    "generate_image": "image",
    "audio": "audio",  # OpenLIT's, of speech and of transcripts
    "speech": "speech",
    "text_to_speech": "speech",
    "transcription": "transcription",
    "speech_to_text": "transcription",
    "moderation": "moderation",
    "moderations": "moderation",
}
"""`gen_ai.operation.name` and `llm.request.type` of a call to a model -> our name of the operation."""
_WORDS: Final = {
    OPENINFERENCE_KIND: {"llm": _CHAT, "embedding": _EMBEDDINGS},
    LANGFUSE_TYPE: {"generation": _CHAT, "embedding": _EMBEDDINGS},
    LANGSMITH_KIND: {"llm": _CHAT, "embedding": _EMBEDDINGS},
    MLFLOW_TYPE: {"llm": _CHAT, "chat_model": _CHAT, "embedding": _EMBEDDINGS},
    GENKIT_SUBTYPE: {"model": _CHAT, "background-model": _CHAT, "embedder": _EMBEDDINGS},
    LAMINAR_TYPE: {"llm": _CHAT},
    AGENTOPS_KIND: {"llm": _CHAT},
    TRACELOOP_KIND: {},
}
"""Attribute -> its words for a call to a model; its other words are of something else."""
_UNDECIDED: Final = frozenset({"unknown", "default", "other", ""})
"""Words that say nothing."""
_VERCEL: Final = {
    "doGenerate": _CHAT,
    "doStream": _CHAT,
    "doEmbed": _EMBEDDINGS,
    "doRerank": "rerank",
}
"""The last part of `ai.operationId`: `ai.generateText.doGenerate` is a call, `ai.generateText` sums up."""


_SCOPES: Final = frozenset({"logfire.openai", "logfire.anthropic"})
"""Scopes of clients' calls alone, whose spans had no operation at first."""


class SpanKind(NamedTuple):
    """`operation`: our name, None if the span is no call to a model; then `word` names its kind."""

    operation: str | None
    word: str


def kind_of(attributes: Json, scope: str = "") -> SpanKind:
    operation = _CHAT if scope in _SCOPES and carries_usage(attributes) else None
    for found, word in _said(attributes):
        if found is None:
            return SpanKind(None, word)
        operation = operation or found
    return SpanKind(operation, "")


def _said(attributes: Json) -> list[tuple[str | None, str]]:
    """What each word of the span says: the operation, or None with the word of something else."""
    said: list[tuple[str | None, str]] = []
    vercel = first_text(attributes, (VERCEL_OPERATION,))
    if vercel is not None:
        said.append((_VERCEL.get(vercel.rpartition(".")[2]), vercel))
    for name in (OPERATION, REQUEST_TYPE):
        word = (first_text(attributes, (name,)) or "").strip().lower()
        if word not in {"", "unknown"}:
            said.append((OPERATIONS.get(word), word))
    for name, words in _WORDS.items():
        word = (first_text(attributes, (name,)) or "").strip().lower()
        if word in _UNDECIDED:
            continue
        found = words.get(word)
        if name == LANGFUSE_TYPE and word == "span" and LANGFUSE_USAGE in attributes:
            found = _CHAT  # Langfuse's SDK up to 3.3.0 calls a generation a span
        said.append((found, word))
    kind = json_object(attributes, BRAINTRUST).get("type") if BRAINTRUST in attributes else None
    if isinstance(kind, str):
        said.append((_CHAT if kind == "llm" else None, kind))
    return said


def carries_usage(attributes: Json) -> bool:
    """Whether a span reports tokens or a cost, so that not counting it must be told."""
    for names in (INPUT, OUTPUT, TOTAL, COST, PLAIN):
        for name in names:
            if attributes.get(name) not in (None, 0, "", "0"):
                return True
    return any(attributes.get(name) for name in (LANGFUSE_USAGE, MLFLOW_USAGE, BRAINTRUST_METRICS))
