"""The rows of the directory's tables on a real Redis: what does not fit is tallied and left out."""

from __future__ import annotations

import json

import pytest
import redis

from schemas.store.directory import MEMBERS_MAX, TENANT_MEMBERS_MAX, groups_key, members_key
from streams.directory.metrics import DirectoryMetrics
from streams.directory.process import TableRow, Writer, write_rows
from streams.directory.records import Stream
from streams.directory.store import RedisDirectory

pytestmark = pytest.mark.servers

TENANT = "acme"


def row(**value: object) -> dict[str, object]:
    return TableRow(1_000, json.dumps(value))._asdict()


async def test_rows_that_do_not_fit_are_tallied_and_the_others_written(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        some = [f"u{n}" for n in range(MEMBERS_MAX)]
        for n in range(TENANT_MEMBERS_MAX // MEMBERS_MAX):  # what admins added meanwhile
            client.hset(groups_key(TENANT), f"full{n}", b"\0" * 24)
            client.sadd(members_key(TENANT, f"full{n}"), *some)
        tables = {
            Stream.GROUPS: {
                f"{TENANT}|one": row(name="One", members=["a"]),
                f"{TENANT}|empty": row(name="Empty", members=[]),
                "other|one": row(name="One", members=["a"]),
            },
            Stream.CHATS: {f"{TENANT}|c": row(title="Hello")},
        }
        async with RedisDirectory(redis_url) as store:
            assert await write_rows("directory", tables, Writer(store, DirectoryMetrics())) == 3
            assert await store.refusals() == {
                f"directory.groups:{TENANT}|one": (
                    "the tenant's directory is full: it holds 100000 members of groups"
                )
            }
        assert client.hexists(groups_key(TENANT), "empty")
        assert not client.hexists(groups_key(TENANT), "one")
        assert client.smembers(members_key("other", "one")) == {b"a"}
