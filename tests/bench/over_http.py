"""How fast one API process answers over HTTP, compared with a route of it that does nothing.

32 keep-alive clients ask again as soon as they have an answer. Meanwhile a worker commits events of
the tenant in the range of the query, or nothing is committed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import psutil

from deploy.local import servers
from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port
from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from streams.redis.store import RedisStore
from tests.bench.data.filling import Traffic, Writer

CLIENTS: Final = 32
COMMITS_A_SECOND: Final = 20
GOAL_COMPUTED, GOAL_UNCHANGED = 0.35, 0.7

PROGRAM: Final = """
import uvicorn
from starlette.responses import JSONResponse
from starlette.routing import Route
from api.app.main import build
async def trivial(request):
    return JSONResponse({"status": "ok"})
app = build(REDIS_URL)
app.router.routes.insert(0, Route("/trivial", trivial))
uvicorn.run(app, host="127.0.0.1", port=PORT, loop="auto", http="httptools", access_log=False,
            log_level="warning")
"""


def start_api(redis_url: str, directory: Path, program: str = PROGRAM) -> Server:
    """A process that runs `program`, with the URL and the port instead of REDIS_URL and PORT."""
    port = free_port()
    program = program.replace("REDIS_URL", repr(redis_url)).replace("PORT", str(port))

    def is_ready(_pid: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    return servers.start(
        servers.ServerSpec(
            role="api",
            port=port,
            ports_needed=(port,),
            directory=directory,
            command=(sys.executable, "-c", program),
            files=(),
            prepare=lambda: None,
            is_ready=is_ready,
        )
    )


async def rate(
    port: int, process: psutil.Process, requests: Sequence[bytes], seconds: float
) -> tuple[float, float]:
    """Requests a second of CLIENTS connections that each ask again as soon as they are answered, and
    the API's CPU time of each in us; each asks one of the questions, again and again."""
    spent_s = sum(process.cpu_times()[:2])
    end = time.perf_counter() + seconds
    done = 0

    async def client(request: bytes) -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head[9:12] in {b"200", b"304"}, head
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0))
            done += 1
        writer.close()

    await asyncio.gather(*[client(requests[n % len(requests)]) for n in range(CLIENTS)])
    spent_s = sum(process.cpu_times()[:2]) - spent_s
    return done / seconds, spent_s / max(1, done) * 1e6


@asynccontextmanager
async def committing(redis_url: str, traffic: Traffic) -> AsyncIterator[None]:
    """A worker that goes on: every commit changes what is asked for."""
    async with RedisStore(redis_url) as store:
        writer, is_over = Writer(store, traffic), asyncio.Event()

        async def go_on() -> None:
            while not is_over.is_set():
                await writer.commit()
                await asyncio.sleep(1 / COMMITS_A_SECOND)

        worker = asyncio.create_task(go_on())
        try:
            yield
        finally:
            is_over.set()
            await worker


async def compare(redis_url: str, traffic: Traffic, directory: Path, seconds: float) -> None:
    now_ms = traffic.now_ms
    key = await create_key(redis_url, name="bench", tenant="acme", role="viewer")
    server = start_api(redis_url, directory)
    try:
        port = int(server.address.rpartition(":")[2])
        hour_ms = now_ms // HOUR_MS * HOUR_MS

        def request(path: str, *headers: str) -> bytes:
            lines = [f"GET {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", *headers]
            return ("\r\n".join(lines) + "\r\n\r\n").encode()

        bounds = f"from={iso(hour_ms - DAY_MS)}&to={iso(hour_ms)}"
        usage = f"/v1/usage?{bounds}&granularity=1h&group_by=model&limit=10"
        async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
            answer = await client.get(usage, headers={"authorization": f"Bearer {key}"})
            tag = answer.headers["etag"]
        agentlens = f"/api/analytics/llm?{bounds}"
        each = [
            request(f"/v1/usage?{bounds}&granularity=1h&group_by=model&limit={n + 1}")
            for n in range(CLIENTS)
        ]
        agents = [request(f"{agentlens}&agentId=agent-{n}") for n in range(CLIENTS)]
        process = psutil.Process(server.pid)
        await rate(port, process, [request("/trivial"), request(usage)], seconds / 10)
        base, base_us = await rate(port, process, [request("/trivial")], seconds)
        print(f"\n{'over HTTP, 32 clients':46}{'requests/s':>11}{'ratio':>7}{'CPU us':>8}{'ratio':>7}"
              f"   goals: computed {GOAL_COMPUTED}, 304 {GOAL_UNCHANGED}")  # fmt: skip
        print(f"{'trivial JSON route':46}{base:11.0f}{1:7.2f}{base_us:8.0f}{1:7.2f}")

        async def show(name: str, requests: Sequence[bytes]) -> None:
            found, us = await rate(port, process, requests, seconds)
            print(
                f"{name:46}{found:11.0f}{found / (base or 1):7.2f}{us:8.0f}{base_us / (us or 1):7.2f}"
            )

        await show("/v1/usage, one question, nothing committed", [request(usage)])
        await show("/v1/usage, 304", [request(usage, f"if-none-match: {tag}")])
        await show("AgentLens page, 24 h, nothing committed", [request(agentlens)])
        async with committing(redis_url, traffic):
            await show(f"/v1/usage, one question, {COMMITS_A_SECOND} commits/s", [request(usage)])
            await show(f"/v1/usage, 32 questions, {COMMITS_A_SECOND} commits/s", each)
            await show(f"AgentLens, 32 agents, {COMMITS_A_SECOND} commits/s", agents)
    finally:
        server.stop()
