"""The directory's users and the latest calls of all tenants, read out of a real Redis.

Tests compare them with the oracle, or with the fake store.
"""

from __future__ import annotations

from typing import cast

import redis

from schemas.limits import MINUTE_MS
from schemas.store.directory import DIRECTORY, UserUpdate, addresses_key, unpack_user_update
from schemas.store.layout import FIRST_GENERATION
from schemas.store.recent_calls import RECENT_MAX, Recent, count_in, latest_of, recent_key
from tests.oracles.fold_oracle import Expected

Calls = dict[str, list[Recent]]
Records = dict[str, tuple[tuple[int, bytes], ...]]


def read_people(redis_url: str) -> dict[tuple[str, str], UserUpdate]:
    """By tenant and user key; the index of addresses is held to say the same."""
    found: dict[tuple[str, str], UserUpdate] = {}
    head = f"{DIRECTORY}u:"
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{head}*"):
            tenant = cast("bytes", key).decode().removeprefix(head)
            records = cast("dict[bytes, bytes]", client.hgetall(key))
            words = [unpack_user_update(name.decode(), record) for name, record in records.items()]
            index = {f"{word.email}\0{word.key}".encode() for word in words if word.email}
            assert set(cast("list[bytes]", client.zrange(addresses_key(tenant), 0, -1))) == index
            found |= {(tenant, word.key): word for word in words}
    return found


def read_recent(redis_url: str, generation: int = FIRST_GENERATION) -> Calls:
    """Of each tenant its latest calls, oldest first."""
    found: Calls = {}
    head = recent_key(generation, "")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{head}*"):
            tenant = cast("bytes", key).decode().removeprefix(head)
            found[tenant] = latest_of(cast("list[bytes]", client.zrange(key, 0, -1)))
    return found


def read_records(redis_url: str, generation: int = FIRST_GENERATION) -> Records:
    """Of each tenant the records of its latest calls, oldest first: time and member."""
    found: Records = {}
    head = recent_key(generation, "")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{head}*"):
            members = cast("list[tuple[bytes, float]]", client.zrange(key, 0, -1, withscores=True))
            tenant = cast("bytes", key).decode().removeprefix(head)
            (empty, total), *records = members
            assert not empty
            assert -total == sum(count_in(member) for member, _ in records)
            found[tenant] = tuple((int(score), member) for member, score in records)
    return found


def assert_told(users: dict[tuple[str, str], UserUpdate], calls: Calls, want: Expected) -> None:
    """That both are what the oracle makes of the log."""
    assert {who: (word.email, word.name) for who, word in users.items()} == want.users
    for tenant in want.recent.keys() | calls.keys():
        got = [(call.at_ms, call.source, call.id) for call in calls.get(tenant, ())]
        assert_latest(sorted(got), want.recent.get(tenant, []))


def assert_latest(got: list[tuple[int, str, str]], all_calls: list[tuple[int, str, str]]) -> None:
    """That these are the last RECENT_MAX. Of the oldest minute it may be any of its calls. Both are
    sorted."""
    if len(all_calls) <= RECENT_MAX:
        assert got == all_calls
        return
    assert len(got) == RECENT_MAX
    exact_ms = (got[0][0] // MINUTE_MS + 1) * MINUTE_MS
    assert [call for call in got if call[0] >= exact_ms] == [
        call for call in all_calls if call[0] >= exact_ms
    ]
    assert set(got) <= set(all_calls)
    assert len(set(got)) == len(got)
