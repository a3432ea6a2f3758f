"""The generations of the counters in Redis: how one begins, answers, is retired and is dropped.

A generation is a complete set of counters under its own number (schemas/store/layout.py). One
answers. A rebuild fills the next one beside it. Each step here is one atomic call, or only reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import RebuildRefused, StoreCorrupt
from schemas.event.identity import IdSecret
from schemas.quotas import Quota
from schemas.store.layout import (
    CURRENT_KEY,
    GENERATIONS_KEY,
    REBUILD_KEY,
    Meta,
    hold_key,
    id_secret_key,
    meta_key,
    prefix,
    tenants_list_key,
    unpack_meta,
)
from schemas.store.quota_counts import id_counts_key, series_counts_key
from schemas.tiers import ALL_CLOSED, Closed
from streams.core.ports import PairState
from streams.redis.client import ask
from streams.redis.commit import TENANT_SERIES
from streams.redis.store import RedisStore, generation_of, secret_in

SCAN_COUNT: Final = 1000
"""Keys scanned in one call: half a millisecond of Redis' time."""
LEASE_MS: Final = 10_000
"""Lease of a rebuild. Renewed three times per period; it expires if the process dies."""


class GenerationEntry(msgspec.Struct, frozen=True):
    """What the hash of generations holds for one. Times are ms since 1970; 0 means "not yet".

    origin: the generation beside which a rebuild filled it. older_ms: its buckets before this time
    are copies of the origin's, as the log no longer holds their records (0: the log held all).
    recognised_from_ms: the origin had no secret, so its ids and bookings could not be copied. A
    resend of an event that was first appended before this time counts again (0: they were copied,
    or the log held all).
    is_whole: they have been copied. drop_ms: when to drop it. dropped_ms: when all of it was
    dropped.
    """

    origin: int = 0
    begun_ms: int = 0
    older_ms: int = 0
    recognised_from_ms: int = 0
    is_whole: bool = False
    retired_ms: int = 0
    drop_ms: int = 0
    dropped_ms: int = 0


class TenantUsage(NamedTuple):
    """`series`: in all views and kinds. `ids`: of events, as long as they are stored."""

    series: int
    ids: int


class RedisGenerations(RedisStore):
    """All generations of one Redis. As a `CounterStore` of streams/core/ports.py it is the one that
    answers."""

    async def usages(self) -> dict[str, TenantUsage]:
        """How much each tenant has of what has a quota. Read in one step."""
        meta = await self.meta()
        if meta is None:
            return {}
        slices = range(meta.slice_low, meta.slice_high + 1)
        pipe = self._redis.pipeline(transaction=True)
        pipe.lrange(tenants_list_key(self.generation), 0, -1)
        pipe.hgetall(series_counts_key(self.generation))
        for slice_ in slices:
            pipe.hgetall(id_counts_key(self.generation, slice_))
        tenants, series, *ids = await ask(pipe.execute())
        counted: Counter[str] = Counter()
        for one in ids:
            counted.update({tenant.decode(): int(count) for tenant, count in one.items()})
        named = {tenants[int(id_)].decode(): int(count) for id_, count in series.items()}
        return {
            tenant: TenantUsage(named.get(tenant, 0), counted[tenant])
            for tenant in sorted({*named, *counted})
        }

    async def entries(self) -> dict[int, GenerationEntry]:
        """The entries of all generations that a rebuild has begun or replaced."""
        found = await ask(self._redis.hgetall(GENERATIONS_KEY))
        return {int(number): _entry(data) for number, data in sorted(found.items())}

    async def note(self, number: int, entry: GenerationEntry) -> None:
        await ask(
            self._redis.hset(GENERATIONS_KEY, str(number), msgspec.json.encode(entry).decode())
        )

    async def meta_of(self, number: int) -> Meta | None:
        data = await ask(self._redis.get(meta_key(number)))
        return None if data is None else unpack_meta(data)

    async def has_secret(self, number: int) -> bool:
        """Whether a generation has a secret for its ids. Those of layout 3 have none."""
        return bool(await ask(self._redis.exists(id_secret_key(number))))

    async def begin(
        self,
        number: int,
        entry: GenerationEntry,
        digest: bytes,
        positions: Sequence[int],
        history_from_ms: int,
        about: str,
        secret: IdSecret | None,
        closed: Closed = ALL_CLOSED,
        hours_from_ms: int = 0,
        view_starts: Mapping[int, int] | None = None,
    ) -> bool:
        """Creates a generation beside its origin, to be counted from these positions on
        (NO_POSITION: from the start of the log), with this secret (None: that of its origin).
        `closed`: what is closed from the start; `hours_from_ms` as in `Meta`; `view_starts`: since when views
        count that lack events of before (schemas/store/added_views.py). False if another generation answers now, this one
        exists, or the origin's secret is gone."""
        keys = [meta_key(entry.origin), meta_key(number), CURRENT_KEY, GENERATIONS_KEY]
        arguments = [
            entry.origin,
            number,
            digest,
            entry.begun_ms,
            msgspec.json.encode(positions),
            history_from_ms,
            about,
            msgspec.json.encode(entry),
            b"" if secret is None else secret.packed,
            msgspec.json.encode(closed),
            hours_from_ms,
            entry.older_ms,
            msgspec.json.encode(view_starts) if view_starts else b"",
        ]
        return bool(await self._call("begin", keys, arguments))

    async def retire(self, number: int, entry: GenerationEntry) -> bool:
        """Retires a generation. False if it is the one that answers."""
        keys = [meta_key(number), CURRENT_KEY, GENERATIONS_KEY]
        return bool(await self._call("retire", keys, [number, msgspec.json.encode(entry)]))

    async def drop_due(self, now_ms: int) -> list[int]:
        """Drops the generations whose drop time has passed, and returns their numbers.

        It deletes some keys at a time. Nothing uses these generations any more, so several workers
        may do this at once, and any of them may be killed."""
        dropped = []
        for number, entry in (await self.entries()).items():
            if entry.dropped_ms or not entry.drop_ms or entry.drop_ms > now_ms:
                continue
            # Its meta record goes last, so that a late worker reads that it is retired.
            cursor = 0
            while True:
                cursor, keys = await self.some_keys(number, "", cursor)
                if others := [key for key in keys if key != meta_key(number).encode()]:
                    await ask(self._redis.unlink(*others))
                if not cursor:
                    break
            await ask(self._redis.unlink(meta_key(number)))
            await self.note(number, msgspec.structs.replace(entry, dropped_ms=now_ms))
            dropped.append(number)
        return dropped

    async def some_keys(self, number: int, kind: str, cursor: int) -> tuple[int, list[bytes]]:
        """Some keys of a generation, and the cursor of the next ones. Cursor 0 starts and ends."""
        asked = self._redis.scan(cursor, match=f"{prefix(number)}{kind}*", count=SCAN_COUNT)
        found: tuple[int, list[bytes]] = await ask(asked)
        return found

    # -- the lease of a rebuild --------------------------------------------------------------------

    async def take_lease(self, token: bytes) -> bool:
        """Takes or renews the lease. False if another rebuild holds it."""
        asked = self._redis.set(REBUILD_KEY, token, nx=True, px=LEASE_MS)
        if await ask(asked):
            return True
        if await ask(self._redis.get(REBUILD_KEY)) != token:
            return False
        await ask(self._redis.pexpire(REBUILD_KEY, LEASE_MS))
        return True

    async def lease_left_ms(self) -> int:
        return max(0, int(await ask(self._redis.pttl(REBUILD_KEY))))

    async def release_lease(self, token: bytes) -> None:
        if await ask(self._redis.get(REBUILD_KEY)) == token:
            await ask(self._redis.delete(REBUILD_KEY))


class RedisPair(RedisGenerations):
    """The generation that answers and the one that a rebuild fills: `Pair` of
    streams/core/ports.py. As a `Store` it is the second one."""

    def __init__(
        self, url: str, origin: int, number: int, tenant_series: Quota = TENANT_SERIES
    ) -> None:
        super().__init__(url, number, tenant_series=tenant_series)
        self.origin = origin

    async def look(self) -> PairState:
        return (await self.read(()))[0]

    async def read(self, keys: Sequence[str]) -> tuple[PairState, list[bytes | None]]:
        """The state of both generations and the values of these keys, read in one step."""
        head = [CURRENT_KEY, meta_key(self.origin), meta_key(self.generation)]
        current, *found = await ask(self._redis.mget([*head, *keys]))
        return self._look(current, *found[:2]), found[2:]

    async def read_together(self, commands: Sequence[Sequence[Any]]) -> tuple[PairState, list[Any]]:
        """The state of both generations and the replies to these commands, read in one step."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.mget([CURRENT_KEY, meta_key(self.origin), meta_key(self.generation)])
        for command in commands:
            pipe.execute_command(*command)
        head, *answers = await ask(pipe.execute())
        return self._look(*head), answers

    def _look(self, current: bytes | None, old: bytes | None, new: bytes | None) -> PairState:
        if generation_of(current) != self.origin:
            raise RebuildRefused(f"generation {generation_of(current)} answers now")
        if old is None or new is None:
            raise RebuildRefused(
                f"generation {self.origin if old is None else self.generation} is gone: Redis was "
                "emptied, or restored from an older copy"
            )
        return PairState(unpack_meta(old), unpack_meta(new))

    async def shared_secret(self) -> IdSecret | None:
        """The secret of both generations. None if they have different ones, or the old one has none:
        then no id and no booking of the old one means anything in the new one."""
        keys = [id_secret_key(number) for number in (self.origin, self.generation)]
        old, new = await ask(self._redis.mget(keys))
        return secret_in(old, self.origin) if old is not None and old == new else None

    async def list_from(self, key: str, start: int) -> list[str]:
        return [name.decode() for name in await ask(self._redis.lrange(key, start, -1))]

    async def hold(self, for_ms: int) -> None:
        await ask(self._redis.set(hold_key(self.origin), b"1", px=for_ms))

    async def switch(self, now_ms: int, kept_ms: int) -> bool:
        keys = [
            meta_key(self.origin), meta_key(self.generation), CURRENT_KEY, GENERATIONS_KEY,
        ]  # fmt: skip
        before = (await self.entries()).get(self.origin, GenerationEntry())
        retired = msgspec.structs.replace(before, retired_ms=now_ms, drop_ms=now_ms + kept_ms)
        arguments = [self.origin, self.generation, now_ms, msgspec.json.encode(retired)]
        outcome, *_ = await self._call("switch", keys, arguments)
        if outcome in {b"replaced", b"missing"}:
            raise RebuildRefused("another generation answers now, or one of the two is gone")
        return bool(outcome == b"switched")


def _entry(data: bytes) -> GenerationEntry:
    try:
        return msgspec.json.decode(data, type=GenerationEntry)
    except msgspec.DecodeError as error:
        raise StoreCorrupt(f"{GENERATIONS_KEY} holds {data!r}") from error
