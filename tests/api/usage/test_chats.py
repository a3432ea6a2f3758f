"""Distinct chats through HTTP, counted by real commits: exact where promised, else said to be estimates."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx
import numpy as np
import pytest

from schemas.catalog.measures import CHATS
from schemas.catalog.sketches import SAMPLE_ERROR, chat_digest
from schemas.catalog.views import MODEL
from schemas.limits import DAY_MS
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION, RUN_DTYPE, sketch_of
from schemas.tiers import DAY
from schemas.units import iso
from streams.core.fold import Delta, DeltaPart
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from tests.api.conftest import Clock, client_of
from tests.api.counters import name_of
from tests.oracles.event_logs import SECRET

pytestmark = pytest.mark.servers

NOW_MS: Final = time.time_ns() // 1_000_000
TODAY: Final = NOW_MS // DAY_MS
DIGEST: Final = generation_digest("usage.events")
PROMISED: Final = 500
"""Chats of one bucket and series that are exact at least, whatever was appended how often."""


class Writer:
    """Days of chats of a model of openai, a commit each."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._at = NO_POSITION

    async def write(self, model: str, day: int, chats: range) -> None:
        table = MODEL.tables["llm"]
        page_kind = sketch_of(table, CHATS)
        rows = np.zeros(len(chats), page_kind.dtype)
        rows["slot"] = day % DAY.chunk_buckets
        rows["digest"] = [chat_digest("acme", f"chat-{n}") for n in chats]
        runs = np.array([(0, day // DAY.chunk_buckets, len(rows))], RUN_DTYPE)
        name = name_of(table, "openai", model)
        delta = Delta(["acme"], [(table, 0, name)], [DeltaPart(page_kind, DAY, runs, rows)], [])
        end = max(self._at, 0) + 1
        commit = Commit(
            id=end.to_bytes(16, "big"),
            generation_digest=DIGEST,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=1,
            absent_ms={},
            partitions=[Progress(0, self._at, end, -1, 0, 0)],
            delta=delta,
        )
        assert (await self._store.commit(commit)).outcome is Outcome.COMMITTED
        await self._store.compact_pages()
        self._at = end


async def chats(client: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    bounds = {"from": iso((TODAY - 5) * DAY_MS), "to": iso(TODAY * DAY_MS), "measures": "chats"}
    response = await client.get("/v1/usage", params=bounds | params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_chats_are_exact_while_a_bucket_has_few_and_estimates_say_so(
    redis_url: str, clock: Clock, key: str
) -> None:
    clock.now_ms = NOW_MS
    async with RedisStore(redis_url) as store, client_of(redis_url, clock, key) as client:
        await store.open(DIGEST, 1, NOW_MS, SECRET)
        writer = Writer(store)
        for day in range(TODAY - 5, TODAY):
            # Half of a day's chats go on the next day; each is said many times.
            own = range(day * PROMISED // 2, day * PROMISED // 2 + PROMISED)
            for model in ("a", "b"):
                for _again in range(3):
                    await writer.write(model, day, own)
        exact = await chats(client, group_by="model")
        assert exact["estimates"] == {}
        assert [row["chats"] for row in exact["rows"]] == [PROMISED * 3] * 2
        assert exact["totals"] == {"chats": PROMISED * 3}
        by_day = await chats(client, granularity="1d")
        assert [row["chats"] for row in by_day["rows"]] == [PROMISED] * 5
        assert by_day["totals"] == exact["totals"]

        many = 20_000
        for first in range(0, many, 4000):
            await writer.write("c", TODAY - 2, range(10**9 + first, 10**9 + first + 4000))
        estimated = await chats(client, group_by="model", order_by="model")
        assert estimated["estimates"] == {"chats": round(SAMPLE_ERROR, 3)}
        *few, one = estimated["rows"]
        assert [row["chats"] for row in few] == [PROMISED * 3] * 2
        assert one["chats"] == pytest.approx(many, rel=4 * SAMPLE_ERROR)
        assert one["chats"] != many
        # What is asked of the others alone stays exact.
        assert (await chats(client, model="a"))["estimates"] == {}
