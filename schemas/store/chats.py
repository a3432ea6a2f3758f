"""The chats of a tenant: who began each, its title, tags and models. Pure.

Chats are stored outside of the generations, so a rebuild does not touch them. Per tenant, under
`{od0}:c:`:

    r:TENANT          chats: hash chat id -> record
    u:TENANT          sorted set of the chat ids, scored by the newest event's time in ms
    m:N:TENANT:MODEL  set of the chats that used a model; N is the tenant's length in characters
    d:N:TENANT:MODEL  when they used it: hash chat id -> its days

A chat is made of its events of kinds llm and chat. The commit that counts them writes it. User and
preview are those of the earliest event that has them, title and tags those of the latest one. At
equal times the larger text wins. So events and replays may come in any order and any number of times.

The days of a chat and a model are the UTC days with a request, ascending: `<u16: day since 1970 | u24, u24:
the first and the last second of it with a request>`, 8 B each, of the last DAYS_MAX days before the newest.
So a range is answered exactly, unless it lies between the first and the last request of one day.

A record is `<5 x i64: the times of the first event, user, preview, title and tags (0: none) | u32:
where the models begin | user | preview | title | tags as JSON | model, model, ...`, each text with
its length in bytes before it (u16). The commit's function `note_chats` writes it. A test compares
the two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from schemas.errors import StoreCorrupt
from schemas.limits import DAY_MS, SECOND_MS
from schemas.store.layout import HASH_TAG

CHATS_MAX: Final = 10_000
"""Chats of a tenant. Beyond that, the chat without events for the longest time is evicted. Open
WebUI's own server looks at as many for one model. A chat takes 0.5 kB with its places in the sets:
5 MB (at most 13 kB each)."""
CHAT_MODELS_MAX: Final = 32
"""Models of one chat. Further models are counted as usual, but the chat is not listed under them. A
chat that compares models side by side has a handful."""
DAYS_MAX: Final = 90
"""As long as quarter-hours are kept. A chat that used a model on one day takes 75 B for it, on ten days 140 B,
on each of these days 0.8 kB."""
SHOWN_CHARS_MAX: Final = 200
"""Characters of a preview: as many as Open WebUI shows."""

CHATS: Final = HASH_TAG + "c:"


def records_key(tenant: str) -> str:
    return f"{CHATS}r:{tenant}"


def updates_key(tenant: str) -> str:
    return f"{CHATS}u:{tenant}"


def model_key(tenant: str, model: str) -> str:
    return f"{CHATS}m:{len(tenant)}:{tenant}:{model}"


def days_key(tenant: str, model: str) -> str:
    return f"{CHATS}d:{len(tenant)}:{tenant}:{model}"


class DayOfUse(NamedTuple):
    """A UTC day since 1970 with requests, and the seconds of that day of the first and the last of them."""

    day: int
    first_s: int
    last_s: int


Days = tuple[DayOfUse, ...]
"""In ascending order, of the last DAYS_MAX days before the newest."""


class Chat(msgspec.Struct, frozen=True, gc=False):
    """What is known of one chat. A time of 0: unknown. Models are in ascending order. `days`: of each model
    with requests, in the same order."""

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
    days: tuple[tuple[str, Days], ...] = ()


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
        _all_days(one.days, other.days),
    )


def _all_days(
    one: tuple[tuple[str, Days], ...], other: tuple[tuple[str, Days], ...]
) -> tuple[tuple[str, Days], ...]:
    if not one or not other:
        return one or other
    mine, others = dict(one), dict(other)
    return tuple(
        (model, merged_days(mine.get(model, ()), others.get(model, ())))
        for model in sorted({*mine, *others})
    )


def merged_days(one: Days, other: Days) -> Days:
    """The days of both, each with the earliest first and the latest last request."""
    found = {day.day: day for day in one}
    for day in other:
        known = found.get(day.day, day)
        found[day.day] = DayOfUse(
            day.day, min(known.first_s, day.first_s), max(known.last_s, day.last_s)
        )
    newest = max(found, default=0)
    return tuple(found[day] for day in sorted(found) if day > newest - DAYS_MAX)


def day_of_use(at_ms: int) -> DayOfUse:
    """Of one request."""
    day, ms = divmod(at_ms, DAY_MS)
    return DayOfUse(day, ms // SECOND_MS, ms // SECOND_MS)


def is_used(days: Days, start_ms: int, end_ms: int) -> bool:
    """Whether the chat used the model in [start_ms, end_ms), which are whole seconds."""
    return any(
        day * DAY_MS + first_s * SECOND_MS < end_ms
        and day * DAY_MS + last_s * SECOND_MS >= start_ms
        for day, first_s, last_s in days
    )


def pack_days(days: Days) -> bytes:
    return b"".join(_DAY.pack(day | first_s << 16 | last_s << 40) for day, first_s, last_s in days)


def unpack_days(data: bytes) -> Days:
    """Raises StoreCorrupt if the days are damaged."""
    if len(data) % _DAY.size:
        raise StoreCorrupt("the days of a chat are not whole")
    return tuple(
        DayOfUse(packed & 0xFFFF, packed >> 16 & 0xFFFFFF, packed >> 40)
        for (packed,) in _DAY.iter_unpack(data)
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
_DAY: Final = struct.Struct("<Q")
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
    """A chat from its record, without days; StoreCorrupt if the record is damaged."""
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
