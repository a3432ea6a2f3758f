"""The updates of chats in a batch: one for each chat, from its events of kinds llm and chat. Pure.

They come from the events that count, so a resend adds nothing. The updates of a batch are merged here;
the commit merges them with the stored ones (schemas/store/chats.py). Previews are stored only where the
operator allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.event.event_struct import EventStruct
from schemas.event.kinds import DEFAULT_TENANT
from schemas.store.chats import SHOWN_CHARS_MAX, Chat, day_of_use, merged
from streams.core.decode import EventBatch

Chats = Sequence[tuple[str, Sequence[Chat]]]
"""Tenant and the updates of its chats, one update a chat."""

CHAT_KINDS: Final = ("llm", "chat")


def chats_of(events: EventBatch, rows: Iterable[int], *, keeps_previews: bool) -> Chats:
    chat_ids = events.fields["chat_id"]
    if not any(chat_ids):
        return []
    found: dict[tuple[str, str], Chat] = {}
    times_ms = events.at_ms.tolist()
    for row in rows:
        event = events.wires[row]
        if not event.chat_id or event.kind not in CHAT_KINDS:
            continue
        which = event.tenant or DEFAULT_TENANT, event.chat_id
        update = _chat_update(event, times_ms[row], event.chat_id, keeps_previews=keeps_previews)
        found[which] = merged(found[which], update) if which in found else update
    chats: dict[str, list[Chat]] = {}
    for (tenant, _), chat in found.items():
        chats.setdefault(tenant, []).append(chat)
    return list(chats.items())


def _chat_update(event: EventStruct, at_ms: int, chat_id: str, *, keeps_previews: bool) -> Chat:
    user = event.user_id or event.user_email or ""
    preview = (event.message_preview or "")[:SHOWN_CHARS_MAX] if keeps_previews else ""
    title = event.chat_title or ""
    model = event.model if event.kind == "llm" else None
    return Chat(
        id=chat_id,
        first_ms=at_ms,
        last_ms=at_ms,
        user_ms=at_ms if user else 0,
        user=user,
        preview_ms=at_ms if preview else 0,
        preview=preview,
        title_ms=at_ms if title else 0,
        title=title,
        tags_ms=0 if event.tags is None else at_ms,
        tags=tuple(event.tags or ()),
        models=(model,) if model else (),
        days=((model, (day_of_use(at_ms),)),) if model else (),
    )
