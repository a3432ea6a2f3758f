"""The counters on Redis or Valkey: `CounterStore` of streams/core/ports.py.

Its writes are functions of the Lua library (streams/redis/library.py), each one atomic step.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from schemas.catalog.views import CALL_BUCKETS
from schemas.errors import StoreCorrupt, StoreUnavailable
from schemas.event.identity import CallKey, IdSecret, unpack_call_key, unpack_secret
from schemas.limits import AHEAD_MS_MAX, MINUTE_MS
from schemas.prices.price_list import Prices
from schemas.prices.stored_lists import CountedPrices, encode_prices
from schemas.quotas import Quota
from schemas.store.added_views import unpack_starts, views_key
from schemas.store.chunk_version import unpack_chunk_version
from schemas.store.layout import (
    CURRENT_KEY,
    FIRST_GENERATION,
    SKIPPED_KEY,
    Meta,
    about_key,
    compaction_queue_key,
    id_secret_key,
    meta_key,
    prefix,
    refusals_key,
    tallies_key,
    unpack_meta,
)
from schemas.tiers import ALL_CLOSED, CLOSING, Closed
from streams.core.calls import StoredCall
from streams.core.ports import Commit, Outcome, RefusalReason, Reply
from streams.redis import library
from streams.redis.client import RedisOwner, ask, call_function
from streams.redis.closing import (
    ReadOpenPage,
    closing_pages,
    encode_closing,
    may_be_closed,
    open_key,
    unpack_open_page,
)
from streams.redis.commit import TENANT_SERIES, encode_commit, encode_names
from streams.redis.compaction import ReadPage, compact_forms, unpack_queued_page
from streams.redis.price_lists import LISTS_MAX, keep_list, list_starts, read_lists
from streams.redis.series_ids import NO_EPOCH, Ids

META_READS_MAX: Final = 4
"""To find the generation that answers: one read, two after a rebuild."""
COMMIT_TRIES_MAX: Final = 4
"""With the ids of a commit's series: one try, two after the server has restarted."""
COMPACT_PAGES_MAX: Final = 64
COMPACT_BYTES_MAX: Final = 2 << 20
"""Pages that are compacted at once: some 20 kB each, 0.1 to 0.5 ms to read, merge and write. Pages
of chats may have megabytes: then fewer are compacted at once."""
QUEUE_PER_ROUND: Final = 512
"""One more round of COMPACT_PAGES_MAX for each so many queued pages. So live events wait for few
pages after a commit. A backfill, which queues a thousand pages with each commit, never has more
than some thousands queued."""
CLOSE_EVERY_MS: Final = 1000
"""The pause after there was nothing to close."""
_CLOSING: Final = json.dumps(
    {tier.id: (tier.chunk_ms, place + 1) for place, tier in enumerate(CLOSING)}
)
OTHER_SERVER: Final = -1
"""Reply of `compact` and `close`: this is not the server that the pages were read from."""


class RedisStore(RedisOwner):
    """`CounterStore` of streams/core/ports.py on Redis 7 or newer, or Valkey. Use as `async with`.

    Without `generation` it uses the one that answered when `meta` was last read. `about` describes
    a generation that it opens (`describe` in schemas/store/generation.py). `tenant_series`: a
    tenant's further series are counted as OTHER.
    """

    def __init__(
        self,
        url: str,
        generation: int | None = None,
        about: str = "",
        tenant_series: Quota = TENANT_SERIES,
    ) -> None:
        super().__init__(url)
        self._is_pinned = generation is not None
        self.generation = generation or FIRST_GENERATION
        self._about = about
        self._tenant_series = tenant_series
        self._ids = Ids()
        self._lists: dict[str, Prices] = {}
        self._digest = b""
        self._queued = 0  # pages in the compaction queue, as the last commit said
        self._pages_max = COMPACT_PAGES_MAX
        self._closing_epoch = ""
        self._open = 0  # pages of the chunks that are being closed, as the last step said
        self._closes_ms = 0

    @property
    def _meta_key(self) -> str:
        return meta_key(self.generation)

    async def open(
        self,
        digest: bytes,
        count: int,
        now_ms: int,
        secret: IdSecret,
        closed: Closed = ALL_CLOSED,
    ) -> None:
        arguments = [digest, self.generation, count, now_ms, self._about, secret.packed]
        arguments.append(json.dumps(closed))
        await self._call("open", [self._meta_key, CURRENT_KEY], arguments)

    async def meta(self) -> Meta | None:
        for _attempt in range(META_READS_MAX):
            current, data = await ask(self._redis.mget(CURRENT_KEY, self._meta_key))
            answering = generation_of(current)
            if self._is_pinned or answering == self.generation:
                return None if data is None else unpack_meta(data)
            self.generation = answering
            self._ids.forget()
        raise StoreUnavailable(f"the generation that answers changed during {META_READS_MAX} reads")

    async def secret(self) -> IdSecret:
        data = await ask(self._redis.get(id_secret_key(self.generation)))
        if data is None:
            raise StoreUnavailable(
                f"generation {self.generation} has no secret for its ids: Redis lost the key "
                f"{id_secret_key(self.generation)}. Run odometer rebuild"
            )
        return secret_in(data, self.generation)

    async def price_lists(self, own: Prices) -> Sequence[CountedPrices]:
        self._lists[own.version] = own
        return await read_lists(self._redis, self.generation, self._lists)

    async def list_starts(self) -> Sequence[tuple[int, str]]:
        """When each price list took effect, in ms (0: from the beginning), and its version."""
        return await list_starts(self._redis, self.generation)

    async def keep_prices(self, prices: Prices) -> None:
        await keep_list(self._redis, self.generation, prices)

    async def adopt(self, digest: bytes, new: bytes, prices: Prices, before_ms: int) -> int:
        """Lets a price list take effect in the generation that has this digest. Returns from when, in
        ms; -1 if it has another one by now, or that time is after `before_ms`."""
        data = await asyncio.to_thread(encode_prices, prices)
        arguments = [digest, new, prices.version, data, before_ms, LISTS_MAX]
        return int(await self._call("adopt", [self._meta_key], arguments))

    async def about(self, number: int | None = None) -> str:
        """`number`: of another generation than the one that `meta` found."""
        data = await ask(self._redis.get(about_key(number or self.generation)))
        return "" if data is None else data.decode()

    async def view_starts(self) -> Mapping[int, int]:
        """Since when each added view counts, in ms, by its id (schemas/store/added_views.py)."""
        return unpack_starts(await ask(self._redis.get(views_key(self.generation))))

    async def add_views(self, digest: bytes, new: bytes, about: str, ids: Sequence[int]) -> int:
        arguments = [digest, new, about, msgspec.json.encode(ids), AHEAD_MS_MAX + MINUTE_MS]
        return int(await self._call("add_views", [self._meta_key], arguments))

    async def bookings(
        self, secret: str, calls: Sequence[tuple[CallKey, int]]
    ) -> Mapping[CallKey, StoredCall | None]:
        asked = [(call.packed, call.digest % CALL_BUCKETS, slice_) for call, slice_ in calls]
        arguments = [msgspec.json.encode(asked), secret]
        flat = await self._call("bookings", [self._meta_key], arguments)
        held = zip(flat[::2], flat[1::2], strict=True)
        return {
            call: None if slice_ < 0 else StoredCall(slice_, data)
            for (call, _), (slice_, data) in zip(calls, held, strict=True)
        }

    async def commit(self, commit: Commit) -> Reply:
        for _attempt in range(COMMIT_TRIES_MAX):
            outcome, *subjects = await self._ask_for_ids(commit) or await self._call(
                "commit", [self._meta_key], encode_commit(commit, self._ids)
            )
            if outcome != b"unnamed":
                break
            self._ids.forget()
        else:
            raise StoreUnavailable(f"the server restarted during {COMMIT_TRIES_MAX} commits")
        if outcome == b"committed":
            self._digest, self._queued = commit.generation_digest, int(subjects[0])
            return Reply(Outcome.COMMITTED)
        if outcome in {b"stale", b"missing", b"retired", b"digest"}:
            self._ids.forget()  # it may be another server; this costs one more exchange
        if outcome == b"calls":
            subjects = [unpack_call_key(subject).digest for subject in subjects]
        numbers = [int(subject) for subject in subjects]
        if outcome == b"remembered":
            numbers = [number % (1 << 64) for number in numbers]
        return Reply(Outcome(outcome.decode()), numbers)

    async def compact_pages(self) -> None:
        for _round in range(1 + self._queued // QUEUE_PER_ROUND):
            if not self._queued or self._ids.epoch == NO_EPOCH:
                return
            self._queued = await self._replace(await self._read_queued())

    async def close_pages(self, digest: bytes, now_ms: int, epoch: bytes) -> None:
        for _round in range(1 + self._open // QUEUE_PER_ROUND):
            if now_ms < self._closes_ms:
                return
            data = await ask(self._redis.get(self._meta_key))
            if data is None or (meta := unpack_meta(data)).digest != digest:
                return
            closing = may_be_closed(meta, now_ms)
            read = await self._read_open(meta, closing)
            if not read and closing == meta.closing == meta.closed:
                self._open, self._closes_ms = 0, now_ms + CLOSE_EVERY_MS
                return
            pages = closing_pages(read)
            made = encode_closing(digest, self._closing_epoch, epoch, closing, pages, now_ms)
            said, *more = await self._call("close", [self._meta_key], made)
            if said == OTHER_SERVER:
                self._closing_epoch = more[0].decode()
            elif not read or said < 0:
                self._open, self._closes_ms = 0, now_ms + CLOSE_EVERY_MS
            else:
                self._open = max(said, *more)

    async def _read_open(self, meta: Meta, closing: Closed) -> list[ReadOpenPage]:
        """Some open pages of the first chunk that may be closed."""
        for tier, from_ms, to_ms in zip(CLOSING, meta.closed, closing, strict=True):
            if from_ms >= to_ms or not self._closing_epoch:
                continue
            key = open_key(self.generation, tier, from_ms // tier.chunk_ms)
            # Random ones: several workers close different pages of a large chunk.
            asked = self._redis.hrandfield(key, self._pages_max, withvalues=True)
            flat = [text.decode() for text in await ask(asked)]
            pages = list(map(unpack_open_page, flat[::2], flat[1::2]))
            if not pages:
                continue
            versions = list(dict.fromkeys(page.version for page in pages))
            head = prefix(self.generation)
            keys = [head + key for key in (*(page.key for page in pages), *versions)]
            data = await ask(self._redis.mget(keys))
            compactions = {
                version: 0 if one is None else unpack_chunk_version(one).compactions
                for version, one in zip(versions, data[len(pages) :], strict=True)
            }
            return [
                ReadOpenPage(page, one or b"", compactions[page.version])
                for page, one in zip(pages, data, strict=False)
            ]
        return []

    async def _read_queued(self) -> Sequence[ReadPage]:
        """Some of the queued pages, and how often pages of their chunks had been compacted at that
        instant."""
        entries = await ask(
            self._redis.lrange(compaction_queue_key(self.generation), 0, self._pages_max - 1)
        )
        queued = {entry: unpack_queued_page(entry) for entry in entries}
        chunk_versions = list(dict.fromkeys(one.chunk_version_key for one in queued.values()))
        keys = [*(one.page for one in queued.values()), *chunk_versions]
        head = prefix(self.generation)
        found = await ask(self._redis.mget([head + key for key in keys])) if keys else []
        found_versions = dict(zip(chunk_versions, found[len(queued) :], strict=True))
        read, size_bytes = [], 0
        for (entry, one), page in zip(queued.items(), found, strict=False):
            if size_bytes >= COMPACT_BYTES_MAX:
                break
            chunk_version = found_versions[one.chunk_version_key]
            seen = 0 if chunk_version is None else unpack_chunk_version(chunk_version).compactions
            read.append(ReadPage(entry, one, page or b"", seen))
            size_bytes += len(page or b"")
        if read:
            fitting = COMPACT_BYTES_MAX * len(read) // max(1, size_bytes)
            self._pages_max = min(COMPACT_PAGES_MAX, max(1, fitting))
        return read

    async def _replace(self, read: Sequence[ReadPage]) -> int:
        """Writes the compact form of these pages. Returns how many are still queued."""
        if not read:
            return 0
        arguments: list[bytes | str | int] = [self._digest, self._ids.epoch, _CLOSING]
        for one, rows in zip(read, compact_forms(read), strict=True):
            is_shorter = len(rows) < len(one.page)
            page = (len(one.page), rows) if is_shorter else (0, b"")
            arguments += [one.entry, one.compactions, *page]
        left = int(await self._call("compact", [self._meta_key], arguments))
        if left == OTHER_SERVER:
            self._ids.forget()
        return max(left, 0)

    async def _ask_for_ids(self, commit: Commit) -> list[Any]:
        """Asks for the ids that are not known yet. Returns [], or why the commit cannot be made."""
        delta = commit.delta
        if not (missing := self._ids.missing(delta)):
            return []
        arguments = encode_names(commit, missing, self._tenant_series)
        outcome, *said = await self._call("names", [self._meta_key], arguments)
        if outcome != b"named":
            return [outcome, *said]
        epoch, names, *ids = said
        if epoch.decode() != self._ids.epoch and self._ids.epoch != NO_EPOCH:
            self._ids.forget()  # all other ids are of an earlier epoch
            return await self._ask_for_ids(commit)
        self._ids.learn(epoch.decode(), names, delta, missing, ids)
        return []

    async def refuse(self, partition: int, position: int, why: RefusalReason, detail: str) -> None:
        field = "generation" if partition < 0 else partition
        said = json.dumps({"reason": why.name.lower(), "detail": detail})
        await self._call("refuse", [self._meta_key], [field, int(why), said, position])

    async def accept(
        self, partition: int, position: int, new_position: int, history_from_ms: int
    ) -> bool:
        """Continues at another position, as an operator decided. False if the position has
        moved."""
        arguments = [partition, position, new_position, history_from_ms]
        return bool(await self._call("accept", [self._meta_key], arguments))

    async def tallies(self) -> dict[str, int]:
        """Counts of the generation that `meta` found: dead letters (`dead:REASON`), duplicates,
        unknown fields (`unknown:NAME`), and users that the directory had no room for
        (`directory_full`)."""
        found = await ask(self._redis.hgetall(tallies_key(self.generation)))
        return {name.decode(): int(count) for name, count in found.items()}

    async def skipped(self) -> dict[str, int]:
        """Reasons why usage that came over OTLP was not counted, and how often; since Redis is empty,
        whatever the generation."""
        found = await ask(self._redis.hgetall(SKIPPED_KEY))
        return {reason.decode(): int(count) for reason, count in found.items()}

    async def refusals(self) -> dict[str, dict[str, str]]:
        """Partition, or "generation", to {"reason", "detail"}."""
        found = await ask(self._redis.hgetall(refusals_key(self.generation)))
        return {name.decode(): json.loads(said) for name, said in found.items()}

    async def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401  as RESP has it
        function = f"odometer_{name}_{library.VERSION}"
        is_read_only = name == "bookings"
        return await call_function(
            self._redis, function, library.CODE, keys, arguments, is_read_only=is_read_only
        )


def secret_in(data: bytes, generation: int) -> IdSecret:
    """The stored secret of a generation. The error never quotes what is stored."""
    try:
        return unpack_secret(data)
    except ValueError:
        raise StoreCorrupt(f"{id_secret_key(generation)} holds no secret") from None


def generation_of(current: bytes | None) -> int:
    """The value of `current`; the first generation if nothing was counted yet."""
    if current is None:
        return FIRST_GENERATION
    if not current.isdigit():
        raise StoreCorrupt(
            f"{CURRENT_KEY} holds {current!r}, which is not the number of a generation"
        )
    return int(current)
