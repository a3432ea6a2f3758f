"""`odometer usage`: what it asks of the API, and how it shows the answer."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from api.app.main import wall_clock_ms
from deploy.cli.main import app
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from deploy.watch.asking import Api, ApiRefused, ApiUnreachable
from deploy.watch.usage import number, render_usage, sparkline
from schemas.errors import InvalidConfig
from schemas.limits import HOUR_MS
from streams.worker.settings import WorkerSettings
from tests.api.counters import Event, pack
from tests.deploy.local.test_servers import create_topic
from tests.real.harness.api_process import api_of


def printed(answer: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(render_usage(answer))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


ANSWER: dict[str, Any] = {
    "range": {"from": "2026-02-01T00:00:00Z", "to": "2026-02-08T00:00:00Z"},
    "granularity": "none",
    "group_by": ["model"],
    "measures": {"requests": "events", "cost_usd": "USD"},
    "rows": [
        {"model": "gpt-4o", "other": False, "requests": 1204, "cost_usd": 5.418},
        {"model": "\x1b[31mnew", "other": False, "requests": 7, "cost_usd": None},
        {"model": None, "other": True, "requests": 31, "cost_usd": 0.02},
    ],
    "totals": {"requests": 1242, "cost_usd": 5.438},
    "complete_through": "2026-02-08T12:02:02.456Z",
    "refused": ["3"],
}


def test_a_table_with_totals_and_freshness() -> None:
    text = printed(ANSWER)
    for part in ("1,204", "5.42", "unknown", "(other)", "1,242", "5.44", r"\x1b[31mnew"):
        assert part in text
    assert "\x1b[31mnew" not in text
    assert "counted through 2026-02-08T12:02:02.456Z" in text
    assert "not counted: 3" in text


def test_numbers_and_lines_for_people() -> None:
    assert number(None, "USD") == "unknown"
    assert number(0.00042, "USD") == "0.0004"
    assert number(0.5, "share") == "50.0%"
    assert sparkline([0, 1, None, 8]) == "▁▁ █"
    assert sparkline([0, None]) == "▁ "


def test_what_the_command_rejects() -> None:
    with pytest.raises(InvalidConfig, match="--api-url"):
        Api("127.0.0.1:3400", "")
    for options in (["--json", "--csv"], ["--filter", "model"], ["--filter", "from=x"]):
        result = CliRunner().invoke(app, ["usage", *options])
        assert isinstance(result.exception, InvalidConfig)
    with pytest.raises(ApiUnreachable, match="does not answer"):
        Api("http://127.0.0.1:1", "").get("/v1/usage", {})


@pytest.mark.servers
def test_it_asks_a_real_api(redis_url: str, kafka: Server, topic: str, tmp_path: Path) -> None:
    now_ms = wall_clock_ms()
    events = [
        Event(now_ms - HOUR_MS, model=f"m{n % 3}", agent=f"a{n % 2}", input_tokens=n, cost_nano_usd=10**9)
        for n in range(9)
    ]  # fmt: skip
    pack(events, now_ms=now_ms, topic=topic, complete_ms=(now_ms,), refused=(0,)).write(redis_url)
    asyncio.run(create_topic(kafka, topic))
    key = asyncio.run(create_key(redis_url, name="usage", tenant="acme", role="viewer"))
    with api_of(
        WorkerSettings(kafka=kafka.address, redis=redis_url, topic=topic), tmp_path
    ) as server:
        url = f"http://{server.address}"
        environment = {"ODOMETER_API_URL": url, "ODOMETER_API_KEY": key, "COLUMNS": "120"}

        def run(*options: str) -> str:
            result = CliRunner().invoke(app, ["usage", *options], env=environment)
            assert result.exit_code == 0, result.exception
            return result.output

        text = run("--by", "model")
        assert [line.split()[1] for line in text.splitlines() if " m" in line][-3:] == [
            "m0",
            "m1",
            "m2",
        ]
        assert json.loads(run("--json"))["totals"]["requests"] == 9
        assert (
            json.loads(run("--by", "none", "--filter", "model=m1", "--json"))["totals"]["requests"]
            == 3
        )
        lines = run("--by", "agent,model", "--csv", "--measures", "requests").splitlines()
        assert lines[0].startswith("agent,model")
        assert len(lines) == 7
        refused = CliRunner().invoke(app, ["usage", "--by", "mdoel"], env=environment)
        assert isinstance(refused.exception, ApiRefused)
        assert "answered 400" in str(refused.exception)
        wrong = CliRunner().invoke(app, ["usage"], env=environment | {"ODOMETER_API_KEY": "no"})
        assert "answered 401" in str(wrong.exception)
