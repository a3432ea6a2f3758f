"""The secret of ids: one of its own for each generation, nowhere but there, and no commit under
another one. A booking of another tenant never matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pytest
import redis

from schemas.errors import StoreUnavailable
from schemas.event.identity import SECRET_BYTES, CallKey, IdSecret, new_secret
from schemas.store.generation import describe
from schemas.store.layout import FIRST_GENERATION, id_secret_key, meta_key, prefix
from schemas.units import iso
from streams.core.calls import StoredCall
from streams.core.columns import Columns, columns
from streams.core.fold import fold
from streams.core.ports import CounterStore, Outcome, Reply
from streams.redis.generations import GenerationEntry, RedisGenerations, RedisPair
from streams.redis.store import RedisStore
from tests.oracles.event_logs import SECRET, countable, encode, event
from tests.oracles.redis_counters import read_counters
from tests.simulation.log import PolledRecord
from tests.streams.redis.test_store_contract import (
    DIGEST,
    NOW_MS,
    SLICE,
    Subject,
    bookings,
    call,
    commit,
    ids,
    one_row,
    opened,
    progress,
    subject,
)

__all__ = ["subject"]  # a fixture

OTHER: Final = new_secret(bytes(range(100, 100 + SECRET_BYTES)))


async def test_the_first_secret_of_a_generation_stays(subject: Subject) -> None:
    with pytest.raises(StoreUnavailable, match="no secret"):
        await subject.store.secret()
    store = await opened(subject)
    await store.open(DIGEST, 2, NOW_MS, OTHER)
    assert await store.secret() == SECRET


async def test_digests_under_another_secret_write_nothing(subject: Subject) -> None:
    """As after a Redis that was emptied and opened again at the same positions."""
    store = await opened(subject)
    booked = StoredCall(SLICE, b"[1]")
    for name in (OTHER.name, ""):
        sent = commit(1, secret=name, delta=one_row(5), **ids(1, 2))
        assert (await store.commit(sent)).outcome is Outcome.STALE
        sent = commit(2, secret=name, delta=call(3, None, booked))
        assert (await store.commit(sent)).outcome is Outcome.STALE
    assert not subject.counters()
    assert await bookings(store, (3, SLICE)) == {3: None}
    assert (await store.commit(commit(3, **ids(1, 2)))).outcome is Outcome.COMMITTED


async def test_a_booking_is_not_read_under_another_secret(subject: Subject) -> None:
    store = await opened(subject)
    booked = StoredCall(SLICE, b"[1]")
    await store.commit(commit(1, delta=call(3, None, booked)))
    key = CallKey(3, "t")
    assert await store.bookings(SECRET.name, [(key, SLICE)]) == {key: booked}
    for name in (OTHER.name, ""):
        assert await store.bookings(name, [(key, SLICE)]) == {key: None}


# -- a forged digest -------------------------------------------------------------------------------


def rows_of(tenant: str, number: int, **changes: object) -> Columns:
    fields = event(
        id=f"evt-{number}", tenant=tenant, call_id=f"call of {tenant}", kind="call",
        time=iso(NOW_MS), **changes,
    )  # fmt: skip
    return columns(countable([PolledRecord(number, NOW_MS, encode(fields), ())]), secret=SECRET)


async def counted(store: CounterStore, number: int, rows: Columns) -> Reply:
    delta = fold(rows, await store.bookings(rows.secret, rows.booked_calls))
    return await store.commit(
        commit(
            number,
            progress(0, number - 1 or -1, number),
            delta=delta,
            digests=rows.digests,
            slices=np.full(len(rows), SLICE, np.int64),
        )
    )


def colliding(_secret: IdSecret, tenants: Sequence[str], _call_ids: Sequence[str]) -> list[CallKey]:
    """Every call has the same digest, as if someone had found one that collides."""
    return [CallKey(7, tenant) for tenant in tenants]


async def test_a_forged_call_neither_reads_nor_changes_the_booking_of_another_tenant(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.core.columns.call_keys", colliding)
    store = await opened(subject)
    secrets_of_b = {"user_id": "user of b", "phone_number": "+4912345", "agent_id": "agent of b"}
    victim = rows_of("b", 1, **secrets_of_b)
    assert (await counted(store, 1, victim)).outcome is Outcome.COMMITTED
    key_of_b = CallKey(7, "b")
    before = (await store.bookings(SECRET.name, [(key_of_b, SLICE)]))[key_of_b]
    assert before is not None
    forged = rows_of("a", 2, duration_ms=60_000)
    assert (await counted(store, 2, forged)).outcome is Outcome.COMMITTED
    found = await store.bookings(SECRET.name, [(key_of_b, SLICE), (CallKey(7, "a"), SLICE)])
    assert found[key_of_b] == before
    own = found[CallKey(7, "a")]
    assert own is not None
    assert b"of b" not in own.data
    of_a = {cell for cell in subject.counters() if cell[2] == "a"}
    assert of_a
    assert "of b" not in repr(of_a)
    later = rows_of("b", 3, duration_ms=1000)
    assert (await counted(store, 3, later)).outcome is Outcome.COMMITTED
    now = (await store.bookings(SECRET.name, [(key_of_b, SLICE)]))[key_of_b]
    assert now is not None
    assert b"agent of b" in now.data


async def test_two_calls_of_one_digest_in_one_batch_are_two_calls(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.core.columns.call_keys", colliding)
    store = await opened(subject)
    records = [
        PolledRecord(
            number,
            NOW_MS,
            encode(event(id=f"e{number}", tenant=tenant, call_id="c", kind="call", agent_id=tenant)
                   | {"time": iso(NOW_MS)}),
            (),
        )
        for number, tenant in enumerate("ab")
    ]  # fmt: skip
    rows = columns(countable(records), secret=SECRET)
    assert (await counted(store, 1, rows)).outcome is Outcome.COMMITTED
    asked = [(CallKey(7, tenant), SLICE) for tenant in "ab"]
    found = await store.bookings(SECRET.name, asked)
    for key, stored in found.items():
        assert stored is not None
        assert f'"{key.tenant}"'.encode() in stored.data


# -- on the real server ----------------------------------------------------------------------------


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def values_in(client: Any) -> dict[str, str]:
    """Everything that Redis holds, by key, as text."""
    reads = {
        b"string": ("GET",),
        b"hash": ("HGETALL",),
        b"set": ("SMEMBERS",),
        b"list": ("LRANGE", 0, -1),
        b"zset": ("ZRANGE", 0, -1),
    }
    found = {}
    for key in client.scan_iter(count=1000):
        command, *bounds = reads[client.execute_command("TYPE", key)]
        found[key.decode()] = repr(client.execute_command(command, key, *bounds))
    return found


def is_in(secret: IdSecret, text: str) -> bool:
    return any(form in text for form in (repr(secret.key)[2:-1], secret.key.hex()))


@pytest.mark.servers
async def test_a_secret_lies_in_one_key_and_nowhere_else(
    redis_url: str, client: redis.Redis
) -> None:
    async with RedisGenerations(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        await counted(store, 1, rows_of("a", 1))
        meta = await store.meta()
        entry = GenerationEntry(origin=1, begun_ms=NOW_MS)
        assert await store.begin(2, entry, DIGEST, [-1, -1], 0, describe("t"), None)
        said = repr([meta, await store.entries(), await store.tallies(), await store.about(2)])
    assert not is_in(SECRET, said + describe("contract"))
    holding = {key for key, value in values_in(client).items() if is_in(SECRET, value)}
    assert holding == {id_secret_key(1), id_secret_key(2)}


@pytest.mark.servers
async def test_a_rebuild_keeps_the_secret_or_has_one_of_its_own(
    redis_url: str, client: redis.Redis
) -> None:
    entry = GenerationEntry(origin=1, begun_ms=NOW_MS)
    async with RedisGenerations(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        assert await store.begin(2, entry, DIGEST, [-1], 0, "", None)
        assert await store.begin(3, entry, DIGEST, [-1], 0, "", OTHER)
        async with RedisPair(redis_url, 1, 2) as kept, RedisPair(redis_url, 1, 3) as fresh:
            assert await kept.shared_secret() == await kept.secret() == SECRET
            assert await fresh.shared_secret() is None
            assert await fresh.secret() == OTHER
        client.delete(id_secret_key(1))  # as layout 3 has none
        assert not await store.begin(4, entry, DIGEST, [-1], 0, "", None)
        assert not client.exists(meta_key(4))
        async with RedisPair(redis_url, 1, 2) as kept:
            assert await kept.shared_secret() is None


@pytest.mark.servers
@pytest.mark.parametrize("tenants", [1, 20, 200])
async def test_tenants_share_the_sets_of_ids(redis_url: str, client: Any, tenants: int) -> None:
    """So an id takes as many bytes with a thousand tenants as with one."""
    async with RedisStore(redis_url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        records = [
            PolledRecord(n, NOW_MS, encode(event(id=f"e{n}", tenant=f"t{n % tenants}")
                                           | {"time": iso(NOW_MS)}), ())
            for n in range(200)
        ]  # fmt: skip
        await counted(store, 1, columns(countable(records), secret=SECRET))
    sets = list(client.scan_iter(match=f"{prefix(FIRST_GENERATION)}i*"))
    assert all(len(key.split(b".")) == 2 for key in sets)
    assert sum(client.execute_command("SCARD", key) for key in sets) == 200
    assert len(read_counters(redis_url)) > 0
