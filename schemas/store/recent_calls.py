"""The latest model calls of a tenant, without their content. Pure.

The key `N:r:TENANT` of a generation is a sorted set of the RECENT_MAX latest events of kind llm. The
score is the event's time in ms, the member one JSON array (`Recent`). The commit that counts the
events writes it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.errors import StoreCorrupt
from schemas.store.layout import prefix

RECENT_MAX: Final = 1000
"""Calls kept per tenant: 250 B each, 0.25 MB (3 MB with every text at its limit). Twice as many as
one request to AgentLens's API may ask for. Reading and decoding all of them takes 3 ms."""


class Recent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One call to a model. An empty text or None: not reported."""

    id: str
    source: str
    at_ms: int
    provider: str
    model: str
    agent: str
    user: str
    call_id: str
    chat_id: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_nano_usd: int | None
    latency_ms: int | None
    error: str
    finish_reason: str = ""


def recent_key(generation: int, tenant: str) -> str:
    return f"{prefix(generation)}r:{tenant}"


_DECODER: Final = msgspec.json.Decoder(Recent)


def pack_recent(call: Recent) -> str:
    return msgspec.json.encode(call).decode()


def unpack_recent(member: bytes) -> Recent:
    try:
        return _DECODER.decode(member)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt("a member of the latest calls is not a call") from error
