"""Caches API keys for half a second after looking them up in Redis, and applies their rate limits.

So a change of a key takes effect on every process within `KEY_AGE_MS` and one request, and a page
that is polled needs no look-up for each request. The look-up also returns how much of the key's limit
is left, and reports how many requests this process allowed since the last one. So over any longer time
all processes together keep to the limit, and no request waits for a round trip because of it. Within
half a second each of N processes may allow a burst, so N bursts at most. An unknown key is looked up
each time, so a new key works at once.

Several keys can share a limit: the secrets of one key, and an admin's key with the keys that it created
(`Key.limits`). They have one `RateBucket` in a process, and one record in Redis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from pydantic import ValidationError

from api.auth.failures import FailedAuthentications, FailedImports
from api.auth.tokens import TokenSigner
from api.errors import RateLimited
from api.http.arrivals import Arrivals
from api.http.caller import Caller
from api.http.singleflight import Singleflight
from schemas.errors import StoreCorrupt, StoreError
from schemas.limits import SECOND_MS
from schemas.store.keys import Key, RateLimit
from schemas.store.layout import HASH_TAG

KEYS_KEY: Final = HASH_TAG + "api-keys"
USES_KEY: Final = HASH_TAG + "api-key-uses"
LIMIT_PREFIX: Final = HASH_TAG + "api-key-limit."

KEY_AGE_MS: Final = 500
"""Revocation must take effect within a second; the other half is for the request under way. Measured:
a cached key costs a request 2 us, a look-up 180 us and a round trip. With a look-up each time, a 304
of /v1/usage runs at 0.35 instead of 0.61 of the rate of a trivial route."""
KEYS_MAX: Final = 10_000
"""Limit of stored keys, 300 B to 7 kB each: as many as one answer can list."""

_LOOK: Final = (Path(__file__).parent / "key_look.lua").read_text()

Command = Callable[..., Awaitable[Any]]


@dataclass(eq=False)
class RateBucket:
    """What is left of a rate limit at `level_ms` of a steady clock, and how many requests this process
    has allowed that Redis does not know of."""

    limit: RateLimit
    level: float
    level_ms: int
    taken: int = 0

    def wait_s(self, now_ms: int) -> float:
        """Seconds until the next request is allowed; 0 if it is allowed now."""
        filled = self.level + (now_ms - self.level_ms) * self.limit.per_s / SECOND_MS
        self.level, self.level_ms = min(self.limit.burst, filled), now_ms
        return max(0.0, (1 - self.level) / self.limit.per_s)

    def take(self) -> None:
        self.level -= 1
        self.taken += 1


@dataclass(frozen=True, eq=False)
class CachedKey:
    """A key as Redis had it at `asked_ms` of a steady clock, and its rate limits."""

    record: Key
    asked_ms: int
    buckets: tuple[RateBucket, ...] = ()

    def take(self, now_ms: int) -> None:
        """Count one request in each limit. Raises RateLimited, and then counts it in none."""
        wait_s = max((bucket.wait_s(now_ms) for bucket in self.buckets), default=0.0)
        if wait_s:
            raise RateLimited(ceil(wait_s))
        for bucket in self.buckets:
            bucket.take()


class KeyCache:
    """`command` sends one command to Redis; `ticks` is a steady clock in ms."""

    def __init__(self, command: Command, ticks: Callable[[], int]) -> None:
        self._command = command
        self._ticks = ticks
        self._known: dict[str, CachedKey] = {}
        self._buckets: WeakValueDictionary[str, RateBucket] = WeakValueDictionary()
        self._looks: Singleflight[CachedKey | None] = Singleflight()
        self.arrivals = Arrivals()
        self.tokens = TokenSigner(command, ticks)
        self.failures = FailedAuthentications()
        self.failed_imports = FailedImports()
        self.put_back: Callable[[str], Awaitable[bool]] | None = None
        """Restores a key that Redis does not know, by its digest; returns whether Redis knows it now."""
        self.session_of: Callable[[Caller, int], Awaitable[str | None]] | None = None
        """The digest of the key of a browser's session, or None."""

    @property
    def has_known(self) -> bool:
        """Whether Redis has known a key since this process runs."""
        return bool(self._known)

    async def find(self, digest: str) -> CachedKey | None:
        """The key whose secret has this SHA-256, or None."""
        known = self._known.get(digest)
        if known is not None and self._ticks() - known.asked_ms < KEY_AGE_MS:
            return known
        return await self._looks.once(digest, partial(self._look, digest))

    def take(self, known: CachedKey) -> None:
        """Count one request with this key. Raises RateLimited."""
        known.take(self._ticks())

    async def _look(self, digest: str) -> CachedKey | None:
        before = self._known.pop(digest, None)
        asked_ms = self._ticks()
        told = {bucket: bucket.taken for bucket in before.buckets} if before is not None else {}
        for bucket in told:
            bucket.taken = 0
        reports = [word for bucket, taken in told.items() for word in (bucket.limit.id, taken)]
        look = ("EVAL", _LOOK, 2, KEYS_KEY, USES_KEY, digest, LIMIT_PREFIX, *reports)
        try:
            found = await self._command(*look)
            if found is None and self.put_back is not None and await self.put_back(digest):
                found = await self._command(*look)
        except StoreError:
            _untell(told)
            if before is not None:
                self._known[digest] = before  # too old to be used, but it has requests to report
            raise
        if found is None:
            _untell(told)
            return None
        record = record_of(found[0])
        levels = zip(record.limits, found[1], strict=True)
        known = CachedKey(record, asked_ms, tuple(self._bucket(*one) for one in levels))
        while len(self._known) >= KEYS_MAX:
            del self._known[next(iter(self._known))]
        self._known[digest] = known
        return known

    def _bucket(self, limit: RateLimit, level: int | None) -> RateBucket:
        """The bucket of a limit, with the level that Redis has, in thousandths; None: Redis could not
        write it, so this process limits alone."""
        now_ms = self._ticks()
        bucket = self._buckets.get(limit.id)
        if bucket is None:
            bucket = self._buckets[limit.id] = RateBucket(limit, limit.burst, now_ms)
        bucket.limit = limit
        if level is not None:
            # Other keys may have taken some while this look-up was under way.
            bucket.level, bucket.level_ms = level / 1000 - bucket.taken, now_ms
        return bucket


def _untell(told: Mapping[RateBucket, int]) -> None:
    """Redis did not learn of these requests."""
    for bucket, taken in told.items():
        bucket.taken += taken


def record_of(content: bytes) -> Key:
    """A record as Redis stores it. Raises StoreCorrupt if it is invalid."""
    try:
        return Key.model_validate_json(content)
    except ValidationError as error:
        raise StoreCorrupt("the record of an API key is not one") from error
