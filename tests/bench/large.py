"""How long a small question takes while two clients ask the largest questions that are allowed.

    python -m tests.bench.large [--seconds 10]

One API process over HTTP. Two tenants have models that are busy in every minute, and many users. Their
clients ask again and again, each time another question, so that nothing is cached:

    bytes   125 MiB of counters, decoded: 320 models by minute
    pages   49,900 pages: 94,000 users by quarter-hour
    rows    94,000 rows, 9 MB of JSON: each user
    text    the names of all users, by a filter

A third tenant's four clients ask for 12 hours of 8 models by 5 minutes. All answers are compared with what was written.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import httpx
import msgspec
import numpy as np
import psutil

from deploy.local.api_keys import create_key
from deploy.local.servers import free_port
from deploy.local.valkey import start_valkey, url_of
from schemas.limits import HOUR_MS
from schemas.units import iso
from tests.api.counters import NOW_MS
from tests.api.store.busy import PAGE_KIND, TENANTS, Busy, Crowd
from tests.bench.over_http import start_api

POLLERS: Final = 4
MODELS, HOURS, USERS, DAYS = 320, 29, 94_000, 17
SMALL: Final = Busy(8, 12, tenant_id=2)
"""1 MB of pages and 1,152 rows, as 24 hours of 30 models have as a rule."""
PAUSE_S: Final = 0.1
"""Between two small questions of a client: 40 a second at most, a third of what the API can answer."""
SAMPLE_S: Final = 0.02

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})  # a server's environment has no PYTHONPATH
import uvicorn
from api.app.main import build
app = build(REDIS_URL, clock=lambda: {NOW_MS})
uvicorn.run(app, host="127.0.0.1", port=PORT, loop="auto", http="httptools", access_log=False,
            log_level="warning")
"""

Parameters = dict[str, str]


def asked(start_ms: int, end_ms: int) -> Parameters:
    return {"measures": "events", "kind": "llm", "from": iso(start_ms), "to": iso(end_ms)}


def of_models(busy: Busy) -> Parameters:
    start_ms, end_ms = busy.chunks.start * HOUR_MS, busy.chunks.stop * HOUR_MS
    return asked(start_ms, end_ms) | {"granularity": "1m"}


def events_of(busy: Busy, without: int = -1) -> int:
    """All events, by minute, page and hour as `Busy.counters` writes them."""
    minute = np.arange(60).sum()
    total = 0
    for model in range(busy.models):
        if model != without:
            page = model // PAGE_KIND.page_series
            total += sum(60 * (page + chunk % 7) + int(minute) for chunk in busy.chunks)
    return total


@dataclass(frozen=True)
class Data:
    """What a tenant that asks large questions has."""

    busy: Busy
    crowd: Crowd

    def question(self, kind: str, number: int) -> tuple[Parameters, int]:
        """The question of this number, and its events."""
        without = number % min(self.busy.models, self.crowd.users)
        if kind == "bytes":
            return (
                of_models(self.busy) | {"model!": f"m{without}", "group_by": "provider"},
                events_of(self.busy, without),
            )
        start_ms, end_ms = self.crowd.range_ms
        by_user = asked(start_ms, end_ms) | {"user!": self.crowd.names[without]}
        if kind == "pages":
            return by_user | {"granularity": "15m"}, self.crowd.events_of_days(without)
        if kind == "rows":
            return by_user | {"group_by": "user"}, self.crowd.users - 1
        first = f"user-{without % 10}*"
        count = sum(name.startswith(first[:-1]) for name in self.crowd.names)
        return asked(start_ms, end_ms) | {"user!": first}, self.crowd.users - count


KINDS: Final = ("bytes", "pages", "rows", "text")


class _Totals(msgspec.Struct):
    totals: dict[str, int]


@dataclass
class Asked:
    """What the clients of large questions got."""

    took_ms: list[float] = field(default_factory=list)
    refused: int = 0


@dataclass(frozen=True)
class Askers:
    """The clients of large questions, one a tenant. They run in a process of their own: reading 9 MB of
    JSON would make the small questions look slow, not the API."""

    base_url: str
    keys: Sequence[str]
    data: Sequence[Data]
    kind: str
    seconds: float

    def run(self) -> Asked:
        return asyncio.run(self._ask_all())

    async def _ask_all(self) -> Asked:
        asked = Asked()
        end_s = time.perf_counter() + self.seconds
        await asyncio.gather(*[self._ask(one, asked, end_s) for one in self.data])
        return asked

    async def _ask(self, data: Data, asked: Asked, end_s: float) -> None:
        number = data.busy.tenant_id + int(time.time()) * 100  # another question in each run
        async with client_of(self.base_url, self.keys[data.busy.tenant_id]) as client:
            while time.perf_counter() < end_s:
                number += len(self.data)
                question, wanted = data.question(self.kind, number)
                started = time.perf_counter()
                answer = await client.get("/v1/usage", params=question)
                if answer.status_code == 503:
                    asked.refused += 1
                    await asyncio.sleep(float(answer.headers["retry-after"]) / 10)
                    continue
                assert answer.status_code == 200, answer.text
                asked.took_ms.append((time.perf_counter() - started) * 1000)
                totals = msgspec.json.decode(answer.content, type=_Totals).totals
                assert totals["events"] == wanted, question


def client_of(base_url: str, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60)


@dataclass
class Pollers:
    """The clients of the small question. `number` makes each question another, so that none is cached."""

    base_url: str
    key: str
    process: psutil.Process
    took_ms: list[float] = field(default_factory=list)
    number: int = 0
    peak_mb: float = 0

    async def run(self, is_over: Callable[[], bool]) -> None:
        self.took_ms.clear()
        self.peak_mb = 0
        await asyncio.gather(self._sample(is_over), *[self._poll(is_over) for _ in range(POLLERS)])

    async def _poll(self, is_over: Callable[[], bool]) -> None:
        wanted = events_of(SMALL)
        async with client_of(self.base_url, self.key) as client:
            while not self.took_ms or not is_over():
                self.number += 1
                without = {"model!": f"m{SMALL.models + self.number}"}
                question = of_models(SMALL) | {"granularity": "5m", "group_by": "model"} | without
                started = time.perf_counter()
                answer = await client.get("/v1/usage", params=question)
                self.took_ms.append((time.perf_counter() - started) * 1000)
                assert answer.status_code == 200, answer.text
                totals = msgspec.json.decode(answer.content, type=_Totals).totals
                assert totals["events"] == wanted
                await asyncio.sleep(PAUSE_S)

    async def _sample(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.peak_mb = max(self.peak_mb, self.process.memory_info().rss / 1e6)
            await asyncio.sleep(SAMPLE_S)


async def compare(
    redis_url: str, directory: Path, seconds: float, data: Sequence[Data], kinds: Sequence[str]
) -> None:
    for one in data:
        one.busy.counters().write(redis_url)
        one.crowd.write(redis_url)
    SMALL.counters().write(redis_url)
    keys = [
        await create_key(redis_url, name="bench", tenant=tenant, role="viewer")
        for tenant in TENANTS
    ]
    server = start_api(redis_url, directory, PROGRAM)
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        try:
            url = f"http://{server.address}"
            pollers = Pollers(url, keys[SMALL.tenant_id], psutil.Process(server.pid))
            await measure(pollers, None, seconds / 10, alone)
            for kind in ("", *kinds):
                askers = Askers(url, keys, data, kind, seconds) if kind else None
                asked = await measure(pollers, askers, seconds, alone)
                p50, p99, most = np.percentile(pollers.took_ms, [50, 99, 100]).tolist()
                large = f"{len(asked.took_ms)} large, all as written"
                if asked.took_ms:
                    large += f", median {np.median(asked.took_ms):.0f} ms"
                print(f"beside {kind or 'nothing'}: {len(pollers.took_ms)} small, p50 {p50:.1f} ms,"
                      f" p99 {p99:.1f} ms, longest {most:.0f} ms; {large}, {asked.refused} times 503;"
                      f" the API had {pollers.peak_mb:.0f} MB at most", flush=True)  # fmt: skip
        finally:
            server.stop()


async def measure(
    pollers: Pollers, askers: Askers | None, seconds: float, alone: ProcessPoolExecutor
) -> Asked:
    """Small questions for as long as the large ones take, or so many seconds."""
    end_s = time.perf_counter() + seconds
    if askers is None:
        await pollers.run(lambda: time.perf_counter() > end_s)
        return Asked()
    asking = asyncio.get_running_loop().run_in_executor(alone, askers.run)
    await pollers.run(asking.done)
    return await asking


def short() -> list[Data]:
    return [Data(Busy(320, 4, tenant_id=id_), Crowd(400, 3, tenant_id=id_)) for id_ in (0, 1)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    args = parser.parse_args(arguments)
    data = [
        Data(Busy(MODELS, HOURS, tenant_id=id_), Crowd(USERS, DAYS, tenant_id=id_))
        for id_ in (0, 1)
    ]
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as directory:
        home = Path(directory)
        valkey = start_valkey(home, port=free_port())
        try:
            asyncio.run(compare(url_of(valkey), home / "api", args.seconds, data, args.kinds))
        finally:
            valkey.stop()


if __name__ == "__main__":
    main()
