"""Each tenant has its share of keys and of the audit log, and no other tenant can take it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from api.auth import key_shares
from api.auth.audit import (
    AUDIT_KEY,
    AUDIT_OF,
    AUDIT_TENANT_MAX,
    AUDIT_TENANTS,
    Actor,
    line_of,
    operator,
    read_audit,
)
from api.auth.authenticate import digest_of, tenant_of
from api.auth.key_cache import KEYS_KEY
from api.auth.key_shares import ENDED_KEPT_MS, SECRETS_MAX
from api.auth.keys import (
    KeySpec,
    NewKey,
    create_keys,
    opened,
    read_records,
    restore_keys,
    revoke_key,
    rotate_key,
)
from api.errors import InvalidKey, TooManyKeys
from api.store.reader import Store

NOW_MS = 1_770_552_123_456
ACME = Actor("key-000000000a", "acme's admin", "admin", ("acme",))
BETA = Actor("key-000000000b", "beta's admin", "admin", ("beta",))
BOTH = Actor("key-000000000c", "admin of both", "admin", ("acme", "beta"))


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with opened(redis_url) as store:
        yield store


async def make(
    store: Store, actor: Actor, count: int = 1, tenants: tuple[str, ...] | None = None
) -> list[NewKey]:
    spec = KeySpec("k", tenants or tuple(actor.tenants), "viewer")
    return await create_keys(store, [spec] * count, actor, NOW_MS)


def set_limits(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    for name, limit in limits.items():
        monkeypatch.setattr(key_shares, name, limit)


# -- keys ------------------------------------------------------------------------------------------


async def test_one_tenant_cannot_take_the_keys_of_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, KEYS_MAX=8, OPERATOR_KEYS=2, TENANT_KEYS_MAX=3)
    of_beta = await make(store, BETA)
    of_acme = await make(store, ACME, 3)
    for tenants in (("acme",), ("acme", "beta")):
        with pytest.raises(TooManyKeys, match="3 valid keys; admins may create up to 3"):
            await make(store, BOTH, tenants=tenants)
    await make(store, BETA, 2)
    # Six keys: admins leave two to the operator, who may go beyond the share of a tenant.
    other = Actor("key-000000000d", "", "admin", ("other",))
    with pytest.raises(TooManyKeys, match="6 valid keys; the limit is 6"):
        await make(store, other)
    await make(store, operator(), 2, ("acme",))
    with pytest.raises(TooManyKeys, match="the limit is 8"):
        await make(store, operator(), 1, ("other",))
    # A leaked key is replaced in any case.
    for made in (of_beta[0], of_acme[0]):
        await rotate_key(store, made.record.id, 60_000, BOTH, NOW_MS)
    # Revoked and expired keys do not count.
    await revoke_key(store, of_acme[1].record.id, ACME, NOW_MS)
    await make(store, operator(), 1, ("other",))


async def test_a_tenant_that_is_named_twice_is_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, TENANT_KEYS_MAX=3)
    made, _ = await make(store, BOTH, 2, tenants=("acme", "beta", "acme"))
    assert made.record.tenants == ("acme", "beta")
    (one,) = await make(store, ACME, tenants=("acme", "acme"))
    assert tenant_of(one.record, {}) == "acme"
    with pytest.raises(TooManyKeys, match="the tenant has 3 valid keys"):
        await make(store, ACME)
    # As older versions stored it.
    content = one.record.model_dump_json().replace('["acme"]', '["acme","acme"]')
    await store.ask("HSET", KEYS_KEY, digest_of(one.secret), content)
    stored = (await read_records(store))[digest_of(one.secret)]
    assert tenant_of(stored, {}) == "acme"
    with pytest.raises(TooManyKeys, match="the tenant has 3 valid keys"):
        await make(store, ACME)


async def test_two_admins_do_not_exceed_the_share_at_the_same_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, TENANT_KEYS_MAX=5)
    outcomes = await asyncio.gather(
        *(make(store, ACME, 3) for _ in range(6)), make(store, BETA, 3), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyKeys)]
    tenants = [one.tenants for one in (await read_records(store)).values()]
    assert tenants.count(("acme",)) == 3
    assert tenants.count(("beta",)) == 3
    assert len(refused) == 5


async def test_rotations_do_not_add_secrets_without_limit(store: Store) -> None:
    (made,) = await make(store, ACME)
    newest = made
    for number in range(20):
        newest = await rotate_key(store, made.record.id, 60_000, ACME, NOW_MS + number)
    records = (await read_records(store)).values()
    valid = [one.serial for one in records if one.state(NOW_MS + 20) == "active"]
    assert sorted(valid) == [21 - at for at in reversed(range(SECRETS_MAX))]
    assert newest.record.serial == 21


async def test_the_oldest_ended_records_of_a_tenant_are_dropped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, TENANT_ENDED_MAX=2)
    (shared,) = await make(store, BOTH)
    await revoke_key(store, shared.record.id, BOTH, NOW_MS)
    made = await make(store, ACME, 5)
    for at, one in enumerate(made[:4], 1):
        await revoke_key(store, one.record.id, ACME, NOW_MS + at)
    kept = await read_records(store)
    expected = [shared, *made[2:]]  # beta still has room for the shared one
    assert kept.keys() == {digest_of(one.secret) for one in expected}
    later_ms = NOW_MS + 1 + ENDED_KEPT_MS
    await rotate_key(store, made[4].record.id, 60_000, ACME, later_ms)
    assert digest_of(shared.secret) not in await read_records(store)
    assert digest_of(made[2].secret) in await read_records(store)


async def test_one_tenant_can_rotate_beside_a_full_redis_of_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.key_records.RECORDS_MAX", 2)
    (made,) = await make(store, BETA)
    await make(store, ACME)
    with pytest.raises(TooManyKeys, match="RECORDS_MAX"):
        await make(store, BETA)
    assert (await rotate_key(store, made.record.id, 60_000, BETA, NOW_MS)).record.serial == 2


# -- the audit log ---------------------------------------------------------------------------------


async def test_one_tenant_cannot_flush_the_audit_of_another(store: Store) -> None:
    await make(store, BETA)
    (shared,) = await make(store, BOTH)
    flood = [KeySpec("k", ("acme",), "viewer")] * 500
    for _ in range(4):
        for one in await create_keys(store, flood[:1], ACME, NOW_MS):
            await revoke_key(store, one.record.id, ACME, NOW_MS)
    line = line_of("create", shared.record.model_copy(update={"tenants": ("acme",)}), ACME, NOW_MS)
    add = "for n = 1, tonumber(ARGV[2]) do redis.call('XADD', KEYS[1], '*', 'line', ARGV[1] .. (' '):rep(n)) end"
    await store.ask("EVAL", add, 1, AUDIT_OF + "acme", line, AUDIT_TENANT_MAX)
    await make(store, ACME)
    assert await store.ask("XLEN", AUDIT_OF + "acme") == AUDIT_TENANT_MAX
    assert await store.ask("XLEN", AUDIT_KEY) == 0
    assert [each["key_tenants"] for each in await read_audit(store, BETA)] == [["beta"]]
    of_both = await read_audit(store, BOTH, 5000)
    assert [each["key_tenants"] for each in of_both].count(["acme", "beta"]) == 1
    assert len(of_both) == AUDIT_TENANT_MAX + 2


async def test_the_operator_sees_the_latest_lines_of_all_tenants(store: Store) -> None:
    (made,) = await make(store, ACME)
    for number in range(50):
        about = made.record.model_copy(update={"tenants": (f"t{number}",)})
        line = line_of("create", about, operator(), NOW_MS)
        await store.ask("XADD", f"{AUDIT_OF}t{number}", f"{1000 + number}-1", "line", line)
        await store.ask("ZADD", AUDIT_TENANTS, 1000 + number, f"t{number}")
    await make(store, operator(), tenants=("t0", "t49"))
    lines = await read_audit(store, operator(), 10)
    assert sorted(line["key_tenants"] for line in lines[:2]) == [["acme"], ["t0", "t49"]]
    older = [[f"t{number}"] for number in range(49, 41, -1)]
    assert [line["key_tenants"] for line in lines[2:]] == older
    assert len(await read_audit(store, operator(), 100)) == 52


async def test_lines_of_the_single_stream_of_before_stay_readable(store: Store) -> None:
    (mine,), (theirs,) = await make(store, ACME), await make(store, BETA)
    for one in (mine, theirs):
        line = line_of("import", one.record, operator(), NOW_MS - 5)
        await store.ask("XADD", AUDIT_KEY, "5-1" if one is mine else "5-2", "line", line)
    assert [line["action"] for line in await read_audit(store, ACME)] == ["create", "import"]
    assert len(await read_audit(store, operator())) == 4
    wide = KeySpec("top", "all", "super-admin")
    await create_keys(store, [wide], operator(), NOW_MS)
    assert (await read_audit(store, operator()))[0]["key_tenants"] == "all"
    assert len(await read_audit(store, ACME)) == 2


async def test_a_change_writes_a_limited_number_of_lines(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.key_records.AUDIT_WRITES_MAX", 5)
    with pytest.raises(InvalidKey, match="6 tenants in all; at most 5"):
        await make(store, BOTH, 3)
    assert await read_records(store) == {}
    assert await read_audit(store, operator()) == []


async def test_restoring_many_keys_is_several_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.keys.AUDIT_WRITES_MAX", 5)
    monkeypatch.setattr("api.auth.key_records.AUDIT_WRITES_MAX", 5)
    for _ in range(4):
        await make(store, BOTH, 2)
    records = await read_records(store)
    await store.ask("DEL", KEYS_KEY)
    assert await restore_keys(store, records, operator(), NOW_MS) == 8
    assert await read_records(store) == records
