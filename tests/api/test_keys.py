"""API keys: shown once, kept as a digest, good for one tenant and one role."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import redis

from api.errors import RoleTooLow
from api.keys import (
    KEYS_KEY,
    ROLES,
    Key,
    check_role,
    create_key,
    digest_of,
    key_is_known,
    revoke_key,
)
from schemas.errors import InvalidConfig, StoreCorrupt
from schemas.limits import ID_CHARS_MAX, TENANT_CHARS_MAX


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
    assert record == {
        "name": "ci",
        "tenant": "acme",
        "role": "member",
        "expires_ms": 5,
        "revoked": False,
    }


async def test_a_key_is_known_until_it_is_revoked(redis_url: str) -> None:
    key = await create_key(redis_url, name="ci", tenant="acme", role="viewer")
    other = await create_key(redis_url, name="ci", tenant="acme", role="viewer")
    assert key != other
    assert await key_is_known(redis_url, key)
    assert not await key_is_known(redis_url, key + "x")
    assert not await key_is_known(redis_url, "")
    assert await revoke_key(redis_url, key)
    assert await revoke_key(redis_url, key)
    assert not await revoke_key(redis_url, key + "x")
    assert not await key_is_known(redis_url, key)
    assert await key_is_known(redis_url, other)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"role": "root"}, "role of a key"),
        ({"tenant": ""}, "tenant of a key"),
        ({"tenant": "t" * (TENANT_CHARS_MAX + 1)}, "tenant of a key"),
        ({"name": ""}, "name of a key"),
        ({"name": "n" * (ID_CHARS_MAX + 1)}, "name of a key"),
        ({"expires_ms": -1}, "expires_ms of a key"),
    ],
)
async def test_a_key_that_cannot_be(redis_url: str, changes: dict[str, Any], says: str) -> None:
    wanted: dict[str, Any] = {"name": "ci", "tenant": "acme", "role": "viewer"} | changes
    with pytest.raises(InvalidConfig, match=says):
        await create_key(redis_url, **wanted)
    with redis.Redis.from_url(redis_url) as client:
        assert not client.exists(KEYS_KEY)


async def test_a_damaged_record_is_no_key(redis_url: str) -> None:
    key = await create_key(redis_url, name="ci", tenant="acme", role="viewer")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(KEYS_KEY, digest_of(key), "{}")
    with pytest.raises(StoreCorrupt):
        await key_is_known(redis_url, key)


def test_a_role_may_do_what_lesser_ones_may() -> None:
    for place, role in enumerate(ROLES):
        key = Key(name="k", tenant="t", role=role, created_ms=0)
        for required_place, required in enumerate(ROLES):
            if required_place <= place:
                check_role(key, required)
            else:
                with pytest.raises(RoleTooLow):
                    check_role(key, required)
