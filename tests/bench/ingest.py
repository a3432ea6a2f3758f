"""What taking events over HTTP costs: CPU seconds of one API process, a real Kafka behind it.

    python -m tests.bench.ingest [--rounds 5]

Full events (27 fields, 700 B) come in batches of 100, and one by one. Single events are compared with
a Starlette route that only parses the JSON of the same request. Rounds of both take turns; medians are
shown. A worker then counts what was answered with 202, and totals must be equal to the last token.
The unit is CPU time, since the API shares the cores with the broker and the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil

from deploy.local import servers
from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of
from schemas.units import iso
from tests.bench.own_servers import own_servers
from tests.real.harness.system import System, system_of
from tests.real.harness.topics import now_ms

PARTITIONS: Final = 8
BATCH: Final = 100
ROUND_S: Final = 2.0
GOAL_BATCHES: Final = 30_000
GOAL_SINGLE: Final = 0.4
TENANT: Final = "acme"

API: Final = """
from api.app.main import build
app = build({redis!r}, {topic!r}, kafka={kafka!r})
"""
TRIVIAL: Final = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def trivial(request):
    return JSONResponse({{"accepted": len(await request.json())}}, 202)
app = Starlette(routes=[Route("/v1/events", trivial, methods=["POST"])])
"""
RUN: Final = """
import uvicorn
uvicorn.run(app, host="127.0.0.1", port={port}, loop="auto", http="httptools", access_log=False,
            log_level="warning")
"""


def start(role: str, program: str, directory: Path) -> Server:
    port = free_port()

    def is_ready(_pid: int) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz")
        except httpx.TransportError:
            return False
        return True

    spec = servers.ServerSpec(
        role=role,
        port=port,
        ports_needed=(port,),
        directory=directory / role,
        command=(sys.executable, "-c", program + RUN.format(port=port)),
        files=(),
        prepare=lambda: None,
        is_ready=is_ready,
    )
    return servers.start(spec)


def full_event(number: int, at_ms: int) -> dict[str, Any]:
    return {
        "id": f"evt-{number:012d}",
        "source": "gateway-eu-1",
        "time": iso(at_ms + number % 1000),
        "kind": "llm",
        "provider": ("openai", "anthropic")[number % 2],
        "model": f"model-{number % 30}",
        "agent_id": f"agent-{number % 200}",
        "user_id": f"user-{number % 50}",
        "user_email": f"user-{number % 50}@example.com",
        "user_name": "Alice",
        "call_id": f"call-{number // 50}",
        "chat_id": f"chat-{number // 50}",
        "input_tokens": number % 4096,
        "output_tokens": 300,
        "cache_read_tokens": 1000,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "input_text_tokens": 1200,
        "input_audio_tokens": 0,
        "output_text_tokens": 300,
        "output_audio_tokens": 0,
        "cost_usd": "0.00450",
        "latency_ms": 850,
        "first_output_ms": 210,
        "error": None,
        "labels": {"team": "search"},
    }


@dataclass
class Sender:
    """Keep-alive connections that each send again as soon as they are answered."""

    key: str
    numbers: Iterator[int]
    accepted: int = 0
    input_tokens: int = 0

    def request(self, events: int, at_ms: int) -> tuple[bytes, int]:
        """One request and its input tokens."""
        made = [full_event(next(self.numbers), at_ms) for _ in range(events)]
        body = msgspec.json.encode(made if events > 1 else made[0])
        head = (
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body, sum(event["input_tokens"] for event in made)

    async def round(
        self, server: Server, events: int, clients: int, *, counts: bool
    ) -> tuple[float, float]:
        """Events per CPU second of the server, and per second."""
        process = psutil.Process(server.pid)
        before, started = process.cpu_times(), time.perf_counter()
        sent = sum(
            await asyncio.gather(
                *[
                    self._client(server, events, started + ROUND_S, counts=counts)
                    for _ in range(clients)
                ]
            )
        )
        elapsed_s = time.perf_counter() - started
        after = process.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        return sent / cpu_s, sent / elapsed_s

    async def _client(self, server: Server, events: int, until_s: float, *, counts: bool) -> int:
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        sent = 0
        at_ms = now_ms()
        while time.perf_counter() < until_s:
            request, input_tokens = self.request(events, at_ms)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length))
            assert head[9:12] == b"202", (head, body)
            sent += events
            if counts:
                assert msgspec.json.decode(body)["accepted"] == events
                self.accepted += events
                self.input_tokens += input_tokens
        writer.close()
        return sent


async def check_totals(system: System, api: Server, sender: Sender) -> None:
    """That a worker counts what was answered with 202, no more and no less."""
    system.worker()
    await system.caught_up()
    async with httpx.AsyncClient(base_url=f"http://{api.address}") as client:
        answer = await client.get(
            "/v1/usage",
            params={"measures": "requests,input_tokens", "from": "now-2d"},
            headers={"authorization": f"Bearer {sender.key}"},
        )
    totals = answer.json()["totals"]
    assert totals == {"requests": sender.accepted, "input_tokens": sender.input_tokens}, totals
    print(f"counted: {totals}, as answered with 202")


async def compare(system: System, directory: Path, rounds: int) -> None:
    settings = system.settings
    key = await create_key(settings.redis, name="bench", tenant=TENANT, role="member")
    program = API.format(redis=settings.redis, topic=settings.topic, kafka=settings.kafka)
    api = start("api", program, directory)
    trivial = start("trivial", TRIVIAL.format(), directory)
    sender = Sender(key, count())
    cases: Sequence[tuple[str, Server, int, int]] = (
        ("batches of 100, 8 clients", api, BATCH, 8),
        ("single events, 32 clients", api, 1, 32),
        ("trivial route, 32 clients", trivial, 1, 32),
        ("single events, 1 client", api, 1, 1),
        ("trivial route, 1 client", trivial, 1, 1),
    )
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, *_ in cases}
    try:
        for _round in range(rounds + 1):
            for name, server, events, clients in cases:
                counts = server is api
                found[name].append(await sender.round(server, events, clients, counts=counts))
        medians = {
            name: [statistics.median(column) for column in zip(*of[1:], strict=True)]
            for name, of in found.items()
        }  # the first round warms up
        print(f"{'':30}{'events per CPU s':>18}{'events/s':>12}")
        for name, (per_cpu_s, per_s) in medians.items():
            print(f"{name:30}{per_cpu_s:18.0f}{per_s:12.0f}")
        for many in ("32 clients", "1 client"):
            ratio = medians[f"single events, {many}"][0] / medians[f"trivial route, {many}"][0]
            print(f"single events beside the trivial route, {many}: {ratio:.2f}")
        print(f"goals: {GOAL_BATCHES} events per CPU s in batches, {GOAL_SINGLE} single")
        await check_totals(system, api, sender)
    finally:
        trivial.stop()
        api.stop()


async def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    with own_servers() as (directory, kafka, valkey):
        async with system_of(kafka.address, url_of(valkey), directory, PARTITIONS) as system:
            await compare(system, directory, rounds)


if __name__ == "__main__":
    asyncio.run(main())
