"""The client's wheel in an app of its own, against everything real: what it records is counted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import httpx
import pytest

from deploy.local.api_keys import create_key
from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from tests.deploy.client.environments import client_environment
from tests.real.harness.api_process import api_of
from tests.real.harness.system import SMALL, System
from tests.real.harness.topics import now_ms
from tests.schemas.formats.fixtures import fixture

pytestmark = pytest.mark.servers

EVENTS: Final = 1500
APP: Final = """
import json, sys
from pathlib import Path

import api, schemas, streams
from odometer import Meter

url, key, kafka_url, events = sys.argv[1:]
assert (api.MINE, schemas.MINE, streams.MINE) == ("api", "schemas", "streams")
common = {"agent_id": "my-agent", "provider": "openai", "model": "gpt-4o"}
with Meter(url, key=key, source="app", common=common) as meter:
    for number in range(int(events)):
        meter.record("llm", input_tokens=number, output_tokens=1)
    answer = json.loads(Path("answer.json").read_text(encoding="utf-8"))
    meter.record_from(answer)
    meter.record_from(answer)  # a duplicate: it has the answer's own id
    assert meter.flush(60)
    print(json.dumps(meter.counts))
with Meter(kafka_url, source="app-kafka", common=common) as meter:
    for number in range(int(events)):
        meter.record("llm", input_tokens=number, output_tokens=1)
    assert meter.flush(60)
    print(json.dumps(meter.counts))
"""


async def test_an_app_s_events_are_counted_through_http_and_kafka(
    system: System, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    for name in ("api", "schemas", "streams"):
        (app / name).mkdir(parents=True)
        (app / name / "__init__.py").write_text(f"MINE = {name!r}\n")
    (app / "app.py").write_text(APP)
    answer = fixture("openai/chat")
    (app / "answer.json").write_text(json.dumps(answer, default=float))
    environment = await asyncio.to_thread(client_environment, tmp_path, "[kafka]")
    system.worker(policy=SMALL)
    redis = system.settings.redis
    writer = await create_key(redis, name="app", tenant="default", role="write-only")
    reader = await create_key(redis, name="reader", tenant="default", role="viewer")
    with api_of(system.settings, tmp_path) as api:
        url = f"http://{api.address}"
        kafka_url = f"kafka://{system.settings.kafka}/{system.topic}"
        said = await asyncio.to_thread(
            environment.run, "app.py", url, writer, kafka_url, str(EVENTS), cwd=app
        )
        counts = [json.loads(line) for line in said.splitlines()]
        # Within one batch the last report of an answer wins, so its second one may not be sent.
        assert counts[0] in ([EVENTS + 1, 0, 0, 0], [EVENTS + 2, 0, 0, 0])
        assert counts[1] == [EVENTS, 0, 0, 0]
        await system.caught_up()
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {reader}"}, timeout=20
        ) as client:
            # The answer has the time of its model's response, months ago: only days are kept of it.
            first_ms = answer["created"] * 1000 - DAY_MS
            asked = await client.get(
                "/v1/usage",
                params={
                    "measures": "events,input_tokens,output_tokens",
                    "group_by": "agent",
                    "from": iso(first_ms),
                    "to": iso(now_ms() + HOUR_MS),
                },
            )
    assert asked.status_code == 200, asked.text
    usage = answer["usage"]
    assert asked.json()["totals"] == {
        "events": 2 * EVENTS + 1,
        "input_tokens": EVENTS * (EVENTS - 1) + usage["prompt_tokens"],
        "output_tokens": 2 * EVENTS + usage["completion_tokens"],
    }
