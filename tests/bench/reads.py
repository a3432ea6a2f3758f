"""How fast reads are: the query engine over Valkey against rollups in SQLite, in one process.

    python -m tests.bench.reads [--events 10000000] [--crowd 100000]

A page is a summary, its models and its series. The totals of both are compared in the same run. Times
are relative to now, as pages expire by the server's clock. There are four tenants:

- the events that are asked for
- a tenth of them
- that tenth ten times over, in the same buckets: does a page of more events cost more?
- many users, for the leaderboard

Everything runs on uvloop, as the API does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

import redis
import uvloop

from api.agentlens import analytics
from api.agentlens.analytics import plans_for, shaped
from api.app.main import wall_clock_ms
from api.http.json_encoding import to_json
from api.query.plan import plans
from api.query.series_index import Filter
from api.query.time_buckets import DAILY, HOURLY, Step
from api.store.reader import Reading, Store
from api.usage import parameters as usage_parameters
from api.usage import sections
from api.usage.render import rows_of
from deploy.local.servers import free_port
from deploy.local.valkey import start_valkey, url_of
from schemas.catalog.views import TOTAL, USER, Catalog
from schemas.limits import DAY_MS, HOUR_MS, NANO_PER_USD
from schemas.units import iso
from streams.redis.store import RedisStore
from tests.api.counters import clear_caches, page_keys
from tests.bench import over_http, sizes
from tests.bench.data import rollups
from tests.bench.data.filling import TOPIC, Traffic, Writer, fill

ROUNDS: Final = 40
WARM: Final = 3
GOAL_PAGE, GOAL_GROWTH, GOAL_LEADERBOARD_MS = 1.0, 1.05, 100.0
CROWD_USERS: Final = 100_000
CROWD_EVENTS: Final = 20
"""Of a user and month: most were there on a few days."""
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
    wanted = plans_for(
        analytics.LlmAnalyticsQuery(page.from_ms, page.to_ms, page.step, filters), now_ms
    )

    async def ask(store: Store, tenant: str) -> bytes:
        body, _ = shaped(await store.read(tenant, wanted))
        return body

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
        usage_parameters.parse(sent | more, now_ms, splits=False)
        for more in ({}, by_model, {"granularity": [page.step.name]})
    ]
    wanted = plans([sections.plans_of(one, now_ms)[0].question for one in asked])

    async def ask(store: Store, tenant: str) -> bytes:
        reading = await store.read(tenant, wanted)
        found = [
            rows_of(sections.section(one, [sums]).columns)
            for one, sums in zip(asked, reading.sums, strict=True)
        ]
        return to_json(dict(zip(("summary", "byModel", "byTime"), found, strict=True)))

    return ask


Clock = Callable[[], float]


@dataclass(frozen=True)
class Turn:
    """What is timed, and what is done each time before."""

    make: Callable[[], Awaitable[object]]
    before: Callable[[], Awaitable[object]] | None = None


async def medians_ms(turns: Sequence[Turn], rounds: int, clock: Clock) -> list[float]:
    """Of each; they take turns, so that what else the machine does weighs on all."""
    taken: list[list[float]] = [[] for _ in turns]
    for number in range(WARM + rounds):
        for turn, own in zip(turns, taken, strict=True):
            if turn.before is not None:
                await turn.before()
            started = clock()
            await turn.make()
            if number >= WARM:
                own.append(clock() - started)
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


async def compare(
    redis_url: str, database: Connection, traffic: Traffic, rounds: int, clock: Clock
) -> None:
    """Pages beside SQLite: when nothing was added to what they read, after a commit to it each time,
    and read whole from Redis; and whole of a tenth of the events in the same buckets."""
    print(f"\n{'page':12}{'SQLite ms':>10}{'held ms':>9}{'ratio':>7}{'commit ms':>11}{'ratio':>7}"
          f"{'whole ms':>10}{'ratio':>7}{'kB':>7}{'growth':>8}   goals: ratio {GOAL_PAGE}, growth"
          f" {GOAL_GROWTH}")  # fmt: skip
    store = Store(redis_url, TOPIC)

    async def cleared() -> None:
        clear_caches(store)

    async with RedisStore(redis_url) as counters:
        writer = Writer(counters, traffic)
        for page in pages(traffic.now_ms):
            asked = asking_of(page, traffic.now_ms)
            check(await asked(store, "acme"), asked_of(database, page), page)
            check_tenfold(await asked(store, "small"), await asked(store, "tenfold"))
        for page in pages(traffic.now_ms):
            asked = asking_of(page, traffic.now_ms)

            async def sqlite(page: Page = page) -> object:
                return asked_of(database, page)

            def of(tenant: str, ask: Ask = asked) -> Callable[[], Awaitable[object]]:
                return partial(ask, store, tenant)

            turns = (
                Turn(sqlite),
                Turn(of("small"), cleared),
                Turn(of("tenfold"), cleared),
                Turn(of("acme"), cleared),
                Turn(of("acme")),
                Turn(of("acme"), writer.commit),
            )
            base, small, tenfold, whole, held, after = await medians_ms(turns, rounds, clock)
            kilobytes = await read_kb(redis_url, store, asked)
            print(
                f"{page.name:12}{base:10.2f}{held:9.2f}{held / base:7.2f}{after:11.2f}"
                f"{after / base:7.2f}{whole:10.2f}{whole / base:7.2f}{kilobytes:7.0f}"
                f"{tenfold / small:8.2f}"
            )
        page = pages(traffic.now_ms)[0]
        calls = asked_of(database, page)["summary"][0] + writer.committed
        answer = json.loads(await asking_of(page, traffic.now_ms)(store, "acme"))
        assert answer["summary"]["totalCalls"] == calls, "what was committed meanwhile is in it"
    await store.close()


def asked_of(database: Connection, page: Page) -> dict[str, Any]:
    return rollups.ask(database, page.table, page.from_ms, page.to_ms, dict(page.filters))


def check_tenfold(small: bytes, tenfold: bytes) -> None:
    """Ten times the events, in the same buckets."""
    one, ten = json.loads(small), json.loads(tenfold)
    assert len(one["byTime"]) == len(ten["byTime"])
    for name in ("calls", "events"):
        counts = [[row.get(name, 0) for row in body["byTime"]] for body in (one, ten)]
        assert [10 * count for count in counts[0]] == counts[1]


async def read_kb(redis_url: str, store: Store, ask: Ask) -> float:
    """Bytes of counters that a page is made of."""
    seen: list[Reading] = []

    async def read(*arguments: Any) -> Reading:
        seen.append(await store.read(*arguments))
        return seen[-1]

    await ask(_Listening(read), "acme")  # type: ignore[arg-type]
    with redis.Redis.from_url(redis_url) as client:
        found = client.mget(page_keys([one.selection for one in seen[0].sums]))
    return sum(len(page or b"") for page in found) / 1000


@dataclass(frozen=True)
class _Listening:
    """A store whose readings are looked at."""

    read: Callable[..., Awaitable[Reading]]


# -- leaderboard -----------------------------------------------------------------------------------


async def leaderboard(redis_url: str, crowd: Traffic, rounds: int, clock: Clock) -> None:
    """All users of 30 days, the ten dearest shown and the rest added up."""
    store = Store(redis_url, TOPIC)
    now_ms = crowd.now_ms
    day_ms = now_ms // DAY_MS * DAY_MS

    async def cleared() -> None:
        clear_caches(store)

    print(f"\n{'leaderboard of 30 days':22}{'held ms':>10}{'commit ms':>11}{'whole ms':>10}"
          f"{'MB':>7}{'users':>8}   goal: {GOAL_LEADERBOARD_MS:.0f} ms")  # fmt: skip
    async with RedisStore(redis_url) as counters:
        writer = Writer(counters, crowd, CROWD)
        for name, from_ms, to_ms in (
            ("UTC days", day_ms - 29 * DAY_MS, now_ms),
            ("now-30d to now", now_ms - 30 * DAY_MS, now_ms),
        ):
            sent = {
                "measures": ["cost_usd"],
                "from": [iso(from_ms)],
                "to": [iso(to_ms)],
                "group_by": ["user"],
                "limit": ["10"],
            }
            asked = usage_parameters.parse(sent, now_ms, splits=False)
            wanted = sections.plans_of(asked, now_ms)
            users: set[int] = set()

            async def ask(
                store: Store,
                tenant: str,
                asked: Any = asked,
                wanted: Any = wanted,
                seen: Any = users,
            ) -> bytes:
                reading = await store.read(tenant, wanted)
                seen.add(sum(names.count for names in reading.sums[0].selection.names))
                return to_json(rows_of(sections.section(asked, reading.sums[:1]).columns))

            make = partial(ask, store, "crowd")
            turns = Turn(make, cleared), Turn(make), Turn(make, writer.commit)
            whole, held, after = await medians_ms(turns, rounds, clock)
            megabytes = await read_kb(redis_url, store, partial(_of_crowd, ask)) / 1000
            print(f"{name:22}{held:10.1f}{after:11.1f}{whole:10.1f}{megabytes:7.1f}{max(users):8}")
    await store.close()


async def _of_crowd(ask: Ask, store: Store, _tenant: str) -> bytes:
    return await ask(store, "crowd")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--crowd", type=int, default=CROWD_USERS, help="users of the leaderboard")
    parser.add_argument("--http-s", type=float, default=3.0, help="seconds of each rate over HTTP")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the median is shown")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="pages and leaderboard in CPU time of this process, without what Redis takes: on a"
        " machine that others use",
    )
    args = parser.parse_args(arguments)
    clock = time.process_time if args.cpu else time.perf_counter
    now_ms = wall_clock_ms()
    traffic = Traffic("acme", args.events, now_ms)
    with tempfile.TemporaryDirectory(prefix="odometer-bench-") as directory:
        home = Path(directory)
        valkey = start_valkey(home, port=free_port())
        try:
            redis_url = url_of(valkey)
            with redis.Redis.from_url(redis_url) as client:
                sizes.show(sizes.weigh(client, now_ms))
            crowd = replace(
                traffic,
                tenant="crowd",
                events=CROWD_EVENTS * args.crowd,
                users=args.crowd,
                zipf=True,
            )
            uvloop.run(_fill_all(redis_url, traffic, crowd))
            started = time.perf_counter()
            database = rollups.roll_up(home / "rollup.sqlite", traffic)
            print(f"rolled up in SQLite in {time.perf_counter() - started:.0f} s")
            uvloop.run(compare(redis_url, database, traffic, args.rounds, clock))
            database.close()
            uvloop.run(leaderboard(redis_url, crowd, min(args.rounds, 7), clock))
            uvloop.run(over_http.compare(redis_url, traffic, home / "api", args.http_s))
        finally:
            valkey.stop()


async def _fill_all(redis_url: str, traffic: Traffic, crowd: Traffic) -> None:
    started = time.perf_counter()
    small = replace(traffic, tenant="small", events=traffic.events // 10)
    await fill(redis_url, traffic)
    await fill(redis_url, small)
    await fill(redis_url, replace(small, tenant="tenfold", times=10))
    await fill(redis_url, crowd, CROWD)
    with redis.Redis.from_url(redis_url) as client:
        memory = client.info("memory")["used_memory"] / 1e9
    print(f"\n{traffic.events} events, a tenth of them once and ten times each, and {crowd.users}"
          f" users: loaded in {time.perf_counter() - started:.0f} s, {memory:.2f} GB")  # fmt: skip


if __name__ == "__main__":
    main()
