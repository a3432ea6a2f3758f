"""64-bit digests of events and calls, to recognise duplicates. Pure.

Each part is preceded by its length, so that ("ab", "c") and ("a", "bc") differ. xxh3 is fast and
not secret. It separates what producers send by accident; it does not stop deliberate forgery.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

import xxhash


def event_digests(
    tenants: Sequence[str], sources: Sequence[str], event_ids: Sequence[str]
) -> list[int]:
    """One digest an event, 0 to 2^64 - 1, from three columns of equal length.

    Most events of a batch share their tenant and source, so that part is encoded once.
    """
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
    """The digest of a call, 0 to 2^64 - 1."""
    return _digest(f"c{len(tenant)}:{tenant}{call_id}")


def _digest(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
