"""Who an event is, and which call it belongs to: 64-bit digests. Pure.

Parts are length-prefixed, so that ("ab", "c") and ("a", "bc") differ. xxh3 is fast and not secret:
it keeps apart what producers send by accident, not what one of them would forge on purpose.
"""

from __future__ import annotations

import xxhash


def event_digest(tenant: str, source: str, event_id: str) -> int:
    """0 to 2^64 - 1: the event's identity for as long as ids are remembered."""
    return _digest(f"e{len(tenant)}:{tenant}{len(source)}:{source}{event_id}")


def call_digest(tenant: str, call_id: str) -> int:
    """0 to 2^64 - 1: the call's identity."""
    return _digest(f"c{len(tenant)}:{tenant}{call_id}")


def partition_key(tenant: str, source: str, event_id: str, call_id: str | None) -> bytes:
    """The key that producers give a record: one call's events keep their order, and an event that
    is sent again meets its original on the same partition (design: "The way of one event")."""
    text = f"{tenant}|{call_id}" if call_id else f"{tenant}|{source}|{event_id}"
    return text.encode()


def _digest(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
