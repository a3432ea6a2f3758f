"""The directory's users and the latest calls of all tenants, read out of a real Redis.

Tests compare them with the oracle, or with the fake store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import redis

from schemas.store.directory import DIRECTORY, UserUpdate, addresses_key, unpack_user_update
from schemas.store.layout import FIRST_GENERATION
from schemas.store.recent_calls import RECENT_MAX, recent_key, unpack_recent
from tests.oracles.fold_oracle import Expected

Calls = dict[str, tuple[tuple[int, bytes], ...]]


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
    """Of each tenant its latest calls, oldest first: time and member."""
    found: Calls = {}
    head = recent_key(generation, "")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{head}*"):
            members = cast("list[tuple[bytes, float]]", client.zrange(key, 0, -1, withscores=True))
            tenant = cast("bytes", key).decode().removeprefix(head)
            found[tenant] = tuple((int(score), member) for member, score in members)
    return found


def assert_told(users: dict[tuple[str, str], UserUpdate], calls: Calls, want: Expected) -> None:
    """That both are what the oracle makes of the log."""
    assert {who: (word.email, word.name) for who, word in users.items()} == want.users
    for tenant in want.recent.keys() | calls.keys():
        read = [(at_ms, unpack_recent(member)) for at_ms, member in calls.get(tenant, ())]
        assert all(at_ms == call.at_ms for at_ms, call in read)
        got = [(at_ms, call.source, call.id) for at_ms, call in read]
        # Calls of the same instant lie by their bytes, which the oracle does not know.
        assert sorted(got) == sorted(last_of(want.recent.get(tenant, []), got))


def last_of(
    all_calls: list[tuple[int, str, str]], got: Iterable[tuple[int, str, str]]
) -> list[tuple[int, str, str]]:
    """The last RECENT_MAX; where the cut falls among calls of one instant, those of them in `got`."""
    if len(all_calls) <= RECENT_MAX:
        return all_calls
    cut_ms = all_calls[-RECENT_MAX][0]
    later = [call for call in all_calls if call[0] > cut_ms]
    at_cut = {call for call in all_calls if call[0] == cut_ms} & set(got)
    return later + sorted(at_cut)[: RECENT_MAX - len(later)]
