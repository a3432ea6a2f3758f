"""64-bit digests of events and calls under a secret, to recognise duplicates. Pure.

All tenants share the stored digests. So nobody may be able to choose an id with a given digest: the
hash is keyed (BLAKE2b), and its secret is drawn at random and stored with the generation. Each part
is preceded by its length, so that ("ab", "c") and ("a", "bc") differ.

Some hashes stay unkeyed, because nothing of another tenant depends on them:

- The digest of a chat in a set (schemas/catalog/sketches.py). A set belongs to one tenant, and a
  rebuild must add the sets of two generations. A client that forges one changes only counts of its
  own tenant.
- The partition of a key (api/ingest/partitioner.py), which spreads load. Kafka's clients choose it.
- The ETag of an answer (api/usage/endpoints.py), which a client compares with its own answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.event.answer_id import ANSWER_HEADS, is_answer_id

NAME_BYTES: Final = 8
KEY_BYTES: Final = 32
SECRET_BYTES: Final = NAME_BYTES + KEY_BYTES
"""Random bytes of a secret. Half of the key would suffice: a guess at 2^128 is out of reach."""
DIGEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class IdSecret:
    """The secret of one generation. `name` is random too, and says nothing about `key`: a commit
    carries it, so that Redis can tell digests that were made under another secret."""

    name: str
    key: bytes = field(repr=False)

    @property
    def packed(self) -> bytes:
        """As Redis stores it: the name (16 characters), then the key."""
        return self.name.encode() + self.key


def new_secret(random: bytes) -> IdSecret:
    """A secret of SECRET_BYTES random bytes."""
    return IdSecret(random[:NAME_BYTES].hex(), random[NAME_BYTES:SECRET_BYTES])


def unpack_secret(data: bytes) -> IdSecret:
    """The secret that `packed` stores. Raises ValueError for anything else."""
    name, key = data[: 2 * NAME_BYTES], data[2 * NAME_BYTES :]
    if len(key) != KEY_BYTES:
        raise ValueError("a secret has 16 characters of a name and 32 bytes of a key")
    return IdSecret(name.decode("ascii"), key)


NO_SECRET: Final = IdSecret("", b"")
"""Of no generation. A store rejects digests that are made under it."""


class CallKey(NamedTuple):
    """A call. The tenant is a part of it, so a booking of another tenant never matches, even if the
    digest were the same."""

    digest: int
    tenant: str

    @property
    def packed(self) -> str:
        """The field of its booking in Redis."""
        return f"{self.digest}:{self.tenant}"


def unpack_call_key(data: bytes) -> CallKey:
    digest, _, tenant = data.decode().partition(":")
    return CallKey(int(digest), tenant)


def sources_of(
    kinds: Sequence[str], sources: Sequence[str], event_ids: Sequence[str]
) -> Sequence[str]:
    """The source that is a part of each event's identity: none for an answer that its id alone identifies.
    One answer is reported by several libraries, each under a source of its own: the body that an app
    received, a span of its service, the callback of a gateway."""
    if not any(event_id.startswith(ANSWER_HEADS) for event_id in event_ids):
        return sources
    return [
        "" if kind == "llm" and is_answer_id(event_id) else source
        for kind, source, event_id in zip(kinds, sources, event_ids, strict=True)
    ]


def event_digests(
    secret: IdSecret, tenants: Sequence[str], sources: Sequence[str], event_ids: Sequence[str]
) -> npt.NDArray[np.uint64]:
    """One digest an event, from three columns of equal length.

    Most events of a batch share their tenant and source, so that part is made once.
    """
    begun = blake2b(digest_size=DIGEST_BYTES, key=secret.key)
    if len(set(tenants)) == 1:
        heads = map(_HeadsOf(begun, tenants[0]).__getitem__, sources)
    else:
        heads = map(_Heads(begun).__getitem__, zip(tenants, sources, strict=True))
    digests = []
    for head, event_id in zip(heads, map(str.encode, event_ids), strict=True):
        hashed = head.copy()
        hashed.update(event_id)
        digests.append(hashed.digest())
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


class _HeadsOf(dict[str, blake2b]):
    """By source: the hash of the key, the tenant and the source. So an event hashes its id only."""

    def __init__(self, begun: blake2b, tenant: str) -> None:
        super().__init__()
        self._begun = begun
        self._tenant = tenant

    def __missing__(self, source: str) -> blake2b:
        head = self[source] = _head(self._begun, self._tenant, source)
        return head


class _Heads(dict[tuple[str, str], blake2b]):
    def __init__(self, begun: blake2b) -> None:
        super().__init__()
        self._begun = begun

    def __missing__(self, key: tuple[str, str]) -> blake2b:
        tenant, source = key
        head = self[key] = _head(self._begun, tenant, source)
        return head


def _head(begun: blake2b, tenant: str, source: str) -> blake2b:
    head = begun.copy()
    head.update(f"e{len(tenant)}:{tenant}{len(source)}:{source}".encode())
    return head


def call_keys(secret: IdSecret, tenants: Sequence[str], call_ids: Sequence[str]) -> list[CallKey]:
    """The key of each event's call, from two columns of equal length; each digest is 0 to 2^64 - 1.

    To begin a keyed hash takes 2.5 us, to copy one 0.1 us. So each tenant's is begun once, and a call
    with several events in a batch is hashed once.
    """
    begun = blake2b(digest_size=DIGEST_BYTES, key=secret.key)
    if len(set(tenants)) == 1:
        of_one = _keys_of(begun, tenants[0], call_ids)
        return [*map(of_one.__getitem__, call_ids)]
    ids_of: dict[str, list[str]] = {}
    for tenant, call_id in zip(tenants, call_ids, strict=True):
        ids_of.setdefault(tenant, []).append(call_id)
    keys = {tenant: _keys_of(begun, tenant, own) for tenant, own in ids_of.items()}
    return [keys[tenant][call_id] for tenant, call_id in zip(tenants, call_ids, strict=True)]


def _keys_of(begun: blake2b, tenant: str, call_ids: Sequence[str]) -> dict[str, CallKey]:
    head = begun.copy()
    head.update(f"c{len(tenant)}:{tenant}".encode())
    distinct = dict.fromkeys(call_ids)
    digests = []
    for call_id in map(str.encode, distinct):
        hashed = head.copy()
        hashed.update(call_id)
        digests.append(hashed.digest())
    numbers = np.frombuffer(b"".join(digests), ">u8").tolist()
    keys = map(CallKey._make, zip(numbers, repeat(tenant), strict=False))
    return dict(zip(distinct, keys, strict=True))


def call_key(secret: IdSecret, tenant: str, call_id: str) -> CallKey:
    """The key of one call."""
    return call_keys(secret, [tenant], [call_id])[0]
