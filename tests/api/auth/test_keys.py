"""API keys: shown once, kept as a digest, changed in one step with the line that says so."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from pydantic import ValidationError
from starlette.datastructures import Headers

from api.auth.audit import Actor, operator, read_audit
from api.auth.authenticate import KEY_CHARS_MAX, check_role, check_writer, digest_of, tenant_of
from api.auth.key_cache import KEYS_KEY, USES_KEY, KeyCache
from api.auth.keys import (
    GRACE_MS_MAX,
    IMPORT_MAX,
    KeySpec,
    NewKey,
    create_keys,
    list_keys,
    opened,
    read_records,
    restore_keys,
    revoke_key,
    rotate_key,
)
from api.errors import (
    InvalidKey,
    NoSuchKey,
    NoSuchTenant,
    RoleTooLow,
    TenantNotNamed,
)
from api.store.reader import Store
from deploy.local.api_keys import create_key, find_key
from schemas.errors import StoreCorrupt
from schemas.limits import ID_CHARS_MAX, TENANT_CHARS_MAX
from schemas.store.keys import ALL, ROLES, TENANTS_MAX, WRITERS, Key, Role
from tests.api.conftest import revoke

NOW_MS = 1_770_552_123_456
ACME = Actor("key-0000000000", "acme's admin", "admin", ("acme", "acme-test"))
WANTED = KeySpec("ci", ("acme",), "viewer")
DEFAULTS: dict[str, Any] = {"id": "key-0123456789", "name": "k", "tenants": ("t",), "created_ms": 0}


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with opened(redis_url) as store:
        yield store


async def make(store: Store, actor: Actor | None = None, **changes: Any) -> NewKey:
    (made,) = await create_keys(store, [replace(WANTED, **changes)], actor or operator(), NOW_MS)
    return made


async def state_of(store: Store, secret: str, now_ms: int = NOW_MS) -> str:
    return (await read_records(store))[digest_of(secret)].state(now_ms)


# -- made ------------------------------------------------------------------------------------------


async def test_only_a_digest_is_kept(redis_url: str) -> None:
    key = await create_key(redis_url, name="ci", tenant="acme", role="member", expires_ms=5)
    assert re.fullmatch(r"als_[A-Za-z0-9_-]{43}", key)
    with redis.Redis.from_url(redis_url) as client:
        kept = client.hgetall(KEYS_KEY)
        dumped = b"".join(client.dump(name) or b"" for name in client.scan_iter())
    assert key.encode() not in dumped
    assert key.removeprefix("als_").encode() not in dumped
    (digest,) = kept
    assert digest == digest_of(key).encode()
    record = json.loads(kept[digest])
    assert record.pop("created_ms") > 1_700_000_000_000
    assert re.fullmatch("key-[0-9a-f]{10}", record.pop("id"))
    assert record == {
        "serial": 1,
        "name": "ci",
        "tenants": ["acme"],
        "role": "member",
        "expires_ms": 5,
        "revoked_ms": None,
        "requests_per_s": None,
        "burst": None,
    }


async def test_a_key_is_known_until_it_is_revoked(redis_url: str) -> None:
    key = await create_key(redis_url, name="ci", tenant="acme", role="viewer")
    other = await create_key(redis_url, name="ci", tenant="acme", role="viewer")
    assert key != other
    assert await find_key(redis_url, key)
    assert not await find_key(redis_url, key + "x")
    assert not await find_key(redis_url, "")
    await revoke(redis_url, key)
    await revoke(redis_url, key)
    assert not await find_key(redis_url, key)
    assert await find_key(redis_url, other)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"role": "root"}, "^Field `role`: Input should be 'write-only', 'monitor'"),
        ({"tenants": ("",)}, "^Field `tenants`: a list of 1 to 100"),
        ({"tenants": ()}, "^Field `tenants`"),
        ({"tenants": ("t" * (TENANT_CHARS_MAX + 1),)}, "of 1 to 64 characters, or the text all$"),
        ({"tenants": tuple(f"t{n}" for n in range(TENANTS_MAX + 1))}, "^Field `tenants`"),
        ({"tenants": "some"}, "^Field `tenants`"),
        ({"tenants": "all", "role": "admin"}, "^Field `tenants`: only a super-admin sees all"),
        ({"name": ""}, "^Field `name`"),
        ({"name": "n" * (ID_CHARS_MAX + 1)}, "^Field `name`"),
        ({"expires_ms": -1}, "^Field `expires_ms`"),
        ({"requests_per_s": 0}, "^Field `requests_per_s`: .* greater than 0"),
        ({"requests_per_s": 5e-324}, "^Field `requests_per_s`: must be at least 1e-05"),
        ({"requests_per_s": 9e-6}, "REQUESTS_PER_S_MIN"),
        ({"requests_per_s": float("inf")}, "^Field `requests_per_s`"),
        ({"requests_per_s": 1e9}, "^Field `requests_per_s`"),
        ({"requests_per_s": 1, "burst": 0}, "^Field `burst`"),
        ({"burst": 5}, "a burst needs requests_per_s"),
        ({"secret": "short"}, "^Field `key`: must have 16 to 512 characters .* this has 5$"),
        ({"secret": "k" * (KEY_CHARS_MAX + 1)}, "^Field `key`: .* this has 513$"),
        ({"secret": "sk-with a space in it"}, "visible ASCII"),
        ({"secret": "sk-0123456789\r\nabcdef"}, "visible ASCII"),
        ({"secret": "sk-0123456789-ü-abcdef"}, "visible ASCII"),
    ],
)
async def test_a_key_that_cannot_be(store: Store, changes: dict[str, Any], says: str) -> None:
    fine = replace(WANTED, name="fine")
    with pytest.raises(InvalidKey, match=says) as raised:
        await create_keys(store, [fine, replace(WANTED, **changes)], operator(), NOW_MS)
    assert changes.get("secret", "no secret") not in str(raised.value)
    assert await read_records(store) == {}
    assert await read_audit(store, operator()) == []


async def test_keys_that_clients_hold_are_taken_in_all_or_none(store: Store) -> None:
    held = ["lvk_0123456789abcdef", "sk-0123456789abcdef", "als_0123456789abcdef"]
    wanted = [replace(WANTED, name=secret[:3], secret=secret) for secret in held]
    made = await create_keys(store, wanted, operator(), NOW_MS)
    assert [one.secret for one in made] == held
    assert {digest_of(secret) for secret in held} == (await read_records(store)).keys()
    before = await read_records(store)
    other = "sk-another-one-here"
    with pytest.raises(InvalidKey, match=r"exists already \(entry 2\)"):
        await create_keys(store, [replace(WANTED, secret=other), wanted[0]], operator(), NOW_MS)
    twice = replace(WANTED, secret=other)
    with pytest.raises(InvalidKey, match=r"exists already \(entry 2\)"):
        await create_keys(store, [twice, twice], operator(), NOW_MS)
    with pytest.raises(InvalidKey, match="IMPORT_MAX"):
        await create_keys(store, [WANTED] * (IMPORT_MAX + 1), operator(), NOW_MS)
    assert await read_records(store) == before
    assert [line["action"] for line in await read_audit(store, operator())] == ["import"] * 3


# -- changed ---------------------------------------------------------------------------------------


async def test_a_rotated_key_goes_on_for_its_grace(store: Store) -> None:
    old = await make(store, expires_ms=NOW_MS + 9_000, requests_per_s=2.5, burst=7)
    new = await rotate_key(store, old.record.id, 5_000, operator(), NOW_MS + 1)
    assert new.secret != old.secret
    changed = {"serial": 2, "created_ms": NOW_MS + 1}
    assert new.record == old.record.model_copy(update=changed)
    assert await state_of(store, old.secret, NOW_MS + 5_000) == "active"
    assert await state_of(store, old.secret, NOW_MS + 5_001) == "expired"
    assert await state_of(store, new.secret, NOW_MS + 5_001) == "active"
    # At once, and the one before it does not get longer by that.
    newest = await rotate_key(store, old.record.id, 0, operator(), NOW_MS + 2)
    assert await state_of(store, new.secret, NOW_MS + 2) == "expired"
    assert await state_of(store, old.secret, NOW_MS + 2) == "expired"
    await rotate_key(store, old.record.id, 60_000, operator(), NOW_MS + 3)
    assert await state_of(store, new.secret, NOW_MS + 3) == "expired"
    assert await state_of(store, newest.secret, NOW_MS + 8_999) == "active"
    assert await state_of(store, newest.secret, NOW_MS + 9_000) == "expired"
    with pytest.raises(InvalidKey, match="expired: create another"):
        await rotate_key(store, old.record.id, 0, operator(), NOW_MS + 9_000)


@pytest.mark.parametrize("grace_ms", [-1, GRACE_MS_MAX + 1])
async def test_a_grace_has_limits(store: Store, grace_ms: int) -> None:
    made = await make(store)
    with pytest.raises(InvalidKey, match=r"0 to 30 days \(GRACE_MS_MAX\)"):
        await rotate_key(store, made.record.id, grace_ms, operator(), NOW_MS)


async def test_revoking_ends_all_secrets_of_a_key(store: Store) -> None:
    old, other = await make(store), await make(store)
    new = await rotate_key(store, old.record.id, 60_000, operator(), NOW_MS)
    revoked = await revoke_key(store, old.record.id, operator(), NOW_MS + 5)
    assert (revoked.serial, revoked.revoked_ms) == (2, NOW_MS + 5)
    again = await revoke_key(store, old.record.id, operator(), NOW_MS + 9)
    assert again.revoked_ms == NOW_MS + 5
    assert await state_of(store, old.secret) == "revoked"
    assert await state_of(store, new.secret) == "revoked"
    assert await state_of(store, other.secret) == "active"
    with pytest.raises(InvalidKey, match="revoked: create another"):
        await rotate_key(store, old.record.id, 0, operator(), NOW_MS + 9)
    lines = await read_audit(store, operator())
    assert [line["action"] for line in lines] == ["revoke", "rotate", "create", "create"]


async def test_changes_at_the_same_time_are_one_after_the_other(store: Store) -> None:
    made = [await make(store) for _ in range(5)]
    ids = [one.record.id for one in made]
    await asyncio.gather(
        *(rotate_key(store, ids[0], 60_000, operator(), NOW_MS) for _ in range(3)),
        *(revoke_key(store, key_id, operator(), NOW_MS) for key_id in ids[1:]),
    )
    records = (await read_records(store)).values()
    assert sorted(one.serial for one in records if one.id == ids[0]) == [1, 2, 3, 4]
    assert {one.id for one in records if one.revoked_ms} == {*ids[1:]}
    assert len(await read_audit(store, operator())) == 12


async def test_what_is_missing_is_put_back_and_nothing_else(store: Store) -> None:
    made = [await make(store, name=name) for name in "abc"]
    saved = await read_records(store)
    await revoke_key(store, made[0].record.id, operator(), NOW_MS)
    await store.ask("HDEL", KEYS_KEY, digest_of(made[1].secret))
    assert await restore_keys(store, saved, operator(), NOW_MS) == 1
    assert await state_of(store, made[0].secret) == "revoked"
    assert await state_of(store, made[1].secret) == "active"
    assert await restore_keys(store, saved, operator(), NOW_MS) == 0
    (line, *_) = await read_audit(store, operator())
    assert (line["action"], line["key_name"]) == ("restore", "b")


async def test_a_damaged_record_is_no_key(redis_url: str) -> None:
    key = await create_key(redis_url, name="ci", tenant="acme", role="viewer")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(KEYS_KEY, digest_of(key), "{}")
    with pytest.raises(StoreCorrupt):
        await find_key(redis_url, key)


# -- by whom ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"tenants": ("acme", "acme-test"), "role": "admin"}, True),
        ({"role": "write-only"}, True),
        ({"role": "super-admin"}, False),
        ({"tenants": ("acme", "other")}, False),
        ({"tenants": "all", "role": "super-admin"}, False),
    ],
)
async def test_an_admin_manages_its_tenants_up_to_its_role(
    store: Store,
    changes: dict[str, Any],
    may: bool,  # noqa: FBT001
) -> None:
    made = await make(store, **changes)
    if may:
        theirs = await make(store, ACME, **changes)
        assert {one.record.id for one in await list_keys(store, ACME)} == {
            made.record.id,
            theirs.record.id,
        }
        await rotate_key(store, made.record.id, 0, ACME, NOW_MS)
        await revoke_key(store, made.record.id, ACME, NOW_MS)
        return
    before = await read_records(store)
    with pytest.raises(InvalidKey, match="your own"):
        await make(store, ACME, **changes)
    for key_id in (made.record.id, "key-ffffffffff", ""):
        with pytest.raises(NoSuchKey) as rotating:
            await rotate_key(store, key_id, 0, ACME, NOW_MS)
        with pytest.raises(NoSuchKey) as revoking:
            await revoke_key(store, key_id, ACME, NOW_MS)
        assert str(rotating.value) == str(revoking.value)
        assert key_id not in str(rotating.value) or not key_id
    assert await list_keys(store, ACME) == []
    assert await read_records(store) == before


async def test_an_audit_line_says_who_did_what(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "odometer.audit")
    made = await make(store, ACME, name="ci\nadmin")
    await make(store, tenants=("other",))
    rotated = await rotate_key(store, made.record.id, 7, ACME, NOW_MS + 1)
    line, first = await read_audit(store, ACME)
    assert first["action"] == "create"
    assert line == {
        "at_ms": NOW_MS + 1,
        "action": "rotate",
        "key_id": made.record.id,
        "key_name": "ci\nadmin",
        "key_role": "viewer",
        "key_tenants": ["acme"],
        "serial": 2,
        "by_id": ACME.id,
        "by_name": ACME.name,
        "grace_ms": 7,
    }
    assert [json.loads(record.message)["action"] for record in caplog.records] == [
        "create",
        "create",
        "rotate",
    ]
    assert not any("\n" in record.message for record in caplog.records)
    for secret in (made.secret, rotated.secret):
        assert secret not in caplog.text
    assert len(await read_audit(store, operator())) == 3
    assert len(await read_audit(store, operator(), 2)) == 2


async def test_a_list_says_when_each_was_used(store: Store) -> None:
    used, unused = await make(store, name="a"), await make(store, name="b")
    assert await KeyCache(store.ask, lambda: 0).find(digest_of(used.secret))
    first, second = await list_keys(store, operator())
    assert (first.record, second.record) == (used.record, unused.record)
    assert second.last_used_ms is None
    assert first.last_used_ms is not None
    assert first.last_used_ms % 60_000 == 0
    await revoke_key(store, used.record.id, operator(), NOW_MS)
    await store.ask("HDEL", USES_KEY, digest_of(used.secret))
    assert await KeyCache(store.ask, lambda: 0).find(digest_of("x")) is None
    assert (await list_keys(store, operator()))[0].last_used_ms is None


# -- what a key may --------------------------------------------------------------------------------


def key_of(role: Role) -> Key:
    return Key.model_validate(
        DEFAULTS | {"role": role} | ({"tenants": "all"} if role == "monitor" else {})
    )


async def test_only_who_manages_all_tenants_makes_a_monitor(store: Store) -> None:
    """It reads the state of all tenants."""
    everywhere = Actor("key-0000000000", "acme's", "super-admin", ("acme",))
    for actor in (ACME, everywhere):
        for tenants in (ALL, ("acme",)):
            with pytest.raises(InvalidKey, match=r"you can give only|its tenants are `all`"):
                await make(store, actor, role="monitor", tenants=tenants)
    made = await make(store, role="monitor", tenants=ALL)
    assert made.record.watches
    assert made.record.id not in {one.record.id for one in await list_keys(store, everywhere)}


def test_a_role_may_do_what_lesser_ones_may() -> None:
    for place, role in enumerate(ROLES):
        key = key_of(role)
        for required_place, required in enumerate(ROLES):
            if required_place <= place:
                check_role(key, required)
            else:
                with pytest.raises(RoleTooLow):
                    check_role(key, required)


@pytest.mark.parametrize("role", ROLES)
def test_who_may_write(role: Role) -> None:
    key = key_of(role)
    if role in WRITERS:
        check_writer(key)
    else:
        with pytest.raises(RoleTooLow):
            check_writer(key)


@pytest.mark.parametrize(
    ("tenants", "named", "header", "found"),
    [
        (("a",), None, None, "a"),
        (("a",), "a", None, "a"),
        (("a",), None, "a", "a"),
        (("a",), "a", "a", "a"),
        (("a",), "b", None, NoSuchTenant),
        (("a",), None, "b", NoSuchTenant),
        (("a",), "", None, NoSuchTenant),
        (("a",), None, "", NoSuchTenant),
        (("a",), "a", "b", TenantNotNamed),
        (("a", "b"), None, None, TenantNotNamed),
        (("a", "b"), "b", None, "b"),
        (("a", "b"), None, "b", "b"),
        (("a", "b"), "A", None, NoSuchTenant),
        (("a", "bü"), None, "bü", "bü"),
        ("all", None, None, TenantNotNamed),
        ("all", "whoever", None, "whoever"),
        ("all", "", None, NoSuchTenant),
        ("all", "t" * (TENANT_CHARS_MAX + 1), None, NoSuchTenant),
        (("all",), "whoever", None, NoSuchTenant),
    ],
)
def test_which_tenant(
    tenants: tuple[str, ...] | str,
    named: str | None,
    header: str | None,
    found: str | type[Exception],
) -> None:
    key = Key.model_validate(DEFAULTS | {"tenants": tenants, "role": "super-admin"})
    raw = [] if header is None else [(b"x-odometer-tenant", header.encode())]
    if isinstance(found, str):
        assert tenant_of(key, Headers(raw=raw), named) == found
    else:
        with pytest.raises(found):
            tenant_of(key, Headers(raw=raw), named)


def test_a_header_that_is_no_text_is_no_tenant() -> None:
    key = Key(role="viewer", **DEFAULTS)
    with pytest.raises(NoSuchTenant):
        tenant_of(key, Headers(raw=[(b"x-odometer-tenant", b"\xff")]))


def test_records_are_strict() -> None:
    for changes in ({"id": "k"}, {"role": "root"}, {"more": 1}, {"created_ms": "0"}):
        with pytest.raises(ValidationError):
            Key.model_validate(DEFAULTS | {"role": "viewer"} | changes)
