"""Claude Code's transcripts to events: JSON lines, one for each block of an answer. Pure.

Each line of an answer repeats its message's id and usage: the last line counts, once. A line without
`stop_reason` is not the last, unless the conversation goes on after it (the writer did not note the
end). The result that ends a run repeats the sum of its answers and is skipped.
Source: schemas/contracts/producers.md, Claude Code 2.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from schemas.formats.body import Json, invalid, section, text, usd
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors import anthropic

ANSWER: Final = "assistant"
RESULT: Final = "result"
BEFORE: Final = "odometer.before"
"""Set on a line by schemas.formats.joining: the answer before it, whose end was not noted."""
SYNTHETIC: Final = "<synthetic>"
_WITHOUT_UUID: Final = frozenset({"user", "system", "summary", "file-history-snapshot"})
_SESSION: Final = ("sessionId", "session_id")


def is_own(payload: Json) -> bool:
    kind = payload.get("type")
    if kind == ANSWER:
        return isinstance(payload.get("message"), dict)
    if kind == RESULT:
        return "session_id" in payload and bool(payload.keys() & {"modelUsage", "total_cost_usd"})
    if not isinstance(kind, str) or payload.keys() & {"usage", "event_type"}:
        return False
    if "sessionId" in payload or {"session_id", "uuid"} <= payload.keys():
        return True
    return kind in _WITHOUT_UUID and bool(payload.keys() & {"session_id", "leafUuid", "messageId"})


def read(payload: Json) -> list[ReaderResult]:
    """One line of a transcript."""
    kind = text(payload, "type")
    if kind == RESULT:
        return [
            Uncounted("a result is the sum of a run: send its transcript, which has each answer")
        ]
    if kind != ANSWER:
        if kind is None:
            raise invalid("type", "is missing: this is no line of a transcript of Claude Code")
        return [Uncounted(f"the line {kind[:64]} of a transcript is no answer of a model")]
    before = section(payload, BEFORE)
    made = _answer(before) if before else []
    if is_last(payload):
        return [*made, *_answer(payload)]
    return made or [Uncounted("the line has no stop_reason: the last line of its answer counts")]


def conversation(payload: Json) -> str:
    """Session and agent of a line: their answers come one after another."""
    session = next((payload[name] for name in _SESSION if payload.get(name)), "")
    agent = (
        payload.get("agentId") or payload.get("parent_tool_use_id") or payload.get("isSidechain")
    )
    return f"{session}/{agent}"


def answer_name(payload: Json) -> str | None:
    message = payload.get("message")
    name = message.get("id") if isinstance(message, dict) else None
    return name if isinstance(name, str) else None


def is_last(payload: Json) -> bool:
    message = payload.get("message")
    return isinstance(message, dict) and message.get("stop_reason") is not None


def _answer(payload: Json) -> list[ReaderResult]:
    message = section(payload, "message")
    if message.get("model") == SYNTHETIC or not isinstance(message.get("usage"), dict):
        return [Uncounted("the line is no answer of a model: Claude Code wrote it itself")]
    session = next((text(payload, name) for name in _SESSION if payload.get(name)), None)
    about = {"time": instant(payload, "timestamp"), "chat_id": session}
    cost = usd(payload, "costUSD")  # up to version 1.0.8
    if cost is not None:
        about["cost_usd"] = cost
    return [
        replace(made, fields={**made.fields, **about}) if isinstance(made, Draft) else made
        for made in anthropic.message(message)
    ]
