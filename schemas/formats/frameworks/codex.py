"""Codex's transcripts (`~/.codex/sessions/**/rollout-*.jsonl`) to events: one for each report of usage. Pure.

`token_count` reports running totals of the session, and is repeated without new usage: only what is
new counts. The model is in the `turn_context` before it. A fork begins with a copy of its parent's
lines, written again with the time of the fork; these count nothing.
Source: schemas/contracts/producers.md, Codex 0.154.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.event.event_struct import parse_instant
from schemas.formats.body import Json, count, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors.usage import (
    CONTRADICTION,
    PROBLEM,
    Known,
    inclusive,
    unknown_fields,
)
from schemas.prices.terms import tier_of
from schemas.units import instant_to_ms

SESSION: Final = "odometer.session"
"""Set on a line by schemas.formats.joining: what the lines before it say of the session."""
META: Final = "session_meta"
TURN: Final = "turn_context"
EVENT: Final = "event_msg"
JOINED: Final = frozenset({META, TURN, EVENT})
_EXEC: Final = frozenset(
    {
        *("thread.started", "turn.started", "turn.completed", "turn.failed"),
        *("item.started", "item.updated", "item.completed"),
    }
)
"""What `codex exec --json` prints. `turn.completed` has totals of the session, and no model."""
_LINE: Final = frozenset({"timestamp", "ordinal", "type", "payload"})
COUNTS: Final = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
)
_KNOWN: Final[Known] = dict.fromkeys((*COUNTS, "total_tokens"))
COPY_MS: Final = 2500
"""How long after a fork's creation its copied lines are written, where no turn says when it began."""
_TOTAL, _LAST = "total_token_usage", "last_token_usage"
_PATH: Final = "payload.info."


def is_own(payload: Json) -> bool:
    if isinstance(payload.get("type"), str) and payload["type"] in _EXEC:
        return True
    is_line = {"timestamp", "type", "payload"} <= payload.keys() <= {*_LINE, SESSION}
    return is_line and isinstance(payload["payload"], dict)


def read(payload: Json) -> list[ReaderResult]:
    """One line of a transcript, with what joining has added to it."""
    kind = text(payload, "type")
    if kind in _EXEC:
        return [Uncounted("codex exec prints sums of a session: send its transcript")]
    if kind is None:
        raise invalid("type", "is missing: this is no line of a transcript of Codex")
    told = section(payload, "payload")
    what = text(told, "type", "payload.")
    if kind != EVENT or what != "token_count":
        return [Uncounted(f"the line {kind[:64]} of a transcript reports no usage")]
    session = payload.get(SESSION)
    session = session if isinstance(session, dict) else {}
    info = section(told, "info", "payload.")
    total, last = section(info, _TOTAL, _PATH), section(info, _LAST, _PATH)
    if not total and not last:
        return [Uncounted("the line token_count reports limits alone")]
    if session.get("is_copy"):
        return [Uncounted("a fork repeats the lines of the session that it began with")]
    sums, newest = _counts(total, _TOTAL), _counts(last, _LAST)
    new = _new(sums if total else None, newest if last else None, session.get("before"))
    if not any(new.values()):
        return [Uncounted("the line token_count repeats the totals before it")]
    return [_draft(payload, session, new, last, sums if total else newest)]


def _draft(payload: Json, session: Json, new: dict[str, int], last: Json, named: Json) -> Draft:
    into, out = new["input_tokens"], new["output_tokens"]
    read_cache, reasoning = new["cached_input_tokens"], new["reasoning_output_tokens"]
    path = f"{_PATH}{_LAST}."
    is_last = bool(last) and _counts(last, _LAST) == new
    totals = inclusive(
        into,
        out,
        count(last, "total_tokens", path) if is_last else None,
        cache_read=read_cache,
        cache_write=new["cache_write_input_tokens"],
        reasoning=reasoning,
    )
    unknown = unknown_fields(last, _KNOWN, path)
    if not totals.is_consistent:
        unknown.append(f"{path}total_tokens{CONTRADICTION}")
    fields = {
        "kind": "llm",
        "operation": "chat",
        "time": instant(payload, "timestamp"),
        "provider": session.get("provider"),
        "model": session.get("model"),
        "service_tier": tier_of(session.get("tier")),
        "chat_id": session.get("id"),
        "input_tokens": totals.input,
        "cache_read_tokens": read_cache,
        "cache_write_tokens": new["cache_write_input_tokens"],
        "output_tokens": totals.output,
        "output_text_tokens": totals.output,
        "reasoning_tokens": reasoning,
        "cost_problem": None if totals.is_consistent else PROBLEM,
    }
    name = None
    if session.get("id"):
        at = "-".join(str(named[part]) for part in COUNTS)
        name = f"{session['id']}/{at}"
    return Draft(fields, name, IdSource.RESPONSE, unknown=tuple(unknown))


def _counts(usage: Json, name: str) -> dict[str, int]:
    return {part: count(usage, part, f"{_PATH}{name}.") or 0 for part in COUNTS}


def _new(
    total: dict[str, int] | None, last: dict[str, int] | None, before: dict[str, int] | None
) -> dict[str, int]:
    """What is new in the totals. Where nothing is known before them, or they began again, it is the last
    request's usage."""
    if total is None:
        return last or {}
    if before is not None:
        new = {name: total[name] - before[name] for name in COUNTS}
        if min(new.values()) >= 0:
            return new
    return total if last is None else last


class CodexSession:
    """What the lines of one session say of those that follow them. A file has one session."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}
        self._created_ms: int | None = None

    def join(self, line: Json) -> Json:
        """The line, with its session if it reports usage."""
        kind, payload = line.get("type"), line.get("payload")
        if not isinstance(payload, dict):
            return line
        if kind == META:
            self._begin(payload)
            return line
        if self._told.get("is_copy"):
            self._told["is_copy"] = self._is_copied(line, payload)
        if kind == TURN:
            model = _word(payload, "model") or self._told.get("model")
            self._told |= {"model": model, "tier": _word(payload, "service_tier")}
        if kind != EVENT or payload.get("type") != "token_count":
            return line
        made = {**line, SESSION: self._told}
        info = payload.get("info")
        total = info.get(_TOTAL) if isinstance(info, dict) else None
        if isinstance(total, dict):
            self._told = {**self._told, "before": _readable(total)}
        return made

    def _begin(self, meta: Json) -> None:
        """Another session begins, unless its first line is noted again, or a fork has its parent's."""
        name, at_ms = _word(meta, "id"), _created_ms(meta)
        if name is None or name == self._told.get("id"):
            return
        is_parents = at_ms is None or (self._created_ms is not None and at_ms <= self._created_ms)
        if self._told.get("is_copy") and is_parents:
            return
        source = meta.get("source")
        is_agent = isinstance(source, dict) and "subagent" in source
        self._created_ms = at_ms
        self._told = {
            "id": name,
            "provider": _word(meta, "model_provider"),
            "is_copy": bool(meta.get("forked_from_id") or is_agent),
        }

    def _is_copied(self, line: Json, payload: Json) -> bool:
        """Whether a fork has the line from its parent: its turn began before the fork was made."""
        if self._created_ms is None:
            return False
        turn_ms = _uuid_ms(payload.get("turn_id"))
        if turn_ms is not None:
            self._told["has_turns"] = True
            return turn_ms < self._created_ms
        if self._told.get("has_turns"):
            return True
        written_ms = _ms(line.get("timestamp"))
        return written_ms is None or written_ms <= self._created_ms + COPY_MS


def _readable(total: Json) -> dict[str, int] | None:
    """Totals for a difference; a line whose counts are wrong is refused when it is read."""
    told = {name: total.get(name) or 0 for name in COUNTS}
    return told if all(type(value) is int for value in told.values()) else None


def _created_ms(meta: Json) -> int | None:
    made = _uuid_ms(meta.get("id"))
    return _ms(meta.get("timestamp")) if made is None else made


def _uuid_ms(name: object) -> int | None:
    """The time in a UUID of version 7: its first 48 bits are milliseconds."""
    if not isinstance(name, str) or len(name) != 36 or name[14] != "7":
        return None
    try:
        return int(name[:13].replace("-", ""), 16)
    except ValueError:
        return None


def _ms(time: object) -> int | None:
    try:
        return instant_to_ms(parse_instant(time))  # type: ignore[arg-type]
    except ValueError:
        return None


def _word(holder: Json, key: str) -> str | None:
    found = holder.get(key)
    return found if isinstance(found, str) and found else None
