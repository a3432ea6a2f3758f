"""A Redis that does not take a commit now, but will, is waited for and never taken for corrupt."""

from __future__ import annotations

import pytest
import redis

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.errors import StoreError, StoreFull, StoreUnavailable
from streams.core.ports import Outcome
from streams.redis.store import RedisStore
from tests.oracles.event_logs import SECRET
from tests.streams.redis.test_store_contract import DIGEST, NOW_MS, commit, progress

pytestmark = pytest.mark.servers

REPLICA = ("REPLICAOF", "127.0.0.1", "1")
MASTER = ("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("away", "back", "error"),
    [
        ([REPLICA], [MASTER], StoreUnavailable),
        (
            [("CONFIG", "SET", "replica-serve-stale-data", "no"), REPLICA],
            [MASTER],
            StoreUnavailable,
        ),
        (
            [("CONFIG", "SET", "min-replicas-to-write", "1")],
            [("CONFIG", "SET", "min-replicas-to-write", "0")],
            StoreUnavailable,
        ),
        (
            [("CONFIG", "SET", "maxmemory", "1")],
            [("CONFIG", "SET", "maxmemory", "0")],
            StoreFull,
        ),
    ],
    ids=["a replica", "a replica without its master", "too few replicas", "full"],
)
async def test_a_commit_is_refused_whole_and_taken_when_the_server_is_ready(
    own_valkey: Server,
    away: list[tuple[str, ...]],
    back: list[tuple[str, ...]],
    error: type[StoreError],
) -> None:
    url = url_of(own_valkey)
    step = commit(2, progress(0, 1, 2))
    async with RedisStore(url) as store:
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        await store.commit(commit(1))
        with redis.Redis.from_url(url) as client:
            for command in away:
                client.execute_command(*command)
            with pytest.raises(error):
                await store.commit(step)
            for command in back:
                client.execute_command(*command)
        assert (await store.commit(step)).outcome is Outcome.COMMITTED
