"""Who an event is, and which call it belongs to: 64-bit digests. Pure.

Parts are length-prefixed, so that ("ab", "c") and ("a", "bc") differ. xxh3 is fast and not secret:
it keeps apart what producers send by accident, not what one of them would forge on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

import xxhash


def event_digests(
    tenants: Sequence[str], sources: Sequence[str], event_ids: Sequence[str]
) -> list[int]:
    """0 to 2^64 - 1: each event's identity for as long as ids are remembered. Side by side: most
    have their tenant and source in common."""
    if len(set(tenants)) == 1:
        heads = map(_HeadsOf(tenants[0]).__getitem__, sources)
    else:
        heads = map(_Heads().__getitem__, zip(tenants, sources, strict=True))
    texts = map(str.encode, map(add, heads, event_ids))
    return list(map(xxhash.xxh3_64_intdigest, texts))


class _HeadsOf(dict[str, str]):
    def __init__(self, tenant: str) -> None:
        super().__init__()
        self._tenant = tenant

    def __missing__(self, source: str) -> str:
        head = self[source] = _head(self._tenant, source)
        return head


class _Heads(dict[tuple[str, str], str]):
    def __missing__(self, key: tuple[str, str]) -> str:
        tenant, source = key
        head = self[key] = _head(tenant, source)
        return head


def _head(tenant: str, source: str) -> str:
    return f"e{len(tenant)}:{tenant}{len(source)}:{source}"


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
