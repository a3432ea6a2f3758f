"""The benchmark of reads: its bulk loader leaves what commits leave, and its short form runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from schemas.store.generation import generation_digest
from streams.redis.store import RedisStore
from tests.bench import reads
from tests.bench.data import rollups
from tests.bench.data.filling import TOPIC, Traffic, commit_all, fill
from tests.oracles.event_logs import SECRET
from tests.oracles.redis_counters import read_counters

pytestmark = pytest.mark.servers


async def test_the_loader_leaves_what_commits_leave(redis_url: str, tmp_path: Path) -> None:
    traffic = Traffic("acme", 5000, time.time_ns() // 1_000_000, users=100)
    await fill(redis_url, traffic)
    loaded = read_counters(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    async with RedisStore(redis_url) as store:
        await store.open(generation_digest(TOPIC), 1, traffic.now_ms, SECRET)
        await commit_all(store, traffic, traffic.bulk())
        await commit_all(store, traffic, traffic.live())
    assert loaded == read_counters(redis_url)
    database = rollups.roll_up(tmp_path / "rollup.sqlite", traffic)
    for table in rollups.TABLES:
        (calls,) = database.execute(f"SELECT sum(calls) FROM {table}").fetchone()  # noqa: S608
        assert calls == traffic.events
    database.close()


def test_it_runs_in_small_and_finds_the_same_totals(capsys: pytest.CaptureFixture[str]) -> None:
    reads.main(["--events", "20000", "--crowd", "300", "--http-s", "0.1", "--rounds", "1"])
    shown = capsys.readouterr().out
    for page in reads.pages(0):
        assert f"\n{page.name} " in shown
    for line in ("bytes a series-bucket", "leaderboard of 30 days", "over HTTP, 32 clients"):
        assert line in shown
