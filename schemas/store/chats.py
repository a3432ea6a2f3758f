"""The chats of a tenant: who began each, its title, tags and models. Pure.

Chats are stored outside of the generations, so a rebuild does not touch them. Per tenant, under
`{od0}:c:`:

    r:TENANT          chats: hash chat id -> record
    u:TENANT          sorted set of the chat ids, scored by the newest event's time in ms
    m:N:TENANT:MODEL  set of the chats that used a model; N is the tenant's length in characters

A chat is made of its events of kinds llm and chat. The commit that counts them writes it. User and
preview are those of the earliest event that has them, title and tags those of the latest one. At
equal times the larger text wins. So events and replays may come in any order and any number of times.

A record is `<5 x i64: the times of the first event, user, preview, title and tags (0: none) | u32:
where the models begin | user | preview | title | tags as JSON | model, model, ...`, each text with
its length in bytes before it (u16). The commit's function `note_chats` writes it. A test compares
the two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.errors import StoreCorrupt
from schemas.store.layout import HASH_TAG

CHATS_MAX: Final = 10_000
"""Chats of a tenant. Beyond that, the chat without events for the longest time is evicted. Open
WebUI's own server looks at as many for one model. A chat takes 0.5 kB with its places in the sets:
5 MB (at most 13 kB each)."""
CHAT_MODELS_MAX: Final = 32
"""Models of one chat. Further models are counted as usual, but the chat is not listed under them. A
chat that compares models side by side has a handful."""
SHOWN_CHARS_MAX: Final = 200
"""Characters of a preview: as many as Open WebUI shows."""

CHATS: Final = HASH_TAG + "c:"


def records_key(tenant: str) -> str:
    return f"{CHATS}r:{tenant}"


def updates_key(tenant: str) -> str:
    return f"{CHATS}u:{tenant}"


def model_key(tenant: str, model: str) -> str:
    return f"{CHATS}m:{len(tenant)}:{tenant}:{model}"


class Chat(msgspec.Struct, frozen=True, gc=False):
    """What is known of one chat. A time of 0: unknown. Models are in ascending order."""

    id: str
    first_ms: int
    last_ms: int
    user_ms: int = 0
    user: str = ""
    preview_ms: int = 0
    preview: str = ""
    title_ms: int = 0
    title: str = ""
    tags_ms: int = 0
    tags: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def merged(one: Chat, other: Chat) -> Chat:
    """Two updates of a chat as one. The order does not matter, and repeating one changes nothing."""
    user_ms, user = _earlier(one.user_ms, one.user, other.user_ms, other.user)
    preview_ms, preview = _earlier(one.preview_ms, one.preview, other.preview_ms, other.preview)
    title_ms, title = max((one.title_ms, one.title), (other.title_ms, other.title))
    tags_ms, tags = max((c.tags_ms, tags_text(c.tags), c.tags) for c in (one, other))[::2]
    return Chat(
        one.id,
        min(one.first_ms, other.first_ms),
        max(one.last_ms, other.last_ms),
        user_ms,
        user,
        preview_ms,
        preview,
        title_ms,
        title,
        tags_ms,
        tags,
        tuple(sorted({*one.models, *other.models})),
    )


def _earlier(ms: int, text: str, other_ms: int, other: str) -> tuple[int, str]:
    """The text of the earlier time, at equal times the larger one. A time of 0 means no text."""
    if not ms or (other_ms and other_ms < ms):
        return other_ms, other
    return (ms, max(text, other)) if ms == other_ms else (ms, text)


def tags_text(tags: tuple[str, ...]) -> str:
    return msgspec.json.encode(tags).decode()


_HEAD: Final = struct.Struct("<qqqqqI")
_LENGTH: Final = struct.Struct("<H")
_TAGS: Final = msgspec.json.Decoder(tuple[str, ...])


def pack_chat(chat: Chat) -> bytes:
    """The record of a chat that has no record yet."""
    marks = (chat.first_ms, chat.user_ms, chat.preview_ms, chat.title_ms, chat.tags_ms)
    texts = _packed((chat.user, chat.preview, chat.title, tags_text(chat.tags)))
    return _HEAD.pack(*marks, _HEAD.size + len(texts)) + texts + _packed(chat.models)


def _packed(texts: Iterable[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(_LENGTH.pack(len(one)) + one for one in encoded)


def unpack_chat(chat_id: str, last_ms: int, record: bytes) -> Chat:
    """A chat from its record; StoreCorrupt if the record is damaged."""
    try:
        first_ms, user_ms, preview_ms, title_ms, tags_ms, models_at = _HEAD.unpack_from(record)
        user, preview, title, tags = _texts(record[:models_at], _HEAD.size)
        models = _texts(record, models_at)
        return Chat(
            chat_id,
            first_ms,
            last_ms,
            user_ms,
            user,
            preview_ms,
            preview,
            title_ms,
            title,
            tags_ms,
            _TAGS.decode(tags),
            tuple(sorted(models)),
        )
    except (struct.error, ValueError, msgspec.MsgspecError) as error:
        raise StoreCorrupt(f"the record of the chat {chat_id!r} is damaged") from error


def _texts(record: bytes, at: int) -> list[str]:
    found: list[str] = []
    while at < len(record):
        (length,) = _LENGTH.unpack_from(record, at)
        at += _LENGTH.size
        if at + length > len(record):
            raise ValueError("the record ends inside a text")
        found.append(record[at : at + length].decode())
        at += length
    return found
