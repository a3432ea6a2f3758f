"""The memory of large bodies and of their records goes back to the system."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from api.app.main import wall_clock_ms
from api.auth.key_cache import KeyCache
from api.ingest.endpoints import IngestDeps, seeds_of
from api.ingest.memory import LARGE_BYTES_MIN, MemoryReturn, trim_of_libc
from api.ingest.producer import IngestProducer, KeyedRecord
from api.ingest.records import ValidatedRecords
from api.ingest.request_body import BodyBudget
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.errors import LogUnavailable
from schemas.store.keys import Key
from schemas.units import iso
from streams.kafka.topics import ensure_topics
from streams.worker.settings import WorkerSettings
from tests.api.ingest.taking import receiving
from tests.real.harness.api_process import api_of

NOW_MS = 1_770_552_123_456
STAYS_BYTES_MAX = 32 << 20
"""Of some 210 MB that the bodies below take at the peak, 23 MB stay. Without `set_up_libc` 49 MB stay."""


class Trims:
    """Trims that are waited for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Queue[int] = asyncio.Queue()
        self.memory = MemoryReturn(self._trim, rest_s=0.01)

    def _trim(self) -> None:
        self._loop.call_soon_threadsafe(self.done.put_nowait, 1)


async def test_memory_is_returned_once_after_large_bodies() -> None:
    trims = Trims()
    budget = BodyBudget(memory=trims.memory)
    for _ in range(3):
        with await budget.body(receiving(b" " * LARGE_BYTES_MIN), {}, "acme"):
            pass
    assert await trims.done.get() == 1
    with await budget.body(receiving(b" " * 1000), {}, "acme"):
        pass
    assert trims.done.empty()


async def test_memory_is_returned_after_records_that_waited_for_kafka() -> None:
    async def nothing_is_asked(*_command: object) -> None:
        raise AssertionError

    trims, producer = Trims(), IngestProducer("e")
    producer._away = "no broker"
    deps = IngestDeps(
        KeyCache(nothing_is_asked, lambda: 0),
        lambda: NOW_MS,
        producer,
        seeds_of("p"),
        body_budget=BodyBudget(memory=trims.memory),
    )
    key = Key(id="key-0123456789", name="k", created_ms=0, role="member", tenants=("acme",))
    records = [(b"", b" " * LARGE_BYTES_MIN)]
    with pytest.raises(LogUnavailable):
        await deps.send(ValidatedRecords(records, (), (), 0, (), NOW_MS), key, {}, NOW_MS)
    assert await trims.done.get() == 1


async def test_a_body_is_not_kept_after_its_request() -> None:
    held = await BodyBudget().body(receiving(b"12345"), {}, "acme")
    with held:
        pass
    assert held.plain == b""


@pytest.mark.servers
async def test_records_are_not_kept_after_kafka_has_them(kafka: Server, topic: str) -> None:
    class Records(list[KeyedRecord]):
        """Can be referred to weakly."""

    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=1)
    producer = IngestProducer(topic)
    gc.collect()
    gc.disable()
    try:
        async with producer.connected(kafka.address):
            records = Records([(b"k", b"v")])
            kept = weakref.ref(records)
            await producer.send(records, "acme")
            del records
            await asyncio.sleep(0)
            assert kept() is None
    finally:
        gc.enable()


def test_the_c_library_takes_a_trim() -> None:
    trim = trim_of_libc()
    assert trim is None or trim() in {0, 1}


@pytest.mark.servers
@pytest.mark.skipif(
    trim_of_libc() is None or not Path("/proc/self/statm").exists(), reason="it needs glibc"
)
async def test_a_process_is_small_again_after_large_bodies(
    kafka: Server, redis_url: str, topic: str, tmp_path: Path
) -> None:
    """Eight bodies of 13 MB at the same time, of eight tenants."""
    await ensure_topics(kafka.address, events=topic, dead_letter=f"{topic}.dead", partitions=3)
    tenants = [f"t{n}" for n in range(8)]
    keys = [await create_key(redis_url, name=t, tenant=t, role="write-only") for t in tenants]
    settings = WorkerSettings(kafka=kafka.address, redis=redis_url, topic=topic)
    fields: dict[str, Any] = {"kind": "llm", "provider": "openai", "model": "m", "input_tokens": 1}
    event = {"source": "s", "time": iso(wall_clock_ms()), **fields, "unknown": "x" * 1200}
    with api_of(settings, tmp_path) as api:
        async with httpx.AsyncClient(base_url=f"http://{api.address}", timeout=120) as client:

            async def send(key: str, count: int) -> int:
                events = [{"id": f"{count}-{n}", **event} for n in range(count)]
                content = msgspec.json.encode(events)
                headers = {"x-api-key": key, "content-type": "application/json"}
                return (
                    await client.post("/v1/events", content=content, headers=headers)
                ).status_code

            assert [await send(key, 10) for key in keys] == [202] * len(keys)
            before_bytes = memory_bytes(api)
            assert {*await asyncio.gather(*(send(key, 9_999) for key in keys))} == {202}
            for _ in range(300):  # the trim comes a second after the last body
                await asyncio.sleep(0.1)
                if memory_bytes(api) < before_bytes + STAYS_BYTES_MAX:
                    break
            assert memory_bytes(api) - before_bytes < STAYS_BYTES_MAX


def memory_bytes(process: Server) -> int:
    """What the process has in memory."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096
