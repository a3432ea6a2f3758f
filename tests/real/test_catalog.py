"""A catalog file and `odometer rebuild`: a label becomes a dimension and a measure of all history."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port, plain_environment
from schemas.catalog.catalog_file import parse_catalog
from schemas.limits import DAY_MS, HOUR_MS
from schemas.tiers import floor_to
from schemas.units import iso
from streams.worker.process import REPLACED
from tests.oracles.event_logs import event
from tests.oracles.fold_oracle import Oracle
from tests.oracles.redis_counters import read_counters
from tests.real.harness.api_process import api_of
from tests.real.harness.system import System
from tests.real.harness.topics import Sent, now_ms, read_log, sent
from tests.real.harness.workers import WorkerProcess
from tests.real.test_rebuild import adversarial

pytestmark = pytest.mark.servers

FILE: Final = """
[dimensions.team]
label = "team"
[measures.pages]
label = "pages"
unit = "pages"
[views.by_team]
dimensions = ["team"]
measures = ["events", "pages", "input_tokens"]
[views.few]
dimensions = ["team", "model"]
measures = ["events"]
series_max = 2
"""
COMMAND_S: Final = 90.0
TENANT: Final = "acme"
MISREAD: Final = 4
SENT: Final = 60

FROM_MS: Final = floor_to(now_ms() - 1000 * DAY_MS, DAY_MS)
"""Before it lie only events so old that their day is no longer read whole."""

Sums = dict[str, tuple[int, int, int]]
"""By team: events, pages, input tokens."""


def labelled(label: str, count: int) -> list[Sent]:
    """Events of two weeks, of which MISREAD have no number of pages where one should be."""
    return [
        sent(
            event(
                id=f"{label}-{n}",
                tenant=TENANT,
                time=iso(now_ms() - n % 14 * DAY_MS),
                model=f"m{n % 3}",
                input_tokens=n,
                labels={
                    "team": f"t{n % 4}",
                    "pages": "many" if n < MISREAD else str(10**9 - n),
                },
            )
        )
        for n in range(count)
    ]


def options_of(system: System, *names: str) -> list[str]:
    settings = system.settings
    of = {
        "kafka": settings.kafka,
        "redis": settings.redis,
        "topic": settings.topic,
        "dead-letter-topic": settings.dead_letter_topic,
        "group": settings.group,
    }
    return [word for name in names for word in (f"--{name}", of[name])]


def start_worker(system: System, file: Path) -> WorkerProcess:
    """The command itself."""
    port = free_port()
    names = ("kafka", "redis", "topic", "dead-letter-topic", "group")
    log = system.directory / "new-worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "deploy.cli.main", "worker", *options_of(system, *names)),
                *("--monitor-port", str(port), "--catalog-file", str(file)),
            ],
            cwd=system.directory,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    worker = WorkerProcess(system.settings, port, log, process)
    system.workers.append(worker)
    return worker


async def command(system: System, name: str, file: Path) -> str:
    """What it prints; its variable names the file, as an operator's environment would."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "deploy.cli.main", name, *options_of(system, "kafka", "redis", "topic"), "--json"],
        env={**plain_environment(), "ODOMETER_CATALOG_FILE": str(file)},
        capture_output=True,
        text=True,
        check=name != "status",  # its exit code is the state of the counting
        timeout=COMMAND_S,
    )  # fmt: skip
    return done.stdout


async def status(system: System, file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await command(system, "status", file))
    return found


@asynccontextmanager
async def asking(api: Server, key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"http://{api.address}", headers={"authorization": f"Bearer {key}"}, timeout=20
    ) as client:
        yield client


async def answers(client: httpx.AsyncClient, range_: Mapping[str, str]) -> list[Any]:
    """To questions that need nothing of the file."""
    found = []
    for params in (
        {"measures": "events,input_tokens,cost_usd,calls", "granularity": "1d"},
        {"group_by": "provider,model,kind", "measures": "requests,errors,chats,p95_latency_ms"},
        {"group_by": "user", "measures": "events,calls", "limit": "3"},
    ):
        answer = await client.get("/v1/usage", params={**params, **range_})
        assert answer.status_code == 200, answer.text
        found.append({name: answer.json()[name] for name in ("rows", "totals", "view")})
    return found


async def by_team(client: httpx.AsyncClient) -> Sums:
    params = {"group_by": "team", "measures": "events,pages,input_tokens"}
    range_ = {"from": iso(FROM_MS), "to": iso(now_ms() + DAY_MS)}
    answer = await client.get("/v1/usage", params={**params, **range_})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    rows = body["rows"]
    assert body["view"] == "by_team"
    for name in ("events", "pages", "input_tokens"):
        assert body["totals"][name] == sum(row[name] for row in rows)
    return {row["team"]: (row["events"], row["pages"], row["input_tokens"]) for row in rows}


async def judged(system: System) -> tuple[Oracle, Sums]:
    """What the log says, event by event."""
    oracle = Oracle()
    for record in await read_log(system.settings.kafka, system.topic):
        oracle.add(record)
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for kept in oracle.kept:
        usage, labels = kept.usage, kept.usage.labels or {}
        if kept.tenant == TENANT and kept.at_ms >= FROM_MS:
            is_usage = usage.kind in {"llm", "tts", "stt"}
            pages = labels.get("pages", "")
            sums[labels.get("team", "")].update(
                events=1,
                pages=int(pages) if is_usage and pages.isdigit() else 0,
                tokens=(usage.input_tokens or 0) if is_usage else 0,
            )
    return oracle, {team: (s["events"], s["pages"], s["tokens"]) for team, s in sums.items()}


async def test_an_added_view_reaches_history_and_older_questions_are_answered_as_before(
    system: System, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(FILE)
    key = await create_key(system.settings.redis, name="k", tenant=TENANT, role="viewer")
    range_ = {"from": iso(FROM_MS), "to": iso(now_ms() - HOUR_MS)}
    records = adversarial(21, 1200)
    earlier = system.worker()
    with (
        api_of(system.settings, tmp_path / "old") as old_api,
        api_of(system.settings, tmp_path / "new", "--catalog-file", str(file)) as new_api,
    ):
        async with (
            system.load() as load,
            asking(old_api, key) as old,
            asking(new_api, key) as new,
        ):
            await load.send([*records[:900], *labelled("history", SENT)])
            await system.caught_up()
            before = await answers(old, range_)
            of_teams = {"group_by": "team", "measures": "events", **range_}
            uncounted = await new.get("/v1/usage", params=of_teams)
            assert uncounted.status_code == 400
            assert "restart the workers with the same file" in uncounted.json()["detail"]

            start_worker(system, file)
            system.workers.remove(earlier)  # which ends, as it lacks the views that count now
            assert await asyncio.to_thread(earlier.process.wait, 20) == REPLACED
            await system.until("the views count", lambda: has_added(system, file))
            assert await answers(old, range_) == await answers(new, range_) == before
            unknown = await new.get("/v1/usage", params=of_teams)
            assert (unknown.status_code, unknown.json()["parameter"]) == (400, "from")

            done = json.loads(await command(system, "rebuild", file))
            assert (done["generation"], done["missing"]) == (2, [])
            system.generation = 2
            assert await answers(new, range_) == before
            assert await by_team(new) == (await judged(system))[1]

            await load.send([*records[900:], *labelled("later", SENT)])
            await system.caught_up()
            oracle, sums = await judged(system)
            assert await by_team(new) == sums
            assert {"t0", "t1", "t2", "t3", ""} <= sums.keys()
    assert read_counters(system.settings.redis, 2) == oracle.expected().counters
    await _is_told(system, file)


async def has_added(system: System, file: Path) -> bool:
    return {one["view"] for one in (await status(system, file))["added_views"]} == {
        "by_team",
        "few",
    }


async def _is_told(system: System, file: Path) -> None:
    said = await status(system, file)
    assert said["problems"] == []
    assert said["misread"] == {"labels.pages": 2 * MISREAD}
    assert said["over_limit"].keys() == {"few"}
    catalog = parse_catalog(FILE.encode(), "catalog.toml")
    (few,) = [view for view in catalog.views if view.name == "few"]
    cells = read_counters(system.settings.redis, 2, catalog)
    named = {
        (tenant, series)
        for (view, _, tenant, series, *_) in cells
        if view == few.name and series[0] == "llm" and series[1] != "(other)"
    }
    assert max(Counter(tenant for tenant, _ in named).values()) == few.series_max
