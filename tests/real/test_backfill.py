"""History waits while counting is behind. Live events never wait. Everything sent counts once."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.ingest.backfill import TURN_S
from api.ingest.pacing import WINDOW_FIRST
from deploy.local.api_keys import create_key
from deploy.local.servers import plain_environment
from deploy.settings import CHECKOUT
from schemas.limits import DAY_MS, MINUTE_MS
from schemas.store.generation import generation_digest
from schemas.units import iso
from tests.oracles.event_logs import SECRET, encode, event
from tests.real.harness.api_process import api_of
from tests.real.harness.system import System
from tests.real.harness.topics import now_ms

pytestmark = pytest.mark.servers

OLD = {"at_ms": DAY_MS}
LATE = {"at_ms": 59 * MINUTE_MS}


def events(label: str, count: int, at_ms: int = 0) -> list[dict[str, Any]]:
    time = iso(now_ms() - at_ms)
    return [event(id=f"{label}-{n}", time=time, call_id=f"c{n % 7}") for n in range(count)]


async def opened(system: System) -> None:
    """Counters of a worker that is away."""
    async with system.store() as store:
        digest = generation_digest(system.topic)
        await store.open(digest, 3, now_ms(), SECRET)
        assert await store.meta()


async def test_history_waits_for_the_workers_and_nothing_else_does(
    system: System, tmp_path: Path
) -> None:
    await opened(system)
    key = await create_key(system.settings.redis, name="b", tenant="default", role="write-only")
    headers = {"authorization": f"Bearer {key}"}
    with api_of(system.settings, tmp_path) as api:
        base = f"http://{api.address}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            first = await client.post("/v1/events", json=events("first", WINDOW_FIRST, **OLD))
            assert first.status_code == 202
            held = await client.post("/v1/events", json=events("held", 10, **OLD))
            assert held.status_code == 503
            assert held.headers["retry-after"] == "1"
            assert f"counting is {TURN_S:.0f}." in held.json()["detail"]
            assert held.elapsed.total_seconds() >= TURN_S
            said = {"priority": "i, u=7"}
            named = await client.post("/v1/events", json=events("named", 1), headers=said)
            assert named.status_code == 503

            waiting = asyncio.create_task(
                client.post("/v1/events", json=events("many", 10_000, **OLD))
            )
            mixed = [*events("mixed", 5, **OLD), *events("now", 1)]
            for name, live in (
                ("now", events("one", 1)),
                ("up to an hour late", events("late", 9, **LATE)),
                ("old and new", mixed),
                ("none", []),
            ):
                answer = await client.post("/v1/events", json=live)
                assert answer.status_code in {202, 400}, name
                assert answer.elapsed.total_seconds() < TURN_S
            spans = await client.post("/v1/traces", json={"resourceSpans": []})
            assert spans.status_code == 200
            system.worker()
            assert (await waiting).status_code in {202, 503}  # as soon as the worker starts
            for again in (events("held", 10, **OLD), events("many", 10_000, **OLD)):
                await system.until("history is taken", is_taken(client, again))
    await system.caught_up()
    want = await system.judge()
    assert want.accepted == WINDOW_FIRST + 10_000 + 10 + 16


def is_taken(client: httpx.AsyncClient, sent: list[dict[str, Any]]) -> Any:
    async def taken() -> bool:
        return (await client.post("/v1/events", json=sent)).status_code == 202

    return taken


async def test_it_can_be_switched_off(system: System, tmp_path: Path) -> None:
    await opened(system)
    key = await create_key(system.settings.redis, name="b", tenant="default", role="write-only")
    headers = {"authorization": f"Bearer {key}"}
    with api_of(system.settings, tmp_path, "--backfill-delay-ms", "0") as api:
        base = f"http://{api.address}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            for label in ("a", "b", "c"):
                answer = await client.post("/v1/events", json=events(label, 2000, **OLD))
                assert answer.status_code == 202


@pytest.mark.parametrize("way", ["http", "kafka"])
async def test_a_file_waits_for_a_worker_that_is_away(
    system: System, tmp_path: Path, way: str
) -> None:
    await opened(system)
    settings = system.settings
    key = await create_key(settings.redis, name="b", tenant="default", role="write-only")
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"".join(encode(one) + b"\n" for one in events("f", 6000)))
    words = ["--to-kafka", "--kafka", settings.kafka, "--topic", settings.topic]
    words += ["--redis", settings.redis]
    with api_of(settings, tmp_path) as api:
        if way == "http":
            words = ["--api-url", f"http://{api.address}", "--api-key", key]
        sending = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli.main", "send", str(file), "--json", *words),
            cwd=CHECKOUT,
            env=plain_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert sending.stderr is not None
        said = await asyncio.wait_for(sending.stderr.readline(), 60)
        assert b"waiting: " in said
        assert b"s behind" in said
        system.worker()
        stdout, _ = await asyncio.wait_for(sending.communicate(), 120)
    assert sending.returncode == 0
    assert json.loads(stdout)["sent"] == 6000
    await system.caught_up()
    assert (await system.judge()).accepted == 6000
