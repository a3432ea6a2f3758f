"""No tenant can use all bytes that may be under way to Kafka, or wait as history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from api.auth.key_cache import KeyCache
from api.errors import CountingBehind
from api.http.shared_bytes import SMALL_BYTES_MAX, SMALL_PART, SharedBytes
from api.ingest.backfill import WAITING_BYTES_MAX, Backfill
from api.ingest.endpoints import IngestDeps, seeds_of
from api.ingest.producer import HELD_BYTES_MAX, TENANT_PART, IngestProducer, KeyedRecord
from api.ingest.records import ValidatedRecords
from api.store.reader import Store
from schemas.errors import LogUnavailable
from schemas.formats.body import BODY_BYTES_MAX
from schemas.store.keys import Key

MiB = 1 << 20
NOW_MS = 1_770_552_123_456
ROOM_BYTES = int(HELD_BYTES_MAX * (1 - SMALL_PART))
SHARE_BYTES = int(ROOM_BYTES * TENANT_PART)
assert HELD_BYTES_MAX == WAITING_BYTES_MAX

Send = Callable[[Sequence[KeyedRecord], str], Awaitable[None]]


class Senders:
    """Requests that wait for an acknowledgement which does not come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[asyncio.Future[None]] = []

    async def waits(self, tenant: str, size_bytes: int) -> bool:
        """Whether a request is taken."""
        sending = asyncio.ensure_future(self._send([(b"", bytes(size_bytes))], tenant))
        await asyncio.sleep(0)
        if sending.done():
            with pytest.raises((LogUnavailable, CountingBehind), match="too m"):
                sending.result()
            return False
        self._waiting.append(sending)
        return True

    async def fill(self, tenant: str, size_bytes: int) -> int:
        """How many requests of a tenant are taken."""
        for count in range(10_000):
            if not await self.waits(tenant, size_bytes):
                return count
        raise AssertionError("there is no limit")

    async def cancel(self) -> None:
        for sending in self._waiting:
            sending.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        self._waiting.clear()


@asynccontextmanager
async def senders(send: Send) -> AsyncIterator[Senders]:
    made = Senders(send)
    try:
        yield made
    finally:
        await made.cancel()


def to_kafka() -> Send:
    """As long as no broker has answered, records wait for it."""
    return IngestProducer("e").send


@asynccontextmanager
async def history(away: str | None = None) -> AsyncIterator[Send]:
    """Another request has the turn, so all others wait."""
    producer = IngestProducer("e")
    producer._away = away
    backfill = Backfill(Store("redis://127.0.0.1:1", ""), producer)
    async with backfill._turns.turn("first"):
        yield backfill.send


async def test_one_tenant_leaves_room_on_the_way_to_kafka() -> None:
    await leaves_room(to_kafka())


async def test_history_of_one_tenant_leaves_room_for_that_of_others() -> None:
    async with history() as send:
        await leaves_room(send)
        await leaves_room(send)  # a request that was cancelled gives its bytes back


async def test_history_of_each_tenant_gets_its_turn() -> None:
    """There is no broker, so each request is rejected at its turn."""
    order: list[str] = []

    async def ask(send: Send, tenant: str) -> None:
        with pytest.raises(LogUnavailable):
            await send([(b"", b"")], tenant)
        order.append(tenant)

    async with history(away="no broker") as send:
        tenants = ["acme"] * 20 + ["beta"]
        asking = [asyncio.ensure_future(ask(send, tenant)) for tenant in tenants]
        await asyncio.sleep(0)
    await asyncio.gather(*asking)
    assert order.index("beta") <= 2


async def test_a_request_uses_the_share_of_its_keys_tenant() -> None:
    async def nothing_is_asked(*_command: object) -> None:
        raise AssertionError

    store, producer = Store("redis://127.0.0.1:1", ""), IngestProducer("e")
    key_cache = KeyCache(nothing_is_asked, lambda: 0)
    deps = IngestDeps(key_cache, lambda: NOW_MS, producer, seeds_of("p"), Backfill(store, producer))

    async def live(records: Sequence[KeyedRecord], tenant: str) -> None:
        key = Key(id="key-0123456789", name="k", created_ms=0, role="member", tenants=(tenant,))
        await deps.send(ValidatedRecords(records, (), (), 0, (), NOW_MS), key, {}, NOW_MS)

    await leaves_room(live)


async def leaves_room(send: Send) -> None:
    async with senders(send) as sending:
        assert await sending.fill("acme", MiB) == SHARE_BYTES // MiB
        # Who has used up its share may still send small requests, but not take all their room.
        assert await sending.fill("acme", SMALL_BYTES_MAX) == 32
        assert await sending.fill("beta", MiB) == SHARE_BYTES // MiB
        assert await sending.fill("other", MiB) == 0
        assert await sending.fill("other", SMALL_BYTES_MAX) == 32


async def test_a_request_larger_than_the_share_passes_alone() -> None:
    async with senders(to_kafka()) as sending:
        assert SHARE_BYTES < BODY_BYTES_MAX
        assert await sending.fill("acme", BODY_BYTES_MAX) == 1
        assert await sending.waits("beta", ROOM_BYTES - BODY_BYTES_MAX)
        assert not await sending.waits("other", SMALL_BYTES_MAX + 1)
    async with senders(to_kafka()) as sending:
        assert await sending.waits("acme", HELD_BYTES_MAX + 1)
        assert not await sending.waits("beta", SMALL_BYTES_MAX + 1)
        assert await sending.waits("beta", SMALL_BYTES_MAX)


def test_what_was_given_back_is_free_for_all() -> None:
    shared = SharedBytes(8 * MiB, TENANT_PART)
    for tenant in ("acme", "beta"):
        room = shared.take_whole(tenant, 7 * MiB)
        assert room is shared.for_any
        assert shared.take_whole("other", SMALL_BYTES_MAX + 1) is None
        room.take(tenant, -7 * MiB)
