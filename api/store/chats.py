"""Reads the chats of a tenant: which chats used a model, and the record of each.

Chats are stored beside the counters (schemas/store/chats.py), in the same commits. A chat that is not
stored, or not any more, is left out of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from api.store.reader import Store
from schemas.errors import StoreCorrupt
from schemas.store.chats import (
    Chat,
    days_key,
    is_used,
    model_key,
    records_key,
    unpack_chat,
    unpack_days,
    updates_key,
)

AT_ONCE: Final = 1000
"""Records per command: 0.3 MB of reply, 1 ms."""


async def used_by(
    store: Store, tenant: str, model: str, start_ms: int, end_ms: int
) -> dict[str, int]:
    """The chats that used a model in [start_ms, end_ms), with the ms of their newest event.

    At most `schemas.store.chats.CHATS_MAX`. Two reads of some milliseconds. Of a chat that was counted by a
    version without days, all of its events count as one use; its record is read too if it has an event after
    `end_ms`.
    """
    keys = updates_key(tenant), model_key(tenant, model)
    # Members of a plain set have the score 1, so the largest score is the time.
    flat: Sequence[bytes] = await store.ask(
        "ZINTER", len(keys), *keys, "AGGREGATE", "MAX", "WITHSCORES"
    )
    pairs = zip(flat[::2], flat[1::2], strict=True)
    found = {_text(name): int(score) for name, score in pairs if int(score) >= start_ms}
    days: Mapping[bytes, bytes] = await store.ask("HGETALL", days_key(tenant, model))
    dated = {_text(name): unpack_days(data) for name, data in days.items()}
    found = {
        chat_id: last_ms
        for chat_id, last_ms in found.items()
        if chat_id not in dated or is_used(dated[chat_id], start_ms, end_ms)
    }
    later = [
        chat_id for chat_id, last_ms in found.items() if last_ms >= end_ms and chat_id not in dated
    ]
    known = await chats(store, tenant, later, found)
    for chat_id in later:
        if chat_id not in known or known[chat_id].first_ms >= end_ms:
            del found[chat_id]
    return found


async def chats(
    store: Store, tenant: str, wanted: Collection[str], last_ms: Mapping[str, int]
) -> dict[str, Chat]:
    """The records of the `wanted` chats, by id. `last_ms` is the result of `used_by`."""
    asked = list(wanted)
    found: dict[str, Chat] = {}
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        records: list[bytes | None] = await store.ask("HMGET", records_key(tenant), *some)
        for chat_id, record in zip(some, records, strict=True):
            if record is not None:
                found[chat_id] = unpack_chat(chat_id, last_ms[chat_id], record)
    return found


def _text(chat_id: bytes) -> str:
    try:
        return chat_id.decode()
    except UnicodeDecodeError as error:
        raise StoreCorrupt("the id of a chat is not UTF-8") from error
