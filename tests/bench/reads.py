"""How fast reads are: the query engine over Valkey against the same rollups in SQLite.

    python -m tests.bench.reads [--events 1000000]

Events of 30 days are folded and committed by the worker's own code, and added up in SQLite by hour
and by day with an index for each question. A page is a summary, its models and its series; totals
of both are compared in the same run. Times are relative to now, as pages expire by the server's
clock. Over HTTP one API process is asked by 32 keep-alive clients, beside a route that does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt

from api.agentlens import Asked, body_of, plans_for
from api.axis import DAILY, HOURLY, Step
from api.keys import create_key
from api.main import wall_clock_ms
from api.names import Filter
from api.store import Store
from deploy import servers
from deploy.servers import Server, free_port
from deploy.valkey import start_valkey, url_of
from schemas.limits import DAY_MS, HOUR_MS, NANO_PER_USD
from schemas.measures import LATENCY_MS, MEASURES, SKETCHES
from schemas.sketches import bins_of
from schemas.units import EPOCH, iso
from schemas.views import DEFAULT, DIMENSIONS, SLICE_MS, generation_digest
from schemas.wire import Wire
from streams.columns import NOTHING, Columns, Items
from streams.decode import Decoded
from streams.fold import fold
from streams.ports import Commit, Outcome, Progress
from streams.pricing import Standing
from streams.store import RedisStore

TOPIC: Final = "usage.events"
BATCH_EVENTS: Final = 20_000
DAYS: Final = 30
MODELS, AGENTS, USERS = 30, 200, 5000
CLIENTS: Final = 32
ROUNDS: Final = 60
COMMITS_A_SECOND: Final = 20
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Columns of events, as they are counted and as they are rolled up in SQLite."""

    at_ms: Ints
    codes: dict[str, Ints]
    values: Ints
    sketched: dict[str, Items]


@dataclass(frozen=True)
class Page:
    """One question of the benchmark."""

    name: str
    from_ms: int
    to_ms: int
    step: Step
    model: str = ""
    agent: str = ""

    @property
    def filters(self) -> tuple[Filter, ...]:
        pairs = (("model", self.model), ("agent", self.agent))
        return tuple(Filter(name, frozenset((value,))) for name, value in pairs if value)

    @property
    def params(self) -> dict[str, str]:
        return {
            "from": iso(self.from_ms),
            "to": iso(self.to_ms),
            "granularity": {"1h": "hour", "1d": "day"}[self.step.name],
            "model": self.model,
            "agentId": self.agent,
        }


WORDS: Final = {
    "kind": ["llm"],
    "provider": [f"provider-{n}" for n in range(5)],
    "model": [f"model-{n}" for n in range(MODELS)],
    "agent": [f"agent-{n}" for n in range(AGENTS)],
}
ONE_CALL: Final = Decoded(Wire(id="one", source="bench", time=EPOCH, kind="llm"), 0, None, None, ())
"""What the latest calls hold: no reader measured here looks at them."""
USAGE_FIELDS: Final = ("input_tokens", "output_tokens", "cost_nano_usd", "latency_ms")


def batches(events: int, now_ms: int, seed: int = 1) -> Iterator[Batch]:
    """In order of time; a model belongs to one provider, busy models and agents come more often."""
    rng = np.random.default_rng(seed)
    for start in range(0, events, BATCH_EVENTS):
        n = min(BATCH_EVENTS, events - start)
        low_ms = now_ms - DAYS * DAY_MS + start * DAYS * DAY_MS // events
        high_ms = now_ms - DAYS * DAY_MS + (start + n) * DAYS * DAY_MS // events
        model = np.minimum(rng.geometric(0.12, n) - 1, MODELS - 1)
        agent = np.minimum(rng.geometric(0.03, n) - 1, AGENTS - 1)
        values = np.zeros((n, len(MEASURES)), np.int64)
        for place, measure in enumerate(MEASURES):
            if measure.name in USAGE_FIELDS:
                values[:, place] = rng.integers(1, 5_000_000, n)
            elif measure.name in {"events", "cost_events", "latency_events"}:
                values[:, place] = 1
        codes = {name: np.zeros(n, np.int64) for name in DIMENSIONS}
        codes |= {"provider": model % 5, "model": model, "agent": agent}
        if "user" in codes:
            codes["user"] = rng.integers(0, USERS, n)
        latency = values[:, MEASURES.index(LATENCY_MS)] // 1000
        sketched = {sketch.name: np.full(n, NOTHING, np.uint64) for sketch in SKETCHES}
        sketched["latency"] = bins_of(latency).astype(np.uint64)
        yield Batch(np.sort(rng.integers(low_ms, high_ms, n)), codes, values, sketched)


# -- filling ---------------------------------------------------------------------------------------


async def fill(redis_url: str, events: int, now_ms: int) -> None:
    """Through the fold's own roll-up and commit; appended when they happened."""
    words = {name: WORDS.get(name, [""]) for name in DIMENSIONS} | {"tenant": ["acme"]}
    words["user"] = [f"user-{n}" for n in range(USERS)]
    done = 0
    async with RedisStore(redis_url) as store:
        await store.open(generation_digest(TOPIC), 1, now_ms)
        for batch in batches(events, now_ms):
            n = len(batch.at_ms)
            nobody = np.zeros(n, np.int64)
            # No digests are remembered: that is the fold's cost, not a reader's.
            columns = Columns(
                catalog=DEFAULT,
                digests=np.arange(done, done + n, dtype=np.uint64),
                at_ms=batch.at_ms,
                append_ms=batch.at_ms,
                level=nobody,
                tenants=nobody,
                codes=batch.codes,
                words=words,
                values=batch.values,
                standing=np.full(n, Standing.GIVEN, np.int8),
                sketched=batch.sketched,
                misread={},
                calls=[],
                events=[ONE_CALL] * n,
                origin=np.arange(n),
            )
            end = done + n
            reply = await store.commit(
                Commit(
                    id=end.to_bytes(16, "big"),
                    generation_digest=generation_digest(TOPIC),
                    now_ms=now_ms,
                    count=1,
                    absent_ms={},
                    partitions=[Progress(0, done or -1, end, end - 1, now_ms, now_ms)],
                    digests=np.empty(0, np.uint64),
                    slices=np.empty(0, np.int64) // SLICE_MS,
                    delta=fold(columns, {}),
                )
            )
            assert reply.outcome is Outcome.COMMITTED, reply
            done = end


ROLLUP: Final = """
CREATE TABLE {name} (tenant INTEGER, at_ms INTEGER, provider TEXT, model TEXT, agent TEXT,
  calls INTEGER, cost INTEGER, input INTEGER, output INTEGER, latency INTEGER, latencies INTEGER,
  PRIMARY KEY (tenant, at_ms, provider, model, agent)) WITHOUT ROWID;
"""
ADD: Final = """
INSERT INTO {name} VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, cost = cost + excluded.cost,
  input = input + excluded.input, output = output + excluded.output,
  latency = latency + excluded.latency, latencies = latencies + excluded.latencies
"""
INDEXES: Final = """
CREATE INDEX {name}_model ON {name} (tenant, model, at_ms);
CREATE INDEX {name}_agent ON {name} (tenant, agent, at_ms);
"""
SUMMED: Final = ("events", "cost_nano_usd", "input_tokens", "output_tokens", "latency_ms")
TABLES: Final = {
    # Rollups of what a question needs: those without an agent are a hundred times smaller.
    "hour_model": (HOUR_MS, False),
    "day_model": (DAY_MS, False),
    "hour_agent": (HOUR_MS, True),
    "day_agent": (DAY_MS, True),
}


def roll_up(path: Path, events: int, now_ms: int) -> sqlite3.Connection:
    """The baseline: hourly and daily rollups, with and without the agent."""
    database = sqlite3.connect(path)
    places = [[m.name for m in MEASURES].index(name) for name in SUMMED]
    for name in TABLES:
        database.executescript(ROLLUP.format(name=name))
    for batch in batches(events, now_ms):
        for name, (bucket_ms, with_agent) in TABLES.items():
            agent = batch.codes["agent"] if with_agent else np.zeros_like(batch.at_ms)
            bucket = batch.at_ms // bucket_ms
            key = (bucket - bucket[0]) * (MODELS * AGENTS) + batch.codes["model"] * AGENTS + agent
            order = np.argsort(key, kind="stable")
            starts = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0]))
            sums = np.add.reduceat(batch.values[order][:, places], starts, axis=0).tolist()
            rows = []
            for at, own in zip(order[starts].tolist(), sums, strict=True):
                model = int(batch.codes["model"][at])
                who = WORDS["agent"][int(agent[at])] if with_agent else ""
                names = WORDS["provider"][model % 5], WORDS["model"][model], who
                rows.append((int(bucket[at]) * bucket_ms, *names, *own, own[0]))
            database.executemany(ADD.format(name=name), rows)
    for name in TABLES:
        database.executescript(INDEXES.format(name=name))
    database.executescript("ANALYZE;")
    database.commit()
    return database


SUMS: Final = "sum(calls), sum(cost), sum(input), sum(output), sum(latency), sum(latencies)"


def ask_sqlite(database: sqlite3.Connection, page: Page) -> dict[str, Any]:
    """The three sections from the smallest rollup that holds them."""
    table = ("hour" if page.step is HOURLY else "day") + ("_agent" if page.agent else "_model")
    where, bound = "tenant = 1 AND at_ms >= ? AND at_ms < ?", [page.from_ms, page.to_ms]
    for name, value in (("model", page.model), ("agent", page.agent)):
        if value:
            where += f" AND {name} = ?"
            bound.append(value)  # type: ignore[arg-type]
    ask = database.execute
    whole = ask(f"SELECT {SUMS} FROM {table} WHERE {where}", bound).fetchone()  # noqa: S608
    models = ask(
        f"SELECT provider, model, {SUMS} FROM {table} WHERE {where} GROUP BY 1, 2"  # noqa: S608
        " ORDER BY sum(cost) DESC, 1, 2",
        bound,
    ).fetchall()
    series = ask(
        f"SELECT at_ms, {SUMS} FROM {table} WHERE {where} GROUP BY 1 ORDER BY 1",  # noqa: S608
        bound,
    ).fetchall()
    return {"summary": whole, "byModel": models, "byTime": series}


# -- asking ----------------------------------------------------------------------------------------


def pages(now_ms: int) -> list[Page]:
    """On hours and days, so that both hold the range exactly."""
    hour_ms, day_ms = now_ms // HOUR_MS * HOUR_MS, now_ms // DAY_MS * DAY_MS
    some: tuple[dict[str, str], ...] = ({}, {"model": "model-3"}, {"agent": "agent-7"})
    return [
        Page(" ".join([name, *chosen]), end_ms - length_ms, end_ms, step, **chosen)
        for name, length_ms, end_ms, step in (
            ("24h", DAY_MS, hour_ms, HOURLY),
            ("7d", 7 * DAY_MS, hour_ms, HOURLY),
            ("30d", 29 * DAY_MS, day_ms, DAILY),
        )
        for chosen in some
    ]


async def ask_engine(store: Store, page: Page, now_ms: int) -> bytes:
    asked = Asked(page.from_ms, page.to_ms, page.step, page.filters)
    reading = await store.read("acme", plans_for(asked, now_ms))
    return body_of(reading)


async def median_ms(make: Callable[[], Awaitable[object]]) -> float:
    for _warm in range(5):
        await make()
    taken = []
    for _round in range(ROUNDS):
        started = time.perf_counter()
        await make()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


def check(body: bytes, found: dict[str, Any], page: Page) -> None:
    import json

    answer = json.loads(body)
    calls, cost, *_rest = found["summary"]
    assert answer["summary"]["totalCalls"] == (calls or 0), page
    assert answer["summary"]["totalCostUsd"] == (cost or 0) / NANO_PER_USD, page
    assert [row["calls"] for row in answer["byModel"]] == [row[2] for row in found["byModel"]], page
    assert [row["calls"] for row in answer["byTime"]] == [row[1] for row in found["byTime"]], page


async def compare(redis_url: str, database: sqlite3.Connection, now_ms: int) -> None:
    """Engine (pages read from Redis; and held since the last commit) beside SQLite."""
    print(f"{'page':16}{'SQLite ms':>11}{'read ms':>9}{'ratio':>7}{'held ms':>9}{'ratio':>7}")
    store = Store(redis_url, generation_digest(TOPIC))
    for page in pages(now_ms):

        async def sqlite(page: Page = page) -> object:
            return ask_sqlite(database, page)

        async def held(page: Page = page) -> object:
            return await ask_engine(store, page, now_ms)

        async def read(page: Page = page) -> object:
            store.let_go()
            return await ask_engine(store, page, now_ms)

        check(await ask_engine(store, page, now_ms), ask_sqlite(database, page), page)
        base = await median_ms(sqlite)
        cold, warm = await median_ms(read), await median_ms(held)
        print(
            f"{page.name:16}{base:11.2f}{cold:9.2f}{cold / base:7.2f}{warm:9.2f}{warm / base:7.2f}"
        )
    await store.close()


# -- over HTTP -------------------------------------------------------------------------------------

PROGRAM: Final = """
import uvicorn
from starlette.responses import JSONResponse
from starlette.routing import Route
from api.main import build
async def trivial(request):
    return JSONResponse({"status": "ok"})
app = build(REDIS_URL)
app.router.routes.insert(0, Route("/trivial", trivial))
uvicorn.run(app, host="127.0.0.1", port=PORT, loop="auto", http="httptools", access_log=False,
            log_level="warning")
"""


def start_api(redis_url: str, directory: Path) -> Server:
    port = free_port()
    program = PROGRAM.replace("REDIS_URL", repr(redis_url)).replace("PORT", str(port))

    def is_ready(_pid: int) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    return servers.start(
        servers.Plan(
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


async def rate(port: int, requests: Sequence[bytes], seconds: float = 3.0) -> float:
    """Requests a second of CLIENTS connections that each ask again as soon as they are answered;
    each asks one of the questions, again and again."""
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
    return done / seconds


@asynccontextmanager
async def committing(redis_url: str, now_ms: int) -> AsyncIterator[None]:
    """A worker that goes on: every commit ends what answers and held pages stand on."""
    async with RedisStore(redis_url) as store:
        meta = await store.meta()
        assert meta is not None
        position = meta.partitions[0].position

        async def go_on() -> None:
            for end in count(position + 1):
                reply = await store.commit(
                    Commit(
                        id=end.to_bytes(16, "big"),
                        generation_digest=generation_digest(TOPIC),
                        now_ms=now_ms,
                        count=1,
                        absent_ms={},
                        partitions=[Progress(0, end - 1, end, end - 1, now_ms, now_ms)],
                    )
                )
                assert reply.outcome is Outcome.COMMITTED, reply
                await asyncio.sleep(1 / COMMITS_A_SECOND)

        worker = asyncio.create_task(go_on())
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)


async def compare_http(redis_url: str, now_ms: int, directory: Path) -> None:
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
        base = await rate(port, [request("/trivial")])
        print(f"\n{'over HTTP, 32 clients':46}{'requests/s':>11}{'ratio':>7}")
        print(f"{'trivial JSON route':46}{base:11.0f}{1:7.2f}")

        async def show(name: str, requests: Sequence[bytes]) -> None:
            found = await rate(port, requests)
            print(f"{name:46}{found:11.0f}{found / base:7.2f}")

        await show("/v1/usage, one question, nothing committed", [request(usage)])
        await show("/v1/usage, 304", [request(usage, f"if-none-match: {tag}")])
        await show("AgentLens page, 24 h, nothing committed", [request(agentlens)])
        async with committing(redis_url, now_ms):
            await show(f"/v1/usage, one question, {COMMITS_A_SECOND} commits/s", [request(usage)])
            await show(f"/v1/usage, 32 questions, {COMMITS_A_SECOND} commits/s", each)
            await show(f"AgentLens, 32 agents, {COMMITS_A_SECOND} commits/s", agents)
    finally:
        server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args(arguments).events
    now_ms = wall_clock_ms()
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as directory:
        home = Path(directory)
        valkey = start_valkey(home, port=free_port())
        try:
            redis_url = url_of(valkey)
            started = time.perf_counter()
            asyncio.run(fill(redis_url, events, now_ms))
            filled = time.perf_counter()
            database = roll_up(home / "rollup.sqlite", events, now_ms)
            print(
                f"{events} events: counted in {filled - started:.1f} s, rolled up in SQLite in"
                f" {time.perf_counter() - filled:.1f} s"
            )
            asyncio.run(compare(redis_url, database, now_ms))
            asyncio.run(compare_http(redis_url, now_ms, home / "api"))
            database.close()
        finally:
            valkey.stop()


if __name__ == "__main__":
    main()
