"""The last fault of a seed: the log or the store is lost, and every worker must refuse to continue.

The meta record must say so and why, the API must say so in every answer, and no counter may move.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import redis.asyncio as redis

from schemas.store.layout import NO_POSITION
from streams.core.ports import RefusalReason
from tests.chaos.checker import PATH, QUESTION
from tests.chaos.rig import LOOK_PAUSE_S, RECOVER_S_MAX, Rig
from tests.oracles.redis_counters import read_counters
from tests.real.harness.topics import cut, delete_topic, ends_of
from tests.real.test_counting import events

Ending = Callable[[Rig], Awaitable[None]]


async def topic_made_anew(rig: Rig) -> None:
    """Under running workers, with more partitions' worth of other events in it."""
    system = rig.system
    kafka, partitions = system.settings.kafka, len(await rig.positions())
    before = read_counters(system.settings.redis, system.generation)
    await delete_topic(kafka, system.topic)
    await system.make_topics(partitions)
    async with system.load() as load:
        for partition in range(partitions):
            await load.send(events(f"new-{partition}", 20), partition=partition)
    body = await _refused(
        rig, {RefusalReason.OTHER_LOG, RefusalReason.POSITION_BEYOND_END}, partitions
    )
    assert len(body["refused"]) == partitions, body
    assert read_counters(system.settings.redis, system.generation) == before


async def emptied_without_the_beginning(rig: Rig) -> None:
    """Of one partition the log no longer begins at 0 when Valkey is emptied: what was counted there
    cannot be counted again. The others are."""
    system = rig.system
    ends = await ends_of(system.settings.kafka, system.topic)
    await cut(system.settings.kafka, system.topic, {0: ends[0] // 2})
    async with redis.Redis.from_url(system.settings.redis) as client:
        await client.flushall()
    async with system.load() as load:
        await load.send(events("after", 50))
    body = await _refused(rig, {RefusalReason.LOG_STARTS_LATER}, 1)
    assert body["refused"] == ["0"], body
    assert body["complete_through"] is None, body
    positions = await rig.positions()
    assert positions[0] == NO_POSITION, positions


ENDINGS: Final[dict[str, Ending]] = {
    "topic made anew": topic_made_anew,
    "Valkey emptied, log cut": emptied_without_the_beginning,
}


async def _refused(rig: Rig, allowed: set[RefusalReason], least: int) -> dict[str, Any]:
    """The API's answer once so many partitions are refused, each for a reason that is allowed."""
    headers = {"authorization": f"Bearer {rig.key}"}
    give_up_s = time.monotonic() + RECOVER_S_MAX
    async with httpx.AsyncClient(base_url=f"http://{rig.api.address}", headers=headers) as api:
        while time.monotonic() < give_up_s:
            meta = await rig.meta()
            why = [p.refused for p in meta.partitions if p.refused] if meta else []
            if len(why) >= least:
                assert set(why) <= allowed, why
                answer = await api.get(PATH, params=QUESTION)
                assert answer.status_code == 200, answer.text
                assert answer.headers["odometer-refused"]
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(LOOK_PAUSE_S)
    raise AssertionError(f"nobody refused: {await rig.meta()}")
