"""The keys that this process knows: looked up in Redis, remembered for half a second.

So a change to a key acts on every process within `KEY_AGE_MS` and the time of one request, and a
page that is polled costs no look-up of its own. The same look says how much of the key's limit is
left: what a process lets through between two looks it tells with the next, so over any longer time
all processes together keep to the limit, and no request waits for a round trip because of it.
Within one half second each of N processes may let through what it saw left, so N bursts at most.
A key that is not known is asked for each time: one that was just made is good at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from api.errors import RateLimited
from api.http.singleflight import Singleflight
from schemas.errors import StoreCorrupt, StoreError
from schemas.limits import SECOND_MS
from schemas.store.keys import Key
from schemas.store.layout import HASH_TAG

KEYS_KEY: Final = HASH_TAG + "api-keys"
USES_KEY: Final = HASH_TAG + "api-key-uses"
LIMIT_PREFIX: Final = HASH_TAG + "api-key-limit."

KEY_AGE_MS: Final = 500
"""Revocation has to act within a second; the rest of it is for the request that is under way.
Measured: a key that is remembered costs 2 us of a request, one that is looked up 180 us and a round
trip: a 304 of /v1/usage then runs at 0.35 instead of 0.61 of a trivial route's rate."""
KEYS_MAX: Final = 10_000
"""Records that are kept at all, 300 B to 7 kB each: what can be listed in one answer."""

_LOOK: Final = (Path(__file__).parent / "key_look.lua").read_text()

Command = Callable[..., Awaitable[Any]]


@dataclass(eq=False)
class CachedKey:
    """A key as Redis had it at `asked_ms` (of a steady clock), and what is left of its limit."""

    record: Key
    asked_ms: int
    level: float = 0.0
    level_ms: int = 0
    taken: int = 0

    def take(self, now_ms: int) -> None:
        """Let one request through, or RateLimited."""
        rate = self.record.requests_per_s
        if rate is None:
            return
        filled = self.level + (now_ms - self.level_ms) * rate / SECOND_MS
        self.level, self.level_ms = min(self.record.limit_burst, filled), now_ms
        if self.level < 1:
            raise RateLimited(ceil((1 - self.level) / rate))
        self.level -= 1
        self.taken += 1


class KeyCache:
    """`command` sends one command to Redis; `ticks` is a steady clock in ms."""

    def __init__(self, command: Command, ticks: Callable[[], int]) -> None:
        self._command = command
        self._ticks = ticks
        self._known: dict[str, CachedKey] = {}
        self._looks: Singleflight[CachedKey | None] = Singleflight()
        self.put_back: Callable[[str], Awaitable[bool]] | None = None
        """What is tried where Redis does not know a digest; whether it does now."""

    async def find(self, digest: str) -> CachedKey | None:
        """The key whose secret has this SHA-256; None where there is none such."""
        known = self._known.get(digest)
        if known is not None and self._ticks() - known.asked_ms < KEY_AGE_MS:
            return known
        return await self._looks.once(digest, partial(self._look, digest))

    def take(self, known: CachedKey) -> None:
        """One request with this key, or RateLimited."""
        known.take(self._ticks())

    async def _look(self, digest: str) -> CachedKey | None:
        before = self._known.pop(digest, None)
        asked_ms = self._ticks()
        taken = before.taken if before is not None else 0
        look = ("EVAL", _LOOK, 3, KEYS_KEY, USES_KEY, LIMIT_PREFIX + digest, digest, taken)
        try:
            found = await self._command(*look)
            if found is None and self.put_back is not None and await self.put_back(digest):
                found = await self._command(*look)
        except StoreError:
            if before is not None:
                self._known[digest] = before  # still too old to be used, but it knows what to tell
            raise
        if found is None:
            return None
        known = _known(found, asked_ms, self._ticks(), before)
        while len(self._known) >= KEYS_MAX:
            del self._known[next(iter(self._known))]
        self._known[digest] = known
        return known


def record_of(content: bytes) -> Key:
    """A record as it lies in Redis; StoreCorrupt where it is none."""
    try:
        return Key.model_validate_json(content)
    except ValidationError as error:
        raise StoreCorrupt("the record of an API key is not one") from error


def _known(found: list[Any], asked_ms: int, now_ms: int, before: CachedKey | None) -> CachedKey:
    record = record_of(found[0])
    known = CachedKey(record, asked_ms, level_ms=now_ms)
    if record.requests_per_s is None:
        return known
    if len(found) == 2:
        known.level = found[1] / 1000
    elif before is not None and before.record.requests_per_s is not None:
        known.level, known.level_ms = before.level, before.level_ms  # this process alone, then
    else:
        known.level = record.limit_burst
    return known
