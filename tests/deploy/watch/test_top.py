"""`odometer top`: its plain frame, and its screens as a person uses them, with textual's own pilot."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from textual.widgets import DataTable, Input, Static
from typer.testing import CliRunner

from api.app.main import wall_clock_ms
from deploy.cli.main import app
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from deploy.settings import read_settings
from deploy.watch.asking import Api
from deploy.watch.frames import frame, total_lines
from deploy.watch.snapshot import LINE_MINUTES, TOTALS, TopQuestion, TopSnapshot, TopUsage
from deploy.watch.top_app import TopApp
from schemas.errors import InvalidConfig
from schemas.limits import MINUTE_MS
from streams.operations.verdict import judge
from streams.worker.settings import WorkerSettings
from tests.api.counters import Event, pack
from tests.deploy.local.test_servers import create_topic
from tests.real.harness.api_process import api_of
from tests.streams.operations.test_verdict import partition, status

AWAY = "redis://127.0.0.1:1/0"
NOW_MS = 1_770_000_000_000


def snapshot(usage: TopUsage | None, away: str = "") -> TopSnapshot:
    found = status(
        partitions=[partition(0, lag=3, end=13)], complete_through_ms=NOW_MS - 500, lag=3
    )
    return TopSnapshot(
        at_ms=NOW_MS, verdict=judge(found, NOW_MS), status=found, usage=usage, usage_away=away
    )


USAGE = TopUsage(
    by="model",
    filters={},
    totals=dict.fromkeys(TOTALS, 4) | {"cost_usd": None},
    lines={name: [0, 1, 2, 4] for name in TOTALS},
    rows=[
        {"model": name, "other": False, "requests": count, "errors": 0, "total_tokens": 5, "cost_usd": cost, "avg_latency_ms": None}
        for name, count, cost in (("gpt-4o", 3, 1.5), ("\x1b[31mnew", 9, None))
    ],
    complete_through=None,
)  # fmt: skip


def printed(found: TopSnapshot) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(frame(found))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_plain_frame() -> None:
    text = printed(snapshot(USAGE))
    for part in ("behind 0.5 s", "lag 3 records", "▁▂▄█", "unknown", "gpt-4o", r"\x1b[31mnew"):
        assert part in text
    assert "\x1b" not in text
    assert re.search(r"^requests +4 ", text, re.MULTILINE)  # a count has no decimals
    full = USAGE.model_copy(update={"lines": {name: [1] * LINE_MINUTES for name in TOTALS}})
    assert max(map(len, total_lines(full))) < 80
    assert "usage: it does not answer" in printed(snapshot(None, "it does not answer"))


def test_a_frame_without_servers_says_so() -> None:
    """Each of them, and the command ends well: it shows, and does not judge."""
    away = {
        "ODOMETER_API_URL": "http://127.0.0.1:1",
        "ODOMETER_KAFKA": "127.0.0.1:1",
        "ODOMETER_REDIS": AWAY,
    }
    result = CliRunner().invoke(app, ["top", "--once", "--json"], env=away)
    assert result.exit_code == 0, result.exception
    found = json.loads(result.output)
    assert found["status"]["redis_away"]
    assert found["status"]["kafka_away"]
    assert found["status"]["unpriced"] is found["status"]["refusals"] is None
    assert "does not answer" in found["usage_away"]
    for options in (["--json"], ["--by", "voice"]):
        assert isinstance(CliRunner().invoke(app, ["top", *options]).exception, InvalidConfig)


def fixed_app(found: TopSnapshot) -> TopApp:
    """The screens over one snapshot, without a server."""
    screens = TopApp(read_settings(redis=AWAY), Api("http://127.0.0.1:1", ""), TopQuestion())
    screens.refresh_data = lambda: None  # type: ignore[method-assign]
    screens.snapshot = found
    return screens


def first_column(screens: TopApp) -> list[str]:
    table: DataTable[object] = screens.query_one(DataTable)
    return [str(table.get_row_at(at)[0]) for at in range(table.row_count)]


async def test_rows_are_sorted_and_filtered() -> None:
    screens = fixed_app(snapshot(USAGE))
    async with screens.run_test() as pilot:
        screens.draw()
        assert first_column(screens) == [r"\x1b[31mnew", "gpt-4o"]  # most requests first
        await pilot.press("r")
        assert first_column(screens) == ["gpt-4o", r"\x1b[31mnew"]
        await pilot.press("slash", *"4O", "enter")
        assert first_column(screens) == ["gpt-4o"]
        assert not screens.query_one("#filter", Input).has_class("open")
        await pilot.press("escape")
        assert len(first_column(screens)) == 2
        await pilot.press("p")
        assert first_column(screens) == ["0"]
        for key, page in (("d", "dead letters"), ("2", "by agent")):
            await pilot.press(key)
            assert str(screens.query_one("#where", Static).render()) == f"{page} | reading ..."


@pytest.mark.servers
async def test_the_screens_over_real_servers(
    redis_url: str, kafka: Server, topic: str, tmp_path: Path
) -> None:
    now_ms = wall_clock_ms()
    events = [
        Event(now_ms - 5 * MINUTE_MS, model=f"m{n % 2}", agent=f"a{n % 3}", input_tokens=n, cost_nano_usd=10**9, latency_ms=n)
        for n in range(12)
    ]  # fmt: skip
    pack(events, now_ms=now_ms, topic=topic, complete_ms=(now_ms,), refused=(0,)).write(redis_url)
    await create_topic(kafka, topic)
    key = await create_key(redis_url, name="the key of top", tenant="acme", role="viewer")
    worker = WorkerSettings(kafka=kafka.address, redis=redis_url, topic=topic)
    with api_of(worker, tmp_path) as server:
        url = f"http://{server.address}"
        settings = read_settings(
            kafka=kafka.address, redis=redis_url, topic=topic, dead_letter_topic="none"
        )
        screens = TopApp(settings, Api(url, key), TopQuestion())
        async with screens.run_test(size=(160, 50)) as pilot:

            async def until(holds: Callable[[], bool]) -> None:
                async with asyncio.timeout(60):
                    while not holds():
                        await pilot.pause(0.05)

            await until(lambda: first_column(screens) == ["m0", "m1"])
            assert "requests" in str(screens.query_one("#totals", Static).render())
            await pilot.press("enter")  # drill down into m0
            await until(lambda: sorted(first_column(screens)) == ["a0", "a1", "a2"])
            assert screens.question.filters == {"model": "m0"}
            assert screens.snapshot is not None
            assert screens.snapshot.usage is not None
            assert screens.snapshot.usage.totals["requests"] == 6
            await pilot.press("escape")
            await until(lambda: first_column(screens) == ["m0", "m1"])
            await pilot.press("2")
            await until(lambda: sorted(first_column(screens)) == ["a0", "a1", "a2"])
            await pilot.press("k")
            await until(lambda: first_column(screens) == ["the key of top"])
            await pilot.press("d")  # there is no such topic: it says so
            await until(lambda: "does not exist" in screens.page_away)
