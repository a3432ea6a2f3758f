"""Both boards have Grafana's schema; the queries of one run on Prometheus, and those of the other on the API."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.local.api_keys import create_key
from deploy.local.servers import free_port
from deploy.settings import CHECKOUT
from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack
from tests.deploy.test_board import PANELS

BOARDS: Final = sorted((CHECKOUT / "deploy" / "grafana").glob("*.json"))
USAGE: Final[dict[str, Any]] = json.loads(
    (CHECKOUT / "deploy" / "grafana" / "odometer-usage.json").read_text()
)
GRAFANA: Final = {
    "${__from:date:iso}": iso(NOW_MS - 7 * DAY_MS),
    "${__to:date:iso}": iso(NOW_MS),
    "${model}": "*",
    "${agent}": "*",
}
PROMETHEUS: Final = {"$__rate_interval": "1m", "$__range": "6h", "$tenant": ".*"}


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_nothing_of_a_board_is_outside_the_schema(board: Path) -> None:
    """What the schema does not know is lost when the board is read and written again."""
    content = json.loads(board.read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(content)))
    assert list(lost(content, again)) == []


def lost(board: Any, again: Any, path: str = "") -> Iterator[str]:
    """What is not there again, or differs. The schema adds defaults."""
    if isinstance(board, dict):
        for name, value in board.items():
            if name not in again:
                yield f"{path}/{name}"
            else:
                yield from lost(value, again[name], f"{path}/{name}")
    elif isinstance(board, list) and len(board) == len(again):
        for place, value in enumerate(board):
            yield from lost(value, again[place], f"{path}/{place}")
    elif board != again:
        yield f"{path}: {board} != {again}"


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    config = tmp_path / "prometheus.yaml"
    config.write_text("global: {}\n")
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/tsdb"]
    with subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            give_up_s = time.monotonic() + 60
            while time.monotonic() < give_up_s:
                with suppress(httpx.TransportError):
                    if httpx.get(f"{url}/-/ready").status_code == 200:
                        break
                time.sleep(0.1)
            yield url
        finally:
            server.kill()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_every_query_runs_on_a_real_prometheus(prometheus: str) -> None:
    asked = 0
    with httpx.Client(base_url=prometheus) as client:
        for panel in PANELS:
            for target in panel["targets"]:
                query = target["expr"]
                for name, value in PROMETHEUS.items():
                    query = query.replace(name, value)
                answer = client.get("/api/v1/query", params={"query": query})
                assert answer.json()["status"] == "success", (panel["title"], answer.text)
                asked += 1
    assert asked > 40


@pytest.mark.servers
async def test_every_panel_of_the_usage_board_gets_its_columns(
    redis_url: str,
) -> None:
    key = await create_key(redis_url, name="grafana", tenant="acme", role="viewer")
    events = [
        Event(NOW_MS - n * HOUR_MS, model=f"m{n % 3}", agent=f"a{n % 2}", cost_nano_usd=n, latency_ms=n, first_output_ms=n)
        for n in range(1, 9)
    ]  # fmt: skip
    pack(events).write(redis_url)
    async with client_of(redis_url, Clock(), key) as client:
        for panel in USAGE["panels"]:
            (target,) = panel["targets"]
            sent = {
                one["key"]: GRAFANA.get(one["value"], one["value"])
                for one in target["url_options"]["params"]
            }
            answer = await client.get(target["url"], params=sent)
            assert answer.status_code == 200, (panel["title"], answer.text)
            found = answer.json()[target["root_selector"]]
            rows = found if isinstance(found, list) else [found]
            assert rows, panel["title"]
            for column in target["columns"]:
                assert all(column["selector"] in row for row in rows), panel["title"]
