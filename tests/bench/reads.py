"""How fast reads are: the query engine over Valkey against rollups in SQLite, in one process.

    python -m tests.bench.reads [--events 10000000] [--crowd 100000]

A page is a summary, its models and its series; totals of both are compared in the same run. Times
are relative to now, as pages expire by the server's clock. Three tenants: the events that are asked
for, a tenth of them (is a page of many events dearer?), and a crowd of users for the leaderboard.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

import redis

from api import agentlens, answers, asking
from api.agentlens import body_of, plans_for
from api.axis import DAILY, HOURLY, Step
from api.formats import to_json
from api.main import wall_clock_ms
from api.names import Filter
from api.query import plans
from api.store import Reading, Store
from deploy.servers import free_port
from deploy.valkey import start_valkey, url_of
from schemas.limits import DAY_MS, HOUR_MS, NANO_PER_USD
from schemas.units import iso
from schemas.views import TOTAL, USER, Catalog, generation_digest
from tests.bench import over_http, rollups, sizes
from tests.bench.filling import TOPIC, Traffic, fill

ROUNDS: Final = 40
WARM: Final = 3
GOAL_PAGE, GOAL_GROWTH, GOAL_LEADERBOARD_MS = 1.0, 1.05, 100.0
CROWD_USERS: Final = 100_000
CROWD: Final = Catalog(views=(TOTAL, USER))


@dataclass(frozen=True)
class Page:
    """One question of the benchmark."""

    name: str
    from_ms: int
    to_ms: int
    step: Step
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The smallest rollup that holds it."""
        who = next((name for name in ("user", "agent") if name in self.filters), "model")
        return f"{'hour' if self.step is HOURLY else 'day'}_{who}"


def pages(now_ms: int) -> list[Page]:
    """On hours and days, so that both hold the range exactly."""
    hour_ms, day_ms = now_ms // HOUR_MS * HOUR_MS, now_ms // DAY_MS * DAY_MS
    some: tuple[dict[str, str], ...] = (
        {}, {"model": "model-3"}, {"agent": "agent-7"}, {"user": "user-7"},
    )  # fmt: skip
    return [
        Page(" ".join([name, *chosen]), end_ms - length_ms, end_ms, step, chosen)
        for name, length_ms, end_ms, step in (
            ("24h", DAY_MS, hour_ms, HOURLY),
            ("7d", 7 * DAY_MS, hour_ms, HOURLY),
            ("30d", 29 * DAY_MS, day_ms, DAILY),
        )
        for chosen in some
    ]


# -- asking ----------------------------------------------------------------------------------------


Ask = Callable[[Store, str], Awaitable[bytes]]
"""A question as the API remembers it for a second: understood, and planned."""


def asking_of(page: Page, now_ms: int) -> Ask:
    """AgentLens's page; with a user, whom it does not know, the same three of the native API."""
    if "user" in page.filters:
        return asking_natively(page, now_ms)
    filters = tuple(Filter(name, frozenset((value,))) for name, value in page.filters.items())
    wanted = plans_for(agentlens.Asked(page.from_ms, page.to_ms, page.step, filters), now_ms)

    async def ask(store: Store, tenant: str) -> bytes:
        return body_of(await store.read(tenant, wanted))

    return ask


def asking_natively(page: Page, now_ms: int) -> Ask:
    sent = {
        "measures": ["events", "cost_usd", "input_tokens", "output_tokens", "avg_latency_ms"],
        "from": [iso(page.from_ms)],
        "to": [iso(page.to_ms)],
        "kind": ["llm"],
        **{name: [value] for name, value in page.filters.items()},
    }
    by_model = {"group_by": ["provider", "model"], "order_by": ["-cost_usd", "provider", "model"]}
    asked = [
        asking.parse(sent | more, now_ms, splits=False)
        for more in ({}, by_model, {"granularity": [page.step.name]})
    ]
    wanted = plans([answers.plans_of(one, now_ms)[0].question for one in asked])

    async def ask(store: Store, tenant: str) -> bytes:
        reading = await store.read(tenant, wanted)
        found = [
            answers.section(one, selection, reading.pages).rows
            for one, selection in zip(asked, reading.selections, strict=True)
        ]
        return to_json(dict(zip(("summary", "byModel", "byTime"), found, strict=True)))

    return ask


async def medians_ms(makes: Sequence[Callable[[], Awaitable[object]]], rounds: int) -> list[float]:
    """Of each; they take turns, so that what else the machine does weighs on all."""
    taken: list[list[float]] = [[] for _ in makes]
    for number in range(WARM + rounds):
        for make, own in zip(makes, taken, strict=True):
            started = time.perf_counter()
            await make()
            if number >= WARM:
                own.append(time.perf_counter() - started)
    return [statistics.median(own) * 1000 for own in taken]


def check(body: bytes, found: dict[str, Any], page: Page) -> None:
    answer = json.loads(body)
    calls, cost, *_rest = found["summary"]
    if "user" in page.filters:
        (summary,) = answer["summary"]
        counted, spent, name = summary["events"], summary["cost_usd"], "events"
    else:
        summary = answer["summary"]
        counted, spent, name = summary["totalCalls"], summary["totalCostUsd"], "calls"
    assert counted == (calls or 0), (page, counted, calls)
    assert spent == (cost or 0) / NANO_PER_USD, page
    assert [row[name] for row in answer["byModel"]] == [row[2] for row in found["byModel"]], page
    assert [row[name] for row in answer["byTime"]] == [row[1] for row in found["byTime"]], page


async def compare(redis_url: str, database: Connection, now_ms: int, rounds: int) -> None:
    """Pages read from Redis, and held since the last commit, beside SQLite; the same of a tenth of
    the events, where `kB` of both are as many."""
    print(f"\n{'page':12}{'SQLite ms':>10}{'read ms':>9}{'ratio':>7}{'held ms':>9}{'ratio':>7}"
          f"{'kB':>7}{'growth':>8}{'kB of 1/10':>11}   goals: ratio {GOAL_PAGE}, growth"
          f" {GOAL_GROWTH}")  # fmt: skip
    store = Store(redis_url, generation_digest(TOPIC))
    for page in pages(now_ms):
        asked = asking_of(page, now_ms)

        async def sqlite(page: Page = page) -> object:
            return rollups.ask(database, page.table, page.from_ms, page.to_ms, dict(page.filters))

        async def held(ask: Ask = asked) -> object:
            return await ask(store, "acme")

        async def read(ask: Ask = asked) -> object:
            store.let_go()
            return await ask(store, "acme")

        async def read_small(ask: Ask = asked) -> object:
            store.let_go()
            return await ask(store, "small")

        found = rollups.ask(database, page.table, page.from_ms, page.to_ms, dict(page.filters))
        check(await asked(store, "acme"), found, page)
        turns = sqlite, read_small, read, held  # held: what was read just before
        base, small, cold, warm = await medians_ms(turns, rounds)
        kilobytes = [await read_kb(store, tenant, page, now_ms) for tenant in ("acme", "small")]
        print(
            f"{page.name:12}{base:10.2f}{cold:9.2f}{cold / base:7.2f}{warm:9.2f}{warm / base:7.2f}"
            f"{kilobytes[0]:7.0f}{cold / small:8.2f}{kilobytes[1]:11.0f}"
        )
    await store.close()


async def read_kb(store: Store, tenant: str, page: Page, now_ms: int) -> float:
    """Bytes of counters that Redis sends for a page."""
    store.let_go()
    seen: list[Reading] = []
    reading = store.read

    async def read(*arguments: Any) -> Reading:
        seen.append(await reading(*arguments))
        return seen[-1]

    listening = _Listening(read)
    await asking_of(page, now_ms)(listening, tenant)  # type: ignore[arg-type]
    return sum(len(one or b"") for one in seen[0].pages.values()) / 1000


@dataclass(frozen=True)
class _Listening:
    """A store whose readings are looked at."""

    read: Callable[..., Awaitable[Reading]]


# -- leaderboard -----------------------------------------------------------------------------------


async def leaderboard(redis_url: str, now_ms: int, rounds: int) -> None:
    """All users of 30 days, the ten dearest shown and the rest added up."""
    store = Store(redis_url, generation_digest(TOPIC))
    day_ms = now_ms // DAY_MS * DAY_MS
    print(f"\n{'leaderboard of 30 days':46}{'ms':>8}{'goal':>7}")
    for name, from_ms, to_ms in (
        ("UTC days", day_ms - 29 * DAY_MS, day_ms + DAY_MS),
        ("now-30d to now", now_ms - 30 * DAY_MS, now_ms),
    ):
        sent = {
            "measures": ["cost_usd"],
            "from": [iso(from_ms)],
            "to": [iso(min(to_ms, now_ms))],
            "group_by": ["user"],
            "limit": ["10"],
        }
        asked = asking.parse(sent, now_ms, splits=False)
        wanted = answers.plans_of(asked, now_ms)
        seen: list[Reading] = []

        async def ask(asked: asking.Asked = asked, wanted: Any = wanted, seen: Any = seen) -> bytes:
            reading = await store.read("crowd", wanted)
            seen[:] = [reading]
            return to_json(answers.section(asked, reading.selections[0], reading.pages).rows)

        async def read(ask: Callable[[], Awaitable[bytes]] = ask) -> bytes:
            store.let_go()
            return await ask()

        cold, warm = await medians_ms((read, ask), rounds)
        found = [page for page in seen[0].pages.values() if page]
        print(f"{name + ', read':46}{cold:8.0f}{GOAL_LEADERBOARD_MS:7.0f}")
        print(f"{name + ', held since the last commit':46}{warm:8.0f}{GOAL_LEADERBOARD_MS:7.0f}")
        print(f"  {len(found)} pages, {sum(map(len, found)) / 1e6:.1f} MB, of"
              f" {seen[0].selections[0].names[0].count} users")  # fmt: skip
    await store.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--crowd", type=int, default=CROWD_USERS, help="users of the leaderboard")
    parser.add_argument("--http-s", type=float, default=3.0, help="seconds of each rate over HTTP")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the median is shown")
    args = parser.parse_args(arguments)
    now_ms = wall_clock_ms()
    traffic = Traffic("acme", args.events, now_ms)
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as directory:
        home = Path(directory)
        valkey = start_valkey(home, port=free_port())
        try:
            redis_url = url_of(valkey)
            with redis.Redis.from_url(redis_url) as client:
                sizes.show(sizes.weigh(client, now_ms))
            asyncio.run(_fill_all(redis_url, traffic, args.crowd))
            started = time.perf_counter()
            database = rollups.roll_up(home / "rollup.sqlite", traffic)
            print(f"rolled up in SQLite in {time.perf_counter() - started:.0f} s")
            asyncio.run(compare(redis_url, database, now_ms, args.rounds))
            database.close()
            asyncio.run(leaderboard(redis_url, now_ms, min(args.rounds, 7)))
            asyncio.run(over_http.compare(redis_url, now_ms, home / "api", args.http_s))
        finally:
            valkey.stop()


async def _fill_all(redis_url: str, traffic: Traffic, crowd: int) -> None:
    started = time.perf_counter()
    await fill(redis_url, traffic)
    await fill(redis_url, replace(traffic, tenant="small", events=traffic.events // 10))
    # 20 events a user and month: most were there on a few days.
    await fill(
        redis_url,
        replace(traffic, tenant="crowd", events=20 * crowd, users=crowd, zipf=True),
        CROWD,
    )
    with redis.Redis.from_url(redis_url) as client:
        memory = client.info("memory")["used_memory"] / 1e9
    print(f"\n{traffic.events} events, and a tenth of them, and {crowd} users: loaded in"
          f" {time.perf_counter() - started:.0f} s, {memory:.2f} GB")  # fmt: skip


if __name__ == "__main__":
    main()
